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

"""Every move of a server whose sizes are no longer those of its flavor."""

import contextlib
import io
import threading

import fixtures

from nova.cmd import manage
from nova import context
from nova import exception
from nova import objects
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import killed_base
from nova.tests.functional.xloud import moves_base
from nova import utils
from nova.xloud import noted
from nova.xloud import size

NOTHING = moves_base.NOTHING
BOOT = base.BOOT
OTHER_IMAGE = 'a2459075-d96c-40d5-893e-577ff92e721c'


class LiveMigrationTestCase(moves_base.GuestsMoveTestCase):

    def test_again_and_again(self):
        """The saved request spec has the charge of the move before."""
        self.server = self._live_migrate(self.server)
        self.assert_settled('host2')
        self.server = self._live_migrate(self.server)
        self.assert_settled('host1')
        self.charge = self.change_sizes(self.server, size.Size(8, 3072))
        self.before = self.books(self.server)
        self.fill('host2', memory_mb=3072)
        self.server = self._live_migrate(self.server)
        self.assert_settled('host2', host2=size.Size(9, 32768))
        self.delete()

    def test_no_room_for_the_charge(self):
        """A host with room for the minimum and what it holds is no host."""
        self.fill('host2', memory_mb=6143)
        self.server = self._live_migrate(
            self.server, migration_expected_state='error')
        self.assert_settled(host2=size.Size(1, 26625))

    def test_forced(self):
        filler = self.fill('host2', memory_mb=6143)
        force = {'host': 'host2', 'block_migration': False, 'force': True}
        self.act('os-migrateLive', force, microversion='2.67')
        self._wait_for_migration_status(self.server, ['error'])
        self.assert_settled(host2=size.Size(1, 26625))

        self._delete_server(filler)
        self.assert_used(host2=NOTHING)
        self.act('os-migrateLive', force, microversion='2.67')
        self._wait_for_migration_status(self.server, ['completed'])
        self.assert_settled('host2')

    def test_failure(self):
        self.fail_on('host2', 'pre_live_migration')
        # It is 'error' while Nova rolls back.
        self.server = self._live_migrate(
            self.server, migration_expected_state='failed')
        self.assert_settled()

    def test_a_compute_service_dies(self):
        """Nova ends the migration only if it was running."""
        for owner, method, status, left in (
                ('manager', '_do_live_migration', 'queued', 'queued'),
                ('manager', '_do_pre_live_migration_from_source', 'preparing',
                 'preparing'),
                ('driver', 'live_migration', 'running', 'error')):
            manager = self.computes['host1'].manager
            with fixtures.MockPatchObject(
                    getattr(manager, owner, manager), method,
                    side_effect=killed_base.Killed) as dies:
                self.act('os-migrateLive', {
                    'host': None, 'block_migration': 'auto'})
                self._wait_for_assert(dies.mock.assert_called_once)
                self._wait_for_migration_status(self.server, [status])
            self.computes['host1'] = self.restart_compute_service(
                self.computes['host1'])
            self._wait_for_migration_status(self.server, [left])
            self.assert_settled()

    def reset_while_it_waits(self, method, status):
        """It goes on, so the other host keeps what it has for the server."""
        may_end = threading.Event()
        self.addCleanup(may_end.set)
        waits = self.useFixture(fixtures.MockPatchObject(
            self.computes['host1'].manager, method,
            side_effect=lambda *args: may_end.wait(60))).mock
        self.act('os-migrateLive', {'host': None, 'block_migration': 'auto'})
        self._wait_for_assert(waits.assert_called_once)
        self._wait_for_migration_status(self.server, [status])
        self.reconcile_all()
        self.act('os-resetState', {'state': 'active'})
        self.reconcile_all()
        self.assertEqual(
            {'host2': self.charge}, self.allocated(self.server['id']))
        # The migration has that.
        self.assertEqual(self.charge, self.used('host1'))
        self.assertEqual(noted.OVERCOMMITTED, noted.of(
            self.instance(self.server).system_metadata)[0])

    def test_reset_while_it_is_queued(self):
        self.reset_while_it_waits('_do_live_migration', 'queued')

    def test_reset_while_it_is_prepared(self):
        self.reset_while_it_waits(
            '_do_pre_live_migration_from_source', 'preparing')


