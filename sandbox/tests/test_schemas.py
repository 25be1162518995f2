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


"""When migrations run, and when what they left is used again."""

from pathlib import Path
import tempfile
import unittest
from unittest import mock

from sandbox import database
from sandbox import layout
from sandbox import processes
from sandbox import schemas


class FillTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.tables = {'one': '', 'two': ''}
        self.fingerprint = 'this release'
        self.reads = True
        self.migrations = self.loads = 0
        for where, name, replacement in (
                (layout, 'FOLDER', self.folder),
                (schemas, '_fingerprint', lambda _site: self.fingerprint),
                (schemas, '_dump', lambda _site, name: self.tables[name]),
                (database, 'ask', self.load)):
            patch = mock.patch.object(where, name, replacement)
            patch.start()
            self.addCleanup(patch.stop)

    def load(self, _site, statements):
        self.assertIn('USE one;\nmigrated\nUSE two;\nmigrated\n', statements)
        self.loads += 1
        return self.reads

    def migrate(self):
        self.migrations += 1
        self.tables = dict.fromkeys(self.tables, 'migrated\n')

    def fill(self, expected_migrations, expected_loads):
        schemas.fill(None, ['one', 'two'], self.migrate)
        self.assertEqual((expected_migrations, expected_loads),
                         (self.migrations, self.loads))

    def test_the_second_sandbox_has_what_the_first_kept(self):
        self.fill(1, 0)
        self.fill(1, 1)

    def test_something_else_is_installed(self):
        self.fill(1, 0)
        self.tables = {'one': '', 'two': ''}
        self.fingerprint = 'the next release'
        self.fill(2, 0)
        self.fill(2, 1)

    def test_what_a_sandbox_wrote_is_not_kept(self):
        self.tables['two'] = 'a secret\n'
        self.fill(1, 0)
        self.assertEqual([], list(self.folder.iterdir()))

    def test_a_copy_that_is_broken(self):
        self.fill(1, 0)
        self.reads = False
        with self.assertRaises(processes.Failed):
            self.fill(1, 1)
