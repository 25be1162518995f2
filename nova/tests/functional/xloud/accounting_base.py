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

"""What a project is counted for its elastic servers."""

from nova.tests.functional.api import client
from nova.tests.functional.xloud import scripted
from nova.xloud import size


class AccountingTestCase(scripted.ReconciledTestCase):

    def setUp(self):
        super().setUp()
        self.start_host('host1')
        self.flavor = self.create_elastic_flavor()

    def limit(self, **limits):
        """What the project may have from now on."""
        self.flags(**limits, group='quota')

    def get_used(self):
        """What the API reports that the project uses."""
        used = self.api.get_limits()['absolute']
        return size.Size(used['totalCoresUsed'], used['totalRAMUsed'])

    def refuse(self, resource, act, *args):
        """The quota of a resource does not allow this."""
        error = self.assertRaises(client.OpenStackApiException, act, *args)
        self.assertEqual(403, error.response.status_code)
        self.assertIn(resource, error.response.text)

    def post(self, server, action, body=None):
        self.api.post_server_action(server['id'], {action: body})

    def resize(self, server, flavor_id):
        self.post(server, 'resize', {'flavorRef': flavor_id})

    def create_several(self, least, most):
        body = self._build_server(flavor_id=self.flavor, networks='none')
        body.update(
            min_count=least, max_count=most, return_reservation_id=True)
        reservation = self.api.post_server({'server': body})
        servers = self.api.get_servers(
            search_opts={'reservation_id': reservation['reservation_id']})
        return [self._wait_for_state_change(server, 'ACTIVE')
                for server in servers]

    def soft_delete(self, server):
        self.api.delete_server(server['id'])
        self._wait_for_state_change(server, 'SOFT_DELETED')

    def offload(self, server):
        self._shelve_server(server)
        self._wait_for_server_parameter(
            server, {'OS-EXT-SRV-ATTR:host': None})
