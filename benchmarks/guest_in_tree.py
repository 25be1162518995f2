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

"""The half of benchmarks.guest that runs in the tree, as a process there."""

import collections
import statistics
import time

from nova.tests.hypervisor import base  # noqa: I100

import libvirt

from nova.tests.hypervisor import fixtures
from nova.xloud import size

# The guest uses more than the minimum for a moment after it grew.
SMALL_MB, LARGE_MB = 512, base.MAXIMUM.memory_mb


class Bench(base.HypervisorTestCase):

    def __init__(self, rounds):
        super().__init__()
        self.rounds = rounds
        self._results = {}

    def runTest(self):
        self.flags(allow_resize_to_same_host=True)
        self.times = collections.defaultdict(list)
        self.bench_memory()
        self.bench_libvirt()
        self.bench_vcpus()
        self.bench_resize()
        self._results.update(
            (name + '_ms', round(1000 * statistics.median(seconds), 1))
            for name, seconds in self.times.items())

    def bench_memory(self):
        server = self.boot()
        for number in range(-1, self.rounds):  # the first one warms up
            for name, memory_mb in (('grow', LARGE_MB), ('shrink', SMALL_MB)):
                start = time.perf_counter()
                answer = self.adjust(server, memory_mb=memory_mb)
                answered = time.perf_counter()
                # If it was refused it is a text.
                self.assertIsInstance(answer, dict, answer)
                self.wait_until_seen(server, size.Size(1, memory_mb))
                seen = time.perf_counter()
                if number >= 0:
                    self.times['memory_adjust'].append(answered - start)
                    self.times['memory_%s_seen' % name].append(seen - start)
        self._delete_server(server)

    def bench_libvirt(self):
        # Not elastic, so that nobody puts back what is changed here.
        server = self.create_server(
            self.plain_flavor(LARGE_MB), image_uuid=self.create_image(),
            host=self.host)
        self.wait_until_booted(server)
        domain = self.domain(server)
        self._results['machine'] = self.machine(domain.connect())
        for number in range(-1, self.rounds):
            for memory_mb in (SMALL_MB, LARGE_MB):
                start = time.perf_counter()
                for flag in (libvirt.VIR_DOMAIN_AFFECT_LIVE,
                             libvirt.VIR_DOMAIN_AFFECT_CONFIG):
                    domain.setMemoryFlags(memory_mb << 10, flag)
                if number >= 0:
                    self.times['memory_libvirt'].append(
                        time.perf_counter() - start)
                self.wait_until_seen(server, size.Size(1, memory_mb))
        self._delete_server(server)

    def bench_vcpus(self):
        server = self.boot()
        for vcpus in range(2, base.MAXIMUM.vcpus + 1):
            start = time.perf_counter()
            self.adjust(server, vcpus)
            self.times['vcpu_adjust'].append(time.perf_counter() - start)
            self.wait_until_seen(server, base.MINIMUM._replace(vcpus=vcpus))
            self.times['vcpu_grow_seen'].append(time.perf_counter() - start)
        self._delete_server(server)

    def bench_resize(self):
        small, large = map(self.plain_flavor, (SMALL_MB, LARGE_MB))
        server = self.create_server(
            small, image_uuid=self.create_image(), host=self.host)
        self.wait_until_booted(server)
        for number in range(self.rounds):
            start = time.perf_counter()
            self.api.post_server_action(server['id'], {
                'resize': {'flavorRef': small if number % 2 else large}})
            self.wait_for(server, 'resized')
            self.api.post_server_action(server['id'], {'confirmResize': None})
            self.wait_for(server, 'active')
            self.times['resize'].append(time.perf_counter() - start)
            # One that still boots would not hear that it shall shut down, and
            # be told again after 10 s.
            self.wait_until_booted(server)

    def machine(self, connection):
        return {'QEMU': '%s (%s)' % (
                    _dotted(connection.getVersion()),
                    'software emulation' if self.is_emulated else 'KVM'),
                'libvirt': _dotted(connection.getLibVersion())}

    def plain_flavor(self, memory_mb):
        return self._create_flavor(
            vcpu=1, memory_mb=memory_mb, disk=1, ephemeral=0)

    def wait_until_seen(self, server, held):
        fixtures.wait_for(
            lambda: self.views(server).guest == held, 60,
            'the guest sees %s' % (held,))

    def wait_for(self, server, vm_state):
        while True:
            # The row, since upstream's tests ask the API twice a second.
            instance = self.instance(server)
            if (instance.vm_state, instance.task_state) == (vm_state, None):
                return
            time.sleep(0.005)


def _dotted(version):
    return '%d.%d.%d' % (
        version // 1000000, version // 1000 % 1000, version % 1000)
