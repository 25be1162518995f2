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

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import re
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
    """A patch that the series lists, as one release finds it."""
    name: str
    patch: patchfile.Patch
    path: str
    exact: bool        # it is written for this very release


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    patch: patchfile.Patch               # its hunks at their lines here
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
    """What the series lists, without the patches that this release drops."""
    found: ty.List[Listed] = []
    seen: ty.Set[str] = set()
    folders = files.folders(release)
    listed = names(files)
    marks = [name for name in listed if MARK.fullmatch(name)]
    if marks:
        report(errors.integrity(
            f'{files.repo.series} has the markers of a merge',
            f'keep the lines of both sides, in the order in which they are to '
            f'be applied, delete the markers, then {files.repo.command} '
            f'check'))
    for name in listed:
        if name in marks:
            continue
        if name in seen:
            report(errors.integrity(
                f'{files.repo.series} lists {name} twice',
                f'delete one of the two lines from {files.repo.series}'))
            continue
        seen.add(name)
        path = files.find(folders, name) if '/' not in name else None
        if path is None:
            path = f'{files.repo.patches}/{name}'
            report(errors.integrity(
                f'{files.repo.series} lists {name}, but {path} is not there',
                f'git checkout -- {path}, or delete the line'))
            continue
        data = ty.cast(layout.File, files.get(path)).data
        if not data.strip():              # this release is without it
            continue
        try:
            found.append(Listed(name, patchfile.parse(data, path), path,
                                os.path.dirname(path) == folders[0]))
        except errors.SeriesError as exc:
            report(exc)
    return found


def names(files: layout.Files) -> ty.List[str]:
    file = files.get(files.repo.series)
    return _series.parse(file.data).names if file else []


# What git leaves around the two sides of a conflict.
MARK = re.compile(r'={7}|[<>|]{7}( .*)?')


