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


"""RabbitMQ, with a node name, a cookie and a port mapper of its own."""

import socket

from sandbox import layout
from sandbox import machine
from sandbox import processes

NAME = 'rabbitmq'
MAPPER = 'epmd'

_CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = openstack
default_pass = {password}
vm_memory_high_watermark.absolute = 400MB
disk_free_limit.absolute = 50MB
num_acceptors.tcp = 2
"""
# Erlang's own port listens where its configuration says, not the broker's.
_ADVANCED = '[{kernel, [{inet_dist_use_interface, {127,0,0,1}}]}].\n'


def configure(site: layout.Layout) -> None:
    folder = site.site / NAME
    (folder / 'home').mkdir(parents=True, exist_ok=True)
    layout.write_secret(folder / 'rabbitmq.conf', _CONFIGURATION.format(
        port=site.ports[NAME], password=site.passwords[NAME]))
    (folder / 'advanced.config').write_text(_ADVANCED)
    (folder / 'enabled_plugins').write_text('[].\n')


def start(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    folder, ports = site.site / NAME, site.ports
    # Else Erlang would start one, which nobody ends.
    supervisor.start(MAPPER, [
        'epmd', '-address', '127.0.0.1', '-port', str(ports[MAPPER])])
    supervisor.wait(MAPPER, lambda: _listens(ports[MAPPER]), 20)
    supervisor.start(NAME, [machine.find('rabbitmq-server')], {
        # As a unit of systemd: the broker takes the place of the script
        # that starts it, so that it is what is ended.
        'RUNNING_UNDER_SYSTEMD': 'yes',
        'HOME': str(folder / 'home'),
        'RABBITMQ_NODENAME': 'xloud@localhost',
        'RABBITMQ_CONFIG_FILE': str(folder / 'rabbitmq.conf'),
        'RABBITMQ_ADVANCED_CONFIG_FILE': str(folder / 'advanced.config'),
        'RABBITMQ_ENABLED_PLUGINS_FILE': str(folder / 'enabled_plugins'),
        'RABBITMQ_CONF_ENV_FILE': str(folder / 'no-such-file'),
        'RABBITMQ_MNESIA_BASE': str(folder / 'data'),
        'RABBITMQ_LOG_BASE': str(site.logs),
        'RABBITMQ_LOGS': '-',
        'RABBITMQ_PID_FILE': str(folder / 'pid'),
        'RABBITMQ_DIST_PORT': str(ports['erlang']),
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': '+S 1:1 +sbwt none',
        'ERL_EPMD_ADDRESS': '127.0.0.1',
        'ERL_EPMD_PORT': str(ports[MAPPER]),
    })
    supervisor.wait(NAME, lambda: _listens(ports[NAME]), 120)


def _listens(port):
    try:
        socket.create_connection(('127.0.0.1', port), 1).close()
    except OSError:
        return False
    return True
