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


"""The scripts that a person types, on machines that lack something.

A script runs in a folder of its own, where tox passes whatever it is asked
for. What a machine is like is what its commands say.
"""

from pathlib import Path
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

from tools import tree

COPIED = ('run_tests.sh', 'sandbox.sh', 'guests.sh', 'packages.sh')
ROOT = {'uname': 'echo x86_64', 'id': 'echo 0', 'unshare': 'exit 0',
        'apt-get': 'echo AN INSTALLATION; exit 1',
        'dnf': 'echo AN INSTALLATION; exit 1'}
OTHER_MACHINE = {**ROOT, 'uname': 'echo aarch64'}
NOT_ROOT = {**ROOT, 'id': 'echo 1000'}
CONTAINER = {**ROOT, 'unshare': 'exit 1'}
REASONS = ((OTHER_MACHINE, 'this machine is aarch64'), (NOT_ROOT, 'not root'),
           (CONTAINER, '--privileged'))


class ScriptsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / 'tools').mkdir()
        for name in COPIED:
            shutil.copy(tree.ROOT / 'tools' / name, self.folder / 'tools')
        # Whichever Python this is, it will do.
        self.write('bin/python3', f'exec {sys.executable} "$@"')
        (self.folder / 'tools' / 'pythons.py').write_text('print("python3")')
        self.write('build/tox-venv/bin/bindep', 'exit 0')
        self.write('build/tox-venv/bin/tox',
                   'echo "$4: 1 passed, 0 failed, 0 skipped"')

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run_script(self, machine, *command, **environ):
        for name, text in machine.items():
            self.write(f'bin/{name}', text)
        return subprocess.run(
            [self.folder / 'tools' / command[0], *command[1:]], text=True,
            env={'PATH': f'{self.folder}/bin:/usr/bin:/bin', **environ},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def test_all_lanes(self):
        done = self.run_script(ROOT, 'run_tests.sh', CI='true')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertIn('hypervisor: 1 passed', done.stdout)
        self.assertNotIn('left out', done.stdout)

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
            self.assertIn('5 passed, 1 failed, 0 skipped', done.stdout)

    def test_the_lane_alone(self):
        for machine, reason in REASONS:
            done = self.run_script(machine, 'run_tests.sh', 'hypervisor')
            self.assertEqual(2, done.returncode, done.stdout)
            self.assertIn(reason, done.stdout)

    def test_another_lane_needs_no_guest(self):
        done = self.run_script(OTHER_MACHINE, 'run_tests.sh', 'pep8')
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertNotIn('hypervisor', done.stdout)

    def test_sandbox_says_it_before_it_installs_anything(self):
        for machine, reason in REASONS:
            for command in ((), ('up',)):
                done = self.run_script(machine, 'sandbox.sh', *command)
                self.assertEqual(2, done.returncode, done.stdout)
                self.assertIn(reason, done.stdout)
                self.assertNotIn('AN INSTALLATION', done.stdout)
