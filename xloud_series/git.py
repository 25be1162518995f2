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

"""Runs git so that nobody's configuration, hooks or locale can matter.

Outcomes are exit codes and objects; git's English is shown, never read.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
import re
import subprocess
import typing as ty

from xloud_series import errors
from xloud_series import layout

OLDEST = (2, 34)

# Set on the command line because that beats the repository's own file, and
# the developer's tree has one.
SETTINGS = {
    'core.hooksPath': '/dev/null',        # a hook may rewrite or refuse
    'core.fsmonitor': 'false',            # this one is a hook as well
    'core.attributesFile': '/dev/null',   # changes diffs and line ends
    'core.excludesFile': '/dev/null',     # hides files that may be work
    'core.autocrlf': 'false',             # changes bytes
    'core.eol': 'lf',
    'core.safecrlf': 'false',
    'core.fileMode': 'true',              # the x bit is content
    'core.symlinks': 'true',
    'core.ignoreCase': 'false',
    'core.ignoreStat': 'false',           # would not see an edit
    'core.quotePath': 'false',
    'core.commentChar': '#',
    'checkout.workers': '0',              # all cores write a tree
    'commit.gpgSign': 'false',            # a signature is another id
    'commit.cleanup': 'verbatim',         # strips '#' lines of a message
    'i18n.commitEncoding': 'UTF-8',
    'i18n.logOutputEncoding': 'UTF-8',
    'diff.renames': 'true',
    'diff.ignoreSubmodules': 'none',
    'merge.conflictStyle': 'diff3',       # base is shown at a conflict
    'merge.renames': 'true',
    'merge.directoryRenames': 'conflict',
    'merge.renormalize': 'false',
    'rerere.enabled': 'false',            # resolves with old answers
    'protocol.file.allow': 'always',      # tree and store are both local
    'safe.directory': '*',                # a build user may not own the tree
    'gc.auto': '0',                       # not behind the developer's back
    'maintenance.auto': 'false',
    'advice.detachedHead': 'false',
    'color.ui': 'false',
}

# Who "commits" when the tool builds the stack: the same everywhere.
COMMITTER = ('XLoud Series', 'series@xloud.invalid')


@dataclasses.dataclass(frozen=True)
class Result:
    code: int
    out: bytes
    err: str


class GitError(errors.SeriesError):
    def __init__(self, git: Git, args: ty.Sequence[str], result: Result):
        verb = next((a for a in args if not a.startswith('-')), 'git')
        last = (result.err.strip().splitlines() or ['no message'])[-1]
        super().__init__(
            errors.Exit.INTEGRITY,
            f'git {verb} failed ({result.code}): {last}',
            self.advice(git),
            detail=errors.few(result.err) if '\n' in result.err.strip()
            else '')
        self.result = result

    @staticmethod
    def advice(git: Git) -> ty.Sequence[str]:
        if git.work_tree:
            return (f'git -C {git.work_tree} status',
                    'put right what git says, and run this again')
        if git.git_dir.name != layout.STORE:
            return ()
        # Not rm: conflicts that a person has resolved are in it.
        return ('if the disk is full: make room, and run this again',
                f'if the cache is damaged: mv {git.git_dir} elsewhere, and '
                f'run this again')


def environment(**extra: str) -> ty.Dict[str, str]:
    """Nothing of the caller's but PATH: GIT_* variables change diffs too."""
    return {
        'PATH': os.environ.get('PATH', os.defpath),
        'HOME': '/nonexistent',
        'LC_ALL': 'C',
        'TZ': 'UTC',
        'GIT_CONFIG_NOSYSTEM': '1',
        'GIT_CONFIG_GLOBAL': '/dev/null',
        'GIT_ATTR_NOSYSTEM': '1',
        'GIT_NO_REPLACE_OBJECTS': '1',
        'GIT_TERMINAL_PROMPT': '0',
        'GIT_EDITOR': 'true',
        **extra,
    }


def identity(role: str, name: str, mail: str, date: str) -> ty.Dict[str, str]:
    return {f'GIT_{role}_NAME': name, f'GIT_{role}_EMAIL': mail,
            f'GIT_{role}_DATE': f'@{date}'}


