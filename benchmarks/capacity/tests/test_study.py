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
import unittest

from benchmarks.capacity import __main__ as command
from benchmarks.capacity import cloud
from benchmarks.capacity import study
from benchmarks.capacity import workload


class StudyTest(unittest.TestCase):

    CLOUDS = (
        ('ratios', study.REFERENCE, workload.OWN_HOURS),
        ('surge', cloud.Policy('elastic', 4.0, 1.0), workload.SURGE))

    def run_study(self):
        return study.run(seeds=(1, 2), hosts=1, clouds=self.CLOUDS)

    def test_the_same_on_every_run(self):
        self.assertEqual(json.dumps(self.run_study()),
                         json.dumps(self.run_study()))

    def test_measures_have_a_spread_or_nothing_to_measure(self):
        reference, surge = self.run_study()
        self.assertEqual({'mean': 1, 'min': 1, 'max': 1},
                         reference['times_the_reference'])
        self.assertIsNone(reference['grows_refused'])
        spread = surge['memory_grows_refused']
        self.assertTrue(
            0 < spread['min'] <= spread['mean'] <= spread['max'] <= 1)

    def test_the_table_has_a_line_for_each_cloud(self):
        lines = '\n'.join(command.table(self.run_study())).splitlines()
        self.assertEqual(2, sum(line.startswith(('fixed ', 'elastic '))
                                for line in lines))
        self.assertIn(' 1.00 (1.00-1.00) ', ''.join(lines))

    def test_every_pair_of_ratios_is_compared(self):
        for name in cloud.ELASTIC:
            pairs = {(policy.cpu_ratio, policy.ram_ratio)
                     for part, policy, scenario in study.compared()
                     if (part, policy.name, scenario) == (
                         'ratios', name, workload.SAME_HOUR)}
            self.assertEqual(9, len(pairs))

    def test_what_the_figures_depend_on_is_kept_with_them(self):
        told = study.parameters()
        json.dumps(told)
        self.assertEqual(0.156, round(
            told['cpu_beta'][0] / sum(told['cpu_beta']), 3))
