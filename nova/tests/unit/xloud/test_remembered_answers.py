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

import sqlite3

from nova import test
from nova.tests.fixtures import xloud_answers


class RememberedAnswersTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.database = sqlite3.connect(':memory:', isolation_level=None)
        self.addCleanup(self.database.close)
        self.database.execute('CREATE TABLE sizes (vcpus)')
        self.answers = xloud_answers.Answers(self.database)
        self.asked = []

    def add(self, vcpus):
        self.database.execute('INSERT INTO sizes VALUES (?)', (vcpus,))

    def get(self, what='sum'):
        def ask():
            self.asked.append(what)
            return self.database.execute(
                'SELECT %s(vcpus) FROM sizes' % what).fetchone()[0]
        return self.answers.get(what, ask)

    def test_nothing_changes(self):
        self.add(2)
        self.assertEqual([2, 2], [self.get(), self.get()])
        self.assertEqual(['sum'], self.asked)

    def test_something_else_is_asked(self):
        self.add(2)
        self.assertEqual([2, 1], [self.get(), self.get('count')])

    def test_something_changes(self):
        for change, total in (
                ('INSERT INTO sizes VALUES (4)', 4),
                ('UPDATE sizes SET vcpus = 5', 5),
                ('BEGIN', 5),
                ('INSERT INTO sizes VALUES (1)', 6),
                ('COMMIT', 6),
                ('DELETE FROM sizes', None)):
            self.database.execute(change)
            self.assertEqual(total, self.get(), change)

    def test_it_changes_what_it_reads(self):
        def ask():
            self.add(1)
            return self.database.execute(
                'SELECT count(*) FROM sizes').fetchone()[0]
        self.assertEqual([1, 2], [
            self.answers.get('all', ask) for _ in range(2)])
