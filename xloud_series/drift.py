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

"""Say what a new upstream release would do to each hunk, touching nothing.

A row a hunk: exact, moved, landed (upstream has it), conflicts, file gone,
and overlay files that collide with upstream's. git merge-file is the judge,
so `rebase` comes to the same end. Exit 0 if rebase would need no help.
"""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
import re
import tempfile
import typing as ty

from xloud_series import errors
from xloud_series import git as _git
from xloud_series import layout
from xloud_series import patchfile
from xloud_series import stack as _stack
from xloud_series import upstream
from xloud_series import workspace

SCOPE = re.compile(r'( *)(?:async +)?(?:def|class) +(\w+)')


class Fate(enum.Enum):
    EXACT = 'exact'
    MOVED = 'moved'
    LANDED = 'landed'
    CONFLICTS = 'conflicts'
    GONE = 'file gone'
    COLLIDES = 'collides'

    @property
    def is_work(self) -> bool:
        return self in (Fate.CONFLICTS, Fate.GONE, Fate.COLLIDES)


@dataclasses.dataclass(frozen=True)
class Row:
    fate: Fate
    patch: str
    file: str
    line: int = 0
    moved: int = 0
    scope: str = ''
    note: str = ''

    def as_dict(self) -> ty.Dict:
        return {**dataclasses.asdict(self), 'fate': self.fate.value}

    def __str__(self) -> str:
        fate = self.fate.value
        if self.fate is Fate.MOVED:
            fate += f' {self.moved:+}'
        place = f'{self.file}:{self.line}' if self.line else self.file
        more = '  '.join(text for text in (self.scope, self.note) if text)
        return f'{fate:12} {self.patch}  {place}  {more}'.rstrip()


def drift(work: workspace.Workspace, release: layout.Release,
          to: str) -> ty.Tuple[ty.List[Row], upstream.Pin]:
    stack = work.build(release)
    name = upstream.pin_of(release).name
    onto, pin = upstream.base(work.store, work.repo,
                              upstream.find_pin(work.repo, name, to),
                              workspace.say)
    with _git.Reader(work.store) as reader, \
            tempfile.TemporaryDirectory() as folder:
        replay = Replay(work.store, reader, Path(folder), stack, onto)
        return [row for step in stack.steps for row in replay.step(step)], pin


