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

"""Commit messages that survive the mail, and Change-Ids.

The judge of a message is `git mailinfo`, which is what `git am` reads with:
the message must come out as it went in.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
import re
import tempfile
import typing as ty

from xloud_series import git as _git
from xloud_series import patchfile

# As upstream's reviewers have it. It names the patch file as well.
SUBJECT = 60
TRAILER = re.compile(r'[A-Za-z0-9][A-Za-z0-9-]*: |\(cherry picked from ')

# What `git commit --fixup` and `--squash` make for `git rebase --autosquash`.
WAITING = re.compile(r'(fixup|squash|amend)! ')

# Its message is upstream's, and stays so.
BACKPORT = re.compile(r'^\(cherry picked from commit ', re.M)


def tidy(message: str) -> ty.Tuple[str, str]:
    """Subject and body, as stripspace would leave them at the ends."""
    lines = message.strip('\n').split('\n')
    return lines[0], '\n'.join(lines[1:]).strip('\n').rstrip()


def with_change_id(body: str, seed: str) -> str:
    """The body, with a Change-Id if it has none; the same one every time."""
    last = body.split('\n\n')[-1]
    if patchfile.CHANGE_ID.search(last):
        return body
    trailers = body and all(
        TRAILER.match(line) or line.startswith(' ')
        for line in last.split('\n'))
    digest = hashlib.sha1(patchfile.encode(seed)).hexdigest()
    gap = '' if not body else '\n' if trailers else '\n\n'
    return f'{body}{gap}Change-Id: I{digest}'


def dishonest(git: _git.Git, patch: patchfile.Patch,
              raw: ty.Optional[str] = None) -> ty.Optional[str]:
    """What the mail would lose of this message, or None.

    `raw` is the message as it was committed.
    """
    if not patch.subject.strip():
        return 'the subject is empty'
    if len(patch.subject) > SUBJECT and not BACKPORT.search(patch.body):
        return (f'the subject has {len(patch.subject)} characters, at most '
                f'{SUBJECT} are allowed: "{patch.subject}"')
    ids = patchfile.CHANGE_ID.findall(patch.body)
    # Upstream squashes, too; its backport names each commit.
    if len(ids) > max(1, len(BACKPORT.findall(patch.body))):
        return (f'it has {len(ids)} Change-Ids, and is one change: keep that '
                f'of the patch that it goes on as ({", ".join(ids)})')
    lines = (raw or patch.message).strip('\n').split('\n')
    if len(lines) > 1 and lines[1]:
        return f'the subject goes on in a second line: {lines[1]!r}'
    try:
        data = patch.render()
        data.decode('utf-8' if not patch.files else 'latin-1')
        patchfile.encode(patch.message + patch.author).decode('utf-8')
    except UnicodeError:
        return 'the message is not UTF-8'
    for line in patch.body.split('\n'):
        if line.startswith('From '):
            return f'a mailbox would be cut here: {line!r}'
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder, 'body')
        out = git.out('mailinfo', '--no-scissors', '--encoding=UTF-8',
                      str(body), str(Path(folder, 'diff')), stdin=data)
        after = patchfile.decode(body.read_bytes())
    fields = dict(line.split(': ', 1)
                  for line in patchfile.decode(out).split('\n')
                  if ': ' in line)
    pairs = [('author', patch.author, fields.get('Author', '')),
             ('mail address', patch.mail, fields.get('Email', '')),
             ('subject', patch.subject, fields.get('Subject', ''))]
    for what, ours, theirs in pairs:
        if ours != theirs:
            return f'git am makes the {what} {theirs!r} of {ours!r}'
    theirs = re.sub('\n{3,}', '\n\n', '\n'.join(
        line.rstrip() for line in after.split('\n'))).strip('\n')
    if patch.body != theirs:
        ours_lines, their_lines = patch.body.split('\n'), theirs.split('\n')
        lost = next((a for n, a in enumerate(ours_lines)
                     if their_lines[n:n + 1] != [a]), '')
        return f'git am loses or changes this line: {lost!r}'
    return None
