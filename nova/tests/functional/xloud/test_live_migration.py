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

"""Live migrations of servers whose guests are still on their way."""

import threading
from unittest import mock

import ddt
import fixtures

from nova import exception
from nova import objects
from nova.scheduler.client import report
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import capacity_base
from nova.tests.functional.xloud import scripted
from nova import utils
from nova.xloud import guest as elastic_guest
from nova.xloud import ledger
from nova.xloud import size

GROWN = adjust_base.GROWN
HALFWAY = size.Size(6, 4096)
NOTHING = size.Size(0, 0)


@ddt.ddt
class MovingBalloonTestCase(adjust_base.AdjustTestCase):
    """A guest on its way from GROWN to the minimum, live on its way, too."""

    def setUp(self):
        super().setUp()
        self.host2 = self.start_host('host2')
        self.adjust(*GROWN)
        self.guest.behaviour = scripted.LATE
        self.adjust(*base.MINIMUM)
        self.assert_books(base.MINIMUM, base.MINIMUM, held=GROWN)

    def move_on(self, held):
        """The guest gave some of it back, and its host hears that."""
        self.guest.held = held
        self.host(self.guest.host).manager.handle_events(
            elastic_guest.GuestChangedEvent(self.server['id']))

    def host(self, name):
        return self.computes[name]

    def end(self, name, how, held):
        """Let live migrations from a host end so, the guest moves on before.

        :param how: as the driver says it to the compute manager
        """
        def live_migration(context, instance, dest, post_method,
                           recover_method, block_migration=False,
                           migrate_data=None):
            self.move_on(held)
            if how == 'completed':
                post_method(context, instance, dest, block_migration,
                            migrate_data)
            else:
                recover_method(context, instance, dest, migrate_data,
                               migration_status=how)

        self.useFixture(fixtures.MockPatchObject(
            self.host(name).manager.driver, 'live_migration',
            live_migration))

    def settle(self):
        for compute in self.computes.values():
            with self.cell() as cell:
                compute.manager._elastic.reconcile(cell)

    def assert_settled(self, host, held):
        """One pass of each host is enough."""
        self.settle()
        self.assert_books(base.MINIMUM, base.MINIMUM, held=held, host=host)
        other = {'host1': 'host2', 'host2': 'host1'}[host]
        self.assert_used(**{host: held, other: NOTHING})

    def test_aborted(self):
        for how, held in (('cancelled', HALFWAY), ('failed', HALFWAY),
                          ('error', base.MINIMUM)):
            self.end('host1', how, held)
            self._live_migrate(self.server, how)
            self._wait_for_assert(self.assert_idle)
            self._run_periodics()
            self.assert_settled('host1', held)

    def test_completed(self):
        self.end('host1', 'completed', HALFWAY)
        self._live_migrate(self.server)
        self._run_periodics()
        self.assert_settled('host2', HALFWAY)
        self.guest.held = base.MINIMUM
        self.assert_settled('host2', base.MINIMUM)

    def test_last_notification(self):
        """The host that it has left reports what was charged on arrival."""
        self.end('host1', 'completed', HALFWAY)
        self._live_migrate(self.server)
        self.assertEqual(HALFWAY, size.charged(self.instance(self.server)))
        self.assertEqual(
            [HALFWAY],
            [size.Size(message.payload['vcpus'], message.payload['memory_mb'])
             for message in self.notifier.notifications
             if message.event_type ==
             'compute.instance.live_migration._post.end'])

    def test_last_notification_without_database(self):
        """It is sent all the same, and the migration ends."""
        self.end('host1', 'completed', HALFWAY)
        real = objects.Instance.get_by_uuid

        def get_by_uuid(context, uuid, expected_attrs=None, **kwargs):
            if expected_attrs == []:
                raise exception.InternalError('no database')
            return real(context, uuid, expected_attrs, **kwargs)

        with mock.patch.object(objects.Instance, 'get_by_uuid', get_by_uuid):
            self._live_migrate(self.server)
        self.assertIn('what was charged when the move began: no database',
                      self.stdlog.logger.output)
        self._run_periodics()
        self.assert_settled('host2', HALFWAY)

    def test_it_takes_longer_than_the_guest_has(self):
        self.end('host1', 'completed', HALFWAY)
        self.wait()
        self._live_migrate(self.server)
        self._wait_for_assert(lambda: self.assertEqual(
            'InProgress', self.status()['condition']))
        self._run_periodics()
        self.assert_settled('host2', HALFWAY)

    def test_before_the_audit(self):
        """Reconcile finds what a live migration brought, as no claim does."""
        self.end('host1', 'completed', HALFWAY)
        self._live_migrate(self.server)
        self._wait_for_assert(self.assert_idle)
        self.guest.held = base.MINIMUM
        self.settle()
        self.assertEqual(
            base.MINIMUM, size.charged(self.instance(self.server)))
        self.assertEqual(base.MINIMUM, self.used('host2'))

    def release_between_read_and_write(self, start):
        """A move begins while the charge falls, and reads what was before.

        :param start: begins it
        """
        is_read, is_released = threading.Event(), threading.Event()
        release = ledger.Ledger.release
        post = report.SchedulerReportClient.post

        def release_late(*args, **kwargs):
            start()
            self.assertTrue(is_read.wait(30))
            result = release(*args, **kwargs)
            is_released.set()
            return result

        def post_late(*args, **kwargs):
            is_read.set()
            self.assertTrue(is_released.wait(30))
            return post(*args, **kwargs)

        with mock.patch.object(ledger.Ledger, 'release', release_late), (
                mock.patch.object(
                    report.SchedulerReportClient, 'post', post_late)):
            self.move_on(HALFWAY)
            self.assertTrue(is_released.is_set())
            self._wait_for_migration_status(
                self.server, ['completed', 'cancelled', 'finished', 'error'])

    @ddt.data(('cancelled', 'host1'), ('completed', 'host2'))
    @ddt.unpack
    def test_charge_falls_when_the_move_begins(self, how, host):
        self.end('host1', how, HALFWAY)
        self.release_between_read_and_write(
            lambda: self.admin_api.post_server_action(
                self.server['id'], {'os-migrateLive': {
                    'host': None, 'block_migration': 'auto'}}))
        self._wait_for_migration_status(self.server, [how])
        self._wait_for_assert(self.assert_idle)
        self._run_periodics()
        self.assert_settled(host, HALFWAY)

    def test_charge_falls_when_a_cold_migration_begins(self):
        self.release_between_read_and_write(
            lambda: self.admin_api.post_server_action(
                self.server['id'], {'migrate': None}))
        self.server = self._wait_for_state_change(
            self.server, 'VERIFY_RESIZE')
        self.settle()
        self.assertEqual(HALFWAY, self.used('host1'))
        self.assertEqual(base.MINIMUM, self.used('host2'))
        self.assertEqual(base.MINIMUM, self.tracked('host2'))

    def test_plain_server(self):
        """It fails as upstream's do: nobody of ours wrote its allocation."""
        plain = self.create_server(self._create_flavor(vcpu=1, disk=1))
        calls = []

        def fail(self, context, source, target):
            calls.append(source)
            raise exception.AllocationMoveFailed(
                source_consumer=source, target_consumer=target, error='')

        with mock.patch.object(
                report.SchedulerReportClient, 'move_allocations', fail):
            for server, number in ((plain, 1), (self.server, 5)):
                self.admin_api.post_server_action(
                    server['id'], {'os-migrateLive': {
                        'host': None, 'block_migration': 'auto'}})
                self._wait_for_migration_status(server, ['error'])
                self.assertEqual(number, calls.count(server['id']))


