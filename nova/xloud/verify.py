# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Whether an installation of XLoud Nova is whole.

Standard library only, and no import of Nova: this file also runs alone, as
``xloud-nova-verify``, with its manifest inside and from standard input. So it
can look into a container that it was not built for::

    podman exec -i nova_api python3 - < xloud-nova-verify

It finds mistakes: a file that was edited, lost or left behind, bytecode
without its source, an entry point that was not installed. It is no defence
against somebody who changes this file as well; for that, check the signature
of the release's checksums.
"""

import argparse
import configparser
import hashlib
import importlib.util
import json
import os
from pathlib import Path
import sys
import typing as ty

# The build of packages puts the manifest here in the file that runs alone,
# and beside this module in a wheel.
MANIFEST: ty.Optional[ty.Dict[str, ty.Any]] = None
_BESIDE = 'xloud-manifest.json'

WHOLE, DAMAGED, CANNOT_TELL = 0, 1, 2

# The flags of a compiled file that Python never compares with its source.
_UNCHECKED_HASH = 1


class Unverifiable(Exception):
    """There is nothing to verify, or nothing to verify it by."""


class Finding(ty.NamedTuple):
    """One thing that is not as it was built."""

    kind: str  # missing, edited, foreign, bytecode, entry point, version
    path: str
    text: str


def load_manifest() -> ty.Dict[str, ty.Any]:
    """The manifest of the build that this file belongs to.

    :returns: dict of ``version``, ``base``, ``tip``, ``distribution`` (whether
        the package has the patches of one), ``files`` (dict by path
        of ``sha256``, and for those of the series ``status``, A or M, and
        ``added``, the blocks of lines that it adds) and ``entry_points``
        (list of group, name and value)
    :raises: Unverifiable
    """
    if MANIFEST is not None:
        return MANIFEST
    beside = Path(__file__).with_name(_BESIDE)
    try:
        manifest = json.loads(  # noqa: N324
            beside.read_text(encoding='utf-8'))
        _check_manifest(manifest)
        return manifest
    except FileNotFoundError:
        raise Unverifiable(
            'This copy has no manifest: only packages have one. Install the '
            'package xloud-nova, or build xloud-nova-verify with '
            'packaging/build.sh verify and run that.')
    except (OSError, ValueError, LookupError, TypeError,
            AttributeError) as error:
        raise Unverifiable(
            'The manifest %s cannot be used: %s: %s. Install the package of '
            'this release again.' % (beside, type(error).__name__, error))


def _check_manifest(manifest):
    """Raise something unless it has all that is read of it."""
    for key in ('version', 'distribution'):
        manifest[key]
    for entry in manifest['files'].values():
        entry['sha256']
        if entry.get('status') == 'M':
            entry['added']
    for _group, _name, _value in manifest['entry_points']:
        pass
    if not manifest['files']:
        raise ValueError('it names no file')


def find_installation() -> Path:
    """The folder that holds the package ``nova`` of this Python.

    :raises: Unverifiable
    """
    spec = importlib.util.find_spec('nova')
    if spec is None or spec.origin is None:
        raise Unverifiable(
            'Python at %s has no package nova. Run this with the Python of '
            'the services, or name its folder with --site-packages.' %
            sys.executable)
    return Path(spec.origin).parent.parent


def verify(
    site_packages: Path,
    manifest: ty.Dict[str, ty.Any],
    distribution: bool = False,
    tests: bool = False,
) -> ty.Iterator[Finding]:
    """Compare an installation with the manifest.

    :param distribution: whether a distribution's own patches may be in
        upstream's files. Of a file that the series changes, each block of
        lines that it adds must be there.
    :param tests: whether nova/tests is installed and counts
    :raises: Unverifiable
    """
    # Unlike Path.exists(), this never raises.
    if not os.path.exists(site_packages / 'nova' / '__init__.py'):
        raise Unverifiable('There is no nova in %s, or this user cannot read '
                           'it.' % site_packages)
    known = {path: entry for path, entry in manifest['files'].items()
             if tests or not path.startswith('nova/tests/')}
    for path, entry in sorted(known.items()):
        yield from _verify_file(site_packages, path, entry, distribution)
    yield from _foreign(site_packages, known, distribution, tests)
    yield from _verify_entry_points(site_packages, manifest)


def _verify_file(site_packages, path, entry, distribution):
    try:
        content = (site_packages / path).read_bytes()
    except OSError as error:
        if path.endswith('.py') or not distribution:
            yield Finding('missing', path, error.strerror)
        return
    if hashlib.sha256(content).hexdigest() == entry['sha256']:
        return
    if not distribution or entry.get('status') == 'A':
        yield Finding('edited', path, 'it is not what was built')
    elif entry.get('status') == 'M':
        text = content.decode(errors='replace')
        lost = [block for block in entry['added'] if block not in text]
        if lost:
            yield Finding(
                'edited', path,
                '%d of the %d blocks that the series adds are not there; '
                'the first one begins: %s' % (
                    len(lost), len(entry['added']),
                    lost[0].strip().splitlines()[0].strip()))


def _foreign(site_packages, known, distribution, tests):
    unread: ty.List[OSError] = []
    for folder, folders, names in os.walk(
            site_packages / 'nova', onerror=unread.append):
        relative = Path(folder).relative_to(site_packages)
        if not tests and relative.as_posix() == 'nova':
            folders[:] = [name for name in folders if name != 'tests']
        for name in sorted(names):
            path = (relative / name).as_posix()
            if name.endswith('.pyc'):
                yield from _verify_bytecode(Path(folder, name), path)
            elif name.endswith('.py') and path not in known and (
                    not distribution):
                yield Finding('foreign', path, 'it is not of this build')
    for error in unread:
        if not isinstance(error, FileNotFoundError):
            yield Finding(
                'foreign',
                Path(error.filename).relative_to(site_packages).as_posix(),
                'nobody knows what is in it: %s' % error.strerror)


def _verify_bytecode(compiled, path):
    in_cache = compiled.parent.name == '__pycache__'
    folder = compiled.parent.parent if in_cache else compiled.parent
    source = folder / (compiled.name.split('.')[0] + '.py')
    try:
        with compiled.open('rb') as opened:
            flags = opened.read(8)[4:]
    except FileNotFoundError:
        # Somebody has just deleted it.
        return
    except OSError as error:
        yield Finding('bytecode', path, 'it cannot be read: %s' %
                      error.strerror)
        return
    if not source.exists():
        yield Finding('bytecode', path, 'its source is gone; delete it')
        return
    if len(flags) == 4 and int.from_bytes(flags, 'little') == _UNCHECKED_HASH:
        yield Finding(
            'bytecode', path, 'Python does not compare it with its source; '
            'delete it, or run python3 -m compileall -f as root')


def _verify_entry_points(site_packages, manifest):
    # Not importlib.metadata: it also reads the folder in which this runs.
    listed = [
        found for pattern in ('nova-*.dist-info/entry_points.txt',
                              'nova-*.egg-info/entry_points.txt',
                              'nova.egg-info/entry_points.txt')
        for found in sorted(site_packages.glob(pattern))]
    if not listed:
        yield Finding('entry point', 'nova', 'no package metadata of nova is '
                      'in %s' % site_packages)
        return
    for path in listed:
        parsed = configparser.ConfigParser(
            delimiters=('=',), interpolation=None, strict=False)
        # Names of entry points are case-sensitive.
        parsed.optionxform = str  # type: ignore[assignment,method-assign]
        relative = path.relative_to(site_packages).as_posix()
        try:
            # Not read(), which takes a file that it may not open for empty.
            parsed.read_string(path.read_text(encoding='utf-8'))
        except (OSError, ValueError, configparser.Error) as error:
            yield Finding('entry point', relative, 'it cannot be read: %s' %
                          ' '.join(str(error).split()))
            continue
        for group, name, value in manifest['entry_points']:
            found = parsed.get(group, name, fallback=None)
            if found is None or found.replace(' ', '') != value:
                yield Finding(
                    'entry point', relative,
                    'it lacks %s = %s in [%s]' % (name, value, group))
    if len(listed) > 1:
        yield Finding('version', ', '.join(
            path.parent.name for path in listed),
            'more than one version of nova is installed here')


def main(arguments: ty.Optional[ty.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        prog='xloud-nova-verify',
        description='Say whether an installation of XLoud Nova is whole.',
        epilog='exit codes: 0 whole, 1 damaged, 2 unknown')
    parser.add_argument(
        '--site-packages', type=Path, metavar='DIR',
        help='the folder that has nova in it (default: that of this Python)')
    parser.add_argument(
        '--distribution', action='store_true',
        help="upstream's files may carry the patches of a distribution; "
             'without it, the package itself says whether they may')
    parser.add_argument(
        '--tests', action='store_true', help='nova/tests is installed too')
    parser.add_argument('--json', action='store_true', help='print JSON')
    asked = parser.parse_args(arguments)
    try:
        manifest = load_manifest()
        distribution = asked.distribution or manifest['distribution']
        site_packages = asked.site_packages or find_installation()
        findings = list(verify(site_packages, manifest, distribution,
                               asked.tests))
    except Unverifiable as reason:
        if asked.json:
            print(json.dumps(  # noqa: N324
                {'whole': None, 'reason': str(reason)}))
        else:
            print(reason, file=sys.stderr)
        return CANNOT_TELL
    if asked.json:
        print(json.dumps({  # noqa: N324
            'whole': not findings, 'version': manifest['version'],
            'site_packages': str(site_packages),
            'findings': [finding._asdict() for finding in findings],
        }, indent=2))
    else:
        for finding in findings:
            print('%s: %s: %s' % finding)
        print('%s in %s: %s' % (
            manifest['version'], site_packages,
            '%d findings' % len(findings) if findings else
            _whole(manifest, distribution, asked.tests)))
    return DAMAGED if findings else WHOLE


def _whole(manifest, distribution, tests):
    files = [entry for path, entry in manifest['files'].items()
             if tests or not path.startswith('nova/tests/')]
    if distribution:
        return 'whole, %d files have what the series adds' % len(
            [entry for entry in files if 'status' in entry])
    return 'whole, %d files as they were built' % len(files)


if __name__ == '__main__':
    sys.exit(main())
