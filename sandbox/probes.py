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

"""What Nova's API, Placement, Neutron, libvirt and the guest say of a server.

They must agree, however a step of the check went, and the server's address
must answer in its network.
"""

import subprocess
import time
import typing as ty
from xml.etree import ElementTree

from sandbox import client
from sandbox.guest import tiny_guest
from sandbox import hosts
from sandbox import identity
from sandbox import layout
from sandbox import network
from sandbox import processes
from sandbox import stack

OWNER, STRANGER = map(client.cloud, identity.CHECKERS)
PATIENCE = 180
# What the kernel of the guest keeps for itself, at most.
_KERNEL_MIB = 96
# libvirt rounds; that counts as reached.
_ROUNDING_MIB = 1


class Mismatch(Exception):
    """What was found is not what it should be."""


class Sizes(ty.NamedTuple):
    vcpus: int
    memory_mb: int


def problems(status: ty.Dict[str, ty.Any], allocation: Sizes,
             seen: ty.Optional[tiny_guest.Seen]) -> ty.List[str]:
    """Where API, Placement and guest disagree about one server.

    :param status: xloud_status of the API
    """
    def of(word):
        return Sizes(status[f'{word}_vcpus'], status[f'{word}_memory_mb'])

    found = []
    if status['condition'] != 'Settled':
        found.append(f'the API says {status["condition"]}: '
                     f'{status["reason"]}')
    if None in of('actual'):
        return [*found, 'the host does not say what the guest holds']
    charged = Sizes(*map(max, of('desired'), of('boot'), of('actual')))
    if not (charged.vcpus == of('allocated').vcpus and abs(
            charged.memory_mb - of('allocated').memory_mb) <= _ROUNDING_MIB):
        found.append(f'charged is {of("allocated")}, and it desires, boots '
                     f'or holds {charged}')
    if allocation != of('allocated'):
        found.append(f'Placement has {allocation}, Nova charges '
                     f'{of("allocated")}')
    if seen is None:
        return [*found, 'the guest says nothing']
    if seen.vcpus != of('actual').vcpus:
        found.append(f'the guest sees {seen.vcpus} vCPUs, the API says '
                     f'{of("actual").vcpus}')
    hidden = of('actual').memory_mb - seen.memory_mb
    if not 0 <= hidden <= _KERNEL_MIB:
        found.append(f'the guest sees {seen.memory_mb} MiB, the API says '
                     f'{of("actual").memory_mb}')
    return found


def next_start_problems(status: ty.Dict[str, ty.Any],
                        configuration: ty.Optional[str]) -> ty.List[str]:
    """Where the API and libvirt disagree about the next start.

    :param configuration: the XML that libvirt keeps, if it has any
    """
    if not configuration:
        return ['libvirt has no configuration of it']
    xml = ElementTree.fromstring(configuration)
    vcpu = xml.find('vcpu')
    assert vcpu is not None
    found = Sizes(int(vcpu.get('current', vcpu.text or '')),
                  int(xml.findtext('currentMemory', '0')) // 1024)
    boot = Sizes(status['boot_vcpus'], status['boot_memory_mb'])
    return [] if found == boot else [
        f'libvirt would start it with {found}, the API says {boot}']


class Probes:
    """Those of the servers that a check has made."""

    def __init__(self, site: layout.Layout, show: ty.Callable[[str], None]):
        self.site = site
        self.show = show
        self.supervisor = stack.supervisor_of(site)
        self.admin = client.connect(site)
        self.owner = client.connect(site, OWNER)
        self.stranger = client.connect(site, STRANGER)
        # As soon as they are made: their ids.
        self.servers: ty.Dict[str, str] = {}

    def _host(self, name):
        return self.admin.compute.get_server(self.servers[name]).compute_host

    def _problems(self, name):
        server = self.servers[name]
        seen = self._seen(name)
        status = self._status(server)
        found = problems(status, self._allocation(server), seen)
        found += next_start_problems(status, hosts.ask(
            self.site, self._host(name), 'dumpxml', '--inactive', server))
        found += self._quota_problems()
        if seen:
            found += self._network_problems(server, seen.address)
        if not self._is_at_rest(name):
            state = self.admin.compute.get_server(server)
            found.append(f'it is {state.status}, {state.task_state}')
        return found

    def _quota_problems(self):
        """The quota of the project counts what its servers are charged."""
        limits = self._json(self.owner.compute.get('/limits'))
        used = Sizes(*(limits['limits']['absolute'][key]
                       for key in ('totalCoresUsed', 'totalRAMUsed')))
        charged = Sizes(*map(sum, zip(*(
            self._allocation(server) for server in self.servers.values()))))
        return [] if used == charged else [
            f'the quota counts {used}, and {charged} is allocated']

    def _network_problems(self, server, seen):
        (port,) = self._ports(server)
        (address,) = (fixed['ip_address'] for fixed in port.fixed_ips)
        if seen != address:
            return [f'the guest has the address "{seen}", Neutron says '
                    f'{address}']
        asked = subprocess.run(
            network.ping(self.supervisor, port.network_id, address),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return [f'{address} does not answer'] if asked.returncode else []

    def _ports(self, server):
        return list(self.admin.network.ports(device_id=server))

    def _bindings(self, server):
        """Which hosts the port of a server is bound to, and how."""
        (port,) = self._ports(server)
        bindings = self._json(self.admin.network.get(
            f'/ports/{port.id}/bindings'))['bindings']
        return {binding['host']: binding['status'] for binding in bindings}

    def _desired(self, name):
        status = self._status(self.servers[name])
        return Sizes(status['desired_vcpus'], status['desired_memory_mb'])

    def _is_at_rest(self, name, status='ACTIVE'):
        server = self.admin.compute.get_server(self.servers[name])
        if server.status == 'ERROR':
            raise Mismatch(f'{name} is in ERROR: {server.fault}')
        return server.status == status and server.task_state is None

    def _status(self, server):
        return self._json(
            self.owner.compute.get(f'/os-xloud-adjust/{server}')
        )['xloud_status']

    def _seen(self, name):
        answer = self._json(self.owner.compute.post(
            f'/servers/{self.servers[name]}/action',
            json={'os-getConsoleOutput': {'length': 5}}))
        return tiny_guest.seen(answer['output'])

    def _allocations(self, server):
        return self._json(self.admin.placement.get(
            f'/allocations/{server}'))['allocations']

    def _allocation(self, server):
        """What a server holds of all hosts; one, unless it just moves."""
        held = [found['resources'] for found in
                self._allocations(server).values()]
        return Sizes(sum(one['VCPU'] for one in held),
                     sum(one['MEMORY_MB'] for one in held))

    def _json(self, answer):
        if answer.status_code >= 400:
            raise processes.Failed(f'{answer.url}: {answer.status_code} '
                                   f'{answer.text}')
        return answer.json()

    def _expect(self, found, expected, what):
        if found != expected:
            raise Mismatch(f'{what} is {found}, not {expected}')

    def _wait(self, condition, what, patience=PATIENCE):
        """Wait for it; services that come back may answer 500 meanwhile."""
        deadline = time.monotonic() + patience
        error = None
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
                error = None
            except (processes.Failed, *client.errors()) as failed:
                error = failed
            time.sleep(0.5)
        if error is None:
            error = what() if callable(what) else what
        raise Mismatch(f'not within {patience} s: {error}')
