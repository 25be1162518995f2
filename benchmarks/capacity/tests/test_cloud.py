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

from benchmarks.capacity import cloud
from benchmarks.capacity import workload

HOURS = 12 * workload.STEPS_AN_HOUR


def demands(vcpus=tuple(workload.SIZES), count=400):
    drawn = (workload.Demand(number, 2 * HOURS) for number in range(count))
    return [one for one in drawn if one.vcpus in vcpus]


class DimensionTest(unittest.TestCase):

    def setUp(self):
        self.dimension = cloud.Dimension(2, 8)

    def test_grows_at_once(self):
        self.assertEqual((3, 1, 0), self.dimension.follow(5, math.inf))
        self.assertEqual(5, self.dimension.held)

    def test_a_refused_grow_changes_nothing_and_counts_once(self):
        self.assertEqual((0, 1, 1), self.dimension.follow(5, 2))
        self.assertEqual((0, 0, 0), self.dimension.follow(6, 2))
        self.assertEqual(2, self.dimension.held)
        self.assertEqual((4, 0, 0), self.dimension.follow(6, 4))

    def test_a_grow_after_less_use_is_a_new_one(self):
        self.dimension.follow(5, 2)
        self.dimension.follow(2, 2)
        self.assertEqual((0, 1, 1), self.dimension.follow(5, 2))

    def test_shrinks_after_an_hour_to_the_most_used_in_it(self):
        self.dimension.follow(8, math.inf)
        hour = [3, 5, 4, 3]
        changes = [self.dimension.follow(wanted, 0)[0] for wanted in hour]
        self.assertEqual([0, 0, 0, -3], changes)
        self.assertEqual(5, self.dimension.held)

    def test_a_peak_starts_the_hour_again(self):
        self.dimension.follow(6, math.inf)
        for wanted in (3, 3, 3, 6, 3, 3, 3):
            self.assertEqual(0, self.dimension.follow(wanted, 0)[0])
        self.assertEqual(-3, self.dimension.follow(3, 0)[0])

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 6))))
    def test_what_is_held_stays_in_its_range_and_in_its_room(self, steps):
        dimension = cloud.Dimension(2, 8)
        for wanted, free in steps:
            before = dimension.held
            change, asked, refused = dimension.follow(wanted, free)
            self.assertEqual(before + change, dimension.held)
            self.assertTrue(2 <= dimension.held <= 8)
            self.assertLessEqual(change, free)
            self.assertLessEqual(refused, asked)


class SimulateTest(unittest.TestCase):

    def simulate(self, name, cpu_ratio=1.0, ram_ratio=1.0, fill=1.0,
                 vcpus=tuple(workload.SIZES)):
        policy = cloud.Policy(name, cpu_ratio, ram_ratio, fill)
        return cloud.simulate(demands(vcpus), policy, workload.SAME_HOUR,
                              hosts=2, warm_up=0, measured=HOURS)

    def test_fixed_servers_fill_a_host_as_their_flavor_says(self):
        for ratio, fill, expected in ((1.0, 1.0, 16), (1.5, 1.0, 24),
                                      (1.0, 0.75, 12)):
            counts = self.simulate('fixed', ratio, ratio, fill, vcpus=(4,))
            self.assertEqual(expected, counts.server_steps / counts.host_steps)
            self.assertEqual(0, counts.vcpu_grows + counts.memory_grows)
            self.assertEqual(0, counts.below_vcpus + counts.below_memory)

    def test_no_host_holds_more_than_it_has_at_a_ratio_of_one(self):
        for name in cloud.ELASTIC:
            counts = self.simulate(name)
            self.assertEqual(2 * HOURS, counts.host_steps)
            self.assertEqual(0, counts.held_over_vcpus)
            self.assertEqual(0, counts.held_over_memory)

    def test_elastic_servers_are_more_and_are_refused(self):
        fixed, elastic = self.simulate('fixed'), self.simulate('elastic')
        self.assertGreater(elastic.server_steps, fixed.server_steps)
        self.assertGreater(elastic.memory_grows_refused, 0)
        self.assertGreater(elastic.below_memory, 0)

    def test_room_that_new_servers_do_not_get_is_grown_into(self):
        full, roomy = (self.simulate('elastic', 4.0, fill=fill)
                       for fill in (1.0, 0.8))
        self.assertGreater(full.server_steps, roomy.server_steps)
        self.assertGreater(full.memory_grows_refused / full.memory_grows,
                           roomy.memory_grows_refused / roomy.memory_grows)

    def test_the_charge_of_a_host_is_what_its_servers_hold(self):
        host = cloud.Host(cloud.Policy('elastic', 4.0, 1.0))
        for demand in demands()[:30]:
            host.add(cloud.Server(
                demand, cloud.Policy('elastic', 4.0, 1.0),
                workload.SAME_HOUR, 0))
        counts = cloud.Counts()
        for now in range(HOURS):
            host.end_servers(now)
            host.run(now, counts)
            self.assertEqual(
                (sum(one.vcpus.held for one in host.servers),
                 sum(one.memory_mb.held for one in host.servers)),
                (host.charged_vcpus, host.charged_mb))
        self.assertGreater(counts.vcpu_grows + counts.memory_grows, 0)
