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

"""Guarantees 5 and 6: each hunk at its line, every commit compiles."""

from __future__ import annotations

import unittest

from xloud_series import errors
from xloud_series import patchfile
from xloud_series.tests import base


class TestExact(base.Case):

    def offset(self, old: str, new: str, *more: str):
        self.change(self.patch('first-hook-call-one'), old, new)
        for verb in ('apply', 'check'):
            said = self.expect(4, verb)
            self.assertIn('first-hook-call-one.patch: a hunk of nova/a.py '
                          'does not fit exactly', said)
            self.assertIn('+        hook = 2', said)
            for text in more:
                self.assertIn(text, said)

    def test_offset(self):
        self.offset('@@ -16,6 +16,7 @@', '@@ -18,6 +18,7 @@',
                    'expected at line 18, its text is at line 16')

    def test_new_start(self):
        self.offset('@@ -16,6 +16,7 @@', '@@ -16,6 +17,7 @@',
                    'should say +16, not +17')

    def test_fuzz(self):
        self.offset('         second = first + 1\n',
                    '         second = first + 2\n',
                    'its text is nowhere')

    def test_counts(self):
        self.change(self.patch('first-hook-call-one'),
                    '@@ -16,6 +16,7 @@', '@@ -16,6 +16,8 @@')
        self.assertIn('counts of', self.expect(4, 'apply'))

    def test_duplicate_context(self):
        """A stale @@ that hits the twin of the text is caught by its name."""
        parts = self.text('nova/b.py').split('    two = 2\n')
        self.edit('nova/b.py', '    two = 2\n'.join(parts[:2]) +
                  '    two = 3\n' + '    two = 2\n'.join(parts[2:]))
        self.commit('Third twin\n\nWhy.')
        self.ok('export')
        patch = self.patch('third-twin')
        at = int(patch.read_text().split('@@ -')[1].split(',')[0])
        self.change(patch, f'@@ -{at},7 +{at},7', f'@@ -{at + 3},7 +{at},7')
        self.assertIn(f'its text is at line {at - 10}, {at}, {at + 10}',
                      self.expect(4, 'apply'))
        self.change(patch, f'@@ -{at + 3},7 +{at},7',
                    f'@@ -{at - 10},7 +{at - 10},7')
        self.assertIn('is the same, but not in "def twin_1():"',
                      self.expect(4, 'apply'))

    def test_does_not_apply_at_all(self):
        self.change(self.patch('second-hook'), 'nova/b.py', 'nova/zz.py')
        self.assertIn('nova/zz.py is not in the tree', self.expect(4, 'apply'))


class TestCompiles(base.Case):

    def test_syntax_error_in_the_middle(self):
        self.change(self.patch('first-hook-call-one'), '+        hook = 2',
                    '+        hook = = 2')
        self.assertIn('nova/a.py does not compile at the commit "First hook: '
                      'call one": line 19', self.expect(4, 'apply'))

    def test_export_refuses_a_middle_commit(self):
        """Broken by one commit, mended by the next."""
        good = self.text('nova/a.py')
        self.edit('nova/a.py', good + 'def broken(:\n')
        self.commit('Break\n\nWhy.')
        self.edit('nova/a.py', good + 'BROKEN = False\n')
        self.commit('Mend\n\nWhy.')
        before = self.snapshot()
        self.assertIn('does not compile', self.expect(4, 'export'))
        self.assertEqual(before, self.snapshot())

    def test_overlay_file(self):
        for text in (b'ONE = (\n', b'ONE = 1  # caf\xe9\n'):
            (self.root / 'nova/xl/one.py').write_bytes(text)
            self.assertIn('nova/xl/one.py does not compile',
                          self.expect(4, 'apply'))
        (self.root / 'nova/xl/one.py').write_bytes(
            b'# -*- coding: latin-1 -*-\nONE = 1  # caf\xe9\n')
        self.ok('apply')


class TestPatchFile(unittest.TestCase):

    DIFF = ('diff --git a/nova/x b/nova/x\nindex 1..2 100644\n'
            '--- a/nova/x\n+++ b/nova/x\n@@ -1 +1 @@\n-a\n'
            '\\ No newline at end of file\n+b\n')

    def patch(self, **fields):
        return patchfile.Patch(**{**dict(
            author='A B', mail='a@xloud.invalid', date='1750000000 -0330',
            subject='Say so', body='Why.\n\nChange-Id: I' + 'a' * 40,
            overlay=('nova/y.py',), files=patchfile.parse_diff(self.DIFF)),
            **fields})

    def test_round_trip(self):
        for fields in ({}, {'author': 'Đỗ, "Q." (x)'}, {'files': ()},
                       {'body': ''}, {'overlay': ()},
                       {'date': '1 +0000'}, {'subject': 'x ' * 80 + 'y'}):
            patch = self.patch(**fields)
            self.assertEqual(patch, patchfile.parse(patch.render(), 'x'))

    def test_no_index_line_and_sides(self):
        patch = self.patch()
        self.assertNotIn('index', patch.diff)
        hunk, = patch.files[0].hunks
        self.assertEqual((['a'], ['b\n']), (hunk.side('-'), hunk.side('+')))

    def test_format_patch_is_read(self):
        data = (b'From 123 Mon Sep 17 00:00:00 2001\nFrom: a <b@c>\n'
                b'Date: Mon, 1 Jan 2024 00:00:00 +0000\n'
                b'Subject: [PATCH] =?utf-8?q?=C4=91?=\n\nx\n---\n'
                b' n | 2 +-\n\n%s-- \n2.39.5\n\n' % self.DIFF.encode())
        patch = patchfile.parse(data, 'x')
        self.assertEqual('[PATCH] đ', patch.subject)
        self.assertEqual(1, len(patch.files))

    def test_not_a_patch(self):
        for data in (b'', b'x', b'From: a <b>\n\n---\n', b'\xff\n',
                     self.patch().render().replace(b'\n---\n', b'\n', 1)):
            with self.assertRaises(errors.SeriesError) as caught:
                patchfile.parse(data, 'the.patch')
            self.assertIn('the.patch', str(caught.exception))

    def test_slug(self):
        for subject, name in (('A: b/c (d)', 'a-b-c-d'), ('!!', 'patch'),
                              ('Điện toán', 'dien-toan'),
                              ('word ' * 30, ('word-' * 12)[:-1])):
            self.assertEqual(name, patchfile.slug(subject))