class EvacuateTestCase(moves_base.GuestsMoveTestCase):

    def test_and_the_host_comes_back(self):
        self.lose('host1')
        self.server = self._evacuate_server(
            self.server, expected_host='host2')
        both = {'host1': self.charge, 'host2': BOOT}
        self.assertEqual(both, self.allocated(self.server['id']))
        self.starts_anew()
        self._wait_for_assert(lambda: self.assertEqual(
            self.before, self.books(self.server)))
        self._run_periodics()
        self.assertEqual(both, self.allocated(self.server['id']))
        self.assertEqual(BOOT, self.tracked('host2'))

        self.bring_back('host1')

        self.assert_unchanged('host2')
        self.server = self._start_server(self.server)
        self.assert_unchanged('host2')
        self.delete()

    def test_forced(self):
        self.lose('host1')
        with utils.temporary_mutation(self.admin_api, microversion='2.67'):
            self.server = self._evacuate_server(
                self.server, {'host': 'host2', 'force': True},
                expected_host='host2', expected_state='ACTIVE')
        self.starts_anew()
        self._wait_for_assert(lambda: self.assertEqual(
            {'host1': (6, 6144), 'host2': BOOT},
            self.allocated(self.server['id'])))
        # An evacuation ends for the resource tracker at its next audit.
        self._run_periodics()
        self.bring_back('host1', keep_hypervisor_state=False)
        self.assert_unchanged('host2')

    def test_room_for_what_it_starts_with(self):
        self.grow_until_the_next_start()
        self.fill('host2', memory_mb=6144)
        self.lose('host1')
        self.server = self._evacuate_server(
            self.server, expected_host='host2')
        self.starts_anew()
        self._run_periodics()
        self.bring_back('host1', keep_hypervisor_state=False)
        self.assert_unchanged('host2', host2=size.Size(4, 32768))

    def test_lost_answer_to_the_lower_charge(self):
        """The evacuation goes on, and what is allocated is not charged."""
        self.lose('host1')
        with fixtures.MockPatch('nova.xloud.books.save',
                                side_effect=exception.NovaException('lost')):
            self.server = self._evacuate_server(
                self.server, expected_host='host2')
        self.assertEqual(self.before, self.books(self.server))
        self.assertEqual('host2', self.instance(self.server).host)

    def test_and_deleted_before_the_host_comes_back(self):
        self.lose('host1')
        self.server = self._evacuate_server(
            self.server, expected_host='host2')
        self._delete_server(self.server)
        self.bring_back('host1')
        # An evacuation ends for the resource tracker at its next audit.
        self._run_periodics()
        self.assert_nothing_left(self.server['id'])
        self.assert_used(host1=NOTHING, host2=NOTHING)

    def test_no_room_for_the_charge(self):
        self.fill('host2', memory_mb=6143)
        self.lose('host1')
        self.server = self._evacuate_server(
            self.server, expected_host='host1', expected_state='ERROR',
            expected_migration_status='error')
        self.bring_back('host1')
        self.assert_settled(host2=size.Size(1, 26625))

    def test_failure(self):
        self.fail_on('host2', 'spawn')
        self.lose('host1')
        self.server = self._evacuate_server(
            self.server, expected_host='host1', expected_state='ERROR',
            expected_migration_status='failed')
        self.bring_back('host1')
        self.assert_settled()


