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

import threading
import time
from unittest import mock

import ddt
import fixtures
from lxml import etree

from nova import exception
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.fixtures import xloud_libvirt
from nova.tests.unit.virt.libvirt.xloud import test_domain
from nova.virt import event as virtevent
from nova.virt import fake
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import event as libvirtevent
from nova.virt.libvirt.xloud import events
from nova.xloud import guest as elastic_guest
from nova.xloud import size

BOOT = size.Size(3, 1024)
MAXIMUM = size.Size(4, 2048)

XML = """\
<domain type='kvm'>
  <name>guest</name>
  <uuid>%(uuid)s</uuid>
  <memory unit='KiB'>2097152</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <vcpu current='3'>4</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no'/>
    <vcpu id='1' enabled='yes' hotpluggable='no'/>
    <vcpu id='2' enabled='yes' hotpluggable='yes'/>
    <vcpu id='3' enabled='no' hotpluggable='yes'/>
  </vcpus>
  <os><type arch='x86_64'>hvm</type></os>
  <devices/>
</domain>
"""
BALLOON = "<memballoon model='virtio'><stats period='10'/></memballoon>"


class GuestsTestCase(test.NoDBTestCase):
    """A server of 2 to 4 vCPUs and 512 to 2048 MiB, started with BOOT."""

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.useFixture(xloud_libvirt.ElasticLibvirtFixture())
        self.useFixture(nova_fixtures.SpawnIsSynchronousFixture())
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.guests._CALM_SECONDS', 0))
        self.driver = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), False)
        self.emitted = []
        self.driver.register_event_listener(self.emitted.append)
        self.connection = self._connect()
        self.instance = test_domain.server(test_domain.ELASTIC, boot=BOOT)
        self.devices = BALLOON
        self.domain = self._start()

    def _connect(self):
        connection = xloud_libvirt.Connection('qemu:///system')
        self.driver._host.get_connection = lambda: connection
        return connection

    def _start(self):
        domain = self.connection.defineXML(XML % {
            'uuid': self.instance.uuid})
        # Upstream's fake keeps few devices.
        describe = domain.XMLDesc

        def describe_with_devices(flags):
            document = etree.fromstring(describe(flags))
            devices = document.find('./devices')
            for device in devices:
                devices.remove(device)
            for device in etree.fromstring('<d>%s</d>' % self.devices):
                devices.append(device)
            return etree.tostring(document, encoding='unicode')

        domain.XMLDesc = describe_with_devices
        domain.create()
        domain.period = 10
        return domain

    def _state(self, **kwargs):
        return self.driver.get_elastic_guests(
            [self.instance], **kwargs)[self.instance.uuid]

    def _change(self, target, boot=BOOT):
        self.driver.set_elastic_guest(self.instance, target, boot)

    def assert_refused(self, text, target):
        error = self.assertRaises(
            exception.ElasticGuestRefused, self._change, target)
        self.assertIn(text, str(error))
        # Members read it, and only administrators may know this name.
        self.assertNotIn(self.instance.name, str(error))


