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

"""A server that moves, and is charged neither its minimum nor its maximum."""

import fixtures

from nova import exception
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import scripted
from nova import utils
from nova.xloud import size

NOTHING = size.Size(0, 0)


class MovesTestCase(base.ElasticServersTestCase):
    """A server on host1 that is charged neither minimum nor maximum.

    What it is charged is not all desired, nor all boot.
    """

    # Whether host2 can run elastic servers
    elastic = True

    def setUp(self):
        super().setUp()
        # All of a host is for its servers.
        self.flags(reserved_host_memory_mb=0)
        self.start_host('host1')
        self.start_host('host2', elastic=self.elastic)
        self.flavor = self.create_elastic_flavor()
        self.server = self.create_server(self.flavor, host='host1')
        self.hold(size.Size(6, 4096))
        self.assertEqual((6, 6144), self.charge)

    def act(self, action, body=None, microversion=None):
        with utils.temporary_mutation(
                self.api,
                microversion=microversion or self.api.microversion):
            self.api.post_server_action(self.server['id'], {action: body})

    def fail_on(self, host, method, error=None):
        """Let a method of the driver of a host fail from now on."""
        self.useFixture(fixtures.MockPatchObject(
            self.computes[host].manager.driver, method,
            side_effect=error or exception.NovaException('by the test')))

    def fill(self, host, memory_mb):
        """Leave a host this much memory."""
        return self._create_server(
            flavor_id=self._create_flavor(
                vcpu=1, disk=1, memory_mb=(
                    base.ElasticFakeDriver.memory_mb -
                    self.used(host).memory_mb - memory_mb)),
            networks='none', host=host)

    def set_forced_down(self, host, forced_down):
        service = self.admin_api.get_services(
            host=host, binary='nova-compute')[0]
        self.admin_api.put_service(
            service['id'], {'forced_down': forced_down})

    def lose(self, host):
        self.computes[host].stop()
        self.set_forced_down(host, True)

    def bring_back(self, host, keep_hypervisor_state=True):
        self.computes[host] = self.restart_compute_service(
            self.computes[host], keep_hypervisor_state)
        self.set_forced_down(host, False)

    def assert_unchanged(self, host='host1', **used):
        """The server has on this host what it had before, and only there."""
        self.assert_charged(self.server, self.charge, host)
        self.assert_used(**dict(
            {'host1': NOTHING, 'host2': NOTHING, host: self.charge}, **used))
        self.assertEqual(self.before, self.books(self.server))

    def assert_settled(self, host='host1', **used):
        """As assert_unchanged, of what Nova leaves to the next audit.

        The resource tracker of a host sees a live migration and some
        failures only then.
        """
        self.assert_idle()
        self._run_periodics()
        self.assert_idle()
        self.assert_unchanged(host, **used)

    def grow_until_the_next_start(self):
        """Nothing of the growth is to be claimed where the server starts."""
        self.hold(size.Size(8, 8192))
        self.assertEqual((8, 8192), self.charge)

    def assert_idle(self):
        """Nothing that was started holds the server."""
        self._wait_for_assert(lambda: self.assertIsNone(
            self.api.get_server(
                self.server['id'])['OS-EXT-STS:task_state']))

    def delete(self):
        """Delete the server, then nothing is left of it."""
        self._delete_server(self._show_server(self.server))
        self.assert_nothing_left(self.server['id'])


class GuestsMoveTestCase(scripted.ReconciledTestCase, MovesTestCase):
    """The same where the server has a guest, with which Nova reconciles."""
