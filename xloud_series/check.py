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

"""List all that is wrong with the series, its overrides and the overlay.

Exit 4 if the stack of a release cannot be built from it, 1 if it can but is
not as export would write it: an override that changes nothing, say. Needs no
tree and writes nothing but the cache. With --accept it writes tree.txt of
each release, which says what has to come out, after a merge of two changes
whose result you have looked at.
"""

from __future__ import annotations

import typing as ty

from xloud_series import errors
from xloud_series import export
from xloud_series import layout
from xloud_series import message
from xloud_series import patchfile
from xloud_series import split as _split
from xloud_series import stack as _stack
from xloud_series import tree as _tree
from xloud_series import workspace


def check(work: workspace.Workspace,
          releases: ty.Sequence[layout.Release]) -> ty.List[
              errors.SeriesError]:
    found = strays(work)
    stacks = {}
    for release in releases:
        problems, stack = check_one(work, release)
        found += problems
        if stack and not problems:
            stacks[release] = stack
    found = list({(one.code, one.text): one for one in found}.values())
    if not found:
        found += canonical(work, stacks)
    claimed = export.claims(work, work.files)
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


def strays(work: workspace.Workspace) -> ty.List[errors.SeriesError]:
    """Patches that no release looks up."""
    looked_in = {folder for release in work.repo.releases()
                 for folder in work.files.folders(release)}
    listed = _stack.names(work.files)
    found = []
    for path in work.files.patches():
        folder, _, name = path.rpartition('/')
        if name not in listed:
            found.append(errors.findings(
                f'{path} is not listed in {work.repo.series}',
                'list it or remove it'))
        elif folder not in looked_in:
            found.append(errors.findings(
                f'{path} is looked up by no release: the oldest has no '
                f'overrides', f'git rm {path}, or git mv it to '
                f'{work.repo.patches}'))
    return found


def check_one(work: workspace.Workspace, release: layout.Release) -> ty.Tuple[
        ty.List[errors.SeriesError], ty.Optional[_stack.Stack]]:
    found: ty.List[errors.SeriesError] = []
    listed = _stack.load(work.files, release, found.append)
    seen: ty.Dict[str, str] = {}
    for item in listed:
        # On the others it is looked at where it is written for.
        if item.exact:
            found += look(work, item)
        key = item.patch.change_id
        if key and key in seen:
            found.append(errors.findings(
                f'{item.path} has the same Change-Id as {seen[key]}'))
        seen.setdefault(key or '', item.path)
        found += one_change(work, item)
    try:
        base = work.base(release)
        stack = _stack.Builder(work.store, work.repo, work.files,
                               found.append).build(release, base, listed)
    except errors.SeriesError as exc:
        return found + [exc], None
    return found, stack


def one_change(work: workspace.Workspace,
               item: _stack.Listed) -> ty.Iterator[errors.SeriesError]:
    """An override is another form of the same change, not another one."""
    path = f'{work.repo.patches}/{item.name}'
    shared = work.files.get(path)
    if path == item.path or shared is None or not shared.data.strip():
        return
    try:
        wanted = patchfile.parse(shared.data, path).change_id
    except errors.SeriesError:
        return
    if item.patch.change_id != wanted:
        yield errors.findings(
            f'{item.path} has another Change-Id than {path}',
            f'give it that of {path}: {wanted}')


def look(work: workspace.Workspace,
         item: _stack.Listed) -> ty.Iterator[errors.SeriesError]:
    """What one patch file tells without the others."""
    where, patch = item.path, item.patch
    if not patch.change_id:
        yield errors.findings(f'{where} has no Change-Id',
                              'export writes one')
    if item.name != patch.file_name:
        yield errors.findings(
            f'{where} should be named {patch.file_name}, after its subject',
            'apply, then export: that renames it')
    lost = message.dishonest(work.store, patch)
    if message.WAITING.match(patch.subject):
        yield errors.findings(
            f'{where} waits to be folded into another patch',
            f'in the tree: git rebase -i --autosquash {_tree.BASE}, and '
            f'export')
    elif lost:
        yield errors.findings(
            f'{where}: {lost}',
            f'reword the commit in the tree (git rebase -i {_tree.BASE})')


def canonical(work: workspace.Workspace,
              stacks: ty.Dict[layout.Release, _stack.Stack],
              ) -> ty.List[errors.SeriesError]:
    """Byte for byte what export would write, and no file more."""
    found: ty.List[errors.SeriesError] = []
    # The others have the same commits.
    for release, stack in list(stacks.items())[:1]:
        splitter = _split.Splitter(work.store, work.repo,
                                   work.carried(release), (), _tree.BASE)
        splitter.split(stack.base, stack.tip)
        found += splitter.problems
    if found:
        return found
    changes = export.patches_and_series(
        work, layout.Files(work.repo), _stack.names(work.files), stacks)
    for path, file in sorted(changes.items()):
        if file is None:
            found.append(errors.findings(
                f'{path} is idle: without it the same comes out',
                f'git rm {path}'))
        else:
            found.append(errors.findings(
                f'{path} is not as export writes it',
                f'{work.repo.command} apply && '
                f'{work.repo.command} export'))
    return found


def accept(work: workspace.Workspace,
           releases: ty.Sequence[layout.Release]) -> ty.List[str]:
    """Write what comes out now; the files that changed."""
    written = []
    for release in releases:
        stack = work.build(release, outcome=False)
        data = _stack.render_outcome(_stack.outcome(work.store, stack))
        file = work.files.get(release.outcome)
        if file is None or file.data != data:
            (work.repo.root / release.outcome).write_bytes(data)
            written.append(release.outcome)
    return written
