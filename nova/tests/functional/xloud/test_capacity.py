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


"""A host that is over its capacity, and one with little room.

Before 14.0.0 Placement takes no write there, also none that asks for less.
"""

import contextlib
import io
from unittest import mock

import fixtures
import oslo_messaging as messaging
from oslo_utils.fixture import uuidsentinel as uuids

from nova.cmd import manage
from nova.compute import power_state
from nova.compute import utils as compute_utils
from nova import exception
from nova import objects
from nova.scheduler.client import report
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import capacity_base
from nova.tests.functional.xloud import scripted
from nova.xloud import allocation
from nova.xloud import books
from nova.xloud import executor
from nova.xloud import guest as elastic_guest
from nova.xloud import noted
from nova.xloud import notes
from nova.xloud import rpcapi
from nova.xloud import size
from nova.xloud import task

GROWN = adjust_base.GROWN


class OverCapacityTestCase(capacity_base.CapacityBase):

    def shrink_where_placement_refuses(self, name, **changes):
        self.adjust(6, 6144)
        before = dict(self.placement.get(
            '/resource_providers/%s/inventories/%s' % (
                self._get_provider_uuid_by_host('host1'), name),
            version='1.28').body)
        self.change_inventory(name, **changes)
        self.adjust(2, 2048)
        self.assert_pending(base.MINIMUM, GROWN, name)
        for _ in range(2):
            self.reconcile()
        self.assert_pending(base.MINIMUM, GROWN, name)
        self.assertEqual(1, self.stdlog.logger.output.count(
            'The charge falls later'))
        self.assertNotIn('Traceback', self.stdlog.logger.output)
        # What it is charged it may take again, and give back.
        self.adjust(4, 4096)
        self.assert_pending(size.Size(4, 4096), GROWN, name)
        # More it may not, and hears why.
        self.assert_refused(name, 7)
        # It goes without anybody who asks.
        before.pop('resource_provider_generation')
        self.change_inventory(name, **before)
        self.reconcile()
        self.assert_books(size.Size(4, 4096), size.Size(4, 4096))
        self.assertIsNone(notes.pending(self.instance(self.server)))

    def shrink_over_capacity(self, name, **changes):
        if self.is_placement_strict():
            self.shrink_where_placement_refuses(name, **changes)
            return
        self.adjust(6, 6144)
        self.change_inventory(name, **changes)
        self.adjust(2, 2048)
        self.assert_books(base.MINIMUM, base.MINIMUM)
        self.assertIsNone(notes.pending(self.instance(self.server)))
        self.assertNotIn('The charge falls later', self.stdlog.logger.output)
        # Nor does it stand in the way of what is not over.
        self.adjust(4)
        self.assert_books(size.Size(4, 2048), size.Size(4, 2048))

    def test_placement_is_upgraded(self):
        """It accepts now what makes nothing worse, and does not say so."""
        if not self.is_placement_strict():
            self.skipTest('It always did.')
        self.adjust(6, 6144)
        self.change_inventory('DISK_GB', reserved=1028)
        self.adjust(2, 2048)
        with mock.patch.object(
                allocation.Account, 'obstacles', return_value=['DISK_GB']):
            self.reconcile()
            self.assert_pending(base.MINIMUM, GROWN, 'DISK_GB')
            self.change_inventory('DISK_GB', reserved=0)
            self.reconcile()
            self.assert_pending(base.MINIMUM, GROWN, 'DISK_GB')
            self.compute = self.restart_compute_service(self.compute)
            self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_one_obstacle_of_two_is_tolerated(self):
        self.be_over_capacity('DISK_GB')
        self.adjust(6, 6144)
        for restart in (False, True):
            self.change_inventory('VCPU', max_unit=1)
            self.adjust(2, 2048)
            self.reconcile()
            self.assert_pending(base.MINIMUM, GROWN, 'VCPU')
            # What it has now is still too much, and what it is to have is not.
            self.change_inventory('VCPU', max_unit=4)
            if restart:
                self.compute = self.restart_compute_service(self.compute)
            self.reconcile()
            self.assert_books(base.MINIMUM, base.MINIMUM)
            self.change_inventory('VCPU', max_unit=64)
            self.adjust(6, 6144)

    def test_the_obstacle_goes_at_once(self):
        """Before anybody has looked at the server again."""
        self.be_over_capacity('VCPU')
        self.adjust(6, 6144)
        self.change_inventory('VCPU', max_unit=1)
        self.adjust(2, 2048)
        self.change_inventory('VCPU', max_unit=64)
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_what_is_allocated_then_is_not_recorded(self):
        """The row falls, Placement refuses, and the row cannot rise again."""
        for is_stored in (False, True):
            self.adjust(6, 6144)
            self.change_inventory('VCPU', max_unit=1)
            real, charges = books.save, []

            def save(instance, *args, **kwargs):
                charges.append(size.charged(instance))
                is_second = charges[-1] == GROWN and base.MINIMUM in charges
                if is_stored or not is_second:
                    real(instance, *args, **kwargs)
                if is_second:
                    raise messaging.MessagingTimeout('by the test')

            with mock.patch.object(books, 'save', save):
                self.adjust(2, 2048)
            self.assertEqual([base.MINIMUM, GROWN], charges[2:4])
            self.assertEqual(size.charged(self.instance(self.server)),
                             self.tracked('host1'))
            self.change_inventory('VCPU', max_unit=64)
            for _ in range(2):
                self.reconcile()
            self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_nova_compute_starts_while_placement_refuses(self):
        """The charge does not fall, and no action or bill says so."""
        if not self.is_placement_strict():
            self.skipTest('It accepts that.')
        self.adjust(6, 6144)
        self.change_inventory('DISK_GB', reserved=1028)
        self.flags(reserved_host_disk_mb=1028 * 1024)
        self.adjust(2, 2048)
        before, books = self.actions(), self.books(self.server)
        for _ in range(2):
            self.compute = self.restart_compute_service(self.compute)
            for _ in range(2):
                self.reconcile()
            self.assert_pending(base.MINIMUM, GROWN, 'DISK_GB')
        self.assertEqual(before, self.actions())
        self.assertEqual(books, self.books(self.server))

    def actions(self):
        return [(found['action'], found['message'])
                for found in self.api.api_get(
                    '/servers/%s/os-instance-actions' % self.server['id']
                ).body['instanceActions']]

    def test_memory(self):
        self.fill(20480)
        self.shrink_over_capacity('MEMORY_MB', allocation_ratio=0.5)

    def test_disk(self):
        self.shrink_over_capacity('DISK_GB', reserved=1028)

    def test_max_unit(self):
        self.shrink_where_placement_refuses('VCPU', max_unit=1)

    def test_min_unit_of_what_stays(self):
        self.shrink_where_placement_refuses('DISK_GB', min_unit=2)

    def test_another_provider(self):
        """As that of the bandwidth of a port, which Neutron keeps."""
        self.placement.post('/resource_providers', {
            'name': 'network', 'uuid': uuids.network}, version='1.28')
        self.placement.put('/resource_classes/CUSTOM_BANDWIDTH', None,
                           version='1.28')
        self.set_total(10, uuids.network, 'CUSTOM_BANDWIDTH')
        self.change_allocation({
            uuids.network: {'resources': {'CUSTOM_BANDWIDTH': 8}}})
        self.adjust(6, 6144)
        self.set_total(5, uuids.network, 'CUSTOM_BANDWIDTH')
        self.adjust(2, 2048)
        with mock.patch.object(
                compute_utils, 'notify_usage_exists') as mock_bill:
            for _ in range(3):
                self.reconcile()
        # The charge does not fall and rise with each attempt.
        self.assertEqual(0, mock_bill.call_count)
        if self.is_placement_strict():
            instance = self.instance(self.server)
            self.assertEqual(GROWN, size.charged(instance))
            self.assertIn('CUSTOM_BANDWIDTH', notes.pending(instance))
            self.assertIn('CUSTOM_BANDWIDTH', self.assertRaises(
                exception.ElasticNoRoom, self.adjust, 7).format_message())
            self.set_total(10, uuids.network, 'CUSTOM_BANDWIDTH')
            self.reconcile()
        self.assertEqual(base.MINIMUM, size.charged(
            self.instance(self.server)))
        self.assertEqual(base.MINIMUM, self.used('host1'))

    def test_growth_names_the_class_that_is_over(self):
        self.change_inventory('DISK_GB', reserved=1028)
        if self.is_placement_strict():
            self.assert_refused('DISK_GB', 4)
        else:
            self.adjust(4)
        self.adjust(2, 2048)
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_growth_of_what_is_over(self):
        self.fill(20480)
        self.change_inventory('MEMORY_MB', allocation_ratio=0.5)
        self.assert_refused('MEMORY_MB', 2, 4096)

    def test_growth_without_room_on_a_host_that_is_over(self):
        self.fill(28672)
        self.change_inventory('DISK_GB', reserved=1028)
        for text in ('there is no room for', 'DISK_GB'):
            self.assert_refused(text, 2, 8192)

    def test_more_allocated_than_charged(self):
        """Somebody healed it with a tool that knows the maximum only."""
        self.change_allocation(VCPU=8, MEMORY_MB=8192)
        self.adjust(4, 4096)
        self.assertEqual(size.Size(4, 4096),
                         size.charged(self.instance(self.server)))
        self.reconcile()
        self.assert_books(size.Size(4, 4096), size.Size(4, 4096))

    def test_more_allocated_in_one_dimension(self):
        self.change_allocation(VCPU=8)
        self.adjust(2, 4096)
        self.reconcile()
        self.assert_books(size.Size(2, 4096), size.Size(2, 4096))

    def test_more_allocated_where_placement_refuses(self):
        self.change_allocation(VCPU=8, MEMORY_MB=8192)
        self.change_inventory('DISK_GB', reserved=1028)
        # It has that already.
        self.adjust(4, 4096)
        self.reconcile()
        if self.is_placement_strict():
            self.assert_pending(size.Size(4, 4096), base.MAXIMUM, 'DISK_GB')
            self.change_inventory('DISK_GB', reserved=0)
            self.reconcile()
        self.assert_books(size.Size(4, 4096), size.Size(4, 4096))

    def test_a_revert_that_placement_refuses(self):
        """Its allocation follows when Placement accepts that."""
        self._revert_where_placement_refuses()
        self._check_that_it_is_taken_back()

    def test_deleted_before_its_allocation_is_taken_back(self):
        """Stock Nova leaves it, too, and has a command that removes it."""
        self.start_host('host2')
        servers = [self.server, self.create_server(
            self._create_flavor(vcpu=1, memory_mb=1024, disk=1, ephemeral=0),
            host='host1')]
        for server in servers:
            self.api.post_server_action(server['id'], {'migrate': None})
            self._wait_for_state_change(server, 'VERIFY_RESIZE')
        self.change_inventory('DISK_GB', reserved=1028)
        for server in servers:
            self._revert_resize(server)
            self._delete_server(server)
        self.reconcile()
        left = self._get_allocations_by_provider_uuid(
            self._get_provider_uuid_by_host('host1'))
        self.assertEqual(
            len(servers) if self.is_placement_strict() else 0, len(left))
        with mock.patch('builtins.print'):
            manage.PlacementCommands().audit(delete=True)
        self.assertEqual({}, self._get_allocations_by_provider_uuid(
            self._get_provider_uuid_by_host('host1')))

    def test_a_live_migration_that_fails_where_placement_refuses(self):
        """The same, after hours in which the host has become full."""
        def fail(*args, **kwargs):
            self.change_inventory('DISK_GB', reserved=1028)
            raise exception.NovaException('by the test')

        driver = self.start_host('host2').manager.driver
        self.adjust(4, 4096)
        with mock.patch.object(driver, 'pre_live_migration', fail):
            self._live_migrate(
                self.server, migration_expected_state='failed')
        self._check_that_it_is_taken_back()

    def test_a_live_migration_that_leaves_it_in_error(self):
        """Its allocation is not where it is, and nobody moves that yet."""
        self.start_host('host2')
        self.adjust(4, 4096)
        self.reconcile()
        with mock.patch.object(self.driver, 'live_migration',
                               side_effect=exception.NovaException('test')):
            self.admin_api.post_server_action(
                self.server['id'], {'os-migrateLive': {
                    'host': None, 'block_migration': 'auto'}})
            self._wait_for_migration_status(self.server, ['error'])
        self._wait_for_assert(lambda: self.assertEqual(
            'error', self.instance(self.server).vm_state))
        allocated = {'host2': size.Size(4, 4096)}
        for _ in range(2):
            self.reconcile()
            self.assertEqual(allocated, self.allocated(self.server['id']))
            self.assert_no_allocation()
        self.reset_state('active')
        self._check_that_it_is_settled()

    def test_an_allocation_of_a_server_in_error_that_somebody_deletes(self):
        self.adjust(4, 4096)
        self.reconcile()
        self.reset_state('error')
        self._delete_server_allocations(self.server['id'])
        for _ in range(2):
            self.reconcile()
            self.assertEqual({}, self.allocated(self.server['id']))
            self.assert_no_allocation()
        with fixtures.MonkeyPatch('sys.stdout', io.StringIO()):
            manage.PlacementCommands().heal_allocations(
                instance_uuid=self.server['id'])
        # It is seen although its state stays.
        for _ in range(2):
            self.reconcile()
        self.assert_books(size.Size(4, 4096), size.Size(4, 4096))
        self.assertEqual('Settled', self.status()['condition'])

    def reset_state(self, state):
        self.admin_api.post_server_action(
            self.server['id'], {'os-resetState': {'state': state}})

    def assert_no_allocation(self):
        """The status of the server says so, as the list does."""
        status = self.status()
        found = status['condition'], status['reason']
        self.assertEqual(found, noted.of(
            self.instance(self.server).system_metadata))
        self.assertEqual(
            ('Overcommitted', 'The server is charged 4 vCPUs, 4096 MiB and '
             'has no allocation of vCPUs and memory on its host.'), found)

    def _revert_where_placement_refuses(self):
        self.start_host('host2')
        self.adjust(4, 4096)
        self.api.post_server_action(self.server['id'], {'migrate': None})
        self._wait_for_state_change(self.server, 'VERIFY_RESIZE')
        self.change_inventory('DISK_GB', reserved=1028)
        self._revert_resize(self.server)

    def _check_that_it_is_settled(self):
        for _ in range(2):
            self.reconcile()
        self.assert_books(size.Size(4, 4096), size.Size(4, 4096))
        self.assertEqual(size.Size(0, 0), self.used('host2'))

    def _check_that_it_is_taken_back(self):
        """As soon as Placement accepts that, after a move that was undone."""
        if self.is_placement_strict():
            self.reconcile()
            self.assertIn('Heal its allocations', self.stdlog.logger.output)
            self.assertNotEqual(size.Size(0, 0), self.used('host2'))
            self.change_inventory('DISK_GB', reserved=0)
        self._check_that_it_is_settled()

    def test_an_audit_after_a_revert_that_placement_refuses(self):
        """It takes for left over what the server has here and there."""
        self._revert_where_placement_refuses()
        if self.is_placement_strict():
            with fixtures.MonkeyPatch('sys.stdout', io.StringIO()):
                manage.PlacementCommands().audit(delete=True)
            self.reconcile()
            self.assertEqual({}, self.allocated(self.server['id']))
            self.assertIn('Heal its allocations', self.stdlog.logger.output)
        self.change_inventory('DISK_GB', reserved=0)
        self._check_that_it_is_settled()

    def delete_allocation(self):
        """Somebody does, and the next adjust notices that."""
        self.adjust(4, 4096)
        self.reconcile()
        self._delete_server_allocations(self.server['id'])
        self.assert_refused('not what it is charged', 6, 6144)

    def test_an_allocation_that_somebody_deletes(self):
        before = self._get_allocations_by_server_uuid(self.server['id'])
        self.delete_allocation()
        for _ in range(2):
            self.reconcile()
        self.assert_books(size.Size(4, 4096), size.Size(4, 4096))
        (allocation,), (old,) = (
            found.values() for found in (
                self._get_allocations_by_server_uuid(self.server['id']),
                before))
        self.assertEqual(
            dict(old['resources'], VCPU=4, MEMORY_MB=4096),
            allocation['resources'])

    def test_an_allocation_of_a_port_that_somebody_deletes(self):
        """Nobody but Neutron knows what it was."""
        self.delete_allocation()
        with mock.patch.object(
                objects.Instance, 'get_network_info', return_value=[
                    {'profile': {'allocation': {'group': 'rp'}}}]):
            self.reconcile()
        self.assertEqual({}, self.allocated(self.server['id']))
        self.assertIn('Heal its allocations', self.stdlog.logger.output)

    def test_the_host_that_it_was_evacuated_from(self):
        """It is down, reserved, and keeps an allocation until it is back."""
        host2 = self.start_host('host2')
        self.compute.stop()
        service = self.admin_api.get_services(
            host='host1', binary='nova-compute')[0]
        self.admin_api.put_service(service['id'], {'forced_down': True})
        self._evacuate_server(self.server, expected_host='host2',
                              expected_migration_status='done')
        with self.cell() as cell:
            host2.manager._elastic.reconcile(cell)
        self.change_inventory('VCPU', reserved=16)
        self.change_inventory('MEMORY_MB', reserved=32768)
        self.assertIn('host1', self.allocated(self.server['id']))
        self.adjust(6, 6144)
        self.assertEqual(
            GROWN, self.allocated(self.server['id'])['host2'])
        self.adjust(2, 2048)
        self.assertEqual(
            base.MINIMUM, self.allocated(self.server['id'])['host2'])


