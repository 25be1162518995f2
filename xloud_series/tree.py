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

"""The developer's tree: an ordinary clone in build/, never thrown away.

The base is the upstream of its branch: `git rebase --interactive` needs no
other name, and `git status` counts the patches. Refs in it, beside the
branch: refs/xloud/base, refs/xloud/applied (what the repository had when the
two last agreed), refs/xloud/incoming.
"""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import typing as ty

from xloud_series import errors
from xloud_series import git as _git
from xloud_series import layout

BASE = 'refs/xloud/base'
APPLIED = 'refs/xloud/applied'
INCOMING = 'refs/xloud/incoming'

# What a test run or an editable install leaves is not work.
EXCLUDE = """\
# Written by xloud_series: what test runs leave behind.
*.py[co]
__pycache__/
*.egg-info/
*.egg
.eggs/
.coverage*
.stestr/
.tox/
.venv/
.mypy_cache/
.ruff_cache/
# Upstream's libvirt tests
/instances/
.pytest_cache/
/build/
/cover/
/dist/
doc/build/
doc/source/_static/*.sample
api-ref/build/
releasenotes/build/
etc/nova/nova.conf.sample
etc/nova/policy.yaml.sample
# Horizon's tests
.secret_key_store
.test_secret_key_store
subunit.log
testrepository.subunit
"""

# Tracked, but pbr writes them anew from our history when it builds an sdist or
# a wheel in the tree. git is told not to look at them.
GENERATED = ('AUTHORS', 'ChangeLog')

OPERATIONS = {
    'rebase-merge': 'a git rebase',
    'rebase-apply': 'a git am or rebase',
    'CHERRY_PICK_HEAD': 'a git cherry-pick',
    'REVERT_HEAD': 'a git revert',
    'MERGE_HEAD': 'a git merge',
    'BISECT_LOG': 'a git bisect',
}


