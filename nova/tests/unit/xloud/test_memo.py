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
import time
from unittest import mock

import fixtures
from oslo_utils import timeutils

from nova.compute import vm_states
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import guest as elastic_guest
from nova.xloud import memo
from nova.xloud import notes
from nova.xloud import size

GUEST = elastic_guest.GuestState(
    running=True, vcpus=4, memory_mb=4096, balloon_active=True,
    used_memory_mb=512, memory_pinned=False, run='a-run')


class MemoTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.later = datetime.timedelta()
        self.passed = 0
        self.useFixture(fixtures.MonkeyPatch(
            'nova.xloud.memo.timeutils', mock.Mock(
                utcnow=lambda: timeutils.utcnow() + self.later)))
        self.useFixture(fixtures.MonkeyPatch('nova.xloud.memo.time', mock.Mock(
            monotonic=lambda: time.monotonic() + self.passed)))
        self.memo = memo.Memo()
        self.server = fakes.server()

    def wait(self, seconds):
        self.passed += seconds
        self.set_clock(seconds)

    def set_clock(self, seconds):
        self.later += datetime.timedelta(seconds=seconds)

    def test_a_guest_that_was_paused_has_its_time_again(self):
        notes.mark_started(self.server, 'a-run', timeutils.utcnow())
        notes.note_settling(self.server, True)
        self.server.vm_state = vm_states.PAUSED
        known = self.memo.look_at(self.server, GUEST)
        self.assertEqual((True, False), (known.is_held_up, known.begins_anew))
        self.server.vm_state = vm_states.ACTIVE
        self.assertTrue(self.memo.look_at(self.server, GUEST).begins_anew)
        self.memo.begin_anew(self.server, False)
        self.assertFalse(self.memo.look_at(self.server, GUEST).begins_anew)
        # Nobody looked at it meanwhile.
        self.memo.hold_up()
        self.assertTrue(self.memo.look_at(self.server, GUEST).begins_anew)
        # One that is at rest needs no time.
        notes.note_settling(self.server, False)
        self.assertFalse(self.memo.look_at(self.server, GUEST).begins_anew)

    def test_a_guest_that_was_still_has_its_time_again(self):
        notes.mark_started(self.server, 'a-run', timeutils.utcnow())
        notes.note_settling(self.server, True)
        known = self.memo.look_at(
            self.server, GUEST._replace(is_still=True))
        self.assertEqual((True, False), (known.is_held_up, known.begins_anew))
        self.assertTrue(self.memo.look_at(self.server, GUEST).begins_anew)

    def test_a_clock_that_is_set_back(self):
        notes.mark_changed(self.server, timeutils.utcnow())
        notes.note_settling(self.server, True)
        self.memo.look_at(self.server, GUEST)
        self.set_clock(-60)
        self.assertFalse(self.memo.look_at(self.server, GUEST).begins_anew)
        self.set_clock(-3600)
        known = self.memo.look_at(self.server, GUEST)
        self.assertEqual(
            (True, known.now), (known.begins_anew, known.asked_at))
        self.memo.begin_anew(self.server, False)
        self.assertFalse(self.memo.look_at(self.server, GUEST).begins_anew)
        self.set_clock(-3600)
        notes.note_settling(self.server, False)
        self.assertFalse(self.memo.look_at(self.server, GUEST).begins_anew)

    def test_a_clock_that_is_set_forward(self):
        notes.mark_started(self.server, 'a-run', timeutils.utcnow())
        notes.note_settling(self.server, True)
        for seconds, expected in ((5, False), (3600, True)):
            self.memo.look_at(self.server, GUEST)
            self.wait(60)
            self.assertFalse(self.memo.look_at(self.server, GUEST).begins_anew)
            self.set_clock(seconds)
            for _ in range(2):
                self.assertEqual(expected, self.memo.look_at(
                    self.server, GUEST).begins_anew)
        self.memo.begin_anew(self.server, False)
        self.assertFalse(self.memo.look_at(self.server, GUEST).begins_anew)

    def test_a_request_for_vcpus_is_made_once(self):
        less, least = size.Size(3, 4096), size.Size(2, 4096)
        self.memo.note_unplug(GUEST, less)
        self.assertTrue(self.memo.is_unplugging(GUEST, less))
        self.assertFalse(self.memo.is_unplugging(GUEST, least))
        self.assertTrue(self.memo.is_unplugging(
            GUEST, less._replace(memory_mb=None)))
        self.assertFalse(self.memo.is_unplugging(
            GUEST, least._replace(memory_mb=None)))
        self.memo.forget_unplug(GUEST)
        self.assertTrue(self.memo.is_unplugging(GUEST))
        for changed in (GUEST._replace(vcpus=3), GUEST._replace(run='other')):
            self.memo.note_unplug(GUEST, less)
            self.memo.forget_unplug(changed)
            self.assertFalse(self.memo.is_unplugging(GUEST))
        # One that takes vCPUs is always asked.
        self.memo.note_unplug(GUEST, size.Size(5, 4096))
        self.assertFalse(self.memo.is_unplugging(GUEST))
