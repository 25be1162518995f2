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

"""The text of what the story tells."""

import http
import json
import textwrap
import typing as ty

WIDTH = 79
_INDENT = '    '
# A size is vCPUs and MiB.
Size = ty.Optional[ty.Sequence[ty.Optional[int]]]


def step(number: int, title: str, seconds: float) -> str:
    heading = f'{number}. {title}'
    return f'\n{heading:{WIDTH - 6}}{seconds:4.0f} s\n{"-" * WIDTH}'


def request(method: str, path: str, body: ty.Any) -> str:
    text = f'> {method} {path}'
    if body is not None:
        text += '\n' + wrapped(json.dumps(body))
    return text


def response(status: int, body: ty.Any, seconds: float) -> str:
    text = f'< {status} {http.HTTPStatus(status).phrase}  ({seconds:.1f} s)'
    about = _about(body or {})
    return f'{text}\n{wrapped(about)}' if about else text


def _about(body):
    """What a person wants to know of the body of a response."""
    status = body.get('xloud_status')
    if status:
        return ', '.join([status['condition']] + [
            f'{word} {size([status[key] for key in keys])}'
            for word, keys in (
                (word, (f'{of}_vcpus', f'{of}_memory_mb'))
                for word, of in (('desired', 'desired'), ('boot', 'boot'),
                                 ('charged', 'allocated'),
                                 ('actual', 'actual')))])
    for fault in body.values():
        if isinstance(fault, dict) and 'message' in fault:
            return fault['message']
    return ''


def size(of: Size) -> str:
    if of is None or None in of:
        return '?'
    return '%d vCPUs %d MiB' % tuple(of)


def table(views: ty.Mapping[str, Size], seconds: float) -> str:
    """What each says, side by side.

    :param seconds: until they agreed
    """
    widths = [max(len(name), 8) + 2 for name in views]
    rows = [('', views)] + [
        (unit, [str(of[place]) if of else '?' for of in views.values()])
        for place, unit in enumerate(('vCPUs', 'MiB'))]
    return f'= {seconds:.1f} s later\n' + '\n'.join(
        f'{_INDENT}{unit:5}' + ''.join(
            f'{cell:>{width}}' for cell, width in zip(cells, widths))
        for unit, cells in rows)


def progress(what: str, sizes: ty.Optional[ty.Mapping[str, Size]],
             seconds: float) -> str:
    """One line of what is waited for, and how far it is."""
    text = f'... {what} {seconds:.0f} s'
    for name, of in (sizes or {}).items():
        text += '  %s %s' % (
            name, '%s/%s' % tuple(of) if of and None not in of else '?')
    return text[:WIDTH]


def wrapped(text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT,
        break_long_words=False, break_on_hyphens=False)
