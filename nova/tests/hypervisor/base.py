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

"""Nova's services and Placement in one process, on real hypervisors.

These are not real: Keystone, Glance, Cinder and Neutron, the message broker,
and the size of a host, because Placement gives no server more vCPUs than its
host has.
"""

import io
import os
import pathlib
import time
import typing as ty

import fixtures
import libvirt
import libvirt_qemu
from lxml import etree
from oslo_serialization import jsonutils
import testtools
from testtools import content

import nova.conf
from nova import context
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.xloud import base
from nova.tests.hypervisor import fixtures as hypervisor_fixtures
from nova.tests.hypervisor import loops
from nova.tests.hypervisor import tiny_guest
from nova import utils
from nova.virt.libvirt.xloud import listener
from nova.virt import node
from nova.xloud import size

CONF = nova.conf.CONF

# The tiny guest needs 154 MiB of 1024, and keeps its reserve above that.
MINIMUM = size.Size(1, 320)
MAXIMUM = size.Size(4, 1024)

HOST_MEMORY_MB = 16384
_HOST_VCPUS = 16
# A guest without KVM, on a machine that is busy.
_SECONDS = 180
# Of half a second each
_RETRIES = 2 * _SECONDS
# What the kernel of a guest keeps for itself of its memory: 52 MiB of 1024 on
# Debian 12, and less than two sizes differ in these tests.
_KERNEL_MB = 96


class Views(ty.NamedTuple):
    """The size of a server according to all that count it."""

    # Its memory with what its kernel keeps.
    guest: ty.Optional[size.Size]
    qemu: size.Size
    libvirt: size.Size
    # By the configuration that libvirt keeps.
    next_start: size.Size
    row: size.Size
    desired: size.Size
    boot: size.Size
    placement: ty.Dict[str, size.Size]


def in_qemu(domain):
    """What a guest holds according to QEMU."""
    def ask(command):
        answer = libvirt_qemu.qemuMonitorCommand(
            domain, jsonutils.dumps({'execute': command}), 0)
        return jsonutils.loads(answer)['return']

    return size.Size(len(ask('query-cpus-fast')),
                     ask('query-balloon')['actual'] >> 20)