class ShelveTestCase(moves_base.GuestsMoveTestCase):

    def test_offloaded_at_once(self):
        self.server = self._shelve_server(self.server)
        self._wait_for_server_parameter(
            self.server, {'OS-EXT-SRV-ATTR:host': None})
        self.assert_nothing_left(self.server['id'])
        self.assert_used(host1=NOTHING, host2=NOTHING)
        self.starts_anew()
        self.assertEqual(self.before, self.books(self.server))

        self.act('unshelve', {'host': 'host2'})
        self.server = self._wait_for_state_change(self.server, 'ACTIVE')
        self.assert_unchanged('host2')
        self.delete()

    def test_its_books_are_changed_while_it_is_offloaded(self):
        """Nobody looks at it after that, so it is tried once more."""
        tracker = self.computes['host1'].manager.rt
        real, errors = tracker.xloud_recount, [
            exception.InstanceUpdateConflict(
                instance_uuid=self.server['id'], expected={}, actual={})]

        def recount(*args, **kwargs):
            if errors:
                raise errors.pop()
            real(*args, **kwargs)

        self.useFixture(fixtures.MockPatchObject(
            tracker, 'xloud_recount', recount))
        self.test_offloaded_at_once()
        self.assertEqual([], errors)

    def test_offloaded_later(self):
        """Shelved, a server still has its place."""
        self.flags(shelved_offload_time=-1)
        self.server = self._shelve_server(
            self.server, expected_state='SHELVED')
        self.starts_anew()
        self.assert_settled()
        self.server = self._unshelve_server(self.server)
        self.assert_unchanged()

        self.server = self._shelve_server(
            self.server, expected_state='SHELVED')
        self._shelve_offload_server(self.server)
        self.assert_used(host1=NOTHING, host2=NOTHING)
        self.assertEqual(self.before, self.books(self.server))
        self.server = self._unshelve_server(self.server)
        self.assert_unchanged()

    def test_no_room_for_the_charge(self):
        self.server = self._shelve_server(self.server)
        self._wait_for_server_parameter(
            self.server, {'OS-EXT-SRV-ATTR:host': None})
        filler = self.fill('host1', memory_mb=6143)
        self.fill('host2', memory_mb=6143)
        self.act('unshelve')
        self._wait_for_instance_action_event(
            self.server, 'unshelve', 'schedule_instances', 'error')
        self.assert_idle()
        self.assert_nothing_left(self.server['id'])
        self.starts_anew()
        self.assertEqual(self.before, self.books(self.server))

        self._delete_server(filler)
        self.server = self._unshelve_server(self.server)
        self.assert_unchanged(host2=size.Size(1, 26625))

    def test_room_for_what_it_starts_with(self):
        """Also if it was offloaded by a compute that kept the charge."""
        self.grow_until_the_next_start()
        for old in (False, True):
            with fixtures.MockPatch('nova.xloud.books.save',
                                    side_effect=exception.NovaException(
                                        'lost')) if old else (
                    contextlib.nullcontext()):
                self._shelve_server(self.server)
                self._wait_for_server_parameter(
                    self.server, {'OS-EXT-SRV-ATTR:host': None})
            if not old:
                self.starts_anew()
            self.assert_nothing_left(self.server['id'])
            self.assertEqual(self.before, self.books(self.server))
            filler = self.fill('host2', memory_mb=6144)
            self.act('unshelve', {'host': 'host2'})
            self.server = self._wait_for_state_change(self.server, 'ACTIVE')
            self.starts_anew()
            self.assert_unchanged('host2', host2=size.Size(4, 32768))
            self._delete_server(filler)
            self.grow_until_the_next_start()


class RebuildTestCase(moves_base.MovesTestCase):

    def test_on_a_full_host(self):
        """With another image the scheduler is asked about this host."""
        self.fill('host1', memory_mb=0)
        full = size.Size(7, 32768)
        self.server = self._rebuild_server(
            self.server, self.server['image']['id'])
        self.assert_unchanged(host1=full)
        self.assertNotEqual(OTHER_IMAGE, self.server['image']['id'])
        self.server = self._rebuild_server(self.server, OTHER_IMAGE)
        self.assertEqual(OTHER_IMAGE, self.server['image']['id'])
        self.assert_unchanged(host1=full)


