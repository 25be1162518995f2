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
from concurrent import futures
import contextlib
import dataclasses
import fcntl
import os
from pathlib import Path
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing as ty

from tools import clients
from tools import hooks
from tools import horizon
from tools import reference
from tools import releases
from tools import selection
from tools import tree

SUITES = ('unit', 'functional')
WORKERS = os.environ.get('XLOUD_TEST_WORKERS', '2')
# The services of a functional test wait for each other now and then.
WAITING_WORKERS = os.environ.get('XLOUD_TEST_WORKERS', '3')
# An emulated guest takes two cores as it is, and is late where others do, too.
GUEST_WORKERS = os.environ.get('XLOUD_TEST_WORKERS', '1')
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
# Native threads, or eventlet's green ones; upstream's name is from the time
# when only the latter were there.
CONCURRENCY_VARIABLE = 'OS_NOVA_DISABLE_EVENTLET_PATCHING'
CONCURRENCY = {'threading': 'true', 'eventlet': 'false'}
# Names the file that lanes lock which run at the same time.
LOCK = 'XLOUD_LANES_LOCK'
DIED = ('inprogress', 'unknown')
FAILED = ('fail', 'uxsuccess', *DIED)
SECONDS_BETWEEN_SIGNS = 30
# How many failed tests of a lane are run again, alone.  A machine that is busy
# fails a few of its tests; a change that is wrong fails many.
AGAIN = {'py3': 3, 'unit': 5, 'functional': 8, 'hypervisor': 5,
         'upstream': 50, 'record': 8}
SLOWEST = 10
# An answer in a few minutes, of what is most likely to be wrong.
QUICK = os.environ.get('XLOUD_QUICK')
QUICK_TESTS = {
    'unit': [r'^nova\.tests\.unit\.(.*\.)?(test_)?xloud'],
    'hypervisor': [r'\.test_adjust\.AdjustTestCase\.'
                   r'test_grow_and_shrink$']}
SLOW_TOOL_TESTS = r'tools\.tests\.|benchmarks\.'
# The names of failures that can be run again: a test, or a class that could
# not be set up, with all its tests.
_TEST = re.compile(r'[^\W\d]\w*(\.\w+){2,}(\(.*\))?')
_CLASS = re.compile(r'setUpClass \((\S+)\)')
# What else has a series, each in a folder of its name.
PROJECTS = ('horizon',)
# Scripts in packaging/tests.
PROOFS = ('packages', 'deb', 'rpm', 'image')
PAGES = ('README.rst', 'CHANGES.rst', 'CONTRIBUTING.rst', 'HACKING.rst',
         'patches/README.rst', 'deploy/README.rst', 'horizon/README.rst')


@dataclasses.dataclass
class Outcome:
    """What became of the tests of a lane, or of its checks."""

    passed: int = 0
    skipped: int = 0
    failures: ty.List[str] = dataclasses.field(default_factory=list)
    passed_alone: ty.List[str] = dataclasses.field(default_factory=list)
    # By test: how it ended, and how long it took.
    ended: ty.Dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: ty.Dict[str, float] = dataclasses.field(default_factory=dict)

    def add(self, other: 'Outcome') -> None:
        """Count what became of more tests."""
        self.passed += other.passed
        self.skipped += other.skipped
        self.failures += other.failures
        self.passed_alone += other.passed_alone

    def closing_line(self, lane):
        return (f'{lane}: {self.passed} passed, {len(self.failures)} failed, '
                f'{self.skipped} skipped')

    def slowest(self):
        """Lines for people, the slowest test first."""
        slowest = sorted(self.seconds, key=self.seconds.get, reverse=True)
        return [f'{self.seconds[test]:6.1f} s  {test}'
                for test in slowest[:SLOWEST]]


class Check(ty.NamedTuple):
    """A command that says what is wrong, and fails then."""

    name: str
    command: ty.Sequence[str]
    cwd: Path = tree.ROOT


