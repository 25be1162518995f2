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

"""The program on the node: two whole states, however it is interrupted."""

import contextlib
import csv
import hashlib
import io
import json
import os
from pathlib import Path
import shutil
import sys
import tempfile
import unittest
from unittest import mock
import zipfile

from tools import tree

sys.path.insert(0, str(tree.ROOT / 'deploy/roles/xloud_nova/files'))
import xloud_node  # noqa: E402

STOCK = {
    'nova/__init__.py': '', 'nova/driver.py': 'def start():\n    pass\n',
    'nova/virt/__init__.py': '', 'nova/virt/guest.py': 'SIZE = 1\n',
    'nova/db/alembic.ini': '[alembic]\n'}
OURS = {**STOCK, 'nova/driver.py': 'def start():\n    elastic()\n',
        'nova/xloud/__init__.py': '"""Ours."""\n',
        # Before the manifest in order, and not Python's.
        'nova/api/sample.json.tpl': '{}\n',
        'nova/xloud/books.py': 'BOOKS = 1\n'}
NEWER = {**OURS, 'nova/virt/guest.py': 'SIZE = 2\n',
         'nova/xloud/late.py': 'LATE = 1\n'}
del NEWER['nova/xloud/books.py']
VERIFY = (tree.ROOT / 'nova/xloud/verify.py').read_text()


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(files, number, tip='1'):
    described = {}
    for path, text in files.items():
        described[path] = {'sha256': digest(text)}
        if path not in STOCK:
            described[path]['status'] = 'A'
        elif STOCK[path] != text:
            described[path].update(
                status='M', stock=digest(STOCK[path]), added=[])
    return {'version': f'29.4.0+xloud.{number}', 'base': '29.4.0',
            'tip': tip, 'distribution': False, 'files': described,
            'entry_points': [['nova.validators', 'minimum', 'nova.xloud']]}


def write_wheel(path, files, number, base='29.4.0', tip='1'):
    files = {**files, xloud_node.VERIFY: VERIFY}
    described = manifest(files, number, tip)
    described['base'] = base
    info = f'nova-29.4.0+xloud.{number}.dist-info'
    with zipfile.ZipFile(path, 'w') as archive:
        for name, text in {
                **files, xloud_node.MANIFEST: json.dumps(described),
                f'{info}/METADATA': 'Name: nova\n',
                f'{info}/entry_points.txt':
                    '[nova.validators]\nminimum = nova.xloud\n',
                f'{info}/RECORD': '',
                f'{info[:-9]}data/data/etc/nova/x.ini': ''}.items():
            archive.writestr(name, text)
    return xloud_node.Wheel(path)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.site = self.folder / 'site-packages'
        self.time = 1e9
        # A kill loses nothing of what the kernel has.
        no_sync = mock.patch.object(xloud_node.os, 'fsync')
        no_sync.start()
        self.addCleanup(no_sync.stop)
        compiled = mock.patch.object(
            xloud_node.compileall, 'compile_file')
        compiled.start()
        self.addCleanup(compiled.stop)
        self.wheel = write_wheel(self.folder / 'ours.whl', OURS, 1)
        self.make_stock()

    def make_stock(self):
        shutil.rmtree(self.site, ignore_errors=True)
        shutil.rmtree(self.folder / 'state', ignore_errors=True)
        for name, text in {
                **STOCK, 'nova-29.4.0.dist-info/METADATA': 'Name: nova\n',
                'nova-29.4.0.dist-info/INSTALLER': 'pip\n',
                'nova-29.4.0.dist-info/entry_points.txt':
                    '[nova.validators]\n',
                'nova-29.4.0.dist-info/RECORD':
                    '../../../bin/nova-compute,sha256=x,1\n'
                    'nova/driver.py,sha256=y,2\n',
                'nova/virt/__pycache__/guest.cpython-311.pyc': 'old',
                'nova/notes.txt': 'of somebody',
                'nova_other/__init__.py': '',
                'other/__init__.py': ''}.items():
            self.put(name, text)

    def put(self, name, text):
        path = self.site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def node(self, owner='one'):
        return xloud_node.Node(self.site, self.folder / 'state', owner,
                               lambda: self.time)

    def all(self):
        """All files and folders, without bytecode."""
        return {
            path.relative_to(self.site).as_posix():
                path.read_text() if path.is_file() else None
            for path in self.site.rglob('*')
            if path.suffix != '.pyc' and path.name != '__pycache__'}

    def deploy(self, wheel=None):
        self.node().back_up()
        return self.node().place(wheel or self.wheel)

    def refused(self, call, *arguments, **keywords):
        before = self.all()
        with self.assertRaises(xloud_node.Refused) as caught:
            call(*arguments, **keywords)
        self.assertEqual(before, self.all())
        return caught.exception


