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

"""Guarantees 2 to 4: the same ids everywhere, nothing changes by itself,
one edit changes one file."""

from __future__ import annotations

import os
import shutil

from xloud_series import apply
from xloud_series import export
from xloud_series.tests import base

HOSTILE = {
    'core.autocrlf': 'true', 'core.eol': 'crlf', 'core.fileMode': 'false',
    'core.quotePath': 'true', 'core.commentChar': 'W', 'core.abbrev': '4',
    'core.whitespace': 'trailing-space,cr-at-eol',
    'core.ignoreCase': 'true', 'core.safecrlf': 'true',
    'core.logAllRefUpdates': 'false',
    'core.attributesFile': '{home}/attributes',
    'core.excludesFile': '{home}/excludes',
    'core.hooksPath': '{home}/hooks',
    'init.templateDir': '{home}/template', 'init.defaultBranch': 'odd',
    'apply.whitespace': 'fix', 'apply.ignoreWhitespace': 'change',
    'am.keepcr': 'false', 'am.threeWay': 'true',
    'color.ui': 'always', 'color.diff': 'always',
    'commit.gpgSign': 'true', 'commit.cleanup': 'scissors',
    'commit.template': '{home}/hooks', 'gpg.program': '/bin/false',
    'diff.noprefix': 'true', 'diff.mnemonicPrefix': 'true',
    'diff.context': '7', 'diff.interHunkContext': '9',
    'diff.suppressBlankEmpty': 'true', 'diff.algorithm': 'histogram',
    'diff.renames': 'false', 'diff.external': '/bin/false',
    'diff.indentHeuristic': 'false', 'diff.relative': 'true',
    'diff.orderFile': '{home}/order', 'diff.ignoreSubmodules': 'all',
    'diff.python.xfuncname': 'x', 'diff.python.textconv': '/bin/false',
    'format.useAutoBase': 'true', 'format.signOff': 'true',
    'format.attach': 'x', 'format.from': 'x <x@y>',
    'format.coverLetter': 'true', 'format.headers': 'X: y',
    'format.suffix': '.txt', 'format.subjectPrefix': 'X',
    'format.pretty': 'oneline', 'format.thread': 'deep',
    'fetch.prune': 'true', 'fetch.pruneTags': 'true',
    'i18n.commitEncoding': 'latin1', 'i18n.logOutputEncoding': 'latin1',
    'log.showSignature': 'true', 'log.date': 'relative',
    'log.decorate': 'full', 'log.follow': 'true',
    'mailinfo.scissors': 'true', 'merge.conflictStyle': 'merge',
    'merge.renames': 'false', 'protocol.file.allow': 'never',
    'protocol.version': '0', 'rerere.enabled': 'true',
    'status.showUntrackedFiles': 'no', 'status.short': 'true',
    'status.relativePaths': 'false', 'status.renames': 'copies',
    'trailer.separators': '%', 'user.useConfigOnly': 'true',
}


