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
"""A base that is no pinned release: a git commit that somebody has.

A distribution's patched tree, upstream's branch with the fixes after the
release, a change under review. Only its files are taken, not its history, and
the base's id follows from the commit alone.
"""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import tempfile
import typing as ty

from xloud_series import errors
from xloud_series import git as _git
from xloud_series import layout
from xloud_series import workspace

# The sdist has them and git has not; pbr reads the version from the first.
FROM_SDIST = ('PKG-INFO', 'AUTHORS', 'ChangeLog')
# What a caller's environment would make of a git that is told where it is.
PRIVATE = ('GIT_DIR', 'GIT_WORK_TREE', 'GIT_INDEX_FILE', 'GIT_PREFIX',
           'GIT_OBJECT_DIRECTORY', 'GIT_ALTERNATE_OBJECT_DIRECTORIES')


def base(work: workspace.Workspace, release: layout.Release,
         spec: str) -> ty.Tuple[str, str]:
    """The commit to stand on, made of `PATH_OR_URL@COMMIT`; and its name."""
    where, _, commit = spec.rpartition('@')
    if not where or not commit or commit.startswith('-'):
        raise errors.usage(f'--base {spec}: expected PATH_OR_URL@COMMIT')
    pinned = work.base(release)
    name = work.repo.project.name
    with tempfile.TemporaryDirectory(dir=work.repo.scratch) as folder:
        aside = _git.Git(Path(folder))
        aside.out('init', '--quiet', '--bare', '--template=')
        commit = fetch(aside, where, commit)
        date = aside.line('log', '-1', '--format=%ct', commit)
        who = {**_git.identity('AUTHOR', *_git.COMMITTER, f'{date} +0000'),
               **_git.identity('COMMITTER', *_git.COMMITTER, f'{date} +0000')}
        files = aside.line('commit-tree', f'{commit}^{{tree}}', env=who)
        aside.out('update-ref', 'refs/offers/files', files)
        work.store.fetch(aside.git_dir,
                         f'+refs/offers/files:refs/bases/files-{commit}')
        index = _git.Git(work.store.git_dir, index=Path(folder, 'our-index'))
        index.out('read-tree', files)
        have = set(index.fields('ls-files', '-z', '--', *FROM_SDIST))
        for entry in work.store.fields('ls-tree', '-z', pinned, '--',
                                       *FROM_SDIST):
            if entry.partition('\t')[2] not in have:
                index.out('update-index', '-z', '--index-info',
                          stdin=f'{entry}\0'.encode())
        made = index.line(
            'commit-tree', index.line('write-tree'), '-F', '-', env=who,
            stdin=(f'{name} at {commit}\n\n'
                   f'The files of that commit.\n').encode())
    work.store.out('update-ref', f'refs/bases/{commit}', made)
    return made, commit


def fetch(aside: _git.Git, where: str, commit: str) -> str:
    """The full id of a commit that is in `aside` afterwards."""
    if Path(where).is_dir():
        where = str(Path(where).resolve())
        # An abbreviated id can be asked for only where one has the folder.
        local = subprocess.run(
            ['git', '-C', where, 'rev-parse', '--verify', '--quiet',
             '--end-of-options', f'{commit}^{{commit}}'], text=True,
            env=_environment(), stdout=subprocess.PIPE)
        commit = local.stdout.strip() or commit
    # As pip, git knows the site's mirror, proxy and credentials: with the
    # caller's own configuration, and only here.
    done = subprocess.run(
        ['git', '-C', str(aside.git_dir), '-c', 'protocol.version=2',
         'fetch', '--quiet', '--depth=1', '--no-tags', where,
         f'+{commit}:refs/offers/wanted'], env=_environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = aside.resolve('refs/offers/wanted^{commit}')
    if done.returncode or not found:
        raise errors.integrity(
            f'cannot fetch {commit} from {where}',
            'give the full id, or the name of a branch or tag, of a commit '
            'that is there', detail=done.stdout.strip())
    return found


def _environment() -> ty.Dict[str, str]:
    return {**{key: value for key, value in os.environ.items()
               if key not in PRIVATE}, 'GIT_TERMINAL_PROMPT': '0'}
