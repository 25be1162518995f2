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

"""A patch file: a mail that `git am` and quilt take, and nothing that moves.

No index lines, no diffstat, no version of git: what is left changes only
when the commit does. The header has one line that is ours, ``Overlay: PATH``
for every whole new file that the commit adds; git and quilt skip it.

Text is str with surrogateescape throughout, so that bytes survive.
"""

from __future__ import annotations

import dataclasses
import datetime
from email import header
from email import utils
import re
import typing as ty
import unicodedata

from xloud_series import errors

HUNK = re.compile(r'@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)', re.S)
CHANGE_ID = re.compile(r'^Change-Id: *(I[0-9a-f]{40})$', re.M)
PYTHON = re.compile(r'[ \t]*(class|(async[ \t]+)?def)[ \t]')
MARGIN = re.compile(r'[A-Za-z_$]')
CONTEXT = 3                           # lines, as split.DIFF has it
SPECIALS = re.compile(r'[()<>\[\]:;@\\,."]')
MIME = ('MIME-Version: 1.0\n'
        'Content-Type: text/plain; charset=UTF-8\n'
        'Content-Transfer-Encoding: 8bit\n')


@dataclasses.dataclass(frozen=True)
class Hunk:
    header: str
    old_start: int
    old_count: int
    new_start: int
    new_count: int
    section: str
    lines: ty.Tuple[str, ...]

    @property
    def text(self) -> str:
        return '\n'.join((self.header,) + self.lines)

    def side(self, sign: str) -> ty.List[str]:
        """The old ('-') or new ('+') text, lines with their ends."""
        found: ty.List[str] = []
        last = ''
        for line in self.lines:
            if line[0] == '\\':
                if last in (' ', sign):
                    found[-1] = found[-1][:-1]
            elif line[0] in (' ', sign):
                found.append(line[1:] + '\n')
            last = line[0] if line[0] != '\\' else last
        return found

    @property
    def around(self) -> ty.Tuple[int, int]:
        """Lines of context before the first change, and after the last."""
        kept = [line[0] == ' ' for line in self.lines if line[0] != '\\']
        return kept.index(False), kept[::-1].index(False)

    @property
    def old_at(self) -> int:
        """Index of the first old line; an empty side names the line before."""
        return self.old_start - (1 if self.old_count else 0)

    @property
    def new_at(self) -> int:
        return self.new_start - (1 if self.new_count else 0)

    @property
    def first_change(self) -> int:
        """Line number, in the old file, of the first line that changes."""
        lead = 0
        for line in self.lines:
            if line[0] != ' ':
                break
            lead += 1
        return self.old_at + lead + 1


@dataclasses.dataclass(frozen=True)
class FileDiff:
    old: ty.Optional[str]
    new: ty.Optional[str]
    lines: ty.Tuple[str, ...]
    hunks: ty.Tuple[Hunk, ...]

    @property
    def path(self) -> str:
        return self.new or self.old or '?'

    @property
    def head(self) -> ty.Tuple[str, ...]:
        """What stands before the hunks: names, modes."""
        return self.lines[:len(self.lines) - sum(
            1 + len(hunk.lines) for hunk in self.hunks)]

    def with_hunks(self, hunks: ty.Sequence[Hunk]) -> FileDiff:
        """Of a diff that has hunks at all."""
        hunks = [dataclasses.replace(hunk, header=(
            f'@@ -{hunk.old_start},{hunk.old_count} '
            f'+{hunk.new_start},{hunk.new_count} @@ {hunk.section}'.rstrip()))
            for hunk in hunks]
        lines = self.head + tuple(
            line for hunk in hunks for line in (hunk.header, *hunk.lines))
        return dataclasses.replace(self, lines=lines, hunks=tuple(hunks))


