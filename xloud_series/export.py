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

"""Write the commits of the tree back to patches/RELEASE and the overlay.

Commit in the tree first. A new file under nova/, doc/, ... becomes a file of
the overlay; the rest of each commit becomes its patch. Nothing is written
unless what would be written builds the very same files again.
"""

from __future__ import annotations

import typing as ty

from xloud_series import apply as _apply
from xloud_series import errors
from xloud_series import layout
from xloud_series import series as _series
from xloud_series import split as _split
from xloud_series import stack as _stack
from xloud_series import transaction
from xloud_series import tree as _tree
from xloud_series import workspace


def export(work: workspace.Workspace, release: layout.Release,
           carry: ty.Collection[str] = (), check: bool = False) -> ty.Dict:
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
            f'with: python3 -m xloud_series rebase')
    if head == base:
        raise errors.refused(
            f'{release.shown} has no commit above the base: an export would '
            f'empty the series',
            f'git -C {release.shown} reset --hard {_tree.APPLIED}')
    changes, tip = plan(work, release, base, head, carry)
    if not check:
        write(work, release, changes, base, head, tip)
    return {'release': release.name, 'tip': tip, **changed(changes)}


def changed(changes: transaction.Changes) -> ty.Dict:
    return {'changed': sorted(changes),
            'removed': sorted(path for path, file in changes.items()
                              if file is None)}


def plan(work: workspace.Workspace, release: layout.Release, base: str,
         head: str, carry: ty.Collection[str] = (),
         like: ty.Optional[layout.Release] = None,
         extra: ty.Optional[transaction.Changes] = None,
         ) -> ty.Tuple[transaction.Changes, str]:
    """What would change in the repository, and the tip that it then builds.

    `like`: the release whose series is taken as the old one.
    """
    like = like or release
    splitter = _split.Splitter(work.store, work.carried(like), carry,
                               _tree.BASE)
    parts = splitter.split(base, head)
    if splitter.problems:
        raise errors.SeriesErrors(splitter.problems)
    changes = render(work, release, parts, like)
    keep_strangers(work, release, like, changes)
    for path in sorted(set(changes) & set(parts.overlay)):
        for other in work.repo.releases():
            if other.name != release.name and path in work.claims(other):
                workspace.say(f'note: {path} is used by {other.name} as well: '
                              f'try `check {other.name}`')
    changes.update(extra or {})
    # The proof, before anything is written: these files give that tree.
    after = layout.Files(work.repo.root, changes)
    listed = _stack.load(after, release)
    built = _stack.Builder(work.store, work.repo, after).build(
        release, base, listed)
    if work.store.resolve(f'{built.tip}^{{tree}}') != work.store.resolve(
            f'{head}^{{tree}}'):
        raise errors.integrity(
            f'the export of {release.name} does not build the tree that was '
            f'exported; nothing was written',
            'this is a mistake of xloud_series: please report it')
    return changes, built.tip


def keep_strangers(work: workspace.Workspace, release: layout.Release,
                   like: layout.Release,
                   changes: transaction.Changes) -> None:
    """A file that no series knows is somebody's work, not ours to replace."""
    known = {release.series}.union(*(work.claims(r) for r in
                                     work.repo.releases()))
    for owner in (release, like):
        known.update(f'{owner.folder}/{name}'
                     for name in work.names(owner).values())
    for path in sorted(set(changes) - known):
        if work.files.get(path):
            raise errors.refused(
                f'{path} is in the repository but in no series: export would '
                f'overwrite it', f'mv {path} elsewhere, and export again')


def render(work: workspace.Workspace, release: layout.Release,
           parts: _split.Split, like: layout.Release) -> transaction.Changes:
    """The files of these commits, as far as they differ from what is there.
    """
    wanted: transaction.Changes = {}
    names = work.names(like)
    old = work.files.get(like.series)
    order = _series.parse(old.data if old else b'').follow(
        [(patch.file_name, names.get(patch.change_id or ''))
         for patch in parts.patches])
    for name in names.values():
        wanted[f'{release.folder}/{name}'] = None
    others = {path for other in work.repo.releases()
              if other.name != release.name for path in work.claims(other)}
    for path in work.claims(release) - others:
        wanted[path] = None
    wanted[release.series] = layout.File(order.render())
    for patch in parts.patches:
        wanted[f'{release.folder}/{patch.file_name}'] = layout.File(
            patch.render())
    wanted.update(parts.overlay)
    changes: transaction.Changes = {}
    for path, file in wanted.items():
        if work.files.get(path) != file:
            if file and (work.repo.root / path).is_dir():
                raise errors.refused(f'{path} is a folder in the repository, '
                                     f'but a file in the tree')
            changes[path] = file
    return changes


def write(work: workspace.Workspace, release: layout.Release,
          changes: transaction.Changes, base: str, head: str,
          tip: str) -> None:
    tree = work.tree(release)
    tree.take(work.store, {_tree.INCOMING: tip})
    transaction.commit(work.repo, changes, tree,
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
        parts = _split.Splitter(work.store, work.carried(release), (),
                                _tree.BASE).split(base, applied)
        differ = sorted(set(render(work, release, parts, release)))
    if not broken:
        tree.take(work.store, {_tree.INCOMING: stack.tip})
    one = differ[0] if len(differ) == 1 else release.folder
    raise errors.refused(
        f'the repository is not what {release.shown} was made from: export '
        f'would overwrite {", ".join(differ) or release.upstream}',
        (f'drop the repository\'s side: git checkout -- {one}',
         *(_apply.follow(release) if not broken else ())),
        detail='\n'.join(problem.text for problem in broken))
