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
"""What a package is built from: a tree, cloned, with its manifest in it.

Whatever could make two builds differ is fixed here: the time is that of the
tree's last commit, the version is in the overlay, git's configuration and the
builder's umask, locale and time zone stay out.
"""

import ast
import configparser
import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import tempfile
import typing as ty

BASE = 'refs/xloud/base'
NUMBER = 'nova/xloud/release.py'
VERIFY = 'nova/xloud/verify.py'
ANY_OWNER = Path(__file__).resolve().parent.parent / (
    'tools/any-owner.gitconfig')
MANIFEST = 'nova/xloud/xloud-manifest.json'


class Refused(Exception):
    """What would be built is not whole. The text says what to do."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A clone of a materialised tree.

    ``tip`` is the commit of the tree, not the one that adds the manifest.
    """

    folder: Path
    base: str
    number: int
    tip: str
    epoch: int

    @property
    def version(self) -> str:
        return f'{self.base}+xloud.{self.number}'

    @property
    def environ(self) -> ty.Dict[str, str]:
        """In which the same source gives the same bytes."""
        return {**fixed_environ(), 'SOURCE_DATE_EPOCH': str(self.epoch),
                'PBR_VERSION': self.version, 'SKIP_GENERATE_AUTHORS': '1',
                'SKIP_WRITE_GIT_CHANGELOG': '1'}


@contextlib.contextmanager
def of_tree(tree: Path) -> ty.Iterator[Source]:
    """Clone a tree into a folder that vanishes afterwards.

    :raises: Refused if the tree has changes that are not committed
    """
    changed = git(tree, 'status', '--porcelain', '--untracked-files=no')
    if changed:
        raise Refused(f'{tree} has changes that are not committed:\n'
                      f'{changed}commit or stash them first')
    # A build writes no file that others may change.
    before = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix='xloud-build-') as folder:
            clone = Path(folder, 'nova')
            base = git(tree, 'rev-parse', BASE).strip()
            git(Path(folder), 'clone', '--quiet', '--no-hardlinks',
                str(tree.resolve()), str(clone))
            git(clone, 'update-ref', BASE, base)
            # pbr writes the abbreviated id of a commit into the package.
            git(clone, 'config', 'core.abbrev', '12')
            source = Source(
                clone, _base_version(clone), number_of(clone),
                git(clone, 'rev-parse', 'HEAD').strip(),
                int(git(clone, 'log', '-1', '--format=%ct')))
            _add_manifest(source)
            yield source
    finally:
        os.umask(before)


def manifest(
    source: Source, distribution: bool = False,
) -> ty.Dict[str, ty.Any]:
    """What xloud-nova-verify compares an installation with.

    :param distribution: whether the package has the patches of a
        distribution as well
    """
    files: ty.Dict[str, ty.Dict[str, ty.Any]] = {}
    for path in lines(source.folder, 'ls-files', '-z', 'nova'):
        if path == MANIFEST:
            continue
        content = source.folder.joinpath(path).read_bytes()
        files[path] = {'sha256': hashlib.sha256(content).hexdigest()}
    fields = lines(source.folder, 'diff', '-z', '--no-renames',
                    '--name-status', BASE, source.tip, '--', 'nova')
    for status, path in zip(fields[::2], fields[1::2]):
        files[path]['status'] = status
        if status == 'M':
            # So that a deployment knows what it replaces.
            files[path]['stock'] = hashlib.sha256(
                show(source.folder, BASE, path)).hexdigest()
            files[path]['added'] = _added_blocks(source, path)
    return {'version': source.version, 'base': source.base,
            'tip': source.tip, 'distribution': distribution, 'files': files,
            'entry_points': _new_entry_points(source)}


def standalone_verify(
    source: Source, wanted: ty.Dict[str, ty.Any],
) -> str:
    """The text of xloud-nova-verify: one file, with its manifest inside."""
    text = source.folder.joinpath(VERIFY).read_text(encoding='utf-8')
    line = re.compile(r'^MANIFEST: .* = None$', re.MULTILINE)
    if len(line.findall(text)) != 1:
        raise Refused(f'{VERIFY} has no line for the manifest')
    # JSON in a string: its null and true are not Python's.
    inside = 'MANIFEST = json.loads(%r)' % json.dumps(
        wanted, sort_keys=True)
    return '#!/usr/bin/env python3\n' + line.sub(lambda _found: inside, text)


