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

"""A second project in the same repository shares nothing with the first."""

import fcntl
import hashlib
import typing as ty

from xloud_series.tests import base

SECOND = ('--project', 'second')
PAGE = 'def page():\n    title = 1\n    return title\n'
UPSTREAM = {
    'PKG-INFO': 'Name: second\nVersion: 1.0\n',
    'second/__init__.py': '',
    'second/page.py': PAGE,
    # Where the first project has an overlay and a hook.
    'nova/a.py': base.A,
}
NEXT = {**UPSTREAM, 'PKG-INFO': 'Name: second\nVersion: 2.0\n',
        'second/page.py': PAGE.replace('title = 1', 'title = 2')}


class TestSecondProject(base.Case):

    def setUp(self):
        super().setUp()
        self.first = self.tree
        self.home = self.root / 'second' / 'patches'
        self.tree = self.root / 'build' / 'second-1.0'
        self.cache = self.root / 'build' / '.cache' / 'second'
        self.pin_second('1.0', UPSTREAM)

    def pin_second(self, version: str, files: ty.Dict[str, str],
                   name: str = 'second', release: str = '1.0'):
        sdists = self.cache / 'sdist'
        sdists.mkdir(parents=True, exist_ok=True)
        sha = base.sdist(sdists / f'second-{version}.tar.gz', version, files)
        if release == version:
            folder = self.home / release
            folder.mkdir(parents=True, exist_ok=True)
            (folder / 'upstream.txt').write_text(
                f'{name}=={version} --hash=sha256:{sha}\n')
        return f'second=={version} --hash=sha256:{sha}'

    def make_second(self):
        self.ok(*SECOND, 'apply')
        self.edit('second/page.py', PAGE.replace(
            'title = 1\n', 'title = 1\n    title += 1\n'))
        self.commit('page: count from one\n\nWhy.\n\n'
                    'Change-Id: I' + 'a' * 40)
        # The first project would put these into the overlay.
        self.edit('nova/new.py', 'NEW = 1\n')
        self.edit('releasenotes/notes/second.yaml', '---\nfixes: []\n')
        self.commit('page: add a note\n\nWhy.\n\nChange-Id: I' + 'b' * 40)
        self.ok(*SECOND, 'export')

    def all_of_the_first(self) -> ty.Dict[str, str]:
        """Its files, its tree, its cache with store and refs."""
        build = self.root / 'build'
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob('*'))
            if path.is_file() and not path.is_symlink() and
            self.tree not in path.parents and
            self.cache not in path.parents and
            self.home not in path.parents and
            build / 'dist' not in path.parents and
            path.relative_to(self.root).parts[0] != '.git'}

    def test_it_leaves_the_first_alone(self):
        before = self.all_of_the_first()
        self.make_second()
        for verb in ('check', 'status', 'patches', 'apply', 'export'):
            self.ok(*SECOND, verb)
        self.assertEqual(before, self.all_of_the_first())
        self.assertEqual(['?? second/patches/1.0/tree.txt',
                          '?? second/patches/1.0/upstream.txt',
                          '?? second/patches/page-add-a-note.patch',
                          '?? second/patches/page-count-from-one.patch',
                          '?? second/patches/series'], self.status())

    def test_the_first_leaves_it_alone(self):
        self.make_second()
        base.git(self.root, 'add', '-A')
        base.git(self.root, 'commit', '--quiet', '-m', 'second')
        tip = self.head()
        second, self.tree = self.tree, self.first
        self.edit('nova/a.py', base.hook(self.text('nova/a.py'), 8, 'x = 8'))
        self.commit('Third hook\n\nWhy.\n\nChange-Id: I' + '4' * 40)
        for verb in ('export', 'check', 'status', 'apply'):
            self.ok(verb)
        self.assertFalse([line for line in self.status() if 'second' in line])
        self.tree = second
        self.assertEqual(tip, self.head())
        self.assertIn('no change', self.ok(*SECOND, 'apply'))

    def test_new_files_stay_in_its_patches(self):
        self.make_second()
        text = (self.home / 'page-add-a-note.patch').read_text()
        self.assertNotIn('Overlay:', text)
        self.assertIn('+++ b/nova/new.py\n', text)
        self.assertFalse((self.root / 'nova' / 'new.py').exists())
        # So they are complete as they are.
        self.ok(*SECOND, 'patches')
        whole = (self.root / 'build' / 'dist' / 'second-patches-1.0' /
                 '0002-page-add-a-note.patch')
        self.assertEqual(text, whole.read_text())

    def test_check_finds_what_is_wrong_with_it_alone(self):
        self.make_second()
        self.change(self.home / 'page-count-from-one.patch',
                    '+    title += 1', '+    title += (')
        self.assertIn('second/patches/page-count-from-one.patch',
                      self.expect(4, *SECOND, 'check'))
        self.ok('check')

    def test_it_waits_for_no_lock_but_its_own(self):
        self.ok(*SECOND, 'apply')
        with (self.root / 'build' / '.cache' / 'lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.expect(5, 'status')
            self.ok(*SECOND, 'status')

    def test_advice_names_the_project(self):
        self.assertIn('next: python3 -m xloud_series --project second apply',
                      self.ok(*SECOND, 'status'))
        self.make_second()
        self.edit('second/page.py', 'work = 1\n')
        self.assertIn('python3 -m xloud_series --project second export 1.0',
                      self.expect(5, *SECOND, 'apply'))

    def test_a_release_where_a_patch_does_not_fit(self):
        self.make_second()
        pin = self.pin_second('2.0', NEXT)
        said = self.expect(3, *SECOND, 'rebase', '1.0', '--to', pin, '--as',
                           '2.0')
        self.assertIn('build/second-2.0', said)
        skip = ('rebase', '--skip', 'page-count-from-one.patch')
        command = ' '.join(('python3 -m xloud_series', *SECOND, *skip))
        self.assertIn(command, said)
        self.expect(2, *skip)             # none of the first is under way
        self.ok(*SECOND, *skip)
        self.assertEqual(b'', (self.home / '2.0' / skip[2]).read_bytes())
        self.assertFalse((self.home / '2.0' / 'page-add-a-note.patch')
                         .exists())
        self.ok(*SECOND, 'check')
        self.ok('check')

    def test_a_pin_of_another_project(self):
        self.pin_second('1.0', UPSTREAM, name='nova')
        self.assertIn('second/patches/1.0/upstream.txt pins nova, but its '
                      'project is second', self.expect(4, *SECOND, 'apply'))

    def test_to_a_release_of_another_project(self):
        """pip would run what a stranger uploaded under a mistyped name."""
        for verb in ('drift', 'rebase'):
            self.assertIn('--to pins novaa, but its project is nova',
                          self.expect(4, verb, '--to', 'novaa==2.0'))

    def test_an_unknown_project(self):
        said = self.expect(2, '--project', 'third', 'apply')
        self.assertIn('known are: nova, second', said)
        self.assertIn('third/patches/RELEASE/upstream.txt', said)
        for name in ('..', 'second/patches', ''):
            self.expect(2, '--project', name, 'apply')

    def test_what_new_files_of_it_use_of_upstream(self):
        """Its packages are upstream's, whatever they are called."""
        self.make_second()
        self.edit('second/ours.py',
                  'from second import page\n\n\nX = page.page\n')
        self.commit('page: use it\n\nWhy.\n\nChange-Id: I' + 'c' * 40)
        self.ok(*SECOND, 'export')
        pin = self.pin_second('3.0', {
            **UPSTREAM, 'second/page.py': PAGE.replace('page', 'leaf') +
            '\n\ndef other():\n    pass\n'})
        self.assertIn('second.page.page is gone',
                      self.expect(1, *SECOND, 'drift', '--to', pin))
