#!/usr/bin/env python3
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
"""Put the wheel of XLoud Nova over an installed Nova, and take it off again.

It runs on the node, with the Python of the services, and needs nothing but
that Python. It also runs from standard input, inside a container::

    podman exec -i -u 0 nova_api python3 -I - status < xloud_node.py

An overlay file system cannot exchange folders in one step, so files are
replaced one after the other, each in one step. What makes the whole safe is
the journal: it names the target before the first file changes. After a kill,
the next "place" of the same wheel finishes, and "rollback" goes back. Both
make the installation equal to a target, whatever they find, so it makes no
difference how often they were interrupted.

All that it keeps is in a folder beside site-packages, so that it vanishes
together with what it describes when a container is made anew.

Every command prints one JSON object. Exit codes: 0 done, 1 findings or a
failure in the middle, 2 wrong usage, 3 refused; then nothing was changed.
"""

import argparse
import base64
import compileall
import contextlib
import csv
import fcntl
import gzip
import hashlib
import importlib.util
import io
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import tarfile
import time
import typing as ty
import zipfile
import zlib

DONE, FINDINGS, USAGE, REFUSED = 0, 1, 2, 3

MANIFEST = 'nova/xloud/xloud-manifest.json'
VERIFY = 'nova/xloud/verify.py'
_TESTS = 'nova/tests/'
_ASIDE = '.xloud-new'
_DIST_INFO = re.compile(r'nova-[^/]+\.dist-info')
# Their package managers own what they installed, and would overwrite ours.
_DISTRIBUTIONS = ('debian', 'rpm')
# What a service of each kind imports first.
_IMPORTS = ('nova.version', 'nova.conductor.manager', 'nova.scheduler.manager',
            'nova.compute.manager', 'nova.api.openstack.compute.routes')
# Beside what is written: bytecode and the journal.
_SPARE_BYTES = 64 << 20
_LEASE_SECONDS = 900
# How long to wait for a program that is at work: longer than "place" takes.
_PATIENCE = 120
_LINES = 20
# Of a log, what is read to learn which errors are old.
_OLD_BYTES = 4 << 20
_ERROR = re.compile(r'\b(?:ERROR|CRITICAL)\b|^Traceback ')
# Times, identifiers, and what is in brackets: who asked, which server.
_VARIABLE = re.compile(
    r'\[[^\]]*\]|[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{8,}\b|'
    r'0x[0-9a-f]+|\d+')

Files = ty.Dict[str, str]  # sha256 by path below site-packages


class Refused(Exception):
    """Nothing was changed. The text says what to do."""

    def __init__(self, message: str, **details: ty.Any):
        super().__init__(message)
        self.details = details


class Found(Exception):
    """What was asked for was done, and is not as it should be."""

    def __init__(self, message: str, **details: ty.Any):
        super().__init__(message)
        self.details = details


# All that changes a file goes through these three.

