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
"""The pages that describe the series file by file, from its tree.

The lane docs writes them at each build, so they are always those of the
series that is there, and none is committed: which file is new or modified and
its checksum, what each new file is for, each change of upstream's files with
the reason of its commit, and what the series consists of.
"""

import ast
import collections
import dataclasses
import hashlib
from pathlib import Path
import re
import typing as ty

from tools import tree

_TESTS = 'nova/tests/'
# What a commit's subject begins with, and what it is about.
_CATEGORIES = {
    'api': 'API', 'policies': 'API', 'conf': 'Configuration',
    'compute': 'nova-compute', 'virt': 'Hypervisor', 'libvirt': 'Hypervisor',
    'scheduler': 'Scheduling', 'placement': 'Scheduling',
    'extra_specs': 'Flavors', 'xloud': 'Sizes and books', 'db': 'Database',
    'rpc': 'RPC', 'doc': 'Documents', 'tests': 'Tests',
    'version': 'Packaging', 'status': 'nova-status',
    'nova-manage': 'nova-manage'}


@dataclasses.dataclass(frozen=True)
class Commit:
    id: str
    subject: str
    body: str
    # Lines added and removed, by path.
    files: ty.Dict[str, ty.Tuple[int, int]]

    @property
    def short(self) -> str:
        return self.id[:10]

    @property
    def category(self) -> str:
        return _CATEGORIES.get(self.subject.partition(':')[0], 'Other')

    @property
    def patch(self) -> str:
        """The file in patches/ that it is."""
        name = re.sub(r'[^a-z0-9]+', '-', self.subject.lower()).strip('-')
        return f'{name}.patch'


