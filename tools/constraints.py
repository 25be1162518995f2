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
"""Resolve the versions of all that the lanes of a release install.

``python3 -m tools.constraints 2025.1 --upper FILE_OR_URL`` writes
``patches/2025.1/constraints.txt``: what constraints.in and Nova's
test-requirements.txt ask for, with the versions that OpenStack publishes for
that release (openstack/requirements, upper-constraints.txt).  What
constraints.in gives a version of its own is free of the published one.
"""

import argparse
import http.client
import os
from pathlib import Path
import re
import subprocess
import sys
import tempfile
import typing as ty
import urllib.request

from tools import pythons
from tools import releases

# Its resolver writes one file for several Pythons, which pip cannot.
RESOLVER = 'uv'
VENV = releases.ROOT / 'build' / 'uv-venv'
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]*')
PUBLISHED = re.compile(r'(?m)^[A-Za-z0-9][A-Za-z0-9._-]*===')
OWN = re.compile(r'([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[.*\])?\s*[<>=!~]')


def own(wanted: str) -> set:
    """The names that constraints.in gives a version."""
    return {_plain(found.group(1)) for found in
            map(OWN.match, wanted.splitlines()) if found}


def free(upper: str, names: set) -> str:
    """The published versions without those of these names."""
    return ''.join(f'{line}\n' for line in upper.splitlines()
                   if not (found := NAME.match(line)) or
                   _plain(found.group()) not in names)


def comment(lock: str) -> str:
    """What a person wrote at the head of the file."""
    kept = []
    for line in lock.splitlines():
        if not line.startswith('#'):
            break
        kept.append(f'{line}\n')
    return ''.join(kept)


def _plain(name):
    return re.sub('[-_.]+', '-', name).lower()


def resolve(lanes: releases.Lanes, upper: str, before: str,
            requirements: Path) -> str:
    wanted = lanes.folder / 'constraints.in'
    with tempfile.TemporaryDirectory() as folder:
        published, lock = Path(folder, 'upper.txt'), Path(folder, 'lock.txt')
        published.write_text(free(upper, own(wanted.read_text())))
        oldest = min(lanes.pythons, key=lambda one: tuple(
            map(int, one.split('.'))))
        subprocess.run(
            [str(resolver()), 'pip', 'compile', '--quiet', '--universal',
             '--python-version', oldest, '--no-annotate', '--no-header',
             '--no-emit-package', 'nova', '-c', str(published),
             '-o', str(lock), *(['--exclude-newer', before] if before else []),
             str(wanted), str(requirements)],
            check=True, env={**os.environ, **index()})
        return lock.read_text()


def resolver() -> Path:
    path = VENV / 'bin' / RESOLVER
    if not path.exists():
        subprocess.run([pythons.pick(), '-m', 'venv', str(VENV)], check=True)
        subprocess.run([str(VENV / 'bin' / 'python'), '-m', 'pip', 'install',
                        '-qq', '--disable-pip-version-check', RESOLVER],
                       check=True)
    return path


def index() -> dict:
    """pip knows the site's mirror, and uv does not ask it."""
    asked = subprocess.run(
        [sys.executable, '-m', 'pip', 'config', 'get', 'global.index-url'],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return {'UV_INDEX_URL': asked.stdout.strip()} if asked.stdout else {}


def text_of(place: str) -> str:
    if re.match('[a-z]+://', place):
        with urllib.request.urlopen(place) as answer:
            return answer.read().decode()
    return Path(place).read_text()


def main(arguments: ty.Optional[ty.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python3 -m tools.constraints', allow_abbrev=False,
        description=__doc__.splitlines()[0])
    parser.add_argument('release', choices=releases.known())
    parser.add_argument('--upper', required=True, metavar='FILE_OR_URL',
                        help='the published upper-constraints.txt')
    parser.add_argument('--before', metavar='DATE', default='',
                        help='leave out what was uploaded later')
    asked = parser.parse_args(arguments)
    try:
        upper = text_of(asked.upper)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return fail(f'{asked.upper}: {error}')
    if not PUBLISHED.search(upper):
        # A page about the file, for example: it would say nothing.
        return fail(f'{asked.upper} has no line NAME===VERSION, as '
                    f'upper-constraints.txt of openstack/requirements has')
    try:
        write(asked, upper)
    except subprocess.CalledProcessError as error:
        # It has said why.
        return fail(f'{" ".join(error.cmd[:5])} ... failed; nothing was '
                    f'written')
    return 0


def fail(text: str) -> int:
    print(f'constraints: {text}', file=sys.stderr)
    return 2


def write(asked: argparse.Namespace, upper: str) -> None:
    lanes = releases.lanes(asked.release)
    tree = releases.ROOT / 'build' / f'nova-{asked.release}'
    subprocess.run([sys.executable, '-m', 'xloud_series', 'apply',
                    asked.release], cwd=releases.ROOT, check=True)
    old = lanes.constraints.read_text() if lanes.constraints.exists() else ''
    lock = resolve(lanes, upper, asked.before,
                   tree / 'test-requirements.txt')
    lanes.constraints.write_text(comment(old) + lock)
    print(f'{lanes.constraints.relative_to(releases.ROOT)}: '
          f'{len(lock.splitlines())} versions')


if __name__ == '__main__':
    sys.exit(main())
