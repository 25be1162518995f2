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

"""Write the commits of the tree back to patches/ and the overlay.

Commit in the tree first. A new file under nova/, doc/, ... becomes a file of
the overlay; the rest of each commit becomes its patch: the one that this
release looks up, which is the shared one, or an override where there is one.
The other releases get the same change. Where it does not fit one of them it
stops there as rebase does (exit 3), in the tree of that one; rebase --continue
goes on. Nothing is written unless what would be written builds the
very same files again, on each release.

With --only a change is for this release alone: its patch becomes an override.
A file of the overlay is the same on all releases.
"""

from __future__ import annotations

import typing as ty

from xloud_series import apply as _apply
from xloud_series import carry as _carry
from xloud_series import errors
from xloud_series import folders
from xloud_series import layout
from xloud_series import split as _split
from xloud_series import stack as _stack
from xloud_series import transaction
from xloud_series import tree as _tree
from xloud_series import workspace


def export(work: workspace.Workspace, release: layout.Release,
           carry: ty.Collection[str] = (), check: bool = False,
           only: bool = False) -> ty.Dict:
    tree = work.need_tree(release)
    if tree.operation() or tree.dirty() or not tree.on_branch:
        tree.protect('export takes what is committed on the branch')
    base = work.base(release)
    tree.give(work.store)
    head = ty.cast(str, tree.head)
    refuse_overwrite(work, release, tree, base)
    if not work.store.ok('merge-base', '--is-ancestor', base, head):
        raise errors.refused(
            f'{release.shown}: HEAD does not stand on the base of '
            f'{release.upstream}',
            f'git -C {release.shown} rebase {_tree.BASE}, or to another base '
            f'with: {work.repo.command} rebase')
    if head == base:
        raise errors.refused(
            f'{release.shown} has no commit above the base: an export would '
            f'empty the series',
            f'git -C {release.shown} reset --hard {_tree.APPLIED}')
    try:
        changes, tip = plan(work, release, base, head, carry,
                            follow=not only)
    except _carry.Stopped as stopped:
        if not check:
            raise
        raise errors.findings(stopped.text + ' with this change',
                              f'{work.repo.command} export '
                              f'{release.name}')
    if not check:
        write(work, release, changes, base, head, tip)
        for ref in work.answers:          # they are not for another one
            work.store.out('update-ref', '-d', ref)
    return {'release': release.name, 'tree': release.shown, 'tip': tip,
            **changed(changes)}


def changed(changes: transaction.Changes) -> ty.Dict:
    return {'changed': sorted(changes),
            'removed': sorted(path for path, file in changes.items()
                              if file is None)}


def plan(work: workspace.Workspace, release: layout.Release, base: str,
         head: str, carry: ty.Collection[str] = (), follow: bool = False,
         like: ty.Optional[layout.Release] = None,
         extra: ty.Optional[transaction.Changes] = None,
         ) -> ty.Tuple[transaction.Changes, str]:
    """What would change in the repository, and the tip that it then builds.

    :param follow: the other releases get what this one changed; else they
                   stay as they are
    :param like: the release whose series is taken as the old one
    """
    like = like or release
    splitter = _split.Splitter(work.store, work.repo, work.carried(like),
                               carry, _tree.BASE)
    parts = splitter.split(base, head)
    if splitter.problems:
        raise errors.SeriesErrors(splitter.problems)
    mine = stack_of(work, base, parts)
    start = layout.Files(work.repo, dict(extra or {}))
    overlay(work, release, parts, start)
    others = [other for other in work.repo.releases()
              if other.name != release.name]
    stacks: folders.Stacks = {release: mine}
    names = [step.name for step in mine.steps]
    if follow:
        old = work.build(release)
        # Else only how it is written, if so
        if old.tip != mine.tip or any(
                map(_carry.carries, old.steps, mine.steps)):
            for other in others:
                stacks[other] = _carry.Carry(
                    work, start, other, release, old, mine).run(names)
    else:
        names = folders.order(
            [name for name in _stack.names(work.files) if name in names],
            names, names)
        for other in others:
            stacks[other] = work.build(other, like=start)
    changes = patches_and_series(work, start, names, stacks)
    keep_strangers(work, changes)
    prove(work, changes, stacks)
    return changes, mine.tip


def stack_of(work: workspace.Workspace, base: str,
             parts: _split.Split) -> _stack.Stack:
    """These commits with the ids that the repository gives them."""
    steps = []
    parent = base
    for patch, tree in zip(parts.patches, parts.trees):
        parent = _stack.commit(work.store, patch, tree, parent)
        steps.append(_stack.Step(patch.file_name, patch, parent))
    return _stack.Stack(base, tuple(steps))


def overlay(work: workspace.Workspace, release: layout.Release,
            parts: _split.Split, start: layout.Files) -> None:
    """Into `start`: its files as they are in these commits."""
    for path, file in parts.overlay.items():
        if work.files.get(path) != file:
            if (work.repo.root / path).is_dir():
                raise errors.refused(f'{path} is a folder in the repository, '
                                     f'but a file in the tree')
            start.changes[path] = file


