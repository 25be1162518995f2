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

"""A server moves to the other host and back, and keeps its size."""

from sandbox import client
from sandbox import compute
from sandbox import hosts
from sandbox import layout
from sandbox import probes
from sandbox import servers


class Moves(servers.Servers):
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
