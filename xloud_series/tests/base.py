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

"""A throw-away upstream, repository and tree; all real, nothing mocked."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import traceback
import typing as ty
import unittest

from xloud_series import cli
from xloud_series import layout
from xloud_series import workspace

PACKAGE = Path(__file__).resolve().parent.parent.parent
REL = '1.0'

METHODS = ''.join(
    f'    def method_{n}(self):\n        first = {n}\n'
    f'        second = first + 1\n        return second\n\n'
    for n in range(12))
A = 'import os\nimport sys\n\n\nclass Manager:\n\n' + METHODS
B = 'import re\n\n\n' + ''.join(
    f'def twin_{n}():\n    less = 0\n    zero = 0\n    one = 1\n    two = 2\n'
    f'    three = 3\n'
    f'    four = 4\n    return 10\n\n\n' for n in range(4))
UPSTREAM = {
    'PKG-INFO': 'Name: nova\nVersion: 1.0\n',
    'AUTHORS': 'Upstream 1\n',
    'ChangeLog': 'CHANGES\n\n1.0\n',
    'setup.cfg': '[metadata]\nname = nova\n',
    'nova.egg-info/SOURCES.txt': 'stale\n',
    'nova/__init__.py': '',
    'nova/a.py': A,
    'nova/b.py': B,
    'nova/gone.py': 'def gone():\n    x = 1\n    y = 2\n    return x + y\n',
    'doc/source/index.rst': 'Nova\n====\n\nText.\n',
    'nova/dos.txt': 'one\r\ntwo\r\nthree\r\n',
}


def hook(text: str, method: int, line: str) -> str:
    place = f'        first = {method}\n'
    assert place in text
    return text.replace(place, f'{place}        {line}\n')


# What the next release of upstream did: each kind of drift.
NEXT = {
    **UPSTREAM,
    'PKG-INFO': 'Name: nova\nVersion: 2.0\n',
    'AUTHORS': 'Upstream 2\n',
    'nova/a.py': hook('# new\n' + A.replace(
        'import sys\n', 'import sys\nimport vtpm\n'), 9, 'upstream = 9'),
}


def sdist(path: Path, version: str, files: ty.Dict[str, str]) -> str:
    """Write a small sdist; its sha256."""
    with tarfile.open(path, 'w:gz') as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f'nova-{version}/{name}')
            data = text.encode()
            info.size, info.mtime, info.mode = len(data), 1700000000, 0o644
            if name.startswith('bin/'):
                info.mode = 0o755
            tar.addfile(info, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


# What git needs to know; nothing of the machine's.
PERSON = {'PATH': os.environ['PATH'], 'HOME': '/nonexistent',
          'GIT_CONFIG_NOSYSTEM': '1',
          'GIT_AUTHOR_NAME': 'Nguyễn Văn A',
          'GIT_AUTHOR_EMAIL': 'dev@xloud.invalid',
          'GIT_AUTHOR_DATE': '@1750000000 +0700',
          'GIT_COMMITTER_NAME': 'Dev', 'GIT_EDITOR': 'true',
          'GIT_COMMITTER_EMAIL': 'dev@xloud.invalid'}


def git(where: Path, *args: str, **env: str) -> str:
    return subprocess.run(
        ['git', '-C', str(where), *args], check=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**PERSON, **env}).stdout


def pack(root: Path):
    """Each test copies and removes it, file by file and folder by folder."""
    for repository in (root, root / 'build/.cache/store.git',
                       *(root / 'build').glob('nova-*')):
        git(repository, 'repack', '-a', '-d', '--quiet')


class Done(ty.NamedTuple):
    code: int
    out: str
    err: str


def started(args: ty.Sequence[str], env: ty.Dict[str, str]) -> Done:
    """Run the tool as a person does."""
    done = subprocess.run(
        [sys.executable, '-m', 'xloud_series', *args], cwd='/',
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': str(PACKAGE),
             # A test may change the tool twice within a second.
             'PYTHONDONTWRITEBYTECODE': '1', **env})
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def forked(args: ty.Sequence[str]) -> Done:
    """The same in a process of its own that does not import all of it again:
    that was a third of the time of these tests.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            _be_the_tool(args, out.fileno(), err.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for file in (out, err):
            file.seek(0)
        return Done(code, out.read().decode(), err.read().decode())


def _be_the_tool(args: ty.Sequence[str], out: int, err: int) -> None:
    code: ty.Any = 1
    try:
        os.chdir('/')
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = open(1, 'w', encoding='utf-8', closefd=False)
        sys.stderr = open(2, 'w', encoding='utf-8', closefd=False)
        try:
            code = cli.main(args)
        except SystemExit as exc:
            code = exc.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


class Case(unittest.TestCase):
    """`self.root`: a clean clone-like repository of three patches, applied.
    """

    golden: ty.Optional[Path] = None
    maxDiff = None

    def setUp(self):
        folder = Path(tempfile.mkdtemp(prefix='xloud-')).resolve()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.folder = folder
        self.root = folder / 'repo'
        self.tree = self.root / 'build' / f'nova-{REL}'
        self.files = self.root / 'patches'
        self.own = self.files / REL
        self.start()

    def start(self):
        if Case.golden is None:
            holder = tempfile.TemporaryDirectory(prefix='xloud-golden-')
            Case.holder = holder
            self.make()
            pack(self.root)
            Case.golden = Path(holder.name, 'repo')
            shutil.copytree(self.root, Case.golden, symlinks=True)
        else:
            shutil.copytree(Case.golden, self.root, symlinks=True)

    def empty(self):
        """A repository with a pin and a warm cache, nothing else."""
        cache = self.root / 'build' / '.cache' / 'sdist'
        cache.mkdir(parents=True)
        self.pin(REL, cache, UPSTREAM)
        (self.root / '.gitignore').write_text('/build/\n__pycache__/\n')
        git(self.root, 'init', '--quiet', '--initial-branch=main')

    def pin(self, version: str, cache: Path, files: ty.Dict[str, str],
            release: ty.Optional[str] = None):
        sha = sdist(cache / f'nova-{version}.tar.gz', version, files)
        folder = self.root / 'patches' / (release or version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'upstream.txt').write_text(
            f'# the pinned base\nnova=={version} --hash=sha256:{sha}\n')
        return sha

    def make(self):
        self.empty()
        self.ok('apply')
        self.edit('nova/a.py', hook(A, 2, 'hook = 2'))
        self.edit('nova/xl/__init__.py', '"""Ours."""\n')
        self.edit('nova/xl/one.py', 'ONE = 1\n')
        self.commit('First hook: call one\n\nWhy it is so.\n\n'
                    'Change-Id: I' + '1' * 40)
        self.edit('nova/a.py', hook(self.text('nova/a.py'), 6, 'hook = 6'))
        self.edit('nova/b.py', B.replace('import re\n', 'import re\n\nX = 1',
                                         1))
        self.commit('Second hook\n\nWhy.\n\nChange-Id: I' + '2' * 40)
        self.edit('doc/source/index.rst', 'Nova\n====\n\nText.\nTiếng Việt\n')
        self.edit('releasenotes/notes/n.yaml', '---\nfeatures: []\n')
        self.edit('nova/dos.txt', 'one\r\nnew\r\ntwo\r\nthree\r\n')
        self.commit('Ghi chú: notes\n\nWhy.\n\nChange-Id: I' + '3' * 40)
        self.ok('export')
        git(self.root, 'add', '-A')
        git(self.root, 'commit', '--quiet', '-m', 'series')

    # What a person does

    def run_verb(self, *args: str, **env: str) -> Done:
        args = '--repo', str(self.root), *args
        # What the start of Python reads needs a start of Python.
        done = started(args, env) if env else forked(args)
        self.assertNotIn('Traceback', done.err)
        return done

    def expect(self, code: int, *args: str, **env: str) -> str:
        """Run a verb; all that it printed."""
        got = self.run_verb(*args, **env)
        self.assertEqual(code, got.code, got.out + got.err)
        if code and code != 1:
            self.assertIn('error: ', got.err)
        return got.out + got.err

    def ok(self, *args: str, **env: str) -> str:
        return self.expect(0, *args, **env)

    def follow(self, said: str, advice: str):
        """Type what the tool says, where a person is: in the repository."""
        subprocess.run(re.search(advice, said)[1], shell=True, check=True,
                       cwd=self.root, env=PERSON, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)

    def json(self, *args: str) -> ty.Any:
        return json.loads(self.run_verb(*args, '--json').out)

    def edit(self, path: str, text: str):
        real = self.tree / path
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_bytes(text.encode())

    def text(self, path: str) -> str:
        return (self.tree / path).read_bytes().decode()

    def commit(self, message: str, *flags: str):
        git(self.tree, 'add', '-A')
        git(self.tree, 'commit', '--quiet', '--cleanup=verbatim', '-m',
            message, *flags)

    def head(self, name: str = 'HEAD') -> str:
        return git(self.tree, 'rev-parse', name).strip()

    def status(self) -> ty.List[str]:
        return git(self.root, 'status', '--short', '-uall').splitlines()

    def patch(self, name: str) -> Path:
        return self.files / f'{name}.patch'

    def change(self, path: Path, old: str, new: str):
        text = path.read_bytes().decode()
        self.assertIn(old, text)
        path.write_bytes(text.replace(old, new).encode())

    def snapshot(self) -> ty.Dict[str, bytes]:
        """All files of the repository outside build/ and .git/."""
        return {str(path.relative_to(self.root)): path.read_bytes()
                for path in sorted(self.root.rglob('*'))
                if path.is_file() and path.relative_to(self.root).parts[0]
                not in ('build', '.git')}

    def work(self) -> workspace.Workspace:
        return workspace.Workspace(layout.Repo(self.root))

    def release(self) -> layout.Release:
        return layout.Release(layout.Repo(self.root), REL)