class Series:
    """What the commits of a tree change.

    :param folder: the tree
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.base = tree.base(folder)
        self.tip = self._git('rev-parse', 'HEAD').strip()
        self.commits = list(self._commits())
        fields = self._git('diff', '--name-status', '--no-renames', '-z',
                           self.base, self.tip).split('\0')[:-1]
        # A, M or D by path.
        self.status = dict(zip(fields[1::2], fields[::2]))

    def content(self, path: str) -> bytes:
        return self._git('show', f'{self.tip}:{path}').encode()

    def of(self, path: str) -> ty.List[Commit]:
        return [commit for commit in self.commits if path in commit.files]

    def hunks(self, commit: Commit, path: str) -> str:
        text = self._git('show', '--format=', '--no-color', '--no-ext-diff',
                         '--unified=3', commit.id, '--', path)
        return text[text.index('@@'):] if '@@' in text else ''

    def _commits(self):
        text = self._git('log', '--reverse', '--no-renames', '--numstat',
                         '--format=%x01%H%x02%s%x02%b%x02',
                         f'{self.base}..{self.tip}')
        for entry in text.split('\x01')[1:]:
            commit, subject, body, numbers = entry.split('\x02')
            files = {}
            for line in numbers.strip().splitlines():
                added, removed, path = line.split('\t')
                files[path] = (int(added), int(removed))
            body = re.sub(r'^Change-Id: .*$', '', body, flags=re.M)
            yield Commit(commit, subject, body.strip(), files)

    def _git(self, *words):
        return tree.git(*words, tree=self.folder)


def write(series: Series, folder: Path,
          repository: ty.Optional[str]) -> None:
    """Write the pages.

    :param repository: the commit of this repository, if it is known
    """
    source = (f'the commit ``{repository}`` of the repository' if repository
              else 'a source archive')
    made = (f'Made from {source} of the series. In its tree the base is '
            f'``{series.base[:12]}`` and the tip ``{series.tip[:12]}``.')
    for name, page in (('file-mapping', file_mapping),
                       ('code-reference', code_reference),
                       ('change-summary', change_summary)):
        (folder / f'{name}.rst').write_text(
            page(series, made), encoding='utf-8')


def file_mapping(series: Series, made: str) -> str:
    rows = []
    for path, status in sorted(series.status.items()):
        commits = series.of(path)
        if status == 'A':
            source = f'``{path}``'
        else:
            source = ', '.join(f'``patches/{commit.patch}``'
                               for commit in commits)
        size = len(series.content(path)) if status != 'D' else 0
        rows.append((f'``{path}``', {'A': 'new', 'M': 'modified',
                                     'D': 'removed'}[status], source,
                     str(size), ', '.join(commit.short
                                          for commit in commits)))
    sums = '\n'.join(
        f'{hashlib.sha256(series.content(path)).hexdigest()}  {path}'
        for path, status in sorted(series.status.items())
        if status != 'D' and path.startswith('nova/') and
        not path.startswith(_TESTS))
    return '\n'.join([
        *_title('File mapping'), made, '',
        'A new file is in the repository at the path that it has in Nova. A '
        'modified file is upstream\'s with the changes of patches. In an '
        'installation, a path below ``nova/`` is below ``site-packages``.',
        '', *_table(('File', 'What', 'Source', 'Bytes', 'Commits'), rows,
                    (34, 10, 32, 8, 16)),
        '', 'Verify', '------', '',
        '``xloud-nova-verify`` compares a whole installation: '
        ':ref:`xloud-verify`. To compare by hand what services run, put these '
        'lines into ``nova.sha256`` and type, in ``site-packages``, '
        '``sha256sum --quiet --check nova.sha256``:', '',
        *_block('text', sums), ''])


def code_reference(series: Series, made: str) -> str:
    text = [*_title('Code reference'), made, '', 'New files', '---------', '',
            'Without tests. Each has its docstring and its public names.', '']
    for path in _code(series, 'A'):
        text += [*_title(path, '~'), *_module(series.content(path).decode())]
    text += ['Modified files', '--------------', '',
             'Each change with its context and the reason of its commit.', '']
    for path in _code(series, 'M'):
        text += _title(path, '~')
        for commit in series.of(path):
            text += [f'``{commit.short}`` {_escaped(commit.subject)}', '',
                     *_block('text', commit.body),
                     *_block('diff', series.hunks(commit, path))]
    return '\n'.join(text)


def change_summary(series: Series, made: str) -> str:
    new = [path for path, status in series.status.items() if status == 'A']
    modified = [path for path, status in series.status.items()
                if status == 'M']
    counts = []
    for title, paths in (
            ('New files', new), ('Modified files', modified)):
        for kind, chosen in (
                ('code', [path for path in paths if path.endswith('.py') and
                          not path.startswith(_TESTS)]),
                ('tests', [path for path in paths
                           if path.startswith(_TESTS)]),
                ('other', [path for path in paths if not (
                    path.endswith('.py') or path.startswith(_TESTS))])):
            added, removed = _lines(series, chosen)
            counts.append((title, kind, str(len(chosen)), str(added),
                           str(removed)))
    by_category = collections.Counter(
        commit.category for commit in series.commits)
    order = [(str(number), _escaped(commit.subject), commit.category,
              str(len(commit.files)),
              '{} / {}'.format(*map(sum, zip(*commit.files.values()))),
              commit.short)
             for number, commit in enumerate(series.commits, 1)]
    return '\n'.join([
        *_title('Change summary'), made, '',
        f'The series has {len(series.commits)} commits, {len(new)} new and '
        f'{len(modified)} modified files.', '',
        *_table(('Files', 'Kind', 'Number', 'Lines added', 'Removed'),
                counts, (30, 20, 16, 18, 16)), '',
        'Categories', '----------', '',
        *_table(('Category', 'Commits'),
                [(name, str(number)) for name, number
                 in by_category.most_common()], (70, 30)), '',
        'Order', '-----', '',
        'Each commit compiles, and passes the tests of what it touches.', '',
        *_table(('', 'Subject', 'Category', 'Files', 'Lines', 'Commit'),
                order, (5, 47, 16, 7, 12, 13)), ''])


def _code(series, status):
    return sorted(path for path, found in series.status.items()
                  if found == status and not path.startswith(_TESTS) and
                  not path.startswith(('doc/', 'releasenotes/')) and
                  (found == 'M' or path.endswith('.py')))


def _module(source):
    """What a module says about itself."""
    parsed = ast.parse(source)
    text = _block('text', ast.get_docstring(parsed) or 'No docstring.')
    names = []
    for node in parsed.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and (
                not node.name.startswith('_')):
            names.append((f'``{node.name}``', 'class' if isinstance(
                node, ast.ClassDef) else 'function', _first_line(node)))
            if isinstance(node, ast.ClassDef):
                names += [
                    (f'``{node.name}.{inner.name}``', 'method',
                     _first_line(inner)) for inner in node.body
                    if isinstance(inner, ast.FunctionDef) and
                    not inner.name.startswith('_')]
        elif isinstance(node, ast.Assign):
            names += [(f'``{target.id}``', 'constant', '')
                      for target in node.targets
                      if isinstance(target, ast.Name) and
                      target.id.isupper() and not target.id.startswith('_')]
    if names:
        text += [*_table(('Name', 'What', 'Docstring'), names, (40, 12, 48)),
                 '']
    return text


def _first_line(node):
    return _escaped((ast.get_docstring(node) or '').partition('\n')[0])


def _lines(series, paths):
    added = removed = 0
    for commit in series.commits:
        for path, (more, less) in commit.files.items():
            if path in paths:
                added += more
                removed += less
    return added, removed


def _title(text, line='='):
    return ([line * len(text)] if line == '=' else []) + [
        text, line * len(text), '']


def _table(heads, rows, widths):
    text = ['.. list-table::', '   :header-rows: 1',
            f'   :widths: {" ".join(map(str, widths))}', '']
    for row in (heads, *rows):
        for at, cell in enumerate(row):
            text.append(f'   {"* -" if at == 0 else "  -"} {cell}'.rstrip())
    return text


def _block(language, content):
    if not content.strip():
        return []
    return [f'.. code-block:: {language}', '',
            *(f'   {line}'.rstrip() for line in content.splitlines()), '']


def _escaped(text):
    return re.sub(r'([\\*`_|])', r'\\\1', text)
