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
"""Bring what was changed on one release to another.

Each patch that did not change is applied there as before. One that did is
first tried as it is; if the other release has its own form of it, what changed
is merged into that form. Every merge is git's, and where git stops a person
goes on: what was resolved is kept, and the export is run again.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from pathlib import Path
import tempfile
import typing as ty

from xloud_series import errors
from xloud_series import layout
from xloud_series import patchfile
from xloud_series import scratch as _scratch
from xloud_series import split as _split
from xloud_series import stack as _stack
from xloud_series import workspace

# In the store, so that git keeps them.
CARRIED = 'refs/carried'
RESOLVED = 'refs/resolved/carried'


class Stopped(errors.SeriesError):
    """A person has to bring a change to this release: see rebase.stop."""

    def __init__(self, release: layout.Release, step: _stack.Step,
                 old: _stack.Stack, new: _stack.Stack, parent: str,
                 picks: ty.Tuple[str, ...], slot: str):
        super().__init__(errors.Exit.CONFLICT,
                         f'{step.name} does not fit {release.name}')
        self.release = release
        self.step = step              # as it is where it was changed
        self.old = old                # the release's own stack
        self.new = new                # that of the release with the change
        self.parent = parent          # what it has to go on top of
        self.picks = picks            # commits that conflict, in this order
        self.slot = slot              # the ref for what is resolved


class Carry:

    def __init__(self, work: workspace.Workspace, files: layout.Files,
                 release: layout.Release, source: layout.Release,
                 before: _stack.Stack, after: _stack.Stack):
        """:param files: the repository with the changed overlay
        :param before: the stack of `source` as it was, and as it is `after`
        """
        self.work = work
        self.store = work.store
        self.release = release
        self.source = source
        self.after = after
        self.problems: ty.List[errors.SeriesError] = []
        self.builder = _stack.Builder(work.store, work.repo, files,
                                      self.problems.append)
        self.old = work.build(release)
        self.was = {_key(step): step for step in before.steps}
        self.mine = {_key(step): step for step in self.old.steps}
        self.path = {_key(item): item.path for item in work.listed(release)}
        self.there = {_key(item): item.path for item in work.listed(source)}
        self.base = {step.commit: parent for stack in (before, after, self.old)
                     for step, parent in zip(stack.steps, (
                         stack.base, *(s.commit for s in stack.steps)))}

    def run(self, names: ty.Sequence[str]) -> _stack.Stack:
        workspace.say(f'bringing the change to {self.release.name}')
        todo = self.todo()
        with self.builder.standing_on(self.release, self.old.base), \
                tempfile.TemporaryDirectory(
                    dir=self.work.repo.scratch) as folder:
            self.folder = Path(folder)
            self.scratch: ty.Optional[_scratch.Scratch] = None
            for key, step in todo:
                self.one(key, step)
        self.builder.save()
        return self.builder.stack

    def todo(self) -> ty.List[ty.Tuple[str, _stack.Step]]:
        """In the order of the source; what only we have keeps its place."""
        found = []
        for step in self.after.steps:
            key = _key(step)
            if key in self.mine or key not in self.was:
                found.append((key, step))
            elif _edits(step) != _edits(self.was[key]):
                # A person decided that, but not of what is in it now.
                workspace.say(f'{self.release.name} stays without '
                              f'{step.name}, which has changed')
        last = ''
        for key, step in self.mine.items():
            if key not in self.was and key not in dict(found):
                keys = [one for one, _ in found]
                found.insert(keys.index(last) + 1 if last in keys else 0,
                             (key, step))
            last = key
        return found

    def one(self, key: str, step: _stack.Step) -> None:
        mine = self.mine.get(key)
        # Both look up one patch, so what is written anew fits here as well.
        shared = self.path.get(key) == self.there.get(key)
        if mine and (key not in self.was or self.unchanged(key, step) and not (
                shared and carries(self.was[key], step))):
            if not self.attempt(mine.name, mine.patch):
                self.merge(mine, (mine.commit,))
            return
        folded = self.folded(key, step)
        if folded:
            forms = [one.commit for name, one in self.mine.items()
                     if name == key or name in folded]
            self.merge(step, (*forms, step.commit), [])
            return
        if shared and self.attempt(step.name, step.patch):
            return
        if mine is None:
            self.merge(step, (step.commit,))
            return
        was = self.was[key]
        changed = self.changed(was, step)
        ways = []
        if changed:
            ways.append((mine.commit, changed))
        if shared or _edits(mine) == _edits(was):
            # It is not another form, only among other lines.
            ways.append((step.commit,))
        self.merge(step, (mine.commit, changed or step.commit), ways)

    def folded(self, key: str, step: _stack.Step) -> ty.Set[str]:
        """The patches that are a part of this one now and that this release
        has in another form, or is without: only a person can fold that.
        """
        after = {_key(one) for one in self.after.steps}
        new = _lines(step)
        if key in self.was:
            new -= _lines(self.was[key])
        return {gone for gone, was in self.was.items()
                if gone not in after and new & _lines(was) and (
                    gone not in self.mine or
                    _edits(self.mine[gone]) != _edits(was))}

    def changed(self, was: _stack.Step,
                step: _stack.Step) -> ty.Optional[str]:
        """A commit of what this patch does now and did not do before.

        It stands on the old patch at its new place: at its old place, what
        was folded into it was there already. None if that does not fit.
        """
        parent, old = self.base[step.commit], was.commit
        if parent != self.base[was.commit]:
            tree = self.pick(parent, (was.commit,))
            if tree is None:
                return None
            old = self.commit(tree, parent)
        return self.commit(f'{step.commit}^{{tree}}', old)

    def commit(self, tree: str, parent: str) -> str:
        return self.store.line('commit-tree', tree, '-p', parent, '-m',
                               'what changed', env=_scratch.NOBODY)

    def unchanged(self, key: str, step: _stack.Step) -> bool:
        """Is it the patch that it was, apart from its place?"""
        was = self.was.get(key)
        if was is None:
            return False
        if was.commit == step.commit:
            return True
        one, two = was.patch, step.patch
        if dataclasses.replace(one, files=()) != dataclasses.replace(
                two, files=()) or len(one.files) != len(two.files):
            return False
        for old, new in zip(one.files, two.files):
            if old.head != new.head or [hunk.lines for hunk in old.hunks] != [
                    hunk.lines for hunk in new.hunks]:
                return False
            if old.old and old.hunks:
                text = patchfile.decode(self.builder.reader.read(
                    f'{self.base[step.commit]}:{old.old}') or b'')
                placed, misfits = patchfile.placed(old, text)
                if misfits or [hunk.old_start for hunk in placed.hunks] != [
                        hunk.old_start for hunk in new.hunks]:
                    return False
        return True

    def attempt(self, name: str, patch: patchfile.Patch) -> bool:
        """Does it apply here, as patches of another release do?"""
        del self.problems[:]
        builder = self.builder
        claimed = dict(builder.claimed)
        if builder.step(_stack.Listed(name, patch, name, False)):
            self.compiles()
            return True
        builder.claimed = claimed
        builder.stale = True
        del self.problems[:]
        return False

    def compiles(self) -> None:
        if self.problems:
            raise errors.SeriesErrors(self.problems)

    def merge(self, step: _stack.Step, picks: ty.Tuple[str, ...],
              ways: ty.Optional[ty.Sequence[ty.Tuple[str, ...]]] = None,
              ) -> None:
        """The first of these ways that git can do.

        :param picks: what a person gets where it can do none
        :param ways: without it, only that; of an empty one, a person has to
                     do it in any case
        """
        if ways is None:
            ways = [picks]
        parent = self.builder.parent
        slot = hashlib.sha256('\n'.join([
            self.store.line('rev-parse', f'{parent}^{{tree}}'),
            patchfile.decode(step.patch.render())]).encode(
                'utf-8', 'surrogateescape')).hexdigest()[:24]
        ref = f'{RESOLVED}/{slot}'
        found = self.store.resolve(f'{ref}^{{tree}}')
        is_resolved = found is not None
        if is_resolved:
            self.work.answers.add(ref)
        found = found or next(filter(None, (
            self.pick(parent, way) for way in ways)), None)
        if found is None:
            raise Stopped(self.release, step, self.old, self.after, parent,
                          picks, ref)
        if found == self.store.resolve(f'{parent}^{{tree}}'):
            workspace.say(f'{self.release.name} is without {step.name}')
            return
        if is_resolved:
            workspace.say(f'{step.name} on {self.release.name}: as it was '
                          f'resolved')
        builder = self.builder
        builder.stale = True
        builder.claim(step.name, step.patch)
        made = builder.commit(_stack.Listed(step.name, step.patch, step.name,
                                            True), step.patch, found)
        builder.take(step.name, dataclasses.replace(
            step.patch, files=_split.diff(
                self.store, parent, made, step.patch.overlay)), made)
        self.compiles()

    def pick(self, parent: str,
             picks: ty.Sequence[str]) -> ty.Optional[str]:
        """The tree that git makes of these, one after another."""
        if self.scratch is None:
            place = self.folder / 'tree'
            place.mkdir()
            self.scratch = _scratch.Scratch(self.store, place, parent)
        git = self.scratch.git
        git.out('checkout', '--quiet', '--force', '--detach', parent)
        for commit in picks:
            if _scratch.cherry_pick(git, commit).code:
                git.run('cherry-pick', '--quit')
                git.out('reset', '--quiet', '--hard', parent)
                return None
        self.store.fetch(self.scratch.folder,
                         f'+HEAD:{CARRIED}/{self.release.name}')
        return self.store.resolve(f'{CARRIED}/{self.release.name}^{{tree}}')


def carries(was: _stack.Step, step: _stack.Step) -> bool:
    """Whether the patch has a file now that was one of the overlay."""
    return was.patch.overlay != step.patch.overlay


def _edits(step: _stack.Step) -> ty.List[str]:
    """The lines that it adds and removes."""
    return [line for diff in step.patch.files for hunk in diff.hunks
            for line in hunk.lines if line[0] in '+-']


def _lines(step: _stack.Step) -> ty.Counter[ty.Tuple[str, str]]:
    """Those of them that say something, each with its file.

    How often counts: hooks in several functions are often the same line.
    """
    return collections.Counter(
        (diff.path, line) for diff in step.patch.files
        for hunk in diff.hunks for line in hunk.lines
        if line[0] in '+-' and any(map(str.isalnum, line)))


def _key(one: ty.Union[_stack.Step, _stack.Listed]) -> str:
    return one.patch.change_id or one.patch.subject
