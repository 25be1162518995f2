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

"""Two hypervisors, between which servers move."""

import libvirt

from nova.tests.hypervisor import base
from nova.tests.hypervisor import fixtures


class TwoHostsTestCase(base.HypervisorTestCase):

    HOSTS = 2

    def setUp(self):
        super().setUp()
        self.other = self.libvirtds[1].address
        # There is one configuration in this process, thus one folder with
        # the disks, and libvirt cannot know that it is the same file.
        for compute in self.computes.values():
            compute.driver._live_migration_flags |= libvirt.VIR_MIGRATE_UNSAFE

    def migrate_live(self, server, host):
        before = self.seen(server)
        self.api.post_server_action(server['id'], {'os-migrateLive': {
            'host': host, 'block_migration': 'auto'}})
        self.wait_until_active(server, **{'OS-EXT-SRV-ATTR:host': host})

        def goes_on():
            seen = self.seen(server)
            return seen and (seen.boot != before.boot or
                             seen.uptime > before.uptime)

        # The other host has begun another log of the console.
        fixtures.wait_for(goes_on, 60, 'the guest goes on')
        self.assert_runs_on(server)