class OvercommittedTestCase(capacity_base.CapacityBase):
    """A move asks for what the guest holds, not for what fitted in before."""

    def setUp(self):
        super().setUp()
        self.fill(28672)
        self.wait()
        self.guest.behaviour = scripted.LOST
        self.guest.held = base.MAXIMUM
        self.reconcile()
        self.charge = size.Size(8, 3584)
        self.assert_charged(self.server, self.charge, 'host1')
        self.start_host('host2')

    def fill_other(self, left_mb):
        memory_mb = base.ElasticFakeDriver.memory_mb - 512 - left_mb
        return self.create_server(self.create_elastic_flavor(
            maximum=size.Size(1, memory_mb),
            minimum=size.Size(1, memory_mb)), host='host2')

    def reconcile_on(self, host):
        with self.cell() as cell:
            self.computes[host].manager._elastic.reconcile(cell)

    def migrate_live(self, how, **body):
        with utils.temporary_mutation(self.admin_api, microversion='2.67'):
            self.admin_api.post_server_action(
                self.server['id'], {'os-migrateLive': dict(
                    {'host': None, 'block_migration': 'auto'}, **body)})
        self._wait_for_migration_status(self.server, [how])
        self._wait_for_assert(self.assert_idle)
        self._run_periodics()

    def test_live(self):
        filler = self.fill_other(left_mb=8191)
        for body in ({}, {'host': 'host2', 'force': True}):
            self.migrate_live('error', **body)
            self.assert_charged(self.server, self.charge, 'host1')
        self._delete_server(filler)
        self.fill_other(left_mb=8192)
        self.migrate_live('completed')
        self.assertEqual({'host2': base.MAXIMUM},
                         self.allocated(self.server['id']))
        self.reconcile_on('host2')
        self.assert_charged(self.server, base.MAXIMUM, 'host2')

    def test_forced(self):
        self.fill_other(left_mb=8192)
        self.migrate_live('completed', host='host2', force=True)
        self.assertEqual({'host2': base.MAXIMUM},
                         self.allocated(self.server['id']))

    def test_cold(self):
        filler = self.fill_other(left_mb=8191)
        self.admin_api.post_server_action(
            self.server['id'], {'migrate': None})
        self._wait_for_migration_status(self.server, ['error'])
        self._wait_for_assert(self.assert_idle)
        self.assert_charged(self.server, self.charge, 'host1')
        self._delete_server(filler)
        self.admin_api.post_server_action(
            self.server['id'], {'migrate': None})
        self.server = self._wait_for_state_change(
            self.server, 'VERIFY_RESIZE')
        self.assertEqual({'host2': base.MAXIMUM},
                         self.allocated(self.server['id']))
        # It starts with its boot size.
        self.reconcile_on('host2')
        self.assertEqual({'host2': base.MINIMUM},
                         self.allocated(self.server['id']))