@contextlib.contextmanager
def killed_at(number):
    """Kill before the given change of the file system."""
    counted = 0

    def deadly(real):
        def call(*arguments, **keywords):
            nonlocal counted
            counted += 1
            if counted == number:
                raise Killed()
            return real(*arguments, **keywords)
        return call

    with mock.patch.object(os, 'replace', deadly(os.replace)), \
            mock.patch.object(Path, 'unlink', deadly(Path.unlink)), \
            mock.patch.object(Path, 'rmdir', deadly(Path.rmdir)), \
            mock.patch.object(Path, 'chmod', deadly(Path.chmod)):
        yield


class Counted(io.FileIO):
    """A file that knows how much of it was read."""

    bytes_read = 0

    def readinto(self, buffer):
        size = super().readinto(buffer)
        self.bytes_read += size
        return size

    def readall(self):
        content = super().readall()
        self.bytes_read += len(content)
        return content


class WholeTest(Case):
    def test_it_becomes_ours_and_stock_again(self):
        before = self.all()
        self.assertEqual('stock', self.node().look(self.wheel)['found'])
        self.deploy()
        found = self.node().look(self.wheel)
        self.assertEqual(('ours', True), (found['found'], found['same']))
        self.assertTrue(self.node().verify(imports=False)['whole'])
        for path, text in OURS.items():
            self.assertEqual(text, self.all()[path])
        self.assertEqual(1, self.node().rollback()['backup'])
        self.assertEqual(before, self.all())
        self.assertEqual('stock', self.node().look(self.wheel)['found'])

    def test_twice_is_once(self):
        self.deploy()
        before = self.all()
        again = self.deploy()
        self.assertEqual((0, before), (again['changed'], self.all()))
        self.node().rollback()
        before = self.all()
        self.assertEqual(0, self.node().rollback()['changed'])
        self.assertEqual(before, self.all())
        # Stock, ours: also after several rounds.
        self.deploy()
        self.assertEqual([1, 2], [known['number'] for known in
                                  self.node().backups()][:2])

    def test_what_pip_knows_afterwards(self):
        self.deploy()
        info, = self.node().installed.metadata()
        self.assertEqual('nova-29.4.0+xloud.1.dist-info', info)
        with (self.site / info / 'RECORD').open(newline='') as opened:
            rows = {row[0]: row[1] for row in csv.reader(opened)}
        self.assertEqual('sha256=x', rows['../../../bin/nova-compute'])
        listed = {path for path in rows if not path.startswith('..')}
        self.assertEqual(set(self.node().installed.paths()),
                         listed | {'nova/notes.txt'})

    def test_tests_that_are_installed_are_replaced_too(self):
        files = {**OURS, 'nova/tests/__init__.py': '# ours\n'}
        wheel = write_wheel(self.folder / 'tests.whl', files, 1)
        self.deploy(wheel)
        self.assertFalse((self.site / 'nova/tests').exists())
        self.node().rollback()
        self.put('nova/tests/__init__.py', '# ours\n')
        with mock.patch.dict(STOCK, {'nova/tests/__init__.py': '# ours\n'}):
            wheel = write_wheel(self.folder / 'tests.whl', files, 1)
        self.deploy(wheel)
        self.assertTrue((self.site / 'nova/tests').exists())

    def test_an_upgrade_and_back_in_one_step_or_two(self):
        stock = self.all()
        self.deploy()
        first = self.all()
        self.deploy(write_wheel(self.folder / 'newer.whl', NEWER, 2))
        self.assertNotIn('nova/xloud/books.py', self.all())
        self.node().rollback()
        self.assertEqual(first, self.all())
        self.node().rollback(1)
        self.assertEqual(stock, self.all())

    def test_bytecode_of_what_changes_goes(self):
        compiled = self.site / 'nova/__pycache__/driver.cpython-311.pyc'
        compiled.parent.mkdir()
        compiled.write_text('old')
        self.deploy()
        self.assertFalse(compiled.exists())
        orphan = self.site / 'nova/xloud/__pycache__/books.cpython-311.pyc'
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_text('ours')
        self.node().rollback()
        self.assertFalse((self.site / 'nova/xloud').exists())

    def test_a_dry_run_lists_and_changes_nothing(self):
        before = self.all()
        changes = self.node().place(self.wheel, dry_run=True)['changes']
        self.assertIn('M nova/driver.py', changes)
        self.assertIn('A nova/xloud/books.py', changes)
        self.assertIn('D nova-29.4.0.dist-info/METADATA', changes)
        self.assertEqual(before, self.all())
        self.assertFalse((self.folder / 'state').exists())


