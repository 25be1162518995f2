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
from nova import exception
from nova.tests.functional.libvirt import xloud_base
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import utils as libvirt_utils
from nova.xloud import size

BOOT = xloud_base.BOOT
DESIRED = xloud_base.DESIRED
MAXIMUM = xloud_base.MAXIMUM
MINIMUM = xloud_base.MINIMUM


class VcpuCurrentTest(xloud_base.ElasticServersTestBase):
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

        self._swap_volume(server)

        self.assert_live(DESIRED, server)
        self.assert_next_start(BOOT, server)

    def test_swap_volume_that_fails(self):
        """The boot size has changed while it was copied."""
        server = self._grown_server()

        def copy(*args, **kwargs):
            instance = self._instance(server)
            size.record(instance, desired=DESIRED, boot=MINIMUM)
            instance.save()
            self._driver(server).set_elastic_guest(instance, DESIRED, MINIMUM)
            raise Exception('by the test')

        with mock.patch('nova.virt.libvirt.guest.BlockDevice.copy', copy):
            self.assertRaises(exception.VolumeRebaseFailed,
                              self._swap_volume, server)

        self.assert_live(DESIRED, server)
        self.assert_next_start(MINIMUM, server)

    def _swap_volume(self, server):
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


class VcpuCurrentMoveTest(xloud_base.ElasticServersTestBase):
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
