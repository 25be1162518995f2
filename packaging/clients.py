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
"""Build a wheel and an sdist of each client, the same bytes each time.

    packaging/build.sh clients

runs this in the environment of packaging/wheel.py.
"""

import argparse
import contextlib
import hashlib
import os
from pathlib import Path
import shutil
import sys
import tempfile
import typing as ty

import source as _source
import wheel as _wheel

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = ('dashboard', 'openstackclient')
# The first day that a wheel can name: a time that no clone changes.
EPOCH = 315532800
# What a build leaves, and what only a clone needs.
_LEFT_OUT = ('__pycache__', 'build', '*.egg-info', '*.mo', 'tests')


def build_all(output: Path) -> ty.List[Path]:
    """Build what pip and kolla take.

    :returns: the paths of what was built
    :raises: Refused if a file of a client is not in it
    """
    with _clone_of_clients() as root:
        return [_build(root / 'clients' / client, kind, output)
                for client in CLIENTS for kind in ('wheel', 'sdist')]


@contextlib.contextmanager
def _clone_of_clients() -> ty.Iterator[Path]:
    """Their files, and the one that has the version, for all to read."""
    before = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix='xloud-clients-') as folder:
            root = Path(folder)
            for client in CLIENTS:
                shutil.copytree(
                    ROOT / 'clients' / client, root / 'clients' / client,
                    ignore=shutil.ignore_patterns(*_LEFT_OUT),
                    copy_function=shutil.copyfile)
            number = root / _source.NUMBER
            number.parent.mkdir(parents=True)
            shutil.copyfile(ROOT / _source.NUMBER, number)
            yield root
    finally:
        os.umask(before)


def _build(folder, kind, output):
    package = f'xloud_{folder.name}'
    files = {path.relative_to(folder).as_posix()
             for path in (folder / package).rglob('*') if path.is_file()}
    wanted = files if kind == 'sdist' else set(map(_built_from, files)) - {''}
    return _wheel.package(
        folder, kind,
        {**_source.fixed_environ(), 'SOURCE_DATE_EPOCH': str(EPOCH)}, EPOCH,
        output, lambda names: _wheel.compare(
            wanted, {name for name in names if name.startswith(f'{package}/')},
            f'clients/{folder.name}'))


def _built_from(name):
    """What becomes of a file in a wheel; of some, nothing."""
    if name.endswith('.pot'):
        return ''
    return name[:-2] + 'mo' if name.endswith('.po') else name


def main(arguments: ty.Optional[ty.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--output', type=Path, required=True, metavar='DIR')
    asked = parser.parse_args(arguments)
    print(f'building the clients of release {_source.number_of(ROOT)}',
          flush=True)
    try:
        built = build_all(asked.output)
    except _source.Refused as reason:
        print(f'build: {reason}', file=sys.stderr)
        return 1
    for made in built:
        print(f'{hashlib.sha256(made.read_bytes()).hexdigest()}  '
              f'{os.path.relpath(made)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
