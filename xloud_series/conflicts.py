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
"""What stands between conflict markers, and which hunk it is about."""

from __future__ import annotations

import dataclasses
import difflib
import typing as ty

from xloud_series import patchfile

MARKS = ('<<<<<<< ', '||||||| ', '=======', '>>>>>>> ')
# Of upstream's side: enough to see what it did, however long its change is.
SHOWN = 24


@dataclasses.dataclass(frozen=True)
class Region:
    line: int                     # where its first marker is
    ours: ty.List[str]            # the new upstream
    base: ty.List[str]
    theirs: ty.List[str]          # the patch


def regions(text: str) -> ty.List[Region]:
    """The conflicts in a file that git left, in diff3 style."""
    found: ty.List[Region] = []
    sides: ty.Optional[ty.List[ty.List[str]]] = None
    first = 0
    for number, line in enumerate(text.split('\n'), 1):
        if line.startswith(MARKS[0]):
            sides, first = [[]], number
        elif sides is None:
            continue
        elif len(sides) < 3 and line.startswith(MARKS[len(sides)]):
            sides.append([])
        elif len(sides) == 3 and line.startswith(MARKS[3]):
            found.append(Region(first, *sides))
            sides = None
        else:
            sides[-1].append(line)
    return found


def match(found: ty.Sequence[Region], hunks: ty.Sequence[patchfile.Hunk],
          old: str, new: str) -> ty.List[ty.List[patchfile.Hunk]]:
    """For each region the hunks of the patch that are in it.

    old, new: the file before and after the patch, where it was made.
    """
    lines = {'+': new.split('\n'), '-': old.split('\n')}
    at = {'+': 0, '-': 0}
    matched = []
    for region in found:
        # A patch that only removes has nothing on the new side.
        sign, part = ('+', region.theirs) if region.theirs else (
            '-', region.base)
        start = _find(lines[sign], part, at[sign])
        end = start + len(part)
        at[sign] = end
        matched.append([hunk for hunk in hunks
                        if _overlap(hunk, sign, start, end)])
    return matched


def _find(lines: ty.List[str], part: ty.List[str], start: int) -> int:
    for at in range(start, len(lines) - len(part) + 1):
        if lines[at:at + len(part)] == part:
            return at
    return start


def _overlap(hunk: patchfile.Hunk, sign: str, start: int, end: int) -> bool:
    """Does a line that the hunk changes stand in [start, end)?"""
    at = hunk.new_at if sign == '+' else hunk.old_at
    for line in hunk.lines:
        if line[0] in '+-' and (start <= at < end or
                                line[0] != sign and start <= at <= end):
            return True
        at += line[0] in (' ', sign)
    return False


def upstream(region: Region) -> ty.List[str]:
    """What upstream changed there, and no more of it than helps."""
    lines = [line for line in difflib.unified_diff(
        region.base, region.ours, lineterm='', n=3)][2:]
    more = len(lines) - SHOWN
    return lines[:SHOWN] + ([f'... {more} more lines'] if more > 0 else [])
