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

"""An elastic server on a fake libvirt, adjusted as a user does it."""

import fixtures

from nova import context as nova_context
from nova.tests.functional.libvirt import xloud_base
from nova.xloud import size


class AdjustTestBase(xloud_base.ElasticServersTestBase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.listener._CALM_SECONDS', 0))

    def _adjust(self, server, wanted=None, status=202, persist=True, **body):
        if wanted:
            body = {'current_vcpus': wanted.vcpus,
                    'current_memory_mb': wanted.memory_mb}
        response = self.api.api_post(
            '/os-xloud-adjust/%s' % server['id'],
            dict(body, persist=persist), check_response_status=[status])
        if status >= 400:
            (fault,) = response.body.values()
            return fault['message']
        return response.body['xloud_status']

    def _status(self, server):
        return self.api.api_get(
            '/os-xloud-adjust/%s' % server['id']).body['xloud_status']

    def _reconcile(self, host='host1'):
        self.computes[host].manager._elastic.reconcile(
            nova_context.get_admin_context())

    def _charged(self, server):
        """What Placement, and equally the row, say that is charged."""
        (allocation,) = self._get_allocations_by_server_uuid(
            server['id']).values()
        allocated = size.Size(allocation['resources']['VCPU'],
                              allocation['resources']['MEMORY_MB'])
        self.assertEqual(allocated, size.charged(self._instance(server)))
        return allocated

    def assert_condition(self, condition, server):
        self.assertEqual(condition, self._status(server)['condition'])

    def assert_settled(self, server, live, next_start=None):
        """Now or a moment later the server is as it should be."""
        def check():
            self.assert_live(live, server)
            self.assert_next_start(next_start or live, server)
            self.assertEqual(size.largest(live, next_start or live),
                             self._charged(server))
            self.assert_condition('Settled', server)

        self._wait_for_assert(check)
