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
import functools
import threading
import time
from unittest import mock

import ddt
import fixtures
from oslo_serialization import jsonutils

from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.fixtures import xloud_libvirt
from nova.tests.unit.virt.libvirt.xloud import base
from nova.tests.unit.virt.libvirt.xloud import fakes
from nova.virt.libvirt.xloud import agent
from nova.virt.libvirt.xloud import patience
from nova.xloud import guest as elastic_guest
from nova.xloud import size


class _Clock(fixtures.Fixture):
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        super().__init__()
        self.slept = 0
        # How far the clock was set
        self.offset = 0

    def _setUp(self):
        now, monotonic = time.time(), time.monotonic()
        for name, replacement in (
                ('sleep', self._sleep),
                ('time', lambda: now + self.slept + self.offset),
                ('monotonic', lambda: monotonic + self.slept)):
            self.useFixture(fixtures.MonkeyPatch(
                'nova.virt.libvirt.xloud.observer.time.' + name, replacement))

    def _sleep(self, seconds):
        self.slept += seconds
        if self.slept > 100:
            raise AssertionError('It waits for ever')


@ddt.ddt
class StateTest(base.GuestsTestCase):

    def test_state(self):
        self.domain.used = 100 * 1024 + 1
        state = self._state()
        self.assertEqual(
            elastic_guest.GuestState(
                running=True, vcpus=3, memory_mb=1024, balloon_active=True,
                used_memory_mb=101, memory_pinned=False, run=state.run,
                fixed_vcpus=2),
            state)

    def test_nothing_left(self):
        for used_mb, is_squeezed in ((1000, False), (1010, True)):
            self.domain.used = used_mb * 1024
            self.assertEqual(is_squeezed, self._state().is_squeezed)

    def test_fixed_vcpus(self):
        """A domain without a list can remove none of its vCPUs."""
        self.domain.live.listed = False
        self.assertEqual(3, self._state().fixed_vcpus)

    def test_memory_is_rounded_up(self):
        self.domain.live.memory = 1000 * 1024 + 1
        self.assertEqual(1001, self._state().memory_mb)

    def test_more_memory_than_it_can_hold(self):
        """A guest can have the device of its balloon report any number."""
        self._state()
        self.domain.live.memory = (1 << 54) - 1024
        self.assertEqual(2048, self._state().memory_mb)

    def test_not_running(self):
        self.domain.destroy()
        self.assertEqual(elastic_guest.NOT_RUNNING, self._state())
        self.domain.undefine()
        self.assertEqual(elastic_guest.NOT_RUNNING, self._state())

    def test_several(self):
        other = fakes.server(fakes.ELASTIC)
        other.uuid = '5ba5e1d5-7d44-4d5a-9c3f-3c2f1f9f0f0a'
        with mock.patch.object(
                self.connection, 'domainListGetStats',
                wraps=self.connection.domainListGetStats) as bulk:
            states = self.driver.get_elastic_guests([self.instance, other])
        self.assertEqual(1, bulk.call_count)
        self.assertEqual(elastic_guest.NOT_RUNNING, states[other.uuid])
        self.assertTrue(states[self.instance.uuid].running)

    def test_busy_guest_keeps_nobody_waiting_but_who_asks_for_it(self):
        before = self._state()
        self.assertEqual(200, before.used_memory_mb)
        self.domain.is_busy = True
        self.domain.used = 300 * 1024
        self.assertEqual(before._replace(is_busy=True), self._state())
        self.assertEqual(300, self.driver.get_elastic_guests(
            [self.instance], wait=True)[self.instance.uuid].used_memory_mb)

    def test_guest_that_can_do_nothing(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.run._BUSY_SECONDS', 0))
        self.assertFalse(self._state().is_still)
        self.domain.suspend()
        self.assertTrue(self._state().is_still)
        self.domain.resume()
        # Its QEMU is busy, which is for a moment or for ever.
        self.domain.is_busy = True
        self.assertFalse(self._state().is_still)
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.xloud.observer.time.time',
            return_value=time.time() + 31))
        self.assertTrue(self._state().is_still)
        # It has only no balloon driver.
        self.domain.is_busy = False
        self.domain.reported_at = int(time.time()) - 31
        state = self._state()
        self.assertEqual((False, False),
                         (state.is_still, state.balloon_active))

    def test_guest_without_a_driver_that_is_busy_for_a_moment(self):
        """It does not count as one that hangs."""
        self.domain.has_balloon_driver = False
        clock = self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.xloud.run.time.monotonic')).mock
        for seconds, is_busy, expected in (
                (0, False, False), (60, True, False), (61, True, False),
                (120, False, False), (180, True, False), (240, True, True)):
            clock.return_value = seconds
            self.domain.is_busy = is_busy
            state = self._state()
            self.assertEqual((is_busy, expected),
                             (state.is_busy, state.is_still), seconds)

    def test_guest_that_reports_seldom_and_hangs(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.run._BUSY_SECONDS', 0))
        self.domain.period = 3600
        self.devices = base.BALLOON.replace("'10'", "'3600'")
        for seconds, is_busy, expected in (
                (61, False, False), (59, True, False), (61, True, True)):
            self.domain.is_busy = False
            self.domain.reported_at = int(time.time()) - seconds
            self._state()
            self.domain.is_busy = is_busy
            self.assertEqual((True, expected), (
                self._state().balloon_active, self._state().is_still))

    @ddt.data(fakelibvirt.VIR_ERR_OPERATION_TIMEOUT,
              fakelibvirt.VIR_ERR_OPERATION_INVALID)
    def test_guest_that_gives_no_answer_is_left_out(self, code):
        other = fakes.server(fakes.ELASTIC)
        other.uuid = '5ba5e1d5-7d44-4d5a-9c3f-3c2f1f9f0f0a'
        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'memoryStats',
            side_effect=fakelibvirt.make_libvirtError(
                fakelibvirt.libvirtError, 'hangs', error_code=code)))
        self.assertEqual(
            {other.uuid: elastic_guest.NOT_RUNNING},
            self.driver.get_elastic_guests([self.instance, other]))

    def test_qemu_hangs(self):
        self._let_hang(self.connection, 'domainListGetStats')
        error = self.assertRaises(fakelibvirt.libvirtError, self._state)
        self.assertIn('no answer within 0.01 seconds', str(error))

    def test_libvirtd_hangs(self):
        """Nova tries its connection before it asks anything."""
        self._let_hang(self.driver._host, 'get_connection')
        mend = self.useFixture(fixtures.MockPatchObject(
            self.driver._boot_sizes, 'mend')).mock
        error = self.assertRaises(fakelibvirt.libvirtError, self._state)
        self.assertIn('no answer within 0.01 seconds', str(error))
        # It would wait, too.
        mend.assert_not_called()
        self.assertRaises(
            elastic_guest.GuestBusy, self._change, size.Size(2, 1024))

    @ddt.data('listAllDomains', 'domainEventRegisterAny')
    def test_libvirtd_hangs_at_the_first_look(self, name):
        self._let_hang(self.connection, name)
        with contextlib.suppress(fakelibvirt.libvirtError):
            self._state()

    def test_others_hang_at_the_first_look(self):
        """The connection reports devices all the same, later."""
        connect = self.driver._host.get_connection
        others = [object() for _ in range(patience._MOST_OPEN)]

        def then_others_hang():
            connection = connect()
            for other in others:
                patience._calls._open.add(other)
                patience._calls.abandon(other)
            return connection

        with mock.patch.object(
                self.driver._host, 'get_connection', then_others_hang):
            error = self.assertRaises(fakelibvirt.libvirtError, self._state)
        self.assertIn('calls have not ended', str(error))
        for other in others:
            patience._calls.end(other)
        register = self.useFixture(fixtures.MockPatchObject(
            self.connection, 'domainEventRegisterAny')).mock
        self._state()
        register.assert_called()

    def _let_hang(self, owner, name):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.patience.SECONDS', 0.01))
        released = threading.Event()
        self.addCleanup(released.set)
        self.useFixture(fixtures.MockPatchObject(
            owner, name, side_effect=lambda *args: (
                released.wait(10) or self.fail('It was waited for'))))

    @ddt.data('XMLDesc', 'setMetadata', 'memoryStats')
    def test_qemu_hangs_when_a_run_is_looked_at(self, name):
        other = fakes.server(fakes.ELASTIC)
        other.uuid = '5ba5e1d5-7d44-4d5a-9c3f-3c2f1f9f0f0a'
        self._let_hang(self.domain, name)
        states = self.driver.get_elastic_guests([self.instance, other])
        self.assertEqual(elastic_guest.NOT_RUNNING, states[other.uuid])
        if name == 'setMetadata':
            # What is known without the mark stays true.
            self.assertEqual(3, states[self.instance.uuid].vcpus)
        else:
            self.assertNotIn(self.instance.uuid, states)

    def test_qemu_hangs_when_it_is_asked_for_its_vcpus(self):
        self.domain.type = 'qemu'
        self.domain.unplug = 'silent'
        self._change(size.Size(2, 1024))
        self._let_hang(xloud_libvirt.Extension, 'virDomainQemuMonitorCommand')
        # Not less than it may hold
        self.assertEqual(3, self._state().vcpus)

    @ddt.data((0, True), (29, True), (-29, True), (31, False))
    @ddt.unpack
    def test_fresh(self, age, is_fresh):
        self._state()
        now = time.time()
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.xloud.observer.time.time',
            return_value=now + 3600 + age))
        self.domain.reported_at = now + 3600
        state = self._state()
        self.assertIs(is_fresh, state.balloon_active)
        # A report of the future was made before the clock was set back.
        self.assertEqual(200 if is_fresh and age >= 0 else None,
                         state.used_memory_mb)

    def test_what_the_kernel_keeps_is_needed(self):
        """The total that a guest reports does not include it."""
        statistics = self.domain.statistics()
        statistics['balloon.available'] -= 240 * 1024
        self.domain.statistics = lambda flags: statistics
        self.assertEqual(200, self._state().used_memory_mb)

    def test_old_balloon_driver(self):
        """Such as those of FreeBSD and old ones of virtio-win."""
        statistics = self.domain.statistics()
        del statistics['balloon.usable']
        self.domain.statistics = lambda flags: statistics
        state = self._state()
        self.assertTrue(state.balloon_active)
        self.assertEqual((None, 'usable'),
                         (state.used_memory_mb, state.missing_statistic))

    @ddt.data('seen', 'told')
    def test_statistics_older_than_the_last_move(self, how):
        """The guest could use less at once than they say."""
        self.assertEqual(200, self._state().used_memory_mb)
        self.domain.reported_at = int(time.time())
        self.domain.move_balloon(900 * 1024, tell=how == 'told')
        self.domain.reported_at = int(time.time())
        state = self._state()
        self.assertEqual((900, True, None, None), (
            state.memory_mb, state.balloon_active, state.used_memory_mb,
            state.missing_statistic))

        # They can be asked for.
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.observer._RENEWAL_SECONDS', 60))
        state = self._state(renew=True)
        self.assertEqual(200, state.used_memory_mb)
        self.assertEqual(10, self.domain.period)
        self.assertEqual(200, self._state().used_memory_mb)

    def test_a_move_back_and_forth_is_a_move(self):
        self._state()
        self.domain.reported_at = int(time.time())
        for memory in (1500, 1024):
            self.domain.move_balloon(memory * 1024)
        self.assertIsNone(self._state().used_memory_mb)

    def test_move_that_is_not_told_yet(self):
        """A guest that went on to 512 MiB does not use 512 MiB more."""
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.run._UNTOLD_SECONDS', 1.2))
        self._state()
        self.domain.move_balloon(1023 * 1024)
        now = float(int(time.time()))
        clock = self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.xloud.run.time.time')).mock
        for seconds, memory, used in (
                (1.1, 1023, None), (1.1, 512, None), (2.2, 512, None),
                (2.4, 512, 200)):
            clock.return_value = now + seconds
            self.domain.reported_at = int(now) + 2
            if memory != self.domain.live.memory // 1024:
                self.domain.move_balloon(memory * 1024)
            state = self._state()
            self.assertEqual((memory, used), (
                state.memory_mb, state.used_memory_mb), seconds)
        # The clock is set back.
        for seconds, used in ((-9, None), (-7, 200)):
            clock.return_value = now + seconds
            self.domain.reported_at = int(now) + seconds
            self.assertEqual(used, self._state().used_memory_mb, seconds)

    def test_report_from_before_the_clock_was_set_back(self):
        """The balloon has moved since, though its time is an earlier one."""
        self.domain.used = 1000 * 1024
        now = float(int(time.time()))
        clock = self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.xloud.run.time.time', return_value=now)).mock
        self.domain.reported_at = now
        self._state()
        clock.return_value = now - 20
        self.domain.move_balloon(512 * 1024)
        for seconds in (-20, -17, 1):
            clock.return_value = now + seconds
            state = self._state()
            self.assertEqual((512, None),
                             (state.memory_mb, state.used_memory_mb))
        self.domain.reported_at = now + 1
        self.assertIsNotNone(self._state().used_memory_mb)

    def test_clock_is_set_back_while_a_report_is_awaited(self):
        """An hour, and the balloon of the guest moves all the time."""
        self._state()
        clock = self.useFixture(_Clock())
        renew = self.domain.setMemoryStatsPeriod

        def move_and_set_back(period, flags):
            clock.offset = -3600
            self.domain.move_balloon((1024 - clock.slept) * 1024)
            renew(period, flags)

        self.domain.setMemoryStatsPeriod = move_and_set_back
        self.domain.reported_at = int(time.time())
        self.domain.move_balloon(1000 * 1024)
        self.assertIsNone(self._state(renew=True).used_memory_mb)
        self.assertLess(clock.slept, 10)

    def test_nothing_before_the_first_look_is_believed(self):
        self.domain.reported_at = int(time.time())
        self.assertIsNone(self._state().used_memory_mb)

    def test_guest_that_does_not_report_in_time(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.observer._RENEWAL_SECONDS', 0.5))
        self.domain.reported_at = int(time.time())
        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'setMemoryStatsPeriod'))
        self.assertIsNone(self._state(renew=True).used_memory_mb)

    def test_statistics_are_not_left_switched_off(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.observer._RENEWAL_SECONDS', 0.5))
        self._state()
        self.domain.move_balloon(900 * 1024)
        self.domain.reported_at = int(time.time())
        switch = self.domain.setMemoryStatsPeriod
        failures = iter([True])

        def fail_once(period, flags):
            if period and next(failures, False):
                raise fakelibvirt.make_libvirtError(
                    fakelibvirt.libvirtError, 'hangs', error_code=(
                        fakelibvirt.VIR_ERR_OPERATION_INVALID))
            switch(period, flags)

        self.domain.setMemoryStatsPeriod = fail_once
        # The live base.XML of libvirt has what was set.
        self.devices = base.BALLOON.replace("'10'", "'0'")
        self._state(renew=True)
        self.assertTrue(self._state().balloon_active)
        self.assertEqual(10, self.domain.period)

    def test_no_balloon_driver(self):
        self.domain.has_balloon_driver = False
        self.assertFalse(self._state().balloon_active)

    @ddt.data((15, 15), (0, 10))
    @ddt.unpack
    def test_statistics_are_switched_on(self, configured, expected):
        self.flags(mem_stats_period_seconds=configured, group='libvirt')
        self.devices = "<memballoon model='virtio'/>"
        self.domain.period = 0
        self._state()
        self.assertEqual(expected, self.domain.period)
        self.assertTrue(self._state().balloon_active)

    @ddt.data((0, 10), (60, 60))
    @ddt.unpack
    def test_somebody_changes_the_period(self, period, expected):
        self.assertTrue(self._state().balloon_active)
        self.domain.period = period
        self.devices = base.BALLOON.replace("'10'", "'%d'" % period)
        self.domain.reported_at = int(time.time()) - 31
        for _ in range(2):
            self._state()
        # When statistics are switched on, the guest reports at once.
        self.assertTrue(self._state().balloon_active)
        self.assertEqual(expected, self.domain.period)

    def test_somebody_changes_the_period_before_a_driver_loads(self):
        self.domain.has_balloon_driver = False
        for _ in range(5):
            self._state()
        self.domain.period = 0
        self.devices = base.BALLOON.replace("'10'", "'0'")
        self.domain.has_balloon_driver = True
        for _ in range(5):
            self._state()
        self.assertTrue(self._state().balloon_active)
        self.assertEqual(10, self.domain.period)

    def test_guest_without_a_driver_is_looked_at_seldom(self):
        self.domain.has_balloon_driver = False
        with mock.patch.object(self.domain, 'XMLDesc',
                               side_effect=self.domain.XMLDesc) as describe:
            for _ in range(1000):
                self._state()
        self.assertLess(describe.call_count, 15)

    def test_guest_that_reports_once_an_hour(self):
        """What it used an hour ago says nothing about now."""
        self._state()
        self.domain.period = 3600
        self.devices = base.BALLOON.replace("'10'", "'3600'")
        self.domain.reported_at = int(time.time()) - 3000
        # Its balloon has not moved for longer.
        run, = self.driver._elastic_guests._observer.runs.values()
        run.moved_at = time.time() - 7200
        for _ in range(2):
            state = self._state()
        self.assertEqual((True, None),
                         (state.balloon_active, state.used_memory_mb))

        # It can be asked.
        self.domain.used = 300 * 1024
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.observer._RENEWAL_SECONDS', 60))
        self.assertEqual(300, self._state(renew=True).used_memory_mb)
        self.assertEqual(3600, self.domain.period)

    def test_statistics_cannot_be_switched_on(self):
        self.devices = "<memballoon model='virtio'/>"
        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'setMemoryStatsPeriod',
            side_effect=fakelibvirt.libvirtError('no')))
        self.assertFalse(self._state().balloon_active)

    def test_stale_after_a_live_migration(self):
        self.domain.stale_memory = 2097152
        self.assertEqual(1024, self._state().memory_mb)
        self.domain.live.memory = 700 * 1024
        self.assertEqual(700, self._state().memory_mb)
        # After a move libvirt is right, and QEMU need not be asked.
        self.domain.move_balloon(800 * 1024)
        self.domain.memoryStats = None
        self.assertEqual(800, self._state().memory_mb)

    @ddt.data(
        "<hostdev mode='subsystem' type='pci' managed='yes'/>",
        "<hostdev mode='subsystem' type='mdev' model='vfio-pci'/>",
        "<interface type='hostdev'/>", "<interface type='vdpa'/>",
        "<disk type='nvme'/>", "<disk type='vhostvdpa'/>")
    def test_pinned(self, device):
        self.devices += device
        self.assertTrue(self._state().memory_pinned)

    @ddt.data(
        "<hostdev mode='subsystem' type='usb'/>",
        "<interface type='bridge'/>", "<disk type='file'/>")
    def test_not_pinned(self, device):
        self.devices += device
        self.assertFalse(self._state().memory_pinned)

    def test_locked(self):
        describe = self.domain.XMLDesc
        self.domain.XMLDesc = lambda flags: describe(flags).replace(
            '<devices', '<memoryBacking><locked/></memoryBacking><devices')
        self.assertTrue(self._state().memory_pinned)

    def test_device_comes_and_goes(self):
        self.assertFalse(self._state().memory_pinned)
        self.devices += "<hostdev mode='subsystem' type='pci'/>"
        # QEMU has not reported it yet.
        self.assertFalse(self._state().memory_pinned)
        self.connection.tell_device_added(self.domain, 'hostdev0')
        self.assertTrue(self._state().memory_pinned)
        self.devices = base.BALLOON
        self.connection.tell_removed(self.domain, 'hostdev0')
        self.assertFalse(self._state().memory_pinned)

    def test_connection_that_hears_nothing(self):
        connection = self._connect()
        connection._vms = self.connection._vms
        connection.domainEventRegisterAny = mock.Mock(
            side_effect=fakelibvirt.libvirtError('no events'))
        self.assertFalse(self._state().memory_pinned)
        self.devices += "<hostdev mode='subsystem' type='pci'/>"
        self.assertTrue(self._state().memory_pinned)

    def test_removed_while_it_is_looked_at(self):
        gone = fakelibvirt.make_libvirtError(
            fakelibvirt.libvirtError, 'gone',
            error_code=fakelibvirt.VIR_ERR_NO_DOMAIN)
        self.domain.XMLDesc = mock.Mock(side_effect=gone)
        self.assertEqual(elastic_guest.NOT_RUNNING, self._state())