class KilledTest(Case):
    """Before each change; then on, or back."""

    def interrupt(self, action, check):
        """Kill an action everywhere, and call check after each kill."""
        for number in range(1, 999):
            self.make_stock()
            self.node().back_up()
            try:
                with killed_at(number):
                    action()
            except Killed:
                check()
            else:
                break
        self.assertGreater(number, 5)

    def setUp(self):
        super().setUp()
        self.stock = self.all()
        self.deploy()
        self.ours = self.all()

    def place(self):
        self.node().place(self.wheel)

    def back_and_forth(self):
        self.node().place(self.wheel)
        self.node().rollback()

    def test_the_next_run_ends_in_ours(self):
        def check():
            self.deploy()
            self.assertEqual(self.ours, self.all())
            self.assertEqual('placed', self.node().journal()['state'])

        self.interrupt(self.place, check)

    def test_rollback_ends_in_stock(self):
        def check():
            if self.node().journal()['state'] == 'none':
                self.refused(self.node().rollback)
            else:
                self.node().rollback()
            self.assertEqual(self.stock, self.all())

        self.interrupt(self.place, check)

    def test_a_rollback_that_was_killed_ends(self):
        def check():
            if self.node().journal()['state'] != 'none':
                self.node().rollback()
            self.assertEqual(self.stock, self.all())

        self.interrupt(self.back_and_forth, check)

    def test_a_rollback_that_was_killed_can_become_a_deployment(self):
        def check():
            self.deploy()
            self.assertEqual(self.ours, self.all())

        self.interrupt(self.back_and_forth, check)

    def test_another_wheel_after_a_kill(self):
        newer = write_wheel(self.folder / 'newer.whl', NEWER, 2)
        self.make_stock()
        self.deploy(newer)
        expected = self.all()

        def check():
            self.deploy(newer)
            self.assertEqual(expected, self.all())

        self.interrupt(self.place, check)

    def test_killed_again_while_it_is_repaired(self):
        def check():
            for number in (1, 3, 6, 9):
                with contextlib.suppress(Killed), killed_at(number):
                    self.deploy()
            self.deploy()
            self.assertEqual(self.ours, self.all())

        self.interrupt(self.place, check)

    def test_half_a_backup_is_none(self):
        for number in range(1, 9):
            self.make_stock()
            with contextlib.suppress(Killed), killed_at(number):
                self.node().back_up()
            self.deploy()
            self.assertEqual(self.ours, self.all())
            self.node().rollback()
            self.assertEqual(self.stock, self.all())


