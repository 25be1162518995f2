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

import os
from pathlib import Path
import subprocess
import tempfile
import unittest
from unittest import mock

from tools import lane
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


GUESTS = """
import os

import testtools
from testtools import content


class Guests(testtools.TestCase):
    def die(self):
        self.addDetail('guest died', content.text_content('kernel BUG at x:1'))
        self.fail()

    def test_good(self):
        pass

    def test_bad(self):
        self.fail()

    def test_broken_once(self):
        if not os.path.exists('broken'):
            open('broken', 'w').close()
            self.die()

    def test_deadly(self):
        self.die()
"""


class RunStestrTest(unittest.TestCase):
    """With real runs of stestr."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.shown = []
        patch = mock.patch.object(lane, '_show', self.shown.append)
        patch.start()
        self.addCleanup(patch.stop)

    def run_tests(self, text, *what):
        package = self.folder / 'suite'
        package.mkdir()
        (package / '__init__.py').touch()
        (package / 'test_some.py').write_text(text)
        return lane.run_stestr(self.folder, './suite', *what)

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

    def test_only_what_a_guest_died_of_runs_again(self):
        package = self.folder / 'nova' / 'tests' / 'hypervisor'
        package.mkdir(parents=True)
        for folder in (package, *package.parents[:2]):
            (folder / '__init__.py').touch()
        (package / 'test_guests.py').write_text(GUESTS)
        with mock.patch.object(tree, 'TREE', self.folder):
            outcome = lane.hypervisor(['Guests'])
        self.assertEqual('x: 2 passed, 2 failed, 0 skipped',
                         outcome.closing_line('x'))
        self.assertEqual(['test_bad', 'test_deadly'], sorted(
            test.rpartition('.')[2] for test in outcome.failures))
        again = [text for text in self.shown if 'again' in text]
        self.assertEqual(2, len(again))
        self.assertIn('its guest died of kernel BUG at x:1', again[0])


class CollectorTest(unittest.TestCase):
    def test_signs_of_life(self):
        now = [0]
        shown = []
        collector = lane.Collector(shown.append, clock=lambda: now[0])
        for now[0] in (10, 29, 31, 32):
            collector.ended({'id': 't', 'status': 'success', 'details': {}})
        self.assertEqual(['... 3 tests, 0 failed'], shown)


class JudgeTest(unittest.TestCase):
    def test_only_what_fails_with_us_alone_counts(self):
        both, ours, once = 'nova.both', 'nova.ours', 'nova.once'
        failures, verdicts = lane.judge(
            [both, ours, once, 'process-returncode'],
            here={both, ours}, base={both})
        self.assertEqual([ours, 'process-returncode'], failures)
        self.assertEqual(4, len(verdicts))


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

    def test_touched_is_committed_or_not(self):
        self.assertEqual(
            ['nova/changed.py', 'nova/not_committed.py', 'nova/ours.py'],
            tree.touched(self.tree))
