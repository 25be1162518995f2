# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

import contextlib
import io
import json
from pathlib import Path
import shutil
import subprocess
import tempfile
import unittest
from unittest import mock

from benchmarks import __main__ as command
from benchmarks import capacity


class ParseTest(unittest.TestCase):

    def test_what_measure_takes_is_an_option(self):
        self.assertEqual(
            ('adjust', {'rounds': 3, 'servers': [10, 20]}),
            command.parse(['adjust', '--rounds', '3',
                           '--servers', '10', '20']))

    def test_its_defaults_are_the_options(self):
        self.assertEqual(('guest', {'rounds': 5}), command.parse(['guest']))

    def test_no_other_command(self):
        error = io.StringIO()
        with contextlib.redirect_stderr(error), self.assertRaises(SystemExit):
            command.parse(['gest'])
        self.assertIn("invalid choice: 'gest'", error.getvalue())


class AllTest(unittest.TestCase):

    def test_one_that_fails_stops_none_of_the_others(self):
        def run(arguments, **_kwargs):
            name = arguments[-1]
            called.append(name)
            return subprocess.CompletedProcess(arguments, name == 'stack')

        called = []
        with mock.patch.object(subprocess, 'run', run):
            with self.assertRaisesRegex(SystemExit, '^failed: stack$'):
                command.measure_all()
        self.assertEqual(list(command.BENCHMARKS), called)


class TableTest(unittest.TestCase):

    def kept(self):
        return {path.stem: json.loads(path.read_text())
                for path in command.KEPT.iterdir()}

    def test_the_manual_has_what_was_measured(self):
        self.assertEqual(command.tables(), command.TABLES.read_text(),
                         '"tox -e bench -- table" writes it')

    def test_each_benchmark_was_measured(self):
        self.assertEqual(set(command.BENCHMARKS), set(self.kept()))

    def test_nothing_kept_tells_which_machine_it_was(self):
        for report in self.kept().values():
            self.assertLessEqual(set(report['machine']), {
                'cores', 'Python', 'git', 'QEMU', 'libvirt'})
            self.assertEqual({'what', 'command', 'machine', 'seconds',
                              'results'}, set(report))

    def test_what_is_simulated_is_the_same_everywhere(self):
        self.assertEqual(self.kept()['capacity']['results'],
                         json.loads(json.dumps(capacity.measure())))

    def test_what_was_measured_last_is_kept(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        measured, kept = (Path(folder.name, name) for name in ('new', 'kept'))
        measured.mkdir()
        shutil.copytree(command.KEPT, kept)
        again = self.kept()['stack']
        again['machine']['cores'] = 1024
        (measured / 'stack.json').write_text(json.dumps(again))
        with mock.patch.multiple(command, MEASURED=measured, KEPT=kept,
                                 TABLES=kept / 'tables'):
            command.write_tables()
            self.assertEqual(
                1, command.TABLES.read_text().count('on 1024 cores'))
