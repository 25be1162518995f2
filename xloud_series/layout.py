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
import fnmatch
import os
from pathlib import Path
import re
import typing as ty

from xloud_series import errors

# What all releases share. What one needs otherwise is in its own folder.
PATCHES = 'patches'
# All that the tool has built or that was resolved, as a git repository.
STORE = 'store.git'
ON_BASE = '-on-base'
# A release's name is also that of a branch, of which git asks more.
NAME = re.compile(r'(?!.*\.\.)(?!.*\.(lock)?$)[A-Za-z0-9][A-Za-z0-9._-]*')


@dataclasses.dataclass(frozen=True)
class Project:
    """What a series stands on. It has the name that its pins have."""
    name: str
    home: str = ''                       # the folder that holds its patches/
    # A file under one of these is ours as a whole, at its path in the tree.
    # Without any, new files stay in their patches.
    overlay_roots: ty.Tuple[str, ...] = ()


NOVA = Project('nova', '', ('nova', 'doc', 'releasenotes', 'api-ref', 'etc'))


@dataclasses.dataclass(frozen=True)
class Repo:
    """The repository, as one project sees it: none meets another's files."""
    root: Path
    project: Project = NOVA

    @property
    def patches(self) -> str:
        return f'{self.project.home}/{PATCHES}'.lstrip('/')

    @property
    def series(self) -> str:
        return f'{self.patches}/series'

    @property
    def command(self) -> str:
        """What a person types before the verb."""
        command = 'python3 -m xloud_series'
        if self.project != NOVA:
            command += f' --project {self.project.name}'
        return command

    @property
    def cache(self) -> Path:
        cache = self.root / 'build' / '.cache'
        return cache if self.project == NOVA else cache / self.project.name

    def complete(self, release: str) -> str:
        """The folder for the complete patches of a release."""
        name = f'{self.project.home}-patches-{release}'.lstrip('-')
        return f'build/dist/{name}'

    def trees(self) -> ty.List[str]:
        """The names of what has a tree, or a folder that looks like one."""
        prefix = f'{self.project.name}-'
        names = [path.name[len(prefix):] for path in
                 sorted((self.root / 'build').glob(f'{prefix}*'))]
        return [name for name in names if NAME.fullmatch(name)]

    def in_overlay(self, path: str) -> bool:
        return '/' in path and (
            path.split('/')[0] in self.project.overlay_roots)

    @property
    def sdists(self) -> Path:
        return self.cache / 'sdist'

    @property
    def store(self) -> Path:
        return self.cache / STORE

    @property
    def scratch(self) -> Path:
        """For trees of one run; the next one empties it."""
        return self.cache / 'scratch'

    def releases(self) -> ty.List[Release]:
        """The oldest first."""
        return [Release(self, name) for name in Files(self).releases()]

    def release(self, name: ty.Optional[str]) -> Release:
        known = self.releases()
        names = ', '.join(r.name for r in known) or 'none'
        if name is None:
            if not known:
                raise errors.usage(
                    f'there is no {self.patches}/RELEASE/upstream.txt')
            return known[0]               # the oldest, as the scripts have it
        for release in known:
            if release.name == name:
                return release
        if NAME.fullmatch(name) and Release(self, name).being_made:
            raise errors.SeriesError(
                errors.Exit.CONFLICT,
                f'{name} is being made: a rebase to it is not finished',
                (f'{self.command} status {name}',
                 f'{self.command} rebase --continue {name}',
                 f'{self.command} rebase --abort {name}'))
        for release in known:
            if release.on_base.name == name:
                raise errors.usage(
                    f'{name} is the series of {release.name} on another base; '
                    f'only its own tree is exported',
                    release.on_base.bring('COMMIT'))
        raise errors.usage(f'unknown release {name!r}; known are: {names}',
                           f'a new one starts with {self.patches}/{name}/'
                           f'upstream.txt'
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
        return f'{self.repo.patches}/{self.name}'

    @property
    def upstream(self) -> str:
        return f'{self.folder}/upstream.txt'

    @property
    def outcome(self) -> str:
        return f'{self.folder}/tree.txt'

    @property
    def tree(self) -> Path:
        return self.repo.root / self.shown

    @property
    def on_base(self) -> Release:
        """Its series on a base that is not its own: a tree, no folder."""
        return Release(self.repo, self.name + ON_BASE)

    @property
    def is_on_base(self) -> bool:
        return self.name.endswith(ON_BASE) and not (
            self.repo.root / self.upstream).exists()

    def bring(self, commits: str) -> str:
        """How these go from a tree on another base to that of the series."""
        git = f'git -C {self.shown[:-len(ON_BASE)]}'
        return (f'{git} fetch ../{self.tree.name} HEAD && {git} cherry-pick '
                f'{commits}')

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
        return f'build/{self.repo.project.name}-{self.name}'


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

    def __init__(self, repo: Repo,
                 changes: ty.Optional[ty.Dict[str, ty.Optional[File]]] = None):
        self.repo = repo
        self.root = repo.root
        self.changes = changes or {}
        # As each was when it was first read.
        self.first: ty.Dict[str, ty.Optional[File]] = {}

    def get(self, path: str) -> ty.Optional[File]:
        if path in self.changes:
            return self.changes[path]
        real, found = self.root / path, None
        if real.is_file() and not real.is_symlink():
            found = File(real.read_bytes(), bool(real.stat().st_mode & 0o100))
        self.first.setdefault(path, found)
        return found

    def _matching(self, pattern: str) -> ty.List[str]:
        found = {str(path.relative_to(self.root))
                 for path in self.root.glob(pattern)}
        for path, file in self.changes.items():
            if (path.startswith(f'{self.repo.patches}/') and
                    path.count('/') == pattern.count('/') and
                    fnmatch.fnmatchcase(path, pattern)):
                (found.add if file else found.discard)(path)
        return sorted(found)

    def releases(self) -> ty.List[str]:
        """The oldest first."""
        return sorted((path.split('/')[-2] for path in self._matching(
            f'{self.repo.patches}/*/upstream.txt')), key=age)

    def patches(self) -> ty.List[str]:
        """The shared ones and the overrides."""
        return (self._matching(f'{self.repo.patches}/*.patch') +
                self._matching(f'{self.repo.patches}/*/*.patch'))

    def folders(self, release: Release) -> ty.List[str]:
        """Where a patch is looked for: the nearest first.

        In the first are those that are written for this very release. What is
        shared is written for the oldest release, which so has no
        overrides.
        """
        older = [name for name in self.releases()
                 if age(name) < age(release.name)]
        shared = self.repo.patches
        if not older:
            return [shared]
        return [release.folder, *(f'{shared}/{name}'
                                  for name in reversed(older[1:])), shared]

    def find(self, folders: ty.Sequence[str],
             name: str) -> ty.Optional[str]:
        return next((f'{folder}/{name}' for folder in folders
                     if self.get(f'{folder}/{name}')), None)

    def overlay(self) -> ty.List[str]:
        """Every file under the overlay roots; what tools leave is not ours."""
        found = []
        roots = self.repo.project.overlay_roots
        for root in roots:
            for folder, folders, names in os.walk(self.root / root):
                place = os.path.relpath(folder, self.root)
                folders[:] = [
                    f for f in folders if f != '__pycache__' and
                    not (f == 'build' and place in roots)]
                links = [f for f in folders if os.path.islink(
                    os.path.join(folder, f))]
                found += [os.path.join(place, n) for n in names + links
                          if not n.endswith(('.pyc', '.pyo'))]
        return sorted(found)


def project(root: Path, name: str) -> Project:
    """The one whose patches are in a folder of its name."""
    if name == NOVA.name:
        return NOVA
    if not NAME.fullmatch(name) or not (root / name / PATCHES).is_dir():
        names = sorted(path.parent.name for path in root.glob(f'*/{PATCHES}'))
        raise errors.usage(
            f'unknown project {name!r}; known are: '
            f'{", ".join([NOVA.name, *names])}',
            f'a new one starts with {name}/{PATCHES}/RELEASE/upstream.txt'
            if NAME.fullmatch(name) else ())
    return Project(name, name)


def age(name: str) -> ty.List[ty.Tuple[int, str]]:
    """A key to sort releases by: 2024.1, 2024.2, 2024.10."""
    return [(int(part) if part.isdigit() else -1, part)
            for part in re.split('([0-9]+)', name)]


def lost_in_packages(data: bytes) -> ty.Optional[str]:
    """Why a new file with this content does not reach a package."""
    if not data:
        return ('is empty: `patch -E`, which distributions apply patches '
                'with, deletes it')
    if b'\0' in data:
        return 'is binary: patch and quilt cannot make it'
    return None
