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
"""CHANGES.rst, from the release notes.

    python -m tools.changes [--check]

The section on top is of the release that nova/xloud/release.py names. It has
each note that no section below it has, so that a release needs no more than
the next number there: what was released stays as it is.
"""

import argparse
from pathlib import Path
import re
import sys
import textwrap
import typing as ty

import yaml

from tools import tree

PAGE = 'CHANGES.rst'
TITLE = """\
=======
Changes
=======

.. python -m tools.changes writes this page, from releasenotes/notes.

"""
# The sections of a note, in the order in which a reader needs them.
SECTIONS = {
    'features': 'New features', 'issues': 'Known issues',
    'upgrade': 'Upgrade', 'deprecations': 'Deprecations',
    'critical': 'Critical issues', 'security': 'Security',
    'fixes': 'Fixes', 'other': 'Other'}
_RELEASE = re.compile(r'^Release (\d+)\n=+\n', re.MULTILINE)
_NOTES = re.compile(r'^\.\. notes:((?:\n?[ ]+\S+)+)$', re.MULTILINE)


def page(text: str, number: int, notes: ty.Dict[str, ty.Dict]) -> str:
    """The page, with the section of a release made anew.

    :param text: the page as it is, empty if there is none yet
    :param notes: what is in the files of notes, by name
    """
    released = _before(text, number)
    known = {name for found in _NOTES.findall(released)
             for name in found.split()}
    section = _section(number, {name: note for name, note in notes.items()
                                if name not in known})
    return TITLE + section + released


def _before(text, number):
    """The sections of releases before this one."""
    for found in _RELEASE.finditer(text):
        if int(found.group(1)) < number:
            return text[found.start():]
    return ''


def _section(number, notes):
    title = f'Release {number}'
    lines = [title, '=' * len(title), '', '.. notes:',
             *(f'   {name}' for name in sorted(notes)), '']
    for key, heading in SECTIONS.items():
        entries = [entry for _name, note in sorted(notes.items())
                   for entry in note.get(key, ())]
        if entries:
            lines += [heading, '-' * len(heading), '']
        for entry in entries:
            lines += ['- ' + textwrap.indent(entry.strip(), '  ')[2:], '']
    return '\n'.join(lines) + '\n'


def read_notes(folder: Path) -> ty.Dict[str, ty.Dict]:
    return {path.stem: yaml.safe_load(path.read_text(encoding='utf-8'))
            for path in folder.glob('*.yaml')}


def read_number(root: Path) -> int:
    text = (root / 'nova/xloud/release.py').read_text(encoding='utf-8')
    return int(re.search(r'^NUMBER = (\d+)$', text, re.MULTILINE).group(1))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog='python -m tools.changes', description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true',
                        help='say whether it is up to date, write nothing')
    asked = parser.parse_args()
    path = tree.ROOT / PAGE
    text = path.read_text(encoding='utf-8') if path.exists() else ''
    wanted = page(text, read_number(tree.ROOT),
                  read_notes(tree.ROOT / 'releasenotes/notes'))
    if asked.check:
        if text != wanted:
            print(f'{PAGE} is not made of the release notes: python -m '
                  'tools.changes writes it')
        return int(text != wanted)
    path.write_text(wanted, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
