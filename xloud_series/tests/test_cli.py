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


"""The command line refuses what it does not know before it does anything."""

from __future__ import annotations

import contextlib
import io
import unittest

from xloud_series import cli

VERBS = ('apply', 'export', 'check', 'drift', 'rebase', 'patches', 'status')


class TestUsage(unittest.TestCase):

    def says(self, code: int, *args: str) -> str:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(
                said), self.assertRaises(SystemExit) as ended:
            cli.parse(args)
        self.assertEqual(code, ended.exception.code or 0, said.getvalue())
        return said.getvalue()

    def test_help(self):
        for args in ((), *((verb,) for verb in VERBS)):
            for asked in ('--help', '-h'):
                self.assertIn('exit codes:', self.says(0, *args, asked))
        listed = self.says(0, '--help')
        for verb in VERBS:
            self.assertIn(f'\n    {verb} ', listed)

    def test_what_it_does_not_know(self):
        for refused, *args in (
                ('VERB',), ('aply', 'aply'),
                ('--rep', 'apply', '--rep', '/'), ('VERB', '--rep', '/'),
                *(('--force', verb, '--force', *(
                    ['--to', '2'] if verb in ('drift', 'rebase') else []))
                  for verb in VERBS),
                ('more', 'apply', '1.0', 'more'),
                ('--js', 'status', '--js'),
                ('--to', 'drift'), ('--to', 'rebase'),
                ('--abort', 'rebase', '--to', '2', '--abort'),
                ('--as', 'rebase', '--continue', '--as', '2'),
                ('--as', 'rebase', '--abort', '--as', '2')):
            with self.subTest(args):
                self.assertIn(refused, self.says(2, *args))
