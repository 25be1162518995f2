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

"""From commits to files: each commit into its patch and overlay files."""

from __future__ import annotations

import dataclasses
import shlex
import typing as ty

from xloud_series import errors
from xloud_series import git as _git
from xloud_series import layout
from xloud_series import message
from xloud_series import patchfile

# Each is a default of git's, but defaults can be configured away.
DIFF = (
    '-p', '-r', '--no-color', '--no-ext-diff', '--no-textconv',
    '--src-prefix=a/', '--dst-prefix=b/', '--unified=3',
    '--inter-hunk-context=0',
    '--diff-algorithm=myers',     # the one that no version of git changed
    '--indent-heuristic',
    '--find-renames=50%', '-l0',  # a renamed file is not all of its text
    '--full-index', '--binary',   # binary patches are applied by index line
    '--no-relative',
)


@dataclasses.dataclass(frozen=True)
class Commit:
    id: str
    parents: ty.Tuple[str, ...]
    tree: str
    author: str
    mail: str
    date: str
    message: str

    @property
    def key(self) -> str:
        """What it is known by on every release."""
        subject, body = message.tidy(self.message)
        found = patchfile.CHANGE_ID.findall(body.split('\n\n')[-1])
        return found[-1] if found else subject


# By the commit that adds it: what a later one changes of an overlay file.
Late = ty.Dict[str, ty.Tuple[Commit, ty.List[_git.Change]]]


@dataclasses.dataclass(frozen=True)
class Split:
    patches: ty.Tuple[patchfile.Patch, ...]
    trees: ty.Tuple[str, ...]            # with each of them
    overlay: ty.Dict[str, layout.File]


def commits(git: _git.Git, base: str, head: str) -> ty.List[Commit]:
    # %x00 between the fields and -z after the record: a message has no NUL.
    fields = git.fields(
        'log', '-z', '--reverse', '--topo-order', '--date=raw',
        '--no-show-signature', '--encoding=UTF-8',
        '--format=tformat:%H%x00%P%x00%T%x00%an%x00%ae%x00%ad%x00%B',
        f'{base}..{head}')
    return [Commit(fields[n], tuple(fields[n + 1].split()),
                   *fields[n + 2:n + 7])
            for n in range(0, len(fields), 7)]


def diff(store: _git.Git, parent: str, commit: str,
         overlay: ty.Iterable[str]) -> ty.Tuple[patchfile.FileDiff, ...]:
    """What a commit changes beside its overlay files."""
    # Not top-level excludes by glob: a path may hold a star.
    limit = [f':(top,exclude,literal){path}' for path in overlay]
    return patchfile.parse_diff(patchfile.decode(store.out(
        'diff-tree', *DIFF, parent, commit, '--', *limit)))


