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

import copy
from unittest import mock

import fixtures
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import resource_tracker
from nova import exception
from nova import objects
from nova import test
from nova.xloud import size

NODE = 'node-1'


class RecountTestCase(test.NoDBTestCase):
    """What a server is charged, in its row and in the resource tracker."""

    def setUp(self):
        super().setUp()
        self.driver = mock.Mock()
        self.tracker = resource_tracker.ResourceTracker(
            'host-1', self.driver, reportclient=mock.Mock())
        self.node = objects.ComputeNode(
            uuid=uuids.node, hypervisor_hostname=NODE, vcpus=16,
            memory_mb=16384, local_gb=1000, vcpus_used=4, memory_mb_used=4096,
            local_gb_used=500, free_ram_mb=12288, free_disk_gb=500,
            numa_topology=None)
        self.tracker.compute_nodes[NODE] = self.node
        self.tracker.tracked_instances.add(uuids.server)
        self.instance = objects.Instance(
            uuid=uuids.server, node=NODE, vcpus=6, memory_mb=2048)
        self.save = self.useFixture(fixtures.MockPatchObject(
            objects.Instance, 'save')).mock
        self.save_node = self.useFixture(fixtures.MockPatchObject(
            objects.ComputeNode, 'save')).mock

    def recount(self, charged):
        self.tracker.xloud_recount(
            self.instance, charged, expected_task_state=['a-task'])

    def used(self):
        return (self.node.vcpus_used, self.node.memory_mb_used,
                self.node.local_gb_used, self.node.free_ram_mb)

    def test_both_change(self):
        self.recount(size.Size(4, 4096))
        self.save.assert_called_once_with(expected_task_state=['a-task'])
        self.assertEqual((6, 2048, 500, 14336), self.used())
        self.save_node.assert_called_once_with()

    def test_same_charge(self):
        self.recount(size.Size(6, 2048))
        self.save.assert_called_once_with(expected_task_state=['a-task'])
        self.assertEqual((4, 4096, 500, 12288), self.used())
        self.save_node.assert_not_called()

    def test_somebody_else_has_it(self):
        self.save.side_effect = exception.UnexpectedTaskStateError(
            instance_uuid=uuids.server, expected={}, actual={})
        self.assertRaises(exception.UnexpectedTaskStateError,
                          self.recount, size.Size(4, 4096))
        self.assertEqual((4, 4096, 500, 12288), self.used())

    def test_a_server_that_is_not_counted_here(self):
        self.tracker.tracked_instances.clear()
        self.recount(size.Size(4, 4096))
        self.save.assert_called_once_with(expected_task_state=['a-task'])
        self.assertEqual((4, 4096, 500, 12288), self.used())

    def test_a_server_that_came_here(self):
        """Until the next audit its migration is what is counted."""
        self.tracker.tracked_instances.clear()
        self.tracker.tracked_migrations[uuids.server] = mock.Mock()
        self.recount(size.Size(4, 4096))
        self.assertEqual((6, 2048, 500, 14336), self.used())

    def test_the_audit_saves_what_is_as_before(self):
        """The charge fell again, and that was not counted.

        The answer to its save was lost.
        """
        self.assertTrue(self.tracker._resource_change(self.node))
        before = copy.deepcopy(self.node)
        self.recount(size.Size(4, 4096))
        self.assertTrue(self.tracker._resource_change(before))

    def test_a_node_that_is_not_available(self):
        self.driver.node_is_available.return_value = False
        self.recount(size.Size(4, 4096))
        self.assertEqual((4, 4096, 500, 12288), self.used())

    def test_a_hypervisor_that_does_not_answer(self):
        """The row says it, and the audit counts it later."""
        self.driver.node_is_available.side_effect = (
            exception.HypervisorUnavailable(host='host-1'))
        self.recount(size.Size(4, 4096))
        self.save.assert_called_once_with(expected_task_state=['a-task'])
        self.assertEqual((4, 4096, 500, 12288), self.used())
