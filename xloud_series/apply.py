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

"""Make the tree build/PROJECT-RELEASE from base, series and overlay.

The tree is an ordinary git clone on the branch xloud/RELEASE. If it is
there, it is moved to what the repository has now; not if that would lose
uncommitted or unexported work (exit 5).

With --base the series goes onto a git commit instead of the pinned release,
in the tree build/PROJECT-RELEASE-on-base: a distribution's patched tree, or
upstream's branch with the fixes after the release. Where a patch does not fit
there it stops as rebase does; rebase --continue goes on. Nothing of that is
written to the repository.
"""

from __future__ import annotations

import typing as ty

from xloud_series import errors
from xloud_series import layout
from xloud_series import tree as _tree
from xloud_series import workspace


def apply(work: workspace.Workspace, release: layout.Release) -> ty.Dict:
    stack = work.build(release)
    tree = work.tree(release)
    answer = {'release': release.name, 'tree': release.shown,
              'base': stack.base, 'tip': stack.tip,
              'patches': len(stack.steps)}
    if not tree.exists:
        workspace.say(f'making {release.shown}')
        _tree.create(release, work.store, stack.base, stack.tip)
        return {**answer, 'moved': True}
    moved = tree.applied != stack.tip
    if moved:
        tree.take(work.store, {_tree.INCOMING: stack.tip})
    if tree.operation() or tree.dirty() or not tree.on_branch:
        tree.protect('apply would overwrite it')
    if tree.head != stack.tip:
        try:
            tree.protect('apply would overwrite them')
        except errors.SeriesError as exc:
            if moved:
                exc.next = exc.next[1:] + follow(release)
            raise
        tree.move(stack.tip)
    tree.take(work.store, {_tree.BASE: stack.base, _tree.APPLIED: stack.tip})
    return {**answer, 'moved': moved}


def follow(release: layout.Release) -> ty.Tuple[str, ...]:
    """The repository moved as well: how one's commits go on top of it."""
    git = f'git -C {release.shown}'
    return (
        f'keep, on top of what the repository has now: {git} rebase --onto '
        f'{_tree.INCOMING} {_tree.APPLIED}',
        f'then {git} update-ref {_tree.APPLIED} {_tree.INCOMING}, then '
        f'{release.repo.command} export {release.name}')
