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
"""A folder with a spec of Nova in, one with the series and a source RPM out.

    packaging/build.sh rpm --distgit DIR --maintainer 'NAME <ADDRESS>'

The series becomes patches of the distribution's own spec, as RDO's, whose
%prep applies them by %autosetup. So its packages keep their names, files,
users and services. The one package that is added, xloud-nova, has
xloud-nova-verify and demands the very version of python3-nova: dnf says so
instead of taking a newer stock version.
"""

import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing as ty

import command as _command
import source as _source

HERE = Path(__file__).resolve().parent
# Beyond what a distribution numbers its own with.
FIRST = 9001
SECTION = re.compile(
    r'^%(?:package|description|prep|build|install|check|files|changelog|pre|'
    r'post|preun|postun|pretrans|posttrans|trigger\w*|generate_buildrequires|'
    r'conf)\b.*$', re.MULTILINE)
FILES = ('xloud-nova-verify', 'xloud-nova-verify.1', 'xloud-manifest.json')
PACKAGE = """\
%package -n xloud-nova
Summary: OpenStack Compute with elastic servers
Requires: python3-nova = %{?epoch:%{epoch}:}%{version}-%{release}

%description -n xloud-nova
The Nova of this package's version has elastic servers, which grow and shrink
while they run. This package installs that Nova, keeps an update from replacing
it with one that cannot run such servers, and contains xloud-nova-verify, which
reports whether the installation is whole.

"""
# %autosetup -S git makes commits, whose ids get into the packages.
PREP = """\
export GIT_AUTHOR_DATE='{epoch} +0000' GIT_COMMITTER_DATE='{epoch} +0000'
"""
INSTALL = """\
install -D -m 755 %{{SOURCE{0}}} %{{buildroot}}%{{_bindir}}/xloud-nova-verify
install -D -m 644 %{{SOURCE{1}}} \\
    %{{buildroot}}%{{_mandir}}/man1/xloud-nova-verify.1
install -D -m 644 %{{SOURCE{2}}} \\
    %{{buildroot}}%{{python3_sitelib}}/nova/xloud/xloud-manifest.json
"""
OWNED = """\
%files -n xloud-nova
%{_bindir}/xloud-nova-verify
%{_mandir}/man1/xloud-nova-verify.1*

"""
ENTRY = """\
* {date} {maintainer} - {version}
- Add the {number} patches of XLoud Nova {release}: elastic servers
- Add the package xloud-nova, which checks the installation

"""


def build(
    source: _source.Source, patches: Path, distgit: Path, maintainer: str,
    output: Path,
) -> Path:
    """Add the series to a spec.

    :param patches: the folder that ``build.sh patches`` wrote
    :param distgit: the folder that has the spec and its sources
    :param maintainer: NAME <ADDRESS>, who answers for the package
    :returns: the path of the source RPM
    :raises: Refused if it is no spec that the series fits
    """
    _source.check_person(maintainer)
    specs = sorted(distgit.glob('*.spec'))
    if len(specs) != 1:
        raise _source.Refused(f'{distgit} has {len(specs)} specs, not one')
    with tempfile.TemporaryDirectory(prefix='xloud-rpm-') as folder:
        made = _build(source, patches, specs[0], maintainer, Path(folder))
        _source.replace_output(Path(folder), output, distgit)
        return output / made.name


def _build(source, patches, stock, maintainer, folder):
    names = patches.joinpath('series').read_text().split()
    for path in sorted(stock.parent.iterdir()):
        if path.is_file() and path.suffix != '.rpm':
            shutil.copyfile(path, folder / path.name)
    spec = folder / stock.name
    version = query(spec, '%{version}')
    if version != source.base:
        raise _source.Refused(
            f'the spec is of {version}, the series of {source.base}: set its '
            'Version first, and build stock packages of it')
    spec.write_text(patch_spec(
        spec.read_text(encoding='utf-8'), names, source, maintainer,
        query(spec, '%|epoch?{%{epoch}:}|%{version}')), encoding='utf-8')
    for name in names:
        shutil.copyfile(patches / name, folder / name)
    _write_package(source, folder)
    for path in folder.iterdir():
        path.chmod(0o644)
        os.utime(path, (source.epoch, source.epoch))
    return _source_rpm(spec, source.epoch)


