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

"""Upstream's suites: what the series touches, and ours."""

import os

from tools.lane import counting
from tools.lane import running
from tools import releases
from tools import selection
from tools import tree

SUITES = ('unit', 'functional')
# Native threads, or eventlet's green ones; upstream's name is from the time
# when only the latter were there.
CONCURRENCY_VARIABLE = 'OS_NOVA_DISABLE_EVENTLET_PATCHING'
CONCURRENCY = {'threading': 'true', 'eventlet': 'false'}
# An answer in a few minutes, of what is most likely to be wrong.
QUICK = os.environ.get('XLOUD_QUICK')
OUR_UNIT_TESTS = r'^nova\.tests\.unit\.(.*\.)?(test_)?xloud'
QUICK_TESTS = {
    'unit': [OUR_UNIT_TESTS],
    'hypervisor': [r'\.test_adjust\.AdjustTestCase\.'
                   r'test_grow_and_shrink$']}
# What the newest release has to pass each time: an adjust, its events and its
# lock, a move, and an upgrade from the oldest.
CORE = (r'^nova\.tests\.functional\.xloud\.test_'
        r'(adjust\.Live|task\.(Lock|SeveralAtOnce)|upgrade|'
        r'live_migration\.MovingBalloonTestCase\.test_(aborted|completed)$)')
SLOW_TOOL_TESTS = (
    r'tools\.tests\.|benchmarks\.|Killed|TestSame|TestDrift|TestExport')


def py3(regexes):
    if QUICK and not regexes:
        regexes = ['--exclude-regex', SLOW_TOOL_TESTS]
    return running.run_lane('py3', tree.ROOT, './', *regexes)


def newest(workers):
    """Our unit tests and our most important functional tests.

    Only in the way in which the release runs requests at once if nobody
    chooses another.
    """
    default = tree.LANES.concurrency[:1]
    total = suite('unit', [OUR_UNIT_TESTS], modes=default)
    total.add(suite('functional', [CORE], workers, default))
    return total


def suite(name, regexes, workers=running.WORKERS,
          modes=tree.LANES.concurrency):
    """Upstream's tests of what the series touches, and ours.

    Once for each way in which this release runs requests at once.
    """
    total = counting.Outcome()
    for mode in in_each_mode(name, chosen(modes)):
        # A fork does not have the threads of its parent.
        running.TEST_ENVIRON[running.FORKS] = (
            '1' if (name, mode) == ('functional', 'eventlet') else '')
        total.add(_suite(name, regexes, workers))
    return total


def chosen(modes):
    """Those that XLOUD_CONCURRENCY names, or else these."""
    return os.environ.get('XLOUD_CONCURRENCY', '').split() or modes


def in_each_mode(name, modes):
    """Let what runs tests run them in one way after the other."""
    for mode in modes:
        if len(tree.LANES.concurrency) > 1:
            counting.show(f'\n{name}, {mode}:')
        running.TEST_ENVIRON[CONCURRENCY_VARIABLE] = CONCURRENCY[mode]
        yield mode


def _suite(name, regexes, workers):
    if not regexes and QUICK and name in QUICK_TESTS:
        regexes = QUICK_TESTS[name]
    test_path = f'./nova/tests/{name}'
    if regexes:
        return running.run_lane(
            name, tree.TREE, test_path, *regexes, workers=workers)
    picked = pick(name)
    if not picked.files + picked.tests:
        counting.show(f'the series touches nothing that has {name} tests')
        return counting.Outcome()
    counting.show('\n'.join([
        f'all tests of {len(picked.files)} files, and {len(picked.tests)} '
        'others that call what the series changes:', *picked.files]))
    if picked.unknown:
        counting.show('\n'.join([
            "not known yet is who calls these, so all tests of their modules "
            f'run ("tools/run_tests.sh record -- {name}" finds out):',
            *picked.unknown]))
    with running.file_of(picked.regexes()) as listed:
        return running.run_lane(
            name, tree.TREE, test_path, '--include-list', listed,
            '--exclude-regex', selection.REPETITIONS, workers=workers)


def pick(name):
    return selection.pick(name, str(tree.TREE), tree.base(), tree.touched(),
                          selection.Callers.load(known_callers(name)))


def callers_file(name, release=tree.RELEASE):
    return str(tree.ROOT / 'tools' / 'callers' / f'{release}-{name}.txt')


def known_callers(name):
    """What is recorded of this release, or else of the nearest older one.

    Most tests have the same name there.  A function that has another name is
    one that is not known yet.
    """
    older = [release for release in releases.known()
             if release <= tree.RELEASE]
    for release in reversed(older):
        recorded = callers_file(name, release)
        if os.path.exists(recorded):
            return recorded
    return callers_file(name)
