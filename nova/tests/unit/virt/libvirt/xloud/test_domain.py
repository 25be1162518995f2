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

import fixtures
from lxml import etree

from nova import objects
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.unit.virt.libvirt.xloud import fakes
from nova.virt import fake
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt.xloud import domain
from nova.xloud import size

ELASTIC = fakes.ELASTIC
MIB = 1024


class QueuesTest(test.NoDBTestCase):
    """The guest starts with 2 of 4 vCPUs."""

    def _queues(self, device, instance, attached=False):
        if attached:
            domain.set_queues(device, instance)
        else:
            guest = vconfig.LibvirtConfigGuest()
            guest.devices.append(device)
            domain.configure(guest, instance)
        return etree.fromstring(
            device.to_xml()).xpath('string(driver/@queues)')

    def _disk(self, bus='virtio'):
        disk = vconfig.LibvirtConfigGuestDisk()
        disk.driver_name, disk.driver_format = 'qemu', 'raw'
        disk.source_path, disk.target_dev = '/disk', 'vda'
        disk.target_bus = bus
        return disk

    def _controller(self, model='virtio-scsi'):
        controller = vconfig.LibvirtConfigGuestController()
        controller.type, controller.model = 'scsi', model
        return controller

    def test_disk(self):
        for attached in (False, True):
            self.assertEqual(
                '4', self._queues(
                    self._disk(), fakes.server(ELASTIC), attached))
            self.assertEqual('4', self._queues(
                self._disk(), fakes.server({'minimum_cpu': '1'}), attached))

    def test_controller(self):
        self.assertEqual('4', self._queues(self._controller(), fakes.server(
            ELASTIC)))

    def test_what_has_no_queues(self):
        for device in (self._disk('sata'), self._disk('scsi'),
                       self._controller('lsilogic'),
                       vconfig.LibvirtConfigGuestUSBHostController()):
            self.assertEqual('', self._queues(device, fakes.server(ELASTIC)))

    def test_qemu_counts_right_without(self):
        """QEMU then starts with all vCPUs."""
        for minimum in (None, {'minimum_memory': '512'}):
            for device in (self._disk(), self._controller()):
                before = device.to_xml()
                for attached in (False, True):
                    self._queues(device, fakes.server(minimum), attached)
                    self.assertEqual(before, device.to_xml())

    def test_bound(self):
        instance = fakes.server(ELASTIC)
        instance.flavor.vcpus = 2000
        self.assertEqual('1021', self._queues(self._disk(), instance))

    def test_live_migration(self):
        for running, queues in (
                ('<disk><driver name="qemu" queues="4"/></disk>', '4'),
                ('<disk><driver name="qemu"/></disk>', ''),
                ('<disk/>', '')):
            disk = self._disk()
            domain.keep_queues(disk, etree.fromstring(running))
            self.assertEqual(queues, etree.fromstring(
                disk.to_xml()).xpath('string(driver/@queues)'))

    def test_round_trip(self):
        disk = self._disk()
        domain.set_queues(disk, fakes.server(ELASTIC))
        parsed = vconfig.LibvirtConfigGuestDisk()
        parsed.parse_str(disk.to_xml())
        self.assertEqual('4', parsed.driver_queues)