class Replay:

    def __init__(self, store: _git.Git, reader: _git.Reader, folder: Path,
                 stack: _stack.Stack, onto: str):
        self.store = store
        self.reader = reader
        self.folder = folder
        self.stack = stack
        self.onto = onto
        self.parent = stack.base
        self.files: ty.Dict[str, ty.Optional[str]] = {}   # in the new world
        self.renames: ty.Optional[ty.Dict[str, str]] = None

    def step(self, step: _stack.Step) -> ty.Iterator[Row]:
        for path in step.patch.overlay:
            if self.now(path) is not None:
                yield Row(Fate.COLLIDES, step.name, path,
                          note='upstream has a file at this path now')
        for diff in step.patch.files:
            yield from self.file(step.name, diff)
        self.parent = step.commit

    def now(self, path: str) -> ty.Optional[str]:
        if path not in self.files:
            blob = self.reader.read(f'{self.onto}:{path}')
            self.files[path] = None if blob is None else patchfile.decode(
                blob)
        return self.files[path]

    def file(self, name: str, diff: patchfile.FileDiff) -> ty.Iterator[Row]:
        if diff.old is None:
            if self.now(diff.path) is not None:
                yield Row(Fate.COLLIDES, name, diff.path,
                          note='upstream has a file at this path now')
            self.files[diff.path] = ''.join(
                line for hunk in diff.hunks for line in hunk.side('+'))
            return
        blob = self.reader.read(f'{self.parent}:{diff.old}') or b''
        old = patchfile.split_lines(patchfile.decode(blob))
        now = self.now(diff.old)
        if now is None:
            for hunk in diff.hunks or (None,):
                yield Row(Fate.GONE, name, diff.old,
                          hunk.first_change if hunk else 0,
                          scope=scope(old, hunk) if hunk else '',
                          note=self.renamed(diff.old))
            return
        shift = self.shifts(old, now)
        for hunk in diff.hunks:
            theirs = old[:]
            theirs[hunk.old_at:hunk.old_at + hunk.old_count] = hunk.side('+')
            before = patchfile.split_lines(now)
            merged = self.merge(now, ''.join(old), ''.join(theirs))
            moved = shift(hunk)
            at = hunk.old_at + moved
            same = before[at:at + hunk.old_count] == hunk.side('-')
            note = '' if same else 'context changed'
            if merged is None:
                fate, note = Fate.CONFLICTS, ''
            elif merged == now:
                fate, note = Fate.LANDED, 'upstream has this change'
            elif moved == 0 and same:
                fate = Fate.EXACT
            else:
                fate = Fate.MOVED
            yield Row(fate, name, diff.path, hunk.first_change, moved,
                      scope(old, hunk), note)
            now = now if merged is None else merged
        self.files[diff.path] = now
        if not diff.hunks:
            yield Row(Fate.EXACT, name, diff.path,
                      note='mode, name or binary content only')

    def merge(self, ours: str, base: str, theirs: str) -> ty.Optional[str]:
        paths = []
        for side, text in (('ours', ours), ('base', base),
                           ('theirs', theirs)):
            paths.append(self.folder / side)
            paths[-1].write_bytes(patchfile.encode(text))
        result = self.store.run('merge-file', '-p', '-q', '--diff3',
                                *map(str, paths))
        if result.code > 127:             # below, the number of conflicts
            return None
        return None if result.code else patchfile.decode(result.out)

    def shifts(self, old: ty.List[str],
               now: str) -> ty.Callable[[patchfile.Hunk], int]:
        """How far upstream's changes move a hunk of the old file.

        The new world already holds our earlier commits, and so does `old`.
        """
        one, two = self.folder / 'one', self.folder / 'two'
        one.write_bytes(patchfile.encode(''.join(old)))
        two.write_bytes(patchfile.encode(now))
        result = self.store.run(
            'diff', '--no-index', '--no-color', '--no-ext-diff',
            '--no-textconv', '--diff-algorithm=myers', '--unified=0',
            '--src-prefix=a/', '--dst-prefix=b/', str(one), str(two))
        hunks = [h for diff in patchfile.parse_diff(
            patchfile.decode(result.out)) for h in diff.hunks]

        def shift(hunk: patchfile.Hunk) -> int:
            return sum(h.new_count - h.old_count for h in hunks
                       if h.old_at + h.old_count <= hunk.first_change - 1)
        return shift

    def renamed(self, path: str) -> str:
        if self.renames is None:
            self.renames = {
                change.before: change.path for change in self.store.changed(
                    self.stack.base, self.onto, '--find-renames=50%', '-l0')
                if change.status == 'R'}
        new = self.renames.get(path)
        return f'renamed to {new}' if new else 'deleted upstream'


def scope(lines: ty.List[str], hunk: patchfile.Hunk) -> str:
    """Class.function around the hunk, by indentation."""
    names: ty.List[str] = []
    at = min(hunk.first_change, len(lines)) - 1
    indent = None
    for line in reversed(lines[:at + 1]):
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip(' '))
        if indent is None:
            indent = depth
        found = SCOPE.match(line)
        if depth < indent or found and depth <= indent and not names:
            if found:
                names.insert(0, found.group(2))
                indent = depth
        if indent == 0:
            break
    return '.'.join(names)


def work_rows(rows: ty.Sequence[Row]) -> ty.List[Row]:
    return [row for row in rows if row.fate.is_work]


def code(rows: ty.Sequence[Row]) -> errors.Exit:
    return errors.Exit.FINDINGS if work_rows(rows) else errors.Exit.OK
