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
The second proof kills each playbook at each step of a compute.
"""

import collections
import contextlib
import hashlib
import itertools
import json
import logging
import os
from pathlib import Path
import re
import signal
import subprocess
import tempfile
import threading
import time
import typing as ty

import sandbox
from sandbox import balancer
from sandbox import client
from sandbox import compute
from sandbox import copying
from sandbox import layout
from sandbox import network
from sandbox import nodes
from sandbox import probes
from sandbox import processes

_PREFIX = 'deployment-'
_NAME = _PREFIX + 'client'
# How the sandbox calls the process of a service.
_PROCESS = ("{{ {'nova-api': sandbox_api | default(''), 'nova-compute': "
            "'nova-' ~ inventory_hostname}.get(xloud_nova_service, "
            "xloud_nova_service) }}")
_PATIENCE = 600
_OURS = '+xloud.'
_HOST = layout.HOSTS[0]
# The tasks that change something, or wait for it, by the names that Ansible
# prints when they begin.
STEPS = {
    'deploy': ('Keep others out', 'Back up', 'Disable the compute, and let it '
               'finish what it has begun', 'Put the wheel in place',
               'Verify the files, and that the services import', 'Restart',
               'Remember that it was restarted', 'Wait until it is up',
               'Enable the compute', 'Record what was done'),
    'rollback': ('Disable the compute, and let it finish what it has begun',
                 'Put the backup back', 'Restart', 'Wait until it is up',
                 'Enable the compute')}


def run(site: layout.Layout, show: ty.Callable[[str], None],
        killed: bool = False) -> int:
    # Each attempt that the SDK repeats would be a line.
    logging.getLogger('keystoneauth').setLevel(logging.ERROR)
    proof = (KilledProof if killed else Proof)(site, show)
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
            with self._counted():
                self._remove_old(cloud)
                self._one(cloud)

    @contextlib.contextmanager
    def _counted(self):
        """It goes on, whatever happens."""
        try:
            yield
        except Exception as error:
            self.failed.append(str(error).partition('\n')[0][:200])
            time.sleep(1)

    def _remove_old(self, cloud):
        """What a request left whose answer was lost."""
        for old in cloud.compute.servers(name=_NAME):
            if old.status == 'ERROR':
                self.lost.append(f'{old.id}: ERROR')
            cloud.compute.delete_server(old)
            cloud.compute.wait_for_delete(old, wait=_PATIENCE)

    def _one(self, cloud):
        server = self._ask(cloud.compute.create_server, name=_NAME,
                           flavor_id=cloud.compute.find_flavor('fixed').id,
                           image_id=cloud.image.find_image('tiny').id,
                           networks=[{'uuid': cloud.network.find_network(
                               network.NETWORK).id}])
        deadline = time.monotonic() + _PATIENCE
        found = server  # whose status the answer does not have
        while found is not None and found.status not in (
                'ACTIVE', 'ERROR') and time.monotonic() < deadline:
            time.sleep(1)
            # A list each second, as a dashboard does. A request that fails
            # says nothing of the server.
            with self._counted():
                found = {each.id: each for each in self._ask(
                    lambda: list(cloud.compute.servers()))}.get(server.id)
        if found is not None and found.status == 'ACTIVE':
            self.booted += 1
        else:
            self.lost.append(f'{server.id}: {found and found.status}')
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
        self._begin()
        self._play('deploy', 'deployed service by service')
        self._all_run(True)
        self._boot('elastic', compute.ELASTIC)
        self._change('elastic', probes.Sizes(2, 640))
        self.show('an elastic server was made, and grew')
        self._play('rollback', 'rolled back to stock')
        self._all_run(False)
        self._all_there()
        self._play('deploy', 'deployed again')
        self._all_run(True)
        self._all_there()
        self._change('elastic', probes.Sizes(2, 448))
        self.show('the elastic server is there, and shrank')
        self._end_clients()
        self._validate()
        self._leave('elastic')
        self._end()

    def _begin(self):
        copying.let_in(self.site, self.supervisor)
        for server in self.owner.compute.servers():
            self.owner.compute.delete_server(server)
            self.owner.compute.wait_for_delete(server, wait=_PATIENCE)
        self._all_run(False)
        for name in ('old-a', 'old-b'):
            self._boot(name, 'fixed')
        self.show('stock Nova, two servers')
        self.clients.start()

    def _end_clients(self):
        self.clients.end()
        self.show(
            f'the client booted {self.clients.booted} servers with '
            f'{self.clients.asked} requests; {len(self.clients.failed)} '
            f'failed, {len(self.clients.lost)} servers were lost')
        kinds = collections.Counter(map(kind, self.clients.failed))
        for text, number in kinds.most_common():
            self.show(f'    {number} x {text}')
        for text in self.clients.lost:
            self.show(f'    lost: {text}')

    def _end(self):
        for server in self.servers.values():
            self.owner.compute.delete_server(server)
        self._expect(self.clients.lost, [], 'what the client lost')
        self._expect(self.clients.failed, [], 'what the client was refused')

    def _play(self, name, title, *words):
        begun, before = time.time(), len(self.clients.failed)
        with self._playing(name, *words) as playing:
            said, _ = playing.communicate()
        (self.site.logs / f'{name}.log').write_text(said)
        if playing.returncode:
            raise processes.Failed(f'{name}.yml: {said[-4000:]}')
        self.show(f'{title} ({time.time() - begun:.0f} s, '
                  f'{len(self.clients.failed) - before} requests failed)')
        for done, service, node in self._history(begun):
            self.show(f'    {done - begun:4.0f} s  {service} on {node}')
            begun = done

    def _history(self, begun):
        """When each service was done, as its node has recorded it."""
        return sorted(
            (line['time'], line['service'], node) for node in nodes.NODES
            for line in map(json.loads, (
                nodes.prefix(self.site, node) / 'xloud-nova/history.jsonl'
            ).read_text().splitlines()) if line['time'] > begun)

    @contextlib.contextmanager
    def _playing(self, name, *words):
        with tempfile.NamedTemporaryFile('w', suffix='.json') as inventory:
            json.dump(_inventory(self.site), inventory)
            inventory.flush()
            yield subprocess.Popen(
                [str(layout.ROOT / 'build/deploy-env/bin/ansible-playbook'),
                 '-i', inventory.name,
                 str(layout.ROOT / 'deploy' / f'{name}.yml'), *words],
                env={**os.environ, 'OS_CLIENT_CONFIG_FILE':
                     str(self.site.clouds), 'ANSIBLE_CONFIG':
                     str(layout.ROOT / 'deploy/ansible.cfg'),
                     # Not those of an earlier sandbox.
                     'ANSIBLE_SSH_CONTROL_PATH_DIR':
                     str(self.site.site / 'ssh'),
                     # The same for all runs, so that a lock is the next one's.
                     'XLOUD_OWNER': 'sandbox'},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True)

    def _runs(self, ours, names=(
            *compute.CONTROL, *map(compute.service, layout.HOSTS))):
        """Each service's log names the version since its last start."""
        for name in names:
            line = [line for line in self.supervisor.log(
                name).read_text(errors='replace').splitlines()
                if 'Starting ' in line and '(version ' in line][-1]
            self._expect(_OURS in line, ours, f'{name} runs ours')

    def _all_run(self, ours):
        self._runs(ours)
        # The log of an API names no version. Stock Nova has no such list.
        for name in nodes.APIS:
            answer = self.admin.compute.get(
                '/os-xloud-adjust',
                endpoint_override=self.site.url(name, '/v2.1'))
            self._expect(answer.status_code, 200 if ours else 404,
                         f'what {name} answers')

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

        def adjusted():
            answer = self.owner.compute.post(
                f'/os-xloud-adjust/{server}', json={
                    'current_vcpus': sizes.vcpus,
                    'current_memory_mb': sizes.memory_mb})
            return answer.status_code == 202

        # The guest of software emulation needs its time to boot.
        self._wait(adjusted, lambda: self._status(server))
        self._settle(name, sizes)

    def _settle(self, name, sizes):
        def settled():
            status = self._status(self.servers[name])
            return status['condition'] == 'Settled' and sizes == (
                status['actual_vcpus'], status['actual_memory_mb'])

        self._wait(settled, lambda: self._status(self.servers[name]))

    def _validate(self):
        """deploy/validate.py passes, and takes away what it made."""
        done = subprocess.run(
            [str(layout.ENV / 'bin/python'),
             str(layout.ROOT / 'deploy/validate.py'), client.ADMIN, '--json',
             '--image', 'tiny', '--network', network.NETWORK,
             '--memory', '768', '--minimum-memory', '320',
             '--seconds', str(_PATIENCE), '--logs', str(self.site.logs)],
            env={**os.environ,
                 'OS_CLIENT_CONFIG_FILE': str(self.site.clouds)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        (self.site.logs / 'validate.log').write_text(done.stdout)
        self._expect([row for row in json.loads(done.stdout)['steps']
                      if row['result'] != 'ok'], [], 'what did not pass')
        left = [found.name for found in (
            *self.admin.compute.servers(all_projects=True),
            *self.admin.compute.flavors(is_public=None))
            if found.name.startswith('xloud-validate-')]
        self._expect((done.returncode, left), (0, []), 'what it left')
        self.show('deploy/validate.py passed')

    def _leave(self, name):
        """Out of the series for good, as its page of the manual says."""
        most = probes.Sizes(2, 768)
        code, said = self._manage('leave', '--dry-run')
        self._expect((code, self.servers[name] in said), (1, True), said)
        self._expect(self._allocation(self.servers[name]),
                     probes.Sizes(2, 448), 'what it is charged')
        code, said = self._manage('leave')
        # Its guest may need longer than the answer.
        has_grown = 'It has grown' in said or 'It was asked to grow' in said
        self._expect((code, has_grown), (1, True), said)
        self._settle(name, most)
        for host in layout.HOSTS:
            self.supervisor.stop(compute.service(host))
        self._wait(lambda: not any(
            found.state == 'up' for found in self.admin.compute.services(
                binary='nova-compute')), 'a compute is still up')
        code, said = self._manage('leave')
        self._expect((code, 'Nothing is left' in said), (0, True), said)
        # All computes at once: none of them runs.
        self._play('rollback', 'left, and rolled back to stock',
                   '-e', f'xloud_nova_batch={len(layout.HOSTS)}')
        self._all_run(False)
        self._all_there()
        self._expect(self._allocation(self.servers[name]), most,
                     'what it is charged')
        self.owner.compute.reboot_server(self.servers[name], 'HARD')
        self._wait(lambda: self._is_at_rest(name), 'it does not start')
        self._wait(lambda: self._guest(name) == most.vcpus,
                   lambda: f'the guest has {self._guest(name)} vCPUs')
        self._expect(self._allocation(self.servers[name]), most,
                     'what it is charged')
        self.show('stock Nova starts it with what it is charged')

    def _guest(self, name):
        seen = self._seen(name)
        return seen and seen.vcpus

    def _manage(self, *words):
        """What nova-manage xloud says, with its exit code."""
        done = subprocess.run(
            compute.manage(self.site, 'xloud', *words), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        (self.site.logs / 'leave.log').write_text(done.stdout + done.stderr)
        return done.returncode, done.stdout


class KilledProof(Proof):
    """Each step of a compute killed, and what the next run makes of it."""

    _WORDS = ('--limit', _HOST, '-e', 'xloud_nova_settle_seconds=1')

    def run(self):
        self._begin()
        # What it shall be, without a kill.
        stock = self._content()
        self._end_in('deploy', True)
        ours = self._content()
        self._end_in('rollback', False)
        self._expect(self._content(), stock, 'what a rollback left')
        left = {name: list(steps) for name, steps in STEPS.items()}
        # In turn, so that both follow each kind of step.
        ways = itertools.cycle(['deploy', 'rollback', 'rollback', 'deploy'])
        is_ours = False
        while any(left.values()):
            name = 'rollback' if is_ours else 'deploy'
            if not left[name]:
                self._end_in(name, not is_ours)
                is_ours = not is_ours
                continue
            step, then = left[name].pop(0), next(ways)
            self._kill(name, step)
            is_ours = then == 'deploy'
            self._end_in(then, is_ours)
            self._expect(self._content(), ours if is_ours else stock,
                         f'the installation after {then}')
            self._all_there()
            self.show(f'{name} killed in "{step}": {then} ends in '
                      f'{"ours" if is_ours else "stock"}')
        if is_ours:
            self._end_in('rollback', False)
        self._end_clients()
        self._end()

    def _end_in(self, name, ours):
        with self._playing(name, *self._WORDS) as playing:
            said, _ = playing.communicate()
        (self.site.logs / f'{name}.log').write_text(said)
        if playing.returncode:
            raise processes.Failed(f'{name}.yml: {said[-4000:]}')
        self._runs(ours, [compute.service(_HOST)])
        (service,) = (
            found for found in self.admin.compute.services(
                binary='nova-compute') if found.host == _HOST)
        self._expect((service.state, service.status), ('up', 'enabled'),
                     f'nova-compute on {_HOST}')

    def _kill(self, name, step):
        """Kill it, and all that it started but a service, in this task."""
        with self._playing(name, *self._WORDS) as playing:
            for line in playing.stdout:
                if re.match(rf'TASK \[(.* : )?{re.escape(step)}\]', line):
                    time.sleep(1)  # until it is at work
                    break
            else:
                raise processes.Failed(f'{name}.yml has no "{step}"')
            self._kill_all(playing.pid)
            playing.wait()
            playing.stdout.close()

    def _kill_all(self, first):
        services = {process.session for process in map(
            self.supervisor.running, self.supervisor.names()) if process}
        os.kill(first, signal.SIGSTOP)
        for pid in [first, *descendants(first)]:
            found = processes.stat(pid)
            if found and found.session not in services:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _content(self):
        """Each file of Nova on the host, without bytecode."""
        folder = nodes.site_packages(nodes.prefix(self.site, _HOST))
        return {
            str(path.relative_to(folder)):
                hashlib.sha256(path.read_bytes()).hexdigest()
            for top in folder.glob('nova*') for path in top.rglob('*')
            if path.is_file() and path.suffix != '.pyc'}


def descendants(pid: int) -> ty.List[int]:
    """All processes that a process has started, whatever their session."""
    found = []
    for process in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):
            after = (process / 'stat').read_text().rpartition(')')[2]
            if int(after.split()[1]) == pid:
                child = int(process.name)
                found += [child, *descendants(child)]
    return found


def kind(text: str) -> str:
    """A message without what differs each time."""
    return re.sub(r'[0-9a-f]{8}-[0-9a-f-]{27}|req-\S+|0x[0-9a-f]+|\d{7,}',
                  '#', text)


def _inventory(site):
    """As kolla-ansible's, for nodes that are folders of this machine."""
    def host(node):
        return {
            'xloud_nova_site_packages':
                str(nodes.site_packages(nodes.prefix(site, node))),
            'xloud_nova_host': node}

    def api(name):
        return {'sandbox_api': name, 'xloud_nova_api_url': site.url(name, '/'),
                **{f'xloud_nova_api_{verb}': _ours(balancer, verb, name)
                   for verb in ('leave', 'join')}}

    def compute_host(node):
        return {**host(node), 'ansible_connection': 'ssh',
                'ansible_ssh_common_args':
                    f'-F {copying.client_config(site)}'}

    (wheel,) = (layout.ROOT / 'build/dist').glob(f'nova-*{_OURS}*.whl')
    control = {'hosts': {nodes.CONTROL: host(nodes.CONTROL)}}
    return {'all': {
        'children': {
            'nova-conductor': control, 'nova-scheduler': control,
            'nova-api': {'hosts': {node: {**host(node), **api(name)}
                                   for name, node in nodes.APIS.items()}},
            'compute': {'hosts': {node: compute_host(node)
                                  for node in layout.HOSTS}}},
        'vars': {
            # Of the control services, which are on this machine.
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
            'xloud_nova_restart_command': _ours(
                sandbox, 'restart', _PROCESS)}}}


def _ours(module, *words):
    return ['env', f'PYTHONPATH={layout.ROOT}',
            str(layout.ENV / 'bin/python'), '-m', module.__name__, *words]
