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
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest

from tools import tree

# A file with two hooks of two commits, far enough apart for git.
CALLS = ''.join(f'def call_{n}():\n    first = {n}\n    second = {n}\n'
                f'    return first + second\n\n\n' for n in range(6))
UPSTREAM = {
    'nova/__init__.py': 'VERSION = 1\n',
    'nova/compute/api.py': CALLS,
    # As setuptools writes it into an sdist; in git it has blanks.
    'setup.cfg': '[entry_points]\nnova.a =\n' + ''.join(
        f'\tname_{n} = nova.a:Name{n}\n' for n in range(9)),
    'AUTHORS': 'Upstream\n',
    'ChangeLog': 'CHANGES\n',
}
NEWER = {**UPSTREAM, 'nova/compute/api.py': '# newer\n' + CALLS}
BLAME = 'git blame -s'
EXPORT = 'python3 -m xloud_series'
RANGE_DIFF = 'git range-diff @{upstream}'
HOOK_1 = ('    first = 1\n', '    first = 1  # ours\n')
HOOK_4 = ('    first = 4\n', '    first = 4  # ours\n')


def commands(section):
    """The lines of the first literal block of a section."""
    text = (tree.ROOT / 'CONTRIBUTING.rst').read_text(encoding='utf-8')
    body = text.split(f'\n{section}\n{"=" * len(section)}\n', 1)[1]
    block = body.split('::\n\n', 1)[1]
    lines = block[:block.index('\n\n')].splitlines()
    return [line.strip() for line in lines]


