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


"""Where everything of a sandbox lies, listens and by which secret it opens."""

import dataclasses
import json
import os
from pathlib import Path
import secrets
import typing as ty

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / 'build' / 'sandbox'

# Of the services around Nova, which sandbox.sh installs.
ENV = FOLDER / 'env'
# Of Nova, for a new sandbox; one that is there has its own.
_FIRST = '2024.1'
RELEASE = os.environ.get('XLOUD_RELEASE', _FIRST)

REGION = 'sandbox'
HOSTS = ('compute-a', 'compute-b')
WIRE = 'wire'  # its interface on both hosts
# The part of a path that libvirt adds must still fit into the 108 bytes that
# the address of a socket has.
LONGEST_ROOT = 50

_STANDARD_PORTS = {
    'mariadb': 3306, 'rabbitmq': 5672, 'erlang': 25672, 'epmd': 4369,
    'keystone': 5000, 'glance': 9292, 'placement': 8778, 'neutron': 9696,
    'nova': 8774,
    # In a sandbox with stock Nova; 'nova' is then the balancer before them.
    'nova-api-1': 8784, 'nova-api-2': 8785,
    # Chromium refuses 10080.
    'horizon': 8000}
_SHIFT = 10000
_ACCOUNTS = ('admin', 'demo', 'other', 'check', 'check-other', 'mariadb',
             'rabbitmq', 'glance', 'placement', 'neutron', 'nova', 'horizon')


@dataclasses.dataclass(frozen=True)
class Layout:
    """One sandbox; the same until ``down``."""

    site: Path
    ports: ty.Dict[str, int]
    passwords: ty.Dict[str, str]
    # Whether Nova is untouched, for a deployment to change.
    stock: bool = False
    release: str = RELEASE

    @property
    def nova_env(self) -> Path:
        return nova_env(self.release)

    @property
    def nova_tree(self) -> Path:
        return ROOT / 'build' / f'nova-{self.release}'

    @property
    def logs(self) -> Path:
        return self.site / 'logs'

    @property
    def dashboard(self) -> Path:
        """Of Horizon, if this sandbox has one."""
        return self.site / 'dashboard'

    @property
    def clouds(self) -> Path:
        return self.site / 'clouds.yaml'

    def etc(self, name: str) -> Path:
        return self.site / 'etc' / name

    def host(self, name: str) -> Path:
        """The folder of a host; nova.conf's migration URI depends on it."""
        return self.site / 'hosts' / name

    def url(self, name: str, path: str = '') -> str:
        return f'http://127.0.0.1:{self.ports[name]}{path}'

    @property
    def identity_url(self) -> str:
        return self.url('keystone', '/v3')

    def database_url(self, schema: str) -> str:
        return (f'mysql+pymysql://openstack:{self.passwords["mariadb"]}'
                f'@127.0.0.1:{self.ports["mariadb"]}/{schema}?charset=utf8')

    @property
    def broker_url(self) -> str:
        return (f'rabbit://openstack:{self.passwords["rabbitmq"]}'
                f'@127.0.0.1:{self.ports["rabbitmq"]}/')


def nova_env(release: str = RELEASE) -> Path:
    return ROOT / 'build' / f'env-{release}'


def address(host: str) -> str:
    """A host's end of the wire; nobody but the other host can reach it."""
    return f'10.29.0.{HOSTS.index(host) + 1}'


def site(folder: Path = FOLDER) -> Path:
    return folder / 'site'


def load(folder: Path = FOLDER) -> ty.Optional[Layout]:
    """The sandbox that is there, if one is."""
    try:
        settings = json.loads(_settings(folder).read_text())
    except FileNotFoundError:
        return None
    return Layout(site(folder), settings['ports'], settings['passwords'],
                  settings.get('stock', False),
                  # A sandbox from before others were served has no release.
                  settings.get('release', _FIRST))


def create(folder: Path = FOLDER, stock: bool = False) -> Layout:
    """The sandbox that is there, or a new one with secrets of its own."""
    existing = load(folder)
    if existing:
        return existing
    # Nobody but its owner looks into it; QEMU is root, too.
    site(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ('etc', 'logs', 'hosts', 'done', 'processes'):
        (site(folder) / name).mkdir(exist_ok=True)
    write_secret(_settings(folder), json.dumps({
        'stock': stock,
        'release': RELEASE,
        'ports': ports(),
        # Without a character that a URL or oslo.config reads otherwise.
        'passwords': {name: secrets.token_hex(16) for name in _ACCOUNTS},
    }, indent=1))
    created = load(folder)
    assert created is not None
    return created


def ports() -> ty.Dict[str, int]:
    shift = int(os.environ.get('XLOUD_SANDBOX_PORT_SHIFT', _SHIFT))
    return {name: port + shift for name, port in _STANDARD_PORTS.items()}


def write_secret(path: Path, text: str) -> None:
    """Write a file that holds a password: whole, and for its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + '.new')
    aside.unlink(missing_ok=True)
    opened = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, 'w') as output:
        output.write(text)
    aside.rename(path)


def _settings(folder):
    return site(folder) / 'settings.json'
