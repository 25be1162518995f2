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

"""What a real libvirt and QEMU make of the domain of an elastic server."""

import os
from unittest import mock

import fixtures
import libvirt
import libvirt_qemu
from lxml import etree
from oslo_serialization import jsonutils
import testtools

import nova.conf
from nova import context
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.hypervisor import fixtures as hypervisor_fixtures
from nova.tests.hypervisor import tiny_guest
from nova.tests.unit.virt.libvirt.xloud import test_domain
from nova.virt import fake
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt.xloud import domain
from nova.virt.libvirt.xloud import persistent
from nova.xloud import size

CONF = nova.conf.CONF
MINIMUM = size.Size(2, 512)
BOOT = size.Size(3, 1024)
MAXIMUM = size.Size(4, 2048)


class DomainTestBase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        objects.register_all()
        self.useFixture(fixtures.FakeLogger())
        libvirtd = self.useFixture(hypervisor_fixtures.OwnLibvirtd())
        self.tiny_guest = self.useFixture(hypervisor_fixtures.TinyGuest())
        self.instances = self.useFixture(fixtures.TempDir()).path
        config = self.useFixture(nova_fixtures.ConfFixture(CONF))
        self.flags = config.config
        config.config(instances_path=self.instances)
        config.config(group='vnc', enabled=False)
        emulation = self.useFixture(hypervisor_fixtures.Emulation())
        config.config(
            group='libvirt', connection_uri=libvirtd.uri, **emulation.OPTIONS)
        self.driver = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), False)

    def _start(self, boot, words='', **properties):
        """Start a server of 2 to 4 vCPUs and 512 to 2048 MiB.

        :param words: for the command line of its kernel
        :param properties: of its image
        """
        self.instance = test_domain.server(
            {'minimum_cpu': '2', 'minimum_memory': '512'}, boot=boot)
        path = os.path.join(self.instances, self.instance.uuid)
        os.makedirs(path)
        os.symlink(self.tiny_guest.kernel, os.path.join(path, 'kernel'))
        os.symlink(self.tiny_guest.ramdisk, os.path.join(path, 'ramdisk'))
        self.console = os.path.join(path, 'console.log')
        self.instance.kernel_id = self.instance.ramdisk_id = 'an image'
        xml = self.driver._get_guest_xml(
            context.get_admin_context(), self.instance, [], {'mapping': {}},
            objects.ImageMeta.from_dict({'properties': {
                'hw_machine_type': 'q35',
                'os_command_line': ' '.join(
                    [tiny_guest.COMMAND_LINE, words]),
                **properties}}))
        guest = libvirt_guest.Guest.create(xml, self.driver._host)
        guest.launch()
        return guest

    def _wait_until_guest_has(self, vcpus, memory_mb):
        """Compare with a tolerance for what the kernel keeps for itself."""

        def reached():
            with open(self.console, errors='replace') as console:
                seen = tiny_guest.seen(console.read())
            return seen and seen.vcpus == vcpus and (
                memory_mb - 128 < seen.memory_mb <= memory_mb)

        hypervisor_fixtures.wait_for(
            reached, 120,
            'the guest sees %d vCPUs and %d MiB' % (vcpus, memory_mb))

    def _sizes(self, guest, flags=0):
        xml = etree.fromstring(guest._domain.XMLDesc(flags))
        vcpu = xml.find('./vcpu')
        return (
            size.Size(int(vcpu.text), int(xml.findtext('./memory')) // 1024),
            size.Size(int(vcpu.get('current', vcpu.text)),
                      int(xml.findtext('./currentMemory')) // 1024))

    def _wait_until_libvirt_says(self, guest, expected):
        """Wait: the balloon moves a moment longer than the guest shows."""
        hypervisor_fixtures.wait_for(
            lambda: self._sizes(guest) == (MAXIMUM, expected), 60,
            'the domain has %s of %s' % (expected, MAXIMUM))

    def _unplug(self, guest, vcpus):
        """Ask for fewer vCPUs, one less than now.

        Under software emulation QEMU removes the vCPU and does not report it.
        libvirt gives up after 5 s. Its error is another one if it finds no
        vCPU that can leave.
        """
        try:
            guest.set_vcpus(vcpus, live=True)
        except libvirt.libvirtError as error:
            self.assertIn('unplug request timed out', str(error))


class DomainTest(DomainTestBase):

    def test_start_at_minimum(self):
        guest = self._start(None)

        self._wait_until_guest_has(*MINIMUM)
        self._wait_until_libvirt_says(guest, MINIMUM)

    def test_queues_of_disks(self):
        """QEMU starts with 2 vCPUs, and gives 2 queues by default."""
        self.flags(group='libvirt', num_pcie_ports=8)
        guest = self._start(None, hw_scsi_model='virtio-scsi')
        for target, is_elastic in (('vda', True), ('vdb', False)):
            disk = vconfig.LibvirtConfigGuestDisk()
            disk.driver_name, disk.driver_format = 'qemu', 'raw'
            disk.source_path = os.path.join(self.instances, target)
            with open(disk.source_path, 'wb') as content:
                content.truncate(1 << 20)
            disk.target_dev, disk.target_bus = target, 'virtio'
            if is_elastic:
                domain.set_queues(disk, self.instance)
            guest.attach_device(disk, persistent=True, live=True)
        xml = etree.fromstring(guest._domain.XMLDesc(0))

        def queues(device, name):
            alias = xml.xpath('string(devices/%s/alias/@name)' % device)
            command = {'execute': 'qom-get', 'arguments': {
                'path': '/machine/peripheral/%s/virtio-backend' % alias,
                'property': name}}
            return jsonutils.loads(libvirt_qemu.qemuMonitorCommand(
                guest._domain, jsonutils.dumps(command), 0))['return']

        self.assertEqual([4, 4, 2], [
            queues('controller[@model="virtio-scsi"]', 'num_queues'),
            queues('disk[target/@dev="vda"]', 'num-queues'),
            queues('disk[target/@dev="vdb"]', 'num-queues')])

    def test_start_at_boot_size_and_shrink_to_minimum(self):
        guest = self._start(BOOT)
        self._wait_until_guest_has(*BOOT)
        self._wait_until_libvirt_says(guest, BOOT)

        guest.set_memory(MINIMUM.memory_mb * 1024, live=True)
        self._unplug(guest, MINIMUM.vcpus)

        self._wait_until_guest_has(*MINIMUM)

    def test_grow_and_keep_boot_size(self):
        guest = self._start(BOOT)
        self._wait_until_guest_has(*BOOT)

        guest.set_vcpus(MAXIMUM.vcpus, persistent=True, live=True)
        guest.set_memory(MAXIMUM.memory_mb * 1024, persistent=True, live=True)
        self._wait_until_guest_has(*MAXIMUM)
        with mock.patch('nova.objects.Instance.get_by_uuid',
                        return_value=self.instance):
            persistent.keep_boot_size(self.driver._host, self.instance)

        inactive = libvirt.VIR_DOMAIN_XML_INACTIVE
        self._wait_until_libvirt_says(guest, MAXIMUM)
        self.assertEqual((MAXIMUM, BOOT), self._sizes(guest, inactive))
        hotpluggable = etree.fromstring(
            guest._domain.XMLDesc(inactive)).xpath(
                './vcpus/vcpu[@hotpluggable="yes"]/@id')
        self.assertEqual(['2', '3'], hotpluggable)
