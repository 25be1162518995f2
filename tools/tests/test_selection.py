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
import pathlib
import re
import subprocess
import tempfile
import unittest

from tools import selection


class SelectionTest(unittest.TestCase):
    """On a small tree of files that have Nova's names."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = folder.name
        for path, text in {
                'unit/compute/test_manager.py': '',
                'unit/compute/test_manager_late.py': '',
                'unit/compute/test_managers_club.py': '',
                'unit/compute/test_shelve.py':
                    'from nova.compute import manager as compute_manager\n',
                'unit/compute/test_claims.py': 'from nova.compute import x\n',
                'unit/scheduler/test_manager.py': '',
                'unit/virt/test_fake.py': '',
                'unit/virt/libvirt/test_driver.py': '',
                'unit/virt/disk/test_api.py': '',
                'unit/test_policy.py': '',
                'functional/test_servers.py': '',
                'functional/libvirt/base.py': ''}.items():
            path = pathlib.Path(self.tree, 'nova/tests', path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def unit(self, *touched):
        found = selection.for_suite('unit', self.tree, touched)
        return [os.path.relpath(path, 'nova/tests/unit') for path in found]

    def test_by_name_and_by_what_imports_it(self):
        self.assertEqual(
            ['compute/test_manager.py', 'compute/test_manager_late.py',
             'compute/test_shelve.py'],
            self.unit('nova/compute/manager.py'))

    def test_folder_of_tests(self):
        self.assertEqual(['virt/disk/test_api.py'],
                         self.unit('nova/virt/disk.py'))

    def test_the_tests_themselves(self):
        self.assertEqual(['compute/test_claims.py'],
                         self.unit('nova/tests/unit/compute/test_claims.py',
                                   'nova/tests/functional/test_servers.py'))

    def test_watchers_of_a_folder(self):
        self.assertEqual(['test_policy.py'],
                         self.unit('nova/policies/__init__.py'))
        self.assertEqual(['virt/libvirt/test_driver.py', 'virt/test_fake.py'],
                         self.unit('nova/virt/driver.py'))

    def test_functional_is_what_the_series_touches(self):
        self.assertEqual(
            ['nova/tests/functional/test_servers.py'],
            selection.for_suite('functional', self.tree, [
                'nova/compute/manager.py',
                'nova/tests/functional/libvirt/base.py',
                'nova/tests/functional/test_gone.py',
                'nova/tests/functional/test_servers.py']))

    def test_repetitions_are_left_to_the_upstream_lane(self):
        moving = 'nova.tests.functional.test_servers.ServerMovingTests'
        self.assertNotRegex(f'{moving}.test_evacuate',
                            selection.REPETITIONS)
        for nested in ('Computes', 'ResourceRequests'):
            self.assertRegex(f'{moving}WithNested{nested}.test_evacuate',
                             selection.REPETITIONS)

    def test_regex_picks_modules_and_not_their_namesakes(self):
        regex = selection.as_regex(['nova/tests/unit/compute/test_api.py'])
        self.assertRegex('nova.tests.unit.compute.test_api.X.test_y', regex)
        self.assertNotRegex('nova.tests.unit.compute.test_api_b.X.t', regex)


MANAGER = """
class Manager:
    def build(self):
        return 1

    def move(self):
        return 2
"""
TEST_MANAGER = """
class ManagerTest:
    def test_build(self):
        return 1

    def test_late(self):
        return 1
