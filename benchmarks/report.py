# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What a benchmark found: as JSON, as a table to read, and in the manual.

A benchmark is a module with measure(), whose arguments are its options, and
rows(), which tells its results in words. The paragraphs of its docstring are
its title, its command, and how it measures, which the manual shows too.
"""

import csv
import io
import json
import os
import platform
import time
import typing as ty


class Row(ty.NamedTuple):

    what: str
    figure: str
    goal: str = ''


def at_most(value, limit, unit=''):
    return goal(f'at most {limit}{unit}', value <= limit)


def at_least(value, limit, unit=''):
    return goal(f'at least {limit}{unit}', value >= limit)


def goal(text, is_reached):
    return f'{text}: {"reached" if is_reached else "not reached"}'


def make(name, benchmark, options):
    """Measure, and say by what and on what."""
    started = time.monotonic()
    results = benchmark.measure(**options)
    return {
        'what': title(benchmark),
        'command': _command(name, options),
        'machine': {'cores': os.cpu_count(),
                    'Python': platform.python_version(),
                    **results.pop('machine', {})},
        'seconds': round(time.monotonic() - started),
        'results': results}


def as_json(report):
    return json.dumps(report, indent=2) + '\n'


def title(benchmark):
    return _paragraphs(benchmark)[0].rstrip('.')


def as_text(report, benchmark):
    rows = list(benchmark.rows(report['results']))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join([f'{report["what"]}: {_took(report)}', *(
        '  '.join(map(str.ljust, row, widths)).rstrip() for row in rows)])


def as_rst(report, benchmark):
    """A section of the manual."""
    name = title(benchmark)
    cells = io.StringIO()
    csv.writer(cells, quoting=csv.QUOTE_ALL, lineterminator='\n   ').writerows(
        benchmark.rows(report['results']))
    return '\n\n'.join([
        f'{name}\n{"-" * len(name)}',
        *_paragraphs(benchmark)[2:],
        f'``{report["command"]}``, {_took(report)}:',
        '.. csv-table::\n'
        '   :header: What, Figure, Goal\n'
        '   :widths: 45 35 20\n\n   ' + cells.getvalue().rstrip()]) + '\n'


def _paragraphs(benchmark):
    return benchmark.__doc__.strip().split('\n\n')


def _command(name, options):
    words = ['tox -e bench --', name]
    for option, value in options.items():
        many = value if isinstance(value, (list, tuple)) else [value]
        words += [f'--{option}', *map(str, many)]
    return ' '.join(words)


def _took(report):
    cores, *others = report['machine'].items()
    return (f'{report["seconds"]} s on {cores[1]} cores with ' +
            ', '.join(map(' '.join, others)))