def patches_and_series(work: workspace.Workspace, start: layout.Files,
                       order: ty.Sequence[str],
                       stacks: folders.Stacks) -> transaction.Changes:
    """All that differs from what is there, if these are the stacks.

    :param order: of the patches; what it lacks stays where it is
    """
    asked = {release.name for release in stacks}
    known = {item.patch.change_id: item.name
             for release in work.repo.releases()
             for item in work.listed(release)}
    # Of a release that is not asked for the patches stay as they are.
    now: ty.Dict[str, ty.Optional[str]] = {
        item.name: item.name for release in work.repo.releases()
        if release.name not in asked for item in work.listed(release)}
    ids: ty.Dict[ty.Optional[str], str] = {}
    for step in (step for stack in stacks.values() for step in stack.steps):
        now[step.name] = known.get(step.patch.change_id)
        if ids.setdefault(step.patch.change_id, step.name) != step.name:
            raise errors.refused(
                f'{ids[step.patch.change_id]} is called {step.name} on '
                f'another release', 'a patch has one subject on all of them: '
                'reword it back, or export without --only')
    names = folders.order(order, _stack.names(work.files), now)
    wanted = folders.files(work.store, start, names, stacks)
    wanted[work.repo.series] = folders.follow(work.files, names, now)
    gone = set(_stack.names(work.files)) - set(names)
    for path in start.patches():
        if path.rpartition('/')[2] in gone:
            wanted[path] = None
    for path in claims(work, work.files) - claims(
            work, layout.Files(work.repo, {**start.changes, **wanted})):
        wanted[path] = None
    for path, file in start.changes.items():
        wanted.setdefault(path, file)
    return {path: file for path, file in wanted.items()
            if work.files.get(path) != file}


def claims(work: workspace.Workspace, files: layout.Files) -> ty.Set[str]:
    """The overlay files of all releases."""
    return {path for name in files.releases()
            for item in _stack.load(files, layout.Release(work.repo, name),
                                    lambda problem: None)
            for path in item.patch.overlay}


def keep_strangers(work: workspace.Workspace,
                   changes: transaction.Changes) -> None:
    """A file that no series knows is somebody's work, not ours to replace."""
    names = set(_stack.names(work.files))
    known = claims(work, work.files)
    for path in sorted(changes):
        ours = path in known or path.startswith(
            f'{work.repo.patches}/') and (
            not path.endswith('.patch') or path.rpartition('/')[2] in names)
        if not ours and work.files.get(path):
            raise errors.refused(
                f'{path} is in the repository but in no series: export would '
                f'overwrite it', f'mv {path} elsewhere, and export again')


def prove(work: workspace.Workspace, changes: transaction.Changes,
          stacks: folders.Stacks) -> None:
    """Before anything is written: these files give those trees."""
    after = layout.Files(work.repo, changes)
    for release, stack in stacks.items():
        built = _stack.Builder(work.store, work.repo, after).build(
            release, stack.base, _stack.load(after, release))
        if built.tip != stack.tip:
            raise errors.integrity(
                f'the export of {release.name} does not build the tree that '
                f'was exported; nothing was written',
                'this is a mistake of xloud_series: please report it')


def write(work: workspace.Workspace, release: layout.Release,
          changes: transaction.Changes, base: str, head: str,
          tip: str) -> None:
    tree = work.tree(release)
    tree.take(work.store, {_tree.INCOMING: tip})
    transaction.commit(work.files, changes, tree,
                       {'base': base, 'head': head, 'tip': tip})


def refuse_overwrite(work: workspace.Workspace, release: layout.Release,
                     tree: _tree.Tree, base: str) -> None:
    """Someone edited or pulled patches and overlay since the last apply."""
    applied = tree.applied
    broken: ty.List[errors.SeriesError] = []
    stack = work.build(release, report=broken.append)
    if applied == stack.tip and not broken:
        return
    differ: ty.List[str] = []
    if applied and work.store.ok('merge-base', '--is-ancestor', base, applied):
        parts = _split.Splitter(
            work.store, work.repo, work.carried(release), (),
            _tree.BASE).split(base, applied)
        start = layout.Files(work.repo, {})
        overlay(work, release, parts, start)
        stack = stack_of(work, base, parts)
        differ = sorted(patches_and_series(
            work, start, [step.name for step in stack.steps],
            {release: stack}))
    if not broken:
        tree.take(work.store, {_tree.INCOMING: stack.tip})
    one = differ[0] if len(differ) == 1 else work.repo.patches
    raise errors.refused(
        f'the repository is not what {release.shown} was made from: export '
        f'would overwrite {", ".join(differ) or release.upstream}',
        (f'drop the repository\'s side: git checkout -- {one}',
         *([line for problem in broken for line in problem.next] if broken
           else _apply.follow(release))),
        detail='\n'.join(problem.text for problem in broken))
