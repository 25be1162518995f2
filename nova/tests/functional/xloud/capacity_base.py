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

"""A host whose capacity and allocations somebody else changes."""

from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids

from nova.tests.functional.xloud import adjust_base
from nova.xloud import allocation
from nova.xloud import notes
from nova.xloud import size


class CapacityBase(adjust_base.AdjustTestCase):

    def change_inventory(self, name, host='host1', **changes):
        rp_uuid = self._get_provider_uuid_by_host(host)
        url = '/resource_providers/%s/inventories/%s' % (rp_uuid, name)
        inventory = self.placement.get(url, version='1.28').body
        inventory.update(changes)
        response = self.placement.put(url, inventory, version='1.28')
        self.assertEqual(200, response.status, response.body)

    def set_total(self, total, rp_uuid, name='DISK_GB'):
        """How much there is of the only resource of a provider."""
        url = '/resource_providers/%s' % rp_uuid
        provider = self.placement.get(url, version='1.28').body
        response = self.placement.put(url + '/inventories', {
            'resource_provider_generation': provider['generation'],
            'inventories': {name: {'total': total}}}, version='1.28')
        self.assertEqual(200, response.status, response.body)

    def is_placement_strict(self):
        """Whether it takes no write at all where a provider is over.

        Since Placement 14.0.0 it takes one that makes that no worse.
        """
        self.placement.post('/resource_providers', {
            'name': 'full', 'uuid': uuids.full}, version='1.28')
        statuses = []
        for total, generation in ((2, None), (1, 1)):
            self.set_total(total, uuids.full)
            statuses.append(self.placement.put(
                '/allocations/%s' % uuids.consumer, {
                    'allocations': {
                        uuids.full: {'resources': {'DISK_GB': 2}}},
                    'project_id': 'project', 'user_id': 'user',
                    'consumer_generation': generation},
                version='1.28').status)
        self.assertEqual(204, statuses[0])
        self.assertIn(statuses[1], (204, 409))
        return statuses[1] == 409

    def be_over_capacity(self, name):
        """Be that where Placement does not mind, or seem to be."""
        real = allocation.Account.obstacles

        def obstacles(account, wanted):
            return real(account, wanted) | {
                allocation.Obstacle(name, account._rp_uuid, 'capacity')}

        patcher = mock.patch.object(
            allocation.Account, 'obstacles', obstacles)
        patcher.start()
        self.addCleanup(patcher.stop)

    def change_allocation(self, allocations=None, **resources):
        """Somebody writes it with another tool."""
        url = '/allocations/%s' % self.server['id']
        body = self.placement.get(url, version='1.28').body
        for held in body['allocations'].values():
            held['resources'].update(resources)
        body['allocations'].update(allocations or {})
        response = self.placement.put(url, body, version='1.28')
        self.assertEqual(204, response.status, response.body)

    def fill(self, memory_mb):
        return self.create_server(self.create_elastic_flavor(
            maximum=size.Size(2, memory_mb), minimum=size.Size(2, memory_mb)))

    def assert_pending(self, desired, charge, name):
        instance = self.instance(self.server)
        self.assertEqual(desired, size.desired(instance))
        self.assertEqual(desired, self.guest.held)
        self.assertIn(name, notes.pending(instance))
        self.assert_charged(self.server, charge, 'host1')
        self.assert_idle()