class RefusedTest(Case):
    def test_files_of_others_are_listed(self):
        self.put('nova/driver.py', 'def start():\n    hotfix()\n')
        self.put('nova/api/extra.py', '')
        (self.site / 'nova/virt/guest.py').unlink()
        refused = self.refused(self.node().place, self.wheel)
        self.assertEqual(
            ['nova/api/extra.py: foreign', 'nova/driver.py: changed',
             'nova/virt/guest.py: missing'], refused.details['files'])

    def test_ours_that_was_edited(self):
        self.deploy()
        self.put('nova/xloud/books.py', 'BOOKS = 2\n')
        newer = write_wheel(self.folder / 'newer.whl', NEWER, 2)
        refused = self.refused(self.node().place, newer)
        self.assertEqual(['nova/xloud/books.py: changed'],
                         refused.details['files'])
        with self.assertRaises(xloud_node.Found) as caught:
            self.node().verify(imports=False)
        self.assertEqual('nova/xloud/books.py',
                         caught.exception.details['findings'][0]['path'])

    def test_a_manifest_that_cannot_be_used(self):
        self.deploy()
        self.put(xloud_node.MANIFEST, '{}')
        with self.assertRaisesRegex(xloud_node.Found, 'cannot be used'):
            self.node().verify(imports=False)

    def test_copied_files_of_ours_without_metadata(self):
        """As the fork was deployed once: half of it is neither."""
        self.put('nova/driver.py', OURS['nova/driver.py'])
        refused = self.refused(self.node().place, self.wheel)
        self.assertEqual(['nova/driver.py: changed'],
                         refused.details['files'])

    def test_a_newer_one_and_another_release(self):
        self.deploy(write_wheel(self.folder / 'newer.whl', NEWER, 2))
        refused = self.refused(self.node().place, self.wheel)
        self.assertIn('newer than', str(refused))
        other = write_wheel(self.folder / 'other.whl', NEWER, 3, '30.3.0')
        self.assertIn('another release', str(
            self.refused(self.node().place, other)))

    def test_another_release_of_stock(self):
        shutil.move(self.site / 'nova-29.4.0.dist-info',
                    self.site / 'nova-29.2.0.dist-info')
        self.put('nova/driver.py', '')
        self.assertIn('Nova 29.2.0 is installed', str(
            self.refused(self.node().place, self.wheel)))

    def test_no_nova_two_or_a_package(self):
        self.put('nova-29.4.0.dist-info/INSTALLER', 'debian\n')
        self.assertIn('distribution', str(
            self.refused(self.node().place, self.wheel)))
        self.put('nova-28.0.0.dist-info/METADATA', '')
        self.assertIn('More than one', str(
            self.refused(self.node().place, self.wheel)))
        for name in ('29.4.0', '28.0.0'):
            shutil.rmtree(self.site / f'nova-{name}.dist-info')
        self.assertIn('pip did not install', str(
            self.refused(self.node().place, self.wheel)))

    def test_without_a_backup(self):
        self.assertIn('Back up first', str(
            self.refused(self.node().place, self.wheel)))

    def test_wheels(self):
        path = self.folder / 'ours.whl'
        for call, why in (
                (lambda: xloud_node.Wheel(self.folder / 'no'), 'no wheel'),
                (lambda: xloud_node.Wheel(path, 'f00'), 'that was sent'),
                (lambda: xloud_node.Wheel(self.site / 'nova/driver.py'),
                 'no wheel of')):
            with self.assertRaisesRegex(xloud_node.Refused, why):
                call()

    def test_a_damaged_backup(self):
        self.deploy()
        archive, = (self.folder / 'state/backups').glob('*.json')
        description = json.loads(archive.read_text())
        archive.write_text(json.dumps({**description, 'fingerprint': ''}))
        self.assertIn('damaged', str(self.refused(self.node().rollback)))
        self.assertIn('no backup 7', str(
            self.refused(self.node().rollback, 7)))

    def test_a_backup_of_which_a_part_is_lost(self):
        self.deploy()
        archive, = (self.folder / 'state/backups').glob('*.tgz')
        whole = archive.read_bytes()
        for content in (b'', whole[:100], whole[:-20],
                        whole[:60] + bytes(30) + whole[90:]):
            archive.write_bytes(content)
            self.assertIn('damaged', str(self.refused(self.node().rollback)))
        archive.write_bytes(whole)
        self.node().rollback()

    def test_room_and_rights(self):
        self.assertIn('needed_mb', self.node().check(self.wheel))
        full = mock.Mock(f_bavail=1, f_frsize=4096)
        with mock.patch.object(xloud_node.os, 'statvfs', return_value=full):
            self.assertIn('are needed', str(
                self.refused(self.node().check, self.wheel)))
        with mock.patch.object(xloud_node.os, 'access', return_value=False):
            self.assertIn('Cannot write', str(
                self.refused(self.node().check, self.wheel)))


