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

import math
import unittest

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from benchmarks.capacity import workload

MONTH = 30 * workload.STEPS_A_DAY
THREE_DAYS = 3 * workload.STEPS_A_DAY


class DrawnTest(unittest.TestCase):
    """What is drawn has the published statistics."""

    @classmethod
    def setUpClass(cls):
        cls.drawn = [workload.Demand(number, MONTH) for number in range(4000)]

    def mean(self, of):
        return sum(map(of, self.drawn)) / len(self.drawn)

    def test_sizes(self):
        self.assertAlmostEqual(3.8, self.mean(lambda one: one.vcpus), delta=.2)
        # 16.1 GB; with 4 GiB for each vCPU it is a little less.
        self.assertAlmostEqual(
            15, self.mean(lambda one: one.memory_mb / 1000), delta=1.5)

    def test_cpu_in_use(self):
        self.assertAlmostEqual(
            .156, self.mean(lambda one: one.mean_cpu), delta=.01)

    def test_memory_that_is_never_touched(self):
        share = [one.touched_mb / one.memory_mb for one in self.drawn]
        self.assertAlmostEqual(
            .5, sum(one < .5 for one in share) / len(share), delta=.03)
        self.assertGreater(sum(one < .7 for one in share) / len(share), .79)

    def test_life(self):
        hours = self.mean(lambda one: one.life / workload.STEPS_AN_HOUR)
        self.assertAlmostEqual(60.7, hours, delta=6)

    def test_peaks_of_cpu(self):
        # Of servers that are rarely busy with all that they have.
        for one in [one for one in self.drawn if one.mean_cpu < .2][:20]:
            one.life = MONTH
            use = one.use(workload.OWN_HOURS, 0, 0)
            series = sorted(use(step)[0] for step in range(MONTH))
            p95 = series[int(.95 * MONTH)]
            self.assertTrue(2.2 < p95 / (sum(series) / MONTH) < 5.9)


class UseTest(unittest.TestCase):

    def use(self, number, scenario):
        demand = workload.Demand(number, THREE_DAYS)
        demand.life = THREE_DAYS
        return demand, demand.use(scenario, 0, 0)

    @settings(deadline=None)
    @given(st.integers(), st.integers(0, THREE_DAYS - 1))
    def test_the_same_key_is_the_same_server(self, key, step):
        _, one = self.use(key, workload.COLD_BACK)
        _, other = self.use(key, workload.COLD_BACK)
        self.assertEqual(one(step), other(step))

    @settings(deadline=None)
    @given(st.integers(), st.integers(1, THREE_DAYS - 1), st.sampled_from(
        (workload.OWN_HOURS, workload.SAME_HOUR)))
    def test_memory_never_falls_unless_it_is_given_back(
            self, key, step, scenario):
        _, use = self.use(key, scenario)
        self.assertLessEqual(use(step - 1)[1], use(step)[1])

    @settings(deadline=None)
    @given(st.integers(), st.integers(0, THREE_DAYS - 1), st.sampled_from((
        workload.OWN_HOURS, workload.SAME_HOUR, workload.COLD_BACK,
        workload.SURGE)))
    def test_no_more_is_used_than_the_flavor_has(self, key, step, scenario):
        demand, use = self.use(key, scenario)
        vcpus, memory_mb = use(step)
        self.assertTrue(0 <= vcpus <= demand.vcpus)
        self.assertTrue(0 < memory_mb <= demand.memory_mb)

    def test_a_third_of_the_memory_in_use_is_cold(self):
        demand, use = self.use(1, workload.COLD_BACK)
        grown = range(2 * workload.STEPS_A_DAY, 3 * workload.STEPS_A_DAY)
        mean = sum(use(step)[1] for step in grown) / len(grown)
        self.assertTrue(math.isclose(mean, .68 * demand.touched_mb))

    def test_a_surge_is_felt_by_all(self):
        for key in range(20):
            demand, use = self.use(key, workload.SURGE)
            vcpus, memory_mb = use(workload.SURGE_FROM)
            self.assertGreaterEqual(vcpus, .8 * demand.vcpus)
            self.assertGreaterEqual(memory_mb, .8 * demand.memory_mb)
