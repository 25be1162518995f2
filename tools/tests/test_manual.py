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

"""What the manual calls complete is.

That is each text that our modules log, and each reason for which an adjust is
refused.
"""

import ast
import re
import unittest

from tools import tree

MANUAL = 'doc/source/xloud/running.rst'
CONTRIBUTORS = 'doc/source/xloud/contributors.rst'
CONDITIONS = 'doc/source/xloud/conditions.rst'
# The modules that refuse an adjust for another reason than a blocker. Such a
# reason goes on after "cannot change its size now: ".
REFUSING = ('nova/virt/libvirt/xloud/changer.py', *(
    f'nova/xloud/{name}.py' for name in (
        'allocation', 'api', 'change', 'checks', 'guest', 'manager', 'memory',
        'quota', 'rpcapi', 'task')))
# The status of a server has a blocker for it.
NEVER_SHOWN = {'its host does not answer.'}
LEVELS = {'info', 'warning', 'error', 'exception', 'critical'}
# A letter or a word stands for it in the table.
PLACEHOLDER = re.compile(r'%(?:\(\w+\))?[sdr]')


def modules():
    """Ours, without tests."""
    return sorted(
        path for path in (tree.ROOT / 'nova').rglob('*.py')
        if 'tests' not in path.relative_to(tree.ROOT).parts)


def logged(source):
    """What a module logs, with the placeholders that it fills in."""
    texts = []
    for node in ast.walk(ast.parse(source)):
        if (isinstance(node, ast.Call) and
                isinstance(node.func, ast.Attribute) and
                node.func.attr in LEVELS and
                isinstance(node.func.value, ast.Name) and
                node.func.value.id == 'LOG'):
            texts.append(ast.literal_eval(node.args[0]))
        elif (isinstance(node, ast.Call) and
                ast.unparse(node.func) == 'failures.warned'):
            # After the logger.
            texts.append(ast.literal_eval(node.args[1]))
    return texts


def reasons(source):
    """What a module may say after a colon."""
    return [
        text for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == '_'
        for text in [ast.literal_eval(node.args[0])]
        if not re.match(r'(The|Its|Cell|Request) |current_|%', text)]


def explained(manual):
    """The reasons in the first column of the table "Text", as patterns."""
    _before, _, rest = manual.partition('   * - Text\n')
    cells = re.findall(r'^   \* - (.*?)^     - ', rest,
                       re.MULTILINE | re.DOTALL)
    return {item: re.compile(
                r'\S+'.join(map(re.escape, re.split(r'\*\w+\*', item))))
            for cell in cells for item in ' '.join(cell.split()).split('; ')}


def strings(source):
    """All that a module may say: it may log what it made elsewhere."""
    return [node.value for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def pattern(text):
    """What the table may say of a text, which ends before ": reason"."""
    beginning = re.sub(r':? %(\(\w+\))?s$', '', text).rstrip('.')
    pieces = PLACEHOLDER.split(beginning)
    return re.compile(r'\S+'.join(map(re.escape, pieces)) + r'\.?$')


def told(manual):
    """The texts in the first column of the table "Log"."""
    _before, _, rest = manual.partition('   * - Log\n')
    table = re.split(r'\n(?=\S)', rest, maxsplit=1)[0]
    cells = re.findall(r'^   \* - (.*?)^     - ', table,
                       re.MULTILINE | re.DOTALL)
    return [' '.join(text.split())
            for cell in cells for text in re.findall(r'``(.*?)``', cell,
                                                     re.DOTALL)]


class ModulesTest(unittest.TestCase):
    def test_the_manual_names_each_module(self):
        """One that follows its folder, or another of it, goes by its name."""
        page = (tree.ROOT / CONTRIBUTORS).read_text(encoding='utf-8')
        named, folder = set(), ''
        for path in re.findall(r'``([\w/]+(?:/|\.py))``', page):
            folder = path.rpartition('/')[0] or folder
            named.add(f'{folder}/{path.rpartition("/")[2]}')
        ours = {path.relative_to(tree.ROOT).as_posix() for path in modules()
                if path.name != '__init__.py'}
        self.assertEqual([], sorted(ours - named))


class LogTableTest(unittest.TestCase):
    """An operator who looks for a text of ours finds it."""

    maxDiff = None

    def test_the_table_has_each_text_and_no_other(self):
        sources = [path.read_text(encoding='utf-8') for path in modules()]
        # One that only fills in says what another module made.
        patterns = {text: pattern(text) for source in sources
                    for text in logged(source) if PLACEHOLDER.sub('', text)}
        possible = [pattern(text) for source in sources
                    for text in strings(source)]
        rows = told((tree.ROOT / MANUAL).read_text(encoding='utf-8'))
        missing = [text for text, wanted in sorted(patterns.items())
                   if not any(wanted.match(row) for row in rows)]
        gone = [row for row in rows if not any(
            wanted.match(row) for wanted in possible)]
        self.assertEqual(
            ([], []), (missing, gone),
            f'{MANUAL}: texts without a row, rows without a text')

    def test_a_text_is_found_whatever_it_fills_in(self):
        for text, row in (('It has %s: %s', 'It has A'),
                          ('%(one)s is not %(two)d.', 'A is not B.'),
                          ('Gone.', 'Gone.'), ('Why: %(error)s', 'Why')):
            self.assertTrue(pattern(text).match(row), (text, row))
        for text, row in (('It has %s of it', 'It has A'),
                          ('Gone.', 'Gone away.')):
            self.assertFalse(pattern(text).match(row), (text, row))

    def test_levels(self):
        self.assertEqual(['a b', 'c'], logged(
            "LOG.debug('no')\nLOG.warning('a '\n 'b')\n"
            "LOG.exception('c', instance=1)\nOTHER.info('no')\n"))
        self.assertEqual(['a'], logged(
            "with failures.warned(LOG, 'a', 1):\n    pass\n"))


class RefusalTableTest(unittest.TestCase):
    """A user who looks for the reason of a refusal finds it."""

    maxDiff = None

    def test_the_table_has_each_reason_and_no_other(self):
        rows = explained(
            (tree.ROOT / CONDITIONS).read_text(encoding='utf-8'))
        told = [text for path in REFUSING for text in reasons(
            (tree.ROOT / path).read_text(encoding='utf-8'))]
        missing = [text for text in told if text not in NEVER_SHOWN and
                   not any(row.match(text) for row in rows.values())]
        gone = [item for item, row in rows.items()
                if not any(map(row.match, told))]
        self.assertEqual(
            ([], []), (missing, gone),
            f'{CONDITIONS}: reasons without a row, rows without a reason')

    def test_reasons(self):
        self.assertEqual(['it is %(a)s.'], reasons(
            "raise E(reason=_('it is %(a)s.') % a)\n"
            "text = _('The end.')\nLOG.info('it was')\n"))
        rows = explained('   * - Text\n     - What\n   * - it is *A*; it\n'
                         '       was\n     - Try.\n')
        self.assertEqual(['it is *A*', 'it was'], list(rows))
        self.assertTrue(rows['it is *A*'].match('it is %(a)s now.'))
        self.assertFalse(rows['it was'].match('it has'))
