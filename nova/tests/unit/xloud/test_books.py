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

from nova import exception
from nova.tests.unit.xloud import books_base
from nova.tests.unit.xloud import fakes
from nova.xloud import books
from nova.xloud import entries
from nova.xloud import notes
from nova.xloud import size

LARGE = books_base.LARGE
SMALL = books_base.SMALL


class BooksTestCase(books_base.BooksTestBase):
    """Who saves what of the system_metadata of one server."""

    def test_a_change_stores_the_books_alone(self):
        ours, other = self.load(), self.load()
        other.system_metadata['password_0'] = 'secret'
        del other.system_metadata['foreign']
        other.save()
        ours.system_metadata['foreign'] = 'changed'
        ours.display_name = 'changed'
        self.record(ours, LARGE)
        self.assert_stored(LARGE, password_0='secret')
        self.assertNotEqual('changed', self.load().display_name)
        # Who saved knows what is stored, and may go on.
        self.assertEqual('secret', ours.system_metadata['password_0'])
        self.record(ours, SMALL)
        self.assert_stored(SMALL, password_0='secret')

    def test_others_store_everything_but_the_books(self):
        old = self.load()
        self.record(self.load(), LARGE)
        old.system_metadata['locked_reason'] = 'x'
        old.save()
        self.assert_stored(LARGE, foreign='kept', locked_reason='x')
        # And are told what is so now.
        self.assertEqual(LARGE, size.boot(old))
        old.system_metadata = {}
        old.save()
        self.assert_stored(LARGE)

    def test_old_books_are_not_changed(self):
        old = self.load()
        self.record(self.load(), LARGE)
        notes.mark_started(old, 'a run', old.created_at)
        self.assertRaises(
            exception.InstanceUpdateConflict, books.save, old, [None])
        old.system_metadata['locked_reason'] = 'x'
        self.assertRaises(exception.InstanceUpdateConflict, old.save)
        self.assert_stored(LARGE, foreign='kept')
        self.assertIsNone(notes.run(self.load()))

    def test_a_change_while_another_is_stored(self):
        """Both have read the same; the database decides."""
        ours = self.load()
        turn = books._turn_page

        def meanwhile(ctxt, row, base, merged):
            self.turn_page(ctxt)
            turn(ctxt, row, base, merged)

        with mock.patch.object(books, '_turn_page', meanwhile):
            self.assertRaises(exception.InstanceUpdateConflict,
                              self.record, ours, LARGE)
        self.assert_stored(SMALL, foreign='kept')

    def turn_page(self, ctxt):
        ctxt.session.query(books.models.InstanceSystemMetadata).filter_by(
            instance_uuid=self.made.uuid, key=entries.BOOKS).update(
                {'value': '7'}, synchronize_session=False)

    def test_another_task(self):
        ours, other = self.load(), self.load()
        other.task_state = 'deleting'
        other.save()
        self.assertRaises(exception.UnexpectedDeletingTaskStateError,
                          self.record, ours, LARGE)
        self.assert_stored(SMALL, foreign='kept')

    def test_the_end_of_a_resize(self):
        """It drops what was put aside, though the books went on."""
        new = fakes.flavor(2, size.Size(16, 16384), cpu=4)
        instance = self.load()
        instance.old_flavor = instance.flavor
        instance.system_metadata['old_vm_state'] = 'active'
        instance.vcpus, instance.memory_mb = size.change_flavor(instance, new)
        instance.flavor = new
        instance.save()
        self.assertIn('xloud_old_charged_vcpus', entries.of(self.load()))
        confirming, source = self.load(), self.load()
        grown = size.Size(6, 16384)
        self.record(confirming, grown)
        source.system_metadata.pop('old_vm_state')
        size.forget_old_flavor(source)
        turn = books._turn_page
        conflicts = [True]

        def meanwhile(ctxt, row, base, merged):
            """The other host settles the server at the same moment."""
            if conflicts:
                conflicts.pop()
                self.turn_page(ctxt)
            turn(ctxt, row, base, merged)

        with mock.patch.object(books, '_turn_page', meanwhile):
            source.save()
        self.assertEqual([], conflicts)
        self.assert_stored(grown, foreign='kept')
        self.assertFalse(any(map(entries.is_old_size,
                                 self.load().system_metadata)))

    def test_a_resize_keeps_what_others_have_stored_meanwhile(self):
        """An administrator locks the server while its ports are moved."""
        for flavor in (fakes.flavor(2, size.Size(16, 16384), cpu=4),
                       fakes.flavor(3, size.Size(2, 2048))):
            instance, other = self.load(), self.load()
            other.system_metadata['locked_reason'] = str(flavor.id)
            other.save()
            instance.vcpus, instance.memory_mb = size.change_flavor(
                instance, flavor)
            instance.flavor = flavor
            instance.save()
            self.assertEqual(str(flavor.id),
                             self.load().system_metadata['locked_reason'])

    def test_a_resize_to_a_plain_flavor(self):
        plain = fakes.flavor(2, size.Size(2, 2048))
        instance = self.load()
        instance.old_flavor = instance.flavor
        instance.vcpus, instance.memory_mb = size.change_flavor(
            instance, plain)
        instance.flavor = plain
        instance.save()
        size.forget_old_flavor(instance)
        instance.save()
        self.assertEqual({'foreign': 'kept'}, self.load().system_metadata)

    def test_what_an_older_conductor_stored(self):
        """It knows no signs and stores them."""
        instance = self.load()
        size.record(instance, LARGE, LARGE)
        with mock.patch.object(books, 'merge', lambda _c, _r, new: new):
            books.save(instance, [None])
        self.assertEqual('1*', self.load().system_metadata[entries.BOOKS])
        other = self.load()
        other.system_metadata['locked_reason'] = 'x'
        other.save()
        self.assertEqual('1*', self.load().system_metadata[entries.BOOKS])
        self.record(self.load(), SMALL)
        self.assert_stored(SMALL, foreign='kept', locked_reason='x')
        self.assertEqual('2', self.load().system_metadata[entries.BOOKS])

    def test_books_that_nobody_opened(self):
        self.made.system_metadata = {}
        with mock.patch.object(books, 'merge', lambda _c, _r, new: new):
            self.made.save()
        old, older = self.load(), self.load()
        self.record(self.load(), LARGE)
        self.assert_stored(LARGE)
        self.assertRaises(exception.InstanceUpdateConflict,
                          self.record, older, SMALL)
        old.system_metadata = {'foreign': 'too'}
        old.save()
        self.assert_stored(LARGE, foreign='too')

    def test_nothing_of_others(self):
        """A server that is not elastic has no books and gets none."""
        self.made = self.make(fakes.flavor(
            2, size.Size(2, 2048)))
        one, other = self.load(), self.load()
        one.system_metadata['one'] = '1'
        one.save()
        other.system_metadata['other'] = '2'
        other.save()
        self.assertEqual({'foreign': 'kept', 'other': '2'},
                         self.load().system_metadata)