@dataclasses.dataclass(frozen=True)
class Patch:
    author: str
    mail: str
    date: str                      # as git has it: seconds and zone
    subject: str
    body: str
    overlay: ty.Tuple[str, ...]
    files: ty.Tuple[FileDiff, ...]

    @property
    def message(self) -> str:
        return self.subject + '\n' + (f'\n{self.body}\n' if self.body else '')

    @property
    def change_id(self) -> ty.Optional[str]:
        found = CHANGE_ID.findall(self.body.split('\n\n')[-1])
        return found[-1] if found else None

    @property
    def file_name(self) -> str:
        return slug(self.subject) + '.patch'

    @property
    def diff(self) -> str:
        return ''.join(line + '\n' for f in self.files for line in f.lines)

    @property
    def added(self) -> ty.Set[str]:
        """New files that the diff itself carries (release variants)."""
        return {f.new for f in self.files if f.old is None and f.new}

    def render(self) -> bytes:
        name = self.author
        if SPECIALS.search(name):
            name = '"%s"' % re.sub(r'(["\\])', r'\\\1', name)
        head = (f'From: {name} <{self.mail}>\n'
                f'Date: {mail_date(self.date)}\n'
                f'Subject: {self.subject}\n')
        if not (head + self.body).isascii():
            head += MIME
        head += ''.join(f'Overlay: {path}\n' for path in self.overlay)
        body = f'{self.body}\n' if self.body else ''
        diff = f'\n{self.diff}' if self.files else ''
        return encode(f'{head}\n{body}---\n{diff}')


def encode(text: str) -> bytes:
    return text.encode('utf-8', 'surrogateescape')


def decode(data: bytes) -> str:
    return data.decode('utf-8', 'surrogateescape')


def slug(subject: str, limit: int = 60) -> str:
    text = subject.lower().replace('đ', 'd')   # no accent: it has no NFKD
    text = unicodedata.normalize('NFKD', text)
    text = text.encode('ascii', 'ignore').decode()
    text = re.sub('[^a-z0-9]+', '-', text).strip('-') or 'patch'
    if len(text) > limit:
        text = text[:limit + 1].rpartition('-')[0] or text[:limit]
    return text


def mail_date(date: str) -> str:
    seconds, zone = date.split()
    minutes = int(zone[1:3]) * 60 + int(zone[3:5])
    offset = datetime.timedelta(
        minutes=-minutes if zone[0] == '-' else minutes)
    return utils.format_datetime(datetime.datetime.fromtimestamp(
        int(seconds), datetime.timezone(offset)))


def git_date(text: str) -> str:
    parsed = utils.parsedate_tz(text)
    if parsed is None:
        raise ValueError(f'{text!r} is not a date')
    offset = (parsed[9] or 0) // 60
    sign = '-' if offset < 0 else '+'
    return '%d %s%02d%02d' % (utils.mktime_tz(parsed), sign,
                              *divmod(abs(offset), 60))


def parse(data: bytes, name: str) -> Patch:
    """`name` is for the reader of the error."""
    try:
        return _parse(decode(data))
    except ValueError as exc:
        raise errors.integrity(
            f'{name}: not a patch of this series: {exc}',
            'write patches with `python3 -m xloud_series export`, not by hand')


def _parse(text: str) -> Patch:
    lines = text.split('\n')
    if lines[0].startswith('From '):
        del lines[0]                      # an mbox, as format-patch writes it
    fields: ty.Dict[str, ty.List[str]] = {}
    key = ''
    number = 0
    for number, line in enumerate(lines):
        if not line:
            break
        if line[0] in ' \t' and key:
            fields[key][-1] += line
            continue
        key, colon, value = line.partition(':')
        if not colon:
            raise ValueError(f'line {number + 1} is no header: {line!r}')
        key = key.lower()
        fields.setdefault(key, []).append(value.strip())
    for key in ('from', 'date', 'subject'):
        if len(fields.get(key, ())) != 1:
            raise ValueError(f'it needs one {key.title()}: header')
    rest = lines[number + 1:]
    if '---' not in rest:
        raise ValueError('there is no line "---" after the message')
    cut = rest.index('---')
    author, mail = utils.parseaddr(_words(fields['from'][0]))
    return Patch(
        author, mail, git_date(fields['date'][0]),
        _words(fields['subject'][0]), '\n'.join(rest[:cut]).rstrip('\n'),
        tuple(fields.get('overlay', ())),
        parse_diff('\n'.join(rest[cut + 1:])))