class ColdMigrationTestCase(moves_base.GuestsMoveTestCase):
    """What test_placement does not have."""

    def test_stopped(self):
        """Both hosts hold the charge; either keeps it after a restart."""
        self._stop_server(self.server)
        self.starts_anew()
        self.assert_settled()
        self.server = self._migrate_server(self.server, host='host2')
        for host in ('host1', 'host2'):
            self.computes[host] = self.restart_compute_service(
                self.computes[host])
        self.assert_charged(self.server, self.charge, 'host2')
        self.assert_used(host1=self.charge, host2=self.charge)
        self.act('revertResize')
        self._wait_for_migration_status(self.server, ['reverted'])
        self.server = self._wait_for_state_change(self.server, 'SHUTOFF')
        self.assert_unchanged()

    def test_failure(self):
        """Of the source it is undone; else Nova leaves the server there."""
        with fixtures.MockPatchObject(
                self.computes['host1'].manager.driver,
                'migrate_disk_and_power_off',
                side_effect=exception.NovaException('by the test')):
            self.act('migrate')
            self._wait_for_action_fail_completion(
                self.server, 'migrate', 'compute_resize_instance')
        self.assert_settled()

        self.act('os-resetState', {'state': 'active'})
        self.fail_on('host2', 'finish_migration')
        self.act('migrate')
        self._wait_for_action_fail_completion(
            self.server, 'migrate', 'compute_finish_resize')
        self.assert_settled('host2')
        self.delete()

    def migrate_and_change(self, desired):
        """Let it hold something else where it has started again."""
        self.server = self._migrate_server(self.server, host='host2')
        self._run_periodics()
        self.assert_charged(self.server, BOOT, 'host2')
        self.assert_used(host1=self.charge, host2=BOOT)
        charge = self.change_sizes(self.server, desired, boot=BOOT)
        self.assertEqual(size.largest(desired, BOOT), charge)
        self.assert_used(host1=self.charge, host2=charge)
        for host in ('host1', 'host2'):
            self.computes[host] = self.restart_compute_service(
                self.computes[host])
        self.assert_used(host1=self.charge, host2=charge)
        return charge

    def test_it_is_charged_something_else_there(self):
        """The source keeps what it was charged until the server is back."""
        for desired in (BOOT, base.MAXIMUM):
            self.migrate_and_change(desired)
            self.server = self._revert_resize(self.server)
            self.starts_anew()
            self.assert_settled()
            self.hold(size.Size(6, 4096))

    def test_confirmed_with_another_charge(self):
        charge = self.migrate_and_change(BOOT)
        self.server = self._confirm_resize(self.server)
        self.assert_charged(self.server, charge, 'host2')
        self.assert_used(host1=NOTHING, host2=charge)
        self.assertEqual(self.opened_books(charge), self.books(self.server))
        self.delete()


