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

    def host(self, used=0, used_mb=0, cpu_ratio=1.0, ram_ratio=1.0,
             aggregates=()):
        return scheduler_fakes.FakeHostState('host1', 'node1', {
            'vcpus_total': 10, 'vcpus_used': used,
            'total_usable_ram_mb': 10240, 'free_ram_mb': 10240 - used_mb,
            'cpu_allocation_ratio': cpu_ratio,
            'ram_allocation_ratio': ram_ratio,
            'aggregates': [objects.Aggregate(metadata=metadata)
                           for metadata in aggregates]})

    def spec(self, cpu=2, memory=1024):
        return objects.RequestSpec(
            instance_uuid=uuids.server, flavor=fakes.flavor(
                maximum=size.Size(8, 8192), cpu=cpu, memory=memory))

    def passes(self, *args, spec=None, **kwargs):
        return self.filter.host_passes(
            self.host(*args, **kwargs), spec or self.spec())

    def test_a_new_server(self):
        # It is charged its minimum, 2 vCPUs and 1024 MiB.
        self.assertTrue(self.passes(6, 7168))
        self.assertFalse(self.passes(7, 0))
        self.assertFalse(self.passes(0, 7169))
        self.assertTrue(self.passes(30, 0, cpu_ratio=4.0))
        self.assertFalse(self.passes(31, 0, cpu_ratio=4.0))
        self.assertFalse(self.passes(0, 3073, ram_ratio=0.5))

    def test_a_server_of_fixed_size(self):
        spec = objects.RequestSpec(
            instance_uuid=uuids.server,
            flavor=fakes.flavor(maximum=size.Size(2, 1024)))
        self.assertTrue(self.passes(6, 7168, spec=spec))
        self.assertFalse(self.passes(7, 0, spec=spec))

    def test_a_move(self):
        self.get.return_value.cell_mapping = objects.CellMapping()
        spec = self.spec()
        self.assertTrue(self.passes(7, 0, spec=spec))
        self.assertTrue(self.passes(0, 9000, spec=spec))
        self.get.assert_called_once_with(mock.ANY, uuids.server)

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

    def test_several_at_once(self):
        """Each counts for the next one of the same request."""
        host = host_manager.HostState('host1', 'node1', 'cell1')
        host.vcpus_total, host.total_usable_ram_mb = 10, 10240
        host.free_ram_mb = 10240
        host.cpu_allocation_ratio = host.ram_allocation_ratio = 1.0
        created, spec = 0, self.spec()
        while self.filter.host_passes(host, spec):
            host.vcpus_used += spec.vcpus
            host.free_ram_mb -= spec.memory_mb
            created += 1
        self.assertEqual(4, created)

    def test_what_placement_says_counts(self):
        """It can have another ratio and newer charges."""
        host = self.host(cpu_ratio=4.0)
        host.uuid, spec = uuids.host, self.spec()
        for capacity, used, expected in (
                ((10, 10240), (6, 7168), True), ((10, 10240), (7, 0), False),
                ((10, 10240), (0, 7169), False),
                ((99, 5120), (0, 3073), False)):
            growth.know(spec, {uuids.host: {'resources': {
                name: {'capacity': most, 'used': amount}
                for name, most, amount in zip(
                    ('VCPU', 'MEMORY_MB'), capacity, used)}}})
            self.assertEqual(
                expected, self.filter.host_passes(host, spec), (
                    capacity, used))
        # One of the same request has taken 2 vCPUs of it.
        growth.know(spec, {uuids.host: {'resources': {
            'VCPU': {'capacity': 10, 'used': 5},
            'MEMORY_MB': {'capacity': 10240, 'used': 0}}}})
        self.assertTrue(self.filter.host_passes(host, spec))
        host.vcpus_used += 2
        self.assertFalse(self.filter.host_passes(host, spec))
        # Placement is not asked for a rebuild.
        growth.know(spec, None)
        self.assertTrue(self.filter.host_passes(host, spec))

    def test_all_or_nothing(self):
        self.assertTrue(room.is_left(10, 9, 1, 0))
        self.assertFalse(room.is_left(10, 0, 1, 100))

    def test_it_is_found(self):
        self.assertIn(xloud_growth_filter.XloudGrowthFilter,
                      xloud_growth_filter.filters.all_filters())