class Splitter:

    def __init__(self, store: _git.Git, repo: layout.Repo,
                 carried: ty.Dict[str, ty.Set[str]],
                 carry: ty.Collection[str], root: str):
        self.store = store
        self.repo = repo
        self.roots = repo.project.overlay_roots
        self.carried = carried        # by Change-Id, from the old patches
        self.carry = set(carry)       # asked for by name
        self.added: ty.Set[str] = set()
        self.root = root              # the base, as the developer types it
        self.problems: ty.List[errors.SeriesError] = []
        self.is_late = False          # one has to move lines to another

    def split(self, base: str, head: str) -> Split:
        owner: ty.Dict[str, Commit] = {}
        patches: ty.List[patchfile.Patch] = []
        blobs: ty.Dict[str, _git.Change] = {}
        found = commits(self.store, base, head)
        parent = base
        with _git.Reader(self.store) as self.reader:
            for commit in found:
                if commit.parents != (parent,):
                    raise errors.refused(
                        f'{_name(commit)} is a merge, or does not stand in '
                        f'one line on the base',
                        f'git rebase {self.root}, in the tree')
                patches.append(self.commit(commit, owner, blobs,
                                           commit.id == head))
                parent = commit.id
            overlay = {path: layout.File(self.reader.read(change.blob) or b'',
                                         change.mode == '100755')
                       for path, change in blobs.items()}
        for path in sorted(self.carry - self.added):
            self.problem(f'--carry {path}: no commit adds that file',
                         f'git diff --name-only --diff-filter=A {self.root}, '
                         f'in the tree, lists those that are new')
        by_name: ty.Dict[str, str] = {}
        for patch in patches:
            for key in (patch.file_name, patch.change_id or ''):
                if key in by_name:
                    self.problem(
                        f'"{patch.subject}" and "{by_name[key]}" have the '
                        f'same {"subject" if "." in key else "Change-Id"} '
                        f'({key})', f'git rebase -i {self.root}: reword one')
                by_name[key] = patch.subject
        return Split(tuple(patches), tuple(one.tree for one in found), overlay)

    def problem(self, text: str, *next: str) -> None:
        self.problems.append(errors.findings(text, next))

    def commit(self, commit: Commit, owner: ty.Dict[str, Commit],
               blobs: ty.Dict[str, _git.Change],
               is_last: bool) -> patchfile.Patch:
        parent = commit.parents[0]
        subject, body = message.tidy(commit.message)
        body = message.with_change_id(
            body, '\n'.join([commit.tree, parent, commit.author, commit.date,
                             commit.message]))
        patch = patchfile.Patch(commit.author, commit.mail, commit.date,
                                subject, body, (), ())
        carried = self.carried.get(patch.change_id or '', set()) | self.carry
        changes = self.store.changed(parent, commit.id, '--find-renames=50%',
                                     '-l0')
        overlay = []
        late: Late = {}
        if not changes:
            self.problem(f'{_name(commit)} changes nothing',
                         f'git rebase -i {self.root}: drop it')
        for change in changes:
            if change.status == 'A':
                self.added.add(change.path)
            first = owner.get(change.before) or owner.get(change.path)
            if first:
                late.setdefault(first.id, (first, []))[1].append(change)
                continue
            if change.status == 'D':
                self.problem(
                    f'{_name(commit)} deletes {change.path}: its whole text '
                    f'would be in our patch',
                    'keep the file and change what uses it, or leave it '
                    'without effect by a small hook')
            elif change.mode == '160000':
                self.problem(f'{_name(commit)} adds a submodule at '
                             f'{change.path}')
            elif (change.status == 'A' and change.path not in carried and
                  self.roots):
                if not self.repo.in_overlay(change.path):
                    self.problem(
                        f'{_name(commit)} adds {change.path}, which is under '
                        f'no overlay root '
                        f'({" ".join(self.roots)})',
                        'keep it in the patch with: export --carry '
                        f'{change.path}')
                elif change.mode not in ('100644', '100755'):
                    self.problem(
                        f'{_name(commit)} adds {change.path}, which is no '
                        f'plain file',
                        'keep it in the patch with: export --carry '
                        f'{change.path}')
                else:
                    overlay.append(change.path)
                    owner[change.path] = commit
                    blobs[change.path] = change
            if change.status == 'A':
                self.shippable(commit, change)
        if late and not self.is_late:     # the ids of a second one change
            self.is_late = True
            self.later(commit, late, is_last, len(changes))
        patch = dataclasses.replace(
            patch, overlay=tuple(sorted(overlay)),
            files=diff(self.store, parent, commit.id, overlay))
        lost = message.dishonest(self.store, patch, commit.message)
        if message.WAITING.match(patch.subject):
            self.problem(f'{_name(commit)} waits to be folded into another '
                         f'commit', f'git rebase -i --autosquash {self.root}')
        elif lost:
            self.problem(f'{_name(commit)}: {lost}',
                         f'git rebase -i {self.root}: reword it')
        return patch

    def shippable(self, commit: Commit, change: _git.Change) -> None:
        if change.mode not in ('100644', '100755'):
            return
        lost = layout.lost_in_packages(self.reader.read(change.blob) or b'')
        if lost:
            self.problem(
                f'{_name(commit)} adds {change.path}, which {lost}',
                f'give it text (a Python module: a docstring), git commit '
                f'--fixup={commit.id[:10]}, git rebase -i --autosquash '
                f'{self.root}')

    def later(self, commit: Commit, late: Late, is_last: bool,
              changes: int) -> None:
        """An overlay file is added whole by one commit, and stays as it is.

        :param changes: how many files the commit changes
        """
        short = commit.id[:10]
        owned, folds = [], []
        for first, files in late.values():
            changes -= len(files)
            paths = list(dict.fromkeys(
                path for one in files for path in (one.before, one.path)))
            owned.append(f'{", ".join(paths)}, which {_name(first)} adds')
            folds.append(f'git commit --fixup={first.id[:10]} -- '
                         f'{shlex.join(paths)}')
        self.problem(
            f'{_name(commit)} changes {", and ".join(owned)}: a whole file '
            f'belongs to one commit',
            *([] if is_last else [f'git rebase -i {short}^: mark the line of '
                                  f'{short[:7]} "edit"']),
            f'git reset --soft {short}^', *folds,
            *([f'git commit -C {short}: the rest'] if changes else []),
            *([] if is_last else ['git rebase --continue']),
            f'git rebase -i --autosquash {self.root}')


def _name(commit: Commit) -> str:
    return f'commit {commit.id[:10]} "{commit.message.split(chr(10))[0]}"'