class RecipesTest(unittest.TestCase):
    """On a series of three patches, two of which hook into one file."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name, 'repo')
        self.tree = self.root / 'build/nova-2024.1'
        release = self.root / 'patches/2024.1'
        release.mkdir(parents=True)
        (self.root / 'tools').mkdir()
        shutil.copy(tree.ROOT / 'tools/apply_series.sh', self.root / 'tools')
        shutil.copytree(tree.ROOT / 'xloud_series', self.root / 'xloud_series',
                        ignore=shutil.ignore_patterns('__pycache__'))
        digest = self.sdist('29.4.0', UPSTREAM)
        (release / 'upstream.txt').write_text(
            f'nova==29.4.0 --hash=sha256:{digest}\n')
        (self.root / 'patches/series').touch()
        (self.root / '.gitignore').write_text('/build/\n__pycache__/\n')
        # As a contributor's editor would leave the message.
        self.message = Path(folder.name, 'message')
        self.environ = {
            'PATH': os.environ['PATH'], 'HOME': '/nonexistent',
            'GIT_CONFIG_GLOBAL': os.devnull, 'GIT_CONFIG_NOSYSTEM': '1',
            'GIT_EDITOR': f'cp {self.message}',
            'GIT_SEQUENCE_EDITOR': 'true',  # save and leave
            'PYTHONDONTWRITEBYTECODE': '1',
            'GIT_AUTHOR_NAME': 'A', 'GIT_AUTHOR_EMAIL': 'a@example.org',
            'GIT_COMMITTER_NAME': 'C', 'GIT_COMMITTER_EMAIL': 'c@example.org'}
        self.run_line('git init --quiet')
        self.run_line('tools/apply_series.sh')
        self.edit('nova/compute/api.py', *HOOK_1)
        self.commit('api: call the first of ours')
        self.edit('nova/compute/api.py', *HOOK_4)
        (self.tree / 'nova/xloud').mkdir()
        (self.tree / 'nova/xloud/size.py').write_text('SIZE = 1\n')
        self.commit('api: call the second of ours')
        self.edit('nova/__init__.py', '1', '2')
        self.commit('nova: say that this is the second')
        self.run_line('python3 -m xloud_series export')
        self.run_line('git add --all && git commit --quiet --message start')

    def sdist(self, version, files):
        path = self.root / f'build/.cache/sdist/nova-{version}.tar.gz'
        path.parent.mkdir(parents=True, exist_ok=True)
        files = {**files, 'PKG-INFO': 'Metadata-Version: 2.1\nName: nova\n'
                                      f'Version: {version}\n'}
        with tarfile.open(path, 'w:gz') as archive:
            for name, text in files.items():
                member = tarfile.TarInfo(f'nova-{version}/{name}')
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def edit(self, path, old, new):
        text = (self.tree / path).read_text()
        self.assertEqual(1, text.count(old))
        (self.tree / path).write_text(text.replace(old, new))

    def commit(self, subject):
        self.message.write_text(f'{subject}\n\nSo that it is.\n')
        self.run_line(f'git -C {self.tree} add --all && '
                      f'git -C {self.tree} commit --quiet')

    def run_line(self, line, folder=None):
        done = subprocess.run(['bash', '-c', line], cwd=folder or self.root,
                              env=self.environ, text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        self.assertEqual(0, done.returncode, f'{line}\n{done.stdout}')
        return done.stdout

    def follow(self, section, by_hand=lambda: None, change=None):
        """Type the block of a section; what each line printed, by its
        first three words.
        """
        folder = self.root
        said = {}
        for line in commands(section):
            if line.startswith('#'):
                by_hand()
            elif line.startswith('cd '):
                folder = folder / line[3:]
            else:
                if change:
                    line = change(line, said)
                name = ' '.join(line.split(' ')[:3])
                said[name] = self.run_line(line, folder)
        return said

    def status(self):
        return set(self.run_line('git status --porcelain -uall').splitlines())

    def apply_elsewhere(self):
        """The tree as it grows from the repository alone."""
        self.run_line('python3 -m xloud_series check')
        tip = self.run_line('git rev-parse HEAD', self.tree)
        shutil.rmtree(self.tree)
        self.run_line('tools/apply_series.sh')
        self.assertEqual(tip, self.run_line('git rev-parse HEAD', self.tree))

    def change_what_is_there(self):
        def owner(line, said):
            """The commit that the line before has shown to own hook 1."""
            if 'COMMIT' not in line:
                return line
            found = re.findall(r'^(\w+) .*first = 1  # ours', said[BLAME],
                               re.M)
            self.assertEqual(1, len(found), said[BLAME])
            return line.replace('COMMIT', found[0])

        return self.follow('Change what is there', lambda: self.edit(
            'nova/compute/api.py', 'first = 1  # ours',
            'first = 1  # better'), owner)

    def test_change_what_is_there(self):
        said = self.change_what_is_there()
        patch = 'patches/api-call-the-first-of-ours.patch'
        self.assertEqual({f' M {patch}', ' M patches/2024.1/tree.txt'},
                         self.status())
        self.assertIn(f'wrote {patch}\n', said[EXPORT])
        self.assertIn('in all: wrote 2 files;', said[EXPORT])
        self.assertIn('+    first = 1  # better',
                      (self.root / patch).read_text())
        # Only what is ours is shown, with its commit.
        self.assertEqual(2, len(said[BLAME].splitlines()), said[BLAME])
        self.apply_elsewhere()

    def test_into_a_clone_of_ones_own(self):
        """What guide/git.rst says, on upstream's files as git has them."""
        self.edit('setup.cfg', '\tname_5',
                  '\tours = nova.xloud:Ours\n\tname_5')
        self.commit('nova: find the extension of ours')
        self.run_line('python3 -m xloud_series export')
        (self.root.parent / 'xloud-nova').symlink_to(self.root)
        shutil.copytree(tree.ROOT / 'packaging', self.root / 'packaging',
                        ignore=shutil.ignore_patterns('__pycache__'))
        mine = self.root.parent / 'my-nova'
        for path, text in UPSTREAM.items():
            if path not in ('AUTHORS', 'ChangeLog'):
                (mine / path).parent.mkdir(parents=True, exist_ok=True)
                (mine / path).write_text(text.replace('\t', '    '))
        self.run_line('git init --quiet && git add --all && '
                      'git commit --quiet --message upstream && '
                      'git tag 29.4.0', mine)
        text = (tree.ROOT / 'guide/git.rst').read_text(encoding='utf-8')
        section = text.split('\nApply it to your own clone\n')[1].split(
            '\nTake one feature\n')[0].replace('\\\n', '')
        cherry_pick, patches, other_base = (
            re.findall(r'^   \$ (.*)$', block, re.M)
            for block in section.split('.. code-block:: console\n')[1:])
        for lines in cherry_pick, patches:
            folder = self.root
            for line in lines:
                if line.startswith('cd '):
                    folder = mine
                else:
                    self.run_line(line, folder)
            self.assertEqual(5, len(self.run_line(
                'git log --oneline', mine).splitlines()))
            self.assertIn('\n\tours = ', (mine / 'setup.cfg').read_text())
            self.assertEqual('SIZE = 1\n',
                             (mine / 'nova/xloud/size.py').read_text())
            self.run_line('git switch --quiet --detach 29.4.0', mine)
        self.run_line('git branch stable', mine)
        for line in other_base:
            self.run_line(line)

    def test_an_overlay_file_has_one_commit(self):
        text = (tree.ROOT / 'CONTRIBUTING.rst').read_text(encoding='utf-8')
        line, = re.findall(r'``(git log --oneline [^`]*)``', text)
        self.assertRegex(self.run_line(line, self.tree),
                         r'\A\w+ api: call the second of ours\n\Z')

    def test_an_overlay_file_is_edited_in_the_repository(self):
        (self.root / 'nova/xloud/size.py').write_text('SIZE = 2\n')
        self.run_line('tools/apply_series.sh')
        self.assertEqual('SIZE = 2\n',
                         (self.tree / 'nova/xloud/size.py').read_text())

    def test_add_something(self):
        def by_hand():
            (self.tree / 'nova/xloud/new.py').write_text('NEW = 1\n')
            self.edit('nova/compute/api.py', '    first = 2\n',
                      '    first = 2  # new\n')
            self.message.write_text('api: add something\n\nIt was missing.\n')
        self.follow('Add something', by_hand)
        patch = 'patches/api-add-something.patch'
        self.assertEqual(
            {f'?? {patch}', '?? nova/xloud/new.py',
             ' M patches/2024.1/tree.txt', ' M patches/series'}, self.status())
        text = (self.root / patch).read_text()
        self.assertIn('\nOverlay: nova/xloud/new.py\n', text)
        self.assertRegex(text, '\nChange-Id: I[0-9a-f]{40}\n')
        self.apply_elsewhere()

    def test_review_a_change(self):
        """The change is fetched into a repository whose tree is main's."""
        self.change_what_is_there()
        self.run_line('git checkout --quiet -b change && '
                      'git commit --quiet --all --message better && '
                      'git checkout --quiet -')
        self.run_line('tools/apply_series.sh')
        self.run_line('git checkout --quiet change')
        said = self.follow('Review a change')
        self.assertRegex(said[RANGE_DIFF], r'1: +\w+ ! 1: +\w+ api: call '
                         r'the first of ours\n')
        self.assertRegex(said[RANGE_DIFF], r'\+    first = 1  # better')
        self.assertRegex(said[RANGE_DIFF], r'3: +\w+ = 3: +\w+ nova: say')

    def test_another_upstream_release(self):
        self.sdist('30.3.0', NEWER)
        said = []
        for line in commands('Another upstream release'):
            said.append(self.run_line(line))
        self.assertIn('moved +1 ', said[0])
        self.assertIn('nova==30.3.0', (
            self.root / 'patches/2024.2/upstream.txt').read_text())
        self.run_line('python3 -m xloud_series check')
        # The commands of the other recipes still mean 2024.1.
        self.run_line('python3 -m xloud_series export')
        self.change_what_is_there()
