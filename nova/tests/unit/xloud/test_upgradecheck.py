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

import hashlib
from pathlib import Path
from unittest import mock

import fixtures
from oslo_upgradecheck import upgradecheck as oslo_upgradecheck

from nova.cmd import status
from nova import test
from nova.xloud import upgradecheck
from nova.xloud import verify

SUCCESS = oslo_upgradecheck.Code.SUCCESS
WARNING = oslo_upgradecheck.Code.WARNING
FAILURE = oslo_upgradecheck.Code.FAILURE


class InstallationTestCase(test.NoDBTestCase):
    def setUp(self):
        super().setUp()
        root = Path(self.useFixture(fixtures.TempDir()).path)
        self.folder = root / 'nova'
        self.folder.mkdir()
        metadata = root / 'nova-1.0.dist-info'
        metadata.mkdir()
        metadata.joinpath('entry_points.txt').write_text('')
        self.manifest = {'version': '1.0+xloud.7', 'distribution': False,
                         'files': {}, 'entry_points': []}
        for name in ('__init__.py', 'a.py', 'b.py', 'c.py', 'd.py'):
            self.write(name, '')
            self.manifest['files'][f'nova/{name}'] = {
                'sha256': hashlib.sha256(b'').hexdigest()}
        self.useFixture(fixtures.MockPatchObject(
            verify, 'find_installation', return_value=root))

    def write(self, name, text):
        self.folder.joinpath(name).write_text(text)

    def check(self):
        with mock.patch.object(verify, 'MANIFEST', self.manifest):
            return upgradecheck.check_installation()

    def test_whole(self):
        self.assertEqual(SUCCESS, self.check().code)

    def test_damaged(self):
        for name in ('a.py', 'b.py', 'c.py', 'd.py'):
            self.write(name, 'edited')
        result = self.check()
        self.assertEqual(FAILURE, result.code)
        self.assertIn('4 findings', result.details)
        self.assertIn('- edited: nova/c.py\n', result.details)
        self.assertNotIn('nova/d.py', result.details)

    def test_a_package_with_the_patches_of_a_distribution(self):
        self.manifest['distribution'] = True
        self.write('a.py', 'patched')
        self.assertEqual(SUCCESS, self.check().code)

    def test_a_tree_has_nothing_to_compare_with(self):
        result = upgradecheck.check_installation()
        self.assertEqual(WARNING, result.code)
        self.assertIn('no manifest', result.details)

    def test_nova_status_has_the_check(self):
        checks = {str(name): check for name, check in
                  status.UpgradeCommands._upgrade_checks}
        result = checks['XLoud Nova installation'](status.UpgradeCommands())
        self.assertEqual(WARNING, result.code)
