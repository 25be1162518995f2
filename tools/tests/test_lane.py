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

import collections
import contextlib
import dataclasses
import fcntl
import io
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from unittest import mock

from tools import hooks
from tools.lane import checks
from tools.lane import command
from tools.lane import counting
from tools.lane import projects
from tools.lane import record
from tools.lane import running
from tools.lane import suites
from tools.lane import upstream
from tools import selection
from tools.tests.patience import wait_for
from tools import tree

TESTS = """
import unittest


class Some(unittest.TestCase):
    def test_good(self):
        pass

    def test_bad(self):
        self.fail('the reason')

    @unittest.skip('not here')
    def test_skipped(self):
        pass

    @unittest.expectedFailure
    def test_known(self):
        self.fail()
"""


WORKER = """
import gc
import sys
import unittest


class Worker(unittest.TestCase):
    def test_it(self):
        self.assertFalse(sys.dont_write_bytecode)
        # Python 3.14 has no third generation.
        self.assertIn(gc.get_threshold()[2], (300, 0))
"""
# What "again" finds on the disk is what the first run left there.
FLAKY = """
import os
import unittest


def fails_once(name):
    if not os.path.exists(name):
        open(name, 'w').close()
        raise AssertionError('too busy')


class Flaky(unittest.TestCase):
    def test_good(self):
        pass

    def test_bad(self):
        self.fail('the reason')

    def test_once(self):
        fails_once('once')

    def test_skips_then(self):
        fails_once('skips')
        self.skipTest('not now')


class LateStart(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        fails_once('class')

    def test_one(self):
        pass

    def test_two(self):
        self.fail('the other reason')


class NoStart(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise AssertionError('never')

    def test_one(self):
        pass
"""


# As with testscenarios: the scenarios of a test are known only when it runs.
SCENARIOS = """
import copy
import os
import unittest


class Some(unittest.TestCase):
    scenario = ''

    def id(self):
        return super().id() + self.scenario

    def run(self, result=None):
        for scenario in ('(good)', '(once)'):
            test = copy.copy(self)
            test.scenario = scenario
            super(Some, test).run(result)

    def test_it(self):
        if self.scenario == '(once)' and not os.path.exists('once'):
            open('once', 'w').close()
            self.fail('too busy')
"""
TWO_CLASSES = """
import os
import unittest


class First(unittest.TestCase):
    def tearDown(self):
        with open('workers', 'a') as workers:
            workers.write('%s %d\\n' % (type(self).__name__, os.getpid()))

    def test_1(self):
        pass

    def test_2(self):
        pass

    def test_3(self):
        pass


class Second(First):
    pass
"""
SLOW = """
import os
import time
import unittest


class Slow(unittest.TestCase):
    def test_slow(self):
        with open('worker', 'w') as worker:
            worker.write(str(os.getpid()))
        time.sleep(600)
"""
STOPPED = """
import pathlib
import sys
from tools.lane import command
from tools.lane import running

command.stop_when_told()
running.run_stestr(pathlib.Path(sys.argv[1]), './suite')
"""


