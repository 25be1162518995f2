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

"""What is beside Nova's tree: Horizon, clients, packages, long runs."""

import os
import subprocess
import sys

from tools import clients
from tools import horizon
from tools.lane import checks
from tools.lane import counting
from tools import tree

# Scripts in packaging/tests.
PROOFS = ('packages', 'deb', 'rpm', 'image')


def machine(arguments):
    """Anything to elastic servers in any order, for as long as is asked."""
    outcome = counting.Outcome()
    # It says how far it is.
    if subprocess.run(
            [sys.executable, '-m', 'tools.machine', *arguments],
            env={**os.environ, 'PYTHONPATH': str(tree.ROOT)},
            cwd=tree.TREE).returncode:
        outcome.failures.append('the state machine')
    else:
        outcome.passed += 1
    return outcome


def with_horizon(what):
    """Horizon's own tests of what our series on it touches, and its forms.

    :param what: tests by Django's names, in place of all that
    """
    outcome = counting.Outcome()
    if not what:
        outcome.add(checks.check_all([checks.Check('the series on horizon', [
            sys.executable, '-m', 'xloud_series', '--project', 'horizon',
            'check'])]))
    for release in horizon.TESTED:
        result = horizon.run_tests(release, what)
        counting.show(f'Horizon {horizon.version_of(release)}: '
                      f'{result.passed} tests passed')
        outcome.add(counting.Outcome(
            result.passed, result.skipped, result.failures))
    if not what:
        outcome.add(checks.check_all([checks.Check(
            'what its forms ask Nova for', [
                sys.executable, '-m', 'tools.horizon', 'matrix', '--check'])]))
    return outcome


def both_ends(ends):
    """What is under clients/, with the oldest and the newest it supports."""
    outcome = counting.Outcome()
    for end in ends:
        result = clients.run(end, counting.show)
        outcome.passed += result.ran - result.failed - result.skipped
        outcome.skipped += result.skipped
        outcome.failures += [f'{end.client}, {end.name}'] * result.failed
    return outcome


def prove(name):
    """Run a script that prints a line for each claim that is true."""
    outcome = counting.Outcome()
    with subprocess.Popen(
            [f'packaging/tests/{name}.sh'], cwd=tree.ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            counting.show(line.rstrip('\n'))
            outcome.passed += line.startswith('ok ')
    if process.returncode:
        outcome.failures.append(name)
    return outcome
