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
"""A work tree of its own, to cherry-pick in as `rebase` does.

git merge-tree would need no files, but takes a merge base only from git 2.40
on. Where a pick conflicts, both sides are kept, so that what comes after it
finds the lines that it stands on.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
import typing as ty

from xloud_series import git as _git
from xloud_series import patchfile


@dataclasses.dataclass(frozen=True)
class Picked:
    before: str                   # the tree's commit without it, and with it
    after: str
    # Of each file that conflicts: the stages that git left of it, and the
    # text with its markers.
    stages: ty.Dict[str, ty.Set[str]]
    marked: ty.Dict[str, str]


class Scratch:

    def __init__(self, store: _git.Git, folder: Path, onto: str):
        self.folder = folder
        self.git = _git.Git(folder / '.git', folder)
        self.git.out('init', '--quiet', '--template=')
        alternates = folder / '.git' / 'objects' / 'info' / 'alternates'
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_text(f'{store.git_dir.resolve() / "objects"}\n')
        self.git.out('checkout', '--quiet', '--detach', onto)
        self.head = onto

    def pick(self, commit: str) -> Picked:
        before = self.head
        result = cherry_pick(self.git, commit)
        stages: ty.Dict[str, ty.Set[str]] = {}
        blobs: ty.Dict[ty.Tuple[str, str], str] = {}
        for entry in self.git.fields('ls-files', '--unmerged', '-z'):
            meta, _, path = entry.partition('\t')
            _, blob, stage = meta.split(' ')
            stages.setdefault(path, set()).add(stage)
            blobs[path, stage] = blob
        if result.code and not stages:
            raise _git.GitError(self.git, ['cherry-pick'], result)
        marked = {}
        for path in stages:
            real = self.folder / path
            if real.is_file() and not real.is_symlink():
                marked[path] = patchfile.decode(real.read_bytes())
            self.settle(path, stages[path], blobs)
        if stages:
            self.git.out('add', '--all')
            self.git.out('commit', '--quiet', '--allow-empty',
                         '--allow-empty-message', '-C', commit, env=WHO)
            self.git.run('cherry-pick', '--quit')
        self.head = ty.cast(str, self.git.resolve('HEAD'))
        return Picked(before, self.head, stages, marked)

    def settle(self, path: str, stages: ty.Set[str],
               blobs: ty.Dict[ty.Tuple[str, str], str]) -> None:
        real = self.folder / path
        if '2' not in stages:             # upstream deleted it
            real.unlink(missing_ok=True)
            return
        data = {stage: self.git.out('cat-file', 'blob', blobs[path, stage])
                for stage in stages}
        if stages == {'1', '2', '3'}:
            sides = []
            for stage in '213':
                sides.append(self.folder / '.git' / f'side-{stage}')
                sides[-1].write_bytes(data[stage])
            result = self.git.run('merge-file', '-p', '-q', '--union',
                                  *map(os.fspath, sides))
            if result.code == 0:
                real.write_bytes(result.out)
                return
        real.write_bytes(data.get('3', data['2']))


WHO = _git.identity('COMMITTER', *_git.COMMITTER, '0 +0000')
NOBODY = {**_git.identity('AUTHOR', *_git.COMMITTER, '0 +0000'), **WHO}
del WHO['GIT_COMMITTER_DATE']


def cherry_pick(git: _git.Git, commit: str, *how: str) -> _git.Result:
    # keep-redundant: a commit that became empty is ours to drop; git would
    # stop at it as at a conflict.
    return git.run('cherry-pick', '--keep-redundant-commits', '--allow-empty',
                   *how, commit, env=WHO)