class Tree:

    def __init__(self, release: layout.Release,
                 path: ty.Optional[Path] = None):
        self.release = release
        self.path = path or release.tree
        self.dot_git = self.path / '.git'
        self.git = _git.Git(self.dot_git, self.path)
        self.rebase_state = self.dot_git / release.rebase_state.name

    @property
    def exists(self) -> bool:
        return (self.dot_git / 'HEAD').exists()

    @property
    def head(self) -> ty.Optional[str]:
        return self.git.resolve('HEAD')

    @property
    def applied(self) -> ty.Optional[str]:
        return self.git.resolve(APPLIED)

    @property
    def branch(self) -> str:
        """As a person types it."""
        return self.release.branch[len('refs/heads/'):]

    @property
    def on_branch(self) -> bool:
        result = self.git.run('symbolic-ref', '--quiet', 'HEAD')
        return result.out.decode().strip() == self.release.branch

    def dirty(self) -> ty.List[str]:
        """Lines as `git status --short` has them."""
        fields = iter(self.git.fields(
            # It need not write, and cannot if the disk is full.
            '--no-optional-locks', 'status', '--porcelain=v1', '-z',
            '--untracked-files=all', '--ignore-submodules=none',
            '--no-ahead-behind', '--renames'))
        found = []
        for field in fields:
            found.append(field)
            if field[0] in 'RC':
                next(fields)              # where it came from
        return found

    def prepare(self) -> None:
        """What git has to know of this tree; done each time, as a tree may
        be older than this tool.
        """
        branch = f'branch.{self.branch}'
        if not self.git.ok('config', '--local', f'{branch}.merge'):
            self.git.out('config', '--local', f'{branch}.remote', '.')
            self.git.out('config', '--local', f'{branch}.merge', BASE)
        plain = self.generated('H')
        if plain:
            # Not out(): while another git has the index, it is done later.
            self.git.run('update-index', '--skip-worktree', '--', *plain)

    def generated(self, flag: str) -> ty.List[str]:
        """S: those that git does not look at; H: those that it does."""
        return [line[2:] for line in self.git.fields(
            'ls-files', '-t', '-z', '--', *GENERATED) if line[0] == flag]

    def restore_generated(self) -> None:
        """As they are in the commit: a checkout might have to change them."""
        paths = self.generated('S')
        if paths:
            self.git.out('update-index', '--no-skip-worktree', '--', *paths)
            self.git.out('checkout-index', '--quiet', '--force', '--', *paths)

    def operation(self) -> ty.Optional[str]:
        if self.rebase_state.exists():
            return 'an xloud_series rebase'
        return next((text for name, text in OPERATIONS.items()
                     if (self.dot_git / name).exists()), None)

    def unexported(self) -> ty.List[str]:
        """Commits of HEAD that the repository does not have, one a line."""
        if self.head == self.applied:
            return []
        return self.git.out(
            'log', '--oneline', '--no-decorate', '--no-show-signature',
            '--no-color', f'{APPLIED}..HEAD').decode(
                'utf-8', 'replace').splitlines() or ['(commits were removed)']

    def protect(self, why: str) -> None:
        """Refuse if moving this tree would lose anything of the developer's.
        """
        shown = self.release.shown
        command = self.release.repo.command
        if self.rebase_state.exists():
            raise errors.refused(
                f'{shown}: a rebase is not finished; {why}',
                (f'{command} rebase --continue {self.release.name}',
                 f'{command} rebase --abort {self.release.name}'))
        operation = self.operation()
        if operation:
            raise errors.refused(
                f'{shown}: {operation} is not finished; {why}',
                f'git -C {shown} status')
        dirty = self.dirty()
        if dirty:
            export = 'run this again' if self.release.is_on_base else (
                f'{command} export {self.release.name}')
            # Not to APPLIED: there may be commits that are saved nowhere.
            raise errors.refused(
                f'{shown}: uncommitted work; {why}',
                (f'save: git -C {shown} add -A && git -C {shown} commit, then '
                 f'{export}',
                 f'drop: git -C {shown} reset --hard (an untracked file: rm '
                 f'it)'),
                detail='\n'.join(dirty))
        work = self.unexported()
        if not self.on_branch:
            raise errors.refused(
                f'{shown}: HEAD is not on the branch {self.branch}; {why}',
                self.back(), '\n'.join(work))
        if work:
            save = f'save: {command} export {self.release.name}'
            if self.release.is_on_base:
                save = 'save: ' + self.release.bring(
                    f'{(self.applied or "")[:12]}..FETCH_HEAD')
            raise errors.refused(
                f'{shown}: commits that are not exported; {why}',
                (save, f'drop: git -C {shown} reset --hard {APPLIED}'),
                '\n'.join(work))

    def back(self) -> ty.Tuple[str, ...]:
        """How a person gets to the branch with what is committed beside it.
        """
        git = f'git -C {self.release.shown}'
        if not self.git.resolve(self.release.branch):
            return (f'{git} checkout -b {self.branch}',)
        checkout = f'{git} checkout {self.branch}'
        beside = f'{self.release.branch}..HEAD'
        if not self.git.out('rev-list', '--max-count=1', beside):
            return (checkout,)
        head = ty.cast(str, self.head)
        return (f'take its commits along: {checkout} && {git} cherry-pick '
                f'{self.branch}..{head[:12]}',
                f'or leave them out: {checkout}')

    def take(self, store: _git.Git, refs: ty.Dict[str, str]) -> None:
        """Fetch commits under these refs; nothing of the tree's own moves."""
        for commit in refs.values():      # a fetch asks for refs, not for ids
            store.out('update-ref', f'refs/offers/{commit}', commit)
        self.git.fetch(
            store.git_dir,
            *(f'+refs/offers/{commit}:{ref}' for ref, commit in refs.items()))

    def give(self, store: _git.Git) -> None:
        """HEAD and the refs of the tree, for the store to read."""
        refs = [f'+HEAD:refs/trees/{self.release.name}/head']
        if self.applied:
            refs.append(f'+{APPLIED}:refs/trees/{self.release.name}/applied')
        store.fetch(self.path, *refs)

    def move(self, commit: str) -> None:
        """The branch and the files to `commit`; only after protect()."""
        self.restore_generated()
        # -B: also when the branch was left behind. Ignored files stay.
        result = self.git.run(
            'checkout', '--quiet', '--no-overwrite-ignore', '--no-track',
            '--no-recurse-submodules', '-B',
            self.branch, commit)
        if result.code:
            raise self.not_moved(commit, result.err.strip())
        self.prepare()

    def not_moved(self, commit: str, said: str) -> errors.SeriesError:
        """git refused, or it could not write and has left half of it."""
        shown = self.release.shown
        text = (f'{shown}: git cannot move it: '
                f'{(said.splitlines() or ["?"])[0]}')
        if not self.dirty():
            return errors.refused(text, f'git -C {shown} status',
                                  errors.few(said))
        # Not back to HEAD: the files that are new there would stay, and would
        # be taken for somebody's work.
        return errors.integrity(
            text, ('make room or correct its permissions',
                   f'git -C {shown} reset --hard {commit}: nothing is lost, '
                   f'what was there is committed', 'then run this again'),
            errors.few(said))

    def settle(self, base: str, tip: str) -> None:
        self.git.out('update-ref', BASE, base)
        self.git.out('update-ref', APPLIED, tip)


def create(release: layout.Release, store: _git.Git, base: str,
           tip: str) -> Tree:
    """Made aside and renamed, so that half a tree is never seen."""
    fresh = Tree(release, release.tree.with_name(f'.{release.tree.name}.new'))
    if fresh.path.exists():
        shutil.rmtree(fresh.path)
    if os.path.lexists(release.tree):     # or a link to nothing
        raise errors.refused(
            f'{release.shown} is there but is no git repository',
            f'mv {release.shown} elsewhere, and run this again')
    try:
        fresh.path.mkdir(parents=True)
        # An empty template: hooks and excludes of a site are not ours.
        fresh.git.out('init', '--quiet', '--template=',
                      f'--initial-branch=xloud/{release.name}')
        (fresh.dot_git / 'info').mkdir(exist_ok=True)
        (fresh.dot_git / 'info' / 'exclude').write_text(EXCLUDE)
        fresh.take(store, {BASE: base, APPLIED: tip})
        fresh.move(tip)
    except (errors.SeriesError, OSError) as exc:
        # It can be what fills the disk.
        shutil.rmtree(fresh.path, ignore_errors=True)
        if isinstance(exc, OSError):
            raise
        raise errors.integrity(
            f'{release.shown} cannot be made: '
            f'{(exc.detail or exc.text).splitlines()[0]}',
            ('make room or correct its permissions, and run this again',
             *_git.GitError.advice(store)),
            exc.detail)
    os.replace(fresh.path, release.tree)
    return Tree(release)
