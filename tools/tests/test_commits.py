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

import unittest

from tools import releases
from tools.tests import imports
from tools import tree
from xloud_series import patchfile
from xloud_series import series

PATCHES = tree.ROOT / 'patches'


def patches(release=releases.OLDEST):
    """The patches of a release in their order, by name."""
    names = series.parse((PATCHES / 'series').read_bytes()).names
    folders = [PATCHES, *(PATCHES / known for known in releases.known()
                          if known <= release)]
    found = {}
    for name in names:
        # The newest that is not newer than the release
        path = [folder / name for folder in folders
                if (folder / name).exists()][-1]
        found[name] = patchfile.parse(path.read_bytes(), name)
    return found


def changed(diff, sign):
    """The lines that a patch adds or removes, without those that recur."""
    return {line[1:].strip() for hunk in diff.hunks for line in hunk.lines
            if line.startswith(sign) and len(line.strip()) > 20}


class CommitsTest(unittest.TestCase):

    def test_none_imports_what_a_later_one_adds(self):
        """Else the tests that it adds fail, which compiling does not show."""
        commits = patches()
        names = list(commits)
        added_by = {
            imports.module_of(path): name for name, patch in commits.items()
            for path in patch.overlay if path.endswith('.py')}
        wrong = [
            (name, path, module, added_by[module])
            for name, patch in commits.items() for path in patch.overlay
            if path.endswith('.py') for module in imports.imported(path)
            if names.index(added_by.get(module, name)) > names.index(name)]
        self.assertEqual([], wrong)

    def test_none_takes_back_what_an_earlier_one_added(self):
        """Nor does an override, where it is a conflict resolved wrongly."""
        for release in releases.known():
            with self.subTest(release):
                self.assertEqual([], self._taken_back(release))

    @staticmethod
    def _taken_back(release):
        added, wrong = {}, []
        for name, patch in patches(release).items():
            for diff in patch.files:
                lines = added.setdefault(diff.path, {})
                wrong += [(name, diff.path, line, lines[line])
                          for line in changed(diff, '-') if line in lines]
                lines.update(dict.fromkeys(changed(diff, '+'), name))
        return wrong

    def test_only_tests_say_what_they_need(self):
        """A commit of tests alone proves several, or it belongs to one."""
        for name, patch in patches().items():
            if name.startswith('tests-'):
                with self.subTest(name):
                    self.assertIn('\n\nIt needs all of ', patch.message)


if __name__ == '__main__':
    unittest.main()