def patch_spec(
    text: str, names: ty.Sequence[str], source: _source.Source,
    maintainer: str, version: str,
) -> str:
    """The text of the spec with the series.

    :param names: those of the patches, in order
    :param version: epoch and version, for the changelog
    """
    if re.search(r'^Release:.*xloud', text, re.MULTILINE):
        raise _source.Refused('the spec has the series already')
    if not re.search(r'^%auto(setup|patch)\b', text, re.MULTILINE):
        raise _source.Refused(
            'the spec has no %autosetup or %autopatch, so new patches would '
            'not be applied: add one to its %prep')
    taken = [int(number) for number in re.findall(
        r'^(?:Patch|Source)0*(\d+):', text, re.MULTILINE | re.IGNORECASE)]
    if max(taken, default=0) >= FIRST:
        raise _source.Refused(
            f'the spec has a Patch or a Source from {FIRST} on')
    release = re.search(r'^(Release:\s*)(.*?)(%\{\?dist\})?[ \t]*$', text,
                        re.MULTILINE)
    if not release:
        raise _source.Refused('the spec has no Release')
    number = f'{release.group(2)}.xloud{source.number}'
    text = (text[:release.start()] + release.group(1) + number +
            (release.group(3) or '') + text[release.end():])
    sources = range(FIRST, FIRST + len(FILES))
    added = ''.join(
        [f'Source{at}: {name}\n' for at, name in zip(sources, FILES)] +
        [f'Patch{at}: {name}\n' for at, name in enumerate(names, FIRST)])
    at = _after_sources(text)
    text = text[:at] + added + text[at:]
    text = _before(text, 'prep', PACKAGE)
    text = _after(text, 'prep', PREP.format(epoch=source.epoch))
    text = _after(text, 'install', INSTALL.format(*sources))
    text = _before(text, 'changelog', OWNED)
    return _after(text, 'changelog', ENTRY.format(
        date=time.strftime('%a %b %d %Y', time.gmtime(source.epoch)),
        maintainer=maintainer, version=f'{version}-{number}',
        number=len(names), release=source.version))


def query(spec: Path, what: str) -> str:
    """What the spec says of its source package."""
    return _run(['rpmspec', '--query', '--srpm', '--queryformat', what,
                 f'--define=_sourcedir {spec.parent}', spec])


def _after_sources(text):
    """Behind the last source or patch, and the condition that it is in."""
    depth, at, found = 0, 0, None
    for line in text.splitlines(keepends=True):
        at += len(line)
        if line.startswith('%if'):
            depth += 1
        elif line.startswith('%endif'):
            depth -= 1
        if re.match(r'(?:Source|Patch)\d*:', line, re.IGNORECASE):
            found = None
        elif found is not None:
            continue
        if depth == 0:
            found = at
    return found


def _section(text, name):
    for found in SECTION.finditer(text):
        if found.group(0).split()[0] == f'%{name}':
            return found
    raise _source.Refused(f'the spec has no %{name}')


def _before(text, name, added):
    at = _section(text, name).start()
    return text[:at] + added + text[at:]


def _after(text, name, added):
    at = _section(text, name).end() + 1
    return text[:at] + added + text[at:]


def _write_package(source, output):
    """What the package xloud-nova consists of."""
    manifest = _source.manifest(source, distribution=True)
    output.joinpath('xloud-nova-verify').write_text(
        _source.standalone_verify(source, manifest).replace(
            '/usr/bin/env python3', '/usr/bin/python3', 1), encoding='utf-8')
    output.joinpath('xloud-manifest.json').write_text(
        json.dumps(manifest, sort_keys=True, indent=1) + '\n')
    shutil.copyfile(HERE / 'xloud-nova-verify.1',
                    output / 'xloud-nova-verify.1')


def _source_rpm(spec, epoch):
    folder = spec.parent
    _run(['rpmbuild', '-bs', f'--define=_sourcedir {folder}',
          f'--define=_srcrpmdir {folder}', '--define=_buildhost xloud-nova',
          '--define=use_source_date_epoch_as_buildtime 1',
          '--define=source_date_epoch_from_changelog 0', '--nodeps', spec],
         epoch=epoch)
    made, = folder.glob('*.src.rpm')
    return made


def _run(command, epoch=None):
    environ = {**os.environ, 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC'}
    environ.pop('SOURCE_DATE_EPOCH', None)
    if epoch is not None:
        environ['SOURCE_DATE_EPOCH'] = str(epoch)
    try:
        done = subprocess.run([str(word) for word in command], env=environ,
                              text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise _source.Refused(
            f'{command[0]} is not here: install rpm-build (Debian: rpm)')
    if done.returncode:
        raise _source.Refused(f'{done.stdout}{done.stderr}'
                              f'{command[0]} {command[1]} failed')
    return done.stdout


def main(arguments: ty.Optional[ty.Sequence[str]] = None) -> int:
    return _command.run(_command.Kind(
        __doc__.splitlines()[0], '--distgit', 'DIR', build,
        'build it as any source RPM, with mock, or rpmbuild --rebuild'),
        arguments)


if __name__ == '__main__':
    sys.exit(main())
