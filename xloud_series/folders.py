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
"""Which files in patches/ give each release its stack, and no file more.

What is shared is written for the oldest release. A later one has an override
only where the nearest older patch of that name does not make the very commit
that is wanted, and an empty one where it is to be without.
"""

from __future__ import annotations

import dataclasses
import typing as ty

from xloud_series import errors
from xloud_series import git as _git
from xloud_series import layout
from xloud_series import patchfile
from xloud_series import series as _series
from xloud_series import split as _split
from xloud_series import stack as _stack

Changes = ty.Dict[str, ty.Optional[layout.File]]
Stacks = ty.Dict[layout.Release, _stack.Stack]
# What a patch is besides its diff.
ABOUT = ('author', 'mail', 'date', 'subject', 'body', 'overlay')


def order(wanted: ty.Sequence[str], before: ty.Sequence[str],
          kept: ty.Collection[str]) -> ty.List[str]:
    """`wanted`, and what only other releases have, after its old neighbour.
    """
    found = list(wanted)
    last = ''
    for name in before:
        if name in kept and name not in found:
            found.insert(found.index(last) + 1 if last else 0, name)
        if name in found:
            last = name
    return found


def files(store: _git.Git, start: layout.Files, names: ty.Sequence[str],
          stacks: Stacks) -> Changes:
    """What patches/ needs for these stacks, beside the series itself.

    :param start: the repository with what is decided already; what it has
                  for the releases that have no stack here stays.
    """
    after = layout.Files(start.repo, dict(start.changes))
    wanted: Changes = {}
    with _git.Reader(store) as reader:
        for release in sorted(stacks, key=lambda one: layout.age(one.name)):
            stack = stacks[release]
            home, *others = after.folders(release)
            steps = {step.name: (step, parent) for step, parent in zip(
                stack.steps, (stack.base, *(s.commit for s in stack.steps)))}
            in_order(release, stack, names)
            for name in names:
                near = next((after.get(f'{folder}/{name}')
                             for folder in others
                             if after.get(f'{folder}/{name}')), None)
                path = f'{home}/{name}'
                wanted[path] = after.changes[path] = one(
                    store, reader, near, not others, *steps.get(
                        name, (None, '')))
            wanted[release.outcome] = layout.File(_stack.render_outcome(
                _stack.outcome(store, stack)))
    return wanted


def in_order(release: layout.Release, stack: _stack.Stack,
             names: ty.Sequence[str]) -> None:
    places = [names.index(step.name) for step in stack.steps]
    if places != sorted(places):
        raise errors.refused(
            f'the patches of {release.name} have another order than those of '
            f'the others: {release.repo.series} is for all',
            f'bring them in that order: git rebase -i, in {release.shown}; '
            f'or export without --only, which brings yours to the others')


def one(store: _git.Git, reader: _git.Reader,
        near: ty.Optional[layout.File], oldest: bool,
        step: ty.Optional[_stack.Step],
        parent: str) -> ty.Optional[layout.File]:
    """The file that this step needs in its release's own folder."""
    empty = near is None or not near.data.strip()
    if step is None:
        return layout.File(b'') if oldest or not empty else None
    if not empty:
        patch = patchfile.parse(ty.cast(layout.File, near).data, step.name)
        if makes(reader, patch, step, parent):
            return None
    return layout.File(dataclasses.replace(
        step.patch, files=_split.diff(
            store, parent, step.commit, step.patch.overlay)).render())


def makes(reader: _git.Reader, patch: patchfile.Patch, step: _stack.Step,
          parent: str) -> bool:
    """Does this patch, written for another release, make that commit?"""
    mine = step.patch
    if any(getattr(patch, name) != getattr(mine, name) for name in ABOUT):
        return False
    ours = {diff.path: diff for diff in mine.files}
    if len(ours) != len(patch.files):
        return False
    for diff in patch.files:
        if diff.path not in ours or diff.head != ours[diff.path].head:
            return False
        if not _same_text(reader, diff, step, parent):
            return False
    return True


def _same_text(reader: _git.Reader, diff: patchfile.FileDiff,
               step: _stack.Step, parent: str) -> bool:
    old = reader.read(f'{parent}:{diff.old}') if diff.old else b''
    new = reader.read(f'{step.commit}:{diff.new}') if diff.new else b''
    if old is None or new is None:
        return False
    text = patchfile.decode(old)
    if diff.old:
        diff, misfits = patchfile.placed(diff, text)
        if misfits:
            return False
    return patchfile.applied(diff, text) == patchfile.decode(new)


def follow(start: layout.Files, names: ty.Sequence[str],
           old_names: ty.Dict[str, ty.Optional[str]]) -> layout.File:
    """The series in this order, with its owner's comments.

    :param old_names: by name, how the patch was called before
    """
    old = start.get(start.repo.series)
    return layout.File(_series.parse(old.data if old else b'').follow(
        [(name, old_names.get(name)) for name in names]).render())