class Collector:
    """Counts tests as they end; shows failures at once, progress at times."""

    def __init__(self, show=print, clock=time.monotonic):
        self.outcome = Outcome()
        self._show = show
        self._clock = clock
        self._signed = clock()
        self._text = b''

    def status(self, test_id=None, _status=None, _tags=None, _runnable=True,
               _file_name=None, file_bytes=None, **_kwargs):
        """Keep what comes between the tests: it says why there are none."""
        if test_id is None and file_bytes:
            self._text += bytes(file_bytes)

    def show_text(self):
        text = self._text.decode(errors='replace').strip()
        if text:
            self._show(text)

    def ended(self, test):
        outcome = self.outcome
        if test['status'] == 'exists':  # named before it runs
            return
        outcome.ended[test['id']] = test['status']
        began, stopped = test['timestamps']
        if began and stopped:
            outcome.seconds[test['id']] = (stopped - began).total_seconds()
        if test['status'] in FAILED:
            outcome.failures.append(test['id'])
            if test['status'] in DIED:
                # Nobody knows what else the worker had to run.
                outcome.failures.append(f'a worker died in {test["id"]}')
            self._show(f'\nFAILED {test["id"]}')
            for name, content in test['details'].items():
                text = content.as_text().rstrip() if (
                    content.content_type.type == 'text') else ''
                if text:
                    self._show(f'--- {name}\n{text}')
        elif test['status'] == 'skip':
            outcome.skipped += 1
        else:
            outcome.passed += 1
        if self._clock() - self._signed >= SECONDS_BETWEEN_SIGNS:
            self._signed = self._clock()
            ended = outcome.passed + outcome.skipped + len(outcome.failures)
            self._show(f'... {ended} tests, {len(outcome.failures)} failed')


