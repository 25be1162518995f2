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
"""Write the series as complete patches, for a package or another tree.

The patches of the repository leave out the text of their new files, which are
in the overlay: `git am` and quilt would stop at the second one. Here each
patch is whole. They go to build/dist/patches-RELEASE, or for another project
than Nova to build/dist/PROJECT-patches-RELEASE, numbered, with a `series` for
quilt; `git am`, `quilt push` and `patch -p1 -F0 -E` take them.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
import shutil
import tempfile
import typing as ty

from xloud_series import errors
from xloud_series import git as _git
from xloud_series import layout
from xloud_series import patchfile
from xloud_series import split as _split
from xloud_series import stack as _stack
from xloud_series import workspace

# patch and quilt know no renames.
DIFF = tuple(flag for flag in _split.DIFF
             if not flag.startswith('--find-renames')) + ('--no-renames',)


def write(work: workspace.Workspace, release: layout.Release) -> ty.Dict:
    stack = work.build(release)
    found = complete(work.store, stack)
    prove(work.store, stack, found)
    shown = work.repo.complete(release.name)
    target = work.repo.root / shown
    fresh = target.with_name(f'.{target.name}.new')
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    series = ''.join(f'{name}\n' for name in found).encode()
    for name, data in {**found, 'series': series}.items():
        (fresh / name).write_bytes(data)
        (fresh / name).chmod(0o644)
    fresh.chmod(0o755)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(fresh, target)
    return {'release': release.name, 'folder': shown, 'patches': len(found)}


def complete(store: _git.Git, stack: _stack.Stack) -> ty.Dict[str, bytes]:
    """By file name, in order."""
    found: ty.Dict[str, bytes] = {}
    parent = stack.base
    with _git.Reader(store) as reader:
        for number, step in enumerate(stack.steps, 1):
            refuse_lost(store, reader, step, parent)
            diff = store.out('diff-tree', *DIFF, parent, step.commit)
            patch = dataclasses.replace(
                step.patch, overlay=(),
                files=patchfile.parse_diff(patchfile.decode(diff)))
            found[f'{number:04}-{patch.file_name}'] = patch.render()
            parent = step.commit
    return found


def refuse_lost(store: _git.Git, reader: _git.Reader, step: _stack.Step,
                parent: str) -> None:
    for change in store.changed(parent, step.commit, '--no-renames'):
        if change.status == 'D':
            continue
        lost = 'is no plain file'
        if change.mode.startswith('100'):
            lost = layout.lost_in_packages(reader.read(change.blob) or b'')
        if lost:
            raise errors.findings(
                f'{step.name}: {change.path} {lost}',
                'change that in the tree and export')


def prove(store: _git.Git, stack: _stack.Stack,
          found: ty.Dict[str, bytes]) -> None:
    """Each makes the very tree of its commit, with nothing but git apply."""
    with tempfile.TemporaryDirectory() as folder:
        index = _git.Git(store.git_dir, index=Path(folder, 'index'))
        index.out('read-tree', stack.base)
        for step, (name, data) in zip(stack.steps, found.items()):
            index.out('apply', '--cached', '--whitespace=nowarn', '-p1',
                      stdin=data)
            if index.line('write-tree') != store.resolve(
                    f'{step.commit}^{{tree}}'):
                raise errors.integrity(
                    f'{name} does not make the tree of its commit',
                    'this is a mistake of xloud_series: please report it')
