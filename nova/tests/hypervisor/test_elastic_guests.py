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

"""The libvirt driver changes guests of a real libvirt and QEMU."""

import fixtures
import libvirt

from nova import exception
from nova.tests import fixtures as nova_fixtures
from nova.tests.hypervisor import domain_base
from nova.tests.hypervisor import fixtures as hypervisor_fixtures
from nova.tests.hypervisor import loops
from nova.virt import fake
from nova.virt.libvirt import driver as libvirt_driver
from nova.xloud import guest as elastic_guest
from nova.xloud import size

MINIMUM = domain_base.MINIMUM
BOOT = domain_base.BOOT
MAXIMUM = domain_base.MAXIMUM


class ElasticGuestsTest(domain_base.DomainTestBase):

    def setUp(self):
        super().setUp()
        self.flags(group='libvirt', mem_stats_period_seconds=1)
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.listener._CALM_SECONDS', 0))
        # The next test must not find what this one has spawned.
        isolated = getattr(nova_fixtures, 'IsolatedExecutorFixture', None)
        if isolated is not None:  # since 32.0.0
            self.useFixture(isolated(self.id()))
        self.useFixture(loops.Loops())
        host = self.driver._host
        # This would look for its service in a database.
        host._conn_event_handler = None
        # The loop for events, before there is a connection
        host.initialize()
        if hasattr(host, 'cleanup'):  # since 33.0.0
            self.addCleanup(host.cleanup)
        self.events = []
        self.driver.register_event_listener(self.events.append)

    def _restart_compute(self):
        self.driver = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), False)

    def _state(self):
        return self.driver.get_elastic_guests(
            [self.instance])[self.instance.uuid]

    def _change(self, target, boot=BOOT):
        self.driver.set_elastic_guest(self.instance, target, boot)

    def _refused(self, target):
        return str(self.assertRaises(
            exception.ElasticGuestRefused, self._change, target))

    def _wait_until_driver_says(self, expected):
        def says():
            state = self._state()
            # Statistics older than the last move do not count.
            return state.holds == expected and (
                state.used_memory_mb is not None)

        hypervisor_fixtures.wait_for(
            says, 60, 'the driver says %s, %s' % expected)

    def _start_and_wait(self, boot=BOOT):
        guest = self._start(boot)
        self._wait_until_guest_has(*boot)
        self._wait_until_driver_says(boot)
        return guest

    def assert_next_start(self, expected, guest):
        self.assertEqual(
            (MAXIMUM, expected),
            self._sizes(guest, libvirt.VIR_DOMAIN_XML_INACTIVE))

    def test_grow_and_take_memory_back(self):
        guest = self._start_and_wait()
        state = self._state()
        self.assertLess(0, state.used_memory_mb)
        self.assertLess(state.used_memory_mb, MINIMUM.memory_mb)
        self.assertFalse(state.memory_pinned)

        self._change(MAXIMUM, boot=MAXIMUM)
        self._wait_until_guest_has(*MAXIMUM)
        self._wait_until_driver_says(MAXIMUM)
        self.assert_next_start(MAXIMUM, guest)

        self.events.clear()
        smaller = size.Size(4, 512)
        self._change(smaller, boot=MINIMUM)
        # It goes on with that.
        self._change(smaller._replace(memory_mb=None), boot=MINIMUM)
        self._wait_until_guest_has(*smaller)
        self._wait_until_driver_says(smaller)
        self.assert_next_start(MINIMUM, guest)
        self.assertEqual(
            {(elastic_guest.GuestChangedEvent, self.instance.uuid)},
            {(type(event), event.get_instance_uuid())
             for event in self.events
             if isinstance(event, elastic_guest.GuestChangedEvent)})
        self._restart_compute()
        self.assertEqual(state.run, self._state().run)

    def test_vcpu_that_leaves_late(self):
        """Under software emulation libvirt does not know that it left."""
        guest = self._start_and_wait()
        guest._domain.suspend()

        # Its guest cannot answer, and the request is not refused.
        self._change(MINIMUM._replace(memory_mb=BOOT.memory_mb))
        self.assertEqual(3, self._state().vcpus)
        guest._domain.resume()
        gone = size.Size(2, BOOT.memory_mb)
        self._wait_until_guest_has(*gone)
        self._wait_until_driver_says(gone)
        self.assertEqual(3, self._sizes(guest)[1].vcpus)

        # Asking libvirt for more would crash this QEMU.
        for restart in (False, True):
            if restart:
                self._restart_compute()
            self.assertIn('QEMU has 2 vCPUs where libvirt counts 3',
                          self._refused(MAXIMUM))
        # It does not get the memory alone, either.
        self._wait_until_guest_has(*gone)
        self._wait_until_driver_says(gone)

        # A new run knows nothing of that.
        run = self._state().run
        guest._domain.destroy()
        self.assertEqual(elastic_guest.NOT_RUNNING, self._state())
        guest._domain.create()
        self.assertNotEqual(run, self._state().run)
        self._wait_until_guest_has(*BOOT)
        self._change(MAXIMUM)
        self._wait_until_guest_has(*MAXIMUM)

    def test_guest_without_hot_plug(self):
        """A guest that could not give a vCPU back is not changed."""
        guest = self._start(BOOT, 'acpi=off')
        hypervisor_fixtures.wait_for(
            self._guest_talks, 60, 'the guest is there')
        fewer = self._state().holds._replace(vcpus=2)

        self.assertIn('refuses to remove vCPUs', self._refused(fewer))

        self._restart_compute()
        self.assertEqual(3, self._state().vcpus)
        self.assertEqual(3, self._sizes(guest)[1].vcpus)

    def _guest_talks(self):
        with open(self.console, errors='replace') as console:
            return 'STATE' in console.read()

    def test_shut_off(self):
        guest = self._start(BOOT)
        guest._domain.destroy()

        larger = size.Size(4, 1500)
        self._change(larger, boot=larger)
        self.assert_next_start(larger, guest)
        self.assertEqual(elastic_guest.NOT_RUNNING, self._state())

        guest._domain.create()
        self._wait_until_guest_has(*larger)
        self._wait_until_driver_says(larger)
        guest._domain.destroy()
        guest._domain.undefine()
        self._change(MINIMUM, boot=MINIMUM)
        self.assertEqual(elastic_guest.NOT_RUNNING, self._state())
