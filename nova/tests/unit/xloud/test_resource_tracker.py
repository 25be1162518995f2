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

from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import resource_tracker
from nova.compute import stats
from nova import objects
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import size

CHARGE = size.Size(5, 8192)


def complete(flavor):
    flavor.update({'flavorid': str(flavor.id), 'root_gb': 1,
                   'ephemeral_gb': 0, 'swap': 0})
    return flavor


class ResourceTrackerTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.rt = resource_tracker.ResourceTracker(
            'host', mock.Mock(), reportclient=mock.Mock())
        self.node = objects.ComputeNode(
            memory_mb=65536, memory_mb_used=0, vcpus=32, vcpus_used=0,
            local_gb=100, local_gb_used=0, numa_topology=None)
        self.rt.compute_nodes['node'] = self.node
        self.rt.stats['node'] = stats.Stats()
        self.rt.is_bfv[uuids.instance] = True
        self.rt._update = mock.Mock()

        self.flavor = complete(fakes.flavor(cpu=2, memory=4096))
        self.instance = fakes.instance(
            self.flavor, uuid=uuids.instance, numa_topology=None,
            host='host', vm_state='active', instance_type_id=1,
            migration_context=None, pci_requests=None, resources=None)
        size.record(self.instance, CHARGE, size.Size(2, 4096))

    def _usage(self, subject):
        usage = self.rt._get_usage_dict(subject, self.instance)
        return usage['vcpus'], usage['memory_mb']

    def assertTracked(self, *charges):
        self.assertEqual(
            (sum(charge[0] for charge in charges),
             sum(charge[1] for charge in charges)),
            (self.node.vcpus_used, self.node.memory_mb_used))
        self.assertEqual(self.node.memory_mb - self.node.memory_mb_used,
                         self.node.free_ram_mb)

    def _resize(self, new):
        size.change_flavor(self.instance, new)
        self.instance.vcpus, self.instance.memory_mb = size.minimum(new)
        self.instance.instance_type_id = new.id
        self.instance.old_flavor = self.instance.flavor
        self.instance.flavor = self.instance.new_flavor = new

    def _track_migration(self, source, dest, new):
        migration = objects.Migration(
            uuid=uuids.migration, instance_uuid=uuids.instance,
            source_compute=source, source_node='node', dest_compute=dest,
            dest_node='node', old_instance_type_id=1,
            new_instance_type_id=new.id,
            migration_type='resize' if new.id != 1 else 'migration')
        self.rt._update_usage_from_migration(
            mock.Mock(), self.instance, migration, 'node')

    def test_server_counts_with_its_charge(self):
        self.assertEqual(CHARGE, self._usage(self.instance))
        self.assertEqual(CHARGE, self._usage(self.flavor))

    def test_other_flavors_count_with_their_minimum(self):
        new = complete(fakes.flavor(2, cpu=3))
        self.assertEqual((3, 16384), self._usage(new))
        self._resize(new)
        self.assertEqual((3, 16384), self._usage(self.instance))
        self.assertEqual((3, 16384), self._usage(new))
        self.assertEqual(CHARGE, self._usage(self.flavor))

    def test_not_elastic_counts_with_its_flavor(self):
        flavor = complete(fakes.flavor())
        self.instance = fakes.instance(
            flavor, uuid=uuids.instance, numa_topology=None)
        self.instance.vcpus = 3
        self.assertEqual(fakes.MAXIMUM, self._usage(self.instance))
        self.assertEqual(fakes.MAXIMUM, self._usage(flavor))
        self.assertEqual({'vcpus': 1}, self.rt._get_usage_dict(
            {'vcpus': 1}, self.instance))

    def test_resize_comes_and_is_given_up(self):
        new = self.instance.new_flavor = complete(
            fakes.flavor(2, cpu=3))
        self._track_migration('other', 'host', new)
        self.assertTracked((3, 16384))
        self.rt.drop_move_claim(mock.Mock(), self.instance, 'node')
        self.assertTracked((0, 0))

    def test_resize_goes_and_is_confirmed(self):
        new = complete(fakes.flavor(2, cpu=3))
        self._resize(new)
        self._track_migration('host', 'other', new)
        self.assertTracked(CHARGE)
        self.rt._drop_move_claim(mock.Mock(), self.instance, 'node',
                                 self.instance.old_flavor, prefix='old_')
        self.assertTracked((0, 0))

    def test_resize_on_the_same_host(self):
        new = complete(fakes.flavor(2, cpu=3))
        self._resize(new)
        self.rt._update_usage(
            self.rt._get_usage_dict(self.instance, self.instance), 'node')
        self._track_migration('host', 'host', new)
        self.assertTracked((3, 16384), CHARGE)

    def test_cold_migration(self):
        self.instance.new_flavor = self.instance.old_flavor = self.flavor
        self._track_migration('other', 'host', self.flavor)
        self.assertTracked(CHARGE)
        self.rt._drop_move_claim(mock.Mock(), self.instance, 'node',
                                 self.instance.new_flavor)
        self.assertTracked((0, 0))

    def _migrate(self, host):
        """To a host, where it is charged less then."""
        self.instance.new_flavor = self.instance.old_flavor = self.flavor
        self.instance.host, self.instance.vm_state = host, 'resized'
        size.keep_for_revert(self.instance)
        boot = size.boot(self.instance)
        size.record(self.instance, boot, boot)
        size.settle(self.instance, boot)

    def test_cold_migration_goes_and_is_confirmed(self):
        """The source keeps what a revert gives back."""
        self._migrate('other')
        self._track_migration('host', 'other', self.flavor)
        self.assertTracked(CHARGE)
        self.rt._drop_move_claim(mock.Mock(), self.instance, 'node',
                                 self.instance.old_flavor, prefix='old_')
        self.assertTracked((0, 0))

    def test_cold_migration_comes_and_is_reverted(self):
        self._migrate('host')
        self.rt._update_usage(
            self.rt._get_usage_dict(self.instance, self.instance), 'node')
        self.assertTracked((2, 4096))
        self.rt._drop_move_claim(mock.Mock(), self.instance, 'node',
                                 self.instance.new_flavor)
        self.assertTracked((0, 0))