class ResizeTestCase(moves_base.GuestsMoveTestCase):
    """What test_placement does not have."""

    def resize(self, maximum, minimum):
        """Resize to another flavor and check what is charged.

        :param minimum: of the new flavor, its maximum if it is not elastic
        """
        self.server = self._resize_server(
            self.server, self.create_elastic_flavor(
                maximum, minimum if minimum != maximum else (None, None)))
        self.assert_charged(self.server, minimum, 'host2')
        self.assert_used(host1=self.charge, host2=minimum)

    def confirm(self, charge, is_elastic=True):
        self.server = self._confirm_resize(self.server)
        self.assert_charged(self.server, charge, 'host2')
        self.assert_used(host1=NOTHING, host2=charge)
        self.assertEqual(
            self.opened_books(charge) if is_elastic else (*charge, {}),
            self.books(self.server))

    def revert(self):
        self.server = self._revert_resize(self.server)
        self.starts_anew()
        self.assert_settled()

    def test_to_a_smaller_flavor(self):
        """Its maximum is less than what the server is charged."""
        new = size.Size(1, 512)
        self.resize(size.Size(4, 2048), new)
        self.revert()
        self.resize(size.Size(4, 2048), new)
        self.confirm(new)

    def test_to_a_fixed_flavor_and_on(self):
        fixed = size.Size(12, 16384)
        self.resize(fixed, fixed)
        self.revert()
        fixed = size.Size(1, 1024)
        self.resize(fixed, fixed)
        self.confirm(fixed, is_elastic=False)
        # It was elastic: nothing of that comes back.
        self.server = self._resize_server(self.server, self.flavor)
        self.assert_charged(self.server, base.MINIMUM, 'host1')
        self.assert_used(host1=base.MINIMUM, host2=fixed)
        self.server = self._confirm_resize(self.server)
        self.assert_charged(self.server, base.MINIMUM, 'host1')
        self.assertEqual(self.opened_books(base.MINIMUM),
                         self.books(self.server))
        self.delete()

    def test_from_a_fixed_flavor(self):
        fixed = size.Size(5, 3072)
        server = self.create_server(
            self._create_flavor(vcpu=5, memory_mb=3072, disk=1))
        books = self.books(server)
        self.assertEqual((*fixed, {}), books)
        rest = size.Size(11, 9216)
        self.assert_used(host1=rest)

        for finish in (self._revert_resize, self._confirm_resize):
            server = self._resize_server(server, self.flavor)
            self.assert_charged(server, base.MINIMUM, 'host2')
            self.assert_used(host1=rest, host2=base.MINIMUM)
            server = finish(server)
            if finish == self._revert_resize:
                self.assert_charged(server, fixed, 'host1')
                self.assert_used(host1=rest, host2=NOTHING)
                self.assertEqual(books, self.books(server))

        self.assert_charged(server, base.MINIMUM, 'host2')
        self.assert_used(host1=self.charge, host2=base.MINIMUM)
        self.assertEqual(self.opened_books(base.MINIMUM), self.books(server))

    def test_room_for_the_new_minimum_is_enough(self):
        self.fill('host2', memory_mb=512)
        self.act('resize', {'flavorRef': self.create_elastic_flavor(
            minimum=size.Size(1, 513))})
        self._assert_resize_migrate_action_fail(
            self.server, 'resize', 'NoValidHost')
        self.assert_settled(host2=size.Size(1, 32256))
        self.server = self._resize_server(
            self.server, self.create_elastic_flavor(
                minimum=size.Size(1, 512)))
        self.assert_charged(self.server, size.Size(1, 512), 'host2')

    def test_on_the_same_host_confirmed(self):
        self.flags(allow_resize_to_same_host=True)
        new = size.Size(4, 1024)
        self.server = self._resize_server(
            self.server, self.create_elastic_flavor(minimum=new))
        self.assert_charged(self.server, new, 'host1')
        self.assert_used(host1=size.Size(10, 7168), host2=NOTHING)
        self.computes['host1'] = self.restart_compute_service(
            self.computes['host1'])
        self.assert_used(host1=size.Size(10, 7168), host2=NOTHING)
        self.server = self._confirm_resize(self.server)
        self.assert_charged(self.server, new, 'host1')
        self.assert_used(host1=new, host2=NOTHING)

    def test_the_next_host_is_tried(self):
        """The first one's claim is undone, the second one's is the same."""
        self.start_host('host3')
        self.useFixture(fixtures.MockPatchObject(
            self.computes['host2'].manager.rt, 'resize_claim',
            side_effect=exception.ComputeResourcesUnavailable(reason='test')))
        new = size.Size(4, 1024)
        self.server = self._resize_server(
            self.server, self.create_elastic_flavor(minimum=new))
        self.assert_charged(self.server, new, 'host3')
        self.assert_used(host1=self.charge, host2=NOTHING, host3=new)
        self.server = self._revert_resize(self.server)
        self.starts_anew()
        self.assert_settled(host3=NOTHING)
        # And a cold migration takes the charge along.
        self.server = self._migrate_server(self.server)
        self.assert_charged(self.server, self.charge, 'host3')
        self.assert_used(
            host1=self.charge, host2=NOTHING, host3=self.charge)

    def test_failure_on_the_source(self):
        self.fail_on('host1', 'migrate_disk_and_power_off')
        self.act('resize', {'flavorRef': self.create_elastic_flavor(
            minimum=size.Size(1, 512))})
        self._wait_for_action_fail_completion(
            self.server, 'resize', 'compute_resize_instance')
        self.assert_settled()
        # What comes next knows nothing of it.
        self.act('os-resetState', {'state': 'active'})
        self.server = self._live_migrate(self.server)
        self.assert_settled('host2')

    def test_a_compute_service_dies(self):
        """The server stays where it is, and the migration as it was."""
        for host, owner, method, status in (
                ('host1', 'driver', 'migrate_disk_and_power_off',
                 'migrating'),
                ('host2', 'compute_rpcapi', 'resize_instance',
                 'pre-migrating')):
            with fixtures.MockPatchObject(
                    getattr(self.computes[host].manager, owner), method,
                    side_effect=killed_base.Killed) as dies:
                self.act('resize', {'flavorRef': self.create_elastic_flavor(
                    minimum=size.Size(1, 512))})
                self._wait_for_assert(dies.mock.assert_called_once)
                self._wait_for_migration_status(self.server, [status])
            self.computes['host1'] = self.restart_compute_service(
                self.computes['host1'])
            self.starts_anew()
            # One pass takes the allocation back, and the next one charges.
            for _ in range(2):
                self.reconcile_all()
            self.assert_settled()

    def test_failure_on_the_destination(self):
        """The server has its old flavor and sizes again."""
        self.fail_on('host2', 'finish_migration')
        self.act('resize', {'flavorRef': self.create_elastic_flavor(
            maximum=size.Size(4, 2048), minimum=size.Size(1, 512))})
        self.server = self._wait_for_state_change(self.server, 'ERROR')
        self._wait_for_action_fail_completion(
            self.server, 'resize', 'compute_finish_resize')
        self._wait_for_assert(lambda: self.assertEqual(
            self.before, self.books(self.server)))
        instance = self.instance(self.server)
        self.assertEqual(self.flavor, instance.flavor.flavorid)
        # Nova leaves the allocation of the new flavor; an operator heals it.
        self.assertEqual({'host2': size.Size(1, 512)},
                         self.allocated(self.server['id']))
        with fixtures.MonkeyPatch('sys.stdout', io.StringIO()):
            self.assertEqual(0, manage.PlacementCommands().heal_allocations(
                force=True, instance_uuid=self.server['id']))
        self.assert_settled('host2')
        self.delete()
        self.assert_used(host1=NOTHING, host2=NOTHING)