class RunStestrTest(unittest.TestCase):
    """With real runs of stestr."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.shown = []
        patch = mock.patch.object(counting, 'show', self.shown.append)
        patch.start()
        self.addCleanup(patch.stop)

    def run_tests(self, text, *what):
        package = self.folder / 'suite'
        package.mkdir()
        (package / '__init__.py').touch()
        (package / 'test_some.py').write_text(text)
        return running.run_stestr(self.folder, './suite', *what)

    def test_counts(self):
        outcome = self.run_tests(TESTS)
        self.assertEqual('x: 2 passed, 1 failed, 1 skipped',
                         outcome.closing_line('x'))
        self.assertEqual(['suite.test_some.Some.test_bad'], outcome.failures)
        self.assertIn('the reason', '\n'.join(self.shown))

    def test_regex(self):
        outcome = self.run_tests(TESTS, 'test_g')
        self.assertEqual('x: 1 passed, 0 failed, 0 skipped',
                         outcome.closing_line('x'))

    def test_one_worker_for_the_tests_that_share_a_set_up(self):
        with mock.patch.dict(running.TEST_ENVIRON, {running.FORKS: '1'}):
            self.assertEqual(6, self.run_tests(TWO_CLASSES).passed)
        lines = (self.folder / 'workers').read_text().splitlines()
        self.assertEqual([3, 3], list(collections.Counter(lines).values()))

    def test_workers_waste_no_time(self):
        """They keep what they compile, and collect garbage less often."""
        with mock.patch.dict(os.environ, {'PYTHONDONTWRITEBYTECODE': '1'}):
            outcome = self.run_tests(WORKER)
        self.assertEqual([], outcome.failures, self.shown)

    def test_nothing_matched_is_a_failure(self):
        outcome = self.run_tests(TESTS, 'no_such_test')
        self.assertEqual(0, outcome.passed)
        self.assertEqual(1, len(outcome.failures))

    def test_a_module_that_cannot_be_imported_is_a_failure(self):
        outcome = self.run_tests('import no_such_module\n')
        self.assertEqual(0, outcome.passed)
        self.assertEqual(1, len(outcome.failures))
        self.assertIn('no_such_module', '\n'.join(self.shown))

    def test_a_worker_that_dies_is_a_failure(self):
        outcome = self.run_tests(
            TESTS.replace("self.fail('the reason')",
                          'import os; os._exit(3)'))
        self.assertTrue(outcome.failures)

    def run_lane(self, *what, text=FLAKY, lane_name='unit'):
        package = self.folder / 'suite'
        package.mkdir()
        (package / '__init__.py').touch()
        (package / 'test_some.py').write_text(text)
        return running.run_lane(lane_name, self.folder, './suite', *what)

    def assert_failed(self, *tests, of):
        self.assertEqual(sorted(tests), sorted(
            test.replace('suite.test_some.', '') for test in of.failures))

    def alone(self):
        return sorted(line.rpartition('.')[2]
                      for text in self.shown for line in text.splitlines()
                      if line.startswith('passed alone: '))

    def test_what_fails_once_counts_as_passed_and_is_named(self):
        outcome = self.run_lane('Flaky')
        self.assert_failed('Flaky.test_bad', of=outcome)
        self.assertEqual('x: 2 passed, 1 failed, 1 skipped',
                         outcome.closing_line('x'))
        self.assertEqual(['test_once'], self.alone())
        self.assertEqual(2, sum(text.startswith('--- traceback') and
                                'the reason' in text for text in self.shown))

    def test_a_scenario_runs_again(self):
        outcome = self.run_lane(text=SCENARIOS)
        self.assert_failed(of=outcome)
        self.assertEqual(2, outcome.passed)
        self.assertEqual(['suite.test_some.Some.test_it(once)'],
                         outcome.passed_alone)

    def test_all_passes_in_the_end(self):
        outcome = self.run_lane('test_once', 'test_good')
        self.assertEqual('x: 2 passed, 0 failed, 0 skipped',
                         outcome.closing_line('x'))

    def test_nothing_runs_beside_what_runs_again(self):
        with mock.patch.object(running, 'run_stestr',
                               side_effect=running.run_stestr) as run:
            self.run_lane('Flaky')
        self.assertEqual([running.WORKERS, '1'],
                         [call[1]['workers'] for call in run.call_args_list])

    def test_what_runs_again_waits_for_the_lanes_beside_it(self):
        lock = self.folder / 'lock'
        seen = []

        def locked(how):
            return not subprocess.run(
                ['flock', '--nonblock', how, lock, 'true']).returncode

        def run_stestr(*args, **kwargs):
            seen.append((locked('--shared'), locked('--exclusive')))
            return run(*args, **kwargs)

        run = running.run_stestr
        with mock.patch.dict(os.environ, {running.LOCK: str(lock)}), \
                mock.patch.object(running, 'run_stestr', run_stestr):
            # With none beside it, it says to nobody that it waits.
            self.run_lane('Flaky')
        self.assertEqual([(True, False), (False, False)], seen)

    def test_it_says_that_it_waits_for_the_lanes_beside_it(self):
        lock, waits = self.folder / 'lock', self.folder / 'waits'
        with mock.patch.dict(os.environ, {running.LOCK: str(lock),
                                          running.WAITS: str(waits)}):
            with open(lock, 'a') as other:
                fcntl.flock(other, fcntl.LOCK_SH)
                waited = threading.Thread(target=lambda: (
                    wait_for(waits.exists), other.close()))
                waited.start()
                self.run_lane('Flaky')
                waited.join()

    def test_a_lane_in_a_test_does_not_wait_for_that_of_the_test(self):
        for name in (running.LOCK, running.WAITS):
            self.assertNotIn(name, os.environ)
            with mock.patch.dict(os.environ, {name: 'x'}):
                self.assertNotIn(name, running._test_environ())

    def test_no_worker_outlives_a_lane_that_is_stopped(self):
        package = self.folder / 'suite'
        package.mkdir()
        (package / '__init__.py').touch()
        (package / 'test_slow.py').write_text(SLOW)
        process = subprocess.Popen([sys.executable, '-c', STOPPED,
                                    str(self.folder)], cwd=tree.ROOT)
        worker = self.folder / 'worker'
        wait_for(lambda: worker.exists() and worker.read_text())
        process.terminate()
        self.assertEqual(1, process.wait(60))
        wait_for(lambda: not Path('/proc', worker.read_text()).exists())

    def test_a_class_that_was_not_set_up_runs_again(self):
        outcome = self.run_lane('LateStart')
        self.assert_failed('LateStart.test_two', of=outcome)
        self.assertEqual(1, outcome.passed)
        self.assertEqual(['test_one'], self.alone())

    def test_a_class_that_is_never_set_up_fails(self):
        outcome = self.run_lane('NoStart|test_good')
        self.assert_failed('setUpClass (NoStart)', of=outcome)

    def test_more_failures_than_the_limit_are_not_run_again(self):
        with mock.patch.dict(running.AGAIN, unit=2):
            outcome = self.run_lane('Flaky')
        self.assert_failed('Flaky.test_bad', 'Flaky.test_once',
                           'Flaky.test_skips_then', of=outcome)
        self.assertEqual([], self.alone())
        self.assertIn('3 failed.  Of more than 2 none is run again.',
                      '\n'.join(self.shown))

    def test_a_worker_that_died_is_not_made_good(self):
        outcome = self.run_lane(text=TESTS.replace(
            "self.fail('the reason')",
            'import os; os.path.exists("x") or '
            '(open("x", "w").close(), os._exit(3))'))
        self.assertIn('suite.test_some.Some.test_bad', outcome.passed_alone)
        self.assertEqual(
            ['a worker died in suite.test_some.Some.test_bad'],
            outcome.failures)

    def test_the_slowest_are_shown(self):
        self.run_lane(text=TESTS)
        (text,) = [text for text in self.shown if 'slowest' in text]
        self.assertRegex(text, r' s  suite\.test_some\.Some\.test_good')

    def test_each_lane_of_tests_has_a_limit(self):
        self.assertEqual(
            set(command.LANES) - {
                'pep8', 'docs', 'newest', 'machine', 'horizon', 'clients',
                'browser', *projects.PROOFS},
            set(running.AGAIN))

    def test_what_is_picked_runs_and_what_is_not_known_is_named(self):
        package = self.folder / 'nova' / 'tests' / 'unit'
        package.mkdir(parents=True)
        for folder in (package, *package.parents[:2]):
            (folder / '__init__.py').touch()
        (package / 'test_some.py').write_text(TESTS)
        picked = selection.Picked(
            [], [], ['nova.tests.unit.test_some.Some.test_good'],
            ['nova/a.py:A.b'])
        with mock.patch.object(tree, 'TREE', self.folder), (
                mock.patch.object(suites, 'pick', lambda name: picked)):
            outcome = suites.suite('unit', [])
        self.assertEqual('x: 1 passed, 0 failed, 0 skipped',
                         outcome.closing_line('x'))
        self.assertIn('nova/a.py:A.b', '\n'.join(self.shown))


class CheckTest(unittest.TestCase):
    def test_all_are_run_and_what_they_say_is_shown_in_order(self):
        shown = []
        with mock.patch.object(counting, 'show', shown.append):
            outcome = checks.check_all(*(
                [checks.Check(name, [sys.executable, '-c', text])
                 for name, text in chain] for chain in (
                    [('slow', 'import time; time.sleep(0.5); print("done")'),
                     ('bad', 'import sys; sys.exit("wrong")')],
                    [('silent', '')])))
        self.assertEqual(['done', 'ok slow', 'wrong', 'FAILED bad',
                          'ok silent'], shown)
        self.assertEqual('x: 2 passed, 1 failed, 0 skipped',
                         outcome.closing_line('x'))


class OutcomeTest(unittest.TestCase):
    def test_the_slowest_ten(self):
        outcome = counting.Outcome(seconds={f't{n}': n for n in range(12)})
        lines = outcome.slowest()
        self.assertEqual('  11.0 s  t11', lines[0])
        self.assertEqual(10, len(lines))


class CollectorTest(unittest.TestCase):
    def test_signs_of_life(self):
        now = [0]
        shown = []
        collector = counting.Collector(shown.append, clock=lambda: now[0])
        for now[0] in (10, 29, 31, 32):
            collector.ended({'id': 't', 'status': 'success', 'details': {},
                             'timestamps': [None, None]})
        self.assertEqual(['... 3 tests, 0 failed'], shown)


class UpstreamTest(unittest.TestCase):
    def test_only_what_fails_with_us_alone_counts(self):
        both, ours = 'nova.both', 'nova.ours'
        failures, verdicts = upstream.judge(
            [both, ours, 'process-returncode'], base=[both])
        self.assertEqual([ours, 'process-returncode'], failures)
        self.assertEqual(3, len(verdicts))


class ModeTest(unittest.TestCase):
    """Which ways of running requests at once the tests are run in."""

    def setUp(self):
        def run_lane(*_args, **_kwargs):
            self.modes.append(
                running.TEST_ENVIRON[suites.CONCURRENCY_VARIABLE])
            self.forked.append(
                running.TEST_ENVIRON.get(running.FORKS))
            return counting.Outcome(passed=1)

        self.modes, self.forked = [], []
        both = dataclasses.replace(
            tree.LANES, concurrency=('threading', 'eventlet'))
        for target, name, new in (
                (tree, 'LANES', both),
                (running, 'run_lane', run_lane),
                (running, 'TEST_ENVIRON', dict(running.TEST_ENVIRON)),
                (counting, 'show', lambda text: None)):
            patched = mock.patch.object(target, name, new)
            patched.start()
            self.addCleanup(patched.stop)

    def test_upstream(self):
        self.assertEqual(2, upstream.upstream([]).passed)
        self.assertEqual(['true', 'false'], self.modes)

    def test_only_functional_tests_with_green_threads_are_forked(self):
        picked = selection.Picked(['a'], [], [], [])
        for suite, wanted in ('unit', ['', '']), ('functional', ['', '1']):
            self.forked.clear()
            with mock.patch.object(suites, 'pick', return_value=picked):
                suites.suite(suite, [], modes=['threading', 'eventlet'])
            self.assertEqual(wanted, self.forked)

    def test_upstream_in_one(self):
        with mock.patch.dict(os.environ, XLOUD_CONCURRENCY='eventlet'):
            self.assertEqual(1, upstream.upstream(['functional']).passed)
        self.assertEqual(['false'], self.modes)

    def record(self, in_tree, known=''):
        """What is saved, where an older release has recorded something."""
        def save(callers, path):
            saved.append((callers, path))

        saved = []
        with tempfile.NamedTemporaryFile('w') as older, (
                mock.patch.object(hooks, 'in_tree', lambda *args: in_tree)), (
                mock.patch.object(tree, 'base')), (
                mock.patch.object(tree, 'touched', list)), (
                mock.patch.object(tree, 'added', list)), (
                mock.patch.object(hooks, 'Record')) as recorded, (
                mock.patch.object(selection, 'callers_of',
                                  lambda *args: ['nova/tests/unit/test_a.py'])
                ), mock.patch.object(selection.Callers, 'save', save), (
                mock.patch.object(suites, 'known_callers',
                                  lambda name: older.name)):
            older.write(known)
            older.flush()
            recorded.return_value.environ.return_value = {}
            recorded.return_value.hooks_met.return_value = {
                'nova.new': set(in_tree)}
            record.record(['unit'])
        [(callers, path)] = saved
        self.assertEqual(suites.callers_file('unit'), path)
        return callers

    def test_record(self):
        """Who calls a hook that only one of them has is known, too."""
        with mock.patch.dict(os.environ, XLOUD_CONCURRENCY='eventlet'):
            self.record({'a.py:b'})
        self.assertEqual(['true', 'false'], self.modes)

    def test_record_goes_on_from_what_the_lane_knows(self):
        callers = self.record({'a.py:b', 'c.py:d'}, known=(
            'hook a.py:b\nhook gone.py:e\ntest nova.older\n'))
        self.assertEqual({'a.py:b', 'c.py:d'}, callers.hooks)
        self.assertEqual({'nova.older', 'nova.new'}, callers.tests)


class TreeTest(unittest.TestCase):
    """On a small repository with the shape of the materialised tree."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Path(folder.name)
        self.git('init', '--quiet')
        self.write('nova/kept.py', 'nova/changed.py', 'nova/gone.py')
        self.commit()
        self.git('update-ref', 'refs/xloud/base', 'HEAD')
        self.base = tree.git('rev-parse', 'HEAD', tree=self.tree).strip()
        self.write('nova/ours.py')
        (self.tree / 'nova/changed.py').write_text('hook\n')
        (self.tree / 'nova/gone.py').unlink()
        self.commit()
        self.write('nova/not_committed.py')

    def git(self, *args):
        subprocess.run(['git', '-C', str(self.tree), *args], check=True,
                       env={'PATH': os.environ['PATH'],
                            'HOME': '/nonexistent',
                            'GIT_CONFIG_GLOBAL': os.devnull,
                            'GIT_CONFIG_NOSYSTEM': '1'})

    def commit(self):
        self.git('add', '--all')
        self.git('-c', 'user.name=A Tester', '-c', 'user.email=a@example.org',
                 'commit', '--quiet', '--message', 'x')

    def write(self, *paths):
        for path in paths:
            (self.tree / path).parent.mkdir(exist_ok=True)
            (self.tree / path).touch()

    def test_base(self):
        self.assertEqual(self.base, tree.base(self.tree))

    def test_the_repository_of_a_hook_is_another_one(self):
        with mock.patch.dict(os.environ, GIT_DIR='/nonexistent'):
            self.assertEqual(self.base, tree.base(self.tree))

    def test_somebody_else_has_made_the_tree(self):
        """As where a container runs as root in the folder of a person."""
        with tempfile.TemporaryDirectory() as folder:
            wrapper = Path(folder, 'git')
            wrapper.write_text(
                '#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 '
                f'exec {shutil.which("git")} "$@"\n')
            wrapper.chmod(0o755)
            with mock.patch.dict(
                    os.environ, PATH=f'{folder}:{os.environ["PATH"]}'):
                self.assertEqual(self.base, tree.base(self.tree))
                self.assertIn('nova/ours.py', tree.touched(self.tree))
                self.assertEqual({'nova/changed.py'}, set(
                    hooks.changed_lines(str(self.tree), self.base)))
                tree.git('clone', '--quiet', '--shared', '--no-checkout',
                         str(self.tree), folder + '/clone', tree=self.tree)

    def test_only_a_tree_with_work_is_tested_as_it_stands(self):
        """The tool also refuses for other reasons; the tree is old then."""
        with tempfile.TemporaryDirectory() as folder:
            found = Path(folder, 'nova-x')
            self.tree.rename(found)
            self.tree = found
            self.git('checkout', '--quiet', '-B', 'xloud/x')
            self.git('reset', '--quiet', '--hard')
            self.git('clean', '--quiet', '-d', '--force')
            self.git('update-ref', 'refs/xloud/applied', 'HEAD')
            refuse = Path(folder, 'refuse')
            refuse.write_text('#!/bin/sh\n[ "$XLOUD_SERIES_WAIT" = yes ] && '
                              f'exit {tree.REFUSED}\n')
            refuse.chmod(0o755)
            with mock.patch.object(tree, 'TREE', found), mock.patch.object(
                    tree, 'ROOT', Path(folder)), mock.patch.object(
                    tree.sys, 'executable', str(refuse)), \
                    contextlib.redirect_stdout(io.StringIO()) as said:
                with self.assertRaises(SystemExit) as ended:
                    tree.refresh_tree()
                self.assertEqual(tree.REFUSED, ended.exception.code)
                for work in (
                        lambda: found.joinpath('draft.py').touch(),
                        lambda: self.git(
                            '-c', 'user.name=A', '-c', 'user.email=a@b.org',
                            'commit', '--quiet', '--allow-empty', '-m', 'x'),
                        lambda: self.git('checkout', '--quiet', '--detach',
                                         'refs/xloud/applied')):
                    work()
                    tree.refresh_tree()
                    self.git('clean', '--quiet', '-d', '--force')
            self.assertEqual(3, said.getvalue().count('as it stands'))

    def test_the_commit_of_a_repository_and_of_a_source_archive(self):
        commit = tree.git('rev-parse', 'HEAD', tree=self.tree).strip()
        archive = self.tree / 'packages/series'
        archive.mkdir(parents=True)
        new = self.tree / 'new'
        subprocess.run(['git', 'init', '--quiet', str(new)], check=True)
        for root, expected in ((self.tree, commit), (archive, None),
                               (new, None)):
            with mock.patch.object(tree, 'ROOT', root):
                self.assertEqual(expected, tree.commit())

    def test_touched_is_committed_or_not(self):
        self.assertEqual(
            ['nova/changed.py', 'nova/not_committed.py', 'nova/ours.py'],
            tree.touched(self.tree))
