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

"""The size of an elastic server in its domain, through its whole life."""

import os
from unittest import mock

import fixtures
from lxml import etree

from nova import context as nova_context
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.fixtures import xloud_libvirt
from nova.tests.fixtures import xloud_patience
from nova.tests.functional.libvirt import base
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import utils as libvirt_utils
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


class VcpuCurrentTest(ElasticServersTestBase):
    """On one host."""

    def test_create(self):
        server = self._elastic_server()

        self.assert_live(MINIMUM, server)
        self.assert_next_start(MINIMUM, server)

    def test_create_with_elastic_vcpus_only(self):
        server = self._create_server(
            flavor_id=self._elastic_flavor(cpu=1), networks='none')

        self.assert_live(size.Size(1, MAXIMUM.memory_mb), server)

    def test_create_with_elastic_memory_only(self):
        server = self._create_server(
            flavor_id=self._elastic_flavor(memory=512), networks='none')

        self.assertEqual((MAXIMUM, size.Size(MAXIMUM.vcpus, 512)),
                         self._size_of(self._xml(server)))
        self.assertIsNone(self._xml(server).find('./vcpus'))

    def test_create_of_fixed_size(self):
        server = self._create_server(
            flavor_id=self._elastic_flavor(), networks='none')

        self.assertEqual((MAXIMUM, MAXIMUM), self._size_of(self._xml(server)))
        self.assertIsNone(self._xml(server).find('./vcpus'))

    def test_topology_and_flavor_view_keep_the_maximum(self):
        xmls = []
        get_guest_xml = libvirt_driver.LibvirtDriver._get_guest_xml

        def spy(*args, **kwargs):
            xmls.append(get_guest_xml(*args, **kwargs))
            return xmls[-1]

        with mock.patch.object(
                libvirt_driver.LibvirtDriver, '_get_guest_xml', spy):
            server = self._elastic_server()

        xml = etree.fromstring(xmls[0])
        topology = xml.find('./cpu/topology')
        self.assertEqual('4', topology.get('sockets'))
        self.assertEqual('virtio', xml.find('./devices/memballoon').get(
            'model'))
        self.assertEqual('4', xml.findtext('.//{*}flavor/{*}vcpus'))
        self.assertEqual(4, server['flavor']['vcpus'])

    def test_hard_reboot(self):
        server = self._grown_server()
        self.assert_live(DESIRED, server)

        self._reboot_server(server, hard=True)

        self.assert_live(BOOT, server)
        self.assert_next_start(BOOT, server)

    def test_soft_reboot(self):
        server = self._grown_server()

        with mock.patch.object(
                libvirt_driver.LibvirtDriver, '_hard_reboot',
                side_effect=AssertionError):
            self._reboot_server(server)

        self.assert_live(BOOT, server)
        self.assert_next_start(BOOT, server)

    def test_stop_and_start(self):
        server = self._grown_server()

        self._stop_server(server)
        self.assert_next_start(BOOT, server)
        self._start_server(server)

        self.assert_live(BOOT, server)
        self.assert_next_start(BOOT, server)

    def test_suspend_and_resume(self):
        server = self._grown_server()

        self._suspend_server(server)
        self._resume_server(server)

        self.assert_live(DESIRED, server)
        self.assert_next_start(BOOT, server)

    def test_rescue_and_unrescue(self):
        server = self._grown_server()
        os.makedirs(
            libvirt_utils.get_instance_path(self._instance(server)),
            exist_ok=True)

        self.api.post_server_action(server['id'], {'rescue': {
            'rescue_image_ref': '155d900f-4e14-4e4c-a73d-069cbf4541e6'}})
        server = self._wait_for_state_change(server, 'RESCUE')
        self.assert_live(BOOT, server)

        self.api.post_server_action(server['id'], {'unrescue': None})
        server = self._wait_for_state_change(server, 'ACTIVE')
        self.assert_live(BOOT, server)
        self.assert_next_start(BOOT, server)

    def test_rebuild(self):
        server = self._grown_server()

        self._rebuild_server(
            server, '155d900f-4e14-4e4c-a73d-069cbf4541e6')

        self.assert_live(BOOT, server)
        self.assert_next_start(BOOT, server)

    def _snapshot(self, server):
        disk, _format = libvirt_utils.find_disk(self._guest(server))
        os.makedirs(os.path.dirname(disk), exist_ok=True)
        with open(disk, 'wb'), \
                mock.patch.multiple(
                    'nova.virt.libvirt.utils', get_disk_size=mock.DEFAULT,
                    get_disk_backing_file=mock.DEFAULT,
                    create_image=mock.DEFAULT,
                    extract_snapshot=mock.DEFAULT) as mocks, \
                mock.patch('nova.privsep.path.chown'):
            self._snapshot_server(server, 'copy')
            # Since 33.0.0 the call returns before it is made.
            self._wait_for_server_parameter(
                server, {'OS-EXT-STS:task_state': None})
        return mocks['extract_snapshot']

    def test_live_snapshot(self):
        server = self._grown_server()

        self._snapshot(server).assert_called_once()

        self.assert_live(DESIRED, server)
        self.assert_next_start(BOOT, server)

    def test_cold_snapshot(self):
        self.flags(disable_libvirt_livesnapshot=True, group='workarounds')
        server = self._grown_server()

        self._snapshot(server).assert_not_called()

        self.assert_live(DESIRED, server)
        self.assert_next_start(BOOT, server)

    def test_swap_volume(self):
        server = self._grown_server()
        driver = self._driver(server)
        new_disk = mock.Mock()
        new_disk.to_xml.return_value = '<disk/>'

        with mock.patch.multiple(
                driver, _connect_volume=mock.DEFAULT,
                _disconnect_volume=mock.DEFAULT,
                _get_volume_config=mock.Mock(return_value=new_disk),
                _get_volume_encryption=mock.Mock(return_value=None)):
            driver.swap_volume(
                nova_context.get_admin_context(), {}, {},
                self._instance(server), '/dev/vda', 0)

        self.assert_live(DESIRED, server)
        self.assert_next_start(BOOT, server)

    def test_shelve_and_unshelve(self):
        server = self._grown_server()

        self._shelve_server(server)
        self._unshelve_server(server)

        self.assert_live(BOOT, server)
        self.assert_next_start(BOOT, server)

    def test_compute_restart(self):
        server = self._grown_server()

        self.restart_compute_service('host1')

        self.assert_live(DESIRED, server)
        self.assert_next_start(BOOT, server)

    def test_start_of_stopped_host(self):
        """The host went down with the server and starts it again."""
        self.flags(resume_guests_state_on_host_boot=True)
        server = self._grown_server()
        self._domain(server).destroy()

        self.restart_compute_service('host1')

        self.assert_live(BOOT, server)


