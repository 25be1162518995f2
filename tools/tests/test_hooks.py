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

import os
from pathlib import Path
import subprocess
import sys
import tempfile
import textwrap
import unittest

from tools import hooks

BEFORE = '''
"""A module."""
import os

LIMIT = 1


class Manager:
    """It manages."""

    size = 1

    def build(self):
        """Build it."""
        def inner():
            return 1
        return inner()

    def move(self):
        # Nothing to do.
        return 'moved'


def free():
    return 2
'''
AFTER = (
    BEFORE.replace('            return 1\n', '            return 11\n')
    .replace('# Nothing to do.', '# There is nothing to do.')
    .replace('    size = 1', '    size = 2')
    .replace('LIMIT = 1', 'LIMIT = 5')
    .replace('return 2', 'return 22\n\n\ndef new():\n    return 3'))
TESTS = '''
import unittest

from nova import changed


class ManagerTest(unittest.TestCase):
    def test_build(self):
        self.assertEqual(11, changed.Manager().build())

    def test_move(self):
        self.assertEqual('moved', changed.Manager().move())

    def test_all(self):
        changed.Manager().build()
        changed.free()
'''


class HooksTest(unittest.TestCase):
    """On a small repository with the shape of Nova's tree."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Path(folder.name, 'tree')
        self.tree.mkdir()
        self.git('init', '--quiet')
        self.write({'nova/__init__.py': '', 'nova/changed.py': BEFORE,
                    'nova/kept.py': 'def kept():\n    pass\n',
                    'nova/tests/__init__.py': '',
                    'nova/tests/test_changed.py': TESTS})
        self.git('add', '--all')
        self.git('-c', 'user.name=A Tester', '-c', 'user.email=a@example.org',
                 'commit', '--quiet', '--message', 'x')
        self.write({'nova/changed.py': AFTER,
                    'nova/ours.py': 'def ours():\n    pass\n',
                    'nova/tests/test_changed.py': TESTS.replace('11', '10+1')})

    def git(self, *args):
        subprocess.run(['git', '-C', str(self.tree), *args], check=True,
                       env={**os.environ, 'GIT_CONFIG_GLOBAL': os.devnull})

    def write(self, files):
        for path, text in files.items():
            (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / path).write_text(text)

    def test_the_functions_that_are_changed(self):
        self.assertEqual(
            {f'nova/changed.py:{name}'
             for name in ('Manager.build', 'free', 'new')},
            hooks.in_tree(str(self.tree), 'HEAD'))

    def test_what_is_outside_of_functions(self):
        lines = hooks.changed_lines(str(self.tree), 'HEAD')
        self.assertEqual(['nova/changed.py'], list(lines))
        self.assertEqual(
            {'', 'Manager', 'Manager.build', 'free', 'new'},
            set(hooks.changed_names(AFTER, lines['nova/changed.py'])))
        self.assertTrue(hooks.has_more(AFTER, lines['nova/changed.py']))

    def test_the_tests_that_are_changed(self):
        path = 'nova/tests/test_changed.py'
        lines = hooks.changed_lines(str(self.tree), 'HEAD', tests=True)
        self.assertEqual(
            ['ManagerTest.test_build'],
            list(hooks.changed_names((self.tree / path).read_text(),
                                     lines[path])))

    def test_lines_that_are_removed(self):
        self.write({'nova/changed.py': BEFORE.replace(
            '        # Nothing to do.\n', '')})
        self.assertEqual({'nova/changed.py:Manager.move'},
                         hooks.in_tree(str(self.tree), 'HEAD'))

    def test_a_decorator_and_a_default_are_of_their_function(self):
        source = textwrap.dedent('''
            class A:
                @one
                @two
                def b(self,
                      c=1):
                    pass

            if True:
                def d(): return 1
            ''')
        for line, name in ((3, 'A.b'), (6, 'A.b'), (10, 'd')):
            self.assertEqual({f'x.py:{name}'},
                             hooks.find('x.py', source, [line]))

    def test_which_tests_call_them(self):
        record = hooks.Record(self.tree.parent)
        done = subprocess.run(
            [sys.executable, '-m', 'unittest', 'nova.tests.test_changed'],
            cwd=self.tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **record.environ(str(self.tree), 'HEAD')})
        self.assertEqual(0, done.returncode, done.stdout)
        prefix = 'nova.tests.test_changed.ManagerTest.'
        build, free = (f'nova/changed.py:{name}'
                       for name in ('Manager.build', 'free'))
        self.assertEqual(
            {prefix + 'test_build': {build}, prefix + 'test_move': set(),
             prefix + 'test_all': {build, free}}, record.hooks_met())