def write(path: Path, content: bytes) -> None:
    """Replace a file in one step; it survives a loss of power."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + _ASIDE)
    with aside.open('wb') as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    aside.chmod(0o644)
    os.replace(aside, path)


def remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def remove_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # something is left in it
        path.rmdir()


def read(path: Path) -> ty.Dict[str, ty.Any]:
    """What is kept about an installation.

    :raises: FileNotFoundError, and ValueError if the file is damaged
    """
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
        raise ValueError('it is no object')
    return found


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Wheel:
    """What is to be installed.

    :raises: Refused
    """

    def __init__(self, path: Path, wanted: ty.Optional[str] = None):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Refused('There is no wheel: %s' % error)
        self.sha256 = sha256(content)
        if wanted and wanted != self.sha256:
            raise Refused('The wheel is not the one that was sent: its '
                          'sha256 is %s, not %s' % (self.sha256, wanted))
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                self.files = {
                    name: archive.read(name) for name in archive.namelist()
                    if name.startswith('nova/') or
                    _DIST_INFO.match(name.partition('/')[0])}
            self.manifest = json.loads(self.files[MANIFEST])
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise Refused('%s is no wheel of XLoud Nova: %s' % (path, error))
        if not any('stock' in entry
                   for entry in self.manifest['files'].values()):
            raise Refused('%s does not say what stock Nova is. Build it with '
                          'packaging/build.sh wheel of today.' % path)

    @property
    def version(self) -> str:
        return self.manifest['version']

    @property
    def base(self) -> str:
        return self.manifest['base']


def ours(manifest: ty.Dict[str, ty.Any]) -> Files:
    return {path: entry['sha256']
            for path, entry in manifest['files'].items()}


def stock(manifest: ty.Dict[str, ty.Any]) -> Files:
    """The files of the release underneath, as the manifest of ours knows."""
    return {path: entry.get('stock', entry['sha256'])
            for path, entry in manifest['files'].items()
            if entry.get('status') != 'A'}


def number(version: str) -> int:
    _base, _plus, local = version.partition('+xloud.')
    return int(local) if local.isdigit() else 0


class Installed:
    """The Nova of one site-packages."""

    def __init__(self, folder: Path):
        self.folder = folder

    def files(self) -> Files:
        """All that are there, without bytecode."""
        found = {}
        for path in self.paths():
            found[path] = sha256((self.folder / path).read_bytes())
        return found

    def paths(self) -> ty.List[str]:
        found = []
        for top in [self.folder / 'nova', *map(
                self.folder.joinpath, self.metadata())]:
            for folder, folders, names in os.walk(top):
                folders[:] = [name for name in folders
                              if name != '__pycache__']
                found += [
                    Path(folder, name).relative_to(self.folder).as_posix()
                    for name in names if not name.endswith(('.pyc', _ASIDE))]
        return sorted(found)

    def metadata(self) -> ty.List[str]:
        return sorted(path.name for path in self.folder.glob('nova-*')
                      if _DIST_INFO.fullmatch(path.name))

    def version(self) -> str:
        found = self.metadata()
        if not found:
            raise Refused('There is no nova-*.dist-info in %s, so pip did '
                          'not install this Nova. For packages of a '
                          'distribution, install ours.' % self.folder)
        if len(found) > 1:
            raise Refused('More than one Nova is installed in %s: %s' % (
                self.folder, ', '.join(found)))
        return found[0][len('nova-'):-len('.dist-info')]

    def installer(self) -> str:
        for name in self.metadata():
            with contextlib.suppress(OSError):
                return (self.folder / name / 'INSTALLER').read_text().strip()
        return ''

    def manifest(self) -> ty.Optional[ty.Dict[str, ty.Any]]:
        try:
            found = read(self.folder / MANIFEST)
        except (OSError, ValueError):
            return None
        return found if 'files' in found else None

    def has_tests(self) -> bool:
        return (self.folder / _TESTS / '__init__.py').exists()

    def make_equal(self, target: ty.Dict[str, bytes],
                   added: ty.Iterable[str]) -> int:
        """Write what differs and remove what is not in the target.

        What is there beside Python's files and metadata stays, unless it was
        ours: by its manifest, or because a run that was killed may have added
        it. Bytecode of what changes goes first: a process that starts in
        between never runs the old one with the new source.

        :returns: how many files were changed
        """
        present = self.paths()
        removable = {MANIFEST, *added,
                     *(self.manifest() or {'files': {}})['files']}
        changed = 0
        written = []
        # Metadata last: entry points name modules that must be there.
        for path in sorted(target, key=lambda path: (
                not path.startswith('nova/'), path.endswith('/RECORD'),
                path)):
            content = target[path]
            try:
                same = (self.folder / path).read_bytes() == content
            except FileNotFoundError:
                same = False
            if not same:
                self._forget_bytecode(path)
                write(self.folder / path, content)
                changed += 1
                written.append(path)
        for path in present:
            if path not in target and (
                    path.endswith('.py') or path in removable or
                    not path.startswith('nova/')):
                self._forget_bytecode(path)
                remove(self.folder / path)
                changed += 1
        self._sweep(target)
        for path in written:
            if path.endswith('.py') and not path.startswith(_TESTS):
                # So that services that may not write here start fast.
                compileall.compile_file(
                    str(self.folder / path), quiet=2, force=True)
        return changed

    def _sweep(self, target):
        """Take away what a killed run left: half files, empty folders."""
        kept = {parent.as_posix() for path in target
                for parent in Path(path).parents}
        for top in ('nova', *self.metadata()):
            for folder, _folders, names in os.walk(
                    self.folder / top, topdown=False):
                here = Path(folder)
                for name in names:
                    if name.endswith(_ASIDE):
                        remove(here / name)
                if here.relative_to(self.folder).as_posix() not in kept:
                    remove_folder(here)

    def _forget_bytecode(self, path):
        if path.endswith('.py'):
            source = self.folder / path
            for compiled in (source.parent / '__pycache__').glob(
                    source.stem + '.*.pyc'):
                remove(compiled)


class Node:
    """One installation, and what is kept about it.

    :param state: the folder of journal, lock and backups
    :param owner: who deploys: user, controller and process, say
    """

    def __init__(self, site_packages: Path, state: Path, owner: str = '',
                 now: ty.Callable[[], float] = time.time):
        self.installed = Installed(site_packages)
        self.state = state
        self.owner = owner
        self._now = now

    # Journal

    def journal(self) -> ty.Dict[str, ty.Any]:
        """state is none, placing, placed, restoring or restored."""
        path = self.state / 'journal.json'
        try:
            return read(path)
        except FileNotFoundError:
            return {'state': 'none', 'restarted': {}}
        except ValueError as error:
            raise Refused('The journal %s is damaged: %s. Move it away; '
                          '"rollback --to NUMBER" goes back without it.' % (
                              path, error))

    def _write_journal(self, **changes):
        journal = {**self.journal(), **changes}
        write(self.state / 'journal.json',
              json.dumps(journal, sort_keys=True, indent=1).encode() + b'\n')
        return journal

    # Lock

    def lease(self) -> ty.Optional[ty.Dict[str, ty.Any]]:
        """Who deploys here now."""
        path = self.state / 'lease.json'
        with contextlib.suppress(FileNotFoundError):
            try:
                found = read(path)
                if found['until'] > self._now():
                    return found
            except (ValueError, KeyError) as error:
                raise Refused('It is not known whether somebody deploys '
                              'here: %s is damaged: %s. Remove it if nobody '
                              'does.' % (path, error))
        return None

    def lock(self, seconds: int = _LEASE_SECONDS,
             take: bool = False) -> ty.Dict[str, ty.Any]:
        """Begin, or go on, as the only one who changes this installation.

        A deployment has many steps and between them no process here. So the
        lock is a lease, which each step renews.
        """
        held = self.lease()
        if not self.owner and not held:
            return {}  # who only types one command
        if held and held['owner'] != self.owner and not take:
            raise Refused(
                'Somebody else deploys here: %s, since %s, and until %s '
                'unless they go on.' % (
                    held['owner'], _when(held['since']),
                    _when(held['until'])), lease=held)
        mine = held if held and held['owner'] == self.owner else {
            'owner': self.owner, 'since': self._now()}
        mine = {**mine, 'until': self._now() + seconds}
        write(self.state / 'lease.json', json.dumps(mine).encode())
        return mine

    def unlock(self) -> None:
        held = self.lease()
        if held and held['owner'] == self.owner:
            remove(self.state / 'lease.json')

    # What is there

    def look(self, wheel: ty.Optional[Wheel] = None) -> ty.Dict[str, ty.Any]:
        """What is installed: stock, ours, or half of something.

        :raises: Refused for anything else, with the list of files
        """
        journal = self.journal()
        if journal['state'] in ('placing', 'restoring'):
            return {'found': 'interrupted', 'journal': journal['state'],
                    'version': journal.get('version'),
                    'backup': journal['backup'],
                    'again': wheel is not None and (
                        journal.get('wheel') != wheel.sha256)}
        version = self.installed.version()
        if self.installed.installer() in _DISTRIBUTIONS:
            raise Refused(
                'This Nova is a package of the distribution. Install our '
                'packages: they replace it, and apt or dnf knows.')
        files = {path: digest for path, digest in
                 self.installed.files().items() if path.startswith('nova/')}
        manifest = self.installed.manifest()
        if manifest is not None:
            strange = self._strange(files, ours(manifest))
            if not strange:
                return self._look_at_ours(manifest, wheel)
        elif wheel is not None:
            manifest = wheel.manifest
            strange = self._strange(files, stock(manifest))
            if not strange:
                if version.partition('+')[0] != wheel.base:
                    raise Refused(
                        'The files are those of Nova %s, and pip says that '
                        'it is %s.' % (wheel.base, version))
                return {'found': 'stock', 'version': version, 'same': False}
        else:
            return {'found': 'not ours', 'version': version}
        if version.partition('+')[0] != manifest['base']:
            raise Refused(
                'Nova %s is installed, and ours is for %s. Use the release '
                'of ours that fits.' % (version, manifest['base']),
                files=strange)
        raise Refused(
            '%d files are neither of stock Nova %s nor of ours. Whoever put '
            'them there would lose them, so nothing is done. Make the '
            'container anew, or install Nova %s again, and then ours.' % (
                len(strange), manifest['base'], manifest['base']),
            files=strange)

    def _strange(self, files, known):
        tests = self.installed.has_tests()
        strange = ['%s: changed' % path for path, digest in files.items()
                   if path in known and known[path] != digest]
        strange += ['%s: foreign' % path for path in files
                    if path not in known and path.endswith('.py')]
        strange += ['%s: missing' % path for path in known
                    if path not in files and (
                        tests or not path.startswith(_TESTS))]
        return sorted(strange)

    def _look_at_ours(self, manifest, wheel):
        found = {'found': 'ours', 'version': manifest['version'],
                 'tip': manifest['tip'], 'same': False}
        if wheel is not None:
            if manifest['base'] != wheel.base:
                raise Refused('%s is installed, and the wheel is %s: another '
                              'release of Nova.' % (
                                  manifest['version'], wheel.version))
            if number(manifest['version']) > number(wheel.version):
                raise Refused('%s is installed, which is newer than %s. Roll '
                              'back first.' % (
                                  manifest['version'], wheel.version))
            found['same'] = manifest == wheel.manifest
        return found

    def check(self, wheel: ty.Optional[Wheel] = None,
              log: ty.Optional[Path] = None) -> ty.Dict[str, ty.Any]:
        """Whether this Python can do it: write, enough room, read the log."""
        if log is not None:
            open_log(log).close()
        for folder in (self.installed.folder, self.state.parent):
            if not os.access(folder, os.W_OK):
                raise Refused('Cannot write into %s as user %d.' % (
                    folder, os.geteuid()))
        needed = _SPARE_BYTES
        if wheel is not None:
            needed += 2 * sum(map(len, wheel.files.values()))
        for folder in (self.installed.folder, self.state.parent):
            disk = os.statvfs(folder)
            free = disk.f_bavail * disk.f_frsize
            if free < needed:
                raise Refused('%s has %d MiB free, and %d are needed.' % (
                    folder, free >> 20, needed >> 20))
        return {'python': sys.version.split()[0],
                'site_packages': str(self.installed.folder),
                'state': str(self.state), 'free_mb': free >> 20,
                'needed_mb': needed >> 20,
                'version': self.installed.version()}

    # Backups

    def backups(self) -> ty.List[ty.Dict[str, ty.Any]]:
        found = []
        for path in sorted((self.state / 'backups').glob('*.json')):
            with contextlib.suppress(ValueError, KeyError):
                # A damaged one describes no backup.
                description = read(path)
                if self._archive(description['number']).exists():
                    found.append(description)
        return found

    def back_up(self, keep: int = 3, days: int = 30) -> ty.Dict[str, ty.Any]:
        """Keep what is there, once; then drop what is old."""
        journal = self.journal()
        if journal['state'] in ('placing', 'restoring'):
            # Half of something is no backup, and there is one.
            return self._backup(journal['backup'])
        files = self.installed.files()
        fingerprint = _fingerprint(files)
        for known in self.backups():
            if known['fingerprint'] == fingerprint:
                return known
        numbers = [known['number'] for known in self.backups()]
        made = {'number': max(numbers, default=0) + 1,
                'version': self.installed.version(), 'made': self._now(),
                'fingerprint': fingerprint, 'files': len(files),
                'ours': self.installed.manifest() is not None}
        packed = io.BytesIO()
        with gzip.GzipFile('', 'wb', 3, packed, 0) as compressed, \
                tarfile.open(fileobj=compressed, mode='w') as archive:
            for path in files:
                archive.add(str(self.installed.folder / path), path)
        write(self._archive(made['number']), packed.getvalue())
        # The description makes it a backup.
        write(self._archive(made['number']).with_suffix('.json'),
              json.dumps(made, sort_keys=True).encode())
        self._drop_old(keep, days)
        return made

    def read_backup(self, wanted: int) -> ty.Dict[str, bytes]:
        description = self._backup(wanted)
        content = {}
        try:
            with tarfile.open(str(self._archive(wanted))) as archive:
                for member in archive:
                    opened = archive.extractfile(member)
                    if opened is not None:
                        content[member.name] = opened.read()
        except (EOFError, OSError, tarfile.TarError, zlib.error):
            content = {}
        found = _fingerprint({path: sha256(text)
                              for path, text in content.items()})
        if found != description['fingerprint']:
            raise Refused('Backup %d is damaged: %s' % (
                wanted, self._archive(wanted)))
        return content

    def _backup(self, wanted):
        for known in self.backups():
            if known['number'] == wanted:
                return known
        raise Refused('There is no backup %s here; there are: %s' % (
            wanted, ', '.join(str(known['number'])
                              for known in self.backups()) or 'none'))

    def _archive(self, wanted):
        return self.state / 'backups' / ('%04d.tgz' % wanted)

    def _drop_old(self, keep, days):
        known = self.backups()
        needed = {self.journal().get('backup')}
        # The way back to stock stays as long as ours is there.
        needed |= {max((found['number'] for found in known
                        if not found['ours']), default=None)}
        for found in known[:-keep] if keep else known:
            old = self._now() - found['made'] > days * 86400
            if old and found['number'] not in needed:
                remove(self._archive(found['number']).with_suffix('.json'))
                remove(self._archive(found['number']))

    # Change it

    def place(self, wheel: Wheel, dry_run: bool = False) -> ty.Dict[
            str, ty.Any]:
        """Make the installation that of the wheel."""
        found = self.look(wheel)
        journal = self.journal()
        if found['found'] == 'interrupted':
            number_ = journal['backup']
            if found['again'] and not dry_run:
                # Half of another target: back first, then from there.
                self.rollback()
                found = self.look(wheel)
        if found['found'] != 'interrupted':
            if found['same']:
                # Also a restart that a kill kept from happening.
                return {'changed': 0, 'version': wheel.version}
            fingerprint = _fingerprint(self.installed.files())
            number_ = next((known['number'] for known in self.backups()
                            if known['fingerprint'] == fingerprint), None)
            if number_ is None and not dry_run:
                raise Refused('What is here is in no backup. Back up first.')
        target = self._target(wheel)
        if dry_run:
            changes = self._changes(target)
            return {'changed': len(changes), 'version': wheel.version,
                    'changes': changes}
        added = set(target).difference(self.installed.paths())
        added.update(journal.get('added', ()))
        self._write_journal(
            state='placing', backup=number_, version=wheel.version,
            wheel=wheel.sha256, begun=self._now(), owner=self.owner,
            restarted={}, added=sorted(added))
        changed = self.installed.make_equal(target, added)
        self._write_journal(state='placed', placed=self._now())
        return {'changed': changed, 'version': wheel.version,
                'backup': number_}

    def rollback(self, wanted: ty.Optional[int] = None,
                 dry_run: bool = False) -> ty.Dict[str, ty.Any]:
        """Make the installation that of a backup.

        :param wanted: which one; without it, the one from before the last
            change
        :param dry_run: only say what would change
        """
        journal = self.journal()
        if wanted is None:
            if 'backup' not in journal:
                why = ('Nothing was deployed here: the journal is empty. '
                       'Nova %s stays. Perhaps the container was made '
                       'anew.' % self.installed.version())
                if dry_run:
                    return {'changed': 0, 'why': why}
                raise Refused(why)
            wanted = journal['backup']
        target = self.read_backup(wanted)
        description = self._backup(wanted)
        if journal['state'] not in ('placing', 'restoring') and (
                _fingerprint(self.installed.files()) ==
                description['fingerprint']):
            return {'changed': 0, 'version': description['version'],
                    'backup': wanted, 'services': []}
        if dry_run:
            changes = self._changes(target)
            return {'changed': max(1, len(changes)), 'changes': changes}
        self._write_journal(
            state='restoring', backup=wanted, begun=self._now(),
            owner=self.owner, restarted={}, wheel=None,
            version=description['version'])
        changed = self.installed.make_equal(target, journal.get('added', ()))
        self._write_journal(state='restored', placed=self._now(), added=[])
        # Several services may share the installation, and run what was here.
        return {'changed': changed, 'version': description['version'],
                'backup': wanted, 'services': journal.get('services', [])}

    def _target(self, wheel):
        """The files of the wheel as pip would leave them here."""
        tests = self.installed.has_tests()
        target = {path: content for path, content in wheel.files.items()
                  if tests or not path.startswith(_TESTS)}
        record = next(path for path in target
                      if path.endswith('.dist-info/RECORD'))
        folder = record.rpartition('/')[0]
        target[folder + '/INSTALLER'] = b'xloud-nova\n'
        target[record] = self._record(target, record)
        return target

    def _record(self, target, record):
        """RECORD: scripts and data of Nova stay as they were installed."""
        rows = []
        for path in sorted(target):
            if path != record:
                digest = base64.urlsafe_b64encode(
                    hashlib.sha256(target[path]).digest()).rstrip(b'=')
                rows.append((path, 'sha256=%s' % digest.decode(),
                             str(len(target[path]))))
        kept = set()
        for name in self.installed.metadata():
            with contextlib.suppress(OSError), (
                    self.installed.folder / name / 'RECORD').open(
                        newline='') as opened:
                kept |= {tuple(row) for row in csv.reader(opened)
                         if row and row[0].startswith(('../', '/'))}
        rows += sorted(kept)
        rows.append((record, '', ''))
        text = io.StringIO()
        csv.writer(text, lineterminator='\n').writerows(rows)
        return text.getvalue().encode()

    def _changes(self, target):
        files = self.installed.files()
        changes = ['%s %s' % ('M' if path in files else 'A', path)
                   for path, content in sorted(target.items())
                   if files.get(path) != sha256(content)]
        return changes + ['D %s' % path for path in files
                          if path not in target and (
                              path.endswith('.py') or
                              not path.startswith('nova/'))]

    def verify(self, imports: bool = True) -> ty.Dict[str, ty.Any]:
        """What xloud-nova-verify says, and whether the services import.

        :raises: Found
        """
        folder = self.installed.folder
        if not (folder / VERIFY).exists():
            raise Found('XLoud Nova is not installed here: %s' %
                        self.installed.version(), findings=[])
        words = ['--tests'] if self.installed.has_tests() else []
        done = _run(sys.executable, '-I', str(folder / VERIFY), '--json',
                    '--site-packages', str(folder), *words)
        try:
            said = json.loads(done.stdout)
        except ValueError:
            raise Found('xloud-nova-verify does not run: %s' %
                        (done.stdout + done.stderr)[-2000:], findings=[])
        if done.returncode:
            raise Found(said.get('reason', 'The installation is damaged.'),
                        findings=said.get('findings', [])[:_LINES])
        if imports:
            # PYTHONPATH, which -I ignores, has no effect on services either.
            done = _run(sys.executable, '-I', '-c', 'import eventlet; '
                        'eventlet.monkey_patch(); import %s' %
                        ', '.join(_IMPORTS))
            if done.returncode:
                raise Found('Nova does not import: %s' %
                            done.stderr.strip()[-2000:], findings=[])
        return {'whole': True, 'version': said['version']}

    # Around a restart

    def needs_restart(self, service: str) -> bool:
        """Whether a service still runs what was there before."""
        journal = self.journal()
        return (journal['state'] in ('placed', 'restored') and
                journal['restarted'].get(service) is None)

    def restarted(self, service: str) -> None:
        journal = self.journal()
        if journal['state'] != 'none':
            self._write_journal(
                restarted={**journal['restarted'], service: self._now()},
                services=sorted({*journal.get('services', ()), service}))

    def mark(self, service: str, log: ty.Optional[Path]) -> ty.Dict[
            str, ty.Any]:
        """Remember where the log ends before a restart."""
        marks = self.journal().get('marks', {})
        end = _end(log) if log else None
        marks[service] = {'log': str(log) if log else None, 'end': end,
                          'time': self._now()}
        self._write_journal(marks=marks)
        return marks[service]

    def errors(self, service: str, log: ty.Optional[Path] = None) -> ty.Dict[
            str, ty.Any]:
        """Errors since the mark of a kind that was not there before it.

        :param log: what is its log now; without it, the one of the mark
        :returns: errors, and not_read: why there was nothing to read
        :raises: Refused if the log cannot be read
        """
        mark = self.journal().get('marks', {}).get(service)
        if mark is None:
            return _not_read('No deployment has restarted %s here.' % service)
        marked = mark['log']
        if log is not None and str(log) != marked:
            return _not_read('At the last restart of %s, its log was %s, and '
                             'not %s.' % (service, marked or 'none', log))
        if marked is None:
            return _not_read('No log of %s was named.' % service)
        found, size = new_errors(Path(marked), mark['end'])
        if not size:
            return _not_read('%s has written nothing into %s since the '
                             'restart.' % (service, marked))
        return {'errors': found}

    # What was done

    def record(self, result: str, service: str = '') -> ty.Dict[str, ty.Any]:
        journal = self.journal()
        line = {'time': self._now(), 'owner': self.owner, 'result': result,
                'service': service, 'version': journal.get('version'),
                'backup': journal.get('backup')}
        history = self.state / 'history.jsonl'
        before = history.read_bytes() if history.exists() else b''
        write(history, before + json.dumps(line).encode() + b'\n')
        return line

    def status(self) -> ty.Dict[str, ty.Any]:
        journal = self.journal()
        try:
            found = self.look()
        except Refused as refused:
            found = {'found': 'refused', 'reason': str(refused),
                     **refused.details}
        history = []
        with contextlib.suppress(OSError):
            for line in (self.state / 'history.jsonl').read_text(
                    ).splitlines():
                with contextlib.suppress(ValueError):
                    history.append(json.loads(line))
        return {
            **found, 'journal': journal['state'],
            'restarted': journal['restarted'],
            'backups': [{'number': known['number'],
                         'version': known['version'],
                         'made': _when(known['made']),
                         'days': int((self._now() - known['made']) // 86400)}
                        for known in self.backups()],
            'lease': self.lease(), 'state': str(self.state),
            'history': history[-_LINES:]}


def open_log(log: Path) -> ty.BinaryIO:
    """Open the log of a service.

    :raises: Refused
    """
    try:
        # To open a pipe could take for ever, and what it has is read once.
        if log.exists() and not log.is_file():
            raise OSError('it is no file')
        return log.open('rb')
    except OSError as error:
        raise Refused('The log %s cannot be read: %s. Name the log that the '
                      'service writes. If it writes none, say so: the role '
                      'has xloud_nova_log=none for that.' % (
                          log, error.strerror or error))


def new_errors(log: Path, end: ty.Optional[ty.Dict[str, int]]) -> ty.Tuple[
        ty.List[str], int]:
    """Lines with errors after a place in a log, unlike all before it.

    :returns: they, and how many bytes after that place were read
    :raises: Refused
    """
    with open_log(log) as opened:
        now = os.fstat(opened.fileno())
        # A log that was rotated begins anew.
        same = end is not None and end['inode'] == now.st_ino and (
            end['size'] <= now.st_size)
        at = end['size'] if end is not None and same else 0
        begin = max(0, at - _OLD_BYTES)
        opened.seek(begin)
        old = {_kind(line) for line in map(
            _text, opened.read(at - begin).splitlines())
            if _ERROR.search(line)}
        found = []
        # Line by line: weeks may have passed.
        for line in map(_text, opened):
            if _ERROR.search(line) and _kind(line) not in old:
                found.append(line[:400])
                if len(found) == _LINES:
                    break
        return found, opened.tell() - at


def _not_read(why):
    return {'errors': [], 'not_read': why}


def _text(line):
    return line.decode(errors='replace').rstrip('\r\n')


def _kind(line):
    return _VARIABLE.sub('#', line)


def _end(log):
    try:
        stat = log.stat()
    except OSError:
        return None
    return {'inode': stat.st_ino, 'size': stat.st_size}


def _fingerprint(files):
    text = ''.join('%s %s\n' % (path, files[path]) for path in sorted(files))
    return sha256(text.encode())


def _when(seconds):
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(seconds))


def _run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, cwd='/',
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)


def find_site_packages() -> Path:
    """Of the Nova that this Python would run."""
    spec = importlib.util.find_spec('nova')
    if spec is None or spec.origin is None:
        raise Refused('%s has no Nova. Name the Python of the services.' %
                      sys.executable)
    return Path(spec.origin).resolve().parent.parent


@contextlib.contextmanager
def one_at_a_time(state: Path) -> ty.Iterator[None]:
    """Two of these programs do not run at once, whoever started them.

    If a playbook is killed that came over ssh, the program that it has started
    goes on to its end. The next one waits for that.
    """
    state.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _PATIENCE
    with (state / 'lock').open('w') as opened:
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Refused('Another xloud_node.py is at work here.')
            time.sleep(0.2)
        yield


def _act(node: Node, asked: argparse.Namespace) -> ty.Dict[str, ty.Any]:
    wheel = Wheel(asked.wheel, asked.sha256) if asked.wheel else None
    command = asked.command
    if command == 'place' and wheel is None:
        raise Refused('place needs --wheel')
    if command in ('check', 'look', 'verify', 'status'):
        return {'check': lambda: node.check(wheel, asked.log),
                'look': lambda: node.look(wheel),
                'verify': lambda: node.verify(not asked.no_imports),
                'status': node.status}[command]()
    if command == 'needs-restart':
        return {'needs_restart': node.needs_restart(asked.service)}
    if command == 'errors':
        said = node.errors(asked.service, asked.log)
        if said['errors']:
            raise Found('%d errors in the log since the restart' %
                        len(said['errors']), **said)
        return said
    if command == 'place' and asked.dry_run:
        return node.place(wheel, dry_run=True)
    if command == 'rollback' and asked.dry_run:
        return node.rollback(asked.to, dry_run=True)
    lease = node.lock(asked.seconds, asked.take)
    if command == 'lock':
        return {'lease': lease}
    if command == 'unlock':
        node.unlock()
        return {}
    if command == 'backup':
        return {**node.back_up(asked.keep, asked.days),
                'state': str(node.state)}
    if command == 'place':
        return node.place(wheel)
    if command == 'rollback':
        return node.rollback(asked.to)
    if command == 'restarted':
        node.restarted(asked.service)
        return {}
    if command == 'mark':
        return node.mark(asked.service, asked.log)
    assert command == 'record'
    return node.record(asked.result, asked.service)


COMMANDS = ('check', 'look', 'lock', 'unlock', 'backup', 'place', 'verify',
            'rollback', 'needs-restart', 'restarted', 'mark', 'errors',
            'record', 'status')


def main(arguments: ty.Optional[ty.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        prog='xloud_node.py', description='Put the wheel of XLoud Nova over '
        'an installed Nova, and take it off again.')
    parser.add_argument('command', choices=COMMANDS)
    parser.add_argument('--site-packages', type=Path, metavar='DIR',
                        help='default: where this Python finds nova')
    parser.add_argument('--state', type=Path, metavar='DIR',
                        help='journal and backups; default: xloud-nova in '
                        "the Python's prefix")
    parser.add_argument('--wheel', type=Path, metavar='FILE')
    parser.add_argument('--sha256', metavar='SUM', help='of the wheel')
    parser.add_argument('--owner', default='', metavar='WHO')
    parser.add_argument('--seconds', type=int, default=_LEASE_SECONDS,
                        help='until others may deploy, if no step follows')
    parser.add_argument('--take', action='store_true',
                        help='take the lock from whoever has it')
    parser.add_argument('--dry-run', action='store_true')
    parser.add_argument('--no-imports', action='store_true')
    parser.add_argument('--to', type=int, metavar='NUMBER',
                        help='the backup to roll back to')
    parser.add_argument('--keep', type=int, default=3, metavar='N',
                        help='backups that are never too old')
    parser.add_argument('--days', type=int, default=30, metavar='N',
                        help='others are dropped at this age')
    parser.add_argument('--service', default='', metavar='NAME')
    parser.add_argument('--log', type=Path, metavar='FILE',
                        help='of the service, for check, mark and errors')
    parser.add_argument('--result', default='', metavar='TEXT')
    asked = parser.parse_args(arguments)
    # Services of another user read what is made: files, folders, bytecode.
    os.umask(0o022)
    try:
        folder = asked.site_packages or find_site_packages()
        state = asked.state or Path(sys.prefix, 'xloud-nova')
        if asked.command in ('check', 'look', 'verify', 'status') or (
                asked.dry_run):
            # They write nothing, not even a folder.
            said = _act(Node(folder, state, asked.owner), asked)
        else:
            with one_at_a_time(state):
                said = _act(Node(folder, state, asked.owner), asked)
        code = DONE
    except Refused as refused:
        said = {'refused': str(refused), **refused.details}
        code = REFUSED
    except Found as found:
        said = {'found': str(found), **found.details}
        code = FINDINGS
    except OSError as error:
        # Such as a full disk. What was begun is in the journal.
        said = {'failed': str(error)}
        code = FINDINGS
    print(json.dumps(said, indent=1, sort_keys=True))
    return code


if __name__ == '__main__':
    sys.exit(main())
