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

from benchmarks import adjust


class RowsTest(unittest.TestCase):

    def rows(self, *servers):
        counts = {'hypervisor': 1, 'placement': 0, 'database': 2}
        return [row[0] for row in adjust.rows({
            'change': dict.fromkeys(
                [key for _, key in adjust.CHANGE] + ['resize_by_adjust'], 1.0),
            'requests': {'adjust, growth': counts},
            'reconcile': [
                {'servers': count, 'pass': 'next', 'ms': count, **counts}
                for count in servers]})]

    def test_compares_the_counts_of_servers(self):
        self.assertIn('most servers / fewest', self.rows(250, 500)[-1])

    def test_one_count_of_servers(self):
        self.assertEqual('reconcile, 250 servers, next pass',
                         self.rows(250)[-1])
