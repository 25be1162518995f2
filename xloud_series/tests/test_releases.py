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
"""One series for several releases: lookup, overrides, changes for all."""

from __future__ import annotations

import os
import re
import shutil
from unittest import mock

from xloud_series import layout
from xloud_series import rebase
from xloud_series.tests import base

SHARED = 'patches/first-hook-call-one.patch'
A2 = base.NEXT['nova/a.py']
A3 = A2.replace('method_6', 'renamed_6').replace(
    '        second = first + 1\n        return second\n\n'
    '    def method_9', '        second = first + 9\n        return second\n\n'
    '    def method_9')


class Three(base.Case):
    """1.0, 2.0 and 3.0; in 2.0 lines moved, in 3.0 the second hook differs.
    """

    saved = None

    def start(self):
        super().start()
        self.trees = {name: self.root / f'build/nova-{name}'
                      for name in ('1.0', '2.0', '3.0')}
        if Three.saved is None:
            self.releases()
            base.pack(self.root)
            Three.saved = base.Path(Three.keep(), 'three')
            shutil.copytree(self.root, Three.saved, symlinks=True)
        else:
            shutil.rmtree(self.root)
            shutil.copytree(Three.saved, self.root, symlinks=True)

    @staticmethod
    def keep() -> str:
        Three.holder = base.tempfile.TemporaryDirectory(prefix='xloud-three-')
        return Three.holder.name

    def releases(self):
        cache = self.root / 'build/.cache/sdist'
        base.sdist(cache / 'nova-2.0.tar.gz', '2.0', base.NEXT)
        base.sdist(cache / 'nova-3.0.tar.gz', '3.0', {
            **base.NEXT, 'nova/a.py': A3, 'PKG-INFO': 'Version: 3.0\n'})
        self.ok('rebase', '1.0', '--to', '2.0', '--as', '2.0')
        self.ok('rebase', '2.0', '--to', '3.0', '--as', '3.0')
        base.git(self.root, 'add', '-A')
        base.git(self.root, 'commit', '--quiet', '-m', 'three')

    def at(self, release: str):
        self.tree = self.trees[release]

    def fold(self, back: int, path: str, old: str, new: str):
        """Edit a file in the commit HEAD~back."""
        text = self.text(path)
        self.assertEqual(1, text.count(old), text)
        self.edit(path, text.replace(old, new))
        base.git(self.tree, 'add', '-A')
        base.git(self.tree, 'commit', '--quiet', f'--fixup=HEAD~{back}')
        base.git(self.tree, 'rebase', '--quiet', '-i', '--autosquash',
                 'refs/xloud/base')

    def has(self, release: str, path: str, text: str):
        """In the tree that the repository alone gives."""
        self.ok('apply', release)
        self.assertIn(text, (self.trees[release] / path).read_text())

    def patches(self):
        """The patches that changed, and whether the outcome did."""
        return sorted(line for line in self.status()
                      if not line.endswith('tree.txt'))