def in_configuration(domain):
    """What the next start of a guest gives, if libvirt starts it."""
    xml = etree.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    vcpu = xml.find('./vcpu')
    return size.Size(int(vcpu.get('current', vcpu.text)),
                     int(xml.findtext('./currentMemory')) // 1024)


class _Nothing(fixtures.Fixture):
    """Replaces a fixture that keeps tests away from the machine."""


class HypervisorTestCase(base.ElasticServersTestCase):
    """Servers in :attr:`libvirtds`, which all tests of a class share."""

    # A fork would share the connections to them.
    run_tests_with = testtools.RunTest
    compute_driver = 'libvirt.LibvirtDriver'
    HOSTS = 1
    SECONDS = _SECONDS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.libvirtds = [
            cls._use(hypervisor_fixtures.OwnLibvirtd(number))
            for number in range(cls.HOSTS)]
        cls.tiny_guest = cls._use(
            hypervisor_fixtures.TinyGuest(cls.libvirtds[0].path))
        cls.is_emulated = not cls.tiny_guest.has_kvm()

    @classmethod
    def _use(cls, fixture):
        fixture.setUp()
        cls.addClassCleanup(fixture.cleanUp)
        return fixture

    def setUp(self):
        for name in ('GenericPoisonFixture', 'PoisonFunctions',
                     'SysFsPoisonFixture'):
            self.useFixture(fixtures.MonkeyPatch(
                'nova.tests.fixtures.' + name, _Nothing))
        super().setUp()
        self.useFixture(hypervisor_fixtures.TellingLog())
        # By server and boot id, for all runs of its guest with the present one
        # last: the uptime at the last look.
        self._runs = {}
        self.useFixture(nova_fixtures.PrivsepFixture())
        self.useFixture(loops.Loops())
        for name, replacement in (
                ('host.Host.get_memory_mb_total',
                 lambda host: HOST_MEMORY_MB),
                ('driver.LibvirtDriver._get_vcpu_available',
                 lambda driver: set(range(_HOST_VCPUS)))):
            self.useFixture(fixtures.MonkeyPatch(
                'nova.virt.libvirt.' + name, replacement))
        # A folder that is removed even if the test is killed.
        instances = self.useFixture(
            fixtures.TempDir(rootdir=self.libvirtds[0].path)).path
        # QEMU is not root everywhere
        os.chmod(instances, 0o755)
        self.flags(instances_path=instances)
        self.flags(enabled=False, group='vnc')
        self.flags(mem_stats_period_seconds=1, inject_partition=-2,
                   images_type='raw', group='libvirt')
        if self.is_emulated:
            emulation = self.useFixture(hypervisor_fixtures.Emulation())
            self.flags(group='libvirt', **emulation.OPTIONS)
        else:
            self.flags(virt_type='kvm', cpu_mode='host-passthrough',
                       group='libvirt')
        self._watch_spawned()
        self.addCleanup(self._forget_events)
        self.addCleanup(self._wait_for_spawned)
        for libvirtd in self.libvirtds:
            self.addCleanup(libvirtd.remove_domains)
            self._start_host(libvirtd)

    @property
    def host(self):
        return self.libvirtds[0].address

    @property
    def compute(self):
        return self.computes[self.host]

    def _start_host(self, libvirtd):
        self.flags(connection_uri=libvirtd.uri, group='libvirt')
        # Nova keeps one for the process.
        node.LOCAL_NODE_UUID = None
        self.start_host(libvirtd.address).driver._host.get_node_uuid()

    def _forget_events(self):
        """Drop events that Nova still holds back.

        Nova waits before it accepts that a guest has stopped.
        """
        for compute in self.computes.values():
            for event in list(compute.driver._host._events_delayed.values()):
                event.cancel()

    def _wait_for_spawned(self):
        """Wait for work that events of libvirt have started.

        A test can end the threads of a host, but not these.
        """
        hypervisor_fixtures.wait_for(
            lambda: not self._spawned and not self._unowned(),
            _SECONDS, 'the threads of the test end')

    @staticmethod
    def _unowned():
        """What Nova before 32.0.0 runs and nobody can wait for."""
        if not hasattr(utils, '_get_default_green_pool'):
            return []
        pool = utils._get_default_green_pool()
        return [running for running in pool.coroutines_running
                if not hasattr(running, 'wait')]

    def _watch_spawned(self):
        spawn = listener.spawn
        self._spawned = []

        def watched(work):
            def run():
                try:
                    work()
                finally:
                    self._spawned.remove(run)

            self._spawned.append(run)
            spawn(run)

        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.listener.spawn', watched))

    def create_image(self, *words, has_agent=False):
        """An image that starts the tiny guest.

        :param words: for its kernel, to make it behave differently
        :param has_agent: whether it has a QEMU guest agent
        """
        guest = self.tiny_guest
        properties = {'hw_qemu_guest_agent': 'yes'} if has_agent else {}
        kernel, ramdisk = (
            self._upload(disk_format, pathlib.Path(path).read_bytes())
            for disk_format, path in (
                ('aki', guest.kernel),
                ('ari', guest.ramdisk_with_agent if has_agent
                 else guest.ramdisk)))
        return self._upload(
            'raw', bytes(1 << 20), kernel_id=kernel, ramdisk_id=ramdisk,
            hw_machine_type='q35',
            os_command_line=' '.join(
                [tiny_guest.COMMAND_LINE, *words]), **properties)

    def _upload(self, disk_format, content, **properties):
        return self.glance.create(context.get_admin_context(), {
            'name': disk_format, 'disk_format': disk_format,
            'container_format': 'bare' if disk_format == 'raw'
            else disk_format,
            'size': len(content), 'min_disk': 0, 'min_ram': 0,
            'visibility': 'public', 'is_public': True, 'protected': False,
            'created_at': self.glance.timestamp,
            'updated_at': self.glance.timestamp,
            'deleted_at': None, 'deleted': False, 'tags': [],
            'properties': properties}, data=io.BytesIO(content))['id']

    def boot(self, *words, minimum=MINIMUM, **image):
        """Create an elastic server with the tiny guest and wait for it.

        :param words, image: as of create_image()
        """
        flavor = self._create_flavor(
            vcpu=MAXIMUM.vcpus, memory_mb=MAXIMUM.memory_mb, disk=0,
            ephemeral=0, extra_spec=dict(
                zip(size.MINIMUM_KEYS, map(str, minimum))))
        server = self.create_server(
            flavor, image_uuid=self.create_image(*words, **image),
            host=self.host)
        self.addOnException(lambda _: self._tell_console(server))
        self.wait_until_booted(server)
        return server

    def _tell_console(self, server):
        """Show in a failure what the guest printed.

        QEMU 7.2 without KVM can break the kernel of a correct guest, for
        example when a live migration loses what a vCPU has just written. Such
        a test proves nothing, and the detail says so.
        """
        console = pathlib.Path(self._console(server))
        if not console.exists():
            return
        said = console.read_text(errors='replace')
        self.addDetail('console', content.text_content(said))
        last_words = tiny_guest.last_words(said)
        if last_words and self.is_emulated:
            self.addDetail('guest died', content.text_content(last_words))

    def wait_until_booted(self, server):
        """Wait until a guest that has just started prints something."""
        runs = self._runs.setdefault(server['id'], {})

        def is_new():
            seen = self.seen(server)
            return seen and seen.boot not in runs

        hypervisor_fixtures.wait_for(is_new, _SECONDS, 'the guest boots')
        seen = self.seen(server)
        runs[seen.boot] = seen.uptime

    def seen(self, server):
        """The last that the guest printed about itself, None if nothing."""
        if not os.path.exists(self._console(server)):
            return None
        with open(self._console(server), errors='replace') as console:
            return tiny_guest.seen(console.read())

    def run_in_guest(self, server, script):
        """Have its agent start a shell, which nobody waits for.

        :param script: what the shell runs; $B is busybox
        """
        command = jsonutils.dumps({'execute': 'guest-exec', 'arguments': {
            'path': '/bin/busybox',
            'arg': ['sh', '-c', 'B=/bin/busybox; ' + script]}})

        def has_started():
            try:
                libvirt_qemu.qemuAgentCommand(
                    self.domain(server), command, 60, 0)
            except libvirt.libvirtError as error:
                if error.get_error_code() != (
                        libvirt.VIR_ERR_AGENT_UNRESPONSIVE):
                    raise
                return False
            return True

        hypervisor_fixtures.wait_for(
            has_started, _SECONDS, 'the agent runs a shell')

    @staticmethod
    def _console(server):
        return os.path.join(
            CONF.instances_path, server['id'], 'console.log')

    def domain(self, server):
        """The domain, by a connection of the test."""
        host = self.instance(server).host
        (libvirtd,) = [libvirtd for libvirtd in self.libvirtds
                       if libvirtd.address == host]
        return libvirt.open(libvirtd.uri).lookupByUUIDString(server['id'])

    def views(self, server):
        """What everybody reports of a running server."""
        seen = self.seen(server)
        domain = self.domain(server)
        instance = self.instance(server)
        return Views(
            guest=seen and size.Size(
                seen.vcpus, MAXIMUM.memory_mb - seen.taken_mb),
            qemu=in_qemu(domain),
            libvirt=size.Size(
                domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE),
                domain.info()[2] // 1024),
            next_start=in_configuration(domain),
            row=size.charged(instance),
            desired=size.desired(instance),
            boot=size.boot(instance),
            placement=self.allocated(server['id']))

    def assert_all_see(self, server, held, desired=None, boot=None,
                       charge=None, next_start=None, stale_vcpus=None,
                       condition='Settled', reconcile=False):
        """All agree on the size of a server, at once or soon.

        Its guest also has not booted since the last look.

        :param held: what the guest has now
        :param desired: if it is not what the guest has
        :param boot: if it is not what is desired
        :param charge: if it is more than the largest of these
        :param next_start: what libvirt would start, if it has another size
        :param stale_vcpus: libvirt's count if QEMU does not report removed
            vCPUs to it, as under software emulation
        :param condition: of its status
        :param reconcile: whether a reconcile may be needed first, besides what
            libvirt's events lead to
        """
        desired = desired or held
        boot = boot or desired
        charge = charge or size.largest(held, desired, boot)
        in_libvirt = held
        if stale_vcpus and self.is_emulated:
            in_libvirt = held._replace(vcpus=stale_vcpus)
        expected = Views(
            guest=held, qemu=held, libvirt=in_libvirt,
            next_start=next_start or boot, row=charge, desired=desired,
            boot=boot,
            placement={self.instance(server).host: charge}), condition
        deadline = time.monotonic() + _SECONDS
        while True:
            found = self.views(server), self.status(server)['condition']
            if found == expected or time.monotonic() > deadline:
                break
            if reconcile:
                self.reconcile()
            time.sleep(0.3)
        self.assertEqual(expected, found, self.status(server)['reason'])
        self.assert_runs_on(server)
        kernel_mb = held.memory_mb - self.seen(server).memory_mb
        self.assertTrue(
            0 < kernel_mb <= _KERNEL_MB,
            'The guest sees %d MiB less than it has' % kernel_mb)

    def assert_runs_on(self, server):
        """Its guest has not started again without the test."""
        (*_, (boot, uptime)) = self._runs[server['id']].items()
        seen = self.seen(server)
        self.assertEqual(boot, seen.boot, 'The guest has started again')
        self.assertLessEqual(uptime, seen.uptime)
        self._runs[server['id']][boot] = seen.uptime

    def adjust(self, server, vcpus=None, memory_mb=None, persist=True,
               expect=202):
        """Ask a server to change its size.

        :param expect: 202 or 409, the answer
        :returns: the status after it, or why it was refused
        """
        body = {'persist': persist}
        if vcpus is not None:
            body['current_vcpus'] = vcpus
        if memory_mb is not None:
            body['current_memory_mb'] = memory_mb
        response = self._ask(server, body)
        self.assertEqual(expect, response.status, response.body)
        if expect == 409:
            return response.body['conflictingRequest']['message']
        return response.body['xloud_status']

    def _ask(self, server, body):
        """Ask as users are told to who ask right after a balloon has moved.

        Until its guest has reported what it needs now, the answer is to try
        again in a few seconds.
        """
        deadline = time.monotonic() + _SECONDS
        while True:
            response = self.api.api_post(
                '/os-xloud-adjust/%s' % server['id'], body,
                check_response_status=[202, 409])
            is_early = 'its balloon has just moved' in str(response.body)
            if not is_early or time.monotonic() > deadline:
                return response
            time.sleep(0.5)

    def status(self, server):
        return self.api.api_get(
            '/os-xloud-adjust/%s' % server['id']).body['xloud_status']

    def restart(self, server, how):
        """Restart the guest of a running server.

        :param how: 'soft' or 'hard' for a reboot, 'stop' to stop and start
        """
        if how == 'stop':
            self._stop_server(server)
            self._start_server(server)
        else:
            self.api.post_server_action(
                server['id'], {'reboot': {'type': how.upper()}})
        self.wait_until_booted(server)
        self.wait_until_active(server)
        # It would have become a hard one.
        self.assertNotIn('Failed to soft reboot', self.stdlog.logger.output)

    def wait_until_active(self, server, **expected):
        """Wait until no operation on a server is running."""
        self._wait_for_server_parameter(server, {
            'status': 'ACTIVE', 'OS-EXT-STS:task_state': None, **expected})

    # A guest takes longer than a fake one.

    def _wait_for_state_change(self, server, expected_status,
                               max_retries=_RETRIES, **others):
        return super()._wait_for_state_change(
            server, expected_status, max_retries, **others)

    def _wait_for_server_parameter(self, server, expected_params,
                                   max_retries=_RETRIES, api=None, **others):
        """Wait for a server, but not for one that failed.

        :param others: about the wait for a server that failed
        """
        api = api or self.admin_api

        def is_so():
            found = api.get_server(server['id'])
            if found['status'] == 'ERROR':
                self.fail(found.get('fault', {}).get('message', found))
            return expected_params.items() <= found.items()

        hypervisor_fixtures.wait_for(
            is_so, max_retries / 2, 'the server has %s' % expected_params)
        return api.get_server(server['id'])

    def reconcile(self):
        """As each host does every minute."""
        for host, compute in self.computes.items():
            with context.target_cell(
                    context.get_admin_context(),
                    self.host_mappings[host].cell_mapping) as cell:
                compute.manager._elastic.reconcile(cell)
