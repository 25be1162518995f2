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

"""The owner of an elastic server asks a real compute service by HTTP."""

from nova.tests.functional.api import client
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import api_base


def forget_namespace(compute):
    """Make a compute service one of upstream's."""
    endpoints = compute.rpcserver.dispatcher.endpoints
    endpoints[:] = [
        endpoint for endpoint in endpoints
        if getattr(endpoint, 'target', None) is None or
        endpoint.target.namespace != 'xloud']


class AnswersBase(api_base.Answers, adjust_base.AdjustTestCase):

    def setUp(self):
        super().setUp()
        self.owner = self.api_fixture.api
        self.owner.microversion = self.microversion

    def client(self, user, project_id=None, roles=('reader', 'member')):
        made = client.TestOpenStackClient(
            user, self.owner.base_url, project_id or self.owner.project_id,
            list(roles))
        made.microversion = self.microversion
        return made

    def post(self, status, server=None, api=None, **body):
        """Adjust; the status of the server, or why it was refused."""
        server = server or self.server
        return self.read(status, (api or self.owner).api_post(
            '/os-xloud-adjust/%s' % server['id'], body,
            check_response_status=[status]))

    def get(self, status=200, server=None, api=None,
            url='/os-xloud-adjust/%s'):
        server = server or self.server
        return self.read(status, (api or self.owner).api_get(
            url % server['id'], check_response_status=[status]))

    def all_of(self, server):
        """All that an adjust may change."""
        instance = self.instance(server)
        guest = self.driver.guests[server['id']]
        return (self.books(server), instance.task_state, instance.vm_state,
                self.allocated(server['id']), guest.held, guest.config)

    def refuse(self, status, text, server=None, api=None, **body):
        server = server or self.server
        body = body or {'current_vcpus': 4}
        before = self.all_of(server)
        self.assertIn(text, self.post(status, server, api, **body))
        self.assertEqual(before, self.all_of(server))
        self.assert_hosts_agree()

    def assert_blocked(self, code, dimensions=('memory_mb', 'vcpus')):
        status = self.get()
        self.assertEqual(
            sorted((code, dimension) for dimension in dimensions),
            sorted((blocker['code'], blocker['dimension'])
                   for blocker in status['blockers']))
        return status

    def action(self, name):
        self.admin_api.post_server_action(self.server['id'], {name: None})
