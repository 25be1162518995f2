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
"""A distribution's source package of Nova in, one with the series out.

    packaging/build.sh deb --dsc FILE --maintainer 'NAME <ADDRESS>'

The series is appended to the distribution's own quilt patches, so that its
packages keep their names, files, users and services, and its own fixes. The
one package that is added, xloud-nova, has xloud-nova-verify and the file that
keeps APT from taking a newer stock version.
"""

import email.utils
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tempfile
import typing as ty

import command as _command
import source as _source

HERE = Path(__file__).resolve().parent
PACKAGE = 'xloud-nova'
# python3-nova's own folder: nova-status looks for the manifest there.
MANIFEST_FOLDER = 'usr/lib/python3/dist-packages/nova/xloud'
ENTRY = """\
nova ({version}) {suite}; urgency=medium

  * Add the {number} patches of XLoud Nova {release}: elastic servers.
  * Add the package xloud-nova, which checks the installation and keeps an
    update of stock Nova from replacing it.

 -- {maintainer}  {date}

"""


def build(
    source: _source.Source, patches: Path, dsc: Path, maintainer: str,
    output: Path,
) -> Path:
    """Add the series to a source package.

    :param patches: the folder that ``build.sh patches`` wrote
    :param maintainer: NAME <ADDRESS>, who answers for the package
    :returns: the path of the new .dsc
    :raises: Refused if it is no source package that the series fits
    """
    _source.check_person(maintainer)
    _check_format(dsc)
    with tempfile.TemporaryDirectory(prefix='xloud-deb-') as folder:
        tree = Path(folder, 'nova')
        _run(['dpkg-source', '--extract', dsc.resolve(), tree], folder)
        upstream, epoch = _write_changelog(
            source, patches, tree, maintainer)
        _write_control(tree / 'debian/control', maintainer)
        _add_patches(patches, tree)
        # This applies them, but says nothing if the first one does not fit.
        _run(['dpkg-source', '--before-build', tree], folder, fits=dsc.name)
        _write_package(source, tree, upstream)
        for path in tree.joinpath('debian').rglob('*'):
            os.utime(path, (epoch, epoch))
        _run(['dpkg-source', '--build', tree], folder, epoch=epoch,
             fits=dsc.name)
        made, = [path for path in Path(folder).glob('*.dsc')]
        _source.replace_output(Path(folder), output, dsc)
        return output / made.name


def _check_format(dsc):
    fields = dict(re.findall(r'^(Source|Format): (.*)$',
                             dsc.read_text(encoding='utf-8'), re.MULTILINE))
    if fields != {'Source': 'nova', 'Format': '3.0 (quilt)'}:
        raise _source.Refused(
            f'{dsc} is no source package of nova in the format 3.0 (quilt)')


def _write_changelog(source, patches, tree, maintainer):
    path = tree / 'debian/changelog'
    text = path.read_text(encoding='utf-8')
    found = re.match(r'nova \((\S+)\) ([^;]+);', text)
    if not found:
        raise _source.Refused('its debian/changelog does not begin with nova')
    version, suite = found.groups()
    if '+xloud' in version:
        raise _source.Refused(
            f'{version} has the series: give the source package that the '
            'distribution made')
    if _series_of(version) != _series_of(source.base):
        raise _source.Refused(
            f'{version} is another release of Nova than {source.base}: name '
            'the one that it belongs to with --release')
    # A changelog does not go back in time.
    stamp = re.search(r'^ -- .*>  (.*)$', text, re.MULTILINE).group(1)
    last = email.utils.parsedate_to_datetime(stamp).timestamp()
    epoch = max(source.epoch, int(last))
    entry = ENTRY.format(
        version=f'{version}+xloud{source.number}', suite=suite,
        number=len(_read_series(patches)), release=source.version,
        maintainer=maintainer, date=email.utils.formatdate(epoch))
    path.write_text(entry + text, encoding='utf-8')
    return _upstream_of(version), epoch


def _series_of(version):
    """29 of 2:29.4.0-1."""
    return _upstream_of(version).split('.')[0]


def _upstream_of(version):
    """29.4.0 of 2:29.4.0-1."""
    return re.sub(r'^[0-9]+:|-[^-]*$', '', version)


