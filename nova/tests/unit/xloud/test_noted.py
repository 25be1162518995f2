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

import datetime
import types

from oslo_utils import fixture as utils_fixture

from nova import test
from nova.tests.unit.xloud import books_base
from nova.xloud import books
from nova.xloud import entries
from nova.xloud import noted
from nova.xloud import notes

NOON = datetime.datetime(2026, 11, 26, 12)


class NotedTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.server = types.SimpleNamespace(
            system_metadata={}, _orig_system_metadata={})

    def assert_noted(self, name, reason):
        found, why = noted.of(self.server.system_metadata)
        self.assertEqual(name, found)
        if reason is None:
            self.assertIsNone(why)
        else:
            self.assertIn(reason, why)

    def test_of(self):
        self.assert_noted(noted.SETTLED, None)
        notes.note_settling(self.server, True)
        self.assert_noted(noted.IN_PROGRESS, 'not finished')
        notes.set_pending(self.server, 'Its host is full.')
        self.assert_noted(noted.IN_PROGRESS, 'Its host is full.')
        notes.set_offline(self.server, 'It uses 1.')
        self.assert_noted(noted.PARTIAL, 'It uses 1.')
        notes.set_outcome(self.server, noted.PARTIAL, 'It refused.')
        self.assert_noted(noted.PARTIAL, 'It refused.')
        notes.note_task(self.server, 'req-1 accepted')
        self.assert_noted(noted.IN_PROGRESS, 'req-1')
        notes.note_task(self.server, 'req-1 done')
        self.assert_noted(noted.PARTIAL, 'It refused.')
        notes.clear_outcome(self.server)
        notes.note_settling(self.server, False)
        notes.set_pending(self.server, None)
        self.assert_noted(noted.PARTIAL, 'It uses 1.')
        notes.set_offline(self.server, None)
        self.assert_noted(noted.SETTLED, None)
        notes.note_config(self.server, False)
        self.assert_noted(noted.IN_PROGRESS, 'not finished')


class SinceTestCase(books_base.BooksTestBase):
    """Since when a condition holds, in the database."""

    def setUp(self):
        super().setUp()
        self.time = self.useFixture(utils_fixture.TimeFixture(NOON))

    def change(self, function, *args):
        instance = self.load()
        function(instance, *args)
        books.save(instance, expected_task_state=[None])

    def assert_since(self, hours):
        self.assertEqual(
            None if hours is None else NOON + datetime.timedelta(hours=hours),
            noted.since(self.load().system_metadata))

    def assert_noted_now(self, name):
        self.assertEqual(name, noted.of(self.load().system_metadata)[0])

    def test_since(self):
        self.assert_since(None)
        self.change(notes.mark_started, 'run', NOON)
        # It was Settled, and it is.
        self.assert_since(None)
        for hours, function, args in (
                (0, notes.note_settling, (True,)),
                (0, notes.set_pending, ('full',)),
                (2, notes.set_outcome, (noted.PARTIAL, 'why')),
                (2, notes.set_outcome, (noted.PARTIAL, 'why else')),
                (4, notes.set_outcome, (noted.OVERCOMMITTED, 'why'))):
            self.change(function, *args)
            self.assert_since(hours)
            self.time.advance_time_seconds(3600)

    def test_requests_do_not_make_it_look_new(self):
        """Else who asks every minute would never be found."""
        self.change(notes.note_settling, True)
        self.change(notes.set_outcome, noted.OVERCOMMITTED, 'full')
        for hours in (1, 4):
            for state in ('offered', 'accepted', 'done'):
                self.time.advance_time_seconds(3600)
                self.change(notes.note_task, 'req-1 ' + state)
                self.assert_since(0 if state == 'done' else hours)
                # It is found out again while the request runs.
                if state == 'offered':
                    self.change(notes.clear_outcome)
                elif state == 'accepted':
                    self.change(notes.set_outcome, noted.OVERCOMMITTED, 'why')
        # One that ends it does.
        self.time.advance_time_seconds(3600)
        self.change(notes.note_task, 'req-1 offered')
        self.change(notes.clear_outcome)
        self.change(notes.note_settling, False)
        self.time.advance_time_seconds(3600)
        self.change(notes.note_task, 'req-1 done')
        self.assert_since(8)
        self.assert_noted_now(noted.SETTLED)

    def test_other_writers(self):
        self.change(notes.note_settling, True)
        self.time.advance_time_seconds(3600)
        instance = self.load()
        instance.system_metadata['other'] = 'x'
        instance.save()
        self.assert_since(0)

    def test_a_flavor_without_a_range(self):
        """Nothing is left of the books."""
        self.change(notes.note_settling, True)
        metadata = dict(self.load().system_metadata)
        new = {'foreign': 'kept', notes.SINCE: metadata[notes.SINCE]}
        noted.note(metadata, new)
        self.assertEqual({'foreign': 'kept'}, new)

    def test_books_that_were_never_written(self):
        new = {entries.ELASTIC: '2'}
        noted.note({}, new)
        self.assertEqual(NOON, noted.since(new))