class Builder:
    """Applies one patch after another to a private index of the store."""

    def __init__(self, store: _git.Git, repo: layout.Repo,
                 files: layout.Files, report: Report = stop):
        self.store = store
        self.repo = repo
        self.files = files
        self.problems = 0
        self.tell = report
        self.good = Compiled(repo)
        self.built = Built(repo)

    def report(self, problem: errors.SeriesError) -> None:
        self.problems += 1
        self.tell(problem)

    def build(self, release: layout.Release, base: str,
              listed: ty.Sequence[Listed], outcome: bool = True) -> Stack:
        with self.standing_on(release, base):
            for item in listed:
                if not self.step(item):   # what follows cannot be judged
                    break
            else:
                if outcome:
                    self.outcome()
        self.save()
        return self.stack

    def save(self) -> None:
        self.good.save()
        self.built.save()

    @contextlib.contextmanager
    def standing_on(self, release: layout.Release,
                    base: str) -> ty.Iterator[None]:
        self.release = release
        self.base = self.parent = base
        self.stale = False     # the index is not that of the parent
        self.steps: ty.List[Step] = []
        self.claimed: ty.Dict[str, str] = {}
        self.paths = set(self.store.fields('ls-tree', '-r', '-z',
                                           '--name-only', base))
        with tempfile.TemporaryDirectory() as folder, \
                _git.Reader(self.store) as self.reader:
            self.index = _git.Git(self.store.git_dir,
                                  index=os.path.join(folder, 'index'))
            self.index.out('read-tree', base)
            yield

    @property
    def stack(self) -> Stack:
        return Stack(self.base, tuple(self.steps))

    def step(self, item: Listed) -> bool:
        ours = self.claim(item.path, item.patch)
        files = self.place(item)
        if files is None:
            return False
        patch = dataclasses.replace(item.patch, files=files)
        key = self.built.key(self.parent, patch, self.overlay(ours))
        made = self.built.commits.get(key)
        if made and len(ours) == len(patch.overlay) and (
                self.reader.has(made)):
            self.take(item.name, patch, made)
            self.stale = True
            return True
        if self.stale:
            self.index.out('read-tree', self.parent)
            self.stale = False
        problems = self.problems
        tree = self.apply(item, patch, ours)
        if tree is None:
            return False
        made = self.commit(item, patch, tree)
        if problems == self.problems:
            self.built.commits[key] = made
        self.take(item.name, patch, made)
        return True

    def commit(self, item: Listed, patch: patchfile.Patch, tree: str) -> str:
        made = commit(self.store, patch, tree, self.parent)
        self.compile(item.path, patch, self.store.changed(
            self.parent, made, '--no-renames'))
        return made

    def take(self, name: str, patch: patchfile.Patch, made: str) -> None:
        self.paths.update(patch.overlay)
        for diff in patch.files:
            if diff.old and diff.old != diff.new:
                self.paths.discard(diff.old)
            if diff.new:
                self.paths.add(diff.new)
        self.steps.append(Step(name, patch, made))
        self.parent = made

    def overlay(self, paths: ty.List[str]) -> ty.List[str]:
        """What git would call these files, as they are now."""
        found = []
        for path in paths:
            file = ty.cast(layout.File, self.files.get(path))
            found.append(f'{file.mode} {path} ' + hashlib.sha1(
                b'blob %d\0' % len(file.data) + file.data).hexdigest())
        return found

    def outcome(self) -> None:
        """Is it what was seen to be right when it was written?"""
        file = self.files.get(self.release.outcome)
        actual = outcome(self.store, self.stack)
        if file is None and actual:
            self.report(errors.integrity(
                f'{self.release.outcome} is not there: it says what has to '
                f'come out', f'{self.repo.command} check --accept'))
            return
        wanted = parse_outcome(file.data if file else b'')
        # First what has hunks to look at; a merge leaves its markers as well.
        for path in [*sorted(actual), *sorted(set(wanted) - set(actual))]:
            if wanted.get(path) == actual.get(path):
                continue
            self.report(errors.integrity(
                f'{path} does not come out on {self.release.name} as '
                f'{self.release.outcome} has it',
                ('restore what was edited by hand: git status, git log -- '
                 f'{self.repo.patches}',
                 'after a merge of two changes: look whether its hunks belong '
                 f'together, then {self.repo.command} check --accept'),
                detail='\n'.join(
                    '\n'.join([f'{step.name}: {hunk.header}', *(
                        line for line in hunk.lines if line[0] in '+-')])
                    for step in self.steps for diff in step.patch.files
                    if diff.path == path for hunk in diff.hunks)))

    def claim(self, where: str, patch: patchfile.Patch) -> ty.List[str]:
        """The overlay files of this commit that may be added."""
        paths, claimed = self.paths, self.claimed
        good = []
        for path in patch.overlay:
            problem = fix = ''
            if path in claimed:
                problem = f'is claimed by {claimed[path]} already'
                fix = f'delete one of the two "Overlay: {path}" lines'
            elif not self.repo.in_overlay(path) or '..' in path.split('/'):
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

    def apply(self, item: Listed, patch: patchfile.Patch,
              ours: ty.List[str]) -> ty.Optional[str]:
        """The tree with this patch."""
        if patch.files:
            # whitespace=nowarn: bytes are applied as they are, never fixed.
            result = self.index.run(
                'apply', '--cached', '--whitespace=nowarn', '-p1',
                stdin=patchfile.encode(patch.diff))
            if result.code:
                self.report(errors.integrity(
                    f'{item.path} does not apply: '
                    f'{(result.err.strip().splitlines() or ["?"])[0]}',
                    'it was edited by hand or is listed out of order: '
                    f'git log -- {item.path}'))
                return None
        self.add(ours)
        tree = self.index.line('write-tree')
        if tree == self.store.resolve(f'{self.parent}^{{tree}}'):
            self.report(errors.integrity(
                f'{item.path} changes nothing', 'delete it from the series'))
            return None
        return tree

    def place(self, item: Listed) -> ty.Optional[
            ty.Tuple[patchfile.FileDiff, ...]]:
        """Each hunk at the one place where it belongs.

        git apply itself would search, and take the nearest of several.
        """
        found = []
        good = True
        for diff in item.patch.files:
            if diff.old is None or not diff.hunks:
                found.append(diff)
                continue
            blob = self.reader.read(f'{self.parent}:{diff.old}')
            if blob is None:
                self.report(errors.integrity(
                    f'{item.path}: {diff.old} is not in the tree at this '
                    f'commit', f'git log -- {item.path}'))
                return None
            text = patchfile.decode(blob)
            if item.exact:
                misfits = patchfile.misfits(diff, text)
                where = 'exactly'
            else:
                diff, misfits = patchfile.placed(diff, text)
                where = f'on {self.release.name}'
            found.append(diff)
            for misfit in misfits:
                good = False
                self.report(errors.integrity(
                    f'{item.path}: a hunk of {diff.path} does not fit '
                    f'{where}: {misfit.reason}',
                    'never edit a patch by hand: commit in the tree and '
                    'export; for another base use rebase',
                    detail=misfit.hunk.text))
        return tuple(found) if good else None

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


