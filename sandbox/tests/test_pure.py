#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.


"""What the sandbox decides without a service."""

import configparser
from importlib import metadata
import json
import lzma
import os
from pathlib import Path
import re
import runpy
import stat
import tempfile
import unittest
from unittest import mock

from sandbox import __main__ as main
from sandbox import browse
from sandbox import check
from sandbox import client
from sandbox import compute
from sandbox import configuration
from sandbox import dashboard
from sandbox.guest import tiny_guest
from sandbox import layout
from sandbox import machine
from sandbox import measure
from sandbox import network
from sandbox import probes
from sandbox import servers
from sandbox import stack
from sandbox.steps import accidents

STATUS = {
    'condition': 'Settled', 'reason': None,
    **{f'{word}_{key}': value
       for word in ('desired', 'boot', 'actual', 'allocated')
       for key, value in (('vcpus', 2), ('memory_mb', 640))}}
OLD = probes.Sizes(1, 320)
HELD = probes.Sizes(2, 640)
SEEN = tiny_guest.Seen('a', 10.0, 2, 600 * 1024, 1 << 20, 1, '10.29.1.9')


class ProblemsTest(unittest.TestCase):
    def assert_problems(self, *expected, allocation=HELD, seen=SEEN, **status):
        found = probes.problems({**STATUS, **status}, allocation, seen)
        self.assertEqual(len(expected), len(found), found)
        for text, problem in zip(expected, found):
            self.assertIn(text, problem)

    def test_all_agree(self):
        self.assert_problems()

    def test_one_mib_of_rounding(self):
        self.assert_problems(actual_memory_mb=641)

    def test_a_charge_that_is_too_small_or_too_large(self):
        for memory_mb in (512, 768):
            self.assert_problems(
                'charged is', allocated_memory_mb=memory_mb,
                allocation=probes.Sizes(2, memory_mb))

    def test_placement_has_something_else(self):
        self.assert_problems('Placement has', allocation=probes.Sizes(1, 640))

    def test_guest_sees_something_else(self):
        self.assert_problems('sees 1 vCPUs', seen=SEEN._replace(vcpus=1))
        self.assert_problems(
            'sees 500 MiB', seen=SEEN._replace(kib=500 * 1024))
        self.assert_problems('says nothing', seen=None)

    def test_not_settled(self):
        self.assert_problems('InProgress: soon', condition='InProgress',
                             reason='soon')

    def test_host_is_silent(self):
        self.assert_problems('does not say', actual_vcpus=None,
                             actual_memory_mb=None)


class NextStartTest(unittest.TestCase):
    CONFIGURATION = """\
<domain><vcpu placement="static" current="2">4</vcpu>
<currentMemory unit="KiB">655360</currentMemory></domain>"""

    def assert_problems(self, *expected, configuration=CONFIGURATION):
        self.assertEqual(list(expected), probes.next_start_problems(
            STATUS, configuration))

    def test_agrees(self):
        self.assert_problems()

    def test_another_size(self):
        for wrong in (('"2"', '"3"'), ('655360', '524288')):
            found = probes.next_start_problems(
                STATUS, self.CONFIGURATION.replace(*wrong))
            self.assertIn('would start it with', ''.join(found))

    def test_none(self):
        for nothing in (None, ''):
            self.assert_problems('libvirt has no configuration of it',
                                 configuration=nothing)


class MeasureTest(unittest.TestCase):
    def test_table(self):
        text = measure.table([
            measure.Row('adjust', [float(number) for number in
                                   range(100, 200)]),
            measure.Row('resize', [9000.4])])
        self.assertEqual("""\
======  ======  =====  ======  ====  ====
\\       rounds  least  median  95 %  most
======  ======  =====  ======  ====  ====
adjust     100    100     150   195   199
resize       1   9000    9000  9000  9000
======  ======  =====  ======  ====  ====""", text)


class PromisedTest(unittest.TestCase):
    def test_what_was_accepted_is_made(self):
        self.assertEqual({HELD}, accidents.promised(202, OLD, HELD))

    def test_what_was_refused_is_not(self):
        self.assertEqual({OLD}, accidents.promised(409, OLD, HELD))

    def test_without_an_answer_of_ours_either_may_be(self):
        for code in (500, 503):
            self.assertEqual({OLD, HELD}, accidents.promised(code, OLD, HELD))


