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

"""An elastic server on a host with a fake libvirt."""

from lxml import etree

from nova import context as nova_context
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.fixtures import xloud_libvirt
from nova.tests.fixtures import xloud_patience
from nova.tests.fixtures import xloud_reuse
from nova.tests.functional.libvirt import base
from nova.xloud import size

MAXIMUM = size.Size(4, 2048)
MINIMUM = size.Size(2, 512)
# What the server was grown to, and what its next start is to give.
DESIRED = size.Size(4, 1792)
BOOT = size.Size(3, 1024)


class ElasticServersTestBase(xloud_patience.Patience, base.ServersTestBase):

    api_major_version = 'v2.1'
    microversion = 'latest'
    ADMIN_API = True

    def setUp(self):
        self.useFixture(xloud_patience.PromptMessages())
        self.useFixture(xloud_reuse.Reuse())
        super().setUp()
        self.useFixture(xloud_libvirt.ElasticLibvirtFixture())
        self.start_compute('host1')

    def _elastic_flavor(self, maximum=MAXIMUM, **minimum):
        return self._create_flavor(
            vcpu=maximum.vcpus, memory_mb=maximum.memory_mb, disk=0,
            ephemeral=0, extra_spec={
                'minimum_' + key: str(value)
                for key, value in minimum.items()})

    def _elastic_server(self, **kwargs):
        flavor_id = self._elastic_flavor(
            cpu=MINIMUM.vcpus, memory=MINIMUM.memory_mb)
        return self._create_server(
            flavor_id=flavor_id, networks='none', **kwargs)

    def _grown_server(self, **kwargs):
        """A server that was grown, the last bit of it not for the next start.

        The API for that is not there yet, so this does what it is to do.
        """
        server = self._elastic_server(**kwargs)
        instance = self._instance(server)
        size.record(instance, desired=DESIRED, boot=BOOT)
        instance.save()
        guest = self._guest(server)
        guest.set_vcpus(DESIRED.vcpus, live=True)
        guest.set_memory(DESIRED.memory_mb * 1024, live=True)
        guest.set_vcpus(BOOT.vcpus, persistent=True)
        guest.set_memory(BOOT.memory_mb * 1024, persistent=True)
        return server

    def _instance(self, server):
        return objects.Instance.get_by_uuid(
            nova_context.get_admin_context(), server['id'],
            expected_attrs=['flavor', 'system_metadata'])

    def _driver(self, server):
        host = self.admin_api.get_server(
            server['id'])['OS-EXT-SRV-ATTR:host']
        return self.computes[host].driver

    def _guest(self, server):
        return self._driver(server)._host.get_guest(self._instance(server))

    def _domain(self, server):
        return self._guest(server)._domain

    def _xml(self, server, flags=0):
        return etree.fromstring(self._domain(server).XMLDesc(flags))

    def _size_of(self, xml):
        """The maximum and the current size that an XML tells."""
        vcpu = xml.find('./vcpu')
        memory = int(xml.findtext('./memory'))
        return (
            size.Size(int(vcpu.text), memory // 1024),
            size.Size(int(vcpu.get('current', vcpu.text)),
                      int(xml.findtext('./currentMemory')) // 1024))

    def assert_live(self, expected, server, maximum=MAXIMUM):
        """The guest has this size now and could shrink to its minimum."""
        self.assertEqual((maximum, expected), self._size_of(self._xml(server)))
        self._assert_fixed_vcpus(server)

    def assert_next_start(self, expected, server, maximum=MAXIMUM):
        """The next start gives this size, from where it could shrink."""
        inactive = fakelibvirt.VIR_DOMAIN_XML_INACTIVE
        self.assertEqual((maximum, expected),
                         self._size_of(self._xml(server, inactive)))
        self._assert_fixed_vcpus(server, inactive)

    def _assert_fixed_vcpus(self, server, flags=0):
        minimum = size.minimum(self._instance(server).flavor)
        xml = self._xml(server, flags)
        self.assertEqual(
            [str(number) for number in range(minimum.vcpus)],
            xml.xpath('./vcpus/vcpu[@hotpluggable="no"]/@id'))
