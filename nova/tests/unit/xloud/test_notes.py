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

from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import entries
from nova.xloud import notes


class NotesTestCase(test.NoDBTestCase):

    def test_is_kept_as_it_is(self):
        instance = fakes.instance(fakes.flavor(cpu=2))
        self.assertIsNone(notes.run(instance))

        notes.mark_started(
            instance, '7/boot', datetime.datetime(2026, 1, 1, 12))

        self.assertEqual('7/boot', notes.run(instance))
        self.assertTrue(all(
            entries.is_entry(key) for key in instance.system_metadata))

    def test_a_launch_is_a_start(self):
        launched = datetime.datetime(
            2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
        instance = fakes.instance(
            fakes.flavor(cpu=2), launched_at=launched)
        self.assertEqual(datetime.datetime(2026, 1, 1, 12),
                         notes.changed_at(instance))

        later = datetime.datetime(2026, 1, 1, 13)
        notes.mark_changed(instance, later)
        self.assertEqual(later, notes.changed_at(instance))

        notes.mark_changed(instance, datetime.datetime(2026, 1, 1, 11))
        self.assertEqual(datetime.datetime(2026, 1, 1, 12),
                         notes.changed_at(instance))

    def test_a_change_is_no_start(self):
        instance = fakes.instance(fakes.flavor(cpu=2), launched_at=None)
        self.assertIsNone(notes.started_at(instance))

        started, later = (
            datetime.datetime(2026, 1, 1, hour) for hour in (12, 13))
        notes.mark_started(instance, 'one', started)
        notes.mark_changed(instance, later)

        self.assertEqual(started, notes.started_at(instance))
        self.assertEqual(later, notes.changed_at(instance))
        notes.mark_started(instance, 'other', later)
        self.assertEqual(later, notes.started_at(instance))

    def test_a_change_in_the_second_of_a_start(self):
        """It is another request than that of the start."""
        now = datetime.datetime(2026, 1, 1, 12, 0, 0, 700000)
        instance = fakes.instance(fakes.flavor(cpu=2), launched_at=None)
        notes.mark_started(instance, 'one', now)
        notes.mark_changed(instance, now)
        self.assertLess(
            notes.started_at(instance), notes.changed_at(instance))
        # Databases cut the fraction of this off, round it or keep it.
        for launched in (now.replace(microsecond=0), now,
                         datetime.datetime(2026, 1, 1, 12, 0, 1)):
            instance = fakes.instance(
                fakes.flavor(cpu=2), launched_at=launched.replace(
                    tzinfo=datetime.timezone.utc))
            notes.mark_changed(instance, now)
            self.assertEqual(launched, notes.started_at(instance))
            self.assertLess(launched, notes.changed_at(instance))

    def test_a_start_that_gets_its_time_again(self):
        """Nobody has asked for another size, until somebody does."""
        instance = fakes.instance(fakes.flavor(cpu=2), launched_at=None)
        started, again, asked, later = (
            datetime.datetime(2026, 1, 1, hour) for hour in range(12, 16))
        notes.mark_started(instance, 'one', started)
        self.assertTrue(notes.follows_start(instance))
        notes.mark_changed(instance, again, follows_start=True)
        self.assertEqual(again, notes.changed_at(instance))
        self.assertTrue(notes.follows_start(instance))
        # By an older compute service, which does not know the other entry
        instance.system_metadata['xloud_changed_at'] = asked.isoformat()
        self.assertFalse(notes.follows_start(instance))
        notes.mark_changed(instance, asked)
        self.assertFalse(notes.follows_start(instance))
        # The clock was set back.
        self.assertFalse(notes.follows_start(instance, latest=again))
        notes.mark_started(instance, 'two', again)
        self.assertTrue(notes.follows_start(instance, latest=again))
        notes.mark_changed(instance, asked)
        notes.mark_started(instance, 'three', later)
        self.assertTrue(notes.follows_start(instance))

    def test_configuration(self):
        instance = fakes.instance(fakes.flavor(cpu=2))
        self.assertTrue(notes.is_config_current(instance))
        notes.note_config(instance, False)
        self.assertFalse(notes.is_config_current(instance))
        self.assertTrue(all(
            entries.is_entry(key) for key in instance.system_metadata))
        before = dict(instance.system_metadata)
        notes.note_config(instance, False)
        self.assertEqual(before, instance.system_metadata)
        notes.note_config(instance, True)
        self.assertTrue(notes.is_config_current(instance))
