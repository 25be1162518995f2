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

"""The page of changes follows the notes, and keeps what was released."""

import unittest

from tools import changes

FIRST = {'a': {'fixes': ['It works\nagain.\n\nAlways.']},
         'b': {'features': ['It is new.'], 'fixes': ['It is faster.']}}
SECTION = """\
Release 1
=========

.. notes:
   a
   b

New features
------------

- It is new.

Fixes
-----

- It works
  again.

  Always.

- It is faster.

"""


class PageTest(unittest.TestCase):
    def test_the_first_release(self):
        self.assertEqual(changes.TITLE + SECTION, changes.page('', 1, FIRST))

    def test_a_note_more_for_the_release_that_is_made(self):
        old = changes.page('', 1, {'a': FIRST['a']})
        self.assertEqual(changes.TITLE + SECTION, changes.page(old, 1, FIRST))

    def test_the_next_release_has_what_the_others_have_not(self):
        old = changes.page('', 1, FIRST)
        later = {**FIRST, 'c': {'security': ['It is safe.']}}
        text = changes.page(old, 2, later)
        self.assertEqual(
            changes.TITLE + 'Release 2\n=========\n\n.. notes:\n   c\n\n'
            'Security\n--------\n\n- It is safe.\n\n' + SECTION, text)
        self.assertEqual(text, changes.page(text, 2, later))

    def test_each_section_of_a_note_has_a_heading(self):
        for name, note in changes.read_notes(
                changes.tree.ROOT / 'releasenotes/notes').items():
            self.assertLessEqual(set(note), set(changes.SECTIONS), name)
