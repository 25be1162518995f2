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

"""Say where each release stands, and what to type next."""

from __future__ import annotations

import typing as ty

from xloud_series import errors
from xloud_series import layout
from xloud_series import rebase as _rebase
from xloud_series import tree as _tree
from xloud_series import upstream
from xloud_series import workspace


def status(work: workspace.Workspace,
           releases: ty.Sequence[layout.Release]) -> ty.List[ty.Dict]:
    names = {release.name for release in releases}
    rows = [status_one(work, release) for release in releases]
    if names == {release.name for release in work.repo.releases()}:
        for name in work.repo.trees():
            if name not in names:
                release = layout.Release(work.repo, name)
                if release.being_made:
                    rows.append(status_one(work, release))
    return rows


def rebasing(tree: _tree.Tree) -> ty.Dict:
    state = _rebase.State.load(tree)
    at = f' at {state.current[0]}' if state.current else ''
    command = tree.release.repo.command
    done = len(state.every) - len(state.todo) - bool(state.current)
    if state.export is not None:
        return {'tree': f'a change of {state.release} is being brought to '
                f'{tree.release.name}{at}', 'work': [], 'next':
                f'{command} rebase --continue {tree.release.name}'}
    return {'tree': f'rebase of {state.release} to {state.pin.split()[0]} in '
            f'progress{at}, {done} of {len(state.every)} done',
            'work': [], 'next':
            f'{command} rebase --continue {tree.release.name}'}


def status_one(work: workspace.Workspace,
               release: layout.Release) -> ty.Dict:
    if release.being_made:
        return {'release': release.name, 'base': None, 'patches': 0,
                **rebasing(_tree.Tree(release))}
    row: ty.Dict = {'release': release.name,
                    'base': str(upstream.pin_of(release)).split()[0],
                    'patches': len(work.listed(release))}
    tree = work.tree(release)
    verb = f'{work.repo.command} %s {release.name}'
    if not tree.exists:
        return {**row, 'tree': 'none', 'work': [], 'next': verb % 'apply'}
    if tree.rebase_state.exists():
        return {**row, **rebasing(tree)}
    try:
        tip = work.build(release).tip
    except errors.SeriesError as exc:
        return {**row, 'tree': f'not known: {exc.text}', 'work': [],
                'next': verb % 'check'}
    operation = tree.operation()
    if operation:
        return {**row, 'tree': f'{operation} in progress', 'work': [],
                'next': f'git -C {release.shown} status'}
    dirty, ahead = tree.dirty(), tree.unexported()
    moved = tip != tree.applied and tip != tree.head
    if dirty:
        state, step = 'dirty', f'git -C {release.shown} commit'
    elif not tree.on_branch:
        state, step = 'not on its branch', tree.back()[0]
    elif ahead and moved:
        state, step = 'diverged', verb % 'apply'
    elif ahead and tip != tree.head:
        state, step = f'ahead {len(ahead)}', verb % 'export'
    elif moved:
        state, step = 'repo moved', verb % 'apply'
    else:
        state, step = 'clean', ''
    return {**row, 'tree': state, 'work': dirty + ahead, 'next': step}
