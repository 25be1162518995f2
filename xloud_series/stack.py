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

"""From base, series and overlay to commits, in the tool's own store.

Nothing here touches the developer's tree. Every commit id follows from the
bytes in the repository alone.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
import typing as ty
import warnings

from xloud_series import errors
from xloud_series import git as _git
from xloud_series import layout
from xloud_series import patchfile
from xloud_series import series as _series

Report = ty.Callable[[errors.SeriesError], None]


def stop(problem: errors.SeriesError) -> None:
    raise problem


@dataclasses.dataclass(frozen=True)
class Listed:
    """A patch with the name under which the series lists it."""
    name: str
    patch: patchfile.Patch


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    patch: patchfile.Patch
    commit: str


@dataclasses.dataclass(frozen=True)
class Stack:
    base: str
    steps: ty.Tuple[Step, ...]

    @property
    def tip(self) -> str:
        return self.steps[-1].commit if self.steps else self.base


def load(files: layout.Files, release: layout.Release,
         report: Report = stop) -> ty.List[Listed]:
    file = files.get(release.series)
    if file is None:
        return []
    found: ty.List[Listed] = []
    seen: ty.Set[str] = set()
    for name in _series.parse(file.data).names:
        if name in seen:
            report(errors.integrity(
                f'{release.series} lists {name} twice',
                f'delete one of the two lines from {release.series}'))
            continue
        seen.add(name)
        path = f'{release.folder}/{name}'
        patch = files.get(path) if '/' not in name else None
        if patch is None:
            report(errors.integrity(
                f'{release.series} lists {name}, but {path} is not there',
                f'git checkout -- {path}, or delete the line'))
            continue
        try:
            found.append(Listed(name, patchfile.parse(patch.data, path)))
        except errors.SeriesError as exc:
            report(exc)
    return found


class Builder:
    """Applies one patch after another to a private index of the store."""

    def __init__(self, store: _git.Git, repo: layout.Repo,
                 files: layout.Files, report: Report = stop):
        self.store = store
        self.files = files
        self.report = report
        self.good = Compiled(repo)

    def build(self, release: layout.Release, base: str,
              listed: ty.Sequence[Listed],
              say: ty.Callable[[str], None] = lambda text: None) -> Stack:
        steps: ty.List[Step] = []
        claimed: ty.Dict[str, str] = {}
        paths = set(self.store.fields('ls-tree', '-r', '-z', '--name-only',
                                      base))
        parent = base
        with tempfile.TemporaryDirectory() as folder, \
                _git.Reader(self.store) as reader:
            self.index = _git.Git(self.store.git_dir,
                                  index=os.path.join(folder, 'index'))
            self.index.out('read-tree', base)
            self.reader = reader
            for item in listed:
                where = f'{release.folder}/{item.name}'
                ours = self.claim(where, item.patch, paths, claimed)
                commit = self.apply(where, item.patch, parent, ours)
                if commit is None:        # what follows cannot be judged
                    break
                changes = self.store.changed(parent, commit, '--no-renames')
                self.compile(where, item.patch, changes)
                for change in changes:
                    (paths.discard if change.status == 'D'
                     else paths.add)(change.path)
                steps.append(Step(item.name, item.patch, commit))
                parent = commit
        self.good.save()
        return Stack(base, tuple(steps))

    def claim(self, where: str, patch: patchfile.Patch, paths: ty.Set[str],
              claimed: ty.Dict[str, str]) -> ty.List[str]:
        """The overlay files of this commit that may be added."""
        good = []
        for path in patch.overlay:
            problem = fix = ''
            if path in claimed:
                problem = f'is claimed by {claimed[path]} already'
                fix = f'delete one of the two "Overlay: {path}" lines'
            elif not layout.in_overlay(path) or '..' in path.split('/'):
                problem = 'is not under an overlay root'
            elif path in paths:
                problem = 'exists upstream: it would shadow that file'
                fix = f'git mv {path} to another name, and correct {where}'
            elif self.files.get(path) is None:
                problem = 'is not there'
                fix = f'git checkout -- {path}, or delete its Overlay: line'
            if problem:
                self.report(errors.integrity(
                    f'{where}: overlay file {path} {problem}', fix or ()))
            else:
                good.append(path)
            claimed.setdefault(path, where)
        return good

    def apply(self, where: str, patch: patchfile.Patch, parent: str,
              ours: ty.List[str]) -> ty.Optional[str]:
        if not self.exact(where, patch, parent):
            return None
        if patch.files:
            # whitespace=nowarn: bytes are applied as they are, never fixed.
            result = self.index.run(
                'apply', '--cached', '--whitespace=nowarn', '-p1',
                stdin=patchfile.encode(patch.diff))
            if result.code:
                self.report(errors.integrity(
                    f'{where} does not apply: '
                    f'{(result.err.strip().splitlines() or ["?"])[0]}',
                    'it was edited by hand or is listed out of order: '
                    f'git log -- {where}'))
                return None
        self.add(ours)
        tree = self.index.line('write-tree')
        if tree == self.store.resolve(f'{parent}^{{tree}}'):
            self.report(errors.integrity(
                f'{where} changes nothing', 'delete it from the series'))
            return None
        name, mail = _git.COMMITTER
        return self.store.line(
            'commit-tree', tree, '-p', parent, '-F', '-',
            stdin=patchfile.encode(patch.message),
            env={**_git.identity('AUTHOR', patch.author, patch.mail,
                                 patch.date),
                 **_git.identity('COMMITTER', name, mail, patch.date)})

    def exact(self, where: str, patch: patchfile.Patch, parent: str) -> bool:
        """Each hunk stands at its line. git apply itself would search."""
        good = True
        for diff in patch.files:
            if diff.old is None or not diff.hunks:
                continue
            blob = self.reader.read(f'{parent}:{diff.old}')
            if blob is None:
                self.report(errors.integrity(
                    f'{where}: {diff.old} is not in the tree at this commit',
                    f'git log -- {where}'))
                return False
            for misfit in patchfile.misfits(diff, patchfile.decode(blob)):
                good = False
                self.report(errors.integrity(
                    f'{where}: a hunk of {diff.path} does not fit exactly: '
                    f'{misfit.reason}',
                    'never edit a patch by hand: commit in the tree and '
                    'export; for another base use rebase',
                    detail=misfit.hunk.text))
        return good

    def add(self, paths: ty.List[str]) -> None:
        if not paths:
            return
        lines = []
        plain = [p for p in paths if p not in self.files.changes]
        # --no-filters: the attributes of whoever runs this do not apply.
        blobs = dict(zip(plain, self.store.out(
            'hash-object', '-w', '--no-filters', '--stdin-paths',
            stdin=b''.join(os.fsencode(self.files.root / p) + b'\n'
                           for p in plain)).decode().split()))
        for path in paths:
            file = ty.cast(layout.File, self.files.get(path))
            blob = blobs.get(path) or self.store.line(
                'hash-object', '-w', '--no-filters', '--stdin',
                stdin=file.data)
            lines.append(f'{file.mode} {blob}\t{path}\0')
        self.index.out('update-index', '-z', '--index-info',
                       stdin=patchfile.encode(''.join(lines)))

    def compile(self, where: str, patch: patchfile.Patch,
                changes: ty.Sequence[_git.Change]) -> None:
        for change in changes:
            if (not change.path.endswith('.py') or
                    not change.mode.startswith('100') or
                    change.blob in self.good.blobs):
                continue
            data = self.reader.read(change.blob) or b''
            error = self.good.judge(change.blob, change.path, data)
            if error:
                self.report(errors.integrity(
                    f'{where}: {change.path} does not compile at the commit '
                    f'"{patch.subject}": {error}',
                    'commit the fix in the tree with `git commit --fixup`, '
                    '`git rebase -i --autosquash refs/xloud/base`, export'))


class Compiled:
    """The blobs that are known to compile: driver.py alone takes a second."""

    def __init__(self, repo: layout.Repo):
        self.path = repo.cache / ('compiles-%d.%d' % sys.version_info[:2])
        try:
            self.blobs = set(self.path.read_text().split())
        except FileNotFoundError:
            self.blobs = set()
        self.known = len(self.blobs)

    def judge(self, blob: str, path: str, data: bytes) -> ty.Optional[str]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                compile(data, path, 'exec', dont_inherit=True)
        except SyntaxError as exc:
            return f'line {exc.lineno}: {exc.msg}'
        except ValueError as exc:
            return str(exc)
        self.blobs.add(blob)
        return None

    def save(self) -> None:
        if len(self.blobs) == self.known:
            return
        fresh = self.path.with_name(self.path.name + '.new')
        fresh.write_text('\n'.join(sorted(self.blobs)) + '\n')
        os.replace(fresh, self.path)
