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

from nova.tests.functional.xloud import adjust_base
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

    def change_allocation(self, allocations=None, **resources):
        """Somebody writes it with another tool."""
        url = '/allocations/%s' % self.server['id']
        body = self.placement.get(url, version='1.28').body
        for allocation in body['allocations'].values():
            allocation['resources'].update(resources)
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
