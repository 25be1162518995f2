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

"""Run tests with stestr, and once more, alone, those that fail."""

import contextlib
import fcntl
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import tempfile

from tools.lane import counting
from tools import tree
from xloud_series import workspace

WORKERS = os.environ.get('XLOUD_TEST_WORKERS', '2')
# What upstream's tox.ini sets for these suites.  Its locale is en_US.utf-8,
# which a small machine does not have.
TEST_ENVIRON = {
    'LC_ALL': 'C.UTF-8',
    'NOVA_RAISE_ON_GREENLET_LEAK': 'True',
    'OS_STDERR_CAPTURE': '1',
    'OS_STDOUT_CAPTURE': '1',
    # Upstream's 160 seconds are not enough for some on a busy machine.
    'OS_TEST_TIMEOUT': os.environ.get('OS_TEST_TIMEOUT', '600'),
    'SQLALCHEMY_WARN_20': '1',
}
# Names the file that lanes lock which run at the same time.
LOCK = 'XLOUD_LANES_LOCK'
# And the file that a lane makes when it has to wait until none of them does.
WAITS = 'XLOUD_LANE_WAITS'
# Asks for tests that start from one set-up, each in a fork of it.
FORKS = 'XLOUD_FORK_TESTS'
# How many failed tests of a lane are run again, alone.  A machine that is busy
# fails a few of its tests; a change that is wrong fails many.
AGAIN = {'py3': 3, 'unit': 5, 'functional': 8, 'hypervisor': 5,
         'upstream': 50, 'record': 8}
# The names of failures that can be run again: a test, or a class that could
# not be set up, with all its tests.
_TEST = re.compile(r'[^\W\d]\w*(\.\w+){2,}(\(.*\))?')
_SCENARIO = re.compile(r'\(.*\)$')
_CLASS = re.compile(r'setUpClass \((\S+)\)')


def run_stestr(
    folder: Path, test_path: str, *what: str, workers: str = WORKERS,
    quiet: bool = False,
) -> counting.Outcome:
    """Run tests with stestr in a folder; what they print is kept there."""
    import subunit
    import testtools

    collector = counting.Collector(
        show=(lambda text: None) if quiet else counting.show)
    result = testtools.StreamToDict(collector.ended)
    result.startTestRun()
    # Suites that run at the same time have a repository each.
    repository = folder / '.stestr' / Path(test_path).name
    repository.mkdir(parents=True, exist_ok=True)
    with _ended_whole(subprocess.Popen(
            [sys.executable, '-m', 'stestr', '--test-path', test_path,
             *_grouping(),
             '--repo-url', str(repository), 'run',
             '--concurrency', workers, '--subunit', *what],
            cwd=folder, env=_test_environ(), stdout=subprocess.PIPE,
            start_new_session=True)) as process:
        subunit.ByteStreamToStreamResult(
            process.stdout, non_subunit_name='stdout').run(
                testtools.CopyStreamResult([result, collector]))
    result.stopTestRun()
    outcome = collector.outcome
    if not outcome.passed + outcome.skipped + len(outcome.failures):
        collector.show_text()
        outcome.failures.append('no test ran')
    elif process.returncode and not outcome.failures:
        outcome.failures.append(f'stestr itself (exit {process.returncode})')
    return outcome


def _grouping():
    """Have one worker run all tests of a class, if they share its set-up."""
    return (['--group_regex', r'([^.]+\.)+'] if TEST_ENVIRON.get(FORKS)
            else [])


def _test_environ():
    environ = {**os.environ, **TEST_ENVIRON}
    # Each worker would compile all of Nova and its tests.
    environ.pop('PYTHONDONTWRITEBYTECODE', None)
    environ['PYTHONPATH'] = os.pathsep.join(filter(None, [
        str(tree.ROOT / 'tools' / 'probe'), environ.get('PYTHONPATH')]))
    environ['XLOUD_LANE'] = '1'
    # A test of this module would wait for the lane that it is in.
    for name in (LOCK, WAITS):
        environ.pop(name, None)
    # Tests of the stack tool try two runs at once.
    environ.pop(workspace.WAIT, None)
    return environ


