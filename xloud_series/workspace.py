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

"""What every verb starts with: the lock, a healed repository, the store."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import typing as ty

from xloud_series import errors
from xloud_series import git as _git
from xloud_series import layout
from xloud_series import patchfile
from xloud_series import stack as _stack
from xloud_series import transaction
from xloud_series import tree as _tree
from xloud_series import upstream


# Set by what runs several commands at the same time.
WAIT = 'XLOUD_SERIES_WAIT'


def say(text: str) -> None:
    """How far it is. Whether anybody listens does not matter."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


class Workspace:

    def __init__(self, repo: layout.Repo):
        self.repo = repo
        self.store = _git.Git(repo.store)
        self.files = layout.Files(repo)
        # The refs of what a person has resolved and this run has used.
        self.answers: ty.Set[str] = set()

    def __enter__(self) -> Workspace:
        _git.require()
        if not (self.repo.root / self.repo.patches).is_dir():
            raise errors.usage(
                f'{self.repo.root} has no {self.repo.patches}/: it is no '
                f'repository of a series on {self.repo.project.name}',
                'give its root with --repo DIR')
        series = self.repo.root / self.repo.patches / 'series'
        if series.exists() and series.stat().st_mode & 0o100:
            # The x bit of a file of the overlay is in the commits.
            raise errors.integrity(
                f'{self.repo.patches}/series is executable, so other files '
                f'may be that should not be: a shared folder, or a drive of '
                f'another system, often gives each file the x bit',
                ('clone the repository to a file system that keeps it',
                 f'or if it was copied from one: chmod -R a-x,a+X and git '
                 f'-C {self.repo.root} -c core.fileMode=true diff --summary'))
        self.repo.cache.mkdir(parents=True, exist_ok=True)
        self.lock = (self.repo.cache / 'lock').open('w')
        try:
            self.take_lock()
            self.prepare()
        except BaseException:
            self.lock.close()
            raise
        return self

    def take_lock(self) -> None:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if os.environ.get(WAIT) != 'yes':
                raise errors.refused(
                    'another xloud_series is at work in this repository',
                    'wait for it to end, and run this again')
            say('waiting until another xloud_series ends')
            fcntl.flock(self.lock, fcntl.LOCK_EX)

    def prepare(self) -> None:
        healed = transaction.resume(self.repo)
        if healed:
            say('finished an interrupted export: ' + ', '.join(healed))
        # Of Nova, what a killed run leaves there is fifty megabytes.
        shutil.rmtree(self.repo.scratch, ignore_errors=True)
        self.repo.scratch.mkdir(exist_ok=True)
        if not (self.repo.store / 'HEAD').exists():
            self.store.out('init', '--quiet', '--bare', '--template=')
            info = self.repo.store / 'info'
            info.mkdir(exist_ok=True)
            # @@ lines then name the function, as a reviewer wants it.
            (info / 'attributes').write_text('*.py diff=python\n')

    def __exit__(self, *exc) -> None:
        self.lock.close()

    def base(self, release: layout.Release) -> str:
        return upstream.base(self.store, self.repo, upstream.pin_of(release),
                             say)[0]

    def build(self, release: layout.Release,
              report: _stack.Report = _stack.stop,
              like: ty.Optional[layout.Files] = None,
              outcome: bool = True) -> _stack.Stack:
        """The stack of a release.

        :param like: the repository with another overlay
        :param outcome: it has to be as its tree.txt says
        """
        base = self.base(release)
        listed = _stack.load(self.files, release, report)
        return _stack.Builder(
            self.store, self.repo, like or self.files, report).build(
                release, base, listed, outcome)

    def tree(self, release: layout.Release) -> _tree.Tree:
        tree = _tree.Tree(release)
        if tree.exists:
            tree.prepare()
        return tree

    def need_tree(self, release: layout.Release) -> _tree.Tree:
        tree = self.tree(release)
        if not tree.exists:
            raise errors.usage(
                f'{release.shown} is not there: did you run apply first?',
                f'{self.repo.command} apply {release.name}')
        return tree

    def listed(self, release: layout.Release) -> ty.List[_stack.Listed]:
        """As far as it can be read."""
        return _stack.load(self.files, release, lambda problem: None)

    def claims(self, release: layout.Release) -> ty.Set[str]:
        """Overlay files of a release."""
        return {path for item in self.listed(release)
                for path in item.patch.overlay}

    def carried(self, release: layout.Release) -> ty.Dict[str, ty.Set[str]]:
        """By Change-Id: the new files that stay in the patch itself."""
        return {item.patch.change_id or '': item.patch.added
                for item in self.listed(release)}

    def names(self, release: layout.Release) -> ty.Dict[str, str]:
        """By Change-Id: the name under which the series lists the patch."""
        return {item.patch.change_id or patchfile.slug(item.patch.subject):
                item.name for item in self.listed(release)}
