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

"""The scripts that a person types, on machines that a test makes up.

A script runs in a folder of its own, where tox passes whatever it is asked
for. It finds no commands but a few that read and write text and those of the
test, no kernel but that of the test, and no variable but those of the test.
"""

import contextlib
import functools
import io
import os
from pathlib import Path
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from tools.lane import command as lane
from tools.tests.patience import wait_for
from tools import tree

COPIED = ('apply_series.sh', 'bare.sh', 'deploy_to_containers.sh',
          'guests.sh', 'lane.sh', 'lanes.sh', 'packages.sh', 'place.sh',
          'release.sh', 'run_tests.sh', 'sandbox.sh')
TEXT_TOOLS = ('basename', 'bash', 'cat', 'chmod', 'cmp', 'comm', 'cp', 'cut',
              'dirname', 'env', 'grep', 'ln', 'mkdir', 'mktemp', 'mv',
              'nice', 'readlink', 'rm', 'sed', 'sh', 'sleep', 'sort', 'tail',
              'tr', 'true', 'xargs')
DO_IT = 'echo AN ACTION "$0" "$@"; '
# A command that would change the machine says that it was called.
ROOT = {'uname': 'echo x86_64', 'id': 'echo 0', 'unshare': 'exit 0',
        'apt-get': DO_IT + 'exit 1', 'dnf': DO_IT + 'exit 1',
        'git': DO_IT + 'exit 1', 'mmdebstrap': DO_IT + 'exit 1',
        'mount': DO_IT + 'exit 1', 'setsid': 'exec "$@"'}
OTHER_MACHINE = {**ROOT, 'uname': 'echo aarch64'}
NOT_ROOT = {**ROOT, 'id': 'echo 1000'}
CONTAINER = {**ROOT, 'unshare': 'exit 1'}
REASONS = ((OTHER_MACHINE, 'this machine is aarch64'), (NOT_ROOT, 'not root'),
           (CONTAINER, '--privileged'))
# Debian, whose archive has one kernel.
DEBIAN = {
    **ROOT, 'dpkg': 'echo amd64', 'depmod': 'exit 0',
    'apt-cache': 'echo "  Depends: linux-image-6.1.0-9-cloud-amd64"',
    'apt-get': 'case "$*" in *download*) touch one.deb ;; esac',
    'touch': ': >"$1"',
    'dpkg-deb': 'mkdir -p boot lib; : >boot/vmlinuz-6.1.0-9-cloud-amd64'}


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / 'tools').mkdir()
        for name in COPIED:
            shutil.copy(tree.ROOT / 'tools' / name, self.folder / 'tools')
        # What packages.sh looks at beside commands.
        with open(self.folder / 'tools' / 'packages.sh', 'a') as script:
            script.write(f'POLICY={self.folder}/policy-rc.d\n'
                         f'KERNELS={self.folder}/kernels\n')
        (self.folder / 'bin').mkdir()
        for name in TEXT_TOOLS:
            (self.folder / 'bin' / name).symlink_to(shutil.which(name))
        # Whichever Python this is, it will do.
        self.write('bin/python3', f'exec {sys.executable} "$@"')
        (self.folder / 'tools' / 'pythons.py').write_text('print("python3")')
        self.write('build/tox-venv/bin/bindep', 'exit 0')
        self.write('build/tox-venv/bin/python', 'exit 0')
        self.write('build/tox-venv/bin/tox',
                   'lane=$4; shift 4; echo "guests of $XLOUD_GUEST_ROOT, $*"\n'
                   'echo "$lane took 7 s of the processors"\n'
                   'echo "$lane: 1 passed, 0 failed, 0 skipped"')
        self.write('kernels/boot/vmlinuz-6.1.0-9', '')

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # It may be a link to the program of this machine.
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run_script(self, machine, *command, **environ):
        for name, text in machine.items():
            self.write(f'bin/{name}', text)
        return subprocess.run(
            [self.folder / 'tools' / command[0], *command[1:]], text=True,
            env={'PATH': f'{self.folder}/bin', **environ}, cwd='/',
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)

    def refused(self, *command, machine=ROOT, **environ):
        """What a script says that refuses, and so does nothing."""
        before = sorted(self.folder.rglob('*'))
        done = self.run_script(machine, *command, **environ)
        self.assertEqual(2, done.returncode, done.stdout)
        self.assertNotIn('AN ACTION', done.stdout)
        made = set(self.folder.rglob('*')).difference(
            before, (self.folder / 'bin').iterdir())
        self.assertEqual(set(), made)
        return done.stdout