class GuestTest(unittest.TestCase):
    def test_the_last_whole_line_counts(self):
        self.assertEqual(
            tiny_guest.Seen('b', 9.5, 2, 307200, 600000, 5, '10.0.0.3'),
            tiny_guest.seen(
                'Linux\r\n'
                'STATE boot=b up=8 cpus=1 kib=307200 of=600000 free=5 '
                'address=\r\n'
                'STATE boot=b up=9.5 cpus=2 kib=307200 of=600000 free=5 '
                'address=10.0.0.3\r\n'
                'STATE boot=b up=10 cpus=4 kib=30'))
        self.assertIsNone(tiny_guest.seen('Linux\r\n'))

    def test_modules_come_after_what_they_need(self):
        dependencies = ('k/a.ko:\n'
                        'k/pci.ko.xz: k/b.ko k/a.ko\n'
                        'k/b.ko: k/a.ko\n'
                        'k/balloon.ko: k/c.ko k/a.ko\n')
        self.assertEqual(
            ['k/a.ko', 'k/b.ko', 'k/pci.ko.xz', 'k/c.ko', 'k/balloon.ko'],
            tiny_guest.in_order(dependencies, ['pci', 'balloon', 'built-in']))

    def test_kernels_that_distributions_have(self):
        for name, modules in (
                ('boot/vmlinuz-6.1.0-9-amd64', 'lib/modules/6.1.0-9-amd64'),
                ('lib/modules/6.12.1.fc41.x86_64/vmlinuz',
                 'lib/modules/6.12.1.fc41.x86_64')):
            with self.subTest(name), tempfile.TemporaryDirectory() as root, \
                    mock.patch.dict(os.environ, XLOUD_GUEST_ROOT=root):
                self.assertIsNone(tiny_guest.kernel())
                for path in (name, 'boot/vmlinuz-0-rescue-0123'):
                    image = Path(root, path)
                    image.parent.mkdir(parents=True, exist_ok=True)
                    image.touch()
                self.assertEqual(Path(root, name), tiny_guest.kernel())
                self.assertEqual(Path(root, modules),
                                 tiny_guest.modules_of(tiny_guest.kernel()))

    def test_packed_modules(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in (('a.ko', b'module'),
                                  ('a.ko.xz', lzma.compress(b'module'))):
                module = Path(folder, name)
                module.write_bytes(content)
                self.assertEqual(b'module', tiny_guest.unpacked(module))


# A QEMU as it is with a /dev/kvm, whose console is the argument of -serial.
QEMU = """#!/bin/sh
for word; do
    case $word in file:*) console=${word#file:} ;; esac
done
"""


class KvmTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        for name, result in (('kernel', self.folder / 'kernel'),
                             ('make_ramdisk', self.folder / 'ramdisk')):
            patch = mock.patch.object(tiny_guest, name, return_value=result)
            patch.start()
            self.addCleanup(patch.stop)

    def boots(self, script, seconds=60):
        qemu = self.folder / 'qemu'
        qemu.write_text(QEMU + script)
        qemu.chmod(0o700)
        return tiny_guest.boots_with_kvm(str(qemu), seconds)

    def test_a_guest_that_reports_what_it_sees(self):
        self.assertTrue(self.boots(
            'echo "STATE boot=a up=1 cpus=1 kib=1 of=1 free=1 address=" '
            '>"$console"\n'
            'exec sleep 60'))

    def test_a_device_that_qemu_cannot_use(self):
        self.assertFalse(self.boots('exit 1'))

    def test_a_guest_that_hangs(self):
        self.assertFalse(self.boots('exec sleep 60', 0.5))

    def test_the_hosts_say_how_they_were_configured(self):
        site = layout.create(self.folder / 'site')
        for has_kvm in (True, False):
            with mock.patch.object(machine, 'has_kvm', lambda: has_kvm):
                for host in layout.HOSTS:
                    compute._configure_host(site, host)
            self.assertEqual(not has_kvm, compute.is_emulated(site))


class LayoutTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def mode(self, path):
        return stat.S_IMODE(path.stat().st_mode)

    def test_secrets_are_their_owners(self):
        self.assertIsNone(layout.load(self.folder))
        site = layout.create(self.folder)
        self.assertEqual(0o700, self.mode(site.site))
        self.assertEqual(0o600, self.mode(site.site / 'settings.json'))
        client.write_clouds(site)
        self.assertEqual(0o600, self.mode(site.clouds))
        # A command that names another version would be refused.
        for cloud in json.loads(site.clouds.read_text())['clouds'].values():
            self.assertEqual([], [key for key in cloud
                                  if key.endswith('default_microversion')])

    def test_secrets_stay_and_are_of_this_sandbox(self):
        site = layout.create(self.folder)
        self.assertEqual(site, layout.create(self.folder))
        self.assertEqual(site, layout.load(self.folder))
        self.assertEqual(len(site.passwords), len(set(
            site.passwords.values())))
        other = layout.create(self.folder / 'other')
        self.assertFalse(set(site.passwords.values()) &
                         set(other.passwords.values()))

    def test_a_sandbox_keeps_its_release(self):
        with mock.patch.object(layout, 'RELEASE', '2026.2'):
            site = layout.create(self.folder)
        self.assertEqual('2026.2', site.release)
        self.assertEqual('2026.2', layout.load(self.folder).release)
        self.assertEqual(('env-2026.2', 'nova-2026.2'),
                         (site.nova_env.name, site.nova_tree.name))
        with mock.patch.object(layout, 'load', lambda: site), \
                mock.patch.object(layout, 'create', lambda stock: site), \
                mock.patch.object(layout, 'RELEASE', '2024.1'):
            with self.assertRaisesRegex(stack.Unfit, 'Nova 2026.2, not 2024'):
                stack.Up().run()

    def test_a_sandbox_from_before_others_were_served(self):
        layout.create(self.folder)
        path = layout.site(self.folder) / 'settings.json'
        settings = json.loads(path.read_text())
        for name in ('release', 'stock'):
            del settings[name]
        path.write_text(json.dumps(settings))
        self.assertEqual(('2024.1', False), (
            layout.load(self.folder).release, layout.load(self.folder).stock))

    def test_every_host_has_an_address(self):
        addresses = {layout.address(host) for host in layout.HOSTS}
        self.assertEqual(len(layout.HOSTS), len(addresses))


class StepsTest(unittest.TestCase):
    """The checks take them in order, up to the first that fails."""

    class Few:
        STEPS = ('one', 'two', 'three')
        site = mock.Mock(logs='logs')

        def __init__(self):
            self.done = []

        def remove_servers(self):
            self.done.append('remove')

        def one(self):
            """one thing"""
            self.done.append('one')

        def two(self):
            """another thing"""
            raise probes.Mismatch('it is not')

        def errors(self):
            return ()

        def tidy(self):
            self.done.append('tidy')

    def test_one_fails(self):
        few, said = self.Few(), []
        self.assertEqual(1, check.run(few, said.append))
        self.assertEqual(['remove', 'one', 'tidy'], few.done)
        self.assertIn('test: 1 passed, 1 failed, 1 not run', said)

    def test_all_pass(self):
        few, said = self.Few(), []
        few.STEPS = ('one',)
        self.assertEqual(0, check.run(few, said.append))
        self.assertEqual(['remove', 'one', 'remove', 'tidy'], few.done)

    def test_all_are_there(self):
        for kind in (check.Check, browse.Browse):
            for name in kind.STEPS:
                self.assertTrue(getattr(kind, name).__doc__, name)
        self.assertEqual(set(check.Check.STEPS), {
            name for kind in (*check.Check.__bases__, servers.Servers)
            for name in vars(kind) if name.islower() and name[0] != '_'
        } - {'errors', 'tidy', 'remove_servers'})
        self.assertEqual(
            {f'migrate_{name.replace(".", "_")}' for name in browse.OFFERS},
            {name for name in browse.Browse.STEPS
             if name.startswith('migrate_')})


class DashboardTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.site = layout.create(Path(temporary.name))

    def test_only_where_it_was_asked_for(self):
        dashboard.configure(self.site)
        self.assertFalse(self.site.dashboard.exists())
        self.assertNotIn(dashboard.NAME, stack.names(self.site))

    def test_settings_are_python_and_its_owners(self):
        self.site.dashboard.mkdir()
        dashboard.configure(self.site)
        (path,) = self.site.dashboard.rglob('local_settings.py')
        self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        settings = runpy.run_path(str(path))
        self.assertEqual(self.site.identity_url,
                         settings['OPENSTACK_KEYSTONE_URL'])
        self.assertEqual(self.site.passwords['horizon'],
                         settings['SECRET_KEY'])
        self.assertTrue(Path(settings['SESSION_FILE_PATH']).is_dir())
        self.assertIn(dashboard.NAME, stack.names(self.site))


class HostsTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.site = layout.create(Path(temporary.name))
        compute.configure(self.site)
        network.configure(self.site)

    def read(self, service, name):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(self.site.etc(service) / f'{name}.conf')
        return parser

    def test_nova_does_not_know_the_database_there(self):
        self.assertIn('database', self.read('nova', 'control'))
        for name in ('nova', *layout.HOSTS):
            self.assertFalse({'database', 'api_database'} &
                             set(self.read('nova', name)))

    def test_nova_and_neutron_call_them_the_same(self):
        # Else Neutron would bind no port there.
        for agent, (_kind, host) in network.AGENTS.items():
            for service, name in (('nova', host), ('neutron', agent)):
                self.assertEqual(
                    host, self.read(service, name)['DEFAULT']['host'])
            address = layout.address(host)
            self.assertEqual(
                address, self.read('nova', host)['DEFAULT']['my_ip'])
            self.assertEqual(
                address, self.read('neutron', agent)['vxlan']['local_ip'])

    def test_neutron_finds_what_it_is_told_to_use(self):
        (installed,) = metadata.distributions(
            path=[str(network._plugins(self.site))])
        found = {entry.group: entry.name for entry in installed.entry_points}
        with mock.patch.object(network, '_needs_taps', lambda site: True):
            network.configure(self.site)
        self.assertEqual({
            'neutron.ml2.mechanism_drivers':
                self.read('neutron', 'neutron')['ml2']['mechanism_drivers'],
            **{'neutron.agent.l2.extensions':
               self.read('neutron', agent)['agent']['extensions']
               for agent in network.AGENTS}}, found)

    def test_a_nova_that_plugs_into_bridges_needs_no_taps(self):
        env = self.site.site / 'env-of-nova'
        plugin = env / 'lib/python3.11/site-packages/vif_plug_linux_bridge'
        with mock.patch.object(layout, 'nova_env', lambda release: env):
            self.assertTrue(network._needs_taps(self.site))
            plugin.mkdir(parents=True)
            self.assertFalse(network._needs_taps(self.site))
            network.configure(self.site)
        self.assertEqual(
            network._BRIDGES,
            self.read('neutron', 'neutron')['ml2']['mechanism_drivers'])


class MainTest(unittest.TestCase):
    def test_not_root(self):
        shown = []

        def ask():
            raise PermissionError(13, 'Permission denied', 'settings.json')

        with mock.patch.dict(main.COMMANDS, status=ask), \
                mock.patch.object(main, '_show', shown.append), \
                mock.patch('os.geteuid', return_value=1000), \
                mock.patch('sys.argv', ['sandbox', 'status']):
            self.assertEqual(main.UNFIT, main.main())
        self.assertEqual(['settings.json is not yours. '
                          'Run tools/sandbox.sh as root.'], shown)


class ConfigurationTest(unittest.TestCase):
    def test_text(self):
        self.assertEqual(
            '[a]\nb = 1\nc = true\nd =\n\n[e]\nf = g=h\n',
            configuration.text({'a': {'b': 1, 'c': True, 'd': ''},
                                'e': {'f': 'g=h'}}))


class HeartbeatTest(unittest.TestCase):
    def test_before_and_after_the_start(self):
        for text, expected in (('1970-01-01T00:01:39.000000', False),
                               ('1970-01-01T00:01:41.000000', True)):
            self.assertEqual(expected, compute.reported_since(text, 100.5))


class RequirementsTest(unittest.TestCase):
    def test_each_has_one_pin(self):
        folder = layout.ROOT / 'sandbox'
        wanted, pinned = (
            {re.split('[=<]', line)[0].lower()
             for line in (folder / f'requirements.{kind}').read_text()
             .splitlines() if line and line[0] != '#'}
            for kind in ('in', 'txt'))
        self.assertLessEqual(wanted, pinned)