@contextlib.contextmanager
def _ended_whole(process):
    """Have no worker of stestr outlive a lane that is stopped."""
    try:
        yield process
        process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()


def run_lane(lane: str, folder: Path, test_path: str, *what: str,
             workers: str = WORKERS) -> counting.Outcome:
    """Run the tests of a lane; run once more, alone, those that fail."""
    with _lanes_lock(fcntl.LOCK_SH):
        outcome = run_stestr(folder, test_path, *what, workers=workers)
    if outcome.seconds:
        counting.show('\n'.join(
            ['', f'the slowest tests of {lane}:', *outcome.slowest()]))
    return again_alone(outcome, AGAIN[lane], folder, test_path)


def again_alone(outcome: counting.Outcome, limit: int, folder: Path,
                test_path: str) -> counting.Outcome:
    """What becomes of tests that failed when nothing runs beside them.

    A machine may be so busy that a test gives up waiting, and QEMU without KVM
    may break a guest that has done nothing wrong.  Neither happens twice, and
    a fault of ours does.  What failed but is no test, a worker that died for
    example, stays as it is.

    :param limit: of more failures than this none is run again
    """
    suspects = {test: as_regex(test) for test in outcome.failures}
    regexes = sorted(filter(None, suspects.values()))
    if not regexes:
        return outcome
    if len(suspects) > limit:
        counting.show(f'\n{len(suspects)} failed.  Of more than {limit} none '
                      'is run again.')
        return outcome
    counting.show('\n'.join(
        ['', 'again, alone:', *filter(suspects.get, suspects)]))
    TEST_ENVIRON[FORKS] = ''
    with file_of(regexes) as listed, _lanes_lock(fcntl.LOCK_EX):
        again = run_stestr(folder, test_path, '--include-list', listed,
                           workers='1')
    failures = [test for test, regex in suspects.items()
                if not (regex and any(re.search(regex, other)
                                      for other in again.ended))]
    failures += [test for test in again.failures if test not in failures]
    passed_alone = sorted(test for test, status in again.ended.items()
                          if status == 'success' and _is_of(suspects, test))
    counting.show('\n'.join(f'passed alone: {test}' for test in passed_alone))
    # Where workers share a class, one may have had its tests pass already.
    ended = {**outcome.ended, **again.ended}
    skipped = list(ended.values()).count('skip')
    failed = sum(status in counting.FAILED for status in ended.values())
    return counting.Outcome(
        len(ended) - failed - skipped, skipped, failures, passed_alone, ended,
        outcome.seconds)


def _is_of(suspects, test):
    """Other scenarios of a suspect run again too, and are none."""
    return test in suspects or any(
        _CLASS.fullmatch(suspect) and re.search(regex, test)
        for suspect, regex in suspects.items())


def as_regex(failure):
    """What picks a failed test, or the tests of a class that had no start."""
    named = _CLASS.fullmatch(failure)
    if named:
        return rf'^{re.escape(named[1])}\.'
    if _TEST.fullmatch(failure) and not failure.startswith('unittest.'):
        # A test may get its scenarios only when it runs: stestr knows it
        # without them.  What follows a # is a comment to stestr.
        name = _SCENARIO.sub('', failure)
        return r'^%s(\(.*\))?$' % re.escape(name).replace(r'\#', '.')
    return None


@contextlib.contextmanager
def _lanes_lock(how):
    """Have tests that run alone wait for the lanes that run beside theirs.

    tools/run_tests.sh names the file when it runs lanes at the same time.
    """
    path = os.environ.get(LOCK)
    if not path:
        yield
        return
    with open(path, 'a') as lock:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if how == fcntl.LOCK_EX:
                Path(os.environ[WAITS]).touch()
            fcntl.flock(lock, how)
        yield


@contextlib.contextmanager
def file_of(regexes):
    """A file of them: a command line has an end."""
    with tempfile.NamedTemporaryFile('w', suffix='.tests') as listed:
        listed.write('\n'.join(regexes) + '\n')
        listed.flush()
        yield listed.name