class ConfigureTest(test.NoDBTestCase):

    def _configure(self, instance):
        guest = vconfig.LibvirtConfigGuest()
        domain.configure(guest, instance)
        return guest

    def _vcpus(self, guest):
        return [(vcpu.id, vcpu.enabled, vcpu.hotpluggable)
                for vcpu in guest.vcpu_list]

    def test_inert(self):
        guest = self._configure(fakes.server())

        self.assertIsNone(guest.current_vcpus)
        self.assertEqual([], guest.vcpu_list)
        self.assertIsNone(guest.current_memory)

    def test_new_server_starts_at_its_minimum(self):
        guest = self._configure(fakes.server(ELASTIC))

        self.assertEqual(2, guest.current_vcpus)
        self.assertEqual(512 * MIB, guest.current_memory)
        self.assertEqual([
            (0, True, False), (1, True, False),
            (2, False, True), (3, False, True)], self._vcpus(guest))

    def test_grown_server_can_shrink_to_its_minimum(self):
        guest = self._configure(fakes.server(ELASTIC, boot=size.Size(3, 1024)))

        self.assertEqual(3, guest.current_vcpus)
        self.assertEqual(1024 * MIB, guest.current_memory)
        self.assertEqual([
            (0, True, False), (1, True, False),
            (2, True, True), (3, False, True)], self._vcpus(guest))

    def test_first_vcpu_never_leaves(self):
        guest = self._configure(fakes.server({'minimum_cpu': '1'}))

        self.assertEqual([
            (0, True, False), (1, False, True),
            (2, False, True), (3, False, True)], self._vcpus(guest))

    def test_at_the_maximum(self):
        guest = self._configure(fakes.server(ELASTIC, boot=size.Size(4, 2048)))

        self.assertEqual(4, guest.current_vcpus)
        self.assertEqual([
            (0, True, False), (1, True, False),
            (2, True, True), (3, True, True)], self._vcpus(guest))

    def test_only_vcpus(self):
        guest = self._configure(fakes.server({'minimum_cpu': '2'}))

        self.assertEqual(2, guest.current_vcpus)
        self.assertIsNone(guest.current_memory)

    def test_only_memory(self):
        guest = self._configure(fakes.server({'minimum_memory': '512'}))

        self.assertIsNone(guest.current_vcpus)
        self.assertEqual([], guest.vcpu_list)
        self.assertEqual(512 * MIB, guest.current_memory)


class GuestConfigTest(test.NoDBTestCase):
    """What the driver makes of a whole server."""

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.useFixture(nova_fixtures.LibvirtImageBackendFixture())
        self.useFixture(nova_fixtures.CGroupsFixture())
        self.flags(instances_path=self.useFixture(fixtures.TempDir()).path)
        self.flags(virt_type='kvm', group='libvirt')
        self.driver = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), False)

    @mock.patch('time.time', new=mock.Mock(return_value=1234567.89))
    def _config(self, instance):
        image_meta = objects.ImageMeta.from_dict({})
        return self.driver._get_guest_config(
            instance, [], image_meta, {'mapping': {}})

    def _balloon(self, guest):
        return [device for device in guest.devices
                if isinstance(device, vconfig.LibvirtConfigMemoryBalloon)][0]

    def test_inert(self):
        with mock.patch.object(domain, 'configure'):
            untouched = self._config(fakes.server()).to_xml()

        self.assertEqual(untouched, self._config(fakes.server()).to_xml())

    def test_maximum_is_kept(self):
        with mock.patch.object(domain, 'configure'):
            untouched = self._config(fakes.server(ELASTIC))
        guest = self._config(fakes.server(ELASTIC))

        self.assertEqual((4, 2048 * MIB), (guest.vcpus, guest.memory))
        self.assertEqual(untouched.cpu.to_xml(), guest.cpu.to_xml())
        self.assertEqual(
            untouched.metadata[0].to_xml(), guest.metadata[0].to_xml())
        self.assertEqual((2, 512 * MIB),
                         (guest.current_vcpus, guest.current_memory))

    def test_threads(self):
        guest = self._config(fakes.server(
            {'minimum_cpu': '3'}, extra_specs={'hw:cpu_threads': '2'}))

        self.assertEqual(2, guest.cpu.threads)
        self.assertEqual(3, guest.current_vcpus)

    def test_balloon(self):
        balloon = self._balloon(self._config(fakes.server(ELASTIC)))

        self.assertEqual(('virtio', 10), (balloon.model, balloon.period))

    def test_balloon_gives_way(self):
        """Only that of elastic memory; since 34.0.0 every one does."""
        def autodeflate(instance):
            balloon = self._balloon(self._config(instance))
            return etree.fromstring(balloon.to_xml()).get('autodeflate')

        stock = vconfig.LibvirtConfigMemoryBalloon().format_dom().get(
            'autodeflate')
        self.assertEqual('on', autodeflate(fakes.server(ELASTIC)))
        self.assertEqual(
            stock, autodeflate(fakes.server({'minimum_cpu': '2'})))
        self.assertEqual(stock, autodeflate(fakes.server()))

    def test_balloon_without_statistics(self):
        self.flags(mem_stats_period_seconds=0, group='libvirt')

        self.assertEqual(
            'none', self._balloon(self._config(fakes.server())).model)
        self.assertEqual(
            'none',
            self._balloon(self._config(
                fakes.server({'minimum_cpu': '1'}))).model)
        balloon = self._balloon(self._config(fakes.server(ELASTIC)))
        self.assertEqual(('virtio', None), (balloon.model, balloon.period))
