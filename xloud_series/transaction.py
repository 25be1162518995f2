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

"""Many files and a tree's branch change together, or none of them.

The new content is written aside in build/.cache; renaming that folder is the
moment of the commit. From then on any verb that starts carries it through,
however often it is killed: each step may be done twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
import shutil
import typing as ty

from xloud_series import errors
from xloud_series import layout
from xloud_series import tree as _tree

Changes = ty.Dict[str, ty.Optional[layout.File]]


def commit(files: layout.Files, changes: Changes, tree: _tree.Tree,
           refs: ty.Dict[str, str]) -> None:
    """Write the changes, unless somebody else has written one of them.

    :param files: what the changes were made from
    :param refs: base, head (where the tree is now) and tip (its new place)
    """
    repo = files.repo
    aside = repo.cache / 'export.new'
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir()
    before = layout.Files(repo)
    steps = []
    for number, (path, file) in enumerate(sorted(changes.items())):
        found = before.get(path)
        if found not in (files.first.get(path), file):
            raise errors.refused(
                f'{path} was edited while this ran; nothing was written',
                'run this again')
        step = {'path': path, 'before': _print(found),
                'after': _print(file)}
        if file:
            step['staged'] = f'{number:04}'
            step['executable'] = file.executable
            _write(aside / step['staged'], file.data)
        steps.append(step)
    journal = {'release': tree.release.name, 'refs': refs, 'steps': steps}
    _write(aside / 'journal.json', json.dumps(journal, indent=1).encode())
    _sync(aside)
    os.replace(aside, _journal(repo))
    _sync(repo.cache)
    resume(repo)


def resume(repo: layout.Repo) -> ty.List[str]:
    """Finish an export that was killed; the paths that it wrote."""
    folder = _journal(repo)
    if not (folder / 'journal.json').exists():
        shutil.rmtree(folder, ignore_errors=True)
        return []
    journal = json.loads((folder / 'journal.json').read_text())
    files = layout.Files(repo)
    for step in journal['steps']:
        if _print(files.get(step['path'])) not in (step['before'],
                                                   step['after']):
            shown = folder.relative_to(repo.root)
            raise errors.refused(
                f'{step["path"]} was edited after an export was interrupted',
                (f'git checkout -- {step["path"]}, and run this again',
                 f'or give that export up: rm -r {shown}'))
    for step in journal['steps']:
        target = repo.root / step['path']
        if step['after'] is None:
            target.unlink(missing_ok=True)
            _prune(target.parent, repo.root)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f'.{target.name}.xloud-new')
        _write(fresh, (folder / step['staged']).read_bytes())
        mode = target.stat().st_mode if target.exists() else (
            fresh.stat().st_mode)
        os.chmod(fresh, mode | 0o100 | (mode & 0o444) >> 2
                 if step['executable'] else mode & ~0o111)
        os.replace(fresh, target)
    _finish_tree(_tree.Tree(layout.Release(repo, journal['release'])),
                 journal['refs'])
    (folder / 'journal.json').unlink()
    shutil.rmtree(folder)
    return [step['path'] for step in journal['steps']]


def _finish_tree(tree: _tree.Tree, refs: ty.Dict[str, str]) -> None:
    """The canonical ids have the same files, so only refs move."""
    if not tree.exists:
        return
    if tree.head == refs['head']:
        tree.git.out('update-ref', '-m', 'xloud_series: exported',
                     tree.release.branch, refs['tip'])
        tree.git.out('symbolic-ref', '-m', 'xloud_series: exported', 'HEAD',
                     tree.release.branch)
    tree.settle(refs['base'], refs['tip'])
    tree.rebase_state.unlink(missing_ok=True)


def _journal(repo: layout.Repo) -> Path:
    return repo.cache / 'export.journal'


def _print(file: ty.Optional[layout.File]) -> ty.Optional[str]:
    if file is None:
        return None
    return f'{hashlib.sha256(file.data).hexdigest()} {file.mode}'


def _prune(folder: Path, root: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _write(path: Path, data: bytes) -> None:
    with path.open('wb') as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
