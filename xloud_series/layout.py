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

"""Where things are: the only module that knows the repository's folders."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
import re
import typing as ty

from xloud_series import errors

# A file under one of these is ours as a whole, at its path in Nova's tree.
OVERLAY_ROOTS = ('nova', 'doc', 'releasenotes', 'api-ref', 'etc')
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]*')


@dataclasses.dataclass(frozen=True)
class Repo:
    root: Path

    @property
    def cache(self) -> Path:
        return self.root / 'build' / '.cache'

    @property
    def sdists(self) -> Path:
        return self.cache / 'sdist'

    @property
    def store(self) -> Path:
        return self.cache / 'store.git'

    def releases(self) -> ty.List[Release]:
        found = sorted(self.root.glob('patches/*/upstream.txt'))
        return [Release(self, path.parent.name) for path in found]

    def release(self, name: ty.Optional[str]) -> Release:
        known = self.releases()
        names = ', '.join(r.name for r in known) or 'none'
        if name is None:
            if not known:
                raise errors.usage('there is no patches/RELEASE/upstream.txt')
            return known[0]               # the oldest, as the scripts have it
        for release in known:
            if release.name == name:
                return release
        if NAME.fullmatch(name) and Release(self, name).being_made:
            raise errors.SeriesError(
                errors.Exit.CONFLICT,
                f'{name} is being made: a rebase to it is not finished',
                (f'python3 -m xloud_series status {name}',
                 f'python3 -m xloud_series rebase --continue {name}',
                 f'python3 -m xloud_series rebase --abort {name}'))
        for release in known:
            if release.on_base.name == name:
                raise errors.usage(
                    f'{name} is the series of {release.name} on another base; '
                    f'only its own tree is exported',
                    f'bring the commit to {release.shown}: git fetch, git '
                    f'cherry-pick')
        raise errors.usage(f'unknown release {name!r}; known are: {names}',
                           f'a new one starts with patches/{name}/upstream.txt'
                           if NAME.fullmatch(name) else ())


@dataclasses.dataclass(frozen=True)
class Release:
    repo: Repo
    name: str

    def __post_init__(self):
        if not NAME.fullmatch(self.name):
            raise errors.usage(f'{self.name!r} cannot name a release')

    @property
    def folder(self) -> str:
        return f'patches/{self.name}'

    @property
    def upstream(self) -> str:
        return f'{self.folder}/upstream.txt'

    @property
    def series(self) -> str:
        return f'{self.folder}/series'

    @property
    def tree(self) -> Path:
        return self.repo.root / 'build' / f'nova-{self.name}'

    @property
    def on_base(self) -> Release:
        """Its series on a base that is not its own: a tree, no folder."""
        return Release(self.repo, f'{self.name}-on-base')

    @property
    def rebase_state(self) -> Path:
        return self.tree / '.git' / 'xloud-rebase.json'

    @property
    def being_made(self) -> bool:
        """It has a tree before it has a folder."""
        return self.rebase_state.exists() and not (
            self.repo.root / self.upstream).exists()

    @property
    def branch(self) -> str:
        return f'refs/heads/xloud/{self.name}'

    @property
    def shown(self) -> str:
        """The tree as one types it in the repository's root."""
        return f'build/nova-{self.name}'


@dataclasses.dataclass(frozen=True)
class File:
    data: bytes
    executable: bool = False

    @property
    def mode(self) -> str:
        return '100755' if self.executable else '100644'


class Files:
    """The repository's files as they are, or as `changes` would leave them.

    A change to None is a removal. Only the owner's x bit counts: the rest of
    a mode is the umask's.
    """

    def __init__(self, root: Path,
                 changes: ty.Optional[ty.Dict[str, ty.Optional[File]]] = None):
        self.root = root
        self.changes = changes or {}

    def get(self, path: str) -> ty.Optional[File]:
        if path in self.changes:
            return self.changes[path]
        real = self.root / path
        if real.is_symlink() or not real.is_file():
            return None
        return File(real.read_bytes(), bool(real.stat().st_mode & 0o100))

    def patches(self, release: Release) -> ty.List[str]:
        found = {path.name for path in
                 (self.root / release.folder).glob('*.patch')}
        for path, file in self.changes.items():
            folder, name = os.path.split(path)
            if folder == release.folder and name.endswith('.patch'):
                (found.add if file else found.discard)(name)
        return sorted(found)

    def overlay(self) -> ty.List[str]:
        """Every file under the overlay roots; what tools leave is not ours."""
        found = []
        for root in OVERLAY_ROOTS:
            for folder, folders, names in os.walk(self.root / root):
                place = os.path.relpath(folder, self.root)
                folders[:] = [
                    f for f in folders if f != '__pycache__' and
                    not (f == 'build' and place in OVERLAY_ROOTS)]
                links = [f for f in folders if os.path.islink(
                    os.path.join(folder, f))]
                found += [os.path.join(place, n) for n in names + links
                          if not n.endswith(('.pyc', '.pyo'))]
        return sorted(found)


def in_overlay(path: str) -> bool:
    return path.split('/')[0] in OVERLAY_ROOTS and '/' in path


def lost_in_packages(data: bytes) -> ty.Optional[str]:
    """Why a new file with this content does not reach a package."""
    if not data:
        return ('is empty: `patch -E`, which distributions apply patches '
                'with, deletes it')
    if b'\0' in data:
        return 'is binary: patch and quilt cannot make it'
    return None
