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


"""Keystone: projects, users and the catalogue."""

from sandbox import configuration
from sandbox import layout
from sandbox import processes
from sandbox import schemas
from sandbox import wsgi

NAME = 'keystone'
# Users of the cloud, each with a project of the same name: for persons, and
# for the check, which counts what its project has.
PERSONS = ('demo', 'other')
CHECKERS = ('check', 'check-other')
USERS = PERSONS + CHECKERS
_SERVICES = {'glance': ('image', ''), 'placement': ('placement', ''),
             'neutron': ('network', ''), 'nova': ('compute', '/v2.1')}


def configure(site: layout.Layout) -> None:
    keys = site.site / NAME
    for name in ('fernet', 'credential'):
        (keys / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration.write(site.etc('keystone') / 'keystone.conf', {
        'DEFAULT': {'use_stderr': True},
        'database': {'connection': site.database_url('keystone')},
        'fernet_tokens': {'key_repository': keys / 'fernet'},
        'credential': {'key_repository': keys / 'credential'},
        # Hashing is meant to be slow, and every token would wait for it.
        'identity': {'password_hash_rounds': 4},
        'cache': {'enabled': True, 'backend': 'dogpile.cache.memory'},
    })


def migrate(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    manage = [layout.ENV / 'bin' / 'keystone-manage', '--config-file',
              site.etc('keystone') / 'keystone.conf']
    owner = ['--keystone-user', 'root', '--keystone-group', 'root']
    schemas.fill(site, [NAME], lambda: supervisor.run(
        'keystone-schema', [*manage, 'db_sync']))
    supervisor.run('keystone-schema', [*manage, 'fernet_setup', *owner])
    supervisor.run('keystone-schema', [
        *manage, 'bootstrap', '--bootstrap-region-id', layout.REGION,
        '--bootstrap-public-url', site.identity_url],
        {'OS_BOOTSTRAP_PASSWORD': site.passwords['admin']})


def start(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    wsgi.start(site, supervisor, NAME,
               'keystone.server.wsgi:initialize_public_application',
               {'OS_KEYSTONE_CONFIG_DIR': str(site.etc('keystone'))})


def fill(cloud, site: layout.Layout) -> None:
    """Make what is missing; ``cloud`` is a connection of an administrator."""
    identity = cloud.identity
    service_project = _ensure(identity, 'project', 'service',
                              domain_id='default')
    service_role = _ensure(identity, 'role', 'service')
    admin_role = _ensure(identity, 'role', 'admin')
    for name, (kind, path) in _SERVICES.items():
        user = _ensure(identity, 'user', name, domain_id='default',
                       password=site.passwords[name])
        for role in (admin_role, service_role):
            identity.assign_project_role_to_user(service_project, user, role)
        service = _ensure(identity, 'service', name, type=kind)
        if not list(identity.endpoints(service_id=service.id)):
            identity.create_endpoint(
                service_id=service.id, interface='public',
                region_id=layout.REGION, url=site.url(name, path))
    member_role = _ensure(identity, 'role', 'member')
    for name in USERS:
        project = _ensure(identity, 'project', name, domain_id='default')
        user = _ensure(identity, 'user', name, domain_id='default',
                       password=site.passwords[name])
        identity.assign_project_role_to_user(project, user, member_role)


def _ensure(identity, kind, name, **attributes):
    found = getattr(identity, f'find_{kind}')(name)
    return found or getattr(identity, f'create_{kind}')(
        name=name, **attributes)
