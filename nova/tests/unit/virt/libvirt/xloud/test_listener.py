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

import contextlib
import threading
import time
import types
from unittest import mock

import fixtures
from oslo_utils.fixture import uuidsentinel as uuids

from nova import test
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.unit.virt.libvirt.xloud import base
from nova.tests.unit.virt.libvirt.xloud import fakes
from nova.virt import event as virtevent
from nova.virt.libvirt import event as libvirtevent
from nova.virt.libvirt.xloud import events
from nova.virt.libvirt.xloud import listener
from nova.virt.libvirt.xloud import patience
from nova.xloud import guest as elastic_guest
from nova.xloud import size

try:
    from nova import thread_pool_factory as nova_threads
except ImportError:                       # before 34.0.0
    from nova import utils as nova_threads


class EventTest(base.GuestsTestCase):

    def _emitted(self):
        emitted = [(type(event), event.get_instance_uuid())
                   for event in self.emitted]
        self.emitted.clear()
        return emitted

    def assert_emitted(self):
        self.assertEqual(
            [(elastic_guest.GuestChangedEvent, self.instance.uuid)],
            self._emitted())

    def test_of_guest_that_nobody_asked_for(self):
        uuid = self.instance.uuid
        for event in (events.BalloonChangedEvent(uuid),
                      events.DeviceAddedEvent(uuid, 'hostdev0'),
                      events.GuestResetEvent(uuid),
                      libvirtevent.DeviceRemovedEvent(uuid, 'vcpu3')):
            self.driver.emit_event(event)
        self.assertEqual([], self._emitted())

    def test_told(self):
        self._state()
        self.connection.tell_balloon(self.domain)
        self.assert_emitted()
        self.connection.tell_device_added(self.domain, 'hostdev0')
        self.assert_emitted()
        self.connection.tell_removed(self.domain, 'vcpu2')
        self.assert_emitted()
        self.connection.tell_removal_failed(self.domain, 'vcpu2')
        self.assert_emitted()

    def test_told_during_the_first_look(self):
        """What was read before the look is old, and nothing may follow."""
        describe = self.domain.XMLDesc

        def moves(flags):
            self.connection.tell_balloon(self.domain)
            return describe(flags)

        with mock.patch.object(self.domain, 'XMLDesc', moves):
            self._state()
        self.assert_emitted()

    def test_told_before_others_are_looked_at_again(self):
        """A look after the connection was lost is at one server."""
        self._state()
        self.connection = self._connect()
        self.domain = self._start()
        other = fakes.server(fakes.ELASTIC)
        other.uuid = uuids.other
        self.driver.get_elastic_guests([other])
        self.connection.tell_balloon(self.domain)
        self.assert_emitted()

    def test_reset(self):
        """A driver that loads again has some time to take back the memory."""
        start = time.monotonic()
        clock = self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.xloud.run.time.monotonic',
            return_value=start)).mock
        run = self._state().run
        self.connection.tell_reset(self.domain)
        self.assertEqual([], self._emitted())
        # QEMU repeats what the driver reported before.
        self.assertFalse(self._state().is_returning)
        clock.return_value = start + 300
        self.domain.live.memory = 2097152
        self.assertTrue(self._state().is_returning)
        self.assertEqual(run, self._state().run)
        clock.return_value = start + 361
        self.assertFalse(self._state().is_returning)

        # Not for a guest that resets itself all the time
        for later, is_believed in ((600, False), (1000, True)):
            self.domain.live.memory = 1048576
            self._state()
            clock.return_value = start + later
            self.connection.tell_reset(self.domain)
            self.domain.live.memory = 2097152
            self.assertEqual(is_believed, self._state().is_returning)

    def test_others_still_get_theirs(self):
        self._state()
        event = libvirtevent.DeviceRemovedEvent(
            self.instance.uuid, 'virtio-disk1')
        with mock.patch.object(
                self.driver._device_event_handler,
                'notify_waiters') as notify:
            self.driver.emit_event(event)
        notify.assert_called_once_with(event)
        self.assert_emitted()
        event = virtevent.LifecycleEvent(
            self.instance.uuid, virtevent.EVENT_LIFECYCLE_STOPPED)
        self.driver.emit_event(event)
        self.assertEqual([event], self.emitted)

    def test_refusal_that_is_known(self):
        """Otherwise a reconcile would ask again and again."""
        self._state()
        self.domain.unplug = 'refuse'
        # Its event comes before the error of libvirt, and perhaps again.
        self.assert_refused('refuses to remove vCPUs', size.Size(2, 1024))
        self.assertEqual([], self._emitted())
        self.connection.tell_removal_failed(self.domain, 'vcpu2')
        self.assertEqual([], self._emitted())

        self.domain.unplug = 'late'
        self._change(size.Size(2, 1024))
        self.connection.tell_removal_failed(self.domain, 'vcpu2')
        self.assert_emitted()

    def test_refusal_after_it_was_not_asked(self):
        """The refusal is of what it was asked for before."""
        self._state()
        self.domain.unplug = 'late'
        self._change(size.Size(2, 1024))
        for others_hang in False, True:
            self.change_in_vain(others_hang)
            self.connection.tell_removal_failed(self.domain, 'vcpu2')
            self.assert_emitted()

    def test_software_emulation_after_it_was_not_asked(self):
        """No vCPU was removed, so others can be added."""
        self.domain.type = 'qemu'
        self._state()
        for others_hang in False, True:
            self.change_in_vain(others_hang)
            self.assertFalse(self._state().cannot_plug)

    def change_in_vain(self, others_hang):
        """Ask for less, and the call is not made.

        :param others_hang: whether no later call is made either
        """
        error = fakelibvirt.libvirtError('3 calls have not ended')
        error.was_made = False
        with contextlib.ExitStack() as patches:
            def fail(*args):
                if others_hang:
                    patches.enter_context(mock.patch.object(
                        patience, 'call', side_effect=error))
                raise error

            patches.enter_context(mock.patch.object(
                self.domain, 'setVcpusFlags', fail))
            self.assertRaises(
                elastic_guest.GuestBusy, self._change, size.Size(2, 1024))

    def test_many_at_once(self):
        self._state()
        waiting = []
        with mock.patch('nova.virt.libvirt.xloud.listener.spawn',
                        side_effect=waiting.append):
            for _number in range(3):
                self.connection.tell_balloon(self.domain)
            self.assertEqual(1, len(waiting))
            # It waits, and has another one handle the event.
            waiting.pop()()
            self.assertEqual(1, len(waiting))
            # As long as that has not begun, it is enough.
            self.connection.tell_balloon(self.domain)
            wait, handle = waiting.pop(), waiting.pop()
            wait()
            handle()
        self.assert_emitted()

    def test_the_machine_has_no_thread_left(self):
        self._state()
        with mock.patch('nova.virt.libvirt.xloud.listener.spawn',
                        side_effect=RuntimeError("can't start new thread")):
            self.connection.tell_balloon(self.domain)
        self.assertEqual([], self._emitted())
        # The next event tries again.
        self.connection.tell_balloon(self.domain)
        self.assert_emitted()

    def test_other_guest_meanwhile(self):
        """Native threads change what is to be emitted at any moment."""
        self._state()
        real = self.driver._elastic_guests._listener

        class Crowded(dict):
            """Another guest comes as soon as it can."""

            def items(self):
                found = iter(super().items())
                if real._to_emit_lock.acquire(blocking=False):
                    self.setdefault(uuids.other, 0)
                    real._to_emit_lock.release()
                return found

        real._to_emit = Crowded()
        self.connection.tell_balloon(self.domain)
        self.assert_emitted()


class ThreadsTest(test.NoDBTestCase):

    def test_builds_of_others_go_on(self):
        """With native threads, Nova has few, and our events may wait long."""
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.listener._CALM_SECONDS', 0))
        go_on, at_work = threading.Event(), threading.Semaphore(0)
        self.addCleanup(go_on.set)

        def wait(event):
            at_work.release()
            go_on.wait(60)

        guests = ['guest-%d' % number for number in range(40)]
        heard = listener.Listener(
            types.SimpleNamespace(
                domains=guests, elastic=guests, runs={}, unsure=set()),
            types.SimpleNamespace(refusing=set()), wait)
        for guest in guests:
            heard.take_event(events.BalloonChangedEvent(guest))
        for _number in range(16):
            self.assertTrue(at_work.acquire(timeout=60))
        # However many guests there are, no more threads.
        self.assertFalse(at_work.acquire(timeout=0.1))
        done = threading.Event()
        nova_threads.spawn(done.set)
        self.assertTrue(done.wait(30))
        # The others have their turn.
        go_on.set()
        for _number in range(24):
            self.assertTrue(at_work.acquire(timeout=60))
