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

from nova.tests.functional.xloud import base
from nova.xloud import size


class GrowthTestCase(base.ElasticServersTestCase):
    """A host of 16 vCPUs and 32768 MiB keeps a quarter of it for grows."""

    def start_service(self, name, *args, **kwargs):
        if name == 'scheduler':
            # Before it reads them.
            self.flags(room_for_growth=25, group='xloud')
            self.flags(initial_cpu_allocation_ratio=1.0)
            self.flags(enabled_filters=[
                'ComputeFilter', 'XloudGrowthFilter'],
                group='filter_scheduler')
        return super().start_service(name, *args, **kwargs)

    def setUp(self):
        super().setUp()
        self.flavor_id = self.create_elastic_flavor(
            minimum=size.Size(4, 2048))

    def create(self, **kwargs):
        return self.create_server(self.flavor_id, **kwargs)

    def test_new_servers_leave_room(self):
        self.start_host('host1')
        servers = [self.create() for _number in range(3)]
        self.assert_used(host1=size.Size(12, 6144))
        self.create(expected_state='ERROR')
        # What is left is for those that run there.
        self.change_sizes(servers[0], size.Size(8, 2048))
        self.assert_used(host1=size.Size(16, 6144))

    def test_moves_use_it(self):
        self.start_host('host1')
        for _number in range(3):
            self.create()
        self.start_host('host2')
        server = self.create()
        self.assert_charged(server, size.Size(4, 2048), 'host2')
        self._live_migrate(server)
        self.assertEqual('host1', self.instance(server).host)
        self.assertEqual({'host1': size.Size(4, 2048)},
                         self.allocated(server['id']))

    def test_an_aggregate_has_its_own(self):
        self.start_host('host1')
        aggregate = self.admin_api.post_aggregate(
            {'aggregate': {'name': 'full'}})
        self.admin_api.add_host_to_aggregate(aggregate['id'], 'host1')
        self.admin_api.api_post(
            '/os-aggregates/%s/action' % aggregate['id'],
            {'set_metadata': {'metadata': {'xloud_room_for_growth': '0'}}})
        for _number in range(4):
            self.create()
        self.assert_used(host1=size.Size(16, 8192))

    def test_a_ratio_that_only_placement_knows(self):
        """As an operator sets it for an aggregate."""
        self.start_host('host1')
        url = '/resource_providers/%s/inventories/VCPU' % (
            self._get_provider_uuid_by_host('host1'))
        inventory = self.placement.get(url).body
        inventory['allocation_ratio'] = 0.5
        self.assertEqual(200, self.placement.put(url, inventory).status)
        self._run_periodics()
        self.assertEqual(0.5, self.placement.get(url).body['allocation_ratio'])
        # A quarter of 8 vCPUs stays free.
        self.create()
        self.create(expected_state='ERROR')
        self.assert_used(host1=size.Size(4, 2048))