@ddt.ddt
class StateTest(GuestsTestCase):

    def test_state(self):
        self.domain.used = 100 * 1024 + 1
        state = self._state()
        self.assertEqual(
            elastic_guest.GuestState(
                running=True, vcpus=3, memory_mb=1024, balloon_active=True,
                used_memory_mb=101, memory_pinned=False, run=state.run,
                fixed_vcpus=2),
            state)

    def test_fixed_vcpus(self):
        """A domain without a list can remove none of its vCPUs."""
        self.domain.live.listed = False
        self.assertEqual(3, self._state().fixed_vcpus)

    def test_memory_is_rounded_up(self):
        self.domain.live.memory = 1000 * 1024 + 1
        self.assertEqual(1001, self._state().memory_mb)

    def test_not_running(self):
        self.domain.destroy()
        self.assertEqual(elastic_guest.NOT_RUNNING, self._state())
        self.domain.undefine()
        self.assertEqual(elastic_guest.NOT_RUNNING, self._state())

    def test_several(self):
        other = test_domain.server(test_domain.ELASTIC)
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
        self.assertEqual(before, self._state())
        self.assertEqual(300, self.driver.get_elastic_guests(
            [self.instance], wait=True)[self.instance.uuid].used_memory_mb)

    @ddt.data(fakelibvirt.VIR_ERR_OPERATION_TIMEOUT,
              fakelibvirt.VIR_ERR_OPERATION_INVALID)
    def test_guest_that_gives_no_answer_is_left_out(self, code):
        other = test_domain.server(test_domain.ELASTIC)
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

    def _let_hang(self, owner, name):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.patience.SECONDS', 0.01))
        released = threading.Event()
        self.addCleanup(released.set)
        self.useFixture(fixtures.MockPatchObject(
            owner, name, side_effect=lambda *args: released.wait(10)))

    @ddt.data('XMLDesc', 'setMetadata', 'memoryStats')
    def test_qemu_hangs_when_a_run_is_looked_at(self, name):
        other = test_domain.server(test_domain.ELASTIC)
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
        self._let_hang(xloud_libvirt.Monitor, 'virDomainQemuMonitorCommand')
        # Not less than it may hold
        self.assertEqual(3, self._state().vcpus)

    @ddt.data((0, True), (29, True), (-29, True), (31, False))
    @ddt.unpack
    def test_fresh(self, age, is_fresh):
        self._state()
        now = time.time()
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.xloud.guests.time.time',
            return_value=now + 3600 + age))
        self.domain.reported_at = now + 3600
        state = self._state()
        self.assertIs(is_fresh, state.balloon_active)
        self.assertEqual(200 if is_fresh else None, state.used_memory_mb)

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
            'nova.virt.libvirt.xloud.guests._RENEWAL_SECONDS', 60))
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
        now = time.time()
        clock = self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.xloud.run.time.time')).mock
        for seconds, memory, used in (
                (1.1, 1023, None), (1.1, 512, None), (2.2, 512, None),
                (2.4, 512, 200)):
            clock.return_value = now + seconds
            self.domain.reported_at = int(now) + 3
            if memory != self.domain.live.memory // 1024:
                self.domain.move_balloon(memory * 1024)
            state = self._state()
            self.assertEqual((memory, used), (
                state.memory_mb, state.used_memory_mb), seconds)
        # The clock is set back.
        for seconds, used in ((-9, None), (-7, 200)):
            clock.return_value = now + seconds
            self.domain.reported_at = int(now) - 7
            self.assertEqual(used, self._state().used_memory_mb, seconds)

    def test_nothing_before_the_first_look_is_believed(self):
        self.domain.reported_at = int(time.time())
        self.assertIsNone(self._state().used_memory_mb)

    def test_guest_that_does_not_report_in_time(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.guests._RENEWAL_SECONDS', 0.5))
        self.domain.reported_at = int(time.time())
        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'setMemoryStatsPeriod'))
        self.assertIsNone(self._state(renew=True).used_memory_mb)

    def test_statistics_are_not_left_switched_off(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.guests._RENEWAL_SECONDS', 0.5))
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
        # The live XML of libvirt has what was set.
        self.devices = BALLOON.replace("'10'", "'0'")
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

    def test_device_comes_and_goes(self):
        self.assertFalse(self._state().memory_pinned)
        self.devices += "<hostdev mode='subsystem' type='pci'/>"
        # QEMU has not reported it yet.
        self.assertFalse(self._state().memory_pinned)
        self.connection.tell_device_added(self.domain, 'hostdev0')
        self.assertTrue(self._state().memory_pinned)
        self.devices = BALLOON
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


class AgentTest(GuestsTestCase):

    AGENT = ("<channel type='unix'><target type='virtio' "
             "name='org.qemu.guest_agent.0'/></channel>")

    def setUp(self):
        super().setUp()
        self.devices = BALLOON + self.AGENT
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
        self.devices = BALLOON
        self.driver._elastic_guests._runs.clear()
        self.domain.guestVcpus = self.fail
        self.assertIsNone(self._state().online_vcpus)

    def test_nonsense(self):
        self.domain.guestVcpus = lambda flags=0: {'online': 'all of them'}
        state = self._state()
        self.assertEqual((3, None), (state.vcpus, state.online_vcpus))

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

        self.domain.guestVcpus = hang
        for _ in range(3):
            self.assertIsNone(self._state().online_vcpus)
        self.assertEqual(1, len(asked))
        # The guest resets itself.
        self.connection.tell_reset(self.domain)
        del self.domain.guestVcpus
        self.assertEqual(2, self._state().online_vcpus)

    def test_of_many_only_those_in_doubt_are_asked(self):
        other = test_domain.server(test_domain.ELASTIC)
        other.uuid = '5ba5e1d5-7d44-4d5a-9c3f-3c2f1f9f0f0a'
        domain = self.connection.defineXML(
            (XML % {'uuid': other.uuid}).replace('>guest<', '>other<'))
        domain.create()
        servers = [self.instance, other]

        def online():
            return self.driver.get_elastic_guests(servers)[
                self.instance.uuid].online_vcpus

        self.assertEqual(2, online())
        self.domain.online = '0-2'
        self.assertEqual(3, online())
        with mock.patch.object(self.domain, 'guestVcpus', self.fail):
            self.assertEqual(3, online())
        self._change(MAXIMUM)
        self.domain.online = '0-3'
        self.assertEqual(4, online())


class RunTest(GuestsTestCase):

    def _forget(self):
        """nova-compute starts again."""
        self.driver._elastic_guests._runs.clear()

    def test_goes_on(self):
        run = self._state().run
        self._forget()
        self.assertEqual(run, self._state().run)

        # Also where it is another domain of another libvirt
        self.domain._id += 7
        self.domain._reason = 2
        self.assertEqual(run, self._state().run)
        self._forget()
        self.domain._reason = 1
        self.assertEqual(run, self._state().run)

    def test_starts_anew(self):
        run = self._state().run
        self.domain.destroy()
        self.domain.create()
        other = self._state().run
        self.assertNotEqual(run, other)

        # libvirtd and nova-compute were restarted, and ids with them.
        number = self.domain.ID()
        self.domain.destroy()
        self.connection._id_counter = number
        self.domain.create()
        self.assertEqual(number, self.domain.ID())
        self._forget()
        self.assertNotEqual(other, self._state().run)

    def test_mark_in_persistent_configuration(self):
        """Live XML was made persistent, and nobody corrected it."""
        run = self._state().run
        self.domain.config.metadata = dict(self.domain.live.metadata)
        self.domain.destroy()
        self.domain.create()
        self.assertNotEqual(run, self._state().run)

    def test_paused_guest_that_moves_goes_on(self):
        """A pause also has reason 1, which means a start in other states."""
        run = self._state().run
        self.domain._id += 7
        self._forget()
        self.domain._state = fakelibvirt.VIR_DOMAIN_PAUSED
        self.domain._reason = 1
        self.assertEqual(run, self._state().run)

    def _boot_size_is(self, boot):
        instance = test_domain.server(test_domain.ELASTIC, boot=boot)
        self.useFixture(fixtures.MockPatch(
            'nova.objects.Instance.get_by_uuid', return_value=instance))

    def test_mending(self):
        self._boot_size_is(BOOT)
        self._state()
        self.domain.config.metadata = dict(self.domain.live.metadata)
        self.domain.config.set_vcpus(4)
        self.driver._elastic_guests.keep_boot_size(self.instance)
        self.assertEqual({}, self.domain.config.metadata)
        self.assertEqual(3, self.domain.config.current_vcpus)

    def test_mending_fails(self):
        """The operation before does not fail, and Nova tries again."""
        self._boot_size_is(BOOT)
        self._state()
        for owner, name in ((self.domain, 'setMetadata'),
                            (self.domain, 'setVcpusFlags'),
                            (self.driver._host, 'get_guest')):
            self.domain.config.metadata = dict(self.domain.live.metadata)
            self.domain.config.set_vcpus(4)
            with mock.patch.object(
                    owner, name, side_effect=fakelibvirt.libvirtError('no')):
                self.driver._elastic_guests.keep_boot_size(self.instance)
                self._state()
                self.assertNotEqual({}, self.domain.config.metadata)
            self._state()
            self.assertEqual({}, self.domain.config.metadata)
            self.assertEqual(3, self.domain.config.current_vcpus)

    def test_no_mark(self):
        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'setMetadata',
            side_effect=fakelibvirt.libvirtError('no')))
        self.assertIsNone(self._state().run)
        self.assertTrue(self._state().running)

    def test_mark_that_could_not_be_made_before(self):
        with mock.patch.object(
                self.domain, 'setMetadata',
                side_effect=fakelibvirt.libvirtError('no')):
            self.assertIsNone(self._state().run)
        run = self._state().run
        self.assertIsNotNone(run)
        # It stays known when more cannot be noted.
        with mock.patch.object(
                self.domain, 'setMetadata',
                side_effect=fakelibvirt.libvirtError('no')):
            self._change(size.Size(2, 1024))
            self.assertEqual(run, self._state().run)


