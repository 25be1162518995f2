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
