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
import subprocess
import unittest
from unittest import mock

from benchmarks import __main__ as command


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