def require() -> None:
    try:
        out = subprocess.run(['git', '--version'], env=environment(),
                             stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise errors.usage('git is not there, or does not run',
                           'install git %d.%d or newer' % OLDEST)
    found = re.search(rb'(\d+)\.(\d+)', out)
    version = tuple(int(n) for n in found.groups()) if found else (0, 0)
    if version < OLDEST:
        raise errors.usage(
            'git %d.%d is too old' % version,
            'install git %d.%d or newer' % OLDEST)


class Git:
    """One repository. ``git_dir`` is always given: git must never look
    upwards and find the repository that this one lies in.
    """

    def __init__(
        self, git_dir: Path, work_tree: ty.Optional[Path] = None,
        index: ty.Optional[Path] = None,
    ):
        self.git_dir = Path(git_dir)
        self.work_tree = work_tree
        self.env: ty.Dict[str, str] = {}
        if index:
            self.env['GIT_INDEX_FILE'] = str(index)

    def command(self, args: ty.Sequence[str]) -> ty.List[str]:
        command = ['git', f'--git-dir={self.git_dir}']
        if self.work_tree:
            command.append(f'--work-tree={self.work_tree}')
        for key, value in SETTINGS.items():
            command += ['-c', f'{key}={value}']
        return command + [os.fspath(a) for a in args]

    def run(
        self, *args: str, stdin: bytes = b'',
        env: ty.Optional[ty.Dict[str, str]] = None,
    ) -> Result:
        done = subprocess.run(
            self.command(args), input=stdin, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, cwd=self.work_tree,
            env=environment(**self.env, **(env or {})))
        return Result(done.returncode, done.stdout,
                      done.stderr.decode('utf-8', 'replace'))

    def out(self, *args: str, **kwargs) -> bytes:
        result = self.run(*args, **kwargs)
        if result.code:
            raise GitError(self, args, result)
        return result.out

    def line(self, *args: str, **kwargs) -> str:
        return os.fsdecode(self.out(*args, **kwargs)).strip()

    def fields(self, *args: str, **kwargs) -> ty.List[str]:
        """The answer of a command that was given -z."""
        text = self.out(*args, **kwargs).decode('utf-8', 'surrogateescape')
        return text.split('\0')[:-1]

    def ok(self, *args: str) -> bool:
        return self.run(*args).code == 0

    def resolve(self, name: str) -> ty.Optional[str]:
        result = self.run('rev-parse', '--verify', '--quiet',
                          '--end-of-options', name)
        return None if result.code else result.out.decode().strip()

    def fetch(self, source: Path, *refs: str) -> None:
        """Refs of another repository on this machine, and nothing else."""
        self.out('fetch', '--quiet', '--no-tags', '--no-write-fetch-head',
                 '--no-auto-gc', '--no-recurse-submodules', '--refmap=',
                 # It is a git of its own there, which has no settings of ours.
                 '--upload-pack=git -c "safe.directory=*" upload-pack',
                 str(source.resolve()), *refs)

    def changed(self, old: str, new: str, *flags: str) -> ty.List[Change]:
        """What differs between two trees, file by file."""
        fields = iter(self.fields('diff-tree', '-r', '-z', '--raw', *flags,
                                  old, new))
        found = []
        for meta in fields:
            old_mode, new_mode, _, blob, status = meta[1:].split(' ')
            path = before = next(fields)
            if status[0] in 'RC':
                path = next(fields)
            found.append(Change(status[0], before, path, new_mode, blob))
        return found


@dataclasses.dataclass(frozen=True)
class Change:
    status: str
    before: str
    path: str
    mode: str
    blob: str


class Reader:
    """Blobs one after another from one `git cat-file --batch`."""

    def __init__(self, git: Git):
        self.process = subprocess.Popen(
            git.command(['cat-file', '--batch']), env=environment(**git.env),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def has(self, name: str) -> bool:
        return self.object(name) is not None

    def read(self, name: str) -> ty.Optional[bytes]:
        found = self.object(name)
        return found[1] if found and found[0] == b'blob' else None

    def object(self, name: str) -> ty.Optional[ty.Tuple[bytes, bytes]]:
        if '\n' in name:
            return None
        self.process.stdin.write(os.fsencode(name) + b'\n')
        self.process.stdin.flush()
        head = self.process.stdout.readline().split()
        if len(head) != 3 or not head[2].isdigit():
            return None
        data = self.process.stdout.read(int(head[2]))
        self.process.stdout.read(1)
        return head[1], data