class DeleteTestCase(moves_base.GuestsMoveTestCase):
    """Whatever a server was doing, it leaves nothing behind."""

    def renew(self):
        """Delete the server and make another one like it."""
        self.delete()
        self.assert_used(host1=NOTHING, host2=NOTHING)
        self.server = self.create_server(self.flavor, host='host1')
        self.hold(size.Size(6, 4096))

    def test_where_it_is(self):
        self._stop_server(self.server)
        self.starts_anew()
        self.assert_settled()
        self.renew()
        self._suspend_server(self.server)
        self.assert_unchanged()
        self.renew()
        self.act('pause')
        self._wait_for_state_change(self.server, 'PAUSED')
        self.assert_unchanged()
        self.renew()
        self.act('rescue')
        self._wait_for_state_change(self.server, 'RESCUE')
        self.starts_anew()
        self.assert_settled()
        self.act('unrescue')
        self._wait_for_state_change(self.server, 'ACTIVE')
        self.assert_unchanged()
        self.act('rescue')
        self._wait_for_state_change(self.server, 'RESCUE')
        self.renew()

    def test_on_the_move(self):
        self._migrate_server(self.server)
        self._run_periodics()
        self.assert_used(host1=self.charge, host2=BOOT)
        self.renew()
        new = size.Size(1, 512)
        self._resize_server(self.server, self.create_elastic_flavor(
            maximum=size.Size(16, 4096), minimum=new))
        self.assert_used(host1=self.charge, host2=new)
        self.renew()
        self._shelve_server(self.server)
        self._wait_for_server_parameter(
            self.server, {'OS-EXT-SRV-ATTR:host': None})
        self.renew()
        self.flags(shelved_offload_time=-1)
        self._shelve_server(self.server, expected_state='SHELVED')
        self.starts_anew()
        self.assert_settled()
        self.renew()

    def test_host_down(self):
        self.lose('host1')
        self._delete_server(self.server)
        self.bring_back('host1')
        self.assert_nothing_left(self.server['id'])
        self.assert_used(host1=NOTHING, host2=NOTHING)

    def test_deferred(self):
        """It can be restored until it is reclaimed, so it is charged."""
        self.flags(reclaim_instance_interval=3600)
        self.api.delete_server(self.server['id'])
        self._wait_for_state_change(self.server, 'SOFT_DELETED')
        self.starts_anew()
        self.assert_settled()
        self.act('restore')
        self.server = self._wait_for_state_change(self.server, 'ACTIVE')
        self.assert_unchanged()
        self.api.delete_server(self.server['id'])
        self._wait_for_state_change(self.server, 'SOFT_DELETED')
        self.act('forceDelete')
        self._wait_until_deleted(self.server)
        self.assert_nothing_left(self.server['id'])


