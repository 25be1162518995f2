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

"""A guest survives the least memory that the API names, at any maximum."""

import re
import time

import libvirt

from nova.tests.hypervisor import base
from nova.tests.hypervisor import fixtures as hypervisor_fixtures
from nova.tests.hypervisor import tiny_guest
from nova.xloud import size

_BOOT_MB = 1024
_MAXIMA_MB = (1024, 8192, 16384)
_SURVIVAL_SECONDS = 35
_SECONDS = 240
_USED_MB, _LEFT_MB = 640, 64


class MemoryTestCase(base.HypervisorTestCase):

    # Three guests that boot and wait.
    TIMEOUT_SCALING_FACTOR = 3

    def start_with(self, image, maximum_mb):
        flavor = self._create_flavor(
            vcpu=4, memory_mb=maximum_mb, disk=0, ephemeral=0, extra_spec={
                'minimum_cpu': '1', 'minimum_memory': str(_BOOT_MB)})
        server = self.create_server(
            flavor, image_uuid=image, host=self.host)
        self.addOnException(lambda _: self._tell_console(server))
        # The same flavor with a lower minimum, as if older than the rule.
        instance = self.instance(server)
        size.record(instance, size.Size(1, _BOOT_MB), size.Size(1, _BOOT_MB))
        instance.flavor.extra_specs['minimum_memory'] = '64'
        instance.save()
        return server

    def wait_until_settled(self, server):
        def is_settled():
            status = self.status(server)
            if status['condition'] == 'InProgress':
                self.reconcile()
            return (status['condition'] == 'Settled' and
                    status['balloon_driver_active'])

        hypervisor_fixtures.wait_for(
            is_settled, _SECONDS, 'the server is settled')

    def test_the_least_that_is_named_is_survived(self):
        image = self.create_image()
        servers = [self.start_with(image, maximum_mb)
                   for maximum_mb in _MAXIMA_MB]
        for server in servers:
            hypervisor_fixtures.wait_for(
                lambda: self.seen(server), _SECONDS, 'the guest boots')
            self.wait_until_booted(server)
            self.wait_until_settled(server)

        least = {}
        for server, maximum_mb in zip(servers, _MAXIMA_MB):
            refusal = self.adjust(server, memory_mb=64, expect=409)
            least_mb = int(re.search(
                r'so (\d+) MiB is the least now', refusal).group(1))
            # More than a guest whose maximum is this memory would need.
            self.assertGreater(least_mb, maximum_mb // 64 + 128)
            self.assertLess(least_mb, _BOOT_MB)
            self.adjust(server, memory_mb=least_mb)
            least[server['id']] = least_mb

        for server in servers:
            self.wait_until_settled(server)
        time.sleep(_SURVIVAL_SECONDS)
        for server in servers:
            uptime = self.seen(server).uptime
            status = self.status(server)
            self.assertEqual(
                ('Settled', least[server['id']], least[server['id']]),
                (status['condition'], status['desired_memory_mb'],
                 status['actual_memory_mb']), status['reason'])
            hypervisor_fixtures.wait_for(
                lambda: self.seen(server).uptime > uptime, _SECONDS,
                'the guest goes on')
            self.assert_runs_on(server)
            with open(self._console(server), errors='replace') as console:
                said = console.read()
            self.assertIsNone(tiny_guest.last_words(said))
            self.assertNotIn('Out of memory', said)

    def test_somebody_changes_how_often_guests_report(self):
        """With virsh, or a program that collects statistics."""
        server = self.boot()
        self.wait_until_settled(server)
        domain = self.domain(server)
        for period in (0, 60):
            domain.setMemoryStatsPeriod(
                period, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            # Its reports are too old by then.
            time.sleep(5)
            for _ in range(2):
                self.reconcile()
            hypervisor_fixtures.wait_for(
                lambda: self.status(server)['balloon_driver_active'], 30,
                'the guest reports')
            self.assertEqual([], self.status(server)['blockers'])


class LateDriverTestCase(base.HypervisorTestCase):
    """A balloon driver that loads when the time of a start is over."""

    def setUp(self):
        super().setUp()
        self.flags(settle_timeout=5, group='xloud')

    def start_without_driver(self):
        """A guest that holds its maximum, which counts as accepted."""
        server = self.boot(tiny_guest.NO_BALLOON, has_agent=True)
        self.assert_all_see(
            server, base.MINIMUM._replace(memory_mb=base.MAXIMUM.memory_mb),
            boot=base.MINIMUM, condition='Partial', reconcile=True)
        return server

    def load_driver(self, server):
        self.run_in_guest(server, '$B insmod /modules/*balloon.ko')

    def test_goes_to_the_boot_size(self):
        server = self.start_without_driver()
        self.load_driver(server)
        self.assert_all_see(server, base.MINIMUM, reconcile=True)

    def test_takes_nothing_in_use(self):
        server = self.start_without_driver()
        # Its first file system takes half of the memory at most.
        self.run_in_guest(
            server, '$B mkdir /m; $B mount -t tmpfs -o size=90%% m /m; '
            '$B dd if=/dev/zero of=/m/used bs=1M count=%d' % _USED_MB)
        hypervisor_fixtures.wait_for(
            lambda: self.seen(server).free_kib < (
                base.MAXIMUM.memory_mb - _USED_MB) << 10,
            _SECONDS, 'the guest uses its memory')
        self.load_driver(server)
        # Within a second it takes all that nothing uses.
        hypervisor_fixtures.wait_for(
            lambda: self.is_left_alone(server), _SECONDS,
            'the guest has what it uses, and a reserve')
        self.assert_runs_on(server)
        held = base.MINIMUM._replace(
            memory_mb=self.status(server)['actual_memory_mb'])
        self.assertGreater(held.memory_mb, _USED_MB + _LEFT_MB)
        self.assert_charged(server, held, self.host)
        self.assertEqual(base.MINIMUM, size.boot(self.instance(server)))

    def is_left_alone(self, server):
        """Whether its start is over, and it has what it was asked for."""
        self.reconcile()
        status = self.status(server)
        return (status['condition'] in ('Partial', 'Settled') and
                status['balloon_driver_active'] and
                status['actual_memory_mb'] == status['desired_memory_mb'] and
                self.seen(server).free_kib > _LEFT_MB << 10)
