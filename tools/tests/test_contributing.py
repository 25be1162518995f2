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

"""CONTRIBUTING.rst is run as it is written, on a small upstream release."""

import hashlib
import io
import os
from pathlib import Path
import shutil
import subprocess
import tarfile
import tempfile
import unittest

from tools import tree

UPSTREAM = {'nova/__init__.py': '', 'nova/size.py': 'SIZE = 1\n',
            'PKG-INFO': 'Metadata-Version: 2.1\nName: nova\nVersion: 1.0\n'}
HOOKED = 'SIZE = 2\n'


def documented_commands():
    """The first literal block of the round trip."""
    text = (tree.ROOT / 'CONTRIBUTING.rst').read_text(encoding='utf-8')
    block = text.split('The round trip\n', 1)[1].split('::\n\n', 1)[1]
    lines = block[:block.index('\n\n')].splitlines()
    return [line.strip() for line in lines]


class RoundTripTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name, 'repo')
        release = self.root / 'patches/2024.1'
        release.mkdir(parents=True)
        (self.root / 'tools').mkdir()
        shutil.copy(tree.ROOT / 'tools/apply_series.sh', self.root / 'tools')
        shutil.copytree(tree.ROOT / 'xloud_series', self.root / 'xloud_series')
        sdist = self.root / 'build/.cache/sdist/nova-1.0.tar.gz'
        sdist.parent.mkdir(parents=True)
        with tarfile.open(sdist, 'w:gz') as archive:
            for name, text in UPSTREAM.items():
                member = tarfile.TarInfo(f'nova-1.0/{name}')
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
        (release / 'upstream.txt').write_text(
            f'nova==1.0 --hash=sha256:{digest}\n')
        (release / 'series').touch()
        (self.root / '.gitignore').write_text('/build/\n__pycache__/\n')
        # As a contributor's editor would leave the message.
        message = Path(folder.name, 'message')
        message.write_text('Double the size\n\nOne is not enough.\n')
        self.environ = {
            **os.environ, 'GIT_CONFIG_GLOBAL': os.devnull,
            'GIT_EDITOR': f'cp {message}', 'PYTHONDONTWRITEBYTECODE': '1',
            'GIT_AUTHOR_NAME': 'A', 'GIT_AUTHOR_EMAIL': 'a@example.org',
            'GIT_COMMITTER_NAME': 'C', 'GIT_COMMITTER_EMAIL': 'c@example.org'}
        self.run_line('git init --quiet && git add --all && '
                      'git commit --quiet --message start')

    def run_line(self, line):
        done = subprocess.run(['bash', '-c', line], cwd=self.root,
                              env=self.environ, text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        self.assertEqual(0, done.returncode, f'{line}\n{done.stdout}')
        return done.stdout

    def test_three_commands_bring_an_edit_home(self):
        make, commit, export = documented_commands()
        self.run_line(make)
        (self.root / 'build/nova-2024.1/nova/size.py').write_text(HOOKED)
        self.run_line(commit)
        self.run_line(export)

        patch = 'patches/2024.1/double-the-size.patch'
        self.assertEqual(
            {f'?? {patch}', ' M patches/2024.1/series'},
            set(self.run_line('git status --porcelain').splitlines()))
        self.assertIn('+SIZE = 2', (self.root / patch).read_text())
        self.run_line('python3 -m xloud_series check')
        # The same tree grows from it elsewhere.
        shutil.rmtree(self.root / 'build/nova-2024.1')
        self.run_line(make)
        self.assertEqual(HOOKED, (
            self.root / 'build/nova-2024.1/nova/size.py').read_text())
