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

from nova import test
from nova.xloud import failures


class WarnedTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.log = mock.Mock()

    def fail_with(self, error):
        with failures.warned(self.log, '%s ends: %s', 'It', instance='one'):
            raise error

    def test_a_failure_is_logged_and_nothing_is_raised(self):
        error = RuntimeError('gone')
        self.fail_with(error)
        self.log.warning.assert_called_once_with(
            '%s ends: %s', 'It', error, instance='one')

    def test_the_end_of_a_process_is_no_failure(self):
        self.assertRaises(SystemExit, self.fail_with, SystemExit())
        self.log.warning.assert_not_called()

    def test_success_is_silent(self):
        with failures.warned(self.log, 'It ends: %s'):
            pass
        self.log.warning.assert_not_called()
