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

"""The commits of the series, one after the other."""

import ast
from pathlib import Path
import re
import unittest

ROOT = Path(__file__).resolve().parents[2]
CLAIM = 'Overlay: '
PATHS = re.compile(r'^diff --git a/\S+ b/(\S+)$', re.MULTILINE)


def patches():
    """The names of the patches in their order, each with its text."""
    lines = (ROOT / 'patches' / 'series').read_text().splitlines()
    names = [line.partition('#')[0].strip() for line in lines]
    return {name: (ROOT / 'patches' / name).read_text()
            for name in names if name}


def claimed(text):
    """The overlay files that a patch claims."""
    header = text.partition('\n\n')[0]
    return [line[len(CLAIM):] for line in header.splitlines()
            if line.startswith(CLAIM)]


def module_of(path):
    return path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')


def imported(path):
    """All that may be a module that a file imports."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def hunks(text):
    """The lines of a patch, by the file that it changes."""
    _, *found = PATHS.split(text)
    return dict(zip(found[::2], found[1::2]))


def changed(hunk, sign):
    """The lines that a patch adds or removes, without those that recur."""
    return {line[1:].strip() for line in hunk.splitlines()
            if line.startswith(sign) and len(line.strip()) > 20 and
            not line.startswith(3 * sign)}


class CommitsTest(unittest.TestCase):

    def test_none_imports_what_a_later_one_adds(self):
        """Else the tests that it adds fail, which compiling does not show."""
        names = list(patches())
        added_by = {module_of(path): name for name, text in patches().items()
                    for path in claimed(text) if path.endswith('.py')}
        wrong = [
            (name, path, module, added_by[module])
            for name, text in patches().items() for path in claimed(text)
            if path.endswith('.py') for module in imported(path)
            if names.index(added_by.get(module, name)) > names.index(name)]
        self.assertEqual([], wrong)

    def test_none_takes_back_what_an_earlier_one_added(self):
        added, wrong = {}, []
        for name, text in patches().items():
            for path, hunk in hunks(text).items():
                lines = added.setdefault(path, {})
                wrong += [(name, path, line, lines[line])
                          for line in changed(hunk, '-') if line in lines]
                lines.update(dict.fromkeys(changed(hunk, '+'), name))
        self.assertEqual([], wrong)

    def test_only_tests_say_what_they_need(self):
        """A commit of tests alone proves several, or it belongs to one."""
        for name, text in patches().items():
            if name.startswith('tests-'):
                with self.subTest(name):
                    self.assertRegex(text, r'\n\nIt needs all of ')


if __name__ == '__main__':
    unittest.main()
