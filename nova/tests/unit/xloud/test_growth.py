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

import ddt
from oslo_utils.fixture import uuidsentinel as uuids

from nova import exception
from nova import objects
from nova.scheduler.filters import xloud_growth_filter
from nova.scheduler import host_manager
from nova import test
from nova.tests.unit.scheduler import fakes as scheduler_fakes
from nova.tests.unit.xloud import fakes
from nova.xloud import growth
from nova.xloud import room
from nova.xloud import size

# What Placement is asked for
MINIMUM = {'VCPU': 2, 'MEMORY_MB': 1024}


@ddt.ddt
class GrowthFilterTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.filter = xloud_growth_filter.XloudGrowthFilter()
        self.flags(room_for_growth=20, group='xloud')
        self.get = self.patch(
            'nova.objects.InstanceMapping.get_by_instance_uuid')
        self.get.return_value = objects.InstanceMapping(cell_mapping=None)

    def patch(self, name):
        patcher = mock.patch(name)
        self.addCleanup(patcher.stop)
        return patcher.start()

    def host(self, aggregates=()):
        """A host as the scheduler knows it. What it has used is ignored."""
        host = scheduler_fakes.FakeHostState('host1', 'node1', {
            'uuid': uuids.host, 'vcpus_used': 99, 'free_ram_mb': 0,
            'aggregates': [objects.Aggregate(metadata=metadata)
                           for metadata in aggregates]})
        host.allocation_candidates = []
        return host

    def spec(self):
        """A new server, which is charged its minimum."""
        return objects.RequestSpec(
            instance_uuid=uuids.server, flavor=fakes.flavor(
                maximum=size.Size(8, 8192), cpu=2, memory=1024))

    def ask(self, spec, host, inventories, *asked):
        """Ask Placement, which answers with the candidates of a host.

        :param inventories: by resource class, the capacity and what is used
        :param asked: the resources of each candidate
        """
        growth.know(spec, {host.uuid: {'resources': {
            name: {'capacity': capacity, 'used': used}
            for name, (capacity, used) in inventories.items()}}})
        host.allocation_candidates = [
            {'allocations': {host.uuid: {'resources': resources}}}
            for resources in asked]

    def passes(self, used=0, used_mb=0, capacity=10, capacity_mb=10240,
               spec=None):
        host, spec = self.host(), spec or self.spec()
        self.ask(spec, host, {'VCPU': (capacity, used),
                              'MEMORY_MB': (capacity_mb, used_mb)}, MINIMUM)
        return self.filter.host_passes(host, spec)

    def test_a_new_server(self):
        self.assertTrue(self.passes(6, 7168))
        self.assertFalse(self.passes(7, 0))
        self.assertFalse(self.passes(0, 7169))
        # With allocation ratios
        self.assertTrue(self.passes(30, 0, capacity=40))
        self.assertFalse(self.passes(31, 0, capacity=40))
        self.assertFalse(self.passes(0, 3073, capacity_mb=5120))

    def test_a_move(self):
        self.get.return_value.cell_mapping = objects.CellMapping()
        spec = self.spec()
        self.assertTrue(self.passes(7, 0, spec=spec))
        self.assertTrue(self.passes(0, 9000, spec=spec))
        self.get.assert_called_once_with(mock.ANY, uuids.server)

    def test_a_move_keeps_its_candidates(self):
        self.get.return_value.cell_mapping = objects.CellMapping()
        host, spec = self.host(), self.spec()
        self.ask(spec, host, {'VCPU': (10, 10), 'PCPU': (10, 0)},
                 {'VCPU': 2}, {'PCPU': 2})
        self.assertTrue(self.filter.host_passes(host, spec))
        self.assertEqual(2, len(host.allocation_candidates))

    @ddt.data(
        # A pinned server needs none of what others grow into.
        ({'VCPU': (8, 0), 'PCPU': (32, 30), 'MEMORY_MB': (10240, 0)},
         {'PCPU': 16, 'MEMORY_MB': 1024}, True),
        ({'VCPU': (8, 8), 'PCPU': (32, 0), 'MEMORY_MB': (10240, 0)},
         {'PCPU': 16, 'MEMORY_MB': 1024}, True),
        ({'VCPU': (8, 0), 'PCPU': (32, 0), 'MEMORY_MB': (10240, 9000)},
         {'PCPU': 16, 'MEMORY_MB': 1024}, False),
        # A mixed one needs some of it.
        ({'VCPU': (8, 4), 'PCPU': (32, 0)}, {'VCPU': 2, 'PCPU': 2}, True),
        ({'VCPU': (8, 5), 'PCPU': (32, 0)}, {'VCPU': 2, 'PCPU': 2}, False),
        # Only pinned servers run here.
        ({'PCPU': (32, 0), 'MEMORY_MB': (10240, 0)},
         {'PCPU': 16, 'MEMORY_MB': 1024}, True),
        # A bare-metal node
        ({'CUSTOM_GOLD': (1, 0)}, {'CUSTOM_GOLD': 1}, True))
    @ddt.unpack
    def test_other_resources(self, inventories, asked, expected):
        host, spec = self.host(), self.spec()
        self.ask(spec, host, inventories, asked)
        self.assertEqual(expected, self.filter.host_passes(host, spec))

    def test_one_candidate_of_two(self):
        """A pinned server can use a host of either kind."""
        host, spec = self.host(), self.spec()
        self.ask(spec, host, {'VCPU': (8, 8), 'PCPU': (8, 0)},
                 {'VCPU': 2}, {'PCPU': 2})
        self.assertTrue(self.filter.host_passes(host, spec))
        self.assertEqual(
            [{'PCPU': 2}],
            [candidate['allocations'][host.uuid]['resources']
             for candidate in host.allocation_candidates])

    def test_a_server_that_is_gone(self):
        self.get.side_effect = exception.InstanceMappingNotFound(
            uuid=uuids.server)
        self.assertFalse(self.passes(7, 0))

    def test_inert(self):
        self.flags(room_for_growth=0, group='xloud')
        self.assertTrue(self.filter.host_passes(
            mock.Mock(spec=['aggregates'], aggregates=[]), None))
        self.get.assert_not_called()

    @ddt.data(
        (20, [], 20), (20, [{}], 20),
        (20, [{'xloud_room_for_growth': '0'}], 0),
        (0, [{'xloud_room_for_growth': '30'}], 30),
        (5, [{'xloud_room_for_growth': '10'},
             {'xloud_room_for_growth': '30'}], 30),
        (20, [{'xloud_room_for_growth': 'much'}], 20),
        (20, [{'xloud_room_for_growth': '101'},
              {'xloud_room_for_growth': '10'}], 10))
    @ddt.unpack
    def test_percent(self, option, aggregates, expected):
        self.flags(room_for_growth=option, group='xloud')
        self.assertEqual(
            expected, growth._percent(self.host(aggregates=aggregates)))

    @ddt.data(
        ({'VCPU': (10, 0), 'MEMORY_MB': (10240, 0)}, MINIMUM, 4),
        ({'VCPU': (10, 2), 'MEMORY_MB': (10240, 0)}, MINIMUM, 3),
        ({'VCPU': (10, 0), 'MEMORY_MB': (5120, 0)},
         {'PCPU': 2, 'MEMORY_MB': 1024}, 4))
    @ddt.unpack
    def test_several_at_once(self, inventories, asked, expected):
        """Each counts for the next one of the same request."""
        host = host_manager.HostState('host1', 'node1', 'cell1')
        host.uuid, host.num_instances = uuids.host, 7
        created, spec = 0, self.spec()
        self.ask(spec, host, inventories, asked)
        while self.filter.host_passes(host, spec):
            host.num_instances += 1
            created += 1
        self.assertEqual(expected, created)

    def test_all_or_nothing(self):
        self.assertTrue(room.is_left(10, 9, 1, 0))
        self.assertFalse(room.is_left(10, 0, 1, 100))

    def test_it_is_found(self):
        self.assertIn(xloud_growth_filter.XloudGrowthFilter,
                      xloud_growth_filter.filters.all_filters())
