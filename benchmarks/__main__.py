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

"""Measure what the manual's figures say, and write them there.

Each benchmark prints its results as JSON and as a table, and writes the JSON
into build/benchmarks. "all" runs them one after another, a quarter of an hour
that wants a quiet machine, and root for "guest". "table" keeps what was
measured last in benchmarks/results and writes the manual's tables from that.
"""

import argparse
import inspect
import json
from pathlib import Path
import shutil
import subprocess
import sys

from benchmarks import adjust
from benchmarks import capacity
from benchmarks import fleet
from benchmarks import guest
from benchmarks import inert
from benchmarks import report
from benchmarks import stack

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = {'inert': inert, 'stack': stack, 'adjust': adjust,
              'guest': guest, 'fleet': fleet, 'capacity': capacity}
MEASURED = ROOT / 'build' / 'benchmarks'
KEPT = ROOT / 'benchmarks' / 'results'
TABLES = ROOT / 'guide' / 'figures.inc'


def measure(name, options):
    made = report.make(name, BENCHMARKS[name], options)
    text = report.as_json(made)
    MEASURED.mkdir(parents=True, exist_ok=True)
    (MEASURED / f'{name}.json').write_text(text)
    print(text + report.as_text(made, BENCHMARKS[name]), flush=True)


def measure_all():
    # Processes, so that one that cannot run here stops none of the others.
    failed = [name for name in BENCHMARKS if subprocess.run(
        [sys.executable, '-m', 'benchmarks', name], cwd=ROOT).returncode]
    if failed:
        sys.exit(f'failed: {", ".join(failed)}')


def write_tables():
    for path in MEASURED.glob('*.json'):
        shutil.copyfile(path, KEPT / path.name)
    TABLES.write_text(tables())


def tables():
    """What the manual includes."""
    return '\n'.join(['.. Written by "tox -e bench -- table".\n', *(
        report.as_rst(json.loads((KEPT / f'{name}.json').read_text()),
                      benchmark)
        for name, benchmark in BENCHMARKS.items())])


def parse(arguments=None):
    """What to do, and the options for it."""
    parser = argparse.ArgumentParser(
        prog='tox -e bench --', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(
        dest='command', metavar='COMMAND', required=True)
    for name, benchmark in BENCHMARKS.items():
        command = commands.add_parser(name, help=report.title(benchmark))
        for option in inspect.signature(
                benchmark.measure).parameters.values():
            command.add_argument(
                f'--{option.name}', type=int, default=option.default,
                nargs='+' if isinstance(option.default, tuple) else None,
                help='default: %(default)s')
    commands.add_parser('all', help='one after another')
    commands.add_parser('table', help="the manual's tables")
    options = vars(parser.parse_args(arguments))
    return options.pop('command'), options


def main():
    command, options = parse()
    if command in BENCHMARKS:
        measure(command, options)
    else:
        {'all': measure_all, 'table': write_tables}[command]()


if __name__ == '__main__':
    main()