@ddt.ddt
class ChangeTest(GuestsTestCase):

    def test_order(self):
        with mock.patch.multiple(
                'nova.virt.libvirt.guest.Guest', set_vcpus=mock.DEFAULT,
                set_memory=mock.DEFAULT) as mocks:
            steps = mock.Mock()
            for name, step in mocks.items():
                steps.attach_mock(step, name)
            self.assertRaises(exception.ElasticGuestRefused,
                              self._change, size.Size(4, 1500))
        self.assertEqual(
            [mock.call.set_memory(1500 * 1024, live=True),
             mock.call.set_vcpus(4, live=True)], steps.mock_calls)

    def test_vcpus_leave_before_memory(self):
        self.domain.unplug = 'refuse'
        self.assert_refused('refuses to remove vCPUs', size.Size(2, 512))
        self.assertEqual(1048576, self.domain.live.memory)

    def test_libvirt_does_not_do_what_it_says(self):
        self.domain._set_live_vcpus = lambda count: None
        for vcpus in (4, 2):
            self.assert_refused(
                'accepted %d vCPUs for it, but counts 3 now' % vcpus,
                size.Size(vcpus, 1024))

    def test_fixed_dimensions_are_left_alone(self):
        self.instance.flavor.extra_specs = {'minimum_cpu': '2'}
        self._change(size.Size(4, 512), boot=size.Size(4, 512))
        self.assertEqual((4, 1048576), (
            self.domain.live.current_vcpus, self.domain.live.memory))
        self.assertEqual((4, 1048576), (
            self.domain.config.current_vcpus, self.domain.config.memory))
        self.instance.flavor.extra_specs = {'minimum_memory': '512'}
        self._change(size.Size(2, 512), boot=size.Size(2, 512))
        self.assertEqual((4, 512 * 1024), (
            self.domain.live.current_vcpus, self.domain.live.memory))

    def test_memory_is_asked_for_again(self):
        """The guest was on its way to another size."""
        self.domain.is_balloon_late = True
        self._change(size.Size(3, 512))
        self._change(size.Size(3, 1024))
        self.assertEqual(1048576, self.domain.wanted_memory)

    def test_no_balloon(self):
        self.devices = "<memballoon model='none'/>"
        self.assert_refused('no memory balloon', size.Size(2, 512))
        self.assertEqual(3, self.domain.live.current_vcpus)
        self._change(size.Size(2, 1024))
        self.assertEqual(2, self.domain.live.current_vcpus)

    def test_more_than_the_maximum(self):
        self.assert_refused('refuses to change the memory', size.Size(3, 4096))
        self.assert_refused('refuses to add vCPUs', size.Size(8, 1024))

    def test_libvirt_fails(self):
        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'setMemoryFlags',
            side_effect=fakelibvirt.libvirtError('connection lost')))
        self.assertRaises(
            fakelibvirt.libvirtError, self._change, size.Size(3, 512))

    @ddt.data(None, 'nonsense')
    def test_qemu_cannot_be_asked(self, answer):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.guest.libvirtmod_qemu', answer and mock.Mock(
                virDomainQemuMonitorCommand=lambda *args: answer)))
        self.domain.type = 'qemu'
        self.domain.unplug = 'late'
        self._change(size.Size(2, 1024))
        # Not less than it may hold
        self.assertEqual(3, self._state().vcpus)
        self.assert_refused('find out whether it did', MAXIMUM)
        # Asking again does no harm, and libvirt's answer settles it.
        self._change(size.Size(2, 1024))
        self.domain.give_back()
        self.assertEqual(2, self._state().vcpus)

    def test_late_vcpu_of_a_guest_that_is_not_emulated(self):
        """There QEMU reports it, and libvirt is right."""
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.guest.libvirtmod_qemu', mock.Mock(
                virDomainQemuMonitorCommand=self.fail)))
        for unplug in ('late', 'refuse'):
            self.domain.unplug = unplug
            if unplug == 'late':
                self._change(size.Size(2, 1024))
            else:
                self.assert_refused(
                    'refuses to remove vCPUs', size.Size(2, 1024))
            self.assertEqual(3, self._state().vcpus)
            self._change(MAXIMUM)
            self.assertEqual(4, self._state().vcpus)
            self.domain.live.set_vcpus(3)

    def test_emulated_guest_refused(self):
        """No vCPU was removed, so nothing is in doubt."""
        self.domain.type = 'qemu'
        self.domain.unplug = 'refuse'
        self.assert_refused('refuses to remove vCPUs', size.Size(2, 1024))
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.guest.libvirtmod_qemu', mock.Mock(
                virDomainQemuMonitorCommand=self.fail)))
        self.assertFalse(self._state().cannot_plug)
        self._change(MAXIMUM)
        self.assertEqual(4, self._state().vcpus)

    def test_software_emulation_does_not_plug_again(self):
        """Not even after a restart of libvirtd, which then counts right."""
        self.domain.type = 'qemu'
        self.domain.unplug = 'silent'
        self.assertFalse(self._state().cannot_plug)
        self._change(size.Size(2, 1024))
        self.assertEqual(2, self._state().vcpus)
        self.domain.silently_gone = 0
        self.domain.live.set_vcpus(2)
        self.assert_refused('software emulation', MAXIMUM)
        self.assertTrue(self._state().cannot_plug)
        self.assertEqual(1024 * 1024, self.domain.live.memory)

    def test_software_emulation_loses_no_vcpu_unnoted(self):
        self.domain.type = 'qemu'
        self._state()
        with mock.patch.object(
                self.domain, 'setMetadata',
                side_effect=fakelibvirt.libvirtError('no')):
            for _ in range(2):
                self.assert_refused('cannot record', size.Size(2, 1024))
        self.assertEqual(3, self.domain.live.current_vcpus)
        self.assertFalse(self._state().cannot_plug)

    @ddt.data(('qemu', True), ('kvm', False))
    @ddt.unpack
    def test_state_that_cannot_be_taken_out_of_qemu(self, kind, is_refused):
        self.domain.type = kind
        check = self.driver._elastic_guests
        for unplugged in (False, True):
            if unplugged:
                self._change(size.Size(2, 1024))
            if unplugged and is_refused:
                self.assertRaises(
                    exception.MigrationPreCheckError,
                    self.driver.check_can_live_migrate_source, None,
                    self.instance, None)
                self.assertRaises(
                    exception.InstanceFaultRollback, self.driver.suspend,
                    None, self.instance)
            else:
                check.check_live_migration(self.instance)
                check.check_suspend(self.instance)
        self.assertTrue(self.domain.live)

    def test_libvirt_cannot_say_whether_vcpus_left(self):
        """A suspend or a migration does not fail because of that."""
        self.useFixture(fixtures.MockPatchObject(
            self.connection, 'domainListGetStats',
            side_effect=fakelibvirt.libvirtError('no')))
        check = self.driver._elastic_guests
        check.check_live_migration(self.instance)
        check.check_suspend(self.instance)

    def test_qemu_is_not_asked_without_doubt(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.guest.libvirtmod_qemu', None))
        for vcpus in (4, 2, 3):
            self._change(size.Size(vcpus, 1024))
            self.assertEqual(vcpus, self._state().vcpus)


class EventTest(GuestsTestCase):

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
        self.assert_refused('refuses to remove vCPUs', size.Size(2, 1024))
        self.emitted.clear()
        self.connection.tell_removal_failed(self.domain, 'vcpu2')
        self.assertEqual([], self._emitted())

        self.domain.unplug = 'late'
        self._change(size.Size(2, 1024))
        self.connection.tell_removal_failed(self.domain, 'vcpu2')
        self.assert_emitted()

    def test_many_at_once(self):
        self._state()
        waiting = []
        with mock.patch('nova.virt.libvirt.xloud.guests.spawner.spawn',
                        side_effect=lambda *args: waiting.append(args)):
            for _number in range(3):
                self.connection.tell_balloon(self.domain)
            self.assertEqual(1, len(waiting))
            # It waits, and has another one handle the event.
            (wait,), = waiting
            wait()
        self.assertEqual(2, len(waiting))
        handle, event = waiting[1]
        handle(event)
        self.assert_emitted()