class CaseTest(Case):
    def test_a_program_of_the_machine_stays_as_it_is(self):
        self.write('machine/cp', 'exit 1')
        before = (self.folder / 'machine/cp').read_text()
        (self.folder / 'bin/cp').unlink()
        (self.folder / 'bin/cp').symlink_to(self.folder / 'machine/cp')
        self.write('bin/cp', 'exit 0')
        self.assertEqual(before, (self.folder / 'machine/cp').read_text())


class PlaceTest(unittest.TestCase):
    def test_the_folders_that_cd_of_a_shell_looks_in(self):
        """Another clone there must not be what a script works on."""
        scripts = [
            path.relative_to(tree.ROOT) for pattern in (
                '.ci/run', 'tools/*.sh', 'packaging/**/*.sh', 'deploy/**/*.sh')
            for path in tree.ROOT.glob(pattern)
            if re.search(r'(?m)^cd "\$', path.read_text())]
        self.assertGreater(len(scripts), 12)
        with tempfile.TemporaryDirectory() as folder:
            for script in scripts:
                here, other = (
                    Path(folder, name, script) for name in ('here', 'other'))
                text = (tree.ROOT / script).read_text()
                for path in (here, other):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(re.sub(
                        r'(?m)^(cd .*)$', r'\1; pwd; exit', text, count=1))
                done = subprocess.run(
                    ['bash', script], text=True, stdout=subprocess.PIPE,
                    cwd=Path(folder, 'here'),
                    env={**os.environ, 'CDPATH': f'{folder}/other'})
                self.assertEqual(
                    os.path.realpath(Path(folder, 'here')),
                    done.stdout.strip(), script)