class TestLookup(Three):

    def test_only_what_differs_is_an_override(self):
        self.assertEqual(
            ['patches/2.0/tree.txt', 'patches/2.0/upstream.txt',
             'patches/3.0/second-hook.patch', 'patches/3.0/tree.txt',
             'patches/3.0/upstream.txt'],
            sorted(str(path.relative_to(self.root))
                   for name in ('2.0', '3.0')
                   for path in (self.root / 'patches' / name).iterdir()))
        self.ok('check')

    def test_the_nearest_older_wins(self):
        files = layout.Files(layout.Repo(self.root))
        for folder in ('2.0', '3.0', '1.0'):
            (self.root / 'patches' / folder / 'x.patch').write_text('x')
        (self.root / 'patches/x.patch').write_text('x')
        (self.root / 'patches/10.0').mkdir()
        (self.root / 'patches/10.0/upstream.txt').write_text('nova==10.0\n')
        self.assertEqual(['1.0', '2.0', '3.0', '10.0'], files.releases())
        for release, path in (('10.0', 'patches/3.0/x.patch'),
                              ('3.0', 'patches/3.0/x.patch'),
                              ('2.0', 'patches/2.0/x.patch'),
                              ('1.0', 'patches/x.patch')):
            self.assertEqual(path, files.find(files.folders(layout.Release(
                layout.Repo(self.root), release)), 'x.patch'))

    def test_an_empty_one_drops_the_patch(self):
        (self.root / 'patches/2.0/ghi-chu-notes.patch').touch()
        self.ok('check', '--accept')
        for release, text in (('1.0', b'new'), ('2.0', None), ('3.0', None)):
            self.ok('apply', release)
            data = (self.trees[release] / 'nova/dos.txt').read_bytes()
            self.assertEqual(text is not None, b'new' in data)
        # What 2.0 and 3.0 are without stays so; what is in the overlay too.
        self.at('3.0')
        self.fold(0, 'nova/a.py', 'hook = 6', 'hook = 66')
        self.ok('export', '3.0')
        self.assertEqual(
            b'', (self.root / 'patches/2.0/ghi-chu-notes.patch').read_bytes())
        self.assertIn('ghi-chu-notes.patch',
                      (self.root / 'patches/series').read_text())
        self.has('1.0', 'nova/a.py', 'hook = 66')
        self.ok('check')

    def test_a_patch_carries_what_was_a_file_of_the_overlay(self):
        """The shared one on all releases that look it up."""
        self.ok('apply')
        self.at('1.0')
        self.ok('export', '--carry', 'nova/xl/one.py')
        self.assertFalse((self.root / 'nova/xl/one.py').exists())
        self.ok('check')
        for release in ('1.0', '2.0', '3.0'):
            self.has(release, 'nova/xl/one.py', '')
        self.ok('export', '--check')


class TestElsewhere(Three):
    """On another release than that of the patch: unique, or an error."""

    def upstream(self, text: str) -> None:
        """2.0 is another one, as if its point release were out."""
        sha = base.sdist(
            self.root / 'build/.cache/sdist/nova-2.0.tar.gz', '2.0',
            {**base.NEXT, 'nova/a.py': text})
        (self.root / 'patches/2.0/upstream.txt').write_text(
            f'nova==2.0 --hash=sha256:{sha}\n')

    def fails(self, *texts: str):
        for verb in ('apply', 'check'):
            said = self.expect(4, verb, '2.0')
            for text in (*texts, '+        hook = 2'):
                self.assertIn(text, said)

    def test_no_such_context(self):
        self.upstream(A2.replace('first = 2\n', 'first = 22\n'))
        self.fails('first-hook-call-one.patch: a hunk of nova/a.py does not '
                   'fit on 2.0: its text is nowhere in that file')

    def test_no_fuzz(self):
        self.upstream(A2.replace('    def method_2(', '    def other_2('))
        self.fails('its text is nowhere in that file')

    def test_twice(self):
        self.upstream(A2 + '\n\nclass Other:\n\n' + base.METHODS)
        self.fails('does not fit on 2.0: its text is at lines 18, ')

    def test_another_place(self):
        """git finds it, and the tree is another one."""
        lines = A2.split('    def method_3', 1)
        moved = base.METHODS.split('    def method_2')[1].split(
            '    def method_3')[0]
        self.upstream(lines[0].replace('    def method_2' + moved, '') +
                      '    def method_3' + lines[1] +
                      '\n\nclass Other:\n\n    def method_1(self):\n'
                      '        first = 1\n        second = first + 1\n'
                      '        return second\n\n    def method_2' + moved +
                      '    def method_3(self):\n        pass\n')
        self.fails('nova/a.py does not come out on 2.0 as '
                   'patches/2.0/tree.txt has it')

    def test_outcome(self):
        path = self.root / 'patches/2.0/tree.txt'
        for text in (path.read_text().replace(' nova/a.py', ' nova/z.py'),
                     re.sub('[0-9a-f]{40} nova/a.py', '1' * 40 + ' nova/a.py',
                            path.read_text()),
                     '<<<<<<< HEAD\n' + path.read_text()):
            path.write_text(text)
            self.expect(4, 'apply', '2.0')
            self.ok('check', '--accept', '2.0')
            self.assertEqual([], self.status())
        # A merge of two changes: both hunks are shown, not the markers.
        path.write_text(re.sub('(.*)[0-9a-f]{40}( nova/a.py\n)', (
            f'<<<<<<< HEAD\n\\g<1>{"1" * 40}\\2=======\n'
            f'\\g<1>{"2" * 40}\\2>>>>>>> two\n'), path.read_text()))
        self.assertRegex(self.expect(4, 'apply', '2.0'), (
            r'error: nova/a.py does not come out(.*\n)*'
            r' .*\+        hook = 2\n(.*\n)* .*\+        hook = 6\n'))
        self.ok('check', '--accept', '2.0')
        path.unlink()
        self.assertIn('is not there', self.expect(4, 'apply', '2.0'))

    def test_end_of_a_file(self):
        """Two lines of context belong to the end, and nowhere else."""
        self.at('1.0')
        self.edit('nova/a.py', self.text('nova/a.py') + 'END = 1\n')
        self.commit('At the end\n\nWhy.')
        self.ok('export')
        self.upstream(A2 + '\n\ndef more():\n    pass\n')
        self.assertIn('at-the-end.patch: a hunk of nova/a.py does not fit',
                      self.expect(4, 'apply', '2.0'))


