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
"""Build the wheel, the sdist and xloud-nova-verify, the same bytes each time.

    packaging/build.sh wheel|sdist|verify|kolla

runs this in an environment of its own, with the build tools that
packaging/requirements.txt pins.
"""

import argparse
import gzip
import hashlib
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing as ty
import zipfile

import source as _source

# A tag of an image can have no plus sign.
_KOLLA = """\
# kolla-build --config-file kolla-build.conf --tag {tag} '^nova-'
[nova-base]
type = local
location = {location}
"""


def build(source: _source.Source, kind: str, output: Path) -> Path:
    """Build a wheel or an sdist.

    :param kind: 'wheel' or 'sdist'
    :returns: the path of what was built
    :raises: Refused if a file of the tree is not in it
    """
    return package(
        source.folder, kind, source.environ, source.epoch, output,
        lambda names: check_names(source, names))


def package(folder: Path, kind: str, environ: ty.Dict[str, str], epoch: int,
            output: Path, check: ty.Callable[[ty.Set[str]], None]) -> Path:
    """Have a folder built, and keep what passes a check.

    :param check: raises Refused; is given the names of all files in it
    """
    with tempfile.TemporaryDirectory(prefix='xloud-dist-') as made:
        done = subprocess.run(
            [sys.executable, '-m', 'build', '--no-isolation', f'--{kind}',
             '--outdir', made, str(folder)],
            env=environ, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        # Where it works, setuptools only warns, on 600 lines.
        if done.returncode:
            raise _source.Refused(f'{done.stdout}\nthe {kind} does not build')
        built, = Path(made).iterdir()
        if kind == 'sdist':
            repack(built, epoch)
        check(_names(built))
        output.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: nobody finds half a package.
        part = output / f'{built.name}.part'
        shutil.copyfile(built, part)
        return part.replace(output / built.name)


def check_names(source: _source.Source, names: ty.Set[str]) -> None:
    """Refuse a package that lacks what the tree has.

    pbr asks git which files there are. Without git it packs less, all
    database migrations left out, and reports no error.
    """
    compare(set(_source.lines(source.folder, 'ls-files', '-z', 'nova')),
            {name for name in names if name.startswith('nova/')}, 'the tree')


def compare(wanted: ty.Set[str], names: ty.Set[str], where: str) -> None:
    missing = sorted(wanted - names)
    if missing:
        raise _source.Refused(
            f'{len(missing)} files of {where} are not in the package, the '
            f'first one is {missing[0]}: nothing was written')
    foreign = sorted(names - wanted)
    if foreign:
        raise _source.Refused(
            f'{len(foreign)} files of the package are not in {where}, the '
            f'first one is {foreign[0]}: nothing was written')


def repack(sdist: Path, epoch: int) -> None:
    """Take the time and the builder out of an sdist."""
    part = sdist.with_name(sdist.name + '.part')
    with tarfile.open(sdist) as old, part.open('wb') as opened, \
            gzip.GzipFile('', 'wb', mtime=epoch, fileobj=opened) as packed, \
            tarfile.open(fileobj=packed, mode='w',
                         format=tarfile.GNU_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda found: found.name):
            member.mtime = epoch
            member.uid = member.gid = 0
            member.uname = member.gname = ''
            member.pax_headers = {}
            executable = member.isdir() or member.mode & 0o100
            member.mode = 0o755 if executable else 0o644
            new.addfile(member, old.extractfile(member)
                        if member.isfile() else None)
    part.replace(sdist)


def _names(built):
    if built.suffix == '.whl':
        with zipfile.ZipFile(built) as archive:
            return set(archive.namelist())
    with tarfile.open(built) as archive:
        return {member.name.split('/', 1)[1] for member in archive
                if member.isfile()}


def write_verify(source: _source.Source, output: Path) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    path = output / 'xloud-nova-verify'
    path.write_text(_source.standalone_verify(
        source, _source.manifest(source)), encoding='utf-8')
    path.chmod(0o755)
    return path


def write_kolla(source: _source.Source, output: Path) -> Path:
    """The sdist and a fragment of kolla-build.conf that makes kolla take it.

    kolla unpacks a local archive and has pip install the folder: an sdist
    serves, a wheel or a git tree does not.
    """
    sdist = build(source, 'sdist', output)
    path = output / 'kolla-build.conf'
    path.write_text(_KOLLA.format(
        location=sdist.resolve(), tag=source.version.replace('+', '-')))
    return path


def main(arguments: ty.Optional[ty.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('what', choices=('wheel', 'sdist', 'verify', 'kolla'))
    parser.add_argument('--tree', type=Path, required=True, metavar='DIR')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR')
    asked = parser.parse_args(arguments)
    try:
        with _source.of_tree(asked.tree) as source:
            print(f'building the {asked.what} of nova {source.version}',
                  flush=True)
            if asked.what == 'verify':
                made = write_verify(source, asked.output)
            elif asked.what == 'kolla':
                made = write_kolla(source, asked.output)
            else:
                made = build(source, asked.what, asked.output)
    except _source.Refused as reason:
        print(f'build: {reason}', file=sys.stderr)
        return 1
    print(f'{hashlib.sha256(made.read_bytes()).hexdigest()}  '
          f'{os.path.relpath(made)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
