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


"""What leads out of a host's network namespace.

A wire to the other host, which live migrations and the servers' networks go
over, and a relay to the control services. The machine's own namespace gets
no interface, address or route, and nothing else leads out.
"""

import socket

from sandbox import broker
from sandbox import hosts
from sandbox import identity
from sandbox import image
from sandbox import layout
from sandbox import network
from sandbox import placement
from sandbox import processes
from sandbox import relay

RELAY = 'relay'
# What nova-compute and Neutron's agents call.
_RELAYED = (broker, identity, image, placement, network)


def connect(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    """Connect hosts that run."""
    wired = [host for host in layout.HOSTS if _has_wire(supervisor, host)]
    if len(wired) < len(layout.HOSTS):
        # A host was started again: the relay listens in its old namespace,
        # and with that the other end of the old wire goes.
        supervisor.stop(RELAY)
        for host in wired:
            supervisor.wait(host, lambda: not _has_wire(supervisor, host), 20,
                            'still has its old wire')
        here, there = layout.HOSTS
        _ip(supervisor, here, 'link', 'add', layout.WIRE, 'type', 'veth',
            'peer', 'name', layout.WIRE, 'netns',
            str(hosts.pid(supervisor, there)))
    for host in layout.HOSTS:
        _ip(supervisor, host, 'address', 'replace',
            f'{layout.address(host)}/24', 'dev', layout.WIRE)
        _ip(supervisor, host, 'link', 'set', layout.WIRE, 'up')
    ports = [site.ports[module.NAME] for module in _RELAYED]
    namespaces = [f'/proc/{hosts.pid(supervisor, host)}/ns/net'
                  for host in layout.HOSTS]
    supervisor.start(RELAY, [
        layout.ENV / 'bin' / 'python', '-m', relay.__name__,
        ','.join(map(str, ports)), *namespaces], cwd=layout.ROOT)
    supervisor.wait(RELAY, lambda: all(
        _answers(namespace, port) for namespace in namespaces
        for port in ports), 20)


def _has_wire(supervisor, host):
    with relay.inside(f'/proc/{hosts.pid(supervisor, host)}/ns/net'):
        return layout.WIRE in dict(socket.if_nameindex()).values()


def _answers(namespace, port):
    try:
        with relay.inside(namespace):
            socket.create_connection(('127.0.0.1', port), 1).close()
    except OSError:
        return False
    return True


def _ip(supervisor, host, *words):
    supervisor.run(layout.WIRE,
                   hosts.inside(supervisor, host, ['ip', *words]))
