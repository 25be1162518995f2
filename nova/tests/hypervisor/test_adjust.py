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

"""Servers are adjusted, as their guests see it."""

from nova.tests.hypervisor import base
from nova.tests.hypervisor import fixtures
from nova.xloud import size


class AdjustTestCase(base.HypervisorTestCase):

    def test_grow_and_shrink(self):
        server = self.boot()
        # Both in one request
        self.adjust(server, *base.MAXIMUM)
        self.assert_all_see(server, base.MAXIMUM)
        self.adjust(server, memory_mb=512)
        self.assert_all_see(server, size.Size(4, 512))
        self.adjust(server, 3, 768)
        self.assert_all_see(server, size.Size(3, 768), stale_vcpus=4)

        self.restart(server, 'hard')
        self.assert_all_see(server, size.Size(3, 768))
        self.adjust(server, *base.MAXIMUM)
        self.assert_all_see(server, base.MAXIMUM)

    def test_stale_vcpus(self):
        """A vCPU that left and of which libvirt is not told."""
        server = self.boot(minimum=size.Size(2, 256))
        three = size.Size(3, 256)
        two = size.Size(2, 256)
        self.adjust(server, 3)
        self.assert_all_see(server, three)
        self.adjust(server, 2)
        self.assert_all_see(server, two, stale_vcpus=3)
        if not self.is_emulated:
            return
        # QEMU would die of a vCPU that is plugged now.
        seen = self.seen(server)
        self.assertIn('Restart libvirt', self.adjust(server, 3))
        self.assert_all_see(server, two, stale_vcpus=3)
        self.libvirtds[0].restart()
        self.assert_all_see(server, two)
        self.assertIn('hard reboot', self.adjust(server, 3))
        self.assert_all_see(server, two)
        self.assertEqual(seen.boot, self.seen(server).boot)
        self.restart(server, 'hard')
        self.adjust(server, 3)
        self.assert_all_see(server, three)

    def test_not_persistent(self):
        server = self.boot()
        grown = size.Size(2, 512)
        for how in ('soft', 'hard', 'stop'):
            self.adjust(server, *grown, persist=False)
            self.assert_all_see(server, grown)
            self.restart(server, how)
            self.assert_all_see(server, base.MINIMUM)

    def test_persistent(self):
        server = self.boot()
        grown = size.Size(2, 512)
        self.adjust(server, *grown)
        self.assert_all_see(server, grown)
        for how in ('soft', 'hard', 'stop'):
            self.restart(server, how)
            self.assert_all_see(server, grown)
        # What it was started with may leave, too.
        self.adjust(server, *base.MINIMUM)
        self.assert_all_see(server, base.MINIMUM, stale_vcpus=2)

    def test_memory_in_use(self):
        server = self.boot(fixtures.USE_128_MB)
        self.adjust(server, memory_mb=1024)
        self.assert_all_see(server, size.Size(1, 1024))
        self.assertIn('is the least now', self.adjust(server, memory_mb=256))
        self.assert_all_see(server, size.Size(1, 1024))
        self.adjust(server, memory_mb=512)
        self.assert_all_see(server, size.Size(1, 512))

    def test_shut_off(self):
        server = self.boot()
        seen = self.seen(server)
        self._stop_server(server)
        later = size.Size(3, 768)
        self.assertIn('needs persist',
                      self.adjust(server, *base.MAXIMUM, persist=False))
        self.adjust(server, *base.MAXIMUM)
        self.assert_charged(server, base.MAXIMUM, self.host)
        self.adjust(server, *later)
        self.assert_charged(server, later, self.host)
        self._start_server(server)
        self.wait_until_booted(server, after=seen)
        self.assert_all_see(server, later)


class StubbornGuestTestCase(base.HypervisorTestCase):

    def test_no_balloon_driver(self):
        """It holds its maximum from the start and is charged for that."""
        self.flags(settle_timeout=5, group='xloud')
        server = self.boot(fixtures.NO_BALLOON)
        held = size.Size(1, 1024)
        self.assert_all_see(server, held, condition='Partial')
        self.assertIn('memory statistics', self.adjust(server, memory_mb=512))
        self.adjust(server, 2)
        self.assert_all_see(server, size.Size(2, 1024))

    def test_keeps_vcpus(self):
        """What it does not give back stays charged."""
        server = self.boot(fixtures.KEEP_VCPUS)
        grown = size.Size(2, 512)
        self.adjust(server, *grown)
        self.assert_all_see(server, grown)
        # libvirt waits 5 s for each vCPU.
        self.flags(settle_timeout=10, group='xloud')
        self.adjust(server, *base.MINIMUM)
        self.assert_all_see(
            server, base.MINIMUM._replace(vcpus=2), condition='Partial')