class TestCheck(Three):

    def test_idle(self):
        shutil.copy(self.root / SHARED, self.root / 'patches/2.0')
        said = self.expect(4, 'check')
        self.assertIn('does not fit exactly', said)
        text = (self.root / SHARED).read_bytes()
        path = self.root / 'patches/2.0' / (self.root / SHARED).name
        path.write_bytes(text.replace(b'@@ -16,6 +16,7', b'@@ -18,6 +18,7'))
        self.assertIn(f'patches/2.0/{path.name} is idle',
                      self.expect(1, 'check'))
        path.unlink()
        self.ok('check')

    def test_change_ids(self):
        path = self.root / 'patches/2.0/second-hook.patch'
        path.write_bytes((self.root / 'patches/second-hook.patch')
                         .read_bytes().replace(b'2' * 40, b'4' * 40))
        self.assertIn('patches/2.0/second-hook.patch has another Change-Id '
                      'than patches/second-hook.patch',
                      self.expect(4, 'check'))

    def test_who_looks_it_up(self):
        (self.root / 'patches/1.0/second-hook.patch').write_text('x')
        (self.root / 'patches/2.0/none.patch').write_text('x')
        said = self.expect(1, 'check')
        self.assertIn('patches/1.0/second-hook.patch is looked up by no '
                      'release', said)
        self.assertIn('patches/2.0/none.patch is not listed', said)


