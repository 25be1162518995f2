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

"""The pinned upstream release: fetched by pip, checked by us, kept as git.

pip is asked because it knows the site's mirror, proxy and credentials. The
hash is checked again on every run, before anything else is read.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import importlib.util
import os
from pathlib import Path
import posixpath
import re
import subprocess
import sys
import tarfile
import tempfile
import typing as ty

from xloud_series import errors
from xloud_series import git as _git
from xloud_series import layout

PIN = re.compile(r'([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!_-]+)'
                 r'((?:\s+--hash=sha256:[0-9a-f]{64})*)\s*')
MODES = {False: b'100644', True: b'100755'}


@dataclasses.dataclass(frozen=True)
class Pin:
    name: str
    version: str
    sha256: ty.Optional[str]

    @property
    def file_name(self) -> str:
        return f'{self.name}-{self.version}.tar.gz'

    def __str__(self) -> str:
        text = f'{self.name}=={self.version}'
        return text + (f' --hash=sha256:{self.sha256}' if self.sha256 else '')


def parse(text: str, where: str) -> Pin:
    lines = [line for line in text.replace('\\\n', ' ').splitlines()
             if line.strip() and not line.lstrip().startswith('#')]
    found = PIN.fullmatch(lines[0].strip()) if len(lines) == 1 else None
    hashes = re.findall(r'sha256:(\S+)', found.group(3)) if found else []
    if not found or len(hashes) > 1:
        raise errors.integrity(
            f'{where}: expected one line NAME==VERSION --hash=sha256:HEX')
    return Pin(found.group(1), found.group(2), hashes[0] if hashes else None)


def pin_of(release: layout.Release) -> Pin:
    file = layout.Files(release.repo).get(release.upstream)
    pin = parse(file.data.decode() if file else '', release.upstream)
    if not pin.sha256:
        raise errors.integrity(f'{release.upstream}: {pin} has no --hash')
    return _of(release.repo, pin, release.upstream)


def _of(repo: layout.Repo, pin: Pin, where: str) -> Pin:
    """That pin, if it is of the project that the series stands on."""
    wanted = repo.project.name
    if _plain(pin.name) != _plain(wanted):
        raise errors.integrity(
            f'{where} pins {pin.name}, but its project is {wanted}',
            'a project has the name of what it stands on: see --project')
    return pin


def _plain(name: str) -> str:
    return re.sub('[-_.]+', '-', name).lower()


def find_pin(repo: layout.Repo, name: str, to: str) -> Pin:
    """The pin that `--to` means: a version, a release of ours, or a pin."""
    if '==' in to:
        return _of(repo, parse(to, '--to'), '--to')
    for release in repo.releases():
        pin = pin_of(release)
        if to in (pin.version, release.name):
            return pin
    return parse(f'{name}=={to}', '--to')


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        for block in iter(lambda: stream.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def fetch(repo: layout.Repo, pin: Pin,
          say: ty.Callable[[str], None]) -> ty.Tuple[Path, Pin]:
    """The checked sdist; for a pin without hash, the hash first seen."""
    path = repo.sdists / pin.file_name
    seen = path.with_name(path.name + '.sha256')
    if not path.exists():
        download(repo, pin, path, say)
    actual = sha256_of(path)
    expected = pin.sha256
    if not expected:
        if not seen.exists():
            seen.write_text(actual + '\n')
        expected = seen.read_text().strip()
    if actual != expected:
        shown = path.relative_to(repo.root)
        raise errors.integrity(
            f'{shown}: sha256 is {actual}, expected {expected}; '
            f'nothing was unpacked',
            (f'rm {shown}, and run this again to fetch it anew',
             'if the pin is wrong: correct it in upstream.txt'))
    return path, dataclasses.replace(pin, sha256=actual)


def download(repo: layout.Repo, pin: Pin, path: Path,
             say: ty.Callable[[str], None]) -> None:
    shown = path.relative_to(repo.root)
    by_hand = f'put the sdist at {shown} by hand (it is checked by its hash)'
    if importlib.util.find_spec('pip') is None:
        raise errors.integrity(
            f'cannot fetch {pin.name} {pin.version}: {sys.executable} has no '
            f'pip, and {shown} is not there',
            (f'install pip (its package is python3-pip), or {by_hand}',))
    say(f'fetching {pin.name} {pin.version} with pip')
    repo.sdists.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=repo.sdists) as folder:
        wanted = Path(folder, 'upstream.txt')
        wanted.write_text(f'{pin}\n')
        # --no-deps: the sdist only. --no-binary: never a wheel in its place.
        # And not for this Python: its files are read, and not run.
        command = [sys.executable, '-m', 'pip', 'download', '--no-deps',
                   '--ignore-requires-python', '--no-binary', pin.name,
                   '--disable-pip-version-check',
                   '-r', str(wanted), '-d', folder]
        if pin.sha256:
            command.append('--require-hashes')
        done = run_pip(command, folder)
        if b'no such option: --ignore-requires-python' in done.stdout:
            # Before pip 21.0. It fetches what this Python can run.
            command.remove('--ignore-requires-python')
            done = run_pip(command, folder)
        got = [p for p in Path(folder).iterdir() if p.name != 'upstream.txt']
        if done.returncode or len(got) != 1:
            log = done.stdout.decode('utf-8', 'replace').strip()
            check = 'check the network and pip\'s index'
            # Python's number too: pip speaks the caller's language.
            if any(f'[Errno {code}]' in log or os.strerror(code) in log
                   for code in (errno.ENOSPC, errno.EDQUOT)):
                check = f'make room here and in {tempfile.gettempdir()}'
            raise errors.integrity(
                f'cannot fetch {pin.name} {pin.version}: pip failed and '
                f'{shown} is not there', (f'{check}, or {by_hand}',),
                detail='\n'.join(log.splitlines()[-6:]))
        actual = sha256_of(got[0])
        if pin.sha256 not in (None, actual):
            raise errors.integrity(
                f'pip fetched {got[0].name} with sha256 {actual}, expected '
                f'{pin.sha256}; nothing was kept')
        os.replace(got[0], path)
    if not pin.sha256:
        say(f'{pin.file_name} has sha256 {actual}: pin it as '
            f'"{pin} --hash=sha256:{actual}"')


def run_pip(command: ty.Sequence[str],
            folder: str) -> subprocess.CompletedProcess:
    # Many have pip refuse to install outside an environment.
    return subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, 'PIP_REQUIRE_VIRTUALENV': '0'})


def base(git: _git.Git, repo: layout.Repo, pin: Pin,
         say: ty.Callable[[str], None]) -> ty.Tuple[str, Pin]:
    """The commit that is this release, made once a cache."""
    path, pin = fetch(repo, pin, say)
    ref = f'refs/bases/{pin.sha256}'
    commit = git.resolve(ref)
    if commit is None:
        say(f'importing {pin.name} {pin.version}')
        try:
            stream = b''.join(fast_import(path, pin, ref))
        except (tarfile.TarError, EOFError, OSError) as exc:
            if getattr(exc, 'errno', None):
                raise
            raise errors.integrity(f'{path.name} is no sdist: {exc}')
        git.out('fast-import', '--quiet', '--done', stdin=stream)
        commit = git.resolve(ref)
    return ty.cast(str, commit), pin


def fast_import(path: Path, pin: Pin, ref: str) -> ty.Iterator[bytes]:
    """Nothing of this machine goes in: no owner, umask, clock or order."""
    with tarfile.open(path, 'r:gz') as tar:
        members = [(m, _place(m)) for m in tar.getmembers()]
        kept = sorted(((place, m) for m, place in members if place),
                      key=lambda pair: pair[0])
        date = max((int(m.mtime) for _, m in kept), default=0)
        who = b'%s <%s> %d +0000' % (
            _git.COMMITTER[0].encode(), _git.COMMITTER[1].encode(), date)
        text = (f'{pin.name} {pin.version}\n\nThe sdist with sha256 '
                f'{pin.sha256}.\n').encode()
        yield (b'feature done\ncommit %s\nauthor %s\ncommitter %s\n'
               b'data %d\n%s\n' % (ref.encode(), who, who, len(text), text))
        for place, member in kept:
            if member.issym():
                mode, data = b'120000', os.fsencode(member.linkname)
            else:
                mode = MODES[bool(member.mode & 0o100)]
                stream = tar.extractfile(member)
                data = stream.read() if stream else b''
            name = os.fsencode(place).replace(b'\\', b'\\\\').replace(
                b'"', b'\\"').replace(b'\n', b'\\n')
            yield b'M %s inline "%s"\ndata %d\n%s\n' % (
                mode, name, len(data), data)
    yield b'done\n'


def _place(member: tarfile.TarInfo) -> str:
    """The path in the tree; '' for what does not belong there."""
    parts = member.name.rstrip('/').split('/')
    bad = (member.name.startswith('/') or '..' in parts or
           any(p.lower() == '.git' for p in parts) or
           not (member.isfile() or member.isdir() or member.issym() or
                member.islnk()))
    place = '/'.join(parts[1:])
    if member.issym() and not bad:
        target = posixpath.normpath(posixpath.join(
            posixpath.dirname(place), member.linkname))
        bad = target.startswith(('/', '../')) or target == '..'
    if bad:
        raise errors.integrity(
            f'the sdist holds {member.name!r}, which no sdist should')
    # A stale SOURCES.txt would make pbr leave our files out of a wheel, and
    # an editable install would dirty it.
    if member.isdir() or parts[1:2] and parts[1].endswith('.egg-info'):
        return ''
    return place
