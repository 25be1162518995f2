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

from tools import horizon

OK = 'Found 3 test(s).\n...\nRan 3 tests in 0.1s\n\nOK (skipped=1)\n'
BAD = """\
======================================================================
FAIL: test_a (openstack_dashboard.test.unit.api.test_nova.Tests.test_a)
ERROR: test_b (openstack_dashboard.test.unit.api.test_nova.Tests.test_b)
Ran 5 tests in 0.1s

FAILED (failures=1, errors=1)
"""


def cell(newest, **answer):
    request = {'version': '2.1', 'body': {}}
    given = {'block_migration': None, 'disk_over_commit': None, 'host': None,
             'force': None, **answer}
    return {'newest': newest, 'block_migration': ['auto', 'yes'],
            'disk_over_commit': False, 'warns': True, 'instance': request,
            'host': request, 'instance answer': given, 'host answer': given}


class CountedTest(unittest.TestCase):
    def test_passed_and_skipped(self):
        self.assertEqual(horizon.Result(2, 1, []),
                         horizon.counted('2024.1', OK, 0))

    def test_failures_are_named(self):
        name = 'openstack_dashboard.test.unit.api.test_nova.Tests.test_'
        self.assertEqual(
            horizon.Result(3, 0, [f'2024.1: {name}a', f'2024.1: {name}b']),
            horizon.counted('2024.1', BAD, 1))

    def test_no_tests_are_a_failure(self):
        for said, code in (('Ran 0 tests in 0s\n\nOK\n', 0),
                           ('ImportError\n', 1), ('', 0), (OK, 1)):
            self.assertEqual(
                ['2024.1: the tests did not run'],
                horizon.counted('2024.1', said, code).failures)


class TableTest(unittest.TestCase):
    def test_what_nova_makes_of_a_request(self):
        for lines, answer in (
                (['2.1', 'disks as Nova finds'], {}),
                (['2.1', 'disks not copied', 'over commit',
                  'host not checked'],
                 {'block_migration': False, 'disk_over_commit': True,
                  'host': 'cmp2'}),
                (['2.1', 'disks copied', 'host checked'],
                 {'block_migration': True, 'host': 'cmp2', 'force': False}),
                (['2.1', 'disks as Nova finds', '**force**',
                  'host not checked'], {'host': 'cmp2', 'force': True})):
            self.assertEqual(lines, horizon.told(cell('2.24', **answer),
                                                 'instance'))

    def test_a_refusal(self):
        one = cell('2.24')
        one['host answer'] = {'refused': 'why'}
        self.assertEqual(['2.1', '**refused**: why'],
                         horizon.told(one, 'host'))

    def test_the_forms_must_not_differ_between_releases(self):
        same = [cell(newest) for newest in horizon.NEWEST]
        other = [{**one, 'warns': False} for one in same]
        text = horizon.render([('1', same), ('2', same), ('1, stock', other)])
        self.assertIn('     - | Automatic, Yes\n', text)
        with self.assertRaisesRegex(SystemExit, 'forms differ'):
            horizon.render([('1', same), ('2', other)])
