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

import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from sandbox import copying
from sandbox import deployment
from sandbox import layout
from sandbox import nodes
from sandbox import probes


class ClientsTest(unittest.TestCase):
    def boot(self, *lists):
        """One server, and what each list says of its status.

        An exception is raised; without a status the server is not there.
        """
        clients, cloud = deployment.Clients(None), mock.Mock()
        cloud.compute.create_server.return_value = mock.Mock(
            id='one', status=None)
        cloud.compute.servers.side_effect = [
            found if isinstance(found, Exception) else
            [mock.Mock(id='one', status=found)] if found else []
            for found in lists]
        with mock.patch.object(deployment.time, 'sleep'):
            clients._one(cloud)
        cloud.compute.delete_server.assert_called_once()
        return clients

    def test_it_boots(self):
        clients = self.boot('BUILD', 'ACTIVE')
        self.assertEqual((1, [], []),
                         (clients.booted, clients.lost, clients.failed))

    def test_a_request_that_fails_says_nothing_of_the_server(self):
        clients = self.boot(OSError('refused'), 'BUILD', 'ERROR')
        self.assertEqual((0, ['one: ERROR'], ['refused']),
                         (clients.booted, clients.lost, clients.failed))

    def test_one_that_is_gone_is_lost(self):
        self.assertEqual(['one: None'], self.boot('BUILD', None).lost)

    def test_what_is_left_of_a_lost_answer(self):
        clients, cloud = deployment.Clients(None), mock.Mock()
        cloud.compute.servers.return_value = [
            mock.Mock(id='one', status='ERROR'),
            mock.Mock(id='two', status='ACTIVE')]
        clients._remove_old(cloud)
        self.assertEqual(['one: ERROR'], clients.lost)
        self.assertEqual(2, cloud.compute.delete_server.call_count)


class KindTest(unittest.TestCase):
    def test_what_differs_each_time_is_left_out(self):
        self.assertEqual(
            'GET http://127.0.0.1:18774/servers/#: <object at #> #',
            deployment.kind(
                'GET http://127.0.0.1:18774/servers/'
                '4a7c0a9e-7f8d-4d3a-9a77-2f7d6b1c0c51: <object at '
                '0x7f12ab> req-4a7c0a9e-7f8d-4d3a-9a77-2f7d6b1c0c51'))


class InventoryTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        root = Path(temporary.name)
        (root / 'build/dist').mkdir(parents=True)
        (root / 'build/dist/nova-1+xloud.1-py3-none-any.whl').touch()
        self.site = layout.create(root / 'sandbox', stock=True)
        for node in nodes.NODES:
            (nodes.prefix(self.site, node) / 'lib/python3/site-packages'
             ).mkdir(parents=True)
        with mock.patch.object(layout, 'ROOT', root):
            self.groups = deployment._inventory(self.site)['all']['children']

    def test_the_hosts_are_reached_by_ssh(self):
        for host in layout.HOSTS:
            found = self.groups['compute']['hosts'][host]
            self.assertEqual('ssh', found['ansible_connection'])
            self.assertEqual(f'-F {copying.client_config(self.site)}',
                             found['ansible_ssh_common_args'])

    def test_each_api_has_its_own_node_and_address(self):
        found = self.groups['nova-api']['hosts']
        self.assertEqual(set(nodes.APIS.values()), set(found))
        for name, node in nodes.APIS.items():
            self.assertEqual(self.site.url(name, '/'),
                             found[node]['xloud_nova_api_url'])
            self.assertEqual(['sandbox.balancer', 'leave', name],
                             found[node]['xloud_nova_api_leave'][-3:])
        self.assertEqual(2, len({host['xloud_nova_site_packages']
                                 for host in found.values()}))

    def test_ssh_knows_key_and_namespace_of_each_host(self):
        supervisor = mock.Mock()
        supervisor.running.side_effect = [mock.Mock(pid=11), mock.Mock(pid=12)]
        copying.let_in(self.site, supervisor)
        *hosts, for_all = re.split(
            '^(?=Host )', copying.client_config(self.site).read_text(),
            flags=re.M)[1:]
        for host, pid, text in zip(layout.HOSTS, (11, 12), hosts):
            self.assertIn(f'Host {host}\n', text)
            self.assertIn(f'HostName {layout.address(host)}\n', text)
            self.assertIn(f'/proc/{pid}/ns/net ', text)
        self.assertIn(f'{self.site.site}/ssh/operator\n', for_all)


class Walk(deployment.KilledProof):
    """What it kills, and how it goes on, without a sandbox."""

    def __init__(self, broken=None):
        self.is_ours = False
        self.killed, self.ended = [], []
        self.show = mock.Mock()
        self._begin = self._end = self._end_clients = mock.Mock()
        self._all_there = mock.Mock()
        self._broken = broken

    def _content(self):
        return {'nova': 'half' if self._broken in self.killed
                else self.is_ours}

    def _end_in(self, name, ours):
        assert ours == (name == 'deploy')
        self.is_ours = ours
        self.ended.append(name)

    def _kill(self, name, step):
        assert self.is_ours == (name == 'rollback')
        self.killed.append((name, step))


class KilledTest(unittest.TestCase):
    def test_each_step_is_killed_and_both_ways_follow(self):
        walk = Walk()
        walk.run()
        self.assertEqual(
            {(name, step) for name, steps in deployment.STEPS.items()
             for step in steps}, set(walk.killed))
        self.assertEqual(len(set(walk.killed)), len(walk.killed))
        for name in deployment.STEPS:
            self.assertLess(5, walk.ended.count(name))

    def test_half_of_something_ends_it(self):
        with self.assertRaises(probes.Mismatch):
            Walk(('rollback', 'Restart')).run()

    def test_each_step_is_a_task_of_the_role(self):
        tasks = layout.ROOT / 'deploy/roles/xloud_nova/tasks'

        def names(name):
            """Of all tasks that a file has or takes in."""
            text = (tasks / name).read_text()
            found = set(re.findall(r'- name: (.*)', text))
            for taken in re.findall(r'_tasks: (.*)', text):
                found |= names(taken)
            return found

        for playbook, begin in (('deploy', 'main.yml'),
                                ('rollback', 'rollback.yml')):
            self.assertEqual(set(), {*deployment.STEPS[playbook]} -
                             names(begin))

    def test_what_a_process_has_started(self):
        program = ('import subprocess, sys; '
                   'child = subprocess.Popen(["sleep", "60"], '
                   'start_new_session=True); '
                   'print(child.pid, flush=True); child.wait()')
        with subprocess.Popen([sys.executable, '-c', program], text=True,
                              stdout=subprocess.PIPE) as started:
            child = int(started.stdout.readline())
            try:
                self.assertEqual([child],
                                 deployment.descendants(started.pid))
                self.assertEqual([], deployment.descendants(child))
            finally:
                os.kill(child, signal.SIGTERM)
