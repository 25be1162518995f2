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

"""An elastic server is adjusted on a libvirt that is late, wrong or refuses.

Each test asks as a user does, and looks at Placement, the row, the domain and
its persistent configuration.
"""

import fixtures
from lxml import etree

from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.api import client
from nova.tests.functional.libvirt import xloud_adjust_base
from nova.tests.functional.libvirt import xloud_base
from nova.xloud import size

MINIMUM = xloud_base.MINIMUM
MAXIMUM = xloud_base.MAXIMUM

GPU = """\
<hostdev mode='subsystem' type='pci' managed='yes'>
  <source>
    <address domain='0x0000' bus='0x81' slot='0x00' function='0x0'/>
  </source>
</hostdev>
"""


class AdjustTest(xloud_adjust_base.AdjustTestBase):

    def test_grow_and_shrink(self):
        server = self._elastic_server()

        status = self._adjust(server, MAXIMUM)
        self.assertEqual(
            MAXIMUM, (status['actual_vcpus'], status['actual_memory_mb']))
        self.assert_settled(server, MAXIMUM)

        smaller = size.Size(3, 1000)
        self._adjust(server, smaller, persist=False)
        self.assert_settled(server, smaller, next_start=MAXIMUM)

        self._adjust(server, MINIMUM)
        self.assert_settled(server, MINIMUM)

    def test_one_dimension(self):
        server = self._create_server(
            flavor_id=self._elastic_flavor(cpu=1), networks='none')

        self._adjust(server, current_vcpus=3)

        self.assertEqual(
            (MAXIMUM, size.Size(3, MAXIMUM.memory_mb)),
            self._size_of(self._xml(server)))
        self.assertEqual(
            size.Size(3, MAXIMUM.memory_mb), self._charged(server))
        self.assert_condition('Settled', server)

    def test_late_vcpus(self):
        server = self._elastic_server()
        self._adjust(server, MAXIMUM)
        domain = self._domain(server)
        domain.unplug = 'late'

        self._adjust(server, current_vcpus=2)
        self.assert_condition('InProgress', server)
        self.assertEqual(MAXIMUM, self._charged(server))

        # One of two, and the event leads to the request for the other.
        domain.wanted_vcpus = None
        domain.give_back()
        self._wait_for_assert(
            lambda: self.assertEqual(2, domain.wanted_vcpus))
        self._wait_for_assert(
            lambda: self.assertEqual(3, self._charged(server).vcpus))
        domain.give_back()
        self.assert_settled(server, size.Size(2, MAXIMUM.memory_mb))

        # libvirt was right all the time.
        self._adjust(server, current_vcpus=4)
        self.assert_settled(server, MAXIMUM)

    def test_late_vcpu_of_which_nobody_tells(self):
        server = self._elastic_server()
        self._adjust(server, current_vcpus=3)
        domain = self._domain(server)
        domain.unplug = 'late'
        self._adjust(server, current_vcpus=2)

        domain.give_back(tell=False)
        self.assertEqual(3, self._charged(server).vcpus)
        self._reconcile()

        self.assert_settled(server, MINIMUM)

    def test_refused_vcpus(self):
        server = self._elastic_server()
        self._adjust(server, MAXIMUM)
        self._domain(server).unplug = 'refuse'

        message = self._adjust(server, MINIMUM, status=409)

        self.assertIn('refuses to remove vCPUs', message)
        self.assertIn('undo', message)
        self.assert_settled(server, MAXIMUM)

    def test_partly_refused_vcpus(self):
        server = self._elastic_server()
        self._adjust(server, MAXIMUM)
        self._domain(server).unplug = 'partly'

        self._adjust(server, current_vcpus=2)

        self.assert_live(size.Size(3, MAXIMUM.memory_mb), server)
        self.assertEqual(3, self._charged(server).vcpus)
        self.assert_condition('InProgress', server)

    def test_vcpu_that_left_without_libvirt_knowing(self):
        self.flags(virt_type='qemu', group='libvirt')
        server = self._elastic_server()
        self._adjust(server, MAXIMUM)
        self._domain(server).unplug = 'silent'

        self._adjust(server, current_vcpus=3)
        self.assertEqual(4, self._size_of(self._xml(server))[1].vcpus)
        self.assertEqual(3, self._status(server)['actual_vcpus'])
        self.assertEqual(3, self._charged(server).vcpus)
        self.assert_condition('Settled', server)

        # The fake does not survive a plug now.
        for restart in (False, True):
            if restart:
                self.restart_compute_service('host1')
            message = self._adjust(server, current_vcpus=4, status=409)
            self.assertIn(
                'QEMU has 3 vCPUs where libvirt counts 4', message)
            self.assertEqual(3, self._charged(server).vcpus)

        # Nor does it lose another one.
        message = self._adjust(server, current_vcpus=2, status=409)
        self.assertIn('QEMU has 3 vCPUs where libvirt counts 4', message)

        # Nor does it survive that its state is saved.
        self.assertEqual(
            ['vcpus_left'],
            [blocker['code'] for blocker in self._status(server)['blockers']])
        error = self.assertRaises(
            # Here casts are calls.
            client.OpenStackApiException, self.api.post_server_action,
            server['id'], {'suspend': None})
        self.assertIn('InstanceSuspendFailure', str(error))
        self._wait_for_server_parameter(
            server, {'status': 'ACTIVE', 'OS-EXT-STS:task_state': None})

        self._assert_keeps_its_devices(server)

        self._reboot_server(server, hard=True)
        self._adjust(server, current_vcpus=4)
        self.assert_settled(server, MAXIMUM)

    def _assert_keeps_its_devices(self, server):
        """Neither a volume nor a port is attached, and both stay free."""
        path = '/servers/%s/' % server['id']
        port_id = self.neutron.port_2['id']
        self.neutron.create_port({'port': self.neutron.port_2})
        for kind, body in (
                ('os-volume_attachments', {'volumeAttachment': {
                    'volumeId': self.cinder.IMAGE_BACKED_VOL}}),
                ('os-interface', {'interfaceAttachment': {
                    'port_id': port_id}})):
            logged = len(self.stdlog.logger.output)
            # Here casts are calls.
            self.assertRaises(
                client.OpenStackApiException, self.api.api_post,
                path + kind, body)
            self.assertIn('Reboot the server hard first',
                          self.stdlog.logger.output[logged:])
            (attached,) = self.api.api_get(path + kind).body.values()
            self.assertEqual([], attached)
        self.assertEqual(
            [], self.cinder.attachment_ids_for_instance(server['id']))
        port = self.neutron.show_port(port_id)['port']
        self.assertFalse(port.get('device_id'))

    def test_late_memory(self):
        server = self._elastic_server()
        self._adjust(server, MAXIMUM)
        domain = self._domain(server)
        domain.is_balloon_late = True

        self._adjust(server, current_memory_mb=512)
        self.assert_condition('InProgress', server)
        domain.move_balloon(1000 * 1024 + 1)
        self._wait_for_assert(lambda: self.assertEqual(
            1001, self._charged(server).memory_mb))
        domain.move_balloon()
        self.assert_settled(server, size.Size(4, 512))

        self._adjust(server, current_memory_mb=2048)
        self.assert_condition('InProgress', server)
        self.assertEqual(2048, self._charged(server).memory_mb)
        domain.move_balloon(tell=False)
        self._reconcile()
        self.assert_settled(server, MAXIMUM)

    def test_memory_in_use(self):
        server = self._elastic_server()
        self._adjust(server, MAXIMUM)
        self._domain(server).used = 600 * 1024

        message = self._adjust(server, current_memory_mb=700, status=409)

        self.assertIn('needs 600 MiB', message)
        self.assert_settled(server, MAXIMUM)

    def test_no_balloon_driver(self):
        server = self._elastic_server()
        self._adjust(server, MAXIMUM)
        self._domain(server).has_balloon_driver = False

        message = self._adjust(server, current_memory_mb=1024, status=409)

        self.assertIn('reports no memory statistics', message)
        self.assertFalse(self._status(server)['balloon_driver_active'])
        self._adjust(server, current_vcpus=2)
        self.assert_live(size.Size(2, 2048), server)

    def test_device_is_passed_through_later(self):
        # What it holds is charged at once.
        self.useFixture(fixtures.MockPatch(
            'nova.xloud.situation.is_waiting', return_value=False))
        server = self._elastic_server()
        self._adjust(server, current_vcpus=4)

        self._domain(server).attachDeviceFlags(
            GPU, fakelibvirt.VIR_DOMAIN_AFFECT_LIVE)

        # The host holds all of the memory from now on.
        self._wait_for_assert(
            lambda: self.assertEqual(MAXIMUM, self._charged(server)))
        message = self._adjust(server, current_memory_mb=1024, status=409)
        self.assertIn('a passed-through device', message)
        self._adjust(server, current_vcpus=3)
        # The guest may use what its host cannot get back.
        self.assert_live(size.Size(3, 2048), server)

    def test_shut_off(self):
        server = self._stop_server(self._elastic_server())
        larger = size.Size(3, 1024)

        self._adjust(server, MAXIMUM, persist=False, status=409)
        self._adjust(server, larger)

        self.assert_next_start(larger, server)
        self.assertEqual(larger, self._charged(server))
        self._start_server(server)
        self.assert_settled(server, larger)

    def test_shut_off_without_domain(self):
        server = self._stop_server(self._elastic_server())
        self._domain(server).undefine()

        self._adjust(server, MAXIMUM)

        self.assertEqual(MAXIMUM, self._charged(server))
        self._start_server(server)
        self.assert_settled(server, MAXIMUM)

    def test_soft_reboot(self):
        server = self._elastic_server()
        self._adjust(server, MAXIMUM, persist=False)

        self._reboot_server(server)

        self.assert_settled(server, MINIMUM)

    def test_started_by_somebody_else(self):
        server = self._elastic_server()
        self._adjust(server, MAXIMUM, persist=False)
        domain = self._domain(server)
        number = domain.ID()

        # As after a restart of libvirtd, which counts anew
        domain.destroy()
        domain._connection._id_counter = number
        domain.create()
        self.assertEqual(number, domain.ID())
        self.restart_compute_service('host1')
        self._reconcile()

        self.assert_settled(server, MINIMUM)

    def test_goes_on_over_restart_and_suspend(self):
        server = self._elastic_server()
        self._adjust(server, MAXIMUM, persist=False)

        self.restart_compute_service('host1')
        self._reconcile()
        self.assert_settled(server, MAXIMUM, next_start=MINIMUM)

        number = self._domain(server).ID()
        self._suspend_server(server)
        self._resume_server(server)
        self.assertNotEqual(number, self._domain(server).ID())
        self._reconcile()
        self.assert_settled(server, MAXIMUM, next_start=MINIMUM)

    def test_one_call_for_all_guests(self):
        for _number in range(3):
            self._adjust(self._elastic_server(), current_vcpus=3)
        connection = self.computes['host1'].driver._host.get_connection()
        self._reconcile()
        connection.bulk_calls = 0

        def called(*args, **kwargs):
            raise AssertionError('Not only one call')

        for name in ('XMLDesc', 'memoryStats', 'setMetadata', 'info'):
            self.useFixture(fixtures.MonkeyPatch(
                'nova.tests.fixtures.xloud_libvirt.Domain.' + name, called))
        for name in ('listAllDomains', 'lookupByUUIDString'):
            self.useFixture(fixtures.MonkeyPatch(
                'nova.tests.fixtures.libvirt.Connection.' + name, called))
        self._reconcile()

        self.assertEqual(1, connection.bulk_calls)


