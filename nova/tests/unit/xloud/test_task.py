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

import time
from unittest import mock

from oslo_concurrency import lockutils
from oslo_utils.fixture import uuidsentinel as uuids

from nova import exception
from nova import objects
from nova import test
from nova.tests.unit.xloud import books_base
from nova.tests.unit.xloud import fakes
from nova.xloud import books
from nova.xloud import entries
from nova.xloud import notes
from nova.xloud import task

TOKEN = 'req-1'


def elastic_instance(**kwargs):
    return fakes.instance(
        fakes.flavor(cpu=2, memory=2048), uuid=uuids.instance,
        **kwargs)


class StateTestCase(test.NoDBTestCase):

    def test_is_running(self):
        for state, task_state, is_running in (
                (None, task.TASK, False), (task.OFFERED, None, False),
                (task.DONE, task.TASK, False),
                (task.OFFERED, 'resize_migrating', False),
                (task.OFFERED, task.TASK, True),
                (task.CLAIMED, task.TASK, True),
                (task.REFUSED, task.TASK, True),
                (task.ACCEPTED, task.TASK, True)):
            instance = elastic_instance(task_state=task_state)
            if state:
                task.note(instance, TOKEN, state)
                self.assertEqual((TOKEN, state), task.of(instance))
            self.assertEqual(is_running, task.is_running(instance))
            self.assertEqual(
                None if is_running else task_state, task.seen_as(instance))

    def test_nothing_is_read_of_others(self):
        """Not of a server that is not elastic, or has no such task."""
        instance = mock.Mock(spec=['get'])
        instance.get.return_value = 'resize_migrating'
        self.assertEqual('resize_migrating', task.seen_as(instance))
        instance = mock.Mock(spec=['get', 'flavor'])
        instance.get.return_value = task.TASK
        instance.flavor = fakes.flavor()
        self.assertEqual(task.TASK, task.seen_as(instance))
        task.forget(instance)

    def test_forget(self):
        for state, is_kept in ((task.DONE, True), (task.ACCEPTED, False),
                               (task.OFFERED, False), (None, True)):
            instance = elastic_instance(task_state=None)
            if state:
                task.note(instance, TOKEN, state)
            before = notes.task(instance)
            task.forget(instance)
            self.assertEqual(is_kept, before == notes.task(instance), state)

    def test_its_key_belongs_to_the_server(self):
        self.assertTrue(entries.is_entry(notes.TASK))


class StoredTestCase(books_base.BooksTestBase):

    def test_another_task_has_entries_of_its_own(self):
        """It ends the record of an adjust, too."""
        instance = self.load()
        task.note(instance, TOKEN, task.ACCEPTED)
        books.save(instance, [None])
        instance = self.load()
        instance.system_metadata['image_base_image_ref'] = 'an image'
        task.forget(instance)
        instance.save()
        self.assert_stored(books_base.SMALL, foreign='kept',
                           image_base_image_ref='an image')
        self.assertEqual(task.DONE, task.of(self.load()).state)


class RangeTestCase(test.NoDBTestCase):

    def test_range(self):
        instance = elastic_instance()
        before = task.range_of(instance)
        for change in ({'id': 99}, {'vcpus': 4}, {'memory_mb': 4096},
                       {'extra_specs': {'minimum_cpu': '1'}}):
            instance = elastic_instance()
            for key, value in change.items():
                setattr(instance.flavor, key, value)
            self.assertNotEqual(before, task.range_of(instance), change)


class LockedTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.stub_out('nova.xloud.task.LOCK_WAIT', 1)

    def test_held(self):
        with lockutils.lock(uuids.instance, lock_file_prefix='nova-'):
            began = time.monotonic()
            with self.assertRaisesRegex(
                    exception.ElasticConflict, 'is busy with it'):
                with task.locked(uuids.instance):
                    self.fail('It is not ours.')
            self.assertLess(time.monotonic() - began, 10)
        with task.locked(uuids.instance):
            self.assertRaises(
                lockutils.AcquireLockFailedException,
                task.locked_now(uuids.instance).__enter__)

    def test_error_inside(self):
        def fail():
            with task.locked(uuids.instance):
                raise lockutils.AcquireLockFailedException('another')

        self.assertRaises(lockutils.AcquireLockFailedException, fail)
        with task.locked(uuids.instance):
            pass


class UnclaimedTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.unclaimed = task.Unclaimed()
        self.end = self.stub_out_end()

    def stub_out_end(self):
        patch = mock.patch('nova.xloud.task.end')
        self.addCleanup(patch.stop)
        return patch.start()

    def look(self, state, now):
        instance = elastic_instance(task_state=task.TASK)
        task.note(instance, TOKEN, state)
        self.end.reset_mock()
        with mock.patch('nova.objects.Instance.get_by_uuid',
                        return_value=instance), \
                mock.patch('time.monotonic', return_value=now):
            self.unclaimed.give_back(mock.sentinel.context, [instance])
        return self.end.called

    def test_patience(self):
        self.assertFalse(self.look(task.OFFERED, 1000))
        self.assertFalse(self.look(task.OFFERED, 1000 + task.PATIENCE - 1))
        self.assertTrue(self.look(task.OFFERED, 1000 + task.PATIENCE))
        self.assertFalse(self.end.call_args[1]['is_accepted'])
        self.assertTrue(self.look(task.ACCEPTED, 1000))
        self.assertTrue(self.end.call_args[1]['is_accepted'])

    def test_at_work(self):
        with self.unclaimed.at_work(TOKEN):
            self.assertFalse(self.look(task.ACCEPTED, 1000))
        self.assertTrue(self.look(task.ACCEPTED, 1000))

    def test_of_others(self):
        instances = [
            elastic_instance(task_state=task.TASK),
            objects.Instance(uuid=uuids.plain, task_state=task.TASK,
                             flavor=fakes.flavor())]
        with mock.patch('nova.objects.Instance.get_by_uuid') as get:
            self.unclaimed.give_back(mock.sentinel.context, instances)
        get.assert_not_called()
