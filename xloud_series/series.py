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

"""The file `series`: the order of the patches, with its owner's comments."""

from __future__ import annotations

import dataclasses
import typing as ty


@dataclasses.dataclass(frozen=True)
class Entry:
    name: str
    comment: ty.Tuple[str, ...] = ()     # the lines that stand before it


@dataclasses.dataclass(frozen=True)
class Series:
    entries: ty.Tuple[Entry, ...] = ()
    head: ty.Tuple[str, ...] = ()        # up to the first blank line
    tail: ty.Tuple[str, ...] = ()

    @property
    def names(self) -> ty.List[str]:
        return [entry.name for entry in self.entries]

    def render(self) -> bytes:
        lines = list(self.head)
        for entry in self.entries:
            lines += entry.comment + (entry.name,)
        return ''.join(f'{line}\n' for line in lines + list(self.tail)).encode(
            'utf-8', 'surrogateescape')

    def follow(self, order: ty.Sequence[ty.Tuple[str, ty.Optional[str]]],
               ) -> Series:
        """The same comments around a new order of (name, old name).

        A comment goes with its patch; one whose patch is gone stays where it
        is, before the next patch that is left.
        """
        kept = {old for _, old in order if old}
        comments: ty.Dict[str, ty.Tuple[str, ...]] = {}
        waiting: ty.Tuple[str, ...] = ()
        for entry in self.entries:
            if entry.name in kept:
                comments[entry.name] = waiting + entry.comment
                waiting = ()
            else:
                waiting += entry.comment
        return Series(
            tuple(Entry(name, comments.get(old or '', ()))
                  for name, old in order), self.head, waiting + self.tail)


def parse(data: bytes) -> Series:
    head: ty.Tuple[str, ...] = ()
    entries: ty.List[Entry] = []
    waiting: ty.List[str] = []
    for line in data.decode('utf-8', 'surrogateescape').splitlines():
        name = line.strip()
        if name and not name.startswith('#'):
            entries.append(Entry(name, tuple(waiting)))
            waiting = []
            continue
        waiting.append(line)
        if not name and not entries:
            head += tuple(waiting)
            waiting = []
    return Series(tuple(entries), head, tuple(waiting))
