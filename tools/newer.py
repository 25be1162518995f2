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
"""Say which releases of Nova are out that patches/ does not stand on yet.

``python3 -m tools.newer`` asks pip's index. A newer point of a release that
has a folder is compared with that folder, a newer release with the newest
folder, both by ``xloud_series drift``, which says whether the series fits.

Exit code 0 if nothing is out, 1 if something is, whether it fits or not, and
2 if the index does not answer.
"""

import argparse
import re
import subprocess
import sys
import typing as ty

from tools import releases

_VERSION = re.compile(r'\d+(\.\d+)+')
# What drift ends with; anything else says that it could not look.
_FITS = {0: 'the series fits', 1: 'it needs hands, see above'}
_PINNED = re.compile(r'^nova==(\S+)', re.MULTILINE)


class Newer(ty.NamedTuple):
    """A version that is out, and the folder that it is compared with."""

    version: str
    release: str
    is_point: bool

    def __str__(self):
        if self.is_point:
            return f'nova {self.version} is a newer point of {self.release}'
        return (f'nova {self.version} is newer than the newest folder, '
                f'{self.release}')


def published() -> str:
    """What pip says about Nova."""
    return subprocess.run(
        [sys.executable, '-m', 'pip', 'index', 'versions', 'nova',
         '--ignore-requires-python', '--disable-pip-version-check'],
        check=True, stdout=subprocess.PIPE, text=True).stdout


def versions(said: str) -> ty.List[str]:
    """The versions in what pip says; it names no release candidates.

    :raises: ValueError if it lists none, as where PIP_QUIET is set
    """
    (listed,) = re.findall('^Available versions: (.*)$', said, re.MULTILINE)
    return [word for word in listed.split(', ') if _VERSION.fullmatch(word)]


def pinned() -> ty.Dict[str, str]:
    """The version of each release that has a folder."""
    found = {}
    for release in releases.known():
        text = (releases.ROOT / 'patches' / release / 'upstream.txt')
        found[release] = _PINNED.search(text.read_text()).group(1)
    return found


def find(out: ty.Iterable[str], known: ty.Dict[str, str]) -> ty.List[Newer]:
    """Only the newest point of each release, as only that one is of use."""
    by_major: ty.Dict[int, str] = {}
    for version in sorted(out, key=_numbers):
        by_major[_numbers(version)[0]] = version
    folders = {_numbers(version)[0]: release
               for release, version in known.items()}
    newest = max(folders)
    found = []
    for major, version in sorted(by_major.items()):
        release = folders.get(major)
        if release is not None:
            if _numbers(version) > _numbers(known[release]):
                found.append(Newer(version, release, is_point=True))
        elif major > newest:
            found.append(Newer(version, folders[newest], is_point=False))
    return found


def fits(newer: Newer) -> str:
    """Whether hunks need hands; which ones is printed."""
    code = subprocess.run(
        [sys.executable, '-m', 'xloud_series', 'drift', '--to',
         newer.version, newer.release], cwd=releases.ROOT).returncode
    return _FITS.get(code, 'nobody knows whether the series fits, see above')


def _numbers(version):
    return tuple(map(int, version.split('.')))


def main() -> int:
    argparse.ArgumentParser(
        prog='python3 -m tools.newer', allow_abbrev=False,
        description=__doc__.splitlines()[0]).parse_args()
    try:
        out = versions(published())
    except (subprocess.CalledProcessError, ValueError):
        print('the index does not say which versions of nova there are')
        return 2
    known = pinned()
    found = find(out, known)
    if not found:
        print('nothing newer than ' + ', '.join(known.values()))
        return 0
    lines = []
    for newer in found:
        print(f'== {newer}', flush=True)
        lines.append(f'{newer}: {fits(newer)}')
    print('\n'.join(['', *lines]))
    return 1


if __name__ == '__main__':
    sys.exit(main())
