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

"""Adjusted servers move from one hypervisor to another."""

import libvirt

from nova.compute import vm_states
from nova import exception
from nova.tests.hypervisor import base
from nova.tests.hypervisor import fixtures
from nova.tests.hypervisor import tiny_guest
from nova.tests.hypervisor import two_hosts
from nova.xloud import size

GROWN = size.Size(2, 512)


class MovesTestCase(two_hosts.TwoHostsTestCase):

    def test_live_migration_of_a_grown_server(self):
        server = self.boot()
        self.adjust(server, *GROWN, persist=False)
        self.assert_all_see(server, GROWN, boot=base.MINIMUM)
        self.migrate_live(server, self.other)
        self.assert_all_see(server, GROWN, boot=base.MINIMUM)

        self.adjust(server, *base.MAXIMUM, persist=False)
        self.assert_all_see(server, base.MAXIMUM, boot=base.MINIMUM)
        shrunk = size.Size(3, 512)
        self.adjust(server, *shrunk, persist=False)
        self.assert_all_see(
            server, shrunk, boot=base.MINIMUM, stale_vcpus=4)
        # The configuration from the other host still gives the boot size.
        self.restart(server, 'soft')
        self.assert_all_see(server, base.MINIMUM)

    def test_aborted_while_the_balloon_moves(self):
        server = self.boot()
        large = base.MINIMUM._replace(memory_mb=1024)
        self.adjust(server, *large)
        self.assert_all_see(server, large)
        migration = self._migrate_while_it_shrinks(server)
        self.api.api_delete('/servers/%s/migrations/%s' % (
            server['id'], migration['id']))
        # Which of them it is depends on who sees it first.
        self._wait_for_migration_status(
            server, ['cancelled', 'failed', 'error'])

        def is_settled():
            instance = self.instance(server)
            if instance.vm_state == vm_states.ERROR:
                # Since 32.0.0 Nova takes the abort for a failure, too.
                self.api.post_server_action(
                    server['id'], {'os-resetState': {'state': 'active'}})
            if instance.task_state or instance.host != self.host:
                return False
            # Both hosts have one folder, and the console in it is gone.
            return self._is_settled(server, self.host, unseen='guest')

        fixtures.wait_for(is_settled, 120, 'the server is settled')
        self.assertEqual({}, self.allocated(migration['uuid']))
        self.assertEqual(size.Size(0, 0), self.used(self.other))

    def test_switched_to_post_copy_while_the_balloon_moves(self):
        """QEMU discards nothing of what a balloon takes in the meantime."""
        if not fixtures.may_have_post_copy():
            self.skipTest('Here QEMU may not use userfaultfd.')
        for compute in self.computes.values():
            compute.driver._live_migration_flags |= (
                libvirt.VIR_MIGRATE_POSTCOPY)
        server = self.boot(tiny_guest.TOUCH_700_MB)
        large = base.MINIMUM._replace(memory_mb=1024)
        self.adjust(server, *large)
        self.assert_all_see(server, large)
        # What a balloon has given back is untouched until the next boot.
        self.restart(server, 'soft')
        self.assert_all_see(server, large)
        self.assertLess(base.MINIMUM.memory_mb, self._host_memory_mb(server))
        migration = self._migrate_while_it_shrinks(server)
        self.api.api_post('/servers/%s/migrations/%s/action' % (
            server['id'], migration['id']), {'force_complete': None},
            check_response_status=[202])
        self.wait_until_active(
            server, **{'OS-EXT-SRV-ATTR:host': self.other})
        self.assertIn('Switching to post-copy', self.stdlog.logger.output)
        # libvirt may have missed what QEMU said during the switch, and then
        # knows the memory when it changes again.
        fixtures.wait_for(
            lambda: self._is_settled(server, self.other, unseen='libvirt'),
            120, 'the server is settled')
        self.assertLessEqual(
            self._host_memory_mb(server), base.MINIMUM.memory_mb)
        # The host that it left ends its part later.
        self._wait_for_assert(
            lambda: self.assertEqual({}, self.allocated(migration['uuid'])))
        self.assertEqual(size.Size(0, 0), self.used(self.host))
        self.adjust(server, *GROWN)
        self.assert_all_see(server, GROWN)

    def _is_settled(self, server, host, unseen):
        """Whether all see the minimum of a server, but for one of Views."""
        self.reconcile()
        seen = self.views(server)._replace(**{unseen: base.MINIMUM})
        return (self.status(server)['condition'] == 'Settled' and
                seen.placement == {host: base.MINIMUM} and
                set(seen[:-1]) == {base.MINIMUM})

    def _host_memory_mb(self, server):
        """What the process of a guest has of its host's memory."""
        return self.domain(server).memoryStats()['rss'] >> 10

    def _migrate_while_it_shrinks(self, server):
        """Begin a live migration that does not end by itself.

        :returns: the migration as in the API, when libvirt has begun it
        """
        # MiB per second
        self.flags(live_migration_bandwidth=1, group='libvirt')
        self.adjust(server, *base.MINIMUM)
        self.api.post_server_action(server['id'], {'os-migrateLive': {
            'host': self.other, 'block_migration': 'auto'}})
        self._wait_for_migration_status(server, ['running'])
        # Nova loses what it is asked for before that.
        fixtures.wait_for(
            lambda: self.domain(server).jobStats().get('memory_processed'),
            60, 'QEMU sends the memory of the guest')
        # Since 34.0.0 Nova's tests refuse what it says of the migrations of
        # one server as long as nothing is copied of a disk.
        return self._migration(server)

    def test_live_migration_of_a_paused_server(self):
        """This is no start, though libvirt has the same number for both."""
        self._take_domain_ids(self.libvirtds[1])
        server = self.boot()
        self.adjust(server, *GROWN, persist=False)
        self.assert_all_see(server, GROWN, boot=base.MINIMUM)
        self.api.post_server_action(server['id'], {'pause': None})
        self.wait_until_active(server, status='PAUSED')
        self.api.post_server_action(server['id'], {'os-migrateLive': {
            'host': self.other, 'block_migration': 'auto'}})
        self.wait_until_active(server, **{
            'OS-EXT-SRV-ATTR:host': self.other, 'status': 'PAUSED'})
        self.reconcile()
        self.api.post_server_action(server['id'], {'unpause': None})
        self.wait_until_active(server)
        self.reconcile()
        fixtures.wait_for(lambda: self.seen(server), 60, 'the guest goes on')
        self.assert_all_see(server, GROWN, boot=base.MINIMUM)

    @staticmethod
    def _take_domain_ids(libvirtd):
        """Make sure that a domain gets another id on the other host."""
        connection = libvirt.open(libvirtd.uri)
        for _number in range(3):
            connection.createXML(
                "<domain type='qemu'><name>other</name><memory>65536</memory>"
                "<os><type machine='q35'>hvm</type></os></domain>").destroy()
        connection.close()

    def test_live_migration_of_a_shrunk_server(self):
        server = self.boot()
        self.adjust(server, 2, 1024)
        self.assert_all_see(server, size.Size(2, 1024))
        shrunk = size.Size(2, 384)
        self.adjust(server, *shrunk)
        self.assert_all_see(server, shrunk)
        self.migrate_live(server, self.other)
        self.assert_all_see(server, shrunk)

        self.adjust(server, 4, 768)
        self.assert_all_see(server, size.Size(4, 768))
        self.adjust(server, 3, 512)
        self.assert_all_see(server, size.Size(3, 512), stale_vcpus=4)

    def test_server_that_gave_back_a_vcpu(self):
        """Under software emulation its QEMU would not survive a move.

        Nova refuses one until the guest is started again.
        """
        server = self.boot()
        self.adjust(server, *GROWN)
        self.assert_all_see(server, GROWN)
        left = GROWN._replace(vcpus=1)
        self.adjust(server, 1)
        self.assert_all_see(server, left, stale_vcpus=2)
        if self.is_emulated:
            self._assert_refuses_to_go(server)
            self.assert_all_see(server, left, stale_vcpus=2)
            self.restart(server, 'hard')
            self.assert_all_see(server, left)

        self.migrate_live(server, self.other)
        self.assert_all_see(server, left)
        self._suspend_server(server)
        self._resume_server(server)
        self.assert_all_see(server, left)
        self.adjust(server, *base.MAXIMUM)
        self.assert_all_see(server, base.MAXIMUM)

    def _assert_refuses_to_go(self, server):
        self.assertEqual(
            ['vcpus_left'],
            [blocker['code'] for blocker in self.status(server)['blockers']])
        uptime = self.seen(server).uptime
        self.assertRaises(
            exception.Invalid,
            self.computes[self.host].driver.attach_interface,
            None, self.instance(server), None, None)
        for body, event in (
                ({'os-migrateLive': {
                    'host': self.other, 'block_migration': 'auto'}},
                 'compute_check_can_live_migrate_source'),
                ({'suspend': None}, 'compute_suspend_instance')):
            self.api.post_server_action(server['id'], body)
            self._wait_for_assert(lambda: self._assert_failed(server, event))
            self.wait_until_active(
                server, **{'OS-EXT-SRV-ATTR:host': self.host})
        self._wait_for_migration_status(server, ['error'])
        fixtures.wait_for(lambda: self.seen(server).uptime > uptime, 120,
                          'the guest goes on')

    def _assert_failed(self, server, event):
        """An event of the last action on a server says why it failed."""
        last = self.api.get_instance_actions(server['id'])[0]
        found = {
            found['event']: found for found in
            self.api.get_instance_action_details(
                server['id'], last['request_id'])['events']}
        self.assertIn(event, found)
        self.assertEqual('Error', found[event]['result'])
        self.assertIn('Reboot the server hard first', found[event]['details'])

    def test_cold_migration(self):
        server = self.boot()
        self.adjust(server, *GROWN)
        self.assert_all_see(server, GROWN)
        migration = self._migrate_cold(server, GROWN)
        self.api.post_server_action(server['id'], {'revertResize': None})
        self.wait_until_booted(server)
        self.wait_until_active(server)
        self.assert_all_see(server, GROWN)
        self.assertEqual({}, self.allocated(migration))
        shrunk = size.Size(1, 384)
        self.adjust(server, *shrunk)
        self.assert_all_see(server, shrunk, stale_vcpus=2)

        migration = self._migrate_cold(server, shrunk)
        self._confirm_resize(server)
        self.assert_all_see(server, shrunk)
        self.assertEqual({}, self.allocated(migration))
        self.adjust(server, *GROWN)
        self.assert_all_see(server, GROWN)

    def _migrate_cold(self, server, held):
        """Migrate a server, which is then charged on both hosts.

        :returns: the uuid of the migration, which has the charge of the one
            that the server left
        """
        self._migrate_server(server, host=self.other)
        self.wait_until_booted(server)
        self.assert_all_see(server, held)
        migration = self._migration(server)['uuid']
        self.assertEqual({self.host: held}, self.allocated(migration))
        return migration

    def _migration(self, server):
        return self.api.api_get(
            '/os-migrations?instance_uuid=%s' % server['id']
        ).body['migrations'][0]
