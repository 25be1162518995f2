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


"""The end-to-end check: what users, operators and accidents do.

After each step the same is asked of everything that knows a size: Nova's API,
Placement, the quota of the project, libvirt's configuration of the next start,
the guest. They must agree, however the step went, and the server's address
must answer in its network.
"""

import concurrent.futures
import signal
import time
import typing as ty

from sandbox import broker
from sandbox import client
from sandbox import compute
from sandbox import database
from sandbox import hosts
from sandbox import identity
from sandbox import image
from sandbox import layout
from sandbox import network
from sandbox import probes
from sandbox import processes

_PREFIX = 'check-'


def run(check: 'Check', show: ty.Callable[[str], None]) -> int:
    """Take the steps of a check; it stops at the first that fails."""
    try:
        return _run(check, show)
    finally:
        check.tidy()


def _run(check, show):
    check.remove_servers()
    passed, steps = 0, check.STEPS
    for name in steps:
        started = time.monotonic()
        title = getattr(check, name).__doc__.strip().partition('\n')[0]
        try:
            getattr(check, name)()
        except (probes.Mismatch, client.CommandFailed, processes.Failed,
                *check.errors()) as error:
            show(f'FAILED  {title}\n\n{error}\n')
            show(f'The servers are left as they are, and the logs in '
                 f'{check.site.logs}.\nIf something does not run any more, '
                 'tools/sandbox.sh up starts it.')
            show(f'test: {passed} passed, 1 failed, '
                 f'{len(steps) - passed - 1} not run')
            return 1
        passed += 1
        show(f'ok  {title} ({time.monotonic() - started:.1f} s)')
    check.remove_servers()
    show(f'test: {passed} passed, 0 failed, 0 not run')
    return 0


def promised(code: int, before: probes.Sizes,
             after: probes.Sizes) -> ty.Set[probes.Sizes]:
    """What a server may have in the end after such an answer to an adjust.

    Accepted means done, also if later; what is refused never happens.
    """
    if code == 202:
        return {after}
    if code == 409:
        return {before}
    return {before, after}


