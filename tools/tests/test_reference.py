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
"""The generated pages say what is in a series, and nothing else."""

import hashlib
from pathlib import Path
import subprocess
import tempfile
import unittest

from tools import reference

MODULE = '''"""Count *everything*.

More of it.
"""

LIMIT = 1


def count(a):
    """Count `a_b`."""


def _hidden():
    pass


class Counter:
    """It counts."""

    def again(self):
        pass
'''


class ReferenceTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Path(folder.name, 'tree')
        self.tree.mkdir()
        self.git('init', '--quiet')
        self.commit('base', {'nova/api.py': 'a = 1\nb = 2\n'})
        self.git('update-ref', 'refs/xloud/base', 'HEAD')
        self.commit('api: count\n\nBecause it matters.\n\nChange-Id: I1', {
            'nova/api.py': 'a = 1\nb = 3\n', 'nova/xloud/counter.py': MODULE})
        self.commit('tests: count again', {'nova/tests/test_c.py': ''})
        self.series = reference.Series(self.tree)

    def git(self, *words):
        subprocess.run(
            ['git', '-C', str(self.tree), '-c', 'user.name=A', '-c',
             'user.email=a@example.org', *words], check=True)

    def commit(self, message, files):
        for name, text in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git('add', '--all')
        self.git('commit', '--quiet', '--message', message)

    def test_file_mapping(self):
        page = reference.file_mapping(self.series, 'Made.')
        self.assertIn(
            '   * - ``nova/api.py``\n     - modified\n'
            '     - ``patches/api-count.patch``\n     - 12\n', page)
        self.assertIn(
            '   * - ``nova/xloud/counter.py``\n     - new\n'
            '     - ``nova/xloud/counter.py``\n', page)
        known = hashlib.sha256(MODULE.encode()).hexdigest()
        self.assertIn(f'   {known}  nova/xloud/counter.py\n', page)
        self.assertNotIn('  nova/tests/test_c.py\n', page)

    def test_code_reference(self):
        page = reference.code_reference(self.series, 'Made.')
        self.assertIn('   Count *everything*.\n\n   More of it.\n', page)
        self.assertIn('``count``\n     - function\n     - Count \\`a\\_b\\`.',
                      page)
        self.assertIn('``Counter.again``', page)
        self.assertIn('``LIMIT``', page)
        self.assertNotIn('_hidden', page)
        self.assertIn('   Because it matters.\n', page)
        self.assertNotIn('Change-Id', page)
        self.assertIn('   -b = 2\n   +b = 3\n', page)
        self.assertNotIn('test_c', page)

    def test_change_summary(self):
        page = reference.change_summary(self.series, 'Made.')
        self.assertIn('has 2 commits, 2 new and 1 modified files', page)
        self.assertIn('   * - 1\n     - api: count\n     - API\n', page)
        self.assertIn('   * - Modified files\n     - code\n     - 1\n'
                      '     - 1\n     - 1\n', page)

    def test_all_say_from_which_commit(self):
        folder = self.tree.parent / 'pages'
        folder.mkdir()
        reference.write(self.series, folder, 'abc')
        pages = sorted(folder.iterdir())
        self.assertEqual(['change-summary.rst', 'code-reference.rst',
                          'file-mapping.rst'], [page.name for page in pages])
        for page in pages:
            self.assertIn('the commit ``abc``', page.read_text())
