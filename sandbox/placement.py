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


"""Placement: who holds how much of which host.

Nova knows traits that an older Placement does not, so it is the one that the
tests of Nova's release run.
"""

from sandbox import configuration
from sandbox import layout
from sandbox import processes
from sandbox import schemas
from sandbox import wsgi

NAME = 'placement'


def configure(site: layout.Layout) -> None:
    configuration.write(site.etc('placement') / 'placement.conf', {
        'DEFAULT': {'use_stderr': True},
        'api': {'auth_strategy': 'keystone'},
        'placement_database': {'connection': site.database_url('placement')},
        'keystone_authtoken': configuration.token_check(site, NAME),
    })


def migrate(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    schemas.fill(site, [NAME], lambda: supervisor.run('placement-schema', [
        site.nova_env / 'bin' / 'placement-manage', '--config-file',
        site.etc('placement') / 'placement.conf', 'db', 'sync']))


def start(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    wsgi.start(site, supervisor, NAME, 'placement.wsgi:init_application',
               {'OS_PLACEMENT_CONFIG_DIR': str(site.etc('placement'))},
               site.nova_env)
