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


"""MariaDB: the services' schemas, in a folder of the sandbox.

SQLite would not do: Neutron's migrations alter constraints.
"""

from pathlib import Path
import subprocess

from sandbox import layout
from sandbox import machine
from sandbox import processes

NAME = 'mariadb'
SCHEMAS = ('keystone', 'glance', 'placement', 'neutron',
           'nova_api', 'nova_cell0', 'nova')


def start(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    data = site.site / 'mariadb'
    if not (data / 'mysql').is_dir():
        # Its root is who is root here, over the socket, without a password.
        supervisor.run('mariadb-install', [
            'mariadb-install-db', '--no-defaults', '--user=root',
            f'--datadir={data}', '--auth-root-authentication-method=socket',
            '--skip-test-db'])
    # What is committed survives that the process is killed, not that the
    # machine loses power: nobody waits for the disk.
    supervisor.start(NAME, [
        machine.find('mariadbd'), '--no-defaults', '--user=root',
        f'--datadir={data}', f'--socket={socket(site)}',
        f'--pid-file={data}/pid', '--bind-address=127.0.0.1',
        f'--port={site.ports[NAME]}', '--skip-name-resolve',
        '--max-connections=500', '--character-set-server=utf8mb3',
        '--innodb-buffer-pool-size=128M', '--innodb-flush-method=nosync',
        '--innodb-flush-log-at-trx-commit=2', '--skip-log-bin',
        '--performance-schema=0'])
    supervisor.wait(NAME, lambda: ask(site, 'SELECT 1'), 60)


def create_schemas(site: layout.Layout) -> None:
    lines = [f'CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb3;'
             for name in SCHEMAS]
    lines.append(
        "CREATE OR REPLACE USER openstack@'127.0.0.1' IDENTIFIED BY "
        f"'{site.passwords[NAME]}';")
    lines += [f"GRANT ALL ON {name}.* TO openstack@'127.0.0.1';"
              for name in SCHEMAS]
    if not ask(site, '\n'.join(lines)):
        raise processes.Failed('mariadb does not create the schemas')


def ask(site: layout.Layout, statements: str) -> bool:
    """Whether the database did what was asked of it, as its root."""
    # By its input: others may read the arguments of a command.
    return subprocess.run(
        ['mariadb', '--no-defaults', '--user=root',
         f'--socket={socket(site)}'], input=statements, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ).returncode == 0


def socket(site: layout.Layout) -> Path:
    return site.site / 'mariadb.sock'
