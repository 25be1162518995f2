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


"""How a person and the check reach the sandbox: clouds.yaml, CLI, SDK."""

import json
import os
import subprocess
import typing as ty

from sandbox import identity
from sandbox import layout

ADMIN = 'sandbox-admin'


def cloud(user: str) -> str:
    """The name in clouds.yaml of what a user sees."""
    return f'sandbox-{user}'


def write_clouds(site: layout.Layout) -> None:
    layout.write_secret(site.clouds, clouds(site))


def clouds(site: layout.Layout) -> str:
    """clouds.yaml; JSON is YAML, too."""
    return json.dumps({'clouds': {
        cloud(user): {
            'auth': {
                'auth_url': site.identity_url, 'username': user,
                'password': site.passwords[user], 'project_name': user,
                'user_domain_id': 'default', 'project_domain_id': 'default'},
            'region_name': layout.REGION,
            'interface': 'public',
            # Without default_microversion: openstacksdk refuses a command that
            # is given another version than that.
            'compute_api_version': '2.95',
            'placement_api_version': '1.39',
        } for user in ('admin', *identity.USERS)}}, indent=2) + '\n'


def connect(site: layout.Layout, name: str = ADMIN,
            any_microversion: bool = False):
    """A connection of openstacksdk; each thread needs one of its own.

    :param any_microversion: whether Nova may be older than clouds.yaml says
    """
    import openstack

    cloud = openstack.config.OpenStackConfig(
        config_files=[str(site.clouds)], load_envvars=False).get_one(name)
    if any_microversion:
        del cloud.config['compute_api_version']
    return openstack.connection.Connection(config=cloud)


def errors() -> ty.Tuple[ty.Type[Exception], ...]:
    """What a connection raises when a service does not answer as it should.

    SDK and authentication have families of their own.
    """
    from keystoneauth1 import exceptions as authentication
    import openstack

    return (openstack.exceptions.SDKException,
            authentication.ClientException)


class CommandFailed(Exception):
    """What the OpenStack client said."""


def openstack(site: layout.Layout, name: str, *words: str) -> ty.Any:
    """Run the OpenStack client as a person would; what it says, parsed."""
    environ = {key: value for key, value in os.environ.items()
               if not key.startswith('OS_')}
    done = subprocess.run(
        [str(layout.ENV / 'bin' / 'openstack'), *words], text=True,
        env={**environ, 'OS_CLIENT_CONFIG_FILE': str(site.clouds),
             'OS_CLOUD': name},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    if done.returncode:
        raise CommandFailed(
            f'openstack {" ".join(words)}: '
            f'{(done.stderr or done.stdout).strip()}')
    return json.loads(done.stdout) if '-f' in words else done.stdout
