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

"""How many servers a host carries when they hold what they use, and the risk.

    tox -e capacity [-- --output build/capacity]

Simulates clouds of fixed, of vCPU-elastic and of wholly elastic servers, at
several allocation ratios, whose demand is drawn from published statistics
(workload.py names them). Prints a table and writes capacity.json and, with
matplotlib, the figures. The same on every run; about a minute of one core.
"""

import argparse
import json
from pathlib import Path
import sys
import time

from benchmarks.capacity import study

# Measure or field, its heading, width.
COLUMNS = (
    ('policy', 'policy', 13), ('cpu_ratio', 'cpu', 4),
    ('ram_ratio', 'ram', 4), ('fill', 'full', 5),
    ('times_the_reference', 'x fixed 1.0/1.0', 17),
    ('vcpu_grows_refused', 'vCPU', 7), ('memory_grows_refused', 'mem', 5),
    ('below_vcpus', 'vCPU', 7), ('below_memory', 'mem', 5),
    ('held_over_vcpus', 'vCPU', 7), ('held_over_memory', 'mem', 5),
    ('used_over_vcpus', 'vCPU', 7), ('used_over_memory', 'mem', 5))
ABOVE = (('', 13), ('ratios', 9), ('%', 5), ('servers', 17),
         ('refused %', 13), ('below %', 13), ('held over %', 13),
         ('used over %', 13))


def table(results):
    """Lines that show the means, and the spread of what is carried.

    Refused: of the grows that were asked for. Below: of the server-hours,
    those in which a server would use more than it holds. Over: of the
    host-hours, those in which more is held, or used, than the host has.
    """
    before = None
    for one in results:
        if (one['part'], one['scenario']) != before:
            before = one['part'], one['scenario']
            yield f'\n{one["part"]}: {one["scenario"]}'
            yield ' '.join(text.rjust(width) for text, width in ABOVE)
            yield _row(title for _, title, _ in COLUMNS)
        yield _row(_cell(name, one[name]) for name, _, _ in COLUMNS)


def _row(cells):
    first, *others = cells
    return ' '.join([first.ljust(COLUMNS[0][2]), *(
        cell.rjust(width) for cell, (_, _, width) in zip(
            others, COLUMNS[1:]))])


def _cell(name, value):
    if value is None:
        return '-'
    if name == 'times_the_reference':
        return '{mean:.2f} ({min:.2f}-{max:.2f})'.format(**value)
    if name == 'fill':
        return f'{100 * value:.0f}'
    if isinstance(value, dict):
        return f'{100 * value["mean"]:.1f}'
    return str(value)


def main():
    parser = argparse.ArgumentParser(
        prog='tox -e capacity --', description=__doc__.splitlines()[0])
    parser.add_argument('--output', default='build/capacity', metavar='DIR',
                        help='where the files go (default: %(default)s)')
    directory = Path(parser.parse_args().output)
    directory.mkdir(parents=True, exist_ok=True)

    started = time.monotonic()
    results = study.run(progress=lambda done: print(
        f'seed {done} of {len(study.SEEDS)}, '
        f'{time.monotonic() - started:.0f} s', file=sys.stderr, flush=True))
    print('\n'.join(table(results)))
    written = [directory / 'capacity.json']
    written[0].write_text(json.dumps(
        {'parameters': study.parameters(), 'results': results},
        indent=1) + '\n')
    try:
        from benchmarks.capacity import plots
    except ImportError as missing:
        print(f'no figures: {missing} (tox -e capacity has it)',
              file=sys.stderr)
    else:
        written += plots.write(results, directory)
    for path in written:
        print(path, file=sys.stderr)


if __name__ == '__main__':
    main()