class LockTest(Case):
    def test_two_operators(self):
        self.node('one').lock()
        refused = self.refused(self.node('two').lock)
        self.assertEqual('one', refused.details['lease']['owner'])
        self.node('one').lock()
        self.node('two').unlock()  # not its own
        self.refused(self.node('two').lock)
        self.refused(self.node('').lock)
        self.node('one').unlock()
        self.node('two').lock()
        self.refused(self.node('one').lock)
        self.node('one').lock(take=True)
        self.refused(self.node('two').lock)

    def test_it_ends_by_itself(self):
        self.node('one').lock(seconds=60)
        self.time += 61
        self.assertIsNone(self.node().lease())
        self.node('two').lock()

    def test_one_command_leaves_none(self):
        self.node('').lock()
        self.assertIsNone(self.node().lease())

    def test_two_programs_at_once(self):
        with xloud_node.one_at_a_time(self.folder / 'state'), \
                mock.patch.object(xloud_node, '_PATIENCE', -1):
            self.assertEqual(xloud_node.REFUSED, run(
                self, 'backup')[0])
            self.assertEqual(xloud_node.DONE, run(self, 'status')[0])

    def test_one_that_a_killed_playbook_left(self):
        left = contextlib.ExitStack()
        left.enter_context(xloud_node.one_at_a_time(self.folder / 'state'))
        # It ends while the next one waits.
        with mock.patch.object(xloud_node.time, 'sleep',
                               side_effect=lambda _seconds: left.close()
                               ) as waited:
            self.assertEqual(xloud_node.DONE, run(self, 'backup')[0])
        waited.assert_called_once()