class PlainHostTestCase(moves_base.MovesTestCase):
    """There is plenty of room on host2, but it cannot run this server."""

    elastic = False

    def create_plain_server(self, host):
        return self.create_server(
            self._create_flavor(disk=1, ephemeral=0), host=host)

    def test_scheduled(self):
        for body in (None, {'host': 'host2'}):
            self.act('migrate', body)
            self._assert_resize_migrate_action_fail(
                self.server, 'migrate', 'NoValidHost')
            self.assert_settled()
        self._live_migrate(self.server, migration_expected_state='error')
        self.assert_settled()

        self._shelve_server(self.server)
        self._wait_for_server_parameter(
            self.server, {'OS-EXT-SRV-ATTR:host': None})
        self.act('unshelve', {'host': 'host2'})
        self._wait_for_instance_action_event(
            self.server, 'unshelve', 'schedule_instances', 'error')
        self.assert_idle()
        self.assert_nothing_left(self.server['id'])
        self.starts_anew()
        self.assertEqual(self.before, self.books(self.server))

    def test_forced(self):
        force = {'host': 'host2', 'block_migration': False, 'force': True}
        self.act('os-migrateLive', force, microversion='2.67')
        self._wait_for_migration_status(self.server, ['error'])
        self.assert_settled()
        # A server that is not elastic may go there.
        plain = self.create_plain_server('host1')
        with utils.temporary_mutation(self.api, microversion='2.67'):
            self.api.post_server_action(
                plain['id'], {'os-migrateLive': force})
        self._wait_for_migration_status(plain, ['completed'])

    def test_evacuated(self):
        self.lose('host1')
        self._evacuate_server(
            self.server, expected_host='host1', expected_state='ERROR',
            expected_migration_status='error')
        self.bring_back('host1')
        self.assert_settled()

    def test_evacuated_by_force(self):
        self.lose('host1')
        self.act('evacuate', {'host': 'host2', 'force': True},
                 microversion='2.67')
        self._wait_for_migration_status(self.server, ['error'])
        self.bring_back('host1')
        self.assert_settled()

    def test_resize(self):
        """From there to an elastic flavor, only away from there."""
        plain = self.create_plain_server('host2')
        self.flags(allow_resize_to_same_host=True)
        plain = self._resize_server(plain, self.flavor)
        self.assert_charged(plain, base.MINIMUM, 'host1')
        self._delete_server(plain)
        self.assert_used(host1=self.charge, host2=NOTHING)
        # And an operator who names it gets no server there.
        server = self.create_server(
            self.flavor, host='host2', expected_state='ERROR')
        self.assertIn('No valid host', server['fault']['message'])
        server = self.create_server(
            self.flavor, az='nova:host2', expected_state='ERROR')
        self.assert_nothing_left(server['id'])
        self.assert_used(host1=self.charge, host2=NOTHING)


