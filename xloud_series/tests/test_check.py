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

"""Guarantees 8 and 9: honest messages, no shadow, nothing unclaimed."""

from __future__ import annotations

import re

from xloud_series.tests import base

IDS = '\n\nChange-Id: I' + '5' * 40


class TestMessages(base.Case):

    LOST = {
        '---': 'Fine\n\nBefore.\n---\nAfter.' + IDS,
        'diff -u a b': 'Fine\n\nBefore.\ndiff -u a b\nAfter.' + IDS,
        'Index: x': 'Fine\n\nBefore.\nIndex: x\nAfter.' + IDS,
        '--- a/x': 'Fine\n\nBefore.\n--- a/x\nAfter.' + IDS,
        '[tag] x': '[tag] x\n\nWhy.' + IDS,
        'Re: x': 'Re: x\n\nWhy.' + IDS,
        'From: x': 'Fine\n\nFrom: x <y@z>\n\nWhy.' + IDS,
        'From me': 'Fine\n\nWhy.\nFrom me to you.' + IDS,
        'second line': 'Two\nlines\n\nWhy.' + IDS,
        'Two  blanks': 'Two  blanks\n\nWhy.' + IDS,
        'blank ': 'Fine\n\nA line with a blank \nWhy.' + IDS,
        'folded': 'Fine\n\nTwo blank lines\n\n\nare folded.' + IDS,
    }

    def test_what_has_not_been_folded(self):
        """After --fixup, --autosquash was forgotten."""
        for word in ('fixup', 'squash', 'amend'):
            with self.subTest(word):
                self.edit('nova/a.py', self.text('nova/a.py') + 'X = 1\n')
                self.commit(f'{word}! Second hook')
                before = self.snapshot()
                said = self.expect(1, 'export')
                self.assertIn(self.head()[:10], said)
                self.assertIn('waits to be folded', said)
                self.assertIn('--autosquash refs/xloud/base', said)
                self.assertEqual(before, self.snapshot())
                base.git(self.tree, 'reset', '--hard', '--quiet', 'HEAD~')
        self.change(self.patch('second-hook'), 'Second hook',
                    'fixup! Second hook')
        self.assertIn('second-hook.patch waits to be folded into another',
                      self.expect(1, 'check'))

    def test_what_was_squashed_has_one_change_id(self):
        """git keeps both messages, with one in the middle; the last one
        would count.
        """
        base.git(self.tree, 'rebase', '--quiet', '-i', 'refs/xloud/base',
                 GIT_SEQUENCE_EDITOR='sed -i "2s/pick/squash/"')
        before = self.snapshot()
        said = self.expect(1, 'export')
        self.assertIn('it has 2 Change-Ids', said)
        self.assertIn(f'(I{"1" * 40}, I{"2" * 40})', said)
        self.assertIn('reword it', said)
        self.assertEqual(before, self.snapshot())

    def test_a_backport_of_two_changes(self):
        """Upstream squashed them, and names both; its message stays so."""
        text = ''.join(f'\nChange-Id: I{n * 40}\n(cherry picked from commit '
                       f'{n * 40})' for n in '56')
        self.edit('nova/c.py', 'C = 1\n')
        self.commit(f'Two of theirs\n\nWhy.\n{text}')
        self.ok('export')
        self.ok('check')
        base.git(self.tree, 'commit', '--quiet', '--amend', '-m',
                 f'Two of theirs\n\nAnd ours.\n\nChange-Id: I{"7" * 40}\n'
                 f'{text}')
        self.assertIn('it has 3 Change-Ids', self.expect(1, 'export'))

    def test_what_git_am_would_lose(self):
        for text, message in self.LOST.items():
            with self.subTest(text):
                self.edit('nova/c.py', f'"""{len(text)}"""\n')
                base.git(self.tree, 'add', '-A')
                base.git(self.tree, 'commit', '--quiet',
                         '--cleanup=verbatim', '-m', message)
                before = self.snapshot()
                said = self.expect(1, 'export')
                self.assertIn(self.head()[:10], said)
                self.assertIn('reword it', said)
                self.assertEqual(before, self.snapshot())
                base.git(self.tree, 'reset', '--hard', '--quiet', 'HEAD~')

    def test_what_it_keeps(self):
        message = ('Ưu tiên: ' + 'a long subject ' * 3 + 'end\n\n# a hash\n'
                   '  indented\n> quoted\n-- two\n- [x] y\n=?odd?=\n\n'
                   'Signed-off-by: a <b@c>\n(cherry picked from commit 1)')
        self.edit('nova/c.py', 'C = 1\n')
        self.commit(message + '\nChange-Id: I' + '5' * 40)
        self.ok('export')
        self.ok('check')

    def test_a_long_subject(self):
        subject = 'x' * 61
        self.edit('nova/c.py', 'C = 1\n')
        self.commit(f'{subject}\n\nWhy.')
        said = self.expect(1, 'export')
        self.assertIn('the subject has 61 characters, at most 60', said)
        self.assertIn('reword it', said)
        base.git(self.tree, 'commit', '--quiet', '--amend', '-m',
                 f'{subject[1:]}\n\nWhy.')
        self.ok('export')
        self.change(self.files / f'{subject[1:]}.patch', 'Subject: x',
                    'Subject: xx')
        self.assertIn('at most 60', self.expect(1, 'check'))

    def test_a_backport_keeps_its_long_subject(self):
        self.edit('nova/c.py', 'C = 1\n')
        self.commit('y' * 70 + '\n\nWhy.\n\nChange-Id: I' + '5' * 40 +
                    '\n(cherry picked from commit ' + '1' * 40 + ')')
        self.ok('export')
        self.ok('check')

    def test_check_finds_it_in_a_file(self):
        self.change(self.patch('second-hook'), 'Subject: Second hook',
                    'Subject: [x] Second hook')
        said = self.expect(1, 'check')
        self.assertIn("git am makes the subject 'Second hook' of "
                      "'[x] Second hook'", said)
        self.assertIn('should be named x-second-hook.patch', said)