class AgentTest(base.GuestsTestCase):

    AGENT = ("<channel type='unix'><target type='virtio' "
             "name='org.qemu.guest_agent.0'/></channel>")

    def setUp(self):
        super().setUp()
        self.devices = base.BALLOON + self.AGENT
        self.domain.online = '0-1'

    def test_online(self):
        for online, count in (('0-1', 2), ('0,2', 2), ('0-2', 3)):
            self.domain.online = online
            state = self._state()
            self.assertEqual((3, count), (state.vcpus, state.online_vcpus))
            self.assertIs(count < 3, state.has_offline_vcpus)

    def test_no_agent(self):
        self.domain.online = None
        self.assertIsNone(self._state().online_vcpus)
        # It comes when the guest has booted.
        self.domain.online = '0-2'
        self.assertEqual(3, self._state().online_vcpus)
        # The agent of a server with another image is not asked.
        self.devices = base.BALLOON
        self.driver._elastic_guests._observer.runs.clear()
        self.domain.ask_agent = self.fail
        self.assertIsNone(self._state().online_vcpus)

    def test_nonsense(self):
        vcpu = '{"online": true, "logical-id": 0}'
        for nonsense in (
                'all of them', '[' * 9999, '{"return": 3}', '{"return": []}',
                '{"return": [{"online": false, "logical-id": 0}]}',
                '{"return": [{"online": true}]}',
                '{"return": [{"online": true, "logical-id": {}}]}',
                '{"return": [%s]}' % ', '.join([vcpu] * (1 << 16))):
            self.domain.ask_agent = lambda: nonsense
            state = self._state()
            self.assertEqual((3, None), (state.vcpus, state.online_vcpus))
        # No vCPU counts twice.
        self.domain.ask_agent = lambda: '{"return": [%s, %s]}' % (vcpu, vcpu)
        self.assertEqual(1, self._state().online_vcpus)

    def test_agent_that_reports_more_vcpus_than_there_are(self):
        self.domain.ask_agent = lambda: jsonutils.dumps({'return': [
            {'online': True, 'logical-id': number} for number in range(5)]})
        state = self._state()
        self.assertEqual((3, 3), (state.vcpus, state.online_vcpus))
        self.assertFalse(state.has_offline_vcpus)

    def test_agent_that_hangs_is_left_alone(self):
        self._state()
        released = threading.Event()
        self.addCleanup(released.set)
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.agent.SECONDS', 0.1))
        asked = []

        def hang():
            asked.append(1)
            released.wait(10)

        self.domain.ask_agent = hang
        for _ in range(3):
            self.assertIsNone(self._state().online_vcpus)
        self.assertEqual(1, len(asked))
        # libvirt ends that, and the guest resets itself.
        released.set()
        with agent._turn:
            released.clear()
        self.connection.tell_reset(self.domain)
        del self.domain.ask_agent
        self.assertEqual(2, self._state().online_vcpus)
        # It does so all the time.
        self.domain.ask_agent = hang
        for _ in range(3):
            self.connection.tell_reset(self.domain)
            self.assertIsNone(self._state().online_vcpus)
        self.assertEqual(2, len(asked))

    def test_slow_agent_is_asked_less_often(self):
        self._state()
        clock = self.useFixture(_Clock())

        def answer_late():
            clock.slept += 1
            return xloud_libvirt.Domain.ask_agent(self.domain)

        self.domain.ask_agent = answer_late
        self.assertEqual(2, self._state().online_vcpus)
        self.domain.online = '0-2'
        self.assertEqual(2, self._state().online_vcpus)
        clock.slept += 10
        self.assertEqual(3, self._state().online_vcpus)

    def test_vcpus_that_come_later_are_not_online_yet(self):
        """The agent was asked before, and is slow or not asked now."""
        self.domain.online = '0-2'
        self.assertEqual(3, self._state().online_vcpus)
        with agent._turn:
            for vcpus in (2, 3):
                self.domain.live.set_vcpus(vcpus)
                state = self._state()
                self.assertEqual((vcpus, 2),
                                 (state.vcpus, state.online_vcpus))
        self.assertEqual(3, self._state().online_vcpus)

    def test_agents_take_turns(self):
        """One is asked at a time. Others keep their last answer."""
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.agent.SECONDS', 0.1))
        self.assertEqual(2, self._state().online_vcpus)
        self.domain.online = '0-2'
        with agent._turn:
            self.assertEqual(2, self._state().online_vcpus)
        self.assertEqual(3, self._state().online_vcpus)

    def test_agent_that_is_paused(self):
        """It is not asked, and what it said last stays true."""
        self._state()
        self.domain.suspend()
        with mock.patch.object(self.domain, 'ask_agent', self.fail):
            self.assertEqual(2, self._state().online_vcpus)
        self.domain.resume()
        self.domain.online = '0-2'
        self.assertEqual(3, self._state().online_vcpus)

    def _start_other(self, number=0):
        other = fakes.server(fakes.ELASTIC)
        other.uuid = '5ba5e1d5-7d44-4d5a-9c3f-3c2f1f9f0f0%d' % number
        domain = self.connection.defineXML(
            (base.XML % {'uuid': other.uuid}).replace(
                '>guest<', '>other%d<' % number))
        domain.create()
        domain.XMLDesc, domain.online = self.domain.XMLDesc, '0-1'
        return other, domain

    def test_slow_agents_delay_those_of_others_once(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.agent.SECONDS', 1))
        guests = [(self.instance, self.domain),
                  self._start_other(1), self._start_other(2)]
        servers = [server for server, _domain in guests]

        def answer_late(domain):
            time.sleep(0.7)
            return xloud_libvirt.Domain.ask_agent(domain)

        for server, domain in guests:
            for _server, other in guests:
                other.ask_agent = functools.partial(answer_late, other)
            del domain.ask_agent
            domain.online = '0'
            # No agent was slow before.
            self.driver._elastic_guests._observer.runs.clear()
            self.assertIn(1, [
                self.driver.get_elastic_guests(servers)[
                    server.uuid].online_vcpus for _ in range(2)])

    def test_of_many_only_those_in_doubt_are_asked(self):
        other, _domain = self._start_other()
        servers = [self.instance, other]

        def online():
            return self.driver.get_elastic_guests(servers)[
                self.instance.uuid].online_vcpus

        self.assertEqual(2, online())
        self.domain.online = '0-2'
        self.assertEqual(3, online())
        with mock.patch.object(self.domain, 'ask_agent', self.fail):
            self.assertEqual(3, online())
        self._change(base.MAXIMUM)
        self.domain.online = '0-3'
        self.assertEqual(4, online())
