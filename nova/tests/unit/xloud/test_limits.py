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
from unittest import mock

import fixtures
from oslo_utils import timeutils

from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import limits
from nova.xloud import notes
from nova.xloud import size


class LimitsTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.later = datetime.timedelta()
        self.useFixture(fixtures.MonkeyPatch(
            'nova.xloud.limits.timeutils', mock.Mock(
                utcnow=lambda: timeutils.utcnow() + self.later)))
        self.room = limits.Room()
        self.leisure = limits.Leisure()
        self.server = fakes.server()

    def _wait(self, seconds):
        self.later += datetime.timedelta(seconds=seconds)

    def test_a_full_host_is_asked_less_and_less_often(self):
        self.assertFalse(self.room.is_short())
        for seconds in (60, 120, 240):
            self.room.note_short(size.Size(4, 4096))
            self._wait(seconds - 1)
            self.assertTrue(self.room.is_short())
            self._wait(2)
            self.assertFalse(self.room.is_short())

    def test_changes_that_nobody_asked_for_rest(self):
        notes.mark_changed(self.server, timeutils.utcnow())
        held = charge = size.Size(2, 2048)
        can_rest = self.leisure.can_rest
        self.assertFalse(can_rest(self.server, held, charge))
        # The first gives no leisure.
        self.leisure.note(self.server, 256)
        self.assertFalse(can_rest(self.server, held, charge))
        self.leisure.note(self.server, 256)
        self.assertTrue(can_rest(self.server, held, charge))
        more = size.Size(2, 2100)
        self.assertFalse(can_rest(self.server, more, charge))
        self.assertFalse(can_rest(self.server, held, more))
        # More is charged in larger steps.
        self.assertEqual(
            size.Size(2, 2048 + 2 * 256),
            self.leisure.rounded(self.server, more))
        self._wait(61)
        self.assertFalse(can_rest(self.server, held, charge))
        self.assertEqual(more, self.leisure.rounded(self.server, more))

    def test_nothing_waits_for_a_clock_that_is_set_back(self):
        held = charge = size.Size(2, 2048)
        self.room.note_short(size.Size(4, 4096))
        for _ in range(2):
            self.leisure.note(self.server, 256)
        self.assertTrue(self.room.is_short())
        self.assertTrue(self.leisure.can_rest(self.server, held, charge))
        self._wait(-3600)
        self.assertFalse(self.room.is_short())
        self.assertFalse(self.leisure.can_rest(self.server, held, charge))

    def test_a_request_ends_the_rest(self):
        held = charge = size.Size(2, 2048)
        for _ in range(2):
            self.leisure.note(self.server, 256)
        self.assertTrue(self.leisure.can_rest(self.server, held, charge))
        notes.mark_changed(self.server, timeutils.utcnow())
        self.assertFalse(self.leisure.can_rest(self.server, held, charge))