class TestCheck(base.Case):

    def test_clean(self):
        self.assertIn('ok', self.ok('check'))
        self.assertIn('ok', self.ok('check', 'all'))
        self.assertEqual({'findings': []}, self.json('check'))

    def test_shadow(self):
        (self.root / 'nova/gone.py').write_text('mine = 1\n')
        self.change(self.patch('first-hook-call-one'),
                    'Overlay: nova/xl/one.py',
                    'Overlay: nova/xl/one.py\nOverlay: nova/gone.py')
        for verb in ('check', 'apply'):
            self.assertIn('nova/gone.py exists upstream: it would shadow',
                          self.expect(4, verb))

    def test_overlay(self):
        (self.root / 'nova/xl/nobody.py').write_text('')
        self.change(self.patch('second-hook'), '\n\nWhy.',
                    '\nOverlay: nova/xl/one.py\nOverlay: nova/xl/miss.py\n\n'
                    'Why.')
        said = self.expect(4, 'check')
        self.assertIn('nova/xl/nobody.py is in the overlay, but no patch '
                      'claims it', said)
        self.assertIn('nova/xl/one.py is claimed by patches/first-hook',
                      said)
        self.assertIn('overlay file nova/xl/miss.py is not there', said)

    def test_new_files_that_no_package_would_have(self):
        for path, data, flags in (
                ('nova/c.py', b'', ()), ('nova/c.bin', b'\0', ()),
                ('top.cfg', b'', ('--carry', 'top.cfg'))):
            with self.subTest(path):
                (self.tree / path).write_bytes(data)
                self.commit('New\n\nWhy.')
                said = self.expect(1, 'export', *flags)
                self.assertRegex(said, f'"New" adds {path}, which is (empty|'
                                 'binary): .*patch')
                self.assertIn('git commit --fixup=', said)
                base.git(self.tree, 'reset', '--hard', '--quiet', 'HEAD~')
        (self.root / 'nova/xl/one.py').write_text('')
        self.assertIn('nova/xl/one.py is empty: `patch -E`',
                      self.expect(1, 'check'))

    def test_series(self):
        series = self.files / 'series'
        first, second, third = series.read_text().split()
        series.write_text(f'{first}\n{first}\n{third}\nnone.patch\n')
        said = self.expect(4, 'check')
        self.assertIn(f'patches/series lists {first} twice', said)
        self.assertIn('lists none.patch, but patches/none.patch is not '
                      'there', said)
        self.assertIn(f'{second} is not listed', said)
        self.assertIn('twice', self.expect(4, 'apply'))
        series.write_text(f'{first}\nnone.patch\n')
        self.assertIn('none.patch', self.expect(4, 'apply'))
        series.write_text(f'{first}\n{second}\n')
        self.assertIn(f'{third} is not listed', self.expect(4, 'check'))

    def test_series_after_a_merge(self):
        """Two changes added a patch at its end."""
        series = self.files / 'series'
        first, second, third = series.read_text().split()
        series.write_text(
            f'{first}\n<<<<<<< HEAD\n{second}\n||||||| 1234567\n=======\n'
            f'{third}\n>>>>>>> other\n')
        for code, verb in ((4, 'apply'), (4, 'check'), (5, 'export')):
            said = self.expect(code, verb)
            self.assertIn('patches/series has the markers of a merge', said)
            self.assertIn('keep the lines of both sides', said)
            self.assertNotIn('is not there', said)
        series.write_text(f'{first}\n{second}\n{third}\n')
        self.ok('check')

    def test_change_ids_and_names(self):
        self.change(self.patch('second-hook'), '2' * 40, '1' * 40)
        self.patch('first-hook-call-one').rename(self.patch('odd'))
        self.change(self.files / 'series', 'first-hook-call-one', 'odd')
        third = self.patch('ghi-chu-notes')
        text = third.read_bytes().decode()
        third.write_bytes(re.sub('Change-Id: .*\n', '', text).encode())
        said = self.expect(1, 'check')
        self.assertIn('second-hook.patch has the same Change-Id as patches/'
                      'odd.patch', said)
        self.assertIn('odd.patch should be named first-hook-call-one.patch',
                      said)
        self.assertIn('ghi-chu-notes.patch has no Change-Id', said)

    def test_not_canonical(self):
        self.change(self.patch('second-hook'), 'Subject:',
                    'X-Note: hello\nSubject:')
        said = self.expect(1, 'check')
        self.assertIn('second-hook.patch is not as export writes it', said)
        self.ok('apply')
        self.ok('export')
        self.assertEqual([], self.status())

    def test_all_findings_and_json(self):
        self.change(self.patch('first-hook-call-one'), '@@ -16,', '@@ -17,')
        (self.root / 'nova/stray.py').write_text('x')
        got = self.json('check')['findings']
        self.assertEqual([4, 1], [one['code'] for one in got])
        self.assertIn('hook = 2', got[0]['detail'])

    def test_not_a_patch(self):
        self.patch('second-hook').write_bytes(b'\xff\xfe garbage\n')
        said = self.expect(4, 'check')
        self.assertIn('second-hook.patch: not a patch of this series', said)


class TestStatus(base.Case):

    def tell(self) -> str:
        return self.json('status')[0]['tree']

    def test_states(self):
        row = self.json('status')[0]
        self.assertEqual(('nova==1.0', 3, 'clean', ''), (
            row['base'], row['patches'], row['tree'], row['next']))
        self.edit('nova/c.py', 'C = 1\n')
        self.assertEqual('dirty', self.tell())
        self.commit('C\n\nWhy.')
        row = self.json('status')[0]
        self.assertEqual('ahead 1', row['tree'])
        self.assertEqual('python3 -m xloud_series export 1.0', row['next'])
        base.git(self.tree, 'checkout', '--quiet', '--detach')
        self.assertEqual('not on its branch', self.tell())
        base.git(self.tree, 'checkout', '--quiet', 'xloud/1.0')
        self.patch('second-hook').write_text('x')
        self.assertIn('not known', self.tell())
        self.tree.rename(self.folder / 'away')
        self.assertEqual('none', self.tell())
        self.assertIn('next: python3 -m xloud_series apply', self.ok('status'))
