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

import fixtures
from lxml import etree

from nova import exception
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import xloud_libvirt
from nova.tests.unit.virt.libvirt.xloud import fakes
from nova.virt import fake
from nova.virt.libvirt import driver as libvirt_driver
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
            'nova.virt.libvirt.xloud.listener._CALM_SECONDS', 0))
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.listener.spawn', lambda work: work()))
        self.driver = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), False)
        self.emitted = []
        self.driver.register_event_listener(self.emitted.append)
        self.connection = self._connect()
        self.instance = fakes.server(fakes.ELASTIC, boot=BOOT)
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
