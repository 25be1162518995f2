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

"""The word of a guest agent counts where a guest has one."""

import fixtures
import libvirt
import libvirt_qemu

from nova.tests.hypervisor import base
from nova.tests.hypervisor import fixtures as hypervisor_fixtures
from nova.tests.hypervisor import tiny_guest
from nova.xloud import size


class AgentTestCase(base.HypervisorTestCase):

    def test_online(self):
        self.useFixture(self._patience())
        server = self._boot(tiny_guest.KEEP_OFFLINE)
        self.assert_all_see(server, base.MINIMUM, reconcile=True)
        # A vCPU is plugged, and nothing in the guest brings it online
        self.adjust(server, 2)
        self._wait_for(server, 'InProgress', 2, 1)
        # The settle timeout has passed.
        self.flags(settle_timeout=1, group='xloud')
        self._wait_for(server, 'Partial', 2, 1)
        self.assertIn('has 2 vCPUs and uses 1', self.status(server)['reason'])
        self.assert_charged(
            server, base.MINIMUM._replace(vcpus=2), self.host)
        # Now the guest brings it online, as with a rule for udev.
        self.domain(server).setGuestVcpus('1', 1)
        hypervisor_fixtures.wait_for(
            lambda: self._online(server) == 2, self.SECONDS,
            'the agent says so')
        self.assert_all_see(server, base.MINIMUM._replace(vcpus=2),
                            reconcile=True)

    def test_agent_hangs(self):
        """An agent that hangs delays nobody."""
        with self._patience():
            server = self._boot()
        before = self._count_silence()
        self._stop_agent(server)
        self.assert_all_see(server, base.MINIMUM)
        self.adjust(server, memory_mb=512)
        self.assert_all_see(server, size.Size(1, 512), reconcile=True)
        # It was asked once.
        self.assertEqual(before + 1, self._count_silence())

    def test_agent_that_is_in_sync_and_says_nothing(self):
        """Its calls end in libvirt, too, or nobody could call libvirt."""
        server = self.boot(tiny_guest.MUTE_AGENT, has_agent=True)
        hypervisor_fixtures.wait_for(
            lambda: self.status(server) and self._count_silence(),
            self.SECONDS, 'the agent does not answer')
        # libvirt takes the next command as soon as the last has ended.
        error = self.assertRaises(
            libvirt.libvirtError, libvirt_qemu.qemuAgentCommand,
            self.domain(server), '{"execute": "guest-ping"}', 1, 0)
        self.assertEqual(libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
                         error.get_error_code(), error)

    def test_it_is_paused(self):
        """It cannot answer then, and is asked when its guest goes on."""
        with self._patience():
            server = self._boot()
        before = self._count_silence()
        for action, state in (('pause', 'PAUSED'), ('unpause', 'ACTIVE')):
            self.api.post_server_action(server['id'], {action: None})
            self._wait_for_state_change(server, state)
            self.assertEqual(1, self._online(server))
        self.assertEqual(before, self._count_silence())

    @staticmethod
    def _patience():
        """On a busy machine an agent may be late and is asked again soon."""
        return fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.agent._SILENCE_SECONDS', 1)

    def _boot(self, *words):
        server = self.boot(*words, has_agent=True)
        hypervisor_fixtures.wait_for(
            lambda: self._online(server) == 1, self.SECONDS,
            'the agent answers')
        return server

    def _count_silence(self):
        return self.stdlog.logger.output.count('is not asked for a while')

    def _online(self, server):
        return self.status(server)['online_vcpus']

    def _wait_for(self, server, condition, actual, online):
        def is_so():
            status = self.status(server)
            return (condition, actual, online) == (
                status['condition'], status['actual_vcpus'],
                status['online_vcpus'])

        hypervisor_fixtures.wait_for(
            is_so, self.SECONDS, '%s, %d of %d vCPUs are online' % (
                condition, online, actual))

    def _stop_agent(self, server):
        """Make it hang, as a process that waits for a disk does."""
        self.run_in_guest(
            server, '$B sleep 1; $B kill -STOP $($B cat /qemu-ga.pid)')
        hypervisor_fixtures.wait_for(
            lambda: self._online(server) is None, self.SECONDS,
            'the agent hangs')
