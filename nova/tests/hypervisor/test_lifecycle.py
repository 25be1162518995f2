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

"""The size of an elastic server through operations of Nova."""

from nova.tests.hypervisor import base


class LifecycleTestCase(base.HypervisorTestCase):

    def test_minimum(self):
        server = self.boot()
        self.assert_all_see(server, base.MINIMUM)
        console = self.api.post_server_action(
            server['id'], {'os-getConsoleOutput': {}})['output']
        self.assertIn('STATE', console)

        for how in ('soft', 'hard', 'stop'):
            self.restart(server, how)
            self.assert_all_see(server, base.MINIMUM)

        self._stop_server(server)
        self.assert_charged(server, base.MINIMUM, self.host)
        self._delete_server(server)
        self.assert_nothing_left(server['id'])
