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

"""Environments of untouched Nova, one a node, for a deployment to change.

A node is a host, the machine of the control services, or that of a second
nova-api. Nova is in its own environment, as pip installs it. What Nova
requires is that of the tree's, by a file .pth, whose place on the path is
behind it.
"""

from pathlib import Path
import re
import subprocess

from sandbox import layout
from sandbox import processes

CONTROL = 'control'
_SECOND = 'control-2'
NODES = (CONTROL, _SECOND, *layout.HOSTS)
# By the name of the process: where it is.
APIS = {'nova-api-1': CONTROL, 'nova-api-2': _SECOND}


def program(site: layout.Layout, node: str, name: str) -> Path:
    """Where a program of Nova is on a node."""
    return env(site, node) / 'bin' / name


def env(site: layout.Layout, node: str) -> Path:
    """The environment that Nova runs in on a node."""
    return prefix(site, node) if site.stock else site.nova_env


def prefix(site: layout.Layout, node: str) -> Path:
    return site.site / 'nodes' / node


def site_packages(folder: Path) -> Path:
    """Of an environment."""
    (found,) = folder.glob('lib/python*/site-packages')
    return found


def create(site: layout.Layout) -> None:
    wheel = _wheel(site)
    for node in NODES:
        install(prefix(site, node), site.nova_env, wheel)


def install(folder: Path, env: Path, wheel: Path) -> None:
    """Make an environment that has a wheel, and all else of another one."""
    _run(env / 'bin/python', '-m', 'venv', '--clear', '--without-pip', folder)
    _run(env / 'bin/python', '-m', 'pip', '-q', '--python',
         folder / 'bin/python3', 'install', '--no-deps', '--no-index', wheel)
    (site_packages(folder) / 'requirements.pth').write_text(
        f'{site_packages(env)}\n')


def _wheel(site):
    pinned = layout.ROOT / 'patches' / site.release / 'upstream.txt'
    version = re.search(r'^nova==(\S+)', pinned.read_text(), re.M).group(1)
    folder = layout.FOLDER / 'stock'
    found = list(folder.glob(f'nova-{version}-*.whl'))
    if not found:
        # The release itself, as the tree was made from it.
        _run(site.nova_env / 'bin/python', '-m', 'pip', '-q', 'wheel',
             '--no-deps', '--no-build-isolation', '--no-index', '-w', folder,
             layout.ROOT / f'build/.cache/sdist/nova-{version}.tar.gz')
        found = list(folder.glob(f'nova-{version}-*.whl'))
    return found[0]


def _run(*words):
    done = subprocess.run([str(word) for word in words], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        raise processes.Failed(f'{words[2]} failed: {done.stdout[-2000:]}')