class LessThanHeldTestCase(capacity_base.CapacityBase):
    """What a guest takes by itself is charged where it can be."""

    def take(self, vcpus, memory_mb):
        self.wait()
        # And keeps, though it is asked to give it back.
        self.guest.behaviour = scripted.LOST
        self.guest.held = size.Size(vcpus, memory_mb)
        self.reconcile()

    def set_state(self, **fields):
        instance = self.instance(self.server)
        for field, value in fields.items():
            setattr(instance, field, value)
        with self.cell() as cell:
            instance._context = cell
            instance.save()

    def test_during_a_snapshot_and_in_error(self):
        for fields in ({'task_state': 'image_uploading'},
                       {'task_state': None, 'vm_state': 'error'}):
            self.set_state(**fields)
            self.guest.held = size.Size(2, self.guest.held.memory_mb + 1024)
            self.wait()
            self.reconcile()
            self.assert_charged(self.server, self.guest.held, 'host1')
            # Nothing else is done meanwhile.
            instance = self.instance(self.server)
            self.assertEqual(base.MINIMUM, size.desired(instance))
            self.assertEqual(fields['task_state'], instance.task_state)
            self.assertEqual([], self.driver.requests)
        self.set_state(vm_state='active')
        self.reconcile()
        self.wait()
        self.reconcile()
        self.assert_charged(self.server, self.guest.held, 'host1')

    def test_while_something_else_has_its_lock(self):
        """A volume that is swapped takes hours."""
        with task.locked_now(self.server['id']):
            self.take(2, 4096)
            self.assert_charged(self.server, self.guest.held, 'host1')
        self.assertEqual([], self.driver.requests)

    def test_its_way_back_from_a_reset_while_something_has_its_lock(self):
        self.wait()
        with task.locked_now(self.server['id']):
            self.guest.reset()
            self.reconcile()
            self.assert_charged(self.server, base.MINIMUM, 'host1')

    def test_no_room_while_something_has_its_lock(self):
        self.fill(28672)
        with task.locked_now(self.server['id']):
            for _ in range(2):
                self.take(8, 8192)
                self.assert_charged(self.server, size.Size(8, 3584), 'host1')
                self.assertEqual('Overcommitted', notes.outcome(
                    self.instance(self.server))[0])

    def test_its_charge_is_raised_after_it_was_read(self):
        """The older look lowers nothing."""
        stale, state = self.instance(self.server), self.guest.state
        with task.locked_now(self.server['id']):
            self.take(2, 4096)
        with self.cell() as cell:
            stale._context = cell
            self.compute.manager._elastic._executor.carry_out(
                cell, stale, state,
                executor.Occasion(allocated=self.guest.held))
        self.assert_charged(self.server, self.guest.held, 'host1')

    def test_it_shuts_off_after_the_look(self):
        """The pass has asked all guests at once, before that."""
        self.wait()
        guests = self.driver.get_elastic_guests

        def look(*args, **kwargs):
            found = guests(*args, **kwargs)
            self.driver.get_elastic_guests = guests
            self.driver.instances[self.server['id']].state = (
                power_state.SHUTDOWN)
            return found

        self.guest.held = size.Size(2, 8192)
        self.set_state(task_state='powering-off')
        self.driver.get_elastic_guests = look
        self.reconcile()
        self.assertEqual(base.MINIMUM,
                         size.charged(self.instance(self.server)))

    def test_while_it_does_not_shut_off(self):
        """The image says for how long Nova waits, holding its lock."""
        power_off, seen = self.driver.power_off, []
        self.wait()

        def wait_in_vain(*args, **kwargs):
            self.guest.held = size.Size(2, 8192)
            # One that does shut off may hold that for a moment.
            self.compute.manager.handle_events(
                elastic_guest.GuestChangedEvent(self.server['id']))
            for look in (lambda: None, self.reconcile):
                look()
                seen.append(size.charged(self.instance(self.server)))
            power_off(*args, **kwargs)

        with mock.patch.object(self.driver, 'power_off', wait_in_vain):
            self.api.post_server_action(self.server['id'], {'os-stop': None})
            self._wait_for_state_change(self.server, 'SHUTOFF')
        self.assertEqual([base.MINIMUM, size.Size(2, 8192)], seen)
        self.assert_charged(self.server, size.Size(2, 8192), 'host1')
        self.reconcile()
        self.assert_charged(self.server, base.MINIMUM, 'host1')

    def test_the_books_are_changed_meanwhile(self):
        """Then nothing more is charged at that look."""
        def meanwhile(context, instance, record, task_state):
            raise exception.InstanceUpdateConflict(
                instance_uuid=instance.uuid, expected={}, actual={})

        ledger = self.compute.manager._elastic._executor.ledger
        with task.locked_now(self.server['id']), mock.patch.object(
                ledger, 'save', meanwhile):
            self.take(2, 4096)
        self.assertEqual(base.MINIMUM,
                         size.charged(self.instance(self.server)))
        self.reconcile()
        self.assert_charged(self.server, self.guest.held, 'host1')

    def test_not_while_it_moves(self):
        self.set_state(task_state='migrating')
        self.guest.held = GROWN
        self.wait()
        self.reconcile()
        self.assert_charged(self.server, base.MINIMUM, 'host1')

    def test_as_much_as_fits(self):
        other = self.fill(28672)
        self.take(8, 8192)
        instance = self.instance(self.server)
        self.assertEqual('Overcommitted', notes.outcome(instance)[0])
        # 512 MiB are for the host itself.
        self.assert_charged(self.server, size.Size(8, 3584), 'host1')
        self._delete_server(other)
        self.reconcile()
        self.assert_charged(self.server, size.Size(8, 8192), 'host1')

    def test_as_much_as_fits_beside_what_placement_tolerates(self):
        self.be_over_capacity('DISK_GB')
        self.test_as_much_as_fits()

    def test_room_while_something_else_happens(self):
        """All that it holds is charged, and nothing says otherwise."""
        other = self.fill(28672)
        self.take(8, 8192)
        self.set_state(task_state='image_uploading')
        self._delete_server(other)
        self.reconcile()
        self.assert_charged(self.server, size.Size(8, 8192), 'host1')
        self.assertIsNone(notes.outcome(self.instance(self.server)))
        self.assertNotEqual('Overcommitted', self.status()['condition'])

    def test_some_room_while_something_else_happens(self):
        """What is noted is about the charge of now."""
        other = self.fill(28672)
        self.take(8, 4096)
        self.set_state(task_state='image_uploading')
        self._delete_server(other)
        self.fill(26624)
        self.guest.held = size.Size(8, 8192)
        self.wait()
        for _ in range(2):
            self.reconcile()
        self.assert_charged(self.server, size.Size(8, 5632), 'host1')
        reason = ('The server holds 8 vCPUs, 8192 MiB, is charged 8 vCPUs, '
                  '5632 MiB and its host has no room for more.')
        self.assertEqual(('Overcommitted', reason), notes.outcome(
            self.instance(self.server)))
        self.assertEqual(reason, self.status()['reason'])
        self.guest.held = size.Size(8, 5000)
        self.assertNotEqual('Overcommitted', self.status()['condition'])

    def test_as_much_as_fits_in_steps(self):
        """A host can allow only multiples of some amount."""
        self.change_inventory('MEMORY_MB', step_size=2048)
        self.fill(24576)
        self.take(8, 8192)
        instance = self.instance(self.server)
        self.assertEqual('Overcommitted', notes.outcome(instance)[0])
        # There is room for 7680 MiB.
        self.assert_charged(self.server, size.Size(8, 6144), 'host1')

    def watch(self, sizes, seconds=9):
        """What events of a guest cost that moves its balloon by itself.

        There is an event for each size that it comes to hold.

        :returns: how many saves of the row, writes to Placement and bills
        """
        counts = []
        with contextlib.ExitStack() as stack:
            for owner, name in ((objects.Instance, 'save'),
                                (report.SchedulerReportClient, 'put'),
                                (compute_utils, 'notify_usage_exists')):
                counts.append(stack.enter_context(self.count(owner, name)))
            for held in sizes:
                self.guest.held = held
                self.compute.manager.handle_events(
                    elastic_guest.GuestChangedEvent(self.server['id']))
                self.assert_held_is_known()
                self.wait(seconds)
        return [len(calls) for calls in counts]

    @contextlib.contextmanager
    def count(self, owner, name):
        real, calls = getattr(owner, name), []

        def count(*args, **kwargs):
            calls.append(args)
            return real(*args, **kwargs)

        with mock.patch.object(owner, name, count):
            yield calls

    def assert_held_is_known(self):
        """It is charged, or a move would ask for it."""
        covered = size.moved(self.instance(self.server))
        self.assertEqual(covered, size.largest(covered, self.guest.held))

    def be_settled(self, vcpus, memory_mb):
        self.adjust(vcpus, memory_mb)
        self.wait(3600)
        self.reconcile()

    def test_a_guest_that_moves_its_balloon_for_ever(self):
        self.be_settled(4, 4096)
        # In six minutes: after 0, 60 and 180 seconds it falls and rises again.
        rows, writes, bills = self.watch(
            20 * [size.Size(4, 5000), size.Size(4, 4096)])
        self.assertLessEqual(rows, 8)
        self.assertLessEqual(writes, 8)
        self.assertLessEqual(bills, 8)
        # Its owner does not wait.
        self.guest.held = size.Size(4, 4096)
        self.adjust(2, 2048)
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_a_guest_that_moves_while_the_clock_is_set_back(self):
        self.be_settled(4, 4096)
        self.watch(2 * [size.Size(4, 5000), size.Size(4, 4096)])
        self.assert_charged(self.server, size.Size(4, 5000), 'host1')
        self.set_clock(-24 * 3600)
        self.reconcile()
        self.assert_charged(self.server, size.Size(4, 4096), 'host1')

    def test_a_claim_for_a_guest_that_moves_is_given_up(self):
        self.be_settled(4, 4096)
        self.watch(2 * [size.Size(4, 5000), size.Size(4, 4096)])
        self.assert_charged(self.server, size.Size(4, 5000), 'host1')
        # nova-api dies after it.
        with self.cell() as cell:
            instance = self.instance(self.server)
            request = rpcapi.Request.about(instance, 'a-token', 6, 6144, True)
            task.take(cell, instance, request.token)
            rpcapi.XloudAPI().claim(cell, instance, request)
        self.assert_charged(self.server, size.Size(6, 6144), 'host1')
        with mock.patch.object(task, 'PATIENCE', 0):
            self.reconcile()
        self.reconcile()
        self.assert_charged(self.server, size.Size(4, 4096), 'host1')

    def test_a_guest_that_moves_below_its_boot_size(self):
        self.be_settled(4, 4096)
        self.guest.behaviour = scripted.LOST
        for most in (8, 4):
            rows, writes, bills = self.watch(
                20 * [size.Size(4, 3000), size.Size(4, 3500)])
            self.assertLessEqual(rows, most)
            self.assertEqual((0, 0), (writes, bills))
        # At rest, the books say what is so.
        self.guest.held = size.Size(4, 3000)
        self.wait(3600)
        self.reconcile()
        self.assert_books(size.Size(4, 3000), size.Size(4, 4096),
                          condition='Partial')

    def test_a_guest_that_goes_back_and_strays_again(self):
        self.be_settled(4, 4096)
        rows, writes, bills = self.watch(40 * [size.Size(4, 3000)])
        self.assertLessEqual(rows, 10)
        self.assertEqual((0, 0), (writes, bills))
        self.assertEqual('Settled', self.status()['condition'])

    def test_a_guest_that_moves_where_placement_refuses(self):
        self.be_settled(4, 4096)
        self.guest.behaviour = scripted.LOST
        self.change_inventory('DISK_GB', reserved=1028)
        rows, writes, bills = self.watch(
            20 * [size.Size(4, 8192), size.Size(4, 4096)])
        self.assertLessEqual(rows, 10)
        # Otherwise each is as on another host.
        is_strict = self.is_placement_strict()
        self.assertLessEqual(writes, 4 if is_strict else 8)
        self.assertLessEqual(bills, 0 if is_strict else 8)

    def test_a_guest_that_moves_on_a_full_host(self):
        self.be_settled(4, 4096)
        self.guest.behaviour = scripted.LOST
        other = self.fill(26624)
        rows, writes, bills = self.watch(
            20 * [size.Size(4, 8192), size.Size(4, 4096)])
        self.assertLessEqual(rows, 8)
        self.assertLessEqual(writes, 14)
        self.assertLessEqual(bills, 8)
        self.guest.held = size.Size(4, 8192)
        self.reconcile()
        self.assertEqual('Overcommitted', self.status()['condition'])
        # Each reconcile sees whether there is room, and asks then.
        with self.count(report.SchedulerReportClient, 'put') as puts:
            for _ in range(5):
                self.reconcile()
        self.assertEqual([], puts)
        self._delete_server(other)
        self.reconcile()
        self.assert_charged(self.server, size.Size(4, 8192), 'host1')

    def creep(self):
        return [size.Size(4, 4096 + 10 * number) for number in range(1, 41)]

    def test_a_guest_that_takes_a_little_for_ever(self):
        self.be_settled(4, 4096)
        self.guest.behaviour = scripted.LOST
        rows, writes, bills = self.watch(self.creep(), seconds=3)
        self.assertLessEqual(rows, 14)
        self.assertLessEqual(writes, 13)
        self.assertLessEqual(bills, 13)
        # What it was charged too much falls at leisure.
        self.wait(3600)
        self.reconcile()
        self.assert_charged(self.server, size.Size(4, 4496), 'host1')

    def test_a_guest_that_takes_a_little_during_a_snapshot(self):
        self.be_settled(4, 4096)
        self.set_state(task_state='image_uploading')
        rows, writes, bills = self.watch(self.creep(), seconds=3)
        self.assertLessEqual(rows, 10)
        self.assertLessEqual(writes, 10)
        self.assertLessEqual(bills, 10)
        self.set_state(task_state=None)
        self.guest.held = size.Size(4, 4096)
        self.wait(3600)
        self.reconcile()
        self.assert_books(size.Size(4, 4096), size.Size(4, 4096))

    def test_a_guest_that_takes_a_little_on_a_full_host(self):
        self.be_settled(4, 4096)
        self.guest.behaviour = scripted.LOST
        self.fill(28160)
        rows, writes, bills = self.watch(self.creep(), seconds=3)
        self.assertLessEqual(rows, 14)
        self.assertLessEqual(writes, 4)
        self.assertEqual(0, bills)
        self.assertEqual('Overcommitted', self.status()['condition'])

    def test_a_guest_that_starts_is_charged_less_step_by_step(self):
        self.adjust(6, 6144, persist=False)
        self.driver.starts_with_balloon = False
        self._reboot_server(self.server, hard=True)
        self.guest.behaviour = scripted.LATE
        self.reconcile()
        self.assert_charged(self.server, size.Size(2, 6144), 'host1')
        for memory_mb in (4096, 2048):
            self.guest.has_balloon = True
            self.guest.held = size.Size(2, memory_mb)
            self.compute.manager.handle_events(
                elastic_guest.GuestChangedEvent(self.server['id']))
            self.assert_charged(
                self.server, size.Size(2, memory_mb), 'host1')

    def test_nothing_is_asked_for_plain_servers(self):
        self._delete_server(self.server)
        plain = self.create_server(
            self._create_flavor(vcpu=2, memory_mb=2048))
        self.compute = self.restart_compute_service(self.compute)
        self.driver.observations.clear()
        self.reconcile()
        with mock.patch('nova.objects.InstanceList.get_by_filters',
                        side_effect=exception.NovaException):
            self.reconcile()
        self.assertEqual([], self.driver.observations)
        self._delete_server(plain)

    def test_nothing_is_asked_for_a_server_that_has_become_plain(self):
        self.flags(allow_resize_to_same_host=True)
        self._resize_server(
            self.server, self._create_flavor(vcpu=2, memory_mb=2048))
        self.reconcile()
        self.api.post_server_action(
            self.server['id'], {'confirmResize': None})
        self._wait_for_state_change(self.server, 'ACTIVE')
        self._run_periodics()
        self.reconcile()
        with mock.patch('nova.objects.InstanceList.get_by_filters',
                        side_effect=exception.NovaException):
            self.reconcile()
