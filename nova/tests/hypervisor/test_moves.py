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

"""Servers of a size of their own go from one hypervisor to another."""

import libvirt

from nova.tests.hypervisor import base
from nova.tests.hypervisor import fixtures
from nova.xloud import size

GROWN = size.Size(2, 512)


class MovesTestCase(base.HypervisorTestCase):

    HOSTS = 2

    def setUp(self):
        super().setUp()
        self.other = self.libvirtds[1].address
        # There is one configuration in this process, thus one folder with
        # the disks, and libvirt cannot know that it is the same file.
        for compute in self.computes.values():
            compute.driver._live_migration_flags |= libvirt.VIR_MIGRATE_UNSAFE

    def _migrate_live(self, server, host):
        before = self.seen(server)
        self.api.post_server_action(server['id'], {'os-migrateLive': {
            'host': host, 'block_migration': 'auto'}})
        self.wait_until_active(server, **{'OS-EXT-SRV-ATTR:host': host})

        def goes_on():
            seen = self.seen(server)
            return seen and (seen.boot != before.boot or
                             seen.uptime > before.uptime)

        # The other host began another log of the console.
        fixtures.wait_for(goes_on, 60, 'the guest goes on')
        self.assertEqual(before.boot, self.seen(server).boot)

    def test_live_migration_of_a_grown_server(self):
        server = self.boot()
        self.adjust(server, *GROWN, persist=False)
        self.assert_all_see(server, GROWN)
        self._migrate_live(server, self.other)
        self.assert_all_see(server, GROWN)

        self.adjust(server, *base.MAXIMUM, persist=False)
        self.assert_all_see(server, base.MAXIMUM)
        self.adjust(server, memory_mb=512, persist=False)
        self.assert_all_see(server, size.Size(4, 512))
        # The configuration that came along still gives the boot size.
        self.restart(server, 'soft')
        self.assert_all_see(server, base.MINIMUM)

    def test_live_migration_of_a_shrunk_server(self):
        server = self.boot()
        self.adjust(server, *base.MAXIMUM)
        self.assert_all_see(server, base.MAXIMUM)
        shrunk = size.Size(4, 384)
        self.adjust(server, *shrunk)
        self.assert_all_see(server, shrunk)
        self._migrate_live(server, self.other)
        self.assert_all_see(server, shrunk)

        self.adjust(server, memory_mb=768)
        self.assert_all_see(server, size.Size(4, 768))
        self.adjust(server, 3, 512)
        self.assert_all_see(server, size.Size(3, 512), stale_vcpus=4)

    def test_cold_migration_and_revert(self):
        server = self.boot()
        self.adjust(server, *GROWN)
        self.assert_all_see(server, GROWN)
        seen = self.seen(server)
        self._migrate_server(server, host=self.other)
        seen = self.wait_until_booted(server, after=seen)
        self.assert_all_see(server, GROWN)
        self.api.post_server_action(server['id'], {'revertResize': None})
        self.wait_until_booted(server, after=seen)
        self.wait_until_active(server)
        self.assert_all_see(server, GROWN)
        self.adjust(server, 3, 384)
        self.assert_all_see(server, size.Size(3, 384))
