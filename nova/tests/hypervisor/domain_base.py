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

"""A guest of a real libvirt and QEMU, with Nova's driver and no service."""

import os

import fixtures
import libvirt
from lxml import etree
import testtools

import nova.conf
from nova import context
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.hypervisor import fixtures as hypervisor_fixtures
from nova.tests.hypervisor import tiny_guest
from nova.tests.unit.virt.libvirt.xloud import fakes
from nova.virt import fake
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as libvirt_guest
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
        self.instance = fakes.server(
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
