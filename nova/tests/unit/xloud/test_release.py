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


from unittest import mock

import pbr.version

from nova import test
from nova import version
from nova.xloud import release


class ReleaseTestCase(test.NoDBTestCase):

    def assert_reported(self, expected, metadata_version):
        with mock.patch('importlib.metadata.version',
                        return_value=metadata_version):
            self.assertEqual(expected, version.version_string())
            self.assertEqual(expected, version.version_info.version_string())
            self.assertEqual(expected, version.version_string_with_package())

    def setUp(self):
        super().setUp()
        self.stub_out('nova.version.loaded', True)
        self.stub_out('nova.version.NOVA_PACKAGE', None)
        self.stub_out('nova.xloud.release.NUMBER', 7)

    def test_our_own_package(self):
        self.assert_reported('29.4.0+xloud.7', '29.4.0+xloud.7')

    def test_the_package_of_a_distribution(self):
        """It sets PBR_VERSION, or our files were copied over stock ones."""
        self.assert_reported('29.4.0+xloud.7', '29.4.0')

    def test_the_code_that_runs_counts(self):
        """Files of release 7 lie over an installed release 6."""
        self.assert_reported('29.4.0+xloud.7', '29.4.0+xloud.6')

    def test_a_distribution_adds_its_own_release(self):
        self.stub_out('nova.version.NOVA_PACKAGE', '1.el9')
        with mock.patch('importlib.metadata.version', return_value='29.4.0'):
            self.assertEqual('29.4.0+xloud.7-1.el9',
                             version.version_string_with_package())

    def test_it_is_the_version_of_the_installed_nova(self):
        self.assertTrue(release.version_string().startswith(
            pbr.version.VersionInfo('nova').semantic_version().
            brief_string().rsplit('.', 1)[0]))