def run_stestr(folder: Path, test_path: str, *what: str,
               workers: str = WORKERS, quiet: bool = False) -> Outcome:
    """Run tests with stestr in a folder; what they print is kept there."""
    import subunit
    import testtools

    collector = Collector(show=(lambda text: None) if quiet else _show)
    result = testtools.StreamToDict(collector.ended)
    result.startTestRun()
    # Suites that run at the same time have a repository each.
    repository = folder / '.stestr' / Path(test_path).name
    repository.mkdir(parents=True, exist_ok=True)
    with _ended_whole(subprocess.Popen(
            [sys.executable, '-m', 'stestr', '--test-path', test_path,
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


def _test_environ():
    environ = {**os.environ, **TEST_ENVIRON}
    # Each worker would compile all of Nova and its tests.
    environ.pop('PYTHONDONTWRITEBYTECODE', None)
    environ['PYTHONPATH'] = os.pathsep.join(filter(None, [
        str(tree.ROOT / 'tools' / 'probe'), environ.get('PYTHONPATH')]))
    environ['XLOUD_LANE'] = '1'
    # A test of this module would wait for the lane that it is in.
    environ.pop(LOCK, None)
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
             workers: str = WORKERS) -> Outcome:
    """Run the tests of a lane; run once more, alone, those that fail."""
    with _lanes_lock(fcntl.LOCK_SH):
        outcome = run_stestr(folder, test_path, *what, workers=workers)
    if outcome.seconds:
        _show('\n'.join(['', f'the slowest tests of {lane}:',
                         *outcome.slowest()]))
    return again_alone(outcome, AGAIN[lane], folder, test_path)


def again_alone(outcome: Outcome, limit: int, folder: Path,
                test_path: str) -> Outcome:
    """What becomes of tests that failed when nothing runs beside them.

    A machine may be so busy that a test gives up waiting, and QEMU without KVM
    may break a guest that has done nothing wrong.  Neither happens twice, and
    a fault of ours does.  What failed but is no test, a worker that died for
    example, stays as it is.

    :param limit: of more failures than this none is run again
    """
    suspects = {test: _as_regex(test) for test in outcome.failures}
    regexes = sorted(filter(None, suspects.values()))
    if not regexes:
        return outcome
    if len(suspects) > limit:
        _show(f'\n{len(suspects)} failed.  Of more than {limit} none is run '
              'again.')
        return outcome
    _show('\n'.join(['', 'again, alone:', *filter(suspects.get, suspects)]))
    with _listed(regexes) as listed, _lanes_lock(fcntl.LOCK_EX):
        again = run_stestr(folder, test_path, '--include-list', listed,
                           workers='1')
    failures = [test for test, regex in suspects.items()
                if not (regex and any(re.search(regex, other)
                                      for other in again.ended))]
    failures += [test for test in again.failures if test not in failures]
    passed_alone = sorted(test for test, status in again.ended.items()
                          if status == 'success')
    _show('\n'.join(f'passed alone: {test}' for test in passed_alone))
    # Where workers share a class, one may have had its tests pass already.
    ended = {**outcome.ended, **again.ended}
    skipped = list(ended.values()).count('skip')
    return Outcome(
        sum(status not in FAILED for status in ended.values()) - skipped,
        skipped, failures, passed_alone, ended, outcome.seconds)


def _as_regex(failure):
    """What picks a failed test, or the tests of a class that had no start."""
    named = _CLASS.fullmatch(failure)
    if named:
        return rf'^{re.escape(named[1])}\.'
    if _TEST.fullmatch(failure) and not failure.startswith('unittest.'):
        # What follows a # is a comment to stestr.
        return '^%s$' % re.escape(failure).replace(r'\#', '.')
    return None


def py3(regexes):
    if QUICK and not regexes:
        regexes = ['--exclude-regex', SLOW_TOOL_TESTS]
    return run_lane('py3', tree.ROOT, './', *regexes)


def suite(name, regexes, workers=WORKERS):
    """Upstream's tests of what the series touches, and ours.

    Once for each way in which this release runs requests at once.
    """
    total = Outcome()
    asked = os.environ.get('XLOUD_CONCURRENCY', '').split()
    for mode in asked or tree.LANES.concurrency:
        if len(tree.LANES.concurrency) > 1:
            _show(f'\n{name}, {mode}:')
        TEST_ENVIRON[CONCURRENCY_VARIABLE] = CONCURRENCY[mode]
        total.add(_suite(name, regexes, workers))
    return total


def _suite(name, regexes, workers):
    if not regexes and QUICK and name in QUICK_TESTS:
        regexes = QUICK_TESTS[name]
    test_path = f'./nova/tests/{name}'
    if regexes:
        return run_lane(name, tree.TREE, test_path, *regexes, workers=workers)
    picked = pick(name)
    if not picked.files + picked.tests:
        _show(f'the series touches nothing that has {name} tests')
        return Outcome()
    _show('\n'.join([f'all tests of {len(picked.files)} files, and '
                     f'{len(picked.tests)} others that call what the series '
                     'changes:', *picked.files]))
    if picked.unknown:
        _show('\n'.join([
            "not known yet is who calls these, so all tests of their modules "
            f'run ("tools/run_tests.sh record -- {name}" finds out):',
            *picked.unknown]))
    with _listed(picked.regexes()) as listed:
        return run_lane(name, tree.TREE, test_path, '--include-list', listed,
                        '--exclude-regex', selection.REPETITIONS,
                        workers=workers)


def pick(name):
    return selection.pick(name, str(tree.TREE), tree.base(), tree.touched(),
                          selection.Callers.load(_known_callers(name)))


def _callers_file(name, release=tree.RELEASE):
    return str(tree.ROOT / 'tools' / 'callers' / f'{release}-{name}.txt')


def _known_callers(name):
    """What is recorded of this release, or else of the nearest older one.

    Most tests have the same name there.  A function that has another name is
    one that is not known yet.
    """
    older = [release for release in releases.known()
             if release <= tree.RELEASE]
    for release in reversed(older):
        recorded = _callers_file(name, release)
        if os.path.exists(recorded):
            return recorded
    return _callers_file(name)


def record(arguments):
    """Write which of upstream's tests call a hook, for what is not known.

    Arguments are suites, both if there is none, and "all" to forget what is
    known. This takes as long as all tests that may call them.
    """
    total = Outcome()
    for name in [word for word in arguments if word in SUITES] or SUITES:
        total.add(_record(name, 'all' in arguments))
    return total


def _record(name, anew):
    in_tree = hooks.in_tree(str(tree.TREE), tree.base())
    file = _callers_file(name)
    callers = (selection.Callers() if anew else
               selection.Callers.load(file))
    unknown = in_tree - callers.hooks
    touched = tree.touched()
    new = set(tree.added())
    files = [path for path in selection.callers_of(
        name, str(tree.TREE), unknown, touched) if path not in new]
    if not unknown or not files:
        _show(f'{name}: nothing is unknown')
        return Outcome()
    _show('\n'.join([f'{name}: who calls', *sorted(unknown), 'of', *files]))
    with tempfile.TemporaryDirectory() as folder:
        recorded = hooks.Record(folder)
        os.environ.update(recorded.environ(str(tree.TREE), tree.base()))
        outcome = run_lane(
            'record', tree.TREE, f'./nova/tests/{name}',
            selection.as_regex(files), '--exclude-regex',
            selection.REPETITIONS)
        met = recorded.hooks_met()
    if outcome.failures:
        _show(f'{file} stays as it is: tests failed')
    else:
        callers.add({test: called & unknown for test, called in met.items()},
                    unknown).without(in_tree).save(file)
    return outcome


def upstream(arguments):
    """All of a suite; only what fails with us and not without us counts."""
    name = arguments.pop(0) if arguments[:1] and (
        arguments[0] in SUITES) else 'unit'
    test_path = f'./nova/tests/{name}'
    outcome = run_lane('upstream', tree.TREE, test_path, *arguments)
    regexes = sorted(filter(None, map(_as_regex, outcome.failures)))
    if not regexes or len(outcome.failures) > AGAIN['upstream']:
        return outcome
    _show(f'\nagain, on the untouched base: {len(regexes)} tests')
    tree.make_base_tree()
    with _listed(regexes) as listed:
        base = run_stestr(tree.BASE_TREE, test_path, '--include-list', listed,
                          workers='1', quiet=True)
    outcome.failures, verdicts = judge(outcome.failures, base.failures)
    _show('\n'.join(verdicts))
    return outcome


def judge(suspects, base):
    """Tell our failures from upstream's.

    A suspect that is no test (a worker that died, say) cannot be run again;
    it is ours until someone has looked.
    """
    ours = [test for test in suspects if test not in base]
    return ours, [
        ('FAILS ONLY WITH THE SERIES: ' if test in ours else
         'fails on the base too: ') + test for test in suspects]


def machine(arguments):
    """Anything to elastic servers in any order, for as long as is asked."""
    outcome = Outcome()
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
    outcome = Outcome()
    if not what:
        outcome.add(check_all([Check('the series on horizon', [
            sys.executable, '-m', 'xloud_series', '--project', 'horizon',
            'check'])]))
    for release in horizon.TESTED:
        result = horizon.run_tests(release, what)
        _show(f'Horizon {horizon.version_of(release)}: {result.passed} tests '
              f'passed')
        outcome.add(Outcome(result.passed, result.skipped, result.failures))
    if not what:
        outcome.add(check_all([Check('what its forms ask Nova for', [
            sys.executable, '-m', 'tools.horizon', 'matrix', '--check'])]))
    return outcome


def pep8(_arguments):
    touched = tree.touched()
    python = [path for path in touched if path.endswith('.py')]
    prose = [*PAGES, 'doc', 'guide']
    flake8 = [sys.executable, '-m', 'flake8']
    checks = [Check('flake8: the repository', flake8)]
    if python:
        # In the tree, with the tree's configuration: Nova's own N checks.
        checks.append(Check(f'flake8: {len(python)} files of the series',
                            [*flake8, *python], cwd=tree.TREE))
    checks.append(Check('doc8', [sys.executable, '-m', 'doc8', '--quiet',
                                 *_existing(prose)]))
    series = [sys.executable, '-m', 'xloud_series']
    return check_all(checks, [
        Check('the series', [*series, 'check', tree.RELEASE]),
        *(Check(f'the series on {project}',
                [*series, '--project', project, 'check', releases.OLDEST])
          for project in PROJECTS)])


def docs(_arguments):
    site, checks = [], []
    if _existing(['guide/index.rst']):
        site.append(Check('the guide and the manual', [
            sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going',
            '-c', 'tools/docs', '-d', 'build/docs/.doctrees',
            str(_make_site()), 'build/docs/html']))
    for page in PAGES:
        # What a forge does to show it, but a warning is an error.
        checks.append(Check(page, [sys.executable, '-m', 'docutils',
                                   '--strict', page, os.devnull]))
    if _existing(['releasenotes/notes']):
        checks.append(Check('release notes', [sys.executable, '-m',
                                              'reno.main', 'lint']))
    checks.append(Check('CHANGES.rst', [sys.executable, '-m', 'tools.changes',
                                        '--check']))
    return check_all(site, checks)


def both_ends(ends):
    """What is under clients/, with the oldest and the newest it supports."""
    outcome = Outcome()
    for end in ends:
        result = clients.run(end, _show)
        outcome.passed += result.ran - result.failed - result.skipped
        outcome.skipped += result.skipped
        outcome.failures += [f'{end.client}, {end.name}'] * result.failed
    return outcome


def _make_site():
    """Put the guide and the manual together, as in Nova's folder doc."""
    doc = tree.ROOT / 'build' / 'docs' / 'doc'
    shutil.rmtree(doc, ignore_errors=True)
    (doc / 'source').mkdir(parents=True)
    for page in (tree.ROOT / 'guide').iterdir():
        (doc / 'source' / page.name).symlink_to(page)
    for folder in ('api_samples', 'source/xloud'):
        (doc / folder).symlink_to(tree.ROOT / 'doc' / folder)
    reference.write(reference.Series(tree.TREE), doc / 'source',
                    tree.git('rev-parse', 'HEAD', tree=tree.ROOT).strip())
    return doc / 'source'


def prove(name):
    """Run a script that prints a line for each claim that is true."""
    outcome = Outcome()
    with subprocess.Popen(
            [f'packaging/tests/{name}.sh'], cwd=tree.ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            _show(line.rstrip('\n'))
            outcome.passed += line.startswith('ok ')
    if process.returncode:
        outcome.failures.append(name)
    return outcome


def check_all(*chains: ty.Sequence[Check]) -> Outcome:
    """Run chains of checks at the same time; show all in order."""
    outcome = Outcome()
    with futures.ThreadPoolExecutor(int(WORKERS)) as pool:
        said = pool.map(lambda chain: list(map(_run_check, chain)), chains)
        for check, done in zip(sum(map(list, chains), []),
                               (done for chain in said for done in chain)):
            if done.stdout.strip():
                _show(done.stdout.rstrip('\n'))
            if done.returncode:
                outcome.failures.append(check.name)
                _show(f'FAILED {check.name}')
            else:
                outcome.passed += 1
                _show(f'ok {check.name}')
    return outcome


def _run_check(check):
    return subprocess.run(
        check.command, cwd=check.cwd, encoding='utf-8', errors='replace',
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def cpu_seconds():
    """What this process and all that it waited for have used."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def stop_when_told():
    """End as from a terminal, with all that was started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def _existing(paths):
    return [path for path in paths if (tree.ROOT / path).exists()]


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
        fcntl.flock(lock, how)
        yield


@contextlib.contextmanager
def _listed(regexes):
    """A file of them: a command line has an end."""
    with tempfile.NamedTemporaryFile('w', suffix='.tests') as listed:
        listed.write('\n'.join(regexes) + '\n')
        listed.flush()
        yield listed.name


def _show(text):
    print(text, flush=True)


LANES = {
    'pep8': pep8,
    'py3': py3,
    'unit': lambda regexes: suite('unit', regexes),
    'functional': lambda regexes: suite(
        'functional', regexes, WAITING_WORKERS),
    'hypervisor': lambda regexes: suite(
        'hypervisor', regexes, GUEST_WORKERS),
    'upstream': upstream,
    'record': record,
    'machine': machine,
    'docs': docs,
    'horizon': with_horizon,
    'clients': lambda _arguments: both_ends(clients.UNIT),
    'browser': lambda _arguments: both_ends(clients.BROWSER),
    **{name: lambda _arguments, name=name: prove(name) for name in PROOFS},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('lane', choices=LANES)
    parser.add_argument('arguments', nargs=argparse.REMAINDER,
                        metavar='REGEX')
    asked = parser.parse_args()
    stop_when_told()
    outcome = LANES[asked.lane](asked.arguments)
    _show(f'{asked.lane} took {cpu_seconds():.0f} s of the processors')
    if outcome.failures:
        _show('\n'.join(['', f'failed in {asked.lane}:', *outcome.failures]))
    _show(outcome.closing_line(asked.lane))
    return 1 if outcome.failures else 0


if __name__ == '__main__':
    sys.exit(main())
