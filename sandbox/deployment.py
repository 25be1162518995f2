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

"""The series deployed onto living services, and off again.

The playbooks of deploy/ do it, service by service, as an operator would. A
client boots, lists and deletes servers all the time; what fails is counted.
"""

import json
import logging
import os
import subprocess
import tempfile
import threading
import time
import typing as ty

from sandbox import client
from sandbox import compute
from sandbox import layout
from sandbox import network
from sandbox import nodes
from sandbox import probes
from sandbox import processes

_PREFIX = 'deployment-'
_GROUPS = ('nova-conductor', 'nova-scheduler', 'nova-api')
# How the sandbox calls the process of a service.
_PROCESS = ("{{ {'nova-api': 'nova', 'nova-compute': 'nova-' ~ "
            "inventory_hostname}.get(xloud_nova_service, "
            "xloud_nova_service) }}")
_PATIENCE = 600
_OURS = '+xloud.'


def run(site: layout.Layout, show: ty.Callable[[str], None]) -> int:
    # Each attempt that the SDK repeats would be a line.
    logging.getLogger('keystoneauth').setLevel(logging.ERROR)
    proof = Proof(site, show)
    try:
        proof.run()
    except (probes.Mismatch, processes.Failed, *client.errors()) as error:
        show(f'FAILED: {error}')
        return 1
    finally:
        proof.clients.end()
    return 0


class Clients(threading.Thread):
    """Boots, lists and deletes a server, again and again."""

    def __init__(self, site):
        super().__init__(daemon=True)
        self._site = site
        self._over = threading.Event()
        self.asked = self.booted = 0
        self.failed: ty.List[str] = []
        self.lost: ty.List[str] = []

    def run(self):
        cloud = client.connect(self._site, probes.OWNER)
        while not self._over.is_set():
            try:
                self._one(cloud)
            except Exception as error:  # it goes on, whatever happens
                self.failed.append(str(error).partition('\n')[0][:200])
                time.sleep(1)

    def _one(self, cloud):
        name = _PREFIX + 'client'
        for old in cloud.compute.servers(name=name):
            cloud.compute.delete_server(old)
            cloud.compute.wait_for_delete(old, wait=_PATIENCE)
        server = self._ask(cloud.compute.create_server, name=name,
                           flavor_id=cloud.compute.find_flavor('fixed').id,
                           image_id=cloud.image.find_image('tiny').id,
                           networks=[{'uuid': cloud.network.find_network(
                               network.NETWORK).id}])
        deadline = time.monotonic() + _PATIENCE
        while True:
            # A list each second, as a dashboard does.
            listed = {found.id: found for found in self._ask(
                lambda: list(cloud.compute.servers()))}
            found = listed.get(server.id)
            if found is None or found.status == 'ERROR' or (
                    time.monotonic() > deadline):
                self.lost.append(f'{server.id}: {found and found.status}')
                break
            if found.status == 'ACTIVE':
                self.booted += 1
                break
            time.sleep(1)
        self._ask(cloud.compute.delete_server, server)
        cloud.compute.wait_for_delete(server, wait=_PATIENCE)

    def _ask(self, call, *arguments, **keywords):
        self.asked += 1
        return call(*arguments, **keywords)

    def end(self):
        self._over.set()
        if self.is_alive():
            self.join(_PATIENCE)