class Check(probes.Probes):
    def __init__(self, site: layout.Layout, show: ty.Callable[[str], None]):
        super().__init__(site, show)
        self._uptimes: ty.Dict[str, float] = {}

    def errors(self) -> ty.Tuple[ty.Type[Exception], ...]:
        """What else a step raises when something is not as it should be."""
        return client.errors()

    def tidy(self) -> None:
        """Undo what the steps need, whatever has happened."""

    # The steps, in this order

    def create(self):
        """a server starts at its minimum, and is charged for it"""
        self._create('one')
        self._agree('one', probes.Sizes(1, 320))

    def grow(self):
        """it grows in vCPUs and memory"""
        self._adjust('one', current_vcpus=2, current_memory_mb=640)
        self._agree('one', probes.Sizes(2, 640))

    def show_sizes(self):
        """both addresses of its status and the quota say the same"""
        server = self.servers['one']
        status, again = (
            self.owner.compute.get(url).json() for url in (
                f'/os-xloud-adjust/{server}',
                f'/servers/{server}/xloud-status'))
        self._expect(again, status, 'the second address of the status')
        limits = {row['Name']: row['Value'] for row in client.openstack(
            self.site, probes.OWNER, 'limits', 'show', '--absolute', '-f',
            'json')}
        self._expect(
            probes.Sizes(limits['totalCoresUsed'], limits['totalRAMUsed']),
            probes.Sizes(2, 640), 'what the quota of the project counts')

    def shrink(self):
        """it gives memory back"""
        self._adjust('one', current_memory_mb=448)
        self._agree('one', probes.Sizes(2, 448))

    def refuse(self):
        """sizes outside of the range of its flavor are refused with 400"""
        for asked in ({'current_vcpus': 3}, {'current_memory_mb': 319},
                      {'current_memory_mb': 769}, {}):
            self._expect(self._ask('one', asked).status_code, 400,
                         f'the answer to {asked}')
        self._agree('one', probes.Sizes(2, 448))

    def migrate(self):
        """it moves to the other host while it runs, and changes there"""
        server = self.servers['one']
        source = self.admin.compute.get_server(server).compute_host
        target = next(host for host in layout.HOSTS if host != source)
        client.openstack(
            self.site, client.ADMIN, 'server', 'migrate',
            '--live-migration', '--host', target, server)
        self._wait(lambda: self._is_at_rest('one') and (
            self.admin.compute.get_server(server).compute_host == target),
            f'the server is on {target}')
        self._wait(lambda: self._bindings(server) == {target: 'ACTIVE'},
                   lambda: f'its port is bound to {target} alone: '
                   f'{self._bindings(server)}')
        self._agree('one', probes.Sizes(2, 448))
        self._adjust('one', current_memory_mb=576)
        self._agree('one', probes.Sizes(2, 576))

    def migrate_cold(self):
        """it moves to the other host shut off, and starts there as it was"""
        self._adjust('one', current_vcpus=2, current_memory_mb=640)
        self._agree('one', probes.Sizes(2, 640))
        self._move('one', lambda server: client.openstack(
            self.site, client.ADMIN, 'server', 'migrate', server))
        self._confirm('one')
        self._agree('one', probes.Sizes(2, 640))

    def resize(self):
        """it gets another flavor on the other host, and after that its own"""
        self._resize('one', compute.LARGER)
        client.openstack(self.site, probes.OWNER, 'server', 'resize', 'revert',
                         self.servers['one'])
        self._restarted('one')
        self._agree('one', probes.Sizes(2, 640))
        self._resize('one', compute.LARGER)
        self._confirm('one')
        self._agree('one', probes.Sizes(1, 384))
        self._adjust('one', current_vcpus=2, current_memory_mb=896)
        self._agree('one', probes.Sizes(2, 896))
        self._resize('one', compute.ELASTIC)
        self._confirm('one')
        self._agree('one', probes.Sizes(1, 320))

    def shelve(self):
        """it is shelved, grown, and starts again as it was"""
        self._adjust('one', current_vcpus=2, current_memory_mb=640)
        self._agree('one', probes.Sizes(2, 640))
        self._shelve('one')
        self._agree('one', probes.Sizes(2, 640))

    def shelve_shrunk(self):
        """it is shelved at its minimum"""
        self._adjust('one', current_memory_mb=320)
        self._agree('one', probes.Sizes(2, 320))
        self._adjust('one', current_vcpus=1)
        self._agree('one', probes.Sizes(1, 320))
        self._shelve('one')
        self._agree('one', probes.Sizes(1, 320))

    def evacuate(self):
        """its host is gone; it starts on the other one, grown"""
        self._adjust('one', current_vcpus=2, current_memory_mb=576)
        self._agree('one', probes.Sizes(2, 576))
        self._evacuate('one')
        self._agree('one', probes.Sizes(2, 576))

    def evacuate_shrunk(self):
        """and back, shrunk"""
        self._adjust('one', current_memory_mb=448)
        self._agree('one', probes.Sizes(2, 448))
        self._evacuate('one')
        self._agree('one', probes.Sizes(2, 448))
        self._adjust('one', current_memory_mb=576)
        self._agree('one', probes.Sizes(2, 576))

    def keep_quota(self):
        """growth beyond the quota of its project is refused with 403"""
        project = identity.CHECKERS[0]
        client.openstack(self.site, client.ADMIN, 'quota', 'set',
                         '--ram', '600', project)
        try:
            refused = self._ask('one', {'current_memory_mb': 640})
        finally:
            client.openstack(self.site, client.ADMIN, 'quota', 'set',
                             '--ram', '51200', project)
        self._expect(refused.status_code, 403, f'the answer {refused.text}')
        self._agree('one', probes.Sizes(2, 576))

    def hide(self):
        """another project sees nothing of it and can do nothing with it"""
        server = self.servers['one']
        listed = client.openstack(
            self.site, probes.STRANGER, 'server', 'list', '-f', 'json')
        self._expect(listed, [], 'what another project lists')
        for url in (f'/os-xloud-adjust/{server}',
                    f'/servers/{server}/xloud-status'):
            self._expect(self.stranger.compute.get(url).status_code, 404,
                         f'the answer to another project for {url}')
        self._expect(self._ask('one', {'current_memory_mb': 640},
                               self.stranger).status_code, 404,
                     'the answer to another project that wants to change it')
        self._agree('one', probes.Sizes(2, 576))

    def kill_compute(self):
        """nova-compute is killed in the middle of a change and comes back"""
        self._create('two')
        self._agree('two', probes.Sizes(1, 320))
        host = self.admin.compute.get_server(self.servers['two']).compute_host
        name = compute.service(host)

        def accident():
            self.supervisor.kill(name)
            compute.start_host(
                self.site, self.supervisor, self.admin, host)

        allowed = self._disturb(
            'two', probes.Sizes(2, 640), accident, frozen=name)
        self._agree_on_one_of('two', allowed)
        self._agree('one', probes.Sizes(2, 576))

    def restart_libvirt(self):
        """libvirtd is killed and comes back; the guests run on"""
        host = self.admin.compute.get_server(self.servers['two']).compute_host
        self.supervisor.kill(hosts.daemon(host, 'libvirtd'))
        hosts.start_daemon(self.site, self.supervisor, host, 'libvirtd')
        self._change_again('two', 512)

    def restart_broker(self):
        """RabbitMQ is restarted in the middle of a change"""
        self._restart(broker)

    def kill_database(self):
        """MariaDB is killed in the middle of a change and comes back"""
        self._restart(database)

    def give_vcpu_back(self):
        """it gives a vCPU back"""
        # The last change of its vCPUs: where the processor is emulated, QEMU
        # may not survive one that is plugged after one was unplugged.
        memory_mb = self._desired('one').memory_mb
        self._adjust('one', current_vcpus=1)
        self._agree('one', probes.Sizes(1, memory_mb))

    def ask_agent(self):
        """the agent of a guest says how many vCPUs are online"""
        self._create('agent', image.IMAGE_WITH_AGENT)
        for vcpus in (1, 2):
            self._adjust('agent', current_vcpus=vcpus)
            self._agree('agent', probes.Sizes(vcpus, 320))
            # Nova does not ask one for five minutes that was late, as it may
            # be on a busy machine.
            self._wait(lambda: self._online('agent') == vcpus, lambda:
                       f'{vcpus} vCPUs are online: {self._online("agent")}',
                       patience=2 * probes.PATIENCE)

    def delete(self):
        """nothing is left of a server that is deleted"""
        servers = list(self.servers.values())
        self.remove_servers()
        for server in servers:
            self._expect(self._allocations(server), {},
                         'what Placement has of a server that was deleted')
            self._expect(self._ports(server), [],
                         'what Neutron has of a server that was deleted')
        for host in layout.HOSTS:
            self._expect(hosts.ask(self.site, host, 'list', '--name', '--all'),
                         '', f'the guests on {host}')

    # What they are made of

    def remove_servers(self):
        """Also those of a check that failed."""
        for server in self.admin.compute.servers(all_projects=True):
            if server.name.startswith(_PREFIX):
                self.admin.compute.delete_server(server)
                self.admin.compute.wait_for_delete(
                    server, wait=probes.PATIENCE)
        self.servers.clear()

    def _restart(self, service):
        """Restart what all others speak to while a change is made."""
        def accident():
            # RabbitMQ is asked to end, as in an upgrade; its queues are gone.
            if service is database:
                self.supervisor.kill(service.NAME)
            else:
                self.supervisor.stop(service.NAME)
            service.start(self.site, self.supervisor)

        before = self._desired('one')
        allowed = self._disturb(
            'one', before._replace(memory_mb=704), accident)
        self._wait_for_services()
        self._agree_on_one_of('one', allowed)
        self._change_again('one', before.memory_mb)
        self._agree('two', self._desired('two'))

    def _online(self, name):
        return self._status(self.servers[name])['online_vcpus']

    def _create(self, name, kind=image.IMAGE):
        made = client.openstack(
            self.site, probes.OWNER, 'server', 'create', '--flavor',
            compute.ELASTIC,
            '--image', kind, '--network', network.NETWORK, _PREFIX + name,
            '-f', 'json')
        self.servers[name] = made['id']
        self._wait(lambda: self._is_at_rest(name), f'{name} is ACTIVE')

    def _move(self, name, ask):
        """Ask for a move, and wait until it has to be confirmed."""
        server, source = self.servers[name], self._host(name)
        ask(server)
        self._wait(lambda: self._is_at_rest(name, 'VERIFY_RESIZE'),
                   f'{name} is in VERIFY_RESIZE')
        self._expect(self._host(name) != source, True,
                     f'that {name} left {source}')

    def _resize(self, name, flavor):
        self._move(name, lambda server: client.openstack(
            self.site, probes.OWNER, 'server', 'resize', '--flavor', flavor,
            server))

    def _confirm(self, name):
        client.openstack(self.site, probes.OWNER, 'server', 'resize',
                         'confirm', self.servers[name])
        self._restarted(name)

    def _shelve(self, name):
        server = self.servers[name]
        client.openstack(self.site, probes.OWNER, 'server', 'shelve', server)
        self._wait(lambda: self._is_at_rest(name, 'SHELVED_OFFLOADED'),
                   f'{name} is shelved')
        self._expect(self._allocations(server), {},
                     'what Placement has of a server that is shelved')
        client.openstack(self.site, probes.OWNER, 'server', 'unshelve', server)
        self._restarted(name)

    def _evacuate(self, name):
        """Its host dies as far as Nova can see, and comes back later."""
        server, source = self.servers[name], self._host(name)
        service = compute.service(source)
        self.supervisor.kill(service)
        # It would answer to the same address.
        hosts.ask(self.site, source, 'destroy', server)
        self._expect(self._force_down(source, True), True,
                     f'that {source} is called down')
        try:
            # From 2.95 on the server is shut off afterwards.
            answer = self.admin.compute.post(
                f'/servers/{server}/action', json={'evacuate': {}},
                microversion='2.94')
            self._expect(answer.status_code, 200,
                         f'the answer to an evacuation: {answer.text}')
            self._wait(lambda: self._host(name) != source and
                       self._is_at_rest(name), f'{name} left {source}')
        finally:
            compute.start_service(self.site, self.supervisor, source)
            # Not before it has ended what the evacuation left there.
            self._wait(lambda: self._force_down(source, False),
                       f'{source} may be called up')
            compute.wait_for_host(self.supervisor, self.admin, source)
        self._wait(lambda: server not in hosts.ask(
            self.site, source, 'list', '--all', '--uuid'),
            f'{source} has forgotten {name}')
        self._wait(lambda: len(self._allocations(server)) == 1,
                   lambda: f'{name} is charged on one host: '
                   f'{self._allocations(server)}')
        self._restarted(name)

    def _force_down(self, host, is_down):
        """:returns: whether Nova took it"""
        (service,) = (
            service for service in self.admin.compute.services(
                binary='nova-compute') if service.host == host)
        return self.admin.compute.put(
            f'/os-services/{service.id}',
            json={'forced_down': is_down}).status_code == 200

    def _restarted(self, name):
        """Wait until it runs again; its guest was started."""
        self._uptimes.pop(name, None)
        self._wait(lambda: self._is_at_rest(name), f'{name} is ACTIVE')

    def _ask(self, name, body, connection=None):
        return (connection or self.owner).compute.post(
            f'/os-xloud-adjust/{self.servers[name]}', json=body)

    def _adjust(self, name, **body):
        answer = self._ask(name, body)
        self._expect(answer.status_code, 202,
                     f'the answer to {body}: {answer.text}')

    def _change_again(self, name, memory_mb):
        """After an accident, all must work as before."""
        self._adjust(name, current_memory_mb=memory_mb)
        self._agree(name, probes.Sizes(self._desired(name).vcpus, memory_mb))

    def _disturb(self, name, after, accident, frozen=None):
        """Have an accident while a change is made.

        :param after: the size that is asked for
        :param frozen: a process that is stopped first, so that what is done
            to it hits the change for certain
        :returns: the sizes that the answer allows it to end with
        """
        server = self.servers[name]
        before = self._desired(name)
        body = {f'current_{key}': value
                for key, value in after._asdict().items()}
        watcher = client.connect(self.site)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(self._ask, name, body)
            while watcher.compute.get_server(server).task_state is None:
                if asked.done():
                    raise probes.Mismatch(
                        'the change was over before the accident: '
                        f'{asked.result().text}')
            if frozen:
                self.supervisor.signal(frozen, signal.SIGSTOP)
            state = self._allocation(server)
            accident()
            answer = asked.result(probes.PATIENCE)
        self.show(f'    in the middle: Placement had {state}; '
                  f'the answer was {answer.status_code}')
        return promised(answer.status_code, before, after)

    def _wait_for_services(self):
        """Until each has reported to the database, over the broker."""
        now = time.time()
        for host in layout.HOSTS:
            self._wait(lambda: any(
                service.host == host and service.updated_at and
                compute.reported_since(service.updated_at, now)
                for service in self.admin.compute.services(
                    binary='nova-compute')),
                f'nova-compute of {host} reports again')

    def _agree_on_one_of(self, name, allowed):
        """Wait until all agree, on one of these sizes."""
        self._wait(lambda: not self._problems(name),
                   lambda: f'{name}: {self._problems(name)}')
        reached = self._desired(name)
        if reached not in allowed:
            raise probes.Mismatch(
                f'{name} has {reached}, and the answer promised '
                f'{" or ".join(map(str, allowed))}')
        self.show(f'    afterwards: {reached}')

    def _agree(self, name, expected):
        """Wait until all agree on this size; the guest ran all the time."""
        def holds():
            return self._desired(name) == expected and (
                not self._problems(name))

        self._wait(holds, lambda: f'{name} has {expected}: '
                   f'{self._desired(name)}, {self._problems(name)}')
        uptime = self._seen(name).uptime
        if uptime < self._uptimes.get(name, 0):
            raise probes.Mismatch(f'the guest of {name} was started again')
        self._uptimes[name] = uptime

    STEPS: ty.Tuple[str, ...] = (
        'create', 'grow', 'show_sizes', 'shrink', 'refuse', 'migrate',
        'migrate_cold', 'resize', 'shelve', 'shelve_shrunk', 'evacuate',
        'evacuate_shrunk', 'keep_quota', 'hide', 'kill_compute',
        'restart_libvirt', 'restart_broker', 'kill_database',
        'give_vcpu_back', 'ask_agent', 'delete')
