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

"""HACKING.rst says only what holds."""

import fnmatch
import os
import unittest

from tools.tests import imports
from tools import tree


def python_files():
    """Ours, also those that are not committed yet.

    Git is not asked: this may be a source archive, or somebody else's.
    """
    ignored = ['.git'] + [
        line.strip('/') for line in (
            tree.ROOT / '.gitignore').read_text().splitlines()
        if line.endswith('/')]
    for folder, folders, names in os.walk(tree.ROOT):
        folders[:] = [name for name in folders if not any(
            fnmatch.fnmatch(name, pattern) for pattern in ignored)]
        for name in names:
            if name.endswith('.py'):
                yield os.path.relpath(os.path.join(folder, name), tree.ROOT)


class ImportsTest(unittest.TestCase):

    def test_nobody_imports_a_test_module(self):
        """A base inside one cannot be found by its name."""
        files = list(python_files())
        tests = {imports.module_of(path) for path in files
                 if path.rpartition('/')[2].startswith('test_')}
        # An empty set would prove nothing.
        self.assertGreater(len(tests), 100)
        self.assertEqual([], [
            (path, name) for path in files
            for name in imports.imported(path) if name in tests])

    def test_the_overlay_uses_no_eventlet(self):
        overlay = [path for path in python_files()
                   if path.startswith('nova/') and '/tests/' not in path]
        self.assertGreater(len(overlay), 30)
        self.assertEqual([], [
            (path, name) for path in overlay
            for name in imports.imported(path)
            if name.partition('.')[0] == 'eventlet'])


if __name__ == '__main__':
    unittest.main()
