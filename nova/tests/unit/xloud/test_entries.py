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

from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import entries
from nova.xloud import size


class EntriesTestCase(test.NoDBTestCase):

    def test_ours_are_recognised(self):
        instance = fakes.instance(fakes.flavor(cpu=2))
        size.record(instance, size.Size(4, 16384), size.Size(2, 16384))
        self.assertEqual(4, len(entries.of(instance)))
        for key in instance.system_metadata:
            self.assertTrue(entries.is_entry(key))
        self.assertFalse(entries.is_entry('image_min_ram'))

    def test_a_copy_says_how_it_was_changed(self):
        """nova.xloud.books decides from that what to store."""
        instance = fakes.instance(fakes.flavor(cpu=2))
        known = instance.system_metadata[entries.BOOKS]
        entries.put(instance, 'xloud_a', None)
        self.assertEqual(known, instance.system_metadata[entries.BOOKS])
        entries.put(instance, 'xloud_a', 'b')
        self.assertTrue(entries.is_signed(instance, entries.ONLY_BOOKS))
        entries.sign(instance, entries.BOOKS_TOO)
        entries.put(instance, 'xloud_a', None)
        self.assertTrue(entries.is_signed(instance, entries.BOOKS_TOO))
        self.assertNotIn('xloud_a', instance.system_metadata)

    def test_a_size(self):
        instance = fakes.instance(fakes.flavor())
        self.assertIsNone(entries.read_size(instance, 'one'))
        entries.write_size(instance, 'one', (2, 2048))
        self.assertEqual((2, 2048), entries.read_size(instance, 'one'))
        entries.move_size(instance, 'one', 'other')
        self.assertIsNone(entries.read_size(instance, 'one'))
        self.assertEqual((2, 2048), entries.read_size(instance, 'other'))
        entries.drop_size(instance, 'other')
        self.assertEqual({}, entries.of(instance))
