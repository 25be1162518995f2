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

import json
import types
import unittest

from benchmarks import report


class Benchmark(types.ModuleType):
    """As a module that a benchmark is."""

    def __init__(self):
        super().__init__('sleep', (
            'How long a nap is.\n\n    tox -e bench -- sleep\n\n'
            'By the clock.\n'))

    def measure(self, rounds=3, servers=(1, 2)):
        return {'naps': rounds, 'machine': {'bed': '1.0'}}

    def rows(self, results):
        yield report.Row('naps', str(results['naps']))
        yield report.Row('naps, "deep"', '1',
                         report.at_most(results['naps'], 2, ' s'))


class ReportTest(unittest.TestCase):

    def setUp(self):
        self.benchmark = Benchmark()
        self.report = report.make(
            'sleep', self.benchmark, {'rounds': 4, 'servers': [5, 6]})

    def test_says_what_by_what_and_on_what(self):
        made = json.loads(report.as_json(self.report))
        self.assertEqual('How long a nap is', made['what'])
        self.assertEqual('tox -e bench -- sleep --rounds 4 --servers 5 6',
                         made['command'])
        self.assertEqual(['cores', 'Python', 'bed'], list(made['machine']))
        self.assertEqual({'naps': 4}, made['results'])

    def test_the_table_to_read_has_columns(self):
        head, *rows = report.as_text(
            self.report, self.benchmark).splitlines()
        self.assertTrue(head.startswith('How long a nap is: 0 s on '), head)
        self.assertEqual(['naps          4',
                          'naps, "deep"  1  at most 2 s: not reached'], rows)

    def test_the_manual_tells_method_command_machine_and_rows(self):
        self.report['command'] = 'tox -e bench -- sleep'
        self.report['machine'] = {'cores': 2, 'Python': '3', 'bed': '1.0'}
        self.report['seconds'] = 60
        self.assertEqual('''\
How long a nap is
-----------------

By the clock.

``tox -e bench -- sleep``, 60 s on 2 cores with Python 3, bed 1.0:

.. csv-table::
   :header: What, Figure, Goal
   :widths: 45 35 20

   "naps","4",""
   "naps, ""deep""","1","at most 2 s: not reached"
''', report.as_rst(self.report, self.benchmark))

    def test_a_goal_that_is_met_exactly_is_reached(self):
        self.assertEqual('at most 2: reached', report.at_most(2, 2))
        self.assertEqual('at least 2: reached', report.at_least(2, 2))
        self.assertEqual('at least 2: not reached', report.at_least(1.9, 2))
