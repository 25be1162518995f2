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

"""The servers of a check: made, changed, compared and removed.

After each step the same is asked of everything that knows a size: Nova's API,
Placement, the quota of the project, libvirt's configuration of the next start,
the guest. They must agree, however the step went, and the server's address
must answer in its network.
"""

import typing as ty

from sandbox import client
from sandbox import compute
from sandbox import hosts
from sandbox import image
from sandbox import layout
from sandbox import network
from sandbox import probes

_PREFIX = 'check-'


class Servers(probes.Probes):
    # The names of the steps, in their order.
    STEPS: ty.Tuple[str, ...] = ()

    def __init__(self, site: layout.Layout, show: ty.Callable[[str], None]):
        super().__init__(site, show)
        self._uptimes: ty.Dict[str, float] = {}

    def errors(self) -> ty.Tuple[ty.Type[Exception], ...]:
        """What else a step raises when something is not as it should be."""
        return client.errors()

    def tidy(self) -> None:
        """Undo what the steps need, whatever has happened."""

    # The step that ends each check

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

    # What the steps are made of

    def remove_servers(self):
        """Also those of a check that failed."""
        for server in self.admin.compute.servers(all_projects=True):
            if server.name.startswith(_PREFIX):
                self.admin.compute.delete_server(server)
                self.admin.compute.wait_for_delete(
                    server, wait=probes.PATIENCE)
        self.servers.clear()

    def _create(self, name, kind=image.IMAGE):
        made = client.openstack(
            self.site, probes.OWNER, 'server', 'create', '--flavor',
            compute.ELASTIC,
            '--image', kind, '--network', network.NETWORK, _PREFIX + name,
            '-f', 'json')
        self.servers[name] = made['id']
        self._wait(lambda: self._is_at_rest(name), f'{name} is ACTIVE')

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