def _words(value: str) -> str:
    if '=?' not in value:
        return value
    return str(header.make_header(header.decode_header(value)))


def parse_diff(text: str) -> ty.Tuple[FileDiff, ...]:
    lines = text.split('\n')
    if lines[-1] == '':
        lines.pop()
    found = []
    at = 0
    while at < len(lines) and not lines[at].startswith('diff --git '):
        at += 1                           # a diffstat
    while at < len(lines) and lines[at] != '-- ':
        at, diff = _file(lines, at)
        found.append(diff)
    return tuple(found)


def _file(lines: ty.List[str], at: int) -> ty.Tuple[int, FileDiff]:
    head = lines[at]
    if not head.startswith('diff --git '):
        raise ValueError(f'unexpected line in the diff: {head!r}')
    half = (len(head) - len('diff --git a/ b/')) // 2
    both = head[len('diff --git a/'):][:half]
    old = new = both if head.endswith(f' b/{both}') else None
    kept = [head]
    hunks: ty.List[Hunk] = []
    at += 1
    index = None
    while at < len(lines) and not lines[at].startswith('diff --git '):
        line = lines[at]
        if line.startswith('@@ '):
            at, hunk = _hunk(lines, at)
            hunks.append(hunk)
            kept += (hunk.header,) + hunk.lines
            continue
        if hunks:
            if line == '-- ':
                break
            raise ValueError(f'a hunk of {new or old} is longer than its @@ '
                             f'says, at {line!r}')
        at += 1
        if line.startswith('index '):
            index = (len(kept), line)     # it changes with every base
            continue
        kept.append(line)
        if line == 'GIT binary patch' and index:
            kept.insert(*index)           # but git needs it for a binary
        for mark, side in (('--- ', 'old'), ('rename from ', 'old'),
                           ('+++ ', 'new'), ('rename to ', 'new')):
            if line.startswith(mark):
                path = _path(line[len(mark):], mark in ('--- ', '+++ '))
                old, new = ((path, new) if side == 'old' else (old, path))
        if line.startswith('new file mode'):
            old = None
        elif line.startswith('deleted file mode'):
            new = None
    return at, FileDiff(old, new, tuple(kept), tuple(hunks))


def _path(text: str, prefixed: bool) -> ty.Optional[str]:
    text = text.rstrip('\t')
    if text == '/dev/null':
        return None
    if text.startswith('"'):
        text = re.sub(r'\\([0-7]{3}|.)', _unquote, text[1:-1])
    return text[2:] if prefixed else text


def _unquote(found: ty.Match) -> str:
    code = found.group(1)
    if len(code) == 3:
        return decode(bytes([int(code, 8)]))
    return {'n': '\n', 't': '\t'}.get(code, code)


def _hunk(lines: ty.List[str], at: int) -> ty.Tuple[int, Hunk]:
    header = lines[at]
    found = HUNK.fullmatch(header)
    if not found:
        raise ValueError(f'no hunk header: {header!r}')
    old_start, old, new_start, new = (
        1 if n is None else int(n) for n in found.groups()[:4])
    left_old, left_new = old, new
    body = []
    at += 1
    while at < len(lines):
        line = lines[at]
        if not (left_old or left_new) and not line.startswith('\\'):
            break
        sign = line[:1]
        left_old -= sign in (' ', '-') and sign != ''
        left_new -= sign in (' ', '+') and sign != ''
        if sign not in (' ', '-', '+', '\\') or not sign or (
                left_old < 0 or left_new < 0):
            raise ValueError(f'counts of {header!r} are wrong, at {line!r}')
        body.append(line)
        at += 1
    if left_old or left_new:
        raise ValueError(f'counts of {header!r} are wrong, at the end')
    return at, Hunk(header, old_start, old, new_start, new,
                    found.group(5).strip(), tuple(body))