def commit(store: _git.Git, patch: patchfile.Patch, tree: str,
           parent: str) -> str:
    name, mail = _git.COMMITTER
    return store.line(
        'commit-tree', tree, '-p', parent, '-F', '-',
        stdin=patchfile.encode(patch.message),
        env={**_git.identity('AUTHOR', patch.author, patch.mail, patch.date),
             **_git.identity('COMMITTER', name, mail, patch.date)})


def outcome(store: _git.Git, stack: Stack) -> ty.Dict[str, str]:
    """Upstream's files as the hooks leave them: mode and blob by path.

    Without the overlay: its files are whole, so nothing can go astray there.
    """
    ours = {path for step in stack.steps for path in step.patch.overlay}
    return {change.path: f'{change.mode} {change.blob}'
            for change in store.changed(stack.base, stack.tip, '--no-renames')
            if change.path not in ours}


def render_outcome(files: ty.Dict[str, str]) -> bytes:
    return ''.join(f'{what} {path}\n' for path, what in sorted(
        files.items())).encode('utf-8', 'surrogateescape')


def parse_outcome(data: bytes) -> ty.Dict[str, str]:
    """What is no such line, as after a merge, comes out nowhere."""
    found = {}
    for line in patchfile.decode(data).splitlines():
        mode, _, rest = line.partition(' ')
        blob, _, path = rest.partition(' ')
        found[path or line] = f'{mode} {blob}'
    return found


class Built:
    """The commits that were made before, by all that they are made of.

    With them a second build asks git for next to nothing.
    """

    MOST = 20000

    def __init__(self, repo: layout.Repo):
        self.path = repo.cache / ('built-%d.%d' % sys.version_info[:2])
        try:
            lines = self.path.read_text().split('\n')[-self.MOST:]
        except FileNotFoundError:
            lines = []
        self.commits = dict(line.split(' ') for line in lines if line)
        self.known = len(self.commits)

    def key(self, parent: str, patch: patchfile.Patch,
            overlay: ty.Sequence[str]) -> str:
        return hashlib.sha256(patchfile.encode('\0'.join(
            [parent, patch.message, patch.author, patch.mail, patch.date,
             patch.diff, *overlay]))).hexdigest()

    def save(self) -> None:
        if len(self.commits) == self.known:
            return
        fresh = self.path.with_name(self.path.name + '.new')
        fresh.write_text(''.join(f'{key} {made}\n' for key, made
                                 in self.commits.items()))
        os.replace(fresh, self.path)


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
                # Up to 3.11 a comment can have any bytes, since 3.12 none.
                importlib.util.decode_source(data)
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