class VcpuCurrentMoveTest(ElasticServersTestBase):
    """From one host to another."""

    def setUp(self):
        super().setUp()
        self.start_compute('host2')
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.driver.LibvirtDriver'
            '.migrate_disk_and_power_off', self._power_off))

    @staticmethod
    def _power_off(driver, context, instance, *args, **kwargs):
        driver.power_off(instance)
        return '{}'

    def _grown_server(self, **kwargs):
        return super()._grown_server(host='host1', **kwargs)

    def test_live_migration(self):
        server = self._grown_server()

        self._live_migrate(server, server_expected_state='ACTIVE')

        self.assertIs(self.computes['host2'].driver, self._driver(server))
        self.assert_live(DESIRED, server)
        self.assert_next_start(BOOT, server)

    def test_live_migration_before_the_balloon_has_settled(self):
        server = self._grown_server()
        self._domain(server).live.memory = MAXIMUM.memory_mb * 1024

        self._live_migrate(server, server_expected_state='ACTIVE')

        self.assert_live(MAXIMUM, server)
        self.assert_next_start(BOOT, server)

    def test_cold_migration(self):
        server = self._grown_server()

        self._migrate_server(server)
        self.assert_live(BOOT, server)
        self._confirm_resize(server)

        self.assertIs(self.computes['host2'].driver, self._driver(server))
        self.assert_live(BOOT, server)
        self.assert_next_start(BOOT, server)

    def test_cold_migration_and_revert(self):
        server = self._grown_server()

        self._migrate_server(server)
        self._revert_resize(server)

        self.assertIs(self.computes['host1'].driver, self._driver(server))
        self.assert_live(BOOT, server)
        self.assert_next_start(BOOT, server)

    def test_resize(self):
        server = self._elastic_server()
        larger = size.Size(6, 3072)

        server = self._resize_server(
            server, self._elastic_flavor(larger, cpu=3, memory=1024))
        self.assert_live(size.Size(3, 1024), server, larger)
        self._confirm_resize(server)

        self.assert_live(size.Size(3, 1024), server, larger)
        self.assert_next_start(size.Size(3, 1024), server, larger)

    def test_resize_and_revert(self):
        server = self._grown_server()

        self._resize_server(server, self._elastic_flavor(
            size.Size(6, 3072), cpu=3, memory=1024))
        self._revert_resize(server)

        self.assert_live(BOOT, server)
        self.assert_next_start(BOOT, server)

    def test_resize_to_fixed_size_and_back(self):
        server = self._grown_server()

        self._resize_server(server, self._elastic_flavor())
        self.assertEqual((MAXIMUM, MAXIMUM), self._size_of(self._xml(server)))
        self._revert_resize(server)

        self.assert_live(BOOT, server)

    def test_evacuate(self):
        server = self._grown_server()
        self.computes['host1'].stop()
        self.api.put_service_force_down(
            self.api.get_services(
                host='host1', binary='nova-compute')[0]['id'], True)

        self._evacuate_server(server, expected_host='host2')

        self.assert_live(BOOT, server)
        self.assert_next_start(BOOT, server)