class AdjustAndMoveTest(xloud_adjust_base.AdjustTestBase):

    def setUp(self):
        super().setUp()
        self.start_compute('host2')

    def test_live_migration(self):
        server = self._elastic_server(host='host1')
        self._adjust(server, MAXIMUM, persist=False)

        self._live_migrate(server, server_expected_state='ACTIVE')

        self._reconcile('host2')
        self.assert_settled(server, MAXIMUM, next_start=MINIMUM)
        self.assertEqual([], etree.fromstring(self._domain(server).XMLDesc(
            fakelibvirt.VIR_DOMAIN_XML_INACTIVE)).xpath('./metadata/*'))

        # A boot from there is noticed.
        self._reboot_server(server)
        self.assert_settled(server, MINIMUM)

    def test_live_migration_while_the_balloon_moves(self):
        server = self._elastic_server(host='host1')
        self._adjust(server, MAXIMUM)
        self._domain(server).is_balloon_late = True
        self._adjust(server, current_memory_mb=512)

        self._live_migrate(server, server_expected_state='ACTIVE')
        domain = self._domain(server)
        domain.stale_memory = domain.live.memory
        # Not that libvirt would know
        domain.live.memory = 512 * 1024
        self._reconcile('host2')

        self.assertEqual(512, self._status(server)['actual_memory_mb'])
        self.assert_settled(server, size.Size(4, 512))
