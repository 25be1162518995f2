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

"""What is under clients/, tested with both ends of what it supports.

Each end has an environment of its own, which is made when it is missing or
when what it is locked to has changed.  Standard library only.
"""

import dataclasses
import hashlib
import os
from pathlib import Path
import re
import shutil
import subprocess
import typing as ty

from tools import pythons
from tools import releases

ROOT = releases.ROOT
# As in tools/tree.py: the requirements of Horizon are as old as Nova's.
BUILT_WITH = ('pip', 'setuptools<80', 'wheel', 'pbr')
_RAN = re.compile(r'^Ran (\d+) tests? in ', re.MULTILINE)
_ENDED = re.compile(r'^(?:OK|FAILED)(?: \((.*)\))?$', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class End:
    """A client, and what it is tested with."""

    client: str
    name: str
    packages: ty.Tuple[str, ...]
    command: ty.Tuple[str, ...]
    # Of a Django.
    settings: str = ''
    python: ty.Tuple[int, int] = (3, 9)

    @property
    def folder(self) -> Path:
        return ROOT / 'clients' / self.client

    @property
    def lock(self) -> Path:
        return self.folder / f'constraints-{self.name}.txt'

    @property
    def env(self) -> Path:
        return ROOT / 'build' / f'clients-{self.client}-{self.name}'


def _osc(name):
    return End(
        'openstackclient', name,
        ('fixtures', 'python-openstackclient', 'requests-mock', 'testtools'),
        ('unittest', 'discover', '-s', 'xloud_openstackclient/tests',
         '-t', '.'))


# Newer Horizons do not bring enmerkar, which finds texts in templates.
_WITH_HORIZON = ('horizon', 'enmerkar', 'requests-mock', 'selenium')


def _horizon(name, settings, python, *arguments):
    return End(
        'dashboard', name, _WITH_HORIZON,
        ('django', 'test', *arguments, 'xloud_dashboard'),
        f'xloud_dashboard.tests.{settings}', python)


# Horizon says which Python it needs; pip would say it late.
OLDEST, NEWEST = ('oldest', (3, 9)), ('newest', (3, 11))
UNIT = [
    _osc('oldest'), _osc('newest'),
    *(_horizon(name, 'settings', python) for name, python in (
        OLDEST, NEWEST))]
BROWSER = [
    _horizon(name, 'browser_settings', python, '--pattern', 'browse_*.py')
    for name, python in (OLDEST, NEWEST)]


class Result(ty.NamedTuple):

    ran: int
    skipped: int
    failed: int


def run(end: End, show=print) -> Result:
    """Run the tests of one end; what they print is shown if one fails."""
    if _version(pythons.pick()) < end.python:
        show(f'{end.client}, {end.name}: needs Python %d.%d' % end.python)
        return Result(1, 1, 0)
    _refresh(end, show)
    environ = {**os.environ, 'PYTHONDONTWRITEBYTECODE': '1',
               'PYTHONPATH': str(end.folder)}
    if end.settings:
        environ['DJANGO_SETTINGS_MODULE'] = end.settings
    done = subprocess.run(
        [end.env / 'bin' / 'python', '-m', *end.command], cwd=end.folder,
        env=environ, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    result = read(done.stdout, done.returncode)
    if result.failed:
        show(done.stdout)
    show('%s, %s: %d tests, %d failed, %d skipped' % (
        end.client, end.name, *_ordered(result)))
    return result


def _ordered(result):
    return result.ran, result.failed, result.skipped


def read(text: str, code: int) -> Result:
    """What unittest says at its end."""
    ran, ended = _RAN.findall(text), _ENDED.findall(text)
    if not ran or not ended or ran[-1] == '0':
        return Result(1, 0, 1)
    counts = dict(re.findall(r'([\w ]+)=(\d+)', ended[-1]))
    counts = {name.strip(): int(count) for name, count in counts.items()}
    failed = sum(counts.get(name, 0) for name in (
        'failures', 'errors', 'unexpected successes'))
    # What failed before a test ran is not among those that ran.
    return Result(max(int(ran[-1]), failed + counts.get('skipped', 0)),
                  counts.get('skipped', 0), failed or int(code != 0))


def _refresh(end, show):
    stamp = end.env / 'installed'
    wanted = '\n'.join([*BUILT_WITH, *end.packages, hashlib.sha256(
        end.lock.read_bytes()).hexdigest()])
    if (pythons.has_packages(end.env) and stamp.exists() and
            stamp.read_text() == wanted):
        return
    show(f'installing {end.env.relative_to(ROOT)}')
    shutil.rmtree(end.env, ignore_errors=True)
    subprocess.run([pythons.pick(), '-m', 'venv', str(end.env)], check=True)
    # To compile all takes a quarter of the time, and few files are imported.
    for packages in (BUILT_WITH, ('--use-pep517', '--no-build-isolation',
                                  *end.packages)):
        subprocess.run(
            [end.env / 'bin' / 'python', '-m', 'pip', 'install', '-qq',
             '--disable-pip-version-check', '--no-compile', '-c', end.lock,
             *packages], check=True)
    stamp.write_text(wanted)


def _version(python):
    said = subprocess.run(
        [python, '-c', 'import sys; print(*sys.version_info[:2])'],
        check=True, stdout=subprocess.PIPE, text=True).stdout
    return tuple(map(int, said.split()))
