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

"""packaging/build.sh says what it can do, and refuses what it cannot."""

import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from tools import tree

# In place of python3: says what it was called with.
CALLED = '#!/bin/sh\necho called "$@"\n'


class BuildTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name, 'repo')
        (self.root / 'packaging').mkdir(parents=True)
        shutil.copy(tree.ROOT / 'packaging/build.sh', self.root / 'packaging')
        (self.root / 'patches/2024.2').mkdir(parents=True)
        (self.root / 'patches/2024.2/upstream.txt').touch()
        called = Path(folder.name, 'bin/python3')
        called.parent.mkdir()
        called.write_text(CALLED)
        called.chmod(0o755)
        self.path = f'{called.parent}{os.pathsep}{os.environ["PATH"]}'

    def build(self, *words):
        return subprocess.run(
            [self.root / 'packaging/build.sh', *words], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, 'PATH': self.path})

    def test_help(self):
        for word in ('--help', '-h'):
            done = self.build(word)
            self.assertEqual((0, ''), (done.returncode, done.stderr))
            self.assertIn('packaging/build.sh patches [--release RELEASE]',
                          done.stdout)
            self.assertNotIn('called', done.stdout)

    def test_refuses_before_it_does_anything(self):
        for words, why in (
                ((), 'build what?'), (('patch',), 'unknown: patch'),
                (('patches', 'patches'), 'one thing at a time'),
                (('patches', '--release'), 'needs a name'),
                (('patches', '--release', '9.9'), 'no patches/9.9'),
                (('patches', '--relase', '2024.2'), 'unknown: --relase')):
            done = self.build(*words)
            self.assertEqual((2, ''), (done.returncode, done.stdout), words)
            self.assertIn(why, done.stderr)

    def test_patches(self):
        for words, wanted in (
                (('patches',), 'called -m xloud_series patches\n'),
                (('--release', '2024.2', 'patches'),
                 'called -m xloud_series patches 2024.2\n')):
            done = self.build(*words)
            self.assertEqual((0, wanted), (done.returncode, done.stdout))

    def test_what_it_calls_is_there(self):
        text = (tree.ROOT / 'packaging/build.sh').read_text()
        verbs = re.findall(r'-m xloud_series (\w+)', text)
        self.assertEqual(['patches'], verbs)
        for verb in verbs:
            subprocess.run([sys.executable, '-m', 'xloud_series', verb,
                            '--help'], cwd=tree.ROOT, check=True,
                           stdout=subprocess.DEVNULL)
