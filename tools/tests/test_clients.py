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

"""How the clients are tested."""

import unittest

from tools import clients


class ClientsTest(unittest.TestCase):

    def test_both_ends_are_locked(self):
        for end in clients.UNIT + clients.BROWSER:
            locked = end.lock.read_text(encoding='utf-8').lower()
            for package in end.packages:
                self.assertIn(f'\n{package}==', locked, end)

    def test_browser_and_unit_tests_share_environments(self):
        unit = {end.env: end.packages for end in clients.UNIT}
        for end in clients.BROWSER:
            self.assertEqual(unit[end.env], end.packages)

    def test_what_unittest_says(self):
        for text, code, expected in (
                ('Ran 3 tests in 1.0s\n\nOK\n', 0, (3, 0, 0)),
                ('Ran 1 test in 1.0s\n\nOK (skipped=1)\n', 0, (1, 1, 0)),
                ('Ran 9 tests in 1.0s\n\nFAILED (failures=1, errors=2, '
                 'skipped=1, unexpected successes=1)\n', 1, (9, 1, 4)),
                # A module that cannot be imported, a class without a start
                ('Ran 0 tests in 0.1s\n\nFAILED (errors=1)\n', 1, (1, 0, 1)),
                # Something else went wrong, nothing ran, nothing was said.
                ('Ran 3 tests in 1.0s\n\nOK\n', 1, (3, 0, 1)),
                ('Ran 0 tests in 0.0s\n\nOK\n', 0, (1, 0, 1)),
                ('Ran 0 tests in 0.0s\n\nNO TESTS RAN\n', 5, (1, 0, 1)),
                ('Segmentation fault\n', -11, (1, 0, 1))):
            self.assertEqual(expected, clients.read(text, code), text)