class Proof(probes.Probes):
    def __init__(self, site, show):
        super().__init__(site, show)
        self.clients = Clients(site)

    def run(self):
        for server in self.owner.compute.servers():
            self.owner.compute.delete_server(server)
            self.owner.compute.wait_for_delete(server, wait=_PATIENCE)
        self._runs(False)
        for name in ('old-a', 'old-b'):
            self._boot(name, 'fixed')
        self.show('stock Nova, two servers')
        self.clients.start()
        self._play('deploy', 'deployed service by service')
        self._runs(True)
        self._boot('elastic', compute.ELASTIC)
        self._change('elastic', probes.Sizes(2, 640))
        self.show('an elastic server was made, and grew')
        self._play('rollback', 'rolled back to stock')
        self._runs(False)
        self._all_there()
        self._play('deploy', 'deployed again')
        self._runs(True)
        self._all_there()
        self._change('elastic', probes.Sizes(2, 448))
        self.show('the elastic server is there, and shrank')
        self.clients.end()
        self.show(
            f'the client booted {self.clients.booted} servers with '
            f'{self.clients.asked} requests; {len(self.clients.failed)} '
            f'failed, {len(self.clients.lost)} servers were lost')
        for text in [*self.clients.failed[:10], *self.clients.lost[:10]]:
            self.show(f'    {text}')
        for server in self.servers.values():
            self.owner.compute.delete_server(server)
        self._expect(self.clients.lost, [], 'what the client lost')

    def _play(self, name, title):
        started, before = time.monotonic(), len(self.clients.failed)
        with tempfile.NamedTemporaryFile('w', suffix='.json') as inventory:
            json.dump(_inventory(self.site), inventory)
            inventory.flush()
            done = subprocess.run(
                [str(layout.ROOT / 'build/deploy-env/bin/ansible-playbook'),
                 '-i', inventory.name,
                 str(layout.ROOT / 'deploy' / f'{name}.yml')],
                env={**os.environ, 'OS_CLIENT_CONFIG_FILE':
                     str(self.site.clouds), 'ANSIBLE_CONFIG':
                     str(layout.ROOT / 'deploy/ansible.cfg')},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True)
        (self.site.logs / f'{name}.log').write_text(done.stdout)
        if done.returncode:
            raise processes.Failed(f'{name}.yml: {done.stdout[-4000:]}')
        self.show(f'{title} ({time.monotonic() - started:.0f} s, '
                  f'{len(self.clients.failed) - before} requests failed)')

    def _runs(self, ours):
        """Each service's log names the version since its last start."""
        for name in (*compute.CONTROL, *map(compute.service, layout.HOSTS)):
            line = [line for line in self.supervisor.log(
                name).read_text(errors='replace').splitlines()
                if 'Starting ' in line and '(version ' in line][-1]
            self._expect(_OURS in line, ours, f'{name} runs ours')

    def _boot(self, name, flavor):
        server = self.owner.compute.create_server(
            name=_PREFIX + name,
            flavor_id=self.owner.compute.find_flavor(flavor).id,
            image_id=self.owner.image.find_image('tiny').id,
            networks=[{'uuid': self.owner.network.find_network(
                network.NETWORK).id}])
        self.servers[name] = server.id
        self.owner.compute.wait_for_server(server, wait=_PATIENCE)

    def _all_there(self):
        for name in self.servers:
            self._wait(lambda: self._is_at_rest(name),
                       f'{name} is not at rest')
            self._expect(self._seen(name) is not None, True,
                         f'{name} says something')

    def _change(self, name, sizes):
        server = self.servers[name]

        def settled():
            status = self._status(server)
            return status['condition'] == 'Settled' and (
                status['actual_vcpus'],
                status['actual_memory_mb']) == tuple(asked)

        def adjusted():
            answer = self.owner.compute.post(
                f'/os-xloud-adjust/{server}', json={
                    'current_vcpus': sizes.vcpus,
                    'current_memory_mb': sizes.memory_mb})
            return answer.status_code == 202

        # The guest of software emulation needs its time to boot.
        asked = sizes
        self._wait(adjusted, lambda: self._status(server))
        self._wait(settled, lambda: self._status(server))


def _inventory(site):
    """As kolla-ansible's, for nodes that are folders of this machine."""
    def host(node):
        return {
            'xloud_nova_site_packages':
                str(nodes.site_packages(nodes.prefix(site, node))),
            'xloud_nova_host': node}

    (wheel,) = (layout.ROOT / 'build/dist').glob(f'nova-*{_OURS}*.whl')
    control = {'hosts': {nodes.CONTROL: host(nodes.CONTROL)}}
    return {'all': {
        'children': {
            **{group: control for group in _GROUPS},
            'compute': {'hosts': {node: host(node)
                                  for node in layout.HOSTS}}},
        'vars': {
            'ansible_connection': 'local',
            'ansible_python_interpreter': '{{ ansible_playbook_python }}',
            'xloud_nova_wheel': str(wheel),
            'xloud_nova_become': False,
            'xloud_nova_engine': 'venv',
            'xloud_nova_cloud': client.ADMIN,
            'xloud_nova_sdk_python': str(layout.ENV / 'bin/python'),
            'xloud_nova_wait_seconds': _PATIENCE,
            'xloud_nova_backup_dir': str(site.site / 'backups'),
            'xloud_nova_log': f'{site.logs}/{_PROCESS}.log',
            'xloud_nova_restart_command': [
                'env', f'PYTHONPATH={layout.ROOT}',
                str(layout.ENV / 'bin/python'), '-m', 'sandbox', 'restart',
                _PROCESS]}}}
