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

"""Which functions of upstream's the series changes, and who calls them.

A hook is a function of upstream's that the series changes, written
``path:Class.function``.  What it changes outside of functions has no name to
be called by and is no hook.

Standard library only: tools/probe loads this into every process of a run of
tests that is recorded.
"""

import ast
import importlib.machinery
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import typing as ty

# What tells the processes of a recorded run that they are recorded.
VARIABLE = 'XLOUD_RECORD_HOOKS'
_ANY_OWNER = Path(__file__).with_name('any-owner.gitconfig')
_MET = '__hook_is_met__'
_HUNK = re.compile(r'^@@ -\S+ \+(\d+)(?:,(\d+))? @@', re.M)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

Lines = ty.Dict[str, ty.List[int]]


def changed_lines(tree: str, base: str, tests: bool = False) -> Lines:
    """The changed lines of upstream's modules, or of its tests.

    Where lines were only removed, it is those around the gap.
    """
    which = ['nova/tests/*.py'] if tests else ['nova/*.py', ':!nova/tests']
    diff = subprocess.run(
        ['git', '-C', tree, 'diff', '-U0', '--no-renames', '--no-ext-diff',
         '--no-color', '--diff-filter=M', '--src-prefix=a/',
         '--dst-prefix=b/', base, '--', *which],
        check=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, 'GIT_CONFIG_GLOBAL': str(_ANY_OWNER)}).stdout
    lines: Lines = {}
    for part in re.split(r'^diff --git ', diff, flags=re.M)[1:]:
        named = re.search(r'^\+\+\+ b/(.*)$', part, re.M)
        if named is None:  # only its mode
            continue
        changed = lines.setdefault(named[1], [])
        for first, count in _HUNK.findall(part):
            if count == '0':
                changed += [int(first), int(first) + 1]
            else:
                changed += range(int(first), int(first) + int(count or 1))
    return lines


def find(path: str, source: str, lines: ty.Iterable[int]) -> ty.Set[str]:
    """The hooks of a module, given which of its lines changed."""
    return {f'{path}:{name}'
            for name, node in changed_names(source, lines).items()
            if isinstance(node, _FUNCTIONS)}


def has_more(source: str, lines: ty.Iterable[int]) -> bool:
    """Whether something is changed outside of functions."""
    return any(not isinstance(node, _FUNCTIONS)
               for node in changed_names(source, lines).values())


def with_probes(path: str, source: str, lines: ty.Iterable[int]) -> ast.Module:
    """A module that says so when one of its hooks is called."""
    module = ast.parse(source)
    for name, function in _changed(module, source, lines).items():
        if not isinstance(function, _FUNCTIONS):
            continue
        place = 1 if ast.get_docstring(function) is not None else 0
        hook = f'{path}:{name}'
        probe = ast.parse(f'{_MET}({hook!r})').body[0]
        for node in ast.walk(probe):
            ast.copy_location(node, function.body[0])
        function.body.insert(place, probe)
    return module


def changed_names(source: str, lines: ty.Iterable[int]) -> ty.Dict[
        str, ast.AST]:
    """The functions at some lines by their dotted names.

    Where there is none it is the class, and the module, named '', where there
    is no class.
    """
    return _changed(ast.parse(source), source, lines)


def _changed(module, source, lines):
    text = source.splitlines()
    found = {}
    for line in lines:
        row = text[line - 1].strip() if 0 < line <= len(text) else ''
        if row and not row.startswith('#'):
            name, node = _at(module, line)
            found[name] = node
    return found


def _at(node, line, names=()):
    """The outermost function, or else the innermost class, at a line."""
    for child in ast.iter_child_nodes(node):
        if not hasattr(child, 'lineno'):
            continue
        first = min([child.lineno, *(
            decorator.lineno
            for decorator in getattr(child, 'decorator_list', ()))])
        if not first <= line <= child.end_lineno:
            continue
        if isinstance(child, _FUNCTIONS):
            return '.'.join([*names, child.name]), child
        if isinstance(child, ast.ClassDef):
            return _at(child, line, (*names, child.name))
        # A definition may be below an if, say.
        inner = _at(child, line, names)
        if isinstance(inner[1], (*_FUNCTIONS, ast.ClassDef)):
            return inner
    return '.'.join(names), node


def in_tree(tree: str, base: str) -> ty.Set[str]:
    """All hooks of the series."""
    return {hook for path, lines in changed_lines(tree, base).items()
            for hook in find(path, Path(tree, path).read_text(
                encoding='utf-8'), lines)}


class Record:
    """A folder where the processes of a run write what their tests called."""

    def __init__(self, folder: ty.Union[str, Path]):
        self.folder = Path(folder)

    def environ(self, tree: str, base: str) -> ty.Dict[str, str]:
        """Make it; what the processes of a run need to know."""
        (self.folder / 'lines.json').write_text(json.dumps(
            {os.path.join(tree, path): [path, lines]
             for path, lines in changed_lines(tree, base).items()}))
        root = Path(__file__).resolve().parent.parent
        return {VARIABLE: str(self.folder),
                'PYTHONPATH': os.pathsep.join(filter(None, [
                    str(root / 'tools' / 'probe'), str(root),
                    os.environ.get('PYTHONPATH')]))}

    def hooks_met(self) -> ty.Dict[str, ty.Set[str]]:
        """What each test called, in any run of it."""
        met: ty.Dict[str, ty.Set[str]] = {}
        for path in self.folder.glob('*.tests'):
            for test, hooks in map(json.loads, path.read_text().splitlines()):
                met.setdefault(test, set()).update(hooks)
        return met


def start_recording(folder: str) -> None:
    """In a process of a recorded run, before Nova is imported."""
    import builtins
    import unittest

    lines = json.loads(Path(folder, 'lines.json').read_text())
    met: ty.Set[str] = set()
    setattr(builtins, _MET, met.add)

    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname):
            path = self.get_filename(fullname)
            if path not in lines:
                return super().get_code(fullname)
            short, changed = lines[path]
            return compile(
                with_probes(short, self.get_source(fullname), changed), path,
                'exec', dont_inherit=True)

    machinery = importlib.machinery
    sys.path_hooks.insert(0, machinery.FileFinder.path_hook(
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (Loader, machinery.SOURCE_SUFFIXES),
        (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES)))
    sys.path_importer_cache.clear()

    run = unittest.TestCase.__call__

    def recorded_run(test, *args, **kwargs):
        met.clear()
        try:
            return run(test, *args, **kwargs)
        finally:
            with open(os.path.join(folder, f'{os.getpid()}.tests'),
                      'a') as output:
                output.write(json.dumps([test.id(), sorted(met)]) + '\n')

    unittest.TestCase.__call__ = recorded_run