class TestExport(Three):

    def test_one_edit_one_file_for_all(self):
        for release in ('1.0', '2.0', '3.0'):
            with self.subTest(release):
                self.at(release)
                self.fold(2, 'nova/a.py', 'hook = 2', 'hook = 22')
                self.ok('export', release)
                self.assertEqual([
                    ' M patches/1.0/tree.txt', ' M patches/2.0/tree.txt',
                    ' M patches/3.0/tree.txt', f' M {SHARED}'], self.status())
                for other in self.trees:
                    self.has(other, 'nova/a.py', 'hook = 22')
                self.ok('check')
                base.git(self.root, 'checkout', '--quiet', '.')
                for other in self.trees:
                    self.ok('apply', other)

    def test_nothing_to_write_on_any(self):
        for release in self.trees:
            self.assertIn('nothing to write', self.ok('export', release))
        self.assertEqual([], self.status())

    def test_a_new_patch_from_the_newest(self):
        self.at('3.0')
        self.edit('nova/a.py', base.hook(self.text('nova/a.py'), 11, 'h = 11'))
        self.edit('nova/xl/two.py', 'TWO = 2\n')
        self.commit('Fourth hook\n\nWhy.')
        self.ok('export', '3.0')
        self.assertEqual([' M patches/series', '?? nova/xl/two.py',
                          '?? patches/fourth-hook.patch'], self.patches())
        for release in self.trees:
            self.has(release, 'nova/a.py', '        h = 11')
            self.has(release, 'nova/xl/two.py', 'TWO = 2')
        self.ok('check')

    def test_reworded_moved_and_removed(self):
        self.at('2.0')
        base.git(self.tree, 'commit', '--quiet', '--amend', '-m',
                 'Another subject\n\nWhy.\n\nChange-Id: I' + '3' * 40)
        todo = self.folder / 'todo'
        ids = base.git(self.tree, 'log', '--format=%h').split()
        todo.write_text(f'pick {ids[0]}\npick {ids[2]}\n')
        base.git(self.tree, 'rebase', '--quiet', '-i', 'refs/xloud/base',
                 GIT_SEQUENCE_EDITOR=f'cp {todo}')
        self.ok('export', '2.0')
        self.assertEqual(
            ['another-subject.patch', 'first-hook-call-one.patch'],
            (self.root / 'patches/series').read_text().split())
        self.assertFalse((self.root / 'patches/second-hook.patch').exists())
        for release in self.trees:
            self.ok('apply', release)
            self.assertEqual(
                ['First hook: call one', 'Another subject'],
                base.git(self.trees[release], 'log', '--format=%s',
                         'refs/xloud/base..').strip().split('\n'))
        self.ok('check')

    def only(self):
        self.at('2.0')
        self.fold(2, 'nova/a.py', 'hook = 2', 'hook = 22')
        self.ok('export', '2.0', '--only')

    def test_only_here(self):
        """And not for the release after it, which looked up the same."""
        self.only()
        for release, number in (('1.0', 2), ('2.0', 22), ('3.0', 2)):
            self.has(release, 'nova/a.py', f'        hook = {number}\n')
        self.assertEqual(['?? patches/2.0/first-hook-call-one.patch',
                          '?? patches/3.0/first-hook-call-one.patch'],
                         self.patches())
        self.ok('check')

    def test_only_the_oldest(self):
        self.at('1.0')
        self.fold(2, 'nova/a.py', 'hook = 2', 'hook = 22')
        self.ok('export', '--only')
        self.assertEqual([f' M {SHARED}',
                          '?? patches/2.0/first-hook-call-one.patch'],
                         self.patches())
        for release, number in (('1.0', 22), ('2.0', 2), ('3.0', 2)):
            self.has(release, 'nova/a.py', f'        hook = {number}\n')

    def test_a_new_one_only_here(self):
        self.at('2.0')
        self.edit('nova/b.py', self.text('nova/b.py') + 'B = 2\n')
        self.commit('For two alone\n\nWhy.')
        self.ok('export', '2.0', '--only')
        self.assertEqual(b'', (self.root / 'patches/for-two-alone.patch')
                         .read_bytes())
        self.assertEqual(b'', (self.root / 'patches/3.0/for-two-alone.patch')
                         .read_bytes())
        self.ok('check')
        for release in self.trees:
            self.ok('apply', release)
            self.assertEqual(release == '2.0', 'B = 2' in (
                self.trees[release] / 'nova/b.py').read_text())
        # It keeps its place as 1.0 gets more.
        self.at('1.0')
        self.edit('nova/b.py', self.text('nova/b.py').replace(
            'return 10', 'return 11', 1))
        self.commit('Eleven\n\nWhy.')
        self.ok('export')
        self.assertEqual(['for-two-alone.patch', 'eleven.patch'], (
            self.root / 'patches/series').read_text().split()[-2:])
        self.ok('check')

    def test_a_change_of_what_has_an_override(self):
        """What changed is merged into the form of the other release."""
        self.at('2.0')
        self.fold(2, 'nova/a.py', '        hook = 2\n',
                  '        hook = 2  # of two\n        more = 2\n')
        self.ok('export', '2.0', '--only')
        self.at('1.0')
        self.fold(1, 'nova/b.py', 'X = 1', 'X = 11')
        self.fold(2, 'nova/xl/one.py', 'ONE = 1', 'ONE = 11')
        base.git(self.tree, 'rebase', '--quiet', '-i', 'refs/xloud/base',
                 '--exec', 'true')
        self.ok('export')
        self.has('2.0', 'nova/a.py', 'hook = 2  # of two\n')
        self.has('2.0', 'nova/b.py', 'X = 11')
        self.has('2.0', 'nova/xl/one.py', 'ONE = 11')
        self.ok('check')

    def third(self, old: str, new: str, second: str):
        """A commit on 1.0 below the second hook, which is `second` then."""
        git = base.git
        git(self.tree, 'reset', '--quiet', '--hard', 'HEAD~2')
        self.edit('nova/b.py', base.B.replace(old, new, 1))
        self.commit('Third hook\n\nWhy.\n\nChange-Id: I' + '4' * 40)
        self.edit('nova/a.py', base.hook(self.text('nova/a.py'), 6,
                                         'hook = 6'))
        self.edit('nova/b.py', second)
        self.commit('Second hook\n\nWhy.\n\nChange-Id: I' + '2' * 40)
        git(self.tree, 'cherry-pick', 'refs/xloud/applied')

    def fold_third(self):
        """The third hook and the second become one, which is the second."""
        base.git(self.tree, 'rebase', '--quiet', '-i', 'refs/xloud/base',
                 GIT_SEQUENCE_EDITOR='sed -i "3s/pick/fixup -C/"')

    def test_a_patch_is_folded_into_one_that_has_an_override(self):
        """Nothing of it is lost there."""
        self.at('1.0')
        third = base.B.replace('one = 1', 'one = 11', 1)
        self.third('one = 1', 'one = 11', third.replace(
            'import re\n', 'import re\n\nX = 1', 1))
        self.ok('export')
        self.fold_third()
        self.ok('export')
        for release in ('2.0', '3.0'):
            self.has(release, 'nova/b.py', 'one = 11')
            self.has(release, 'nova/b.py', 'X = 1\n')
            self.has(release, 'nova/a.py', '        hook = 6\n')
        self.ok('check')

    def test_one_that_stood_on_what_is_folded_into_it(self):
        """Nobody can tell what changed: a person looks at it."""
        self.at('1.0')
        self.third('import re\n', 'import re\n\nX = 1', base.B.replace(
            'import re\n', 'import re\n\nX = 2', 1))
        self.ok('export')
        self.has('3.0', 'nova/b.py', 'X = 2\n')
        self.at('3.0')
        self.fold(1, 'nova/a.py', 'hook = 6', 'hook = 66')
        self.ok('export', '3.0', '--only')
        self.at('1.0')
        self.fold_third()
        before = self.snapshot()
        self.assertIn('second-hook.patch has its own form on 3.0',
                      self.expect(3, 'export'))
        self.assertEqual(before, self.snapshot())

    def fold_first(self, how: str = 'fixup'):
        """The second hook goes into the first, which has a form of its own
        on 2.0; the one of these that is left is the first with `fixup`.
        """
        base.git(self.tree, 'rebase', '--quiet', '-i', 'refs/xloud/base',
                 GIT_SEQUENCE_EDITOR=f'sed -i "2s/pick/{how}/"')

    def test_one_that_has_an_override_is_folded(self):
        """The form of the other release is not lost without a word."""
        for how, gone in (('fixup', 'hook = 66'), ('fixup -C', 'hook = 22')):
            with self.subTest(how):
                self.at('2.0')
                number = 1 if how == 'fixup' else 2
                self.fold(number, 'nova/a.py', gone[:-1] + '\n', gone + '\n')
                self.ok('export', '2.0', '--only')
                self.at('1.0')
                self.fold_first(how)
                before = self.snapshot()
                self.assertIn('does not fit 2.0', self.expect(
                    1, 'export', '--check'))
                self.assertIn(' conflicts at nova/a.py:',
                              self.expect(3, 'export'))
                self.assertEqual(before, self.snapshot())
                self.at('2.0')
                text = self.text('nova/a.py')
                self.edit('nova/a.py', re.sub(
                    r'<<<<<<< .*\n((?:.*\n)+?)\|\|\|\|\|\|\| (?:.*\n)+?'
                    r'>>>>>>> .*\n', r'\1', text))
                base.git(self.tree, 'add', 'nova/a.py')
                self.ok('rebase', '--continue', '2.0')
                self.has('2.0', 'nova/a.py', f'        {gone}\n')
                self.has('2.0', 'nova/b.py', 'X = 1\n')
                self.has('1.0', 'nova/a.py', f'        {gone[:-1]}\n')
                self.has('3.0', 'nova/a.py', f'        {gone[:-1]}\n')
                self.ok('check')
                shutil.rmtree(self.root)
                shutil.copytree(Three.saved, self.root, symlinks=True)

    def test_one_is_folded_that_repeats_a_line_of_the_other(self):
        """Hooks in several functions of a file are often the same line."""
        self.at('1.0')
        self.edit('nova/a.py', base.hook(
            self.text('nova/a.py'), 10, 'hook = 6'))
        self.commit('Again\n\nWhy.\n\nChange-Id: I' + '4' * 40)
        self.ok('export')
        self.ok('apply', '2.0')
        self.at('2.0')
        self.edit('nova/a.py', re.sub(
            r'(first = 10\n +hook =) 6', r'\1 66', self.text('nova/a.py')))
        base.git(self.tree, 'commit', '--quiet', '--all', '--amend',
                 '--no-edit')
        self.ok('export', '2.0', '--only')
        self.at('1.0')
        base.git(self.tree, 'rebase', '--quiet', '-i', 'refs/xloud/base',
                 GIT_SEQUENCE_EDITOR='sed -i "3{h;d};4{s/pick/fixup/;G}"')
        before = self.snapshot()
        self.assertIn('second-hook.patch conflicts at nova/a.py:',
                      self.expect(3, 'export'))
        self.assertEqual(before, self.snapshot())

    def test_one_that_a_release_is_without_is_folded(self):
        """A person decided that; it does not come back by itself."""
        self.at('2.0')
        base.git(self.tree, 'rebase', '--quiet', '--onto', 'HEAD~2', 'HEAD~')
        self.ok('export', '2.0', '--only')
        self.at('1.0')
        self.fold_first()
        before = self.snapshot()
        said = self.expect(3, 'export')
        self.assertIn('first-hook-call-one.patch has its own form on 2.0',
                      said)
        self.assertIn('rebase --skip first-hook-call-one.patch 2.0', said)
        self.assertEqual(before, self.snapshot())
        # To give up decides nothing.
        self.ok('rebase', '--abort', '2.0')
        self.assertIn('has its own form on 2.0', self.expect(3, 'export'))
        self.assertEqual(before, self.snapshot())
        self.at('2.0')
        git = base.git
        git(self.tree, 'checkout', '--quiet', 'HEAD~', '--', 'nova/b.py')
        self.edit('nova/a.py', self.text('nova/a.py').replace(
            '        hook = 6\n', ''))
        git(self.tree, 'commit', '--quiet', '--all', '--amend', '--no-edit')
        self.ok('rebase', '--continue', '2.0')
        self.has('2.0', 'nova/a.py', 'hook = 2\n')
        self.assertNotIn('hook = 6', self.text('nova/a.py'))
        self.assertNotIn('X = 1\n', self.text('nova/b.py'))
        self.ok('check')

    def test_a_new_one_takes_in_what_a_release_is_without(self):
        self.at('2.0')
        base.git(self.tree, 'rebase', '--quiet', '--onto', 'HEAD~3', 'HEAD~')
        self.ok('export', '2.0', '--only')
        self.at('1.0')
        git = base.git
        third = self.head()
        git(self.tree, 'reset', '--quiet', '--soft', 'HEAD~3')
        git(self.tree, 'commit', '--quiet', '-m', 'New\n\nWhy.')
        self.assertNotEqual(third, self.head())
        said = self.expect(3, 'export')
        self.assertIn('new.patch has ', said)
        self.ok('rebase', '--skip', 'new', '2.0')
        self.ok('check')

    def test_a_change_of_what_another_release_is_without(self):
        self.at('3.0')
        base.git(self.tree, 'rebase', '--quiet', '--onto', 'HEAD~2', 'HEAD~')
        self.ok('export', '3.0', '--only')
        self.at('1.0')
        notice = '3.0 stays without second-hook.patch, which has changed'
        self.fold(2, 'nova/a.py', 'hook = 2', 'hook = 22')
        self.assertNotIn(notice, self.ok('export'))
        self.fold(1, 'nova/b.py', 'X = 1', 'X = 11')
        self.assertIn(notice, self.ok('export'))
        self.ok('check')

    def test_where_it_does_not_fit(self):
        """Stops in the tree of that release; nothing is written before."""
        self.only()
        before = self.snapshot()
        self.at('1.0')
        self.fold(2, 'nova/a.py', 'hook = 2', 'hook = 222')
        head = self.head()
        self.assertIn('does not fit 2.0', self.expect(1, 'export', '--check'))
        said = self.expect(3, 'export')
        self.assertIn('first-hook-call-one.patch conflicts at nova/a.py:',
                      said)
        self.assertIn('+        hook = 222', said)
        self.assertIn('rebase --continue 2.0', said)
        self.assertEqual((before, head), (self.snapshot(), self.head()))
        self.assertIn('is being brought to 2.0', self.ok('status', '2.0'))
        for verb in ('apply', 'export'):
            self.assertIn('a rebase is not finished', self.expect(
                5, verb, '2.0'))
        self.assertIn('a rebase is not finished', self.expect(5, 'export'))
        self.assertIn('conflicts at', self.expect(3, 'rebase', '--continue'))
        # Given up, all is as before.
        self.ok('rebase', '--abort')
        self.assertEqual(before, self.snapshot())
        self.assertIn('no change', self.ok('apply', '2.0'))
        self.expect(3, 'export')
        path = self.trees['2.0'] / 'nova/a.py'
        path.write_text(re.sub(
            '<<<<<<<.*>>>>>>>[^\n]*\n', '        hook = 2222\n',
            path.read_text(), flags=re.S))
        base.git(self.trees['2.0'], 'add', '-A')
        said = self.ok('rebase', '--continue')
        self.assertIn('wrote patches/first-hook-call-one.patch', said)
        for release, number in (('1.0', 222), ('2.0', 2222), ('3.0', 222)):
            self.has(release, 'nova/a.py', f'        hook = {number}\n')
        # So 3.0, which was like 1.0, needs its override as before.
        self.ok('check')
        self.assertEqual([], [row['next'] for row in self.json('status')
                              if row['next']])

    def test_what_was_resolved_and_given_up_is_only_offered(self):
        self.only()
        self.at('1.0')
        self.fold(2, 'nova/a.py', 'hook = 2', 'hook = 222')
        self.expect(3, 'export')
        before = self.snapshot()
        path = self.trees['2.0'] / 'nova/a.py'
        path.write_text(re.sub(
            '<<<<<<<.*>>>>>>>[^\n]*\n', '        hook = 2222\n',
            path.read_text(), flags=re.S))
        base.git(self.trees['2.0'], 'add', '-A')
        self.ok('rebase', '--abort')
        said = self.expect(3, 'export')
        self.assertEqual(before, self.snapshot())
        self.assertIn('<<<<<<<', path.read_text())
        for command in re.search(
                r'or take what was resolved before .*?: (.*), and rebase',
                said).group(1).split(' && '):
            base.git(self.root, *command.split()[1:])
        said = self.ok('rebase', '--continue')
        self.assertIn('first-hook-call-one.patch on 2.0: as it was resolved',
                      said)
        self.has('2.0', 'nova/a.py', '        hook = 2222\n')
        # Nor does it decide about a later change.
        store = self.root / 'build/.cache/store.git'
        self.assertEqual('', base.git(
            store, 'for-each-ref', 'refs/resolved/carried'))
        self.ok('check')

    def test_all_stops_of_an_export_are_given_up(self):
        for release, number in (('2.0', 22), ('3.0', 33)):
            self.at(release)
            self.fold(2, 'nova/a.py', 'hook = 2', f'hook = {number}')
            self.ok('export', release, '--only')
        self.at('1.0')
        self.fold(2, 'nova/a.py', 'hook = 2', 'hook = 222')
        before = self.snapshot()
        skip = 'rebase', '--skip', 'first-hook-call-one'
        draft = self.trees['3.0'] / 'draft.py'
        for is_refused in False, True:
            self.assertIn('nova-2.0', self.expect(3, 'export'))
            if is_refused:
                draft.touch()
                self.assertIn('draft.py', self.expect(5, *skip))
                draft.unlink()
            self.assertIn('nova-3.0', self.expect(
                3, *(['export'] if is_refused else skip)))
            self.ok('rebase', '--abort')
            self.assertEqual(before, self.snapshot())
        self.expect(3, 'export')
        self.expect(3, *skip)
        # Another export takes nothing of it.
        self.assertIn('nothing to write', self.ok('export', '2.0'))
        self.ok(*skip)
        # 3.0 as well: it is the next one after that.
        self.assertEqual(b'', (
            self.root / 'patches/2.0/first-hook-call-one.patch').read_bytes())
        self.ok('check')

    def test_leave_it_out_there(self):
        self.only()
        self.at('1.0')
        self.fold(2, 'nova/a.py', 'hook = 2', 'hook = 222')
        self.expect(3, 'export')
        said = self.ok('rebase', '--skip', 'first-hook-call-one')
        self.assertIn('2.0 is without first-hook-call-one.patch', said)
        self.assertEqual(b'', (
            self.root / 'patches/2.0/first-hook-call-one.patch').read_bytes())
        self.has('3.0', 'nova/a.py', 'hook = 222')
        self.ok('check')

    def test_killed_when_it_goes_on(self):
        self.only()
        self.at('1.0')
        self.fold(2, 'nova/a.py', 'hook = 2', 'hook = 222')
        self.expect(3, 'export')
        skip = 'rebase', '--skip', 'first-hook-call-one'
        forget = rebase.forget
        with mock.patch.object(rebase, 'forget', lambda tree: (
                forget(tree), os._exit(9))):
            self.assertEqual(9, self.run_verb(*skip).code)
        self.assertIn('no rebase is under way', self.expect(2, *skip))
        self.assertIn('2.0 is without first-hook-call-one.patch',
                      self.ok('export'))
        self.ok('check')

    def test_an_override_that_became_idle_goes(self):
        self.only()
        self.at('2.0')
        self.fold(2, 'nova/a.py', 'hook = 22', 'hook = 2')
        self.ok('export', '2.0', '--only')
        self.assertEqual([], self.status())

    def test_a_point_release_of_the_middle_one(self):
        """3.0 keeps what it has, whatever 2.0 needs."""
        self.only()
        base.git(self.root, 'add', '-A')
        base.git(self.root, 'commit', '--quiet', '-m', 'only')
        base.sdist(self.root / 'build/.cache/sdist/nova-2.1.tar.gz', '2.1', {
            **base.NEXT, 'nova/b.py': base.B + 'NEW = 1\n'})
        self.ok('rebase', '2.0', '--to', '2.1')
        self.assertEqual([' M patches/2.0/upstream.txt'], self.patches())
        self.has('3.0', 'nova/a.py', '        hook = 2\n')
        self.ok('check')

    def test_refuses_what_cannot_be_for_one_release(self):
        self.at('2.0')
        base.git(self.tree, 'commit', '--quiet', '--amend', '-m',
                 'Another subject\n\nWhy.\n\nChange-Id: I' + '3' * 40)
        before = self.snapshot()
        self.assertIn('on another release',
                      self.expect(5, 'export', '2.0', '--only'))
        base.git(self.tree, 'reset', '--hard', '--quiet', 'refs/xloud/applied')
        ids = base.git(self.tree, 'log', '--format=%h').split()
        todo = self.folder / 'todo'
        todo.write_text(''.join(f'pick {ids[n]}\n' for n in (0, 2, 1)))
        base.git(self.tree, 'rebase', '--quiet', '-i', 'refs/xloud/base',
                 GIT_SEQUENCE_EDITOR=f'cp {todo}')
        self.assertIn('have another order',
                      self.expect(5, 'export', '2.0', '--only'))
        self.assertEqual(before, self.snapshot())
