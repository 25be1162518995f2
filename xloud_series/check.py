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

"""List all that is wrong with a release's series and overlay.

Exit 4 if the stack cannot be built from it, 1 if it can but is not as export
would write it. Needs no tree and writes nothing but the cache.
"""

from __future__ import annotations

import typing as ty

from xloud_series import errors
from xloud_series import export
from xloud_series import layout
from xloud_series import message
from xloud_series import series as _series
from xloud_series import split as _split
from xloud_series import stack as _stack
from xloud_series import tree as _tree
from xloud_series import workspace


def check(work: workspace.Workspace,
          releases: ty.Sequence[layout.Release]) -> ty.List[
              errors.SeriesError]:
    found: ty.List[errors.SeriesError] = []
    for release in releases:
        found += check_one(work, release)
    claimed: ty.Set[str] = set().union(
        *(work.claims(release) for release in work.repo.releases()))
    for path in work.files.overlay():
        if path not in claimed:
            found.append(errors.findings(
                f'{path} is in the overlay, but no patch claims it',
                ('add it to a commit in the tree and export, or remove it',)))
            continue
        file = work.files.get(path)
        if file is None:
            found.append(errors.integrity(f'{path} is no plain file'))
            continue
        lost = layout.lost_in_packages(file.data)
        if lost:
            found.append(errors.findings(
                f'{path} {lost}', 'give it text (a Python module: a '
                'docstring), apply and export'))
    return found


def check_one(work: workspace.Workspace,
              release: layout.Release) -> ty.List[errors.SeriesError]:
    found: ty.List[errors.SeriesError] = []
    listed = _stack.load(work.files, release, found.append)
    for name in unlisted(work, release):
        found.append(errors.findings(
            f'{release.folder}/{name} is not listed in {release.series}',
            'list it or remove it'))
    seen: ty.Dict[str, str] = {}
    for item in listed:
        where = f'{release.folder}/{item.name}'
        found += look(work, where, item)
        key = item.patch.change_id
        if key and key in seen:
            found.append(errors.findings(
                f'{where} has the same Change-Id as {seen[key]}'))
        seen.setdefault(key or '', where)
    try:
        base = work.base(release)
        stack = _stack.Builder(work.store, work.repo, work.files,
                               found.append).build(release, base, listed)
    except errors.SeriesError as exc:
        return found + [exc]
    if not found:
        found += canonical(work, release, stack)
    return found


def unlisted(work: workspace.Workspace,
             release: layout.Release) -> ty.List[str]:
    file = work.files.get(release.series)
    names = _series.parse(file.data).names if file else []
    return [n for n in work.files.patches(release) if n not in names]


def look(work: workspace.Workspace, where: str,
         item: _stack.Listed) -> ty.Iterator[errors.SeriesError]:
    """What one patch file tells without the others."""
    patch = item.patch
    if not patch.change_id:
        yield errors.findings(f'{where} has no Change-Id',
                              'export writes one')
    if item.name != patch.file_name:
        yield errors.findings(
            f'{where} should be named {patch.file_name}, after its subject',
            'apply, then export: that renames it')
    lost = message.dishonest(work.store, patch)
    if lost:
        yield errors.findings(
            f'{where}: {lost}',
            f'reword the commit in the tree (git rebase -i {_tree.BASE})')


def canonical(work: workspace.Workspace, release: layout.Release,
              stack: _stack.Stack) -> ty.List[errors.SeriesError]:
    """Byte for byte what export would write."""
    splitter = _split.Splitter(work.store, work.carried(release), (),
                               _tree.BASE)
    parts = splitter.split(stack.base, stack.tip)
    if splitter.problems:
        return splitter.problems
    return [errors.findings(
        f'{path} is not as export writes it',
        f'python3 -m xloud_series apply {release.name} && '
        f'python3 -m xloud_series export {release.name}')
        for path in sorted(export.render(work, release, parts, release))]
