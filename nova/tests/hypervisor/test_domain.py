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

import libvirt
import libvirt_qemu
from lxml import etree
from oslo_serialization import jsonutils

import nova.conf
from nova.tests.hypervisor import domain_base
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt.xloud import domain
from nova.virt.libvirt.xloud import persistent

CONF = nova.conf.CONF
BOOT = domain_base.BOOT
MAXIMUM = domain_base.MAXIMUM
MINIMUM = domain_base.MINIMUM


class DomainTest(domain_base.DomainTestBase):

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
