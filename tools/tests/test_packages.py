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


"""The functions of tools/packages.sh, on a policy of the test's own."""

from pathlib import Path
import subprocess
import tempfile
import unittest

from tools import tree

OWN = '#!/bin/sh\n# the own one of the machine\nexit 104\n'
SCRIPT = """
say() { printf '%s\\n' "$*"; }
die() { say "$*"; exit 2; }
. tools/packages.sh
POLICY=$1
"""


class PolicyTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.policy = Path(folder.name) / 'policy-rc.d'

    def bash(self, commands):
        """Start commands that come after those of a script."""
        process = subprocess.Popen(
            ['bash', '-c', SCRIPT + commands, 'bash', str(self.policy)],
            cwd=tree.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def answer(self):
        """What invoke-rc.d is told about a service."""
        return subprocess.run([self.policy, 'some', 'start']).returncode

    def write_own(self):
        self.policy.write_text(OWN)
        self.policy.chmod(0o755)

    def at_work(self):
        """A run that has forbidden services and is not done yet."""
        process = self.bash('forbid_services; say forbidden; read -r _')
        self.assertEqual('forbidden\n', process.stdout.readline())
        self.assertEqual(101, self.answer())
        return process

    def assert_own_is_back(self):
        self.assertEqual(OWN, self.policy.read_text())
        self.assertEqual([self.policy], list(self.policy.parent.iterdir()))

    def test_is_gone_afterwards(self):
        self.at_work().communicate('\n')
        self.assertFalse(self.policy.exists())

    def test_the_own_one_is_back_afterwards(self):
        self.write_own()
        self.at_work().communicate('\n')
        self.assert_own_is_back()

    def test_one_that_forbids_already_stays(self):
        self.policy.write_text('#!/bin/sh\nexit 101\n')
        self.policy.chmod(0o755)
        before = self.policy.stat()
        self.at_work().communicate('\n')
        self.assertEqual(before.st_mtime_ns, self.policy.stat().st_mtime_ns)

    def test_what_a_killed_run_left_is_removed_by_the_next(self):
        for commands in ('remove_left_policy',
                         'forbid_services; allow_services'):
            self.write_own()
            killed = self.at_work()
            killed.kill()
            killed.wait()
            self.assertEqual(101, self.answer())
            self.assertEqual(0, self.bash(commands).wait())
            self.assert_own_is_back()

    def test_that_of_a_run_which_is_at_work_stays(self):
        self.at_work()
        self.assertEqual(0, self.bash('remove_left_policy').wait())
        self.assertEqual(101, self.answer())
