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

"""A QEMU that hangs delays only requests about its own guest."""

import os
import pathlib
import signal
import time

import fixtures

import nova.conf
from nova.tests.hypervisor import base
from nova.xloud import size

CONF = nova.conf.CONF
GROWN = size.Size(2, 512)
LARGE = base.MINIMUM._replace(memory_mb=base.MAXIMUM.memory_mb)


class SilenceTestCase(base.HypervisorTestCase):

    def test_qemu_hangs(self):
        # Long enough for the other guest to answer on a busy machine
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.patience.SECONDS', 10))
        silent, other = self.boot(), self.boot()
        self.assert_all_see(silent, base.MINIMUM)
        process = qemu_of(silent)
        os.kill(process, signal.SIGSTOP)
        self.addCleanup(os.kill, process, signal.SIGCONT)

        status = self.status(silent)
        self.assertEqual('Unknown', status['condition'])
        self.assertIsNone(status['actual_vcpus'])
        self.assertIn('host_silent',
                      [blocker['code'] for blocker in status['blockers']])
        self.assertIn('does not answer',
                      self.adjust(silent, *GROWN, expect=409))
        # Nothing is known of it, so nothing is changed about it.
        self.assertEqual({self.host: base.MINIMUM},
                         self.allocated(silent['id']))

        self.adjust(other, *GROWN)
        self.assert_all_see(other, GROWN)
        self.adjust(other, memory_mb=base.MINIMUM.memory_mb)
        self.reconcile()
        self.assert_all_see(
            other, GROWN._replace(memory_mb=base.MINIMUM.memory_mb))

        os.kill(process, signal.SIGCONT)
        self.assert_all_see(silent, base.MINIMUM)
        self.adjust(silent, *GROWN)
        self.assert_all_see(silent, GROWN)

    def test_as_many_hang_as_are_asked_at_once(self):
        """Elastic servers wait for one of them, the rest of Nova does not."""
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.patience.SECONDS', 5))
        hanging = [self.boot() for _ in range(3)]
        other = self.boot()
        processes = [qemu_of(server) for server in hanging]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
            self.addCleanup(os.kill, process, signal.SIGCONT)
        for server in (*hanging, other):
            self.assertEqual('Unknown', self.status(server)['condition'])
        self.adjust(other, *GROWN, expect=409)
        self.reconcile()
        self.assertEqual({self.host: base.MINIMUM},
                         self.allocated(other['id']))
        self.restart(other, 'hard')
        for process in processes:
            os.kill(process, signal.SIGCONT)
        for server in (*hanging, other):
            self.assert_all_see(server, base.MINIMUM, reconcile=True)
        self.adjust(other, *GROWN)
        self.assert_all_see(other, GROWN)

    def test_time_does_not_pass_while_a_guest_can_do_nothing(self):
        """Without Nova: storage is full or hangs, or an operator pauses it."""
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.patience.SECONDS', 2))
        server = self.boot()
        self.assert_all_see(server, base.MINIMUM, reconcile=True)
        domain, process = self.domain(server), qemu_of(server)
        for stop, go_on in (
                (domain.suspend, domain.resume),
                (lambda: os.kill(process, signal.SIGSTOP),
                 lambda: os.kill(process, signal.SIGCONT))):
            self.adjust(server, memory_mb=base.MAXIMUM.memory_mb)
            self.assert_all_see(server, LARGE, reconcile=True)
            self.adjust(server, memory_mb=base.MINIMUM.memory_mb)
            stop()
            try:
                self.flags(settle_timeout=4, group='xloud')
                for _ in range(2):
                    time.sleep(CONF.xloud.settle_timeout)
                    self.reconcile()
                self.assertEqual(
                    base.MINIMUM, size.desired(self.instance(server)))
            finally:
                self.flags(settle_timeout=300, group='xloud')
                go_on()
            self.assert_all_see(server, base.MINIMUM, reconcile=True)


def qemu_of(server):
    """The process id of the QEMU of a server."""
    (process,) = [
        int(path.parent.name)
        for path in pathlib.Path('/proc').glob('[0-9]*/cmdline')
        if b'qemu' in path.read_bytes().partition(b'\0')[0] and
        server['id'].encode() in path.read_bytes()]
    return process