def split_lines(text: str) -> ty.List[str]:
    """Lines with their ends, as git counts them."""
    parts = text.split('\n')
    return [p + '\n' for p in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


@dataclasses.dataclass(frozen=True)
class Misfit:
    hunk: Hunk
    reason: str


def misfits(diff: FileDiff, text: str) -> ty.List[Misfit]:
    """Hunks that do not stand exactly where their @@ says.

    git would look for them up and down the file, and with two like contexts
    find the wrong one.
    """
    lines = split_lines(text)
    found = []
    shift = 0
    for hunk in diff.hunks:
        old = hunk.side('-')
        if lines[hunk.old_at:hunk.old_at + len(old)] != old:
            places = [n + 1 for n in range(len(lines) - len(old) + 1)
                      if lines[n] == old[0] and lines[n:n + len(old)] == old
                      ] if old else []
            where = ('its text is at line %s' % ', '.join(map(str, places))
                     if places else 'its text is nowhere in that file')
            found.append(Misfit(
                hunk, f'expected at line {hunk.old_start}, {where}'))
        elif hunk.new_at != hunk.old_at + shift:
            found.append(Misfit(
                hunk, f'its @@ should say +{hunk.old_at + shift + 1}, '
                f'not +{hunk.new_start}'))
        elif not named(diff.path, hunk, lines):
            found.append(Misfit(
                hunk, f'the text at line {hunk.old_start} is the same, but '
                f'not in "{hunk.section}"'))
        shift += hunk.new_count - hunk.old_count
    return found


def placed(diff: FileDiff,
           text: str) -> ty.Tuple[FileDiff, ty.List[Misfit]]:
    """The same hunks at their lines in the file of another release.

    Where the context of a hunk is not there, or is there twice, nobody can
    say where it belongs. With less than three lines of it a hunk belongs to
    the beginning or the end of its file.
    """
    lines = split_lines(text)
    hunks: ty.List[Hunk] = []
    found = []
    shift = 0
    for hunk in diff.hunks:
        old = hunk.side('-')
        places = _places(hunk, old, lines)
        if len(places) != 1:
            where = ('is at lines %s' % ', '.join(
                str(at + 1) for at in places) if places else
                'is nowhere in that file')
            found.append(Misfit(hunk, f'its text {where}'))
            continue
        start, first = places[0], 1 if old else 0
        hunks.append(dataclasses.replace(
            hunk, old_start=start + first,
            new_start=start + shift + (1 if hunk.new_count else 0)))
        shift += hunk.new_count - hunk.old_count
    for one, two in zip(hunks, hunks[1:]):
        if two.old_at < one.old_at + one.old_count:
            found.append(Misfit(two, 'its text is not below the hunk before'))
    return diff.with_hunks(hunks), found


def _places(hunk: Hunk, old: ty.List[str],
            lines: ty.List[str]) -> ty.List[int]:
    """Where these lines stand in the file."""
    if not old:
        return [0]
    before, after = hunk.around
    last = len(lines) - len(old)
    starts = range(last + 1) if before >= CONTEXT else [0]
    if after < CONTEXT:
        starts = [at for at in starts if at == last]
    return [at for at in starts
            if lines[at] == old[0] and lines[at:at + len(old)] == old]


def applied(diff: FileDiff, text: str) -> str:
    """The file with these hunks, which stand at their lines."""
    lines = split_lines(text)
    for hunk in reversed(diff.hunks):
        lines[hunk.old_at:hunk.old_at + hunk.old_count] = hunk.side('+')
    return ''.join(lines)


def named(path: str, hunk: Hunk, lines: ty.List[str]) -> bool:
    """Does the name after the @@ stand above that place?

    Of two like contexts, a stale @@ may hit the wrong one to the line. git
    names the last line at the margin, and in our store the last def or class.
    """
    if not hunk.section or not path.endswith('.py'):
        return True
    for style in (PYTHON, MARGIN):
        for line in reversed(lines[:hunk.old_at]):
            if style.match(line):
                if encode(line.strip()).startswith(encode(hunk.section)):
                    return True
                break
    return False
