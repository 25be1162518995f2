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


"""Neutron's API, which Nova asks about ports and quotas.

No agent plugs interfaces, so servers have none (``--nic none``): two hosts in
one network namespace cannot both have the tap of a server that moves.
"""

from sandbox import configuration
from sandbox import layout
from sandbox import processes
from sandbox import schemas
from sandbox import wsgi

NAME = 'neutron'


def configure(site: layout.Layout) -> None:
    data = site.site / NAME
    data.mkdir(exist_ok=True)
    configuration.write(site.etc('neutron') / 'neutron.conf', {
        'DEFAULT': {
            'bind_host': '127.0.0.1',
            'bind_port': site.ports[NAME],
            'use_stderr': True,
            'core_plugin': 'ml2',
            'service_plugins': '',
            'api_workers': 1,
            # Without agents nobody calls or reports.
            'rpc_workers': 0,
            'rpc_state_report_workers': 0,
            'dhcp_agent_notification': False,
            'notify_nova_on_port_status_changes': False,
            'notify_nova_on_port_data_changes': False,
            'transport_url': site.broker_url,
            'state_path': data,
            'api_paste_config': layout.ENV / 'etc/neutron/api-paste.ini',
        },
        'database': {'connection': site.database_url('neutron')},
        'keystone_authtoken': configuration.token_check(site, NAME),
        'nova': configuration.account(site, 'nova'),
        'placement': configuration.account(site, 'placement'),
        'oslo_concurrency': {'lock_path': data / 'locks'},
        'ml2': {'type_drivers': 'local', 'tenant_network_types': 'local',
                'mechanism_drivers': '', 'extension_drivers': ''},
    })


def migrate(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    schemas.fill(site, [NAME], lambda: supervisor.run('neutron-schema', [
        layout.ENV / 'bin' / 'neutron-db-manage', *_configured(site),
        'upgrade', 'heads']))


def start(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    supervisor.start(NAME, [layout.ENV / 'bin' / 'neutron-server',
                            *_configured(site)], {'PYTHONUNBUFFERED': '1'})
    wsgi.wait(site, supervisor, NAME)


def warm_up(cloud) -> None:
    """Without service plugins, a query for ports cannot be the first one.

    It would be answered with 500: a relation of the model of a port is set
    up by a query for something else.
    """
    list(cloud.network.networks())


def _configured(site):
    return ['--config-file', site.etc('neutron') / 'neutron.conf']