class AroundTest(Case):
    def test_each_service_is_restarted_once(self):
        self.assertFalse(self.node().needs_restart('nova-api'))
        self.deploy()
        self.assertTrue(self.node().needs_restart('nova-api'))
        self.node().restarted('nova-api')
        self.deploy()
        self.assertFalse(self.node().needs_restart('nova-api'))
        self.assertTrue(self.node().needs_restart('nova-scheduler'))
        # Whoever shares the installation has to follow.
        self.assertEqual(['nova-api'], self.node().rollback()['services'])
        self.assertTrue(self.node().needs_restart('nova-api'))
        self.assertEqual([], self.node().rollback()['services'])

    def test_only_errors_of_a_new_kind_count(self):
        log = self.folder / 'nova.log'
        log.write_text(
            '1 ERROR x [None req-a8210546-4a22-44e5-bac4-48ab66c9b21b '
            '2658e961e6ff4965b48dbaa0ff9f9506 - - default] no disk 7\n')
        self.deploy()
        self.node().mark('nova-api', log)
        with log.open('a') as opened:
            opened.write(
                '2 INFO all is well\n'
                '3 ERROR x [None req-e44ddfca-4f72-47a8-be28-7f1cc289a6a0 '
                'ba7a6aa5004540ed9446b56497431200 - - default] no disk 8\n')
        self.assertEqual({'errors': []}, self.node().errors('nova-api', log))
        with log.open('a') as opened:
            opened.write('4 ERROR no such module\nTraceback (most recent\n')
        self.assertEqual(['4 ERROR no such module', 'Traceback (most recent'],
                         self.node().errors('nova-api')['errors'])
        log.rename(self.folder / 'nova.log.1')
        log.write_text('5 CRITICAL after a rotation\n')
        self.assertEqual(['5 CRITICAL after a rotation'],
                         self.node().errors('nova-api')['errors'])

    def test_a_log_that_was_emptied_is_read_from_its_start(self):
        log = self.folder / 'nova.log'
        log.write_text('1 INFO all is well, and has been for long\n')
        self.deploy()
        self.node().mark('nova-api', log)
        with log.open('w') as opened:  # the same inode
            opened.write('2 ERROR no disk\n')
        self.assertEqual(['2 ERROR no disk'],
                         self.node().errors('nova-api')['errors'])

    def test_a_log_that_comes_with_the_restart_is_read_from_its_start(self):
        log = self.folder / 'nova.log'
        self.deploy()
        self.node().mark('nova-api', log)
        log.write_text('1 ERROR no disk\n')
        self.assertEqual(['1 ERROR no disk'],
                         self.node().errors('nova-api')['errors'])

    def test_only_what_is_new_of_a_log_is_read(self):
        log = self.folder / 'nova.log'
        log.write_text('1 ERROR of long ago\n' + '2 INFO\n' * 100000)
        self.deploy()
        self.node().mark('nova-api', log)
        with log.open('a') as opened:
            opened.write('3 ERROR of long ago\n4 ERROR no disk\n')
        self.assertEqual(['4 ERROR no disk'],
                         self.node().errors('nova-api')['errors'])
        counted = Counted(log)
        with mock.patch.object(xloud_node, '_OLD_BYTES', 20), \
                mock.patch.object(xloud_node, 'open_log',
                                  lambda _log: io.BufferedReader(counted)):
            self.assertEqual(['3 ERROR of long ago', '4 ERROR no disk'],
                             self.node().errors('nova-api')['errors'])
        self.assertLess(counted.bytes_read, 100000)

    def test_so_many_errors_are_enough(self):
        log = self.folder / 'nova.log'
        self.deploy()
        self.node().mark('nova-api', log)
        log.write_text('1 ERROR no disk\n2 ERROR no network\n')
        with mock.patch.object(xloud_node, '_LINES', 1):
            self.assertEqual(['1 ERROR no disk'],
                             self.node().errors('nova-api')['errors'])

    def test_no_errors_without_a_log_is_refused(self):
        log = self.folder / 'nova.log'
        self.deploy()
        for path in (log, self.folder, Path('')):
            self.node().mark('nova-api', path)
            for call in (
                    lambda: self.node().errors('nova-api'),
                    lambda: self.node().errors('nova-api', path),
                    lambda: self.node().check(None, path)):
                refused = str(self.refused(call))
                self.assertIn(f'The log {path} cannot be read', refused)
                self.assertIn('xloud_nova_log=none', refused)
        # Nobody who opens a pipe for reading comes back.
        os.mkfifo(log)
        self.refused(self.node().check, None, log)
        log.unlink()
        log.write_text('1 INFO all is well\n')
        self.node().check(None, log)
        self.node().mark('nova-api', log)
        log.unlink()
        self.refused(self.node().errors, 'nova-api')

    def test_what_was_not_read_is_said(self):
        log = self.folder / 'nova.log'
        log.write_text('1 ERROR of long ago\n')
        self.deploy()

        def not_read(*arguments):
            said = self.node().errors('nova-api', *arguments)
            self.assertEqual([], said['errors'])
            return said['not_read']

        self.assertIn('No deployment has restarted', not_read(log))
        self.node().mark('nova-api', None)
        self.assertIn('No log of nova-api was named', not_read())
        self.assertIn('its log was none, and not', not_read(log))
        self.node().mark('nova-api', log)
        self.assertIn('written nothing', not_read(log))
        other = self.folder / 'other.log'
        self.assertIn(f'its log was {log}, and not {other}', not_read(other))

    def test_backups_go_by_number_and_age(self):
        self.deploy()
        for number in range(2, 7):
            self.time += 40 * 86400
            self.deploy(write_wheel(
                self.folder / f'{number}.whl',
                {**OURS, 'nova/driver.py': f'NUMBER = {number}\n'}, number))
        numbers = [known['number'] for known in self.node().backups()]
        # The one of stock, and the last three.
        self.assertEqual([1, 4, 5, 6], numbers)
        self.node().rollback(1)
        self.assertEqual('stock', self.node().look(self.wheel)['found'])

    def test_status(self):
        self.assertEqual(('not ours', 'none'), (
            self.node().status()['found'], self.node().status()['journal']))
        self.deploy()
        self.node().record('deployed', 'nova-api')
        self.time += 3 * 86400
        status = self.node().status()
        self.assertEqual(
            ('ours', '29.4.0+xloud.1', 'placed', 'deployed'),
            (status['found'], status['version'], status['journal'],
             status['history'][0]['result']))
        self.assertEqual([(1, '29.4.0', 3)], [
            (known['number'], known['version'], known['days'])
            for known in status['backups']])