def _write_control(path, maintainer):
    text = path.read_text(encoding='utf-8')
    theirs = re.search(r'^Maintainer: (.*)$', text, re.MULTILINE)
    ours = f'Maintainer: {maintainer}'
    if 'XSBC-Original-Maintainer:' not in text:
        ours += f'\nXSBC-Original-Maintainer: {theirs.group(1)}'
    text = text.replace(theirs.group(0), ours, 1)
    stanza = HERE.joinpath('deb/control').read_text(encoding='utf-8')
    path.write_text(f'{text.rstrip()}\n\n{stanza}', encoding='utf-8')


def _read_series(patches):
    return patches.joinpath('series').read_text().split()


def _add_patches(patches, tree):
    folder = tree / 'debian/patches'
    folder.mkdir(exist_ok=True)
    names = _read_series(patches)
    from_git = '\n\t' not in tree.joinpath('setup.cfg').read_text()
    for name in names:
        text = patches.joinpath(name).read_text(encoding='utf-8')
        folder.joinpath(f'xloud-{name}').write_text(
            _for_git(text) if from_git else text, encoding='utf-8')
    series = folder / 'series'
    theirs = series.read_text() if series.exists() else ''
    if theirs and not theirs.endswith('\n'):
        theirs += '\n'
    series.write_text(theirs + ''.join(f'xloud-{name}\n' for name in names))


def _for_git(text):
    """A patch of an sdist, for a source that was made from git.

    setuptools writes the setup.cfg of an sdist anew, with tabs for spaces.
    """
    parts = re.split(r'^(?=diff --git )', text, flags=re.MULTILINE)
    return ''.join(
        re.sub(r'^([-+ ])\t', r'\1    ', part, flags=re.MULTILINE)
        if part.startswith('diff --git a/setup.cfg ') else part
        for part in parts)


def _write_package(source, tree, upstream):
    """What the package xloud-nova consists of."""
    debian = tree / 'debian'
    folder = debian / 'xloud'
    folder.joinpath('preferences.d').mkdir(parents=True)
    manifest = _source.manifest(source, distribution=True)
    # The distribution can have an earlier point release of the same series.
    manifest['version'] = f'{upstream}+xloud.{source.number}'
    manifest['base'] = upstream
    manifest['files'] = {
        path: entry for path, entry in manifest['files'].items()
        if 'status' in entry or (tree / path).exists()}
    program = folder / 'xloud-nova-verify'
    program.write_text(_source.standalone_verify(source, manifest).replace(
        '/usr/bin/env python3', '/usr/bin/python3', 1), encoding='utf-8')
    program.chmod(0o755)
    folder.joinpath('xloud-manifest.json').write_text(
        json.dumps(manifest, sort_keys=True, indent=1) + '\n')
    shutil.copyfile(HERE / 'xloud-nova-verify.1',
                    folder / 'xloud-nova-verify.1')
    shutil.copyfile(HERE / 'deb/preferences',
                    folder / 'preferences.d/xloud-nova')
    for name in ('README.Debian', 'lintian-overrides'):
        shutil.copyfile(HERE / 'deb' / name, debian / f'{PACKAGE}.{name}')
    debian.joinpath(f'{PACKAGE}.install').write_text(
        'debian/xloud/preferences.d/xloud-nova etc/apt/preferences.d\n'
        'debian/xloud/xloud-nova-verify usr/bin\n'
        # dh_installman is a step that Debian's rules leave out with nodoc.
        'debian/xloud/xloud-nova-verify.1 usr/share/man/man1\n'
        f'debian/xloud/xloud-manifest.json {MANIFEST_FOLDER}\n')


def _run(command, folder, fits='', epoch=None):
    environ = {**os.environ, 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC'}
    environ.pop('SOURCE_DATE_EPOCH', None)
    if epoch is not None:
        environ['SOURCE_DATE_EPOCH'] = str(epoch)
    try:
        done = subprocess.run(
            [str(word) for word in command], cwd=folder, env=environ,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise _source.Refused(
            'dpkg-source is not here: install the package dpkg-dev')
    if done.returncode:
        raise _source.Refused(done.stdout + (
            f'the series does not fit {fits}: see "Upstream\'s fixes after '
            'the release" in doc/source/xloud/packagers.rst' if fits else
            f'{command[0]} {command[1]} failed'))


def main(arguments: ty.Optional[ty.Sequence[str]] = None) -> int:
    return _command.run(_command.Kind(
        __doc__.splitlines()[0], '--dsc', 'FILE', build,
        'build it as any source package, with sbuild, or '
        'dpkg-buildpackage after dpkg-source --extract'), arguments)


if __name__ == '__main__':
    sys.exit(main())