class LanesTest(Case):
    def test_all_lanes(self):
        done = self.run_script(ROOT, 'run_tests.sh', CI='true')
        self.assertEqual(0, done.returncode, done.stdout)
        # How long it took, and how much of the processors.
        self.assertRegex(done.stdout,
                         r'(?m)^hypervisor: 1 passed, .*  \(\d+ s, CPU 7 s\)$')
        self.assertNotIn('left out', done.stdout)
        self.assertNotIn('AN ACTION', done.stdout)

    def test_guests_are_waited_for_beside_the_other_lanes(self):
        """It starts first and is shown in its turn, whole."""
        self.write('build/tox-venv/bin/tox', f'''
            echo "$4 starts"
            nice >{self.folder}/nice-"$4"
            while [ "$4" = hypervisor ] && ! [ -e {self.folder}/unit ]; do
                sleep 0.1
            done
            : >{self.folder}/"$4"
            echo "$4: 1 passed, 0 failed, 0 skipped"''')
        done = self.run_script(ROOT, 'run_tests.sh', 'unit', 'hypervisor')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertEqual(
            ['unit starts', 'hypervisor starts'],
            re.findall('.* starts', done.stdout))
        # What takes longest comes first.
        guests, unit = (int((self.folder / f'nice-{name}').read_text())
                        for name in ('hypervisor', 'unit'))
        self.assertEqual(min(guests + 5, 19), unit)
        self.assertIn('2 passed, 0 failed, 0 skipped', done.stdout)

    def test_packages_are_made_beside_the_other_lanes(self):
        """Both that start first are shown in their turn."""
        self.write('build/tox-venv/bin/tox', f'''
            echo "$4 starts, $XLOUD_SERIES_WAIT"
            : >{self.folder}/"$4"
            while ! [ -e {self.folder}/packages ] ||
                ! [ -e {self.folder}/hypervisor ] ||
                ! [ -e {self.folder}/pep8 ]; do
                sleep 0.1
            done
            echo "$4: 1 passed, 0 failed, 0 skipped"''')
        done = self.run_script(ROOT, 'run_tests.sh', 'pep8', 'packages',
                               'hypervisor')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertEqual(
            ['pep8 starts, yes', 'packages starts, yes',
             'hypervisor starts, yes'],
            re.findall('.* starts.*', done.stdout))
        self.assertIn('3 passed, 0 failed, 0 skipped', done.stdout)

    def test_what_has_to_run_alone_keeps_no_other_lane_waiting(self):
        self.write('build/tox-venv/bin/tox', f'''
            echo "$4 starts"
            if [ "$4" = pep8 ]; then
                : >"$XLOUD_LANE_WAITS"
                while ! [ -e {self.folder}/unit ] ||
                    ! [ -e {self.folder}/hypervisor ]; do
                    sleep 0.1
                done
                echo "passed alone: a.b.c"
                echo "pep8 took 3 s of the processors"
            fi
            : >{self.folder}/"$4"
            echo "$4: 1 passed, 0 failed, 0 skipped"''')
        done = self.run_script(ROOT, 'run_tests.sh', 'pep8', 'unit',
                               'hypervisor')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertEqual(
            ['== pep8', 'pep8 starts', '== unit', 'unit starts',
             '== hypervisor', 'hypervisor starts',
             '== pep8, what failed in it', 'passed alone: a.b.c'],
            re.findall('(?m)^(?:== .*|.* starts|passed alone.*)$',
                       done.stdout.partition('== all lanes')[0])[:8])
        self.assertRegex(
            done.stdout, r'(?m)^pep8: 1 passed, .* s, CPU 3 s\)\n'
                         r'    passed alone: a.b.c$')
        self.assertIn('3 passed, 0 failed, 0 skipped', done.stdout)

    def test_what_fails_beside_the_other_lanes_fails(self):
        self.write('build/tox-venv/bin/tox',
                   'echo "$4: 1 passed, 0 failed, 0 skipped"\n'
                   '[ "$4" != hypervisor ]')
        done = self.run_script(ROOT, 'run_tests.sh')
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn('9 passed, 1 failed, 0 skipped', done.stdout)

    def test_a_lane_that_runs_already(self):
        """The second run would tell the first how the lane ended."""
        self.write('build/tox-venv/bin/tox', f'''
            echo "$4: 3 passed, 0 failed, 0 skipped"
            [ "$6" ] && exit
            sleep 60 & echo $! >{self.folder}/left
            while [ -d {self.folder} ] && [ ! -e {self.folder}/end ]; do
                sleep 0.1
            done''')
        first = subprocess.Popen(
            [self.folder / 'tools' / 'run_tests.sh', 'unit'],
            env={'PATH': f'{self.folder}/bin'}, cwd='/', text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        try:
            wait_for((self.folder / 'left').exists)
            self.assertIn('unit runs already', self.run_script(
                ROOT, 'run_tests.sh', 'unit', '--', 'test_x').stdout)
            self.assertIn('py3: 3 passed', self.run_script(
                ROOT, 'run_tests.sh', 'py3', '--', 'test_x').stdout)
            self.assertIsNone(first.poll())
        finally:
            (self.folder / 'end').touch()
        self.assertIn('unit: 3 passed', first.communicate()[0])
        # What a lane has left does not count as the lane.
        self.assertIn('unit: 3 passed', self.run_script(
            ROOT, 'run_tests.sh', 'unit', '--', 'test_x').stdout)
        os.kill(int((self.folder / 'left').read_text()), signal.SIGKILL)

    def test_logs_that_cannot_be_written(self):
        (self.folder / 'build/logs/unit.lock').mkdir(parents=True)
        done = self.run_script(ROOT, 'run_tests.sh', 'unit')
        self.assertEqual(2, done.returncode, done.stdout)
        self.assertIn(f'cannot write to {self.folder}/build/logs',
                      done.stdout)
        self.assertNotIn('runs already', done.stdout)

    def test_all_releases_say_nothing_of_a_run_before(self):
        self.write('patches/2024.1/lanes.ini', '')
        self.write('build/logs/2024.1/summary', 'unit: 9 passed')
        (self.folder / 'build/logs/2024.1/unit.lock').mkdir()
        done = self.run_script(ROOT, 'run_tests.sh', '--release', 'all',
                               'unit')
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn('2024.1  failed before a lane ended', done.stdout)
        self.assertNotIn('9 passed', done.stdout)

    def test_nothing_is_left_of_a_run_that_is_ended(self):
        self.write('build/tox-venv/bin/tox', f'''
            echo $$ >{self.folder}/"$4"
            exec sleep 60''')
        for name, text in ROOT.items():
            self.write(f'bin/{name}', text)
        script = subprocess.Popen(
            [self.folder / 'tools' / 'run_tests.sh', 'unit', 'hypervisor'],
            env={'PATH': f'{self.folder}/bin'}, cwd='/',
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT, start_new_session=True)
        started = self.folder / 'unit', self.folder / 'hypervisor'
        try:
            wait_for(lambda: all(path.exists() and path.read_text()
                                 for path in started))
        finally:
            os.killpg(script.pid, signal.SIGTERM)
        self.assertEqual(143, script.wait(60))
        process = Path('/proc', started[1].read_text().strip())
        wait_for(lambda: not process.exists())

    def test_no_other_release_begins_in_a_run_that_is_ended(self):
        for release in ('2024.1', '2026.2'):
            self.write(f'patches/{release}/lanes.ini', '')
        # Ctrl-C does the same, but in the background nobody hears that.
        self.write('build/tox-venv/bin/tox', 'echo begun >>begun\n'
                   'script=$(sed -n "s/^PPid:.//p" /proc/$PPID/status)\n'
                   'kill -TERM $script\nexec sleep 60')
        done = self.run_script(ROOT, 'run_tests.sh', '--release', 'all',
                               'unit')
        self.assertEqual(143, done.returncode, done.stdout)
        self.assertEqual('begun\n', (self.folder / 'begun').read_text())

    def test_the_number_of_a_lane_that_has_ended_is_used_again(self):
        """The script itself starts enough for that in an hour."""
        (self.folder / 'logs').mkdir()
        self.write('bin/say', '')
        self.write('bin/tox', 'echo "$4: 1 passed, 0 failed, 0 skipped"')
        self.write('bin/forget', '''
            set -u
            LOGS=logs
            . tools/lane.sh
            start_lane pep8
            wait
            # It has another number now, of a process that is none of ours
            # and goes on.
            running[pep8]=$PPID
            run_lane pep8
            end_lanes
            echo "$passed passed, $failed failed"''')
        done = subprocess.run(
            ['bash', 'bin/forget'], text=True, cwd=self.folder, timeout=60,
            env={'PATH': f'{self.folder}/bin'}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        self.assertEqual('pep8: 1 passed, 0 failed, 0 skipped\n'
                         '1 passed, 0 failed\n', done.stdout)

    def test_a_machine_without_a_kernel_unpacks_one(self):
        shutil.rmtree(self.folder / 'kernels')
        done = self.run_script(DEBIAN, 'run_tests.sh', 'hypervisor')
        self.assertEqual(0, done.returncode, done.stdout)
        unpacked = self.folder / 'build' / 'guest-kernel'
        self.assertIn(f'guests of {unpacked},', done.stdout)
        self.assertTrue(list(unpacked.glob('boot/vmlinuz-6*')))

    def test_a_kernel_that_cannot_be_had(self):
        shutil.rmtree(self.folder / 'kernels')
        done = self.run_script({**DEBIAN, 'apt-cache': 'exit 0',
                                'dpkg-deb': 'exit 2'},
                               'run_tests.sh', 'hypervisor')
        self.assertEqual(2, done.returncode, done.stdout)
        self.assertIn('name that in XLOUD_GUEST_ROOT', done.stdout)

    def test_a_kernel_that_the_person_names(self):
        shutil.rmtree(self.folder / 'kernels')
        done = self.run_script(ROOT, 'run_tests.sh', 'hypervisor',
                               XLOUD_GUEST_ROOT='/some/where')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertIn('guests of /some/where,', done.stdout)

    def test_a_lane_that_cannot_run_is_left_out(self):
        for machine, reason in REASONS:
            done = self.run_script(machine, 'run_tests.sh')
            self.assertEqual(0, done.returncode, done.stdout)
            self.assertRegex(done.stdout, f'hypervisor: left out, .*{reason}')
            self.assertIn('docs: 1 passed', done.stdout)

    def test_nothing_is_left_out_in_ci(self):
        for machine, reason in REASONS:
            done = self.run_script(machine, 'run_tests.sh', CI='true')
            self.assertEqual(1, done.returncode, done.stdout)
            self.assertRegex(done.stdout, f'hypervisor: left out, .*{reason}')
            self.assertIn('8 passed, 1 failed, 0 skipped', done.stdout)

    def test_no_python_for_the_newest_release(self):
        (self.folder / 'patches' / '2026.2').mkdir(parents=True)
        (self.folder / 'tools' / 'pythons.py').write_text(
            'import os, sys\n'
            'if os.environ.get("XLOUD_RELEASE") == "2026.2":\n'
            '    sys.exit("it takes Python 3.11")\n'
            'print("python3")')
        done = self.run_script(ROOT, 'run_tests.sh')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertIn('newest: left out, it takes Python 3.11', done.stdout)
        self.assertIn('8 passed, 0 failed, 0 skipped', done.stdout)
        self.assertIn('newest: it takes Python 3.11',
                      self.refused('run_tests.sh', 'newest'))

    def test_a_repository_that_was_moved(self):
        """The programs of its environment name a Python that has gone."""
        self.write('bin/python3', f'case "$*" in *"-m venv"*) cp bin/pip '
                   f'build/tox-venv/bin/python ;;\n'
                   f'*) exec {sys.executable} "$@" ;; esac')
        self.write('bin/pip', 'case "$*" in *install*) echo INSTALLED; cp '
                   'bin/tox build/tox-venv/bin ;; esac')
        tox = self.folder / 'build/tox-venv/bin/tox'
        shutil.copy(tox, self.folder / 'bin')
        tox.write_text('#!/moved/build/tox-venv/bin/python\n')
        done = self.run_script(ROOT, 'run_tests.sh', 'pep8')
        self.assertIn('INSTALLED', done.stdout)
        self.assertIn('pep8: 1 passed', done.stdout)
        self.assertNotIn('INSTALLED', self.run_script(
            ROOT, 'run_tests.sh', 'pep8').stdout)
        # Its Python has gone on to another minor version.
        (tox.parent / 'python').write_text(
            '#!/bin/sh\ncase "$*" in *"import pip"*) exit 1 ;; esac')
        self.assertIn('INSTALLED', self.run_script(
            ROOT, 'run_tests.sh', 'pep8').stdout)

    def test_a_path_that_no_test_can_run_in(self):
        first = self.folder
        for name in ('a b', "it's", 'a:b', '$HOME', 'a;b', 'a*'):
            self.folder = first / name
            shutil.copytree(first / 'tools', self.folder / 'tools')
            (self.folder / 'bin').symlink_to(first / 'bin')
            (self.folder / 'patches').mkdir()
            said = self.refused('run_tests.sh', 'py3',
                                PATH=f'{first}/bin')
            self.assertIn(f'cannot run in {self.folder}:', said)
        self.folder = first / 'ä-b_c.1+2@3,4'
        shutil.copytree(first / 'tools', self.folder / 'tools')
        shutil.copytree(first / 'build', self.folder / 'build')
        done = self.run_script(ROOT, 'run_tests.sh', 'py3',
                               PATH=f'{first}/bin')
        self.assertIn('py3: 1 passed', done.stdout)

    def test_the_lane_alone(self):
        for machine, reason in REASONS:
            done = self.run_script(machine, 'run_tests.sh', 'hypervisor')
            self.assertEqual(2, done.returncode, done.stdout)
            self.assertIn(reason, done.stdout)

    def test_another_lane_needs_no_guest(self):
        done = self.run_script(OTHER_MACHINE, 'run_tests.sh', 'pep8')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertNotIn('hypervisor', done.stdout)

    def test_several_lanes(self):
        done = self.run_script(OTHER_MACHINE, 'run_tests.sh', 'hypervisor',
                               'py3', 'pep8')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertRegex(done.stdout, '(?s)py3: 1 passed.*pep8: 1 passed')
        self.assertIn('hypervisor: left out', done.stdout)
        self.assertIn('2 passed, 0 failed, 0 skipped', done.stdout)

    def test_what_is_after_the_dashes_goes_to_the_lane(self):
        done = self.run_script(ROOT, 'run_tests.sh', 'unit', '--', 'a b', '-x')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertIn(', -- a b -x\n', done.stdout)

    def test_lanes_are_those_that_exist(self):
        said = self.refused('run_tests.sh', 'uint')
        named = said.partition('the lanes are ')[2].split()
        self.assertEqual(sorted([*lane.LANES, 'quick']), sorted(named))

    def test_quick(self):
        done = self.run_script(ROOT, 'run_tests.sh', 'quick')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertEqual(
            ['pep8', 'py3', 'unit', 'hypervisor'],
            re.findall(r'(?m)^(\w+): 1 passed.* s\)$', done.stdout))
        self.refused('run_tests.sh', 'quick', 'unit')
        self.refused('run_tests.sh', 'quick', '--', 'test_x')


class SandboxTest(Case):
    def test_it_says_why_not_before_it_installs_anything(self):
        for machine, reason in REASONS:
            for command in ((), ('up',)):
                self.assertIn(reason, self.refused(
                    'sandbox.sh', *command, machine=machine))

    def test_a_repository_that_was_moved(self):
        self.write('bin/python3', f'case "$*" in *"-m venv"*) echo MADE ANEW; '
                   f'exit 1 ;; *) exec {sys.executable} "$@" ;; esac')
        self.write('build/sandbox/env/bin/bindep', 'exit 0')
        self.write('build/sandbox/env/bin/python',
                   'case "$*" in *"import pip"*) ;; *) exit 1 ;; esac')
        self.assertNotIn('MADE ANEW', self.run_script(
            DEBIAN, 'sandbox.sh').stdout)
        (self.folder / 'build/sandbox/env/bin/bindep').write_text(
            f'#!{self.folder}/moved/bin/python\n')
        self.assertIn('MADE ANEW', self.run_script(
            DEBIAN, 'sandbox.sh').stdout)


class EnvironmentTest(unittest.TestCase):
    def test_a_repository_that_was_moved(self):
        """pip leaves the programs that it has installed as they are.

        And a Python of another minor version finds no packages.
        """
        for name, python, is_kept in (
                ('here', shutil.which('true'), True),
                ('moved', shutil.which('true'), False),
                ('here', shutil.which('false'), False)):
            with tempfile.TemporaryDirectory() as folder, mock.patch.object(
                    tree, 'ENV', Path(folder, 'env')), mock.patch.object(
                    tree, 'ROOT', Path(folder)), mock.patch.object(
                    tree, '_fingerprint', lambda: 'another'), \
                    mock.patch.object(
                        tree, '_pip',
                        lambda *what: tree.ENV.mkdir(exist_ok=True)), \
                    mock.patch.object(tree.pythons, 'pick', lambda: 'true'):
                program = Path(folder, 'env/bin/pip')
                program.parent.mkdir(parents=True)
                Path(folder, 'here').touch()
                program.write_text(f'#!{folder}/{name}\n')
                program.with_name('python').symlink_to(python)
                with contextlib.redirect_stdout(io.StringIO()):
                    tree.refresh_env()
                self.assertEqual(is_kept, program.exists())


class BareTest(Case):
    sleep = shutil.which('sleep')

    def test_it_says_why_not_before_it_makes_anything(self):
        for machine, reason in REASONS:
            self.assertIn(reason, self.refused('bare.sh', machine=machine))

    def make_root(self, archives):
        """What Debian's archive is for a root that then cannot be made."""
        done = self.run_script({
            **ROOT, 'cp': 'exit 0', 'find': 'exit 0', 'git': 'exit 0',
            'apt-get': f'cat {archives}',
            'mmdebstrap': 'for last; do :; done; echo "last is $last"; '
            'sed s/^/-/ "$last"; exit 1'},
            'bare.sh', 'trixie')
        self.assertEqual(2, done.returncode, done.stdout)
        self.assertIn('could not make it', done.stdout)
        # Nothing is left of it.
        self.assertEqual([], list((self.folder / 'build').glob('bare*')))
        self.made_by = done.stdout
        return [line[1:] for line in done.stdout.splitlines()
                if line.startswith('-')]

    def test_the_archive_is_where_this_machine_has_it(self):
        archives = self.folder / 'archives'
        archives.write_text(
            'http://here/debian/ bookworm main Debian\n'
            'http://here/debian/ bookworm-updates main Debian\n'
            'http://here/debian/ bookworm contrib Debian\n'
            'http://here/safe/ bookworm-security main $(ORIGIN)\n'
            'http://elsewhere/ bookworm main Others\n'
            'http://elsewhere/ubuntu/ noble main Ubuntu\n')
        self.assertEqual(['deb http://here/debian/ trixie main',
                          'deb http://here/debian/ trixie-updates main',
                          'deb http://here/safe/ trixie-security main'],
                         self.make_root(archives))

    def test_whoever_ends_it_ends_all_of_it(self):
        for number, ended_by in ((130, signal.SIGINT), (143, signal.SIGTERM)):
            for name, text in {
                    **ROOT, 'cp': 'exit 0', 'find': 'exit 0', 'git': 'exit 0',
                    'apt-get': 'exit 0', 'sleep': 'exit 0',
                    # It only ends when it is told to.
                    'mmdebstrap': f'echo "$$"; exec {self.sleep} 600'
                    }.items():
                self.write(f'bin/{name}', text)
            process = subprocess.Popen(
                [self.folder / 'tools' / 'bare.sh'], text=True,
                env={'PATH': f'{self.folder}/bin'}, stdout=subprocess.PIPE,
                # A shell ignores it in what it starts in the background, and
                # a script cannot trap what it was started to ignore.
                preexec_fn=functools.partial(
                    signal.signal, signal.SIGINT, signal.SIG_DFL))
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
            made = next(line for line in process.stdout
                        if line.strip().isdigit())
            process.send_signal(ended_by)
            self.assertEqual(number, process.wait())
            self.assertEqual([], list((self.folder / 'build').glob('bare*')))
            with self.assertRaises(ProcessLookupError):
                os.kill(int(made), 0)

    def test_a_machine_that_has_none_leaves_it_to_mmdebstrap(self):
        self.assertEqual([], self.make_root('/dev/null'))
        self.assertRegex(self.made_by, 'last is .*/root\n')


class UsageTest(Case):
    SCRIPTS = ('apply_series.sh', 'bare.sh', 'deploy_to_containers.sh',
               'run_tests.sh', 'sandbox.sh')

    def test_every_script_has_help_and_does_nothing_else(self):
        self.assertEqual(set(self.SCRIPTS), {
            path.name for path in (tree.ROOT / 'tools').glob('*.sh')
            if path.stat().st_mode & stat.S_IXUSR})
        for script in self.SCRIPTS:
            for asked in ('--help', '-h'):
                done = self.run_script(ROOT, script, asked)
                self.assertEqual(0, done.returncode, done.stdout)
                self.assertIn(f'    tools/{script}', done.stdout)
                self.assertNotIn('#', done.stdout)
                self.assertNotIn('set -', done.stdout)
                self.assertNotIn('AN ACTION', done.stdout)

    def test_a_script_is_called_by_a_link(self):
        scripts = [tree.ROOT / 'tools' / script for script in self.SCRIPTS]
        for script in [*scripts, tree.ROOT / 'packaging' / 'build.sh']:
            with self.subTest(script.name):
                link = self.folder / f'my-{script.name}'
                link.symlink_to(script)
                done = subprocess.run(
                    [link.name, '--help'], text=True, cwd='/', env={
                        **os.environ, 'PATH': f'{self.folder}:'
                        f'{os.environ["PATH"]}'},
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                self.assertIn(f'    {script.relative_to(tree.ROOT)}',
                              done.stdout)
                self.assertNotIn('No such file', done.stdout)
                self.assertEqual(0, done.returncode)

    def test_what_a_script_does_not_know_it_refuses(self):
        for refused, *command in (
                ('uint', 'run_tests.sh', 'uint'),
                ('--verbose', 'run_tests.sh', '--verbose'),
                ('test_x', 'run_tests.sh', 'unit', 'test_x'),
                ('twice', 'run_tests.sh', 'unit', 'unit'),
                ('test_x', 'run_tests.sh', '--', 'test_x'),
                ('test_x', 'run_tests.sh', 'py3', 'unit', '--', 'test_x'),
                ('test_x', 'run_tests.sh', 'pep8', '--', 'test_x'),
                ('--release', 'run_tests.sh', '--release'),
                ('1.0', 'run_tests.sh', '--release', '1.0'),
                ('uint', 'run_tests.sh', '--release', 'all', 'uint'),
                ('--release', 'run_tests.sh', 'unit', '--release', 'all'),
                ('ups', 'sandbox.sh', 'ups'),
                ('--up', 'sandbox.sh', '--up'),
                ('down', 'sandbox.sh', 'up', 'down'),
                ('down', 'sandbox.sh', 'up', '--stock', 'down'),
                ('--dashboard', 'sandbox.sh', 'down', '--dashboard'),
                ('--stock', 'sandbox.sh', '--stock'),
                ('status', 'deploy_to_containers.sh'),
                ('--force', 'deploy_to_containers.sh', '--force'),
                ('verify', 'deploy_to_containers.sh', 'deploy', 'verify'),
                ('--json', 'apply_series.sh', '--json'),
                ('2024.2', 'apply_series.sh', '2024.1', '2024.2'),
                ('--project', 'apply_series.sh', '--project'),
                ('sid', 'bare.sh', 'sid'),
                ('trixie', 'bare.sh', 'bookworm', 'trixie'),
                ('--only', 'bare.sh', '--only'),
                ('--only', 'bare.sh', '--only', 'demo'),
                ('uint', 'bare.sh', '--', 'uint'),
                ('py3', 'bare.sh', '--only', 'sandbox', '--', 'py3')):
            with self.subTest(command):
                self.assertIn(refused, self.refused(*command))

    def test_a_release_that_there_is_not(self):
        self.write('patches/2026.2/lanes.ini', '')
        for command in (('run_tests.sh', 'pep8'), ('sandbox.sh',),
                        ('sandbox.sh', 'up'), ('bare.sh',)):
            for name in ('2026.3', '.', '2026.2/'):
                with self.subTest(command, name=name):
                    self.assertIn(
                        f'names no release: {name}; there are 2026.2',
                        self.refused(*command, XLOUD_RELEASE=name))
        done = self.run_script(ROOT, 'run_tests.sh', 'pep8', XLOUD_RELEASE='')
        self.assertEqual(0, done.returncode, done.stdout)

    def test_what_a_deployment_does_not_know_it_refuses(self):
        for refused, name, value in (
                ('no name', 'TARGET_HOST', 'a; reboot'),
                ('no name', 'TARGET_HOST', '-oProxyCommand=x'),
                ('novncproxy', 'CONTAINER_NAME', 'nova_api nova_novncproxy'),
                ('no name', 'CONTAINER_NAME', '{{x}}'),
                ('no full path', 'NOVA_SITE_PACKAGES', 'site-packages'),
                ('no full path', 'BACKUP_DIR', 'backups'),
                ('SOURCE_REPO', 'SOURCE_REPO', '/nowhere'),
                ('no file', 'XLOUD_WHEEL', 'nowhere.whl')):
            with self.subTest(name):
                self.assertIn(refused, self.refused(
                    'deploy_to_containers.sh', 'deploy', **{name: value}))

    def deploy(self, machine=ROOT, **environ):
        """What a deployment says, and what it has Ansible do."""
        self.write('packaging/build.sh', 'exit 1')
        self.write('deploy/requirements.txt', 'ansible')
        self.write('build/deploy-env/installed', 'ansible')
        self.write('build/deploy-env/bin/ansible-playbook',
                   'echo "wheel=$XLOUD_WHEEL"; cat "$2"')
        done = self.run_script({**machine, 'flock': 'exit 0'},
                               'deploy_to_containers.sh', 'deploy',
                               **{'XLOUD_WHEEL': __file__, **environ})
        self.assertEqual(0, done.returncode, done.stdout)
        return done.stdout

    def test_paths_are_those_of_the_caller(self):
        self.write('ours.whl', '')
        self.write('other/packaging/build.sh', '')
        here = str(self.folder).lstrip('/')
        self.assertIn(f'wheel=/{here}/ours.whl\n', self.deploy(
            XLOUD_WHEEL=f'{here}/ours.whl', SOURCE_REPO=f'{here}/other'))

    def test_it_installs_what_is_not_there_whole(self):
        """Interrupted, of another version, or in a repository since moved.
        """
        self.assertNotIn('installing', self.deploy())
        self.write('bin/python3', 'mkdir -p build/deploy-env/bin\n'
                   'cp bin/pip build/deploy-env/bin/python')
        self.write('bin/pip', 'cp bin/ansible '
                   'build/deploy-env/bin/ansible-playbook')
        self.write('bin/ansible', 'exit 0')
        env = self.folder / 'build/deploy-env'
        status = ({'flock': 'exit 0', **ROOT}, 'deploy_to_containers.sh',
                  'status')
        for spoil in (lambda: (env / 'installed').unlink(),
                      lambda: self.write('deploy/requirements.txt', 'newer'),
                      lambda: (env / 'bin/ansible-playbook').unlink(),
                      lambda: (env / 'bin/ansible-playbook').write_text(
                          '#!/moved/build/deploy-env/bin/python\n')):
            spoil()
            self.assertIn('installing', self.run_script(*status).stdout)
            self.assertNotIn('installing', self.run_script(*status).stdout)

    def test_containers_in_one_line_or_several(self):
        for names in ('nova_api nova_compute', 'nova_api\nnova_compute\n'):
            self.assertIn('[nova-api]\nlocalhost\n[compute]\nlocalhost\n',
                          self.deploy(CONTAINER_NAME=names))

    def test_who_is_root_there_needs_no_sudo(self):
        for machine, host, needs in (
                (ROOT, 'localhost', False), (ROOT, 'control01', False),
                (ROOT, 'me@control01', True), (NOT_ROOT, 'localhost', True),
                (NOT_ROOT, 'control01', True),
                (NOT_ROOT, 'root@control01', False)):
            with self.subTest(host, uid=machine['id']):
                self.assertEqual(needs, 'xloud_nova_become=false' not in (
                    self.deploy(machine, TARGET_HOST=host)))
