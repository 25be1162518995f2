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

"""Adjusts of servers, as their guests see them."""

import re

from unittest import mock

from nova.tests.hypervisor import base
from nova.tests.hypervisor import fixtures
from nova.tests.hypervisor import tiny_guest
from nova.tests.hypervisor import watch
from nova.xloud import size


class AdjustTestCase(base.HypervisorTestCase):

    def test_grow_and_shrink(self):
        server = self.boot()
        self.assert_all_see(server, base.MINIMUM)
        with watch.charge(self, server) as watched:
            # Both in one request
            for asked, stale_vcpus in ((base.MAXIMUM, None),
                                       (size.Size(4, 512), None),
                                       (size.Size(3, 768), 4)):
                self.adjust(server, *asked)
                self.assert_all_see(server, asked, stale_vcpus=stale_vcpus)
                fixtures.wait_for(lambda: asked in watched, 120,
                                  'the charge of %s was watched' % (asked,))

        self.restart(server, 'hard')
        self.assert_all_see(server, size.Size(3, 768))
        self.adjust(server, *base.MAXIMUM)
        self.assert_all_see(server, base.MAXIMUM)

    def test_shrink_to_the_minimum(self):
        """All vCPUs above the minimum leave, under emulation one by one.

        There QEMU does not report a removed vCPU to libvirt. Before a restart
        of libvirt no other can leave, and QEMU would crash if one were added.
        """
        server = self.boot()
        self.adjust(server, 4)
        self.assert_all_see(server, base.MINIMUM._replace(vcpus=4))
        self.adjust(server, 1)
        if not self.is_emulated:
            self.assert_all_see(server, base.MINIMUM)
            return
        for left in (3, 2):
            self._assert_next_is_awaited(server, left)
            for asked in (base.MINIMUM, (4, 512)):
                self.assertIn(
                    'QEMU has %d vCPUs where libvirt counts %d. Reboot it '
                    'hard' % (left, left + 1),
                    self.adjust(server, *asked, expect=409))
            self._assert_next_is_awaited(server, left)
            self.libvirtds[0].restart()
        self.assert_all_see(
            server, base.MINIMUM, stale_vcpus=2, reconcile=True)
        self.libvirtds[0].restart()
        self.assertIn('Reboot it hard', self.adjust(server, 3, expect=409))
        self.assert_all_see(server, base.MINIMUM)

        self.restart(server, 'hard')
        self.adjust(server, 3)
        self.assert_all_see(server, base.MINIMUM._replace(vcpus=3))

    def test_server_that_was_started_without_a_list(self):
        """An older Nova has started it, with its whole maximum."""
        with mock.patch('nova.virt.libvirt.xloud.domain.configure'):
            server = self.boot()
        self.change_sizes(server, base.MAXIMUM)
        self.assert_all_see(server, base.MAXIMUM)
        (blocker,) = self.status(server)['blockers']
        self.assertEqual('vcpus_fixed', blocker['code'])
        self.assertIn(blocker['message'],
                      self.adjust(server, 2, expect=409))
        self.adjust(server, memory_mb=512)
        self.assert_all_see(server, size.Size(4, 512))
        self.restart(server, 'hard')
        self.adjust(server, 3)
        self.assert_all_see(server, size.Size(3, 512), stale_vcpus=4)

    def _assert_next_is_awaited(self, server, left):
        self.assert_all_see(
            server, base.MINIMUM._replace(vcpus=left), desired=base.MINIMUM,
            stale_vcpus=left + 1, condition='InProgress', reconcile=True)

    def test_not_persistent(self):
        server = self.boot()
        grown = size.Size(2, 512)
        for how in ('soft', 'hard', 'stop'):
            self.adjust(server, *grown, persist=False)
            self.assert_all_see(server, grown, boot=base.MINIMUM)
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
        # vCPUs that the guest was started with can leave, too.
        self.adjust(server, *base.MINIMUM)
        self.assert_all_see(server, base.MINIMUM, stale_vcpus=2)

    def test_memory_in_use(self):
        server = self.boot(tiny_guest.USE_128_MB)
        large = size.Size(1, 1024)
        self.adjust(server, memory_mb=1024)
        self.assert_all_see(server, large)

        def tells_what_is_needed():
            # If one of two requested changes is refused, none is made.
            refusal = self.adjust(
                server, 2, base.MINIMUM.memory_mb, expect=409)
            self.assert_all_see(server, large)
            told = re.search(
                r'needs (\d+) MiB of memory and keeps 128 MiB above that, so '
                r'(\d+) MiB is the least now', refusal)
            needed_mb, least_mb = map(int, told.groups())
            self.assertGreater(needed_mb, 128)
            self.assertEqual(needed_mb + 128, least_mb)
            # Including what its kernel keeps for all that it holds.
            free_mb = self.seen(server).free_kib // 1024
            return abs(large.memory_mb - free_mb - needed_mb) <= 8

        # The last statistics may be older than the last move of the balloon.
        fixtures.wait_for(tells_what_is_needed, 60,
                          'the refusal tells what the guest needs')
        self.adjust(server, memory_mb=512)
        self.assert_all_see(server, size.Size(1, 512))

    def test_shut_off(self):
        server = self.boot()
        self._stop_server(server)
        self.assertIn('Set persist', self.adjust(
            server, *base.MAXIMUM, persist=False, expect=409))
        self.assert_at_rest(server, base.MINIMUM)
        later = size.Size(3, 768)
        for boot in (base.MAXIMUM, later):
            self.adjust(server, *boot)
            self.assert_at_rest(server, boot)
        self._start_server(server)
        self.wait_until_booted(server)
        self.assert_all_see(server, later)

    def assert_at_rest(self, server, boot):
        """A server that is shut off is charged its next start."""
        self.assertEqual(boot, base.in_configuration(self.domain(server)))
        instance = self.instance(server)
        self.assertEqual(boot, size.boot(instance))
        self.assertEqual(boot, size.desired(instance))
        self.assertEqual('Settled', self.status(server)['condition'])
        self.assert_charged(server, boot, self.host)