class UnpatchedHostTestCase(moves_base.GuestsMoveTestCase):
    """host2 runs Nova without the series, as in a rolling upgrade.

    A resize to a flavor that is not elastic goes there, and nothing there
    keeps the books.
    """

    elastic = False

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MockPatchObject(
            self.computes['host2'].manager, '_set_instance_info',
            self.set_flavor))
        self.server = self._resize_server(self.server, self._create_flavor(
            vcpu=2, memory_mb=1024, disk=1))
        self.plain = size.Size(2, 1024)
        self.assert_charged(self.server, self.plain, 'host2')
        self.assert_used(host1=self.charge, host2=self.plain)

    @staticmethod
    def set_flavor(instance, flavor):
        instance.instance_type_id = flavor.id
        instance.flavor = flavor
        for name in ('vcpus', 'memory_mb', 'root_gb', 'ephemeral_gb'):
            setattr(instance, name, getattr(flavor, name))

    def test_revert(self):
        self.server = self._revert_resize(self.server)
        self.starts_anew()
        self.assert_settled()

    def test_confirm(self):
        self.server = self._confirm_resize(self.server)
        self.assert_charged(self.server, self.plain, 'host2')
        self.assert_used(host1=NOTHING, host2=self.plain)
        self.assertEqual((*self.plain, {}), self.books(self.server))


class StockNovaInBetweenTestCase(moves_base.GuestsMoveTestCase):
    """Somebody goes back to stock Nova without 'nova-manage xloud leave'."""

    def resize_in_stock_nova(self, maximum, minimum):
        admin = context.get_admin_context()
        flavor = objects.Flavor.get_by_flavor_id(
            admin, self.create_elastic_flavor(maximum, minimum))
        instance = self.instance(self.server)
        UnpatchedHostTestCase.set_flavor(instance, flavor)
        instance.save()
        url = '/allocations/%s' % instance.uuid
        body = self.placement.get(url, version='1.28').body
        (allocation,) = body['allocations'].values()
        allocation['resources'].update(
            VCPU=maximum.vcpus, MEMORY_MB=maximum.memory_mb)
        self.assertEqual(
            204, self.placement.put(url, body, version='1.28').status)
        guest = self.guests[instance.uuid]
        guest.maximum = maximum
        guest.start(maximum)

    def test_resize(self):
        for maximum, minimum in (
                (size.Size(2, 4096), size.Size(1, 1024)),
                (size.Size(12, 16384), size.Size(8, 8192))):
            self.resize_in_stock_nova(maximum, minimum)
            self._run_periodics()
            self.assert_charged(self.server, maximum, 'host1')
            self.server = self._reboot_server(self.server, hard=True)
            self._run_periodics()
            self.assertEqual(
                maximum, self.guests[self.server['id']].held)
            self.assertEqual(
                self.opened_books(maximum), self.books(self.server))