class TestSame(base.Case):

    def hostile_home(self) -> str:
        home = self.folder / 'home'
        for name in ('hooks', 'template/hooks', 'template/info'):
            (home / name).mkdir(parents=True)
        for name in ('pre-commit', 'commit-msg', 'applypatch-msg',
                     'post-checkout', 'reference-transaction',
                     'prepare-commit-msg'):
            for place in ('hooks', 'template/hooks'):
                (home / place / name).write_text('#!/bin/sh\nexit 1\n')
                (home / place / name).chmod(0o755)
        (home / 'attributes').write_text('* text eol=crlf -diff ident\n')
        (home / 'template/info/attributes').write_text('* -diff eol=crlf\n')
        (home / 'excludes').write_text('*\n')
        (home / 'order').write_text('*.rst\n')
        for key, value in HOSTILE.items():
            base.git(self.folder, 'config', '--file', str(home / '.gitconfig'),
                     key, value.format(home=home))
        return str(home)

    def hostile(self) -> dict:
        home = self.hostile_home()
        return {'HOME': home, 'XDG_CONFIG_HOME': home, 'GIT_DIFF_OPTS': '-u9',
                'GIT_EXTERNAL_DIFF': '/bin/false', 'GIT_DIR': '/nonexistent',
                'GIT_INDEX_FILE': '/nonexistent', 'GIT_TEMPLATE_DIR': home,
                'GIT_AUTHOR_DATE': '@1 +0000', 'GIT_AUTHOR_NAME': 'X',
                'GIT_COMMITTER_DATE': '@1 +0000', 'TZ': 'Asia/Tokyo',
                'LC_ALL': 'vi_VN.UTF-8', 'LANG': 'vi_VN.UTF-8',
                'GIT_CONFIG_COUNT': '1', 'GIT_CONFIG_KEY_0': 'diff.context',
                'GIT_CONFIG_VALUE_0': '0'}

    def test_cold_under_a_hostile_user(self):
        tip, before = self.head(), self.snapshot()
        shutil.rmtree(self.tree)
        shutil.rmtree(self.root / 'build/.cache/store.git')
        env = self.hostile()
        old = os.umask(0o077)
        try:
            self.ok('apply', **env)
            self.assertEqual(tip, self.head())
            self.assertEqual([], self.status())
            self.assertIn('nothing to write', self.ok('export', **env))
            self.ok('check', **env)
            self.ok('apply', **env)
        finally:
            os.umask(old)
        self.assertEqual((tip, before), (self.head(), self.snapshot()))

    def test_another_zone_locale_and_umask(self):
        tip = self.head()
        for number, env in enumerate((
                {'TZ': 'America/New_York', 'LC_ALL': 'C'},
                {'TZ': 'Asia/Kathmandu', 'LC_ALL': 'de_DE.ISO-8859-1'})):
            shutil.rmtree(self.root / 'build/nova-1.0')
            shutil.rmtree(self.root / 'build/.cache/store.git')
            old = os.umask((0o002, 0o077)[number])
            try:
                self.ok('apply', **env)
            finally:
                os.umask(old)
            self.assertEqual(tip, self.head())
            self.assertIn('nothing to write', self.ok('export', **env))

    def local(self, part: int):
        """Each setting, alone, in the tree's own configuration."""
        home = self.hostile_home()
        tip, before = self.head(), self.snapshot()
        config = self.tree / '.git/config'
        clean = config.read_bytes()
        for number, key in enumerate(sorted(HOSTILE)[part::3]):
            with self.subTest(key):
                base.git(self.tree, 'config', key,
                         HOSTILE[key].format(home=home))
                with self.work() as work:
                    got = export.export(work, self.release())
                    self.assertEqual([], got['changed'])
                    if number % 4 == 0:
                        apply.apply(work, self.release())
                self.assertEqual((tip, tip), (got['tip'], self.head()))
                self.assertEqual(before, self.snapshot())
                config.write_bytes(clean)

    def test_local_1(self):
        self.local(0)

    def test_local_2(self):
        self.local(1)

    def test_local_3(self):
        self.local(2)

    def test_hostile_work_gives_the_same_patch(self):
        """A commit made and exported by a hostile user: the same bytes."""
        self.edit('nova/a.py', base.hook(self.text('nova/a.py'), 8, 'h = 8'))
        self.commit('Fourth hook\n\nWhy.')
        head = self.head()
        self.ok('export')
        want = self.snapshot()
        git = base.git
        git(self.root, 'reset', '--hard', '--quiet')
        git(self.root, 'clean', '-fdq')
        git(self.tree, 'update-ref', 'refs/xloud/applied', 'HEAD~')
        git(self.tree, 'reset', '--hard', '--quiet', head)
        shutil.copy(self.hostile_home() + '/.gitconfig',
                    self.folder / 'extra')
        with open(self.tree / '.git/config', 'a') as config:
            config.write((self.folder / 'extra').read_text())
        self.ok('export')
        self.assertEqual(want, self.snapshot())


