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

import unittest

from tools import machine


class RoundsTest(unittest.TestCase):

    def play(self, steps, breach_of=None, workers=1, each=10):
        def play_one(seed):
            return machine.Round(
                seed, each, ['broken'] if seed == breach_of else [])

        return sorted(machine.rounds(7, steps, workers, play_one))

    def test_until_there_are_enough_steps(self):
        self.assertEqual(
            [(7, 10, []), (8, 10, []), (9, 10, [])], self.play(25))
        self.assertEqual([7, 8], [seed for seed, *_ in self.play(20)])
        self.assertEqual([], self.play(0))

    def test_a_breach_ends_it(self):
        self.assertEqual(
            [(7, 10, []), (8, 10, ['broken'])], self.play(100, breach_of=8))

    def test_each_seed_once(self):
        """Also at the same time. What has begun when it ends counts too."""
        seeds = [seed for seed, *_ in self.play(40, workers=2)]
        self.assertIn(len(seeds), [4, 5])
        self.assertEqual(list(range(7, 7 + len(seeds))), seeds)

    def test_a_process_that_dies_is_a_breach(self):
        found = machine.play_apart('nonsense')
        self.assertEqual(('nonsense', 0), found[:2])
        self.assertIn('invalid int value', found.breaches[0])