def replace_output(made: Path, output: Path, taken: Path) -> None:
    """Put what was made where another version of it may be.

    :param taken: a file or folder that it was made from
    :raises: Refused if that would go with the other version
    """
    if output.resolve() in (taken.resolve(), *taken.resolve().parents):
        raise Refused(f'{taken} is in {output}, which is replaced: copy it '
                      'elsewhere first')
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    for path in made.iterdir():
        if path.is_file():
            shutil.copy2(path, output / path.name)


def check_person(text: str) -> None:
    """Refuse who cannot stand in the changelog of a package."""
    if not re.fullmatch(r'[^<>\n]*[^<>\s] <[^<>@\s]+@[^<>@\s]+>', text):
        raise Refused(f"{text!r} is not of the form 'NAME <ADDRESS>'")


def number_of(folder: Path) -> int:
    """Which release of the series this is."""
    text = folder.joinpath(NUMBER).read_text(encoding='utf-8')
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == 'NUMBER':
            return ast.literal_eval(node.value)
    raise Refused(f'{NUMBER} does not say which release this is')


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ['git', '-C', str(folder), *arguments], check=True, text=True,
        stdout=subprocess.PIPE, env=fixed_environ()).stdout


def show(folder: Path, commit: str, path: str) -> bytes:
    """The content of a file at a commit."""
    return subprocess.run(
        ['git', '-C', str(folder), 'show', f'{commit}:{path}'], check=True,
        stdout=subprocess.PIPE, env=fixed_environ()).stdout


def fixed_environ() -> ty.Dict[str, str]:
    """Nothing of the builder's that could be seen in what is built."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(('GIT_', 'PBR_', 'PYTHON'))}
    # Who builds need not own the tree, and cannot say so to git here.
    return {**kept, 'GIT_CONFIG_GLOBAL': str(ANY_OWNER),
            'GIT_CONFIG_NOSYSTEM': '1', 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC',
            'PYTHONHASHSEED': '0', 'PYTHONDONTWRITEBYTECODE': '1'}


def _add_manifest(source):
    text = json.dumps(manifest(source), sort_keys=True, indent=1)
    source.folder.joinpath(MANIFEST).write_text(text + '\n')
    # pbr packs what git knows.
    git(source.folder, 'add', MANIFEST)
    when = f'{source.epoch} +0000'
    subprocess.run(
        ['git', '-C', str(source.folder), 'commit', '--quiet', '--message',
         'Add the manifest of the package'], check=True,
        env={**fixed_environ(), **{
            f'GIT_{who}_{what}': value for who in ('AUTHOR', 'COMMITTER')
            for what, value in (('NAME', 'XLoud Nova'),
                                ('EMAIL', 'dev@xloud.invalid'),
                                ('DATE', when))}})


def _base_version(clone):
    text = clone.joinpath('PKG-INFO').read_text(encoding='utf-8')
    return re.search(r'^Version: (\S+)$', text, re.MULTILINE).group(1)


def _added_blocks(source, path):
    diff = git(source.folder, 'diff', '--unified=0', '--no-color',
               '--no-ext-diff', BASE, source.tip, '--', path)
    blocks = []
    for hunk in re.split(r'^@@ .*$\n', diff, flags=re.MULTILINE)[1:]:
        added = ''.join(line[1:] + '\n' for line in hunk.splitlines()
                        if line.startswith('+'))
        if added.strip():
            blocks.append(added)
    return blocks


def _new_entry_points(source):
    def entry_points(commit):
        parsed = configparser.ConfigParser(
            delimiters=('=',), interpolation=None, strict=False)
        parsed.optionxform = str
        parsed.read_string(git(source.folder, 'show', f'{commit}:setup.cfg'))
        if not parsed.has_section('entry_points'):
            return set()
        return {(group, *(part.strip() for part in line.split('=', 1)))
                for group, lines in parsed['entry_points'].items()
                for line in lines.splitlines() if '=' in line}

    found = entry_points(source.tip) - entry_points(BASE)
    return sorted([group, name, value.replace(' ', '')]
                  for group, name, value in found)


def lines(folder, *arguments):
    return [field for field in git(folder, *arguments).split('\0') if field]