class TestRoundTrip(base.Case):

    def test_nothing_to_write(self):
        self.assertEqual([], self.status())
        tip = self.head()
        self.assertIn('no change', self.ok('apply'))
        self.assertIn('nothing to write', self.ok('export'))
        self.assertIn('nothing to write', self.ok('export', '--check'))
        self.assertEqual(([], tip), (self.status(), self.head()))

    def test_one_edit_one_file(self):
        self.edit('nova/a.py', self.text('nova/a.py').replace(
            'hook = 2', 'hook = 22'))
        base.git(self.tree, 'add', '-A')
        base.git(self.tree, 'commit', '--quiet', '--fixup=HEAD~2')
        base.git(self.tree, 'rebase', '--quiet', '-i', '--autosquash',
                 'refs/xloud/base')
        self.assertIn('would write', self.expect(1, 'export', '--check'))
        self.assertEqual([], self.status())
        self.ok('export')
        self.assertEqual([' M patches/1.0/tree.txt',
                          ' M patches/first-hook-call-one.patch'],
                         self.status())
        # Of what comes out, only that file is another one.
        self.assertEqual(['1\t1\tpatches/1.0/tree.txt',
                          '1\t1\tpatches/first-hook-call-one.patch'],
                         base.git(self.root, 'diff', '--numstat').split(
                             '\n')[:-1])

    def test_many_files_are_counted(self):
        for number in range(13):
            self.edit(f'nova/xl/many_{number}.py', f'N = {number}\n')
        self.commit('Many\n\nWhy.')
        said = self.expect(1, 'export', '--check')
        self.assertIn('would write 15 files\n', said)
        said = self.ok('export')
        self.assertIn('wrote 13 files in nova/xl\n', said)
        self.assertIn('wrote 2 files in patches\n', said)
        self.assertNotIn('many_1.py', said)

    def test_overlay_edit_is_one_file(self):
        self.edit('nova/xl/one.py', 'ONE = 11\n')
        base.git(self.tree, 'add', '-A')
        base.git(self.tree, 'commit', '--quiet', '--fixup=HEAD~2')
        base.git(self.tree, 'rebase', '--quiet', '-i', '--autosquash',
                 'refs/xloud/base')
        self.ok('export')
        self.assertEqual([' M nova/xl/one.py'], self.status())

    def test_what_a_patch_holds(self):
        text = self.patch('first-hook-call-one').read_text()
        self.assertTrue(text.startswith(
            'From: Nguyễn Văn A <dev@xloud.invalid>\n'
            'Date: Sun, 15 Jun 2025 22:06:40 +0700\n'
            'Subject: First hook: call one\n'))
        self.assertIn('Overlay: nova/xl/__init__.py\n'
                      'Overlay: nova/xl/one.py\n', text)
        self.assertNotIn('\nindex ', text)
        self.assertNotIn('ONE', text)
        self.assertTrue(self.patch('ghi-chu-notes').exists())

    def test_git_am_takes_it(self):
        base.git(self.tree, 'checkout', '--quiet', '--detach',
                 'refs/xloud/base')
        patches = [str(self.files / name) for name in
                   (self.files / 'series').read_text().split()]
        base.git(self.tree, 'am', '--quiet', '--keep-cr', *patches)
        self.assertEqual(
            base.git(self.tree, 'log', '--format=%an %ae %ad%n%B', 'HEAD'),
            base.git(self.tree, 'log', '--format=%an %ae %ad%n%B',
                     'xloud/1.0'))
        self.assertEqual('', base.git(
            self.tree, 'diff', '--diff-filter=ad', 'HEAD', 'xloud/1.0'))

    def test_new_commit_gets_a_change_id(self):
        self.edit('nova/xl/two.py', 'TWO = 2\n')
        self.commit('Only a new file\n\nWhy.\n\nCloses-Bug: #1')
        self.ok('export')
        text = self.patch('only-a-new-file').read_text()
        self.assertRegex(text, '\nWhy.\n\nCloses-Bug: #1\n'
                         'Change-Id: I[0-9a-f]{40}\n---\n$')
        message = base.git(self.tree, 'log', '-1', '--format=%B')
        self.assertIn('Change-Id: I', message)
        self.assertEqual('TWO = 2\n',
                         (self.root / 'nova/xl/two.py').read_text())
        self.ok('check')
        self.ok('apply')

    def test_reorder_rename_and_comments(self):
        series = self.files / 'series'
        first, second, third = series.read_text().split()
        series.write_text(f'# The head of the file.\n\n# about first\n{first}'
                          f'\n{second}\n\n# about third\n{third}\n# end\n')
        (self.files / 'README').write_text('mine\n')
        self.assertIn('nothing to write', self.ok('export'))
        base.git(self.tree, 'commit', '--quiet', '--amend', '-m',
                 'Another subject\n\nWhy.\n\nChange-Id: I' + '3' * 40)
        said = self.ok('export')
        self.assertEqual(
            f'# The head of the file.\n\n# about first\n{first}\n{second}\n\n'
            f'# about third\nanother-subject.patch\n# end\n',
            series.read_text())
        self.assertFalse((self.files / third).exists())
        for line in ('wrote patches/another-subject.patch',
                     f'removed patches/{third}',
                     'in all: wrote 2 files, removed 1 file; git status'):
            self.assertIn(f'{line}', said)
        base.git(self.tree, 'rebase', '--quiet', '--onto', 'HEAD~3', 'HEAD~2')
        self.ok('export')
        self.assertEqual(
            f'# The head of the file.\n\n# about first\n{second}\n\n'
            f'# about third\nanother-subject.patch\n# end\n',
            series.read_text())
        self.assertFalse((self.root / 'nova/xl').exists())
        self.assertEqual('mine\n', (self.files / 'README').read_text())
        self.ok('check')

    def test_binary_mode_symlink_rename(self):
        (self.tree / 'nova/b.py').chmod(0o755)
        (self.tree / 'nova/xl/tool.sh').write_text('#!/bin/sh\n')
        (self.tree / 'nova/xl/tool.sh').chmod(0o755)
        (self.tree / 'nova/dos.txt').write_bytes(b'\0\1binary')
        base.git(self.tree, 'mv', 'nova/gone.py', 'nova/moved here.py')
        os.symlink('a.py', self.tree / 'nova/link.py')
        self.commit('All kinds\n\nWhy.')
        said = self.expect(1, 'export')
        self.assertIn('--carry nova/link.py', said)
        self.ok('export', '--carry', 'nova/link.py')
        self.ok('check')
        text = self.patch('all-kinds').read_text()
        self.assertIn('new mode 100755', text)
        self.assertIn('rename to nova/moved here.py', text)
        self.assertTrue(os.access(self.root / 'nova/xl/tool.sh', os.X_OK))
        tip = self.head()
        shutil.rmtree(self.tree)
        self.ok('apply')
        self.assertEqual(tip, self.head())

    def test_a_file_system_that_gives_each_file_the_x_bit(self):
        """Else the commits would be others than elsewhere."""
        for path in self.root.rglob('*'):
            if path.is_file() and 'build' not in path.parts:
                path.chmod(0o755)
        for verb in ('apply', 'check', 'status', 'export'):
            self.assertIn('patches/series is executable',
                          self.expect(4, verb))
        self.assertEqual(self.head('refs/xloud/applied'), self.head())

    def test_carried_file_stays_carried(self):
        self.edit('nova/variant.py', 'V = 1\n')
        self.commit('A variant\n\nWhy.\n\nChange-Id: I' + '4' * 40)
        self.assertIn('--carry nova/varient.py: no commit adds that file',
                      self.expect(1, 'export', '--carry', 'nova/varient.py'))
        self.assertEqual([], self.status())
        self.ok('export', '--carry', 'nova/variant.py')
        self.assertFalse((self.root / 'nova/variant.py').exists())
        self.edit('nova/variant.py', 'V = 2\n')
        base.git(self.tree, 'commit', '--quiet', '--amend', '-a', '-C',
                 'HEAD')
        self.ok('export')
        self.assertIn('+V = 2', self.patch('a-variant').read_text())
        self.assertFalse((self.root / 'nova/variant.py').exists())