class StubbornGuestTestCase(base.HypervisorTestCase):

    def test_no_balloon_driver(self):
        """A guest without one holds its maximum and is charged for that."""
        self.flags(settle_timeout=5, group='xloud')
        held = size.Size(1, 1024)
        # There is room for the minimum only.
        self.flags(reserved_host_memory_mb=(
            base.HOST_MEMORY_MB - base.MINIMUM.memory_mb))
        self._run_periodics()
        server = self.boot(tiny_guest.NO_BALLOON)
        self.assert_all_see(
            server, held, desired=base.MINIMUM, charge=base.MINIMUM,
            condition='Overcommitted', reconcile=True)
        self.flags(reserved_host_memory_mb=512)
        self._run_periodics()
        self.assert_all_see(server, held, boot=base.MINIMUM,
                            condition='Partial', reconcile=True)
        self.assertIn('memory statistics',
                      self.adjust(server, memory_mb=512, expect=409))
        self.adjust(server, 2)
        self.assert_all_see(server, size.Size(2, 1024),
                            boot=base.MINIMUM._replace(vcpus=2))

    def test_keeps_vcpus(self):
        """What the guest does not give back stays charged."""
        server = self.boot(tiny_guest.KEEP_VCPUS)
        grown = size.Size(2, 512)
        self.adjust(server, *grown)
        self.assert_all_see(server, grown)
        # libvirt waits 5 s for each vCPU.
        self.flags(settle_timeout=15, group='xloud')
        answer = self.adjust(server, *base.MINIMUM)
        self.assertEqual(
            ('InProgress', *base.MINIMUM, 2),
            tuple(answer[word] for word in (
                'condition', 'desired_vcpus', 'desired_memory_mb',
                'allocated_vcpus')))
        self.assert_all_see(
            server, base.MINIMUM._replace(vcpus=2), boot=base.MINIMUM,
            condition='Partial', reconcile=True)
        reason = self.status(server)['reason']
        self.assertIn('did not give back vCPUs', reason)
        self.assertIn(('compute_settle', 'Error', reason),
                      self.told(server))

    def test_lies_about_its_balloon(self):
        """Its device repeats any number, also more than there is."""
        server = self.boot(tiny_guest.LIE)
        self.assert_all_see(server, base.MINIMUM)
        self.flags(settle_timeout=1, group='xloud')
        self.adjust(server, 2)
        domain = self.domain(server)
        fixtures.wait_for(
            lambda: domain.info()[2] // 1024 > base.HOST_MEMORY_MB,
            self.SECONDS, 'the guest has lied')

        def is_charged():
            self.reconcile()
            return self.status(server)['condition'] == 'Partial'

        fixtures.wait_for(
            is_charged, self.SECONDS, 'that is charged')
        # It can hold no more.
        held = size.Size(2, base.MAXIMUM.memory_mb)
        self.assert_charged(server, held, self.host)
        status = self.status(server)
        self.assertEqual(held, (status['actual_vcpus'],
                                status['actual_memory_mb']))

    def told(self, server):
        """The message of the instance action of the last adjust."""
        last = next(
            found for found in self.api.get_instance_actions(server['id'])
            if found['action'] == 'xloud_adjust')
        return [(event['event'], event['result'], event['details'])
                for event in self.api.get_instance_action_details(
                    server['id'], last['request_id'])['events']]
