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
and overlay files that collide with upstream's. The commits are picked one
after another in a scratch tree, as `rebase` picks them, so it stops where this
says so. Then a row a name of upstream's that the overlay uses and the new
release lacks: "name gone". Exit 0 if nothing needs hands.
"""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
import tempfile
import typing as ty

from xloud_series import conflicts
from xloud_series import errors
from xloud_series import git as _git
from xloud_series import layout
from xloud_series import names as _names
from xloud_series import patchfile
from xloud_series import scopes
from xloud_series import scratch as _scratch
from xloud_series import stack as _stack
from xloud_series import upstream
from xloud_series import workspace


class Fate(enum.Enum):
    EXACT = 'exact'
    MOVED = 'moved'
    LANDED = 'landed'
    CONFLICTS = 'conflicts'
    GONE = 'file gone'
    COLLIDES = 'collides'
    NAME_GONE = 'name gone'

    @property
    def is_work(self) -> bool:
        return self in (Fate.CONFLICTS, Fate.GONE, Fate.COLLIDES,
                        Fate.NAME_GONE)


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
    with tempfile.TemporaryDirectory(dir=work.repo.scratch) as folder:
        place = Path(folder, 'tree')
        place.mkdir()
        scratch = _scratch.Scratch(work.store, place, onto)
        with _git.Reader(scratch.git) as reader:
            replay = Replay(scratch, reader, Path(folder), stack, onto)
            rows = [row for step in stack.steps for row in replay.step(step)]
            rows += names(reader, stack, onto)
    return rows, pin


def names(reader: _git.Reader, stack: _stack.Stack,
          onto: str) -> ty.Iterator[Row]:
    """What new files of ours use of upstream and would not find there."""
    owner = {path: step.name for step in stack.steps
             for path in (*step.patch.overlay, *sorted(step.patch.added))
             if path.endswith('.py')}
    texts = {path: patchfile.decode(reader.read(f'{stack.tip}:{path}') or b'')
             for path in owner}
    for use in _names.gone(
            texts, lambda path: _text(reader, stack.base, path),
            lambda path: _text(reader, onto, path)):
        yield Row(Fate.NAME_GONE, owner[use.path], use.path, use.line,
                  scope=use.scope, note=f'{use.name} {use.note}')


def _text(reader: _git.Reader, commit: str, path: str) -> ty.Optional[str]:
    data = reader.read(f'{commit}:{path}')
    return None if data is None else patchfile.decode(data)


class Replay:

    def __init__(self, scratch: _scratch.Scratch, reader: _git.Reader,
                 folder: Path, stack: _stack.Stack, onto: str):
        self.scratch = scratch
        self.git = scratch.git
        self.reader = reader
        self.folder = folder
        self.stack = stack
        self.onto = onto
        self.parent = stack.base
        self.renames: ty.Optional[ty.Dict[str, str]] = None

    def step(self, step: _stack.Step) -> ty.Iterator[Row]:
        picked = self.scratch.pick(step.commit)
        added = [diff.path for diff in step.patch.files if diff.old is None]
        for path in (*step.patch.overlay, *added):
            if path in picked.stages:
                yield Row(Fate.COLLIDES, step.name, path,
                          note='upstream has a file at this path now')
            elif _text(self.reader, picked.before, path) is not None:
                yield Row(Fate.LANDED, step.name, path,
                          note='upstream has this very file')
        for diff in step.patch.files:
            if diff.old is not None:
                yield from self.file(step, diff, picked)
        self.parent = step.commit

    def file(self, step: _stack.Step, diff: patchfile.FileDiff,
             picked: _scratch.Picked) -> ty.Iterator[Row]:
        path, renamed = ty.cast(str, diff.old), ''
        old = _text(self.reader, self.parent, path) or ''
        new = _text(self.reader, step.commit, diff.path) or ''
        lines = patchfile.split_lines(old)
        modules = [scopes.parse(text) if path.endswith('.py') else None
                   for text in (old, new)]
        now = _text(self.reader, picked.before, path)
        if now is None and path not in picked.stages:
            target = self.renamed().get(path, path)
            renamed = f'renamed to {target}'
            now = _text(self.reader, picked.before, target)
            path = target
        if now is None:
            for hunk in diff.hunks or (None,):
                yield Row(Fate.GONE, step.name, path,
                          hunk.first_change if hunk else 0,
                          scope=scopes.of_hunk(*modules, hunk) if hunk else '',
                          note='deleted upstream')
            return
        stuck = self.stuck(path, diff, picked, old, new)
        shift = self.shifts(lines, now)
        for hunk in diff.hunks:
            theirs = lines[:]
            theirs[hunk.old_at:hunk.old_at + hunk.old_count] = hunk.side('+')
            before = patchfile.split_lines(now)
            merged = self.merge(now, old, ''.join(theirs))
            moved = shift(hunk)
            at = hunk.old_at + moved
            same = before[at:at + hunk.old_count] == hunk.side('-')
            note = '' if same else 'context changed'
            if hunk in stuck:
                fate, note = Fate.CONFLICTS, ''
            elif merged == now:
                fate, note = Fate.LANDED, 'upstream has this change'
            elif moved == 0 and same and not renamed:
                fate = Fate.EXACT
            else:
                fate = Fate.MOVED
            yield Row(fate, step.name, path, hunk.first_change, moved,
                      scopes.of_hunk(*modules, hunk),
                      ', '.join(text for text in (renamed, note) if text))
        if not diff.hunks:
            yield Row(Fate.CONFLICTS if path in picked.stages else Fate.EXACT,
                      step.name, path,
                      note='mode, name or binary content only')

    def stuck(self, path: str, diff: patchfile.FileDiff,
              picked: _scratch.Picked, old: str,
              new: str) -> ty.List[patchfile.Hunk]:
        """The hunks at which git stops; all of them if it cannot say."""
        if path not in picked.stages:
            return []
        found = conflicts.regions(picked.marked.get(path, ''))
        return [hunk for some in conflicts.match(found, diff.hunks, old, new)
                for hunk in some] or list(diff.hunks)

    def merge(self, ours: str, base: str, theirs: str) -> ty.Optional[str]:
        paths = []
        for side, text in (('ours', ours), ('base', base),
                           ('theirs', theirs)):
            paths.append(self.folder / side)
            paths[-1].write_bytes(patchfile.encode(text))
        result = self.git.run('merge-file', '-p', '-q', '--diff3',
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
        result = self.git.run(
            'diff', '--no-index', '--no-color', '--no-ext-diff',
            '--no-textconv', '--diff-algorithm=myers', '--unified=0',
            '--src-prefix=a/', '--dst-prefix=b/', str(one), str(two))
        hunks = [h for diff in patchfile.parse_diff(
            patchfile.decode(result.out)) for h in diff.hunks]

        def shift(hunk: patchfile.Hunk) -> int:
            return sum(h.new_count - h.old_count for h in hunks
                       if h.old_at + h.old_count <= hunk.first_change - 1)
        return shift

    def renamed(self) -> ty.Dict[str, str]:
        if self.renames is None:
            self.renames = {
                change.before: change.path for change in self.git.changed(
                    self.stack.base, self.onto, '--find-renames=50%', '-l0')
                if change.status == 'R'}
        return self.renames


def work_rows(rows: ty.Sequence[Row]) -> ty.List[Row]:
    return [row for row in rows if row.fate.is_work]


def code(rows: ty.Sequence[Row]) -> errors.Exit:
    return errors.Exit.FINDINGS if work_rows(rows) else errors.Exit.OK
