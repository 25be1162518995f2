#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""One lane: run its tests or checks, show what matters, close with a count.

    python -m tools.lane LANE [REGEX|OPTION ...]

tox runs this in the environment that the lane needs; ``tools/run_tests.sh``
runs all lanes and adds up their closing lines.
"""

import argparse
import os
import resource
import signal
import sys

from tools import clients
from tools.lane import checks
from tools.lane import counting
from tools.lane import projects
from tools.lane import record
from tools.lane import suites
from tools.lane import upstream

# The services of a functional test wait for each other now and then.
WAITING_WORKERS = os.environ.get('XLOUD_TEST_WORKERS', '3')
# An emulated guest takes two cores as it is, and is late where others do, too.
GUEST_WORKERS = os.environ.get('XLOUD_TEST_WORKERS', '1')
LANES = {
    'pep8': checks.pep8,
    'py3': suites.py3,
    'unit': lambda regexes: suites.suite('unit', regexes),
    'functional': lambda regexes: suites.suite(
        'functional', regexes, WAITING_WORKERS),
    'hypervisor': lambda regexes: suites.suite(
        'hypervisor', regexes, GUEST_WORKERS),
    'newest': lambda _arguments: suites.newest(WAITING_WORKERS),
    'upstream': upstream.upstream,
    'record': record.record,
    'machine': projects.machine,
    'docs': checks.docs,
    'horizon': projects.with_horizon,
    'clients': lambda _arguments: projects.both_ends(clients.UNIT),
    'browser': lambda _arguments: projects.both_ends(clients.BROWSER),
    **{name: lambda _arguments, name=name: projects.prove(name)
       for name in projects.PROOFS},
}


def cpu_seconds():
    """What this process and all that it waited for have used."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def stop_when_told():
    """End as from a terminal, with all that was started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def main():
    parser = argparse.ArgumentParser(
        prog='python -m tools.lane', description=__doc__.splitlines()[0])
    parser.add_argument('lane', choices=LANES)
    parser.add_argument('arguments', nargs=argparse.REMAINDER,
                        metavar='REGEX')
    asked = parser.parse_args()
    stop_when_told()
    outcome = LANES[asked.lane](asked.arguments)
    counting.show(f'{asked.lane} took {cpu_seconds():.0f} s of the processors')
    if outcome.failures:
        counting.show('\n'.join(
            ['', f'failed in {asked.lane}:', *outcome.failures]))
    counting.show(outcome.closing_line(asked.lane))
    return 1 if outcome.failures else 0