"""
UNIT = 'nova.tests.unit.compute'


class PickTest(unittest.TestCase):
    """On a small repository with the shape of Nova's tree."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = folder.name
        self.git('init', '--quiet')
        self.write({
            'nova/compute/manager.py': MANAGER,
            'nova/virt/driver.py': 'TRAITS = {}\n',
            'nova/tests/unit/compute/test_manager.py': TEST_MANAGER,
            'nova/tests/unit/compute/test_shelve.py':
                'from nova.compute import manager\n',
            'nova/tests/unit/virt/libvirt/test_driver.py': '',
            'nova/tests/functional/test_servers.py': TEST_MANAGER})
        self.git('add', '--all')
        self.git('-c', 'user.name=A Tester', '-c', 'user.email=a@example.org',
                 'commit', '--quiet', '--message', 'x')
        self.write({
            'nova/compute/manager.py': MANAGER.replace('return 2', 'return 3'),
            'nova/tests/unit/xloud/test_size.py': ''})
        self.known = selection.Callers(
            frozenset({'nova/compute/manager.py:Manager.move'}),
            frozenset({f'{UNIT}.test_shelve.ShelveTest.test_move',
                       f'{UNIT}.test_shelve.ShelveTest.test_other'}))

    def git(self, *args):
        return subprocess.run(
            ['git', '-C', self.tree, *args], check=True, text=True,
            stdout=subprocess.PIPE,
            env={**os.environ, 'GIT_CONFIG_GLOBAL': os.devnull}).stdout

    def write(self, files):
        for path, text in files.items():
            path = pathlib.Path(self.tree, path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def pick(self, callers=None, suite='unit'):
        self.git('add', '--all')
        touched = self.git('diff', '--cached', '--name-only').split()
        return selection.pick(suite, self.tree, 'HEAD', touched,
                              self.known if callers is None else callers)

    def test_ours_and_what_calls_a_hook(self):
        picked = self.pick()
        self.assertEqual(['nova/tests/unit/xloud/test_size.py'], picked.files)
        self.assertEqual(sorted(self.known.tests), picked.tests)
        self.assertEqual([], picked.unknown)

    def test_a_new_hook_loses_no_test(self):
        self.write({'nova/compute/manager.py':
                    MANAGER.replace('return 1', 'return 3')})
        picked = self.pick()
        self.assertEqual(['nova/tests/unit/compute/test_manager.py',
                          'nova/tests/unit/compute/test_shelve.py',
                          'nova/tests/unit/xloud/test_size.py'], picked.files)
        self.assertEqual(['nova/compute/manager.py:Manager.build'],
                         picked.unknown)

    def test_nothing_is_known(self):
        picked = self.pick(selection.Callers())
        self.assertIn('nova/tests/unit/compute/test_shelve.py', picked.files)
        self.assertEqual([], picked.tests)

    def test_what_is_not_in_a_function(self):
        self.write({'nova/compute/manager.py': MANAGER + 'LIMIT = 1\n'})
        picked = self.pick()
        self.assertIn('nova/tests/unit/compute/test_manager.py', picked.files)
        self.assertNotIn('nova/tests/unit/compute/test_shelve.py',
                         picked.files)

    def test_one_test_may_watch(self):
        self.write({'nova/virt/driver.py': 'TRAITS = {1: 2}\n'})
        test = 'nova.tests.unit.virt.libvirt.test_driver.A.test_'
        picks = re.compile('|'.join(self.pick().regexes()))
        self.assertTrue(picks.match(test + 'public_api_signatures'))
        self.assertFalse(picks.match(test + 'spawn'))

    def test_a_changed_test_of_upstreams(self):
        path = 'nova/tests/unit/compute/test_manager.py'
        self.write({path: TEST_MANAGER.replace('return 1', 'return 2', 1)})
        picked = self.pick()
        self.assertNotIn(path, picked.files)
        self.assertIn(f'{UNIT}.test_manager.ManagerTest.test_build',
                      picked.tests)
        self.write({path: TEST_MANAGER + 'A = 1\n'})
        self.assertIn(path, self.pick().files)

    def test_a_helper_of_tests(self):
        """A new one is only called by tests that are new or changed."""
        path = 'nova/tests/unit/compute/test_manager.py'
        helped = TEST_MANAGER + """
    def _help(self):
        return 1
"""
        self.write({path: helped})
        self.assertNotIn(path, self.pick().files)
        self.git('add', '--all')
        self.git('-c', 'user.name=A Tester', '-c', 'user.email=a@example.org',
                 'commit', '--quiet', '--message', 'x')
        self.write({path: helped.replace('_help(self):\n        return 1',
                                         '_help(self):\n        return 2')})
        self.assertIn(path, self.pick().files)

    def test_functional(self):
        path = 'nova/tests/functional/test_servers.py'
        self.write({path: TEST_MANAGER.replace('return 1', 'return 2', 1)})
        known = self.known._replace(tests=frozenset())
        picked = self.pick(known, 'functional')
        self.assertEqual([], picked.files)
        self.assertEqual(
            ['nova.tests.functional.test_servers.ManagerTest.test_build'],
            picked.tests)
        self.write({'nova/compute/manager.py':
                    MANAGER.replace('return 1', 'return 3')})
        self.assertEqual([path], self.pick(known, 'functional').files)

    def test_regexes_pick_the_tests_and_no_others(self):
        picks = re.compile('|'.join(self.pick().regexes()))
        for test in (f'{UNIT}.test_shelve.ShelveTest.test_move',
                     f'{UNIT}.test_shelve.ShelveTest.test_move(scenario)',
                     'nova.tests.unit.xloud.test_size.A.test_b'):
            self.assertTrue(picks.match(test), test)
        for test in (f'{UNIT}.test_shelve.ShelveTest.test_moved',
                     f'{UNIT}.test_shelve.OtherTest.test_move'):
            self.assertFalse(picks.match(test), test)


class CallersTest(unittest.TestCase):
    def test_comes_back_as_it_was_written(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'callers', 'x.txt')
            self.assertEqual(selection.Callers(), selection.Callers.load(path))
            callers = selection.Callers(
                frozenset({'a.py:A.b'}), frozenset({'x.T.test_y(a, b)'}))
            callers.save(path)
            self.assertEqual(callers, selection.Callers.load(path))

    def test_all_callers_of_a_hook(self):
        found = selection.Callers().add(
            {'x.T.a': ['h'], 'x.T.b': ['h', 'i'], 'x.T.c': []},
            ['h', 'i'], selection.Common(2))
        self.assertEqual({'h', 'i'}, found.hooks)
        self.assertEqual({'x.T.a', 'x.T.b'}, found.tests)

    def test_of_a_common_hook_one_caller_in_some_classes(self):
        met = {f'x.T{number % 3}.test_{number:03}': ['h']
               for number in range(5)}
        met['x.T1.test_z'] = ['h', 'rare']
        self.assertEqual(
            {'x.T0.test_000', 'x.T1.test_z', 'x.T2.test_002'},
            selection.Callers().add(
                met, ['h', 'rare'], selection.Common(5)).tests)
        self.assertEqual(
            {'x.T0.test_000', 'x.T1.test_z'},
            selection.Callers().add(
                met, ['h', 'rare'], selection.Common(5, classes=2)).tests)
        self.assertEqual(
            {'x.T1.test_z'},
            selection.Callers().add(
                met, ['h', 'rare'], selection.Common(5, classes=1)).tests)
        self.assertEqual(set(met), selection.Callers().add(
            met, ['h', 'rare'], selection.Common(6)).tests)

    def test_what_was_known_stays(self):
        known = selection.Callers(frozenset({'h'}), frozenset({'x.T.a'}))
        found = known.add({'x.T.b': ['i']}, ['i'], selection.Common(1))
        self.assertEqual({'x.T.a', 'x.T.b'}, found.tests)
        self.assertEqual({'i'}, found.without({'i'}).hooks)
