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

"""The exit codes, and the one exception that the tool raises on purpose."""

from __future__ import annotations

import enum
import typing as ty


class Exit(enum.IntEnum):
    OK = 0
    FINDINGS = 1
    USAGE = 2
    CONFLICT = 3
    INTEGRITY = 4
    REFUSED = 5


class SeriesError(Exception):
    """One line that says what is wrong and where; what to type next.

    ``check`` collects these instead of stopping at the first.
    """

    def __init__(
        self, code: Exit, text: str,
        next: ty.Union[str, ty.Sequence[str]] = (), detail: str = '',
    ):
        super().__init__(text)
        self.code = code
        self.text = text
        self.next = (next,) if isinstance(next, str) else tuple(next)
        self.detail = detail

    def as_dict(self) -> dict:
        return {'code': int(self.code), 'text': self.text,
                'next': list(self.next), 'detail': self.detail}


def findings(text, next=(), detail='') -> SeriesError:
    return SeriesError(Exit.FINDINGS, text, next, detail)


def usage(text, next=(), detail='') -> SeriesError:
    return SeriesError(Exit.USAGE, text, next, detail)


def integrity(text, next=(), detail='') -> SeriesError:
    return SeriesError(Exit.INTEGRITY, text, next, detail)


def refused(text, next=(), detail='') -> SeriesError:
    return SeriesError(Exit.REFUSED, text, next, detail)


def few(text: str, most: int = 8) -> str:
    """For a detail: git names each file that it cannot write."""
    lines = text.strip().splitlines()
    if len(lines) <= most:
        return '\n'.join(lines)
    return '\n'.join(
        [*lines[:most], f'... and {len(lines) - most} lines more'])


class SeriesErrors(SeriesError):
    """Several at once; the first is the face of it."""

    def __init__(self, problems: ty.Sequence[SeriesError]):
        first = problems[0]
        super().__init__(max(p.code for p in problems), first.text,
                         first.next, first.detail)
        self.problems = list(problems)
