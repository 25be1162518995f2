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
"""Names of upstream that modules of ours use and a release no longer has.

No module is imported. Of `from nova import utils` and `utils.spawn_n` the
module is known. Of `host._queue_event` it is not: there a name counts that
one class had, of the modules that ours import, and that this class lacks now.
Only what the old release has can be gone; and what ours asks for by hasattr or
getattr, or in a try, it can do without.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import typing as ty

from xloud_series import scopes

Read = ty.Callable[[str], ty.Optional[str]]


@dataclasses.dataclass(frozen=True)
class Use:
    path: str
    line: int
    scope: str
    name: str
    note: str


@dataclasses.dataclass
class Module:
    names: ty.Set[str]
    classes: ty.Dict[str, ty.Set[str]]


def gone(ours: ty.Dict[str, str], old: Read, new: Read) -> ty.List[Use]:
    before, after = Release(old), Release(new)
    seen = {path: Imports(path, text, before, ours)
            for path, text in ours.items()}
    known = set().union(*(one.modules for one in seen.values()))
    moved = gone_attributes(known, before, after)
    own = {name for text in ours.values() for name in defined(text)}
    found = []
    for path, one in seen.items():
        if one.tree is None:
            continue
        for line, name in one.qualified():
            if one.asked(line, name.rpartition('.')[2]):
                continue
            if before.has(name) and not after.has(name):
                found.append((path, line, name, after.instead(name)))
        for line, attribute in one.attributes():
            if (attribute in moved and attribute not in own and
                    not one.asked(line, attribute)):
                found.append((path, line, *moved[attribute]))
    return [Use(path, line, scopes.at(seen[path].tree, line), name, note)
            for path, line, name, note in sorted(set(found))]


class Release:
    """The modules of one upstream release, read when they are asked for."""

    def __init__(self, read: Read):
        self.read = read
        self.known: ty.Dict[str, ty.Optional[Module]] = {}

    def module(self, name: str) -> ty.Optional[Module]:
        if name not in self.known:
            place = name.replace('.', '/')
            text = self.read(f'{place}.py')
            if text is None:
                text = self.read(f'{place}/__init__.py')
            self.known[name] = None if text is None else summary(text)
        return self.known[name]

    def has(self, name: str) -> bool:
        """A dotted name: a module, something in it, or in a class of it."""
        if self.module(name):
            return True
        holder, _, last = name.rpartition('.')
        module = self.module(holder) if holder else None
        if module:
            return last in module.names
        above, _, middle = holder.rpartition('.')
        module = self.module(above) if above else None
        return bool(module and last in module.classes.get(middle, ()))

    def instead(self, name: str) -> str:
        holder, _, last = name.rpartition('.')
        module = self.module(holder)
        return 'is gone' if module else f'is gone, with all of {holder}'


def summary(text: str) -> Module:
    tree = scopes.parse(text)
    module = Module(set(), {})
    for node in tree.body if tree else ():
        _define(node, module.names)
        for inner in ast.walk(node):
            if isinstance(inner, ast.ClassDef):
                module.classes[inner.name] = members(inner)
    return module


def _define(node: ast.AST, names: ty.Set[str]) -> None:
    """What a statement at the margin binds; in if and try as well."""
    if isinstance(node, scopes.NAMED):
        names.add(node.name)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        names.update((a.asname or a.name).split('.')[0] for a in node.names)
    elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For)):
        for child in ast.iter_child_nodes(node):
            _define(child, names)
    elif isinstance(node, ast.ExceptHandler):
        for child in node.body:
            _define(child, names)
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        names.update(inner.id for inner in ast.walk(node)
                     if isinstance(inner, ast.Name) and
                     isinstance(inner.ctx, ast.Store))


def members(node: ast.ClassDef) -> ty.Set[str]:
    names: ty.Set[str] = set()
    for child in node.body:
        _define(child, names)
    names.update(inner.attr for inner in ast.walk(node)
                 if isinstance(inner, ast.Attribute) and
                 isinstance(inner.ctx, ast.Store) and
                 isinstance(inner.value, ast.Name) and
                 inner.value.id == 'self')
    return names


def defined(text: str) -> ty.Set[str]:
    """All that a module of ours binds anywhere, as an attribute too."""
    found: ty.Set[str] = set()
    for node in ast.walk(scopes.parse(text) or ast.Module([], [])):
        if isinstance(node, scopes.NAMED):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx,
                                                            ast.Store):
            found.add(node.attr)
    return found


def gone_attributes(modules: ty.Iterable[str], before: Release,
                    after: Release) -> ty.Dict[str, ty.Tuple[str, str]]:
    """By attribute: its full name, and where it went."""
    had: ty.Dict[str, ty.Set[ty.Tuple[str, str]]] = collections.defaultdict(
        set)
    has: ty.Dict[str, ty.Set[ty.Tuple[str, str]]] = collections.defaultdict(
        set)
    for name in modules:
        for release, found in ((before, had), (after, has)):
            module = release.module(name)
            for klass, attributes in (module.classes if module else
                                      {}).items():
                for attribute in attributes:
                    found[attribute].add((name, klass))
    gone: ty.Dict[str, ty.Tuple[str, str]] = {}
    for attribute, places in had.items():
        # In two classes or more it is a common word: nobody can say whose.
        if len(places) == 1 and not places <= has[attribute]:
            (module, klass), = places
            now = ', '.join(sorted(f'{m}.{c}' for m, c in has[attribute]))
            gone[attribute] = (f'{module}.{klass}.{attribute}',
                               f'is now in {now}' if now else 'is gone')
    return gone


class Imports:
    """What one module of ours takes from upstream, and under which name."""

    def __init__(self, path: str, text: str, before: Release,
                 ours: ty.Collection[str]):
        self.tree = scopes.parse(text)
        self.alias: ty.Dict[str, str] = {}
        self.lines: ty.List[ty.Tuple[int, str]] = []
        self.modules: ty.Set[str] = set()
        self.optional: ty.Set[str] = set()
        self.tried: ty.List[ty.Tuple[int, int]] = []
        for node in ast.walk(self.tree) if self.tree else ():
            if isinstance(node, ast.ImportFrom) and node.module:
                pairs = [(a.asname or a.name, f'{node.module}.{a.name}')
                         for a in node.names]
            elif isinstance(node, ast.Try) and any(
                    _catches(handler) for handler in node.handlers):
                self.tried.append((node.lineno,
                                   ty.cast(int, node.body[-1].end_lineno)))
                continue
            elif isinstance(node, ast.Call) and _dotted(node.func) in (
                    'hasattr', 'getattr'):
                self.optional.update(
                    arg.value for arg in node.args[1:2]
                    if isinstance(arg, ast.Constant))
                continue
            elif isinstance(node, ast.Import):
                pairs = [(a.asname, a.name) for a in node.names if a.asname]
                pairs += [(a.name, a.name) for a in node.names
                          if not a.asname]
            else:
                continue
            for alias, name in pairs:
                if not before.module(name.split('.')[0]):
                    continue
                place = name.replace('.', '/')
                if f'{place}.py' in ours or f'{place}/__init__.py' in ours:
                    continue
                self.alias[alias] = name
                self.lines.append((node.lineno, name))
                if before.module(name):
                    self.modules.add(name)
                else:
                    self.modules.add(name.rpartition('.')[0])

    def asked(self, line: int, name: str) -> bool:
        """Is it used only where it is there?"""
        return name in self.optional or any(
            first <= line <= last for first, last in self.tried)

    def qualified(self) -> ty.List[ty.Tuple[int, str]]:
        """Imports, and what is asked of them by a dot."""
        found = list(self.lines)
        for node in ast.walk(self.tree) if self.tree else ():
            if isinstance(node, ast.Attribute):
                name = _dotted(node)
                head, _, rest = name.partition('.')
                if head in self.alias and rest:
                    found.append((node.lineno, f'{self.alias[head]}.{rest}'))
        return found

    def attributes(self) -> ty.List[ty.Tuple[int, str]]:
        """What is asked of objects whose class is not known."""
        return [(node.lineno, node.attr)
                for node in (ast.walk(self.tree) if self.tree else ())
                if isinstance(node, ast.Attribute) and
                _dotted(node).partition('.')[0] not in self.alias]


def _catches(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Name) and
               node.id in ('ImportError', 'AttributeError')
               for node in ast.walk(handler.type or ast.Module([], [])))


def _dotted(node: ast.AST) -> str:
    parts: ty.List[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return '.'.join([node.id, *parts]) if isinstance(node, ast.Name) else ''
