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


"""Neutron: its API, an agent on each host that plugs interfaces, and DHCP.

A network is a bridge on each host that has a server in it, and VXLAN between
the hosts. Linux bridges, because Open vSwitch would be two more daemons on
each host; ``taps`` has what they need with a Nova that cannot plug into one.
"""

import os
import typing as ty

from sandbox import configuration
from sandbox import hosts
from sandbox import layout
from sandbox import processes
from sandbox import schemas
from sandbox import wsgi

NAME = 'neutron'
NETWORK = 'lan'
_CIDR = '10.29.1.0/24'
_BIN = layout.ENV / 'bin'
_DHCP_HOST = layout.HOSTS[0]
_BRIDGES, _DHCP = 'linuxbridge', 'dhcp'
# By the name of the process: the kind of agent, and where it is.
AGENTS = {**{f'{NAME}-{host}': (_BRIDGES, host) for host in layout.HOSTS},
          f'{NAME}-dhcp': (_DHCP, _DHCP_HOST)}
_TAPS = 'taps'  # what ``taps`` adds, as Neutron calls it
_ENTRY_POINTS = f"""\
[neutron.ml2.mechanism_drivers]
{_TAPS} = sandbox.taps:Driver

[neutron.agent.l2.extensions]
{_TAPS} = sandbox.taps:Plug
"""
# What an agent asks its helpers, which are root, to do.
_PRIVSEP = ('privsep', 'privsep_dhcp_release', 'privsep_link',
            'privsep_namespace')


def configure(site: layout.Layout) -> None:
    data = site.site / NAME
    data.mkdir(exist_ok=True)
    configuration.write(_file(site, NAME), {
        'DEFAULT': {
            'bind_host': '127.0.0.1',
            'bind_port': site.ports[NAME],
            'use_stderr': True,
            'core_plugin': 'ml2',
            'service_plugins': '',
            'api_workers': 1,
            'rpc_workers': 1,
            'rpc_state_report_workers': 0,
            'transport_url': site.broker_url,
            'state_path': data,
            'api_paste_config': layout.ENV / 'etc/neutron/api-paste.ini',
        },
        'database': {'connection': site.database_url('neutron')},
        'keystone_authtoken': configuration.token_check(site, NAME),
        'nova': configuration.account(site, 'nova'),
        'placement': configuration.account(site, 'placement'),
        'oslo_concurrency': {'lock_path': data / 'locks'},
        'ml2': {'type_drivers': 'vxlan', 'tenant_network_types': 'vxlan',
                'mechanism_drivers':
                _TAPS if _needs_taps(site) else _BRIDGES,
                'extension_drivers': ''},
        'ml2_type_vxlan': {'vni_ranges': '1:100'},
        # Upstream develops it no longer.
        'experimental': {'linuxbridge': True},
    })
    # As somebody else, dnsmasq could not read its files in this folder again.
    (site.etc(NAME) / 'dnsmasq.conf').write_text('user=root\n')
    # As if it were installed.
    installed = _plugins(site) / 'sandbox-1.dist-info'
    installed.mkdir(parents=True, exist_ok=True)
    (installed / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: sandbox\nVersion: 1\n')
    (installed / 'entry_points.txt').write_text(_ENTRY_POINTS)
    for name, (_kind, host) in AGENTS.items():
        _configure_agent(site, name, host)


def migrate(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    schemas.fill(site, [NAME], lambda: supervisor.run('neutron-schema', [
        _BIN / 'neutron-db-manage', '--config-file', _file(site, NAME),
        'upgrade', 'heads']))


def start(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    supervisor.start(NAME, [
        _BIN / 'neutron-server', '--config-file', _file(site, NAME)],
        _environ(site))
    wsgi.wait(site, supervisor, NAME)


def fill(cloud) -> None:
    """One network that all share; the first query cannot be for ports.

    Without service plugins, that would be answered with 500: a relation of
    the model of a port is set up by a query for something else.
    """
    network = cloud.network.find_network(NETWORK)
    if network is None:
        network = cloud.network.create_network(
            name=NETWORK, is_shared=True)
    if not list(cloud.network.subnets(network_id=network.id)):
        cloud.network.create_subnet(
            name=NETWORK, network_id=network.id, ip_version=4, cidr=_CIDR,
            gateway_ip=None)


def start_agents(site: layout.Layout, supervisor: processes.Supervisor,
                 cloud) -> None:
    for name, (kind, host) in AGENTS.items():
        supervisor.start(name, hosts.inside(supervisor, host, [
            _BIN / f'neutron-{kind}-agent',
            '--config-file', _file(site, NAME),
            '--config-file', _file(site, name)]), _environ(site))
    for name, (kind, host) in AGENTS.items():
        supervisor.wait(name, lambda: any(
            agent.is_alive for agent in cloud.network.agents(
                host=host, binary=f'neutron-{kind}-agent')),
            120, 'has not reported to Neutron')


def ping(supervisor: processes.Supervisor, network: str,
         address: str) -> ty.List[str]:
    """The command that asks an address in a network, where its DHCP is."""
    return hosts.inside(supervisor, _DHCP_HOST, [
        'ip', 'netns', 'exec', f'qdhcp-{network}',
        'busybox', 'ping', '-c', '1', '-W', '2', address])


def _configure_agent(site, name, host):
    path = _file(site, name)
    data = site.site / name
    data.mkdir(exist_ok=True)
    privsep = {'helper_command': f'{_BIN}/privsep-helper --config-file {path}'}
    configuration.write(path, {
        'DEFAULT': {
            'host': host,
            'state_path': data,
            'interface_driver': _BRIDGES,
            'dnsmasq_config_file': site.etc(NAME) / 'dnsmasq.conf',
        },
        'vxlan': {'local_ip': layout.address(host)},
        # The sandbox is about sizes: it filters no packets.
        'securitygroup': {'enable_security_group': False,
                          'firewall_driver': 'noop'},
        'agent': {'root_helper': '', 'report_interval': 5,
                  'extensions': _TAPS if _needs_taps(site) else ''},
        'oslo_concurrency': {'lock_path': data / 'locks'},
        **{context: privsep for context in _PRIVSEP},
    })


def _needs_taps(site):
    """Whether this Nova lacks what plugs a server into a Linux bridge."""
    return not any(site.nova_env.glob(
        'lib/python*/site-packages/vif_plug_linux_bridge'))


def _environ(site):
    return {'PYTHONUNBUFFERED': '1',
            'PYTHONPATH': os.pathsep.join(
                map(str, (_plugins(site), layout.ROOT)))}


def _plugins(site):
    return site.site / NAME / 'plugins'


def _file(site, name):
    return site.etc(NAME) / f'{name}.conf'