def run(case, *words):
    """The program as it is called; its exit code and what it says."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = xloud_node.main([*words, '--site-packages', str(case.site),
                                '--state', str(case.folder / 'state')])
    return code, json.loads(output.getvalue())


class ProgramTest(Case):
    def test_from_look_to_rollback(self):
        wheel = ('--wheel', str(self.folder / 'ours.whl'), '--sha256',
                 self.wheel.sha256, '--owner', 'me')
        for words, key in (
                (('check', *wheel), 'free_mb'), (('look', *wheel), 'found'),
                (('lock', *wheel), 'lease'), (('backup', *wheel), 'number'),
                (('place', '--dry-run', *wheel), 'changes'),
                (('place', *wheel), 'backup'),
                (('verify', '--no-imports'), 'whole'),
                (('mark', '--service', 'a', *wheel), 'time'),
                (('needs-restart', '--service', 'a'), 'needs_restart'),
                (('restarted', '--service', 'a', *wheel), None),
                (('errors', '--service', 'a', *wheel), 'errors'),
                (('record', '--result', 'deployed', *wheel), 'result'),
                (('rollback', *wheel), 'backup'),
                (('unlock', *wheel), None), (('status',), 'history')):
            code, said = run(self, *words)
            self.assertEqual(xloud_node.DONE, code, said)
            if key:
                self.assertIn(key, said)

    def test_services_of_another_user_can_read_it(self):
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        wheel = ('--wheel', str(self.folder / 'ours.whl'))
        run(self, 'backup')
        run(self, 'place', *wheel)
        for name, mode in (('', 0o755), ('/books.py', 0o644)):
            found = (self.site / f'nova/xloud{name}').stat().st_mode
            self.assertEqual(oct(mode), oct(found & 0o777), name)

    def test_what_a_rollback_would_do(self):
        words = ('rollback', '--dry-run')
        said = run(self, *words)[1]
        self.assertEqual(0, said['changed'])
        self.assertIn('Nothing was deployed', said['why'])
        self.assertIn('Nova 29.4.0 stays', said['why'])
        self.deploy()
        before = self.all()
        self.assertIn('M nova/driver.py', run(self, *words)[1]['changes'])
        self.assertEqual(before, self.all())
        self.assertEqual('placed', self.node().journal()['state'])
        with contextlib.suppress(Killed), killed_at(3):
            self.node().rollback()
        self.assertLess(0, run(self, *words)[1]['changed'])
        self.node().rollback()
        self.assertEqual(0, run(self, *words)[1]['changed'])
        self.deploy()
        shutil.rmtree(self.folder / 'state')
        self.assertIn('Nova 29.4.0+xloud.1 stays', run(self, *words)[1]['why'])
        code, said = run(self, *words, '--to', '7')
        self.assertEqual(xloud_node.REFUSED, code)

    def test_what_is_kept_is_damaged(self):
        """It answers all the same, and says what to do."""
        self.deploy()
        for name in ('journal.json', 'lease.json'):
            path = self.folder / 'state' / name
            before = path.read_text() if path.exists() else None
            for content in ('', '[]', '{'):
                path.write_text(content)
                code, said = run(self, 'lock' if name == 'lease.json'
                                 else 'rollback', '--owner', 'me')
                self.assertEqual(xloud_node.REFUSED, code, said)
                self.assertIn(f'{name} is damaged', said['refused'])
            path.unlink()
            if before:
                path.write_text(before)
        (self.folder / 'state/history.jsonl').write_text('{"a": 1}\n{\n')
        (self.folder / 'state/backups/0002.json').write_text('{}')
        code, said = run(self, 'status')
        self.assertEqual([{'a': 1}], said['history'])
        self.assertEqual([1], [each['number'] for each in said['backups']])
        self.put(xloud_node.MANIFEST, '[]')
        code, said = run(self, 'look', '--wheel',
                         str(self.folder / 'ours.whl'))
        self.assertEqual(xloud_node.REFUSED, code)
        self.assertIn('nova/driver.py: changed', said['files'])
        (self.folder / 'state/journal.json').unlink()
        code, said = run(self, 'rollback', '--to', '1', '--owner', 'me')
        self.assertEqual(0, code, said)
        self.assertNotIn('nova/xloud/books.py', self.all())

    def test_the_disk_is_full(self):
        run(self, 'backup')
        wheel = ('--wheel', str(self.folder / 'ours.whl'))
        real = xloud_node.os.replace

        def full(source, target):
            if str(target).endswith('books.py'):
                raise OSError(28, 'No space left on device')
            real(source, target)

        with mock.patch.object(xloud_node.os, 'replace', full):
            code, said = run(self, 'place', *wheel)
        # A refusal would say that nothing was changed.
        self.assertEqual(xloud_node.FINDINGS, code)
        self.assertIn('No space left', said['failed'])
        self.assertEqual('placing', self.node().journal()['state'])
        self.assertEqual(0, run(self, 'rollback')[0])

    def test_findings_and_refusals(self):
        log = str(self.folder / 'nova.log')
        code, said = run(self, 'check', '--log', log)
        self.assertEqual(xloud_node.REFUSED, code)
        run(self, 'mark', '--service', 'a', '--log', log)
        words = ('errors', '--service', 'a', '--log', log)
        code, said = run(self, *words)
        self.assertEqual(xloud_node.REFUSED, code)
        # The role lets only these pass if errors do not count.
        self.assertNotIn('errors', said)
        Path(log).write_text('ERROR no disk\n')
        code, said = run(self, *words)
        self.assertEqual((xloud_node.FINDINGS, ['ERROR no disk']),
                         (code, said['errors']))
        self.assertEqual((xloud_node.FINDINGS, []), (
            run(self, 'verify')[0], run(self, 'verify')[1]['findings']))
        code, said = run(self, 'rollback')
        self.assertEqual(xloud_node.REFUSED, code)
        self.assertIn('made anew', said['refused'])
        self.put('nova/strange.py', '')
        code, said = run(self, 'look', '--wheel',
                         str(self.folder / 'ours.whl'))
        self.assertEqual((xloud_node.REFUSED, ['nova/strange.py: foreign']),
                         (code, said['files']))
        self.assertEqual(xloud_node.REFUSED, run(self, 'place')[0])
