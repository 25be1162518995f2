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

from nova import context
from nova import exception
from nova import objects
from nova.policies import base as base_policies
from nova.policies import servers as servers_policies
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import scripted
from nova.xloud import size

NOTHING = size.Size(0, 0)
NEW = size.Size(4, 1024)
BOOT = base.BOOT


class CrossCellTestCase(scripted.ReconciledTestCase):
    """Moves from one cell to another, where the server gets another row."""

    NUMBER_OF_CELLS = 2

    def setUp(self):
        super().setUp()
        self.policy.set_rules(
            {servers_policies.CROSS_CELL_RESIZE: base_policies.RULE_ADMIN_API},
            overwrite=False)
        self.flags(rpc_response_timeout=10, long_rpc_timeout=60,
                   reserved_host_memory_mb=0)
        self.start_host('host1', cell_name='cell1')
        self.start_host('host2', cell_name='cell2')
        self.flavor = self.create_elastic_flavor()
        self.server = self.create_server(self.flavor)
        self.hold(size.Size(6, 4096))

    def resize(self, minimum=NEW):
        """Resize to a flavor that may be fixed: minimum is None then."""
        maximum = size.Size(12, 12288)
        self.server = self._resize_server(
            self.server, self.create_elastic_flavor(
                maximum, minimum or (None, None)))
        self.assert_resized(minimum or maximum)

    def assert_resized(self, charge):
        self.assert_charged(self.server, charge, 'host2')
        self.assert_used(host1=self.charge, host2=charge)
        # The row that was left behind knows what it was.
        self.assertEqual(
            (*self.charge, self.before[2]), self.get_row('cell1'))

    def get_row(self, cell):
        """What a cell has of the server."""
        with context.target_cell(
                context.get_admin_context(),
                self.cell_mappings[cell]) as cell_context:
            instance = objects.Instance.get_by_uuid(
                cell_context, self.server['id'],
                expected_attrs=['system_metadata'])
        return instance.vcpus, instance.memory_mb, self.recorded(instance)

    def confirm(self, charge):
        self.server = self._confirm_resize(self.server, cross_cell=True)
        self.assert_charged(self.server, charge, 'host2')
        self.assert_used(host1=NOTHING, host2=charge)
        self.assertRaises(
            exception.InstanceNotFound, self.get_row, 'cell1')

    def revert(self):
        self.server = self._revert_resize(self.server)
        self.starts_anew()
        # An earlier revert is 'reverted' already.
        self._wait_for_server_parameter(
            self.server, {'OS-EXT-STS:task_state': None})
        self._run_periodics()
        self.assert_unchanged()
        self.assertRaises(
            exception.InstanceNotFound, self.get_row, 'cell2')

    def assert_unchanged(self):
        self.assert_charged(self.server, self.charge, 'host1')
        self.assert_used(host1=self.charge, host2=NOTHING)
        self.assertEqual(self.before, self.books(self.server))

    def delete(self):
        self._delete_server(self.server)
        self.assert_nothing_left(self.server['id'])
        self.assert_used(host1=NOTHING, host2=NOTHING)

    def test_resize_and_confirm(self):
        self.resize()
        self.confirm(NEW)
        self.assertEqual(self.opened_books(NEW), self.books(self.server))
        # From there back to the first flavor, which is a new one now.
        self.server = self._resize_server(self.server, self.flavor)
        self.assert_charged(self.server, base.MINIMUM, 'host1')
        self.assert_used(host1=base.MINIMUM, host2=NEW)
        self.delete()

    def test_resize_and_revert(self):
        """As often as one likes, and a move in between the same."""
        self.resize()
        self.revert()
        self.resize()
        self.revert()
        self.delete()

    def test_resize_to_a_fixed_flavor(self):
        self.resize(minimum=None)
        self.revert()
        self.resize(minimum=None)
        self.confirm(size.Size(12, 12288))
        self.assertEqual((12, 12288, {}), self.books(self.server))

    def test_restart_while_resized(self):
        self.resize()
        for host in ('host1', 'host2'):
            self.computes[host] = self.restart_compute_service(
                self.computes[host])
        self.assert_resized(NEW)
        self.revert()

    def test_delete_while_resized(self):
        self.resize()
        self.delete()

    def migrate(self):
        self.server = self._migrate_server(self.server, host='host2')
        self._run_periodics()
        self.assert_resized(BOOT)

    def test_cold_migration(self):
        self.migrate()
        self.revert()
        self.migrate()
        self.confirm(BOOT)
        self.assertEqual(self.before, self.books(self.server))

    def test_cold_migration_and_another_charge(self):
        """The source keeps what it was charged until the server is back."""
        for desired in (BOOT, base.MAXIMUM):
            self.migrate()
            charge = self.change_sizes(self.server, desired, BOOT)
            self.assert_resized(charge)
            self.revert()
            self.hold(size.Size(6, 4096))
        self.migrate()
        boot = size.Size(5, 3072)
        self.change_sizes(self.server, boot)
        self.assert_resized(boot)
        self.confirm(boot)
        self.assertEqual(self.opened_books(boot), self.books(self.server))

    def test_failure_on_the_destination_is_undone(self):
        self.useFixture(fixtures.MockPatchObject(
            self.computes['host2'].manager.driver, 'spawn',
            side_effect=exception.NovaException('by the test')))
        self.api.post_server_action(
            self.server['id'], {'resize': {
                'flavorRef': self.create_elastic_flavor(minimum=NEW)}})
        self._wait_for_server_parameter(
            self.server,
            {'status': 'ERROR', 'OS-EXT-STS:task_state': None})
        self.notifier.wait_for_versioned_notifications(
            'compute_task.migrate_server.error')
        self.assertRaises(
            exception.InstanceNotFound, self.get_row, 'cell2')
        # The guest was destroyed on the source, a reboot brings it back.
        self.server = self._reboot_server(self.server, hard=True)
        self.starts_anew()
        # The tracker of the destination sees the end at its next audit.
        self._run_periodics()
        self.assert_unchanged()
        self.delete()

    def test_no_room_for_the_charge(self):
        self._create_server(
            flavor_id=self._create_flavor(
                vcpu=1, memory_mb=26625, disk=1),
            networks='none', host='host2')
        self.api.post_server_action(
            self.server['id'], {'migrate': {'host': 'host2'}})
        self._assert_resize_migrate_action_fail(
            self.server, 'migrate', 'NoValidHost')
        self.assert_charged(self.server, self.charge, 'host1')
        self.assertEqual(self.before, self.books(self.server))
