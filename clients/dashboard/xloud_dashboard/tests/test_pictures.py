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

"""Histories and pictures, without a request."""

import datetime
import unittest
from xml.etree import ElementTree

from xloud_dashboard import history
from xloud_dashboard import picture
from xloud_dashboard import sizes
from xloud_dashboard.tests import nova

SMALL, LARGE, LESS = (history.Size(2, 1024), history.Size(4, 2048),
                      history.Size(3, 2048))


def at(day, hour=0):
    return datetime.datetime(2026, 1, day, hour,
                             tzinfo=datetime.timezone.utc)


class HistoryTest(unittest.TestCase):

    def test_changes(self):
        grown, refused, settled = history.changes(nova.ACTIONS)
        self.assertEqual((SMALL, LARGE), grown.sizes['charged'])
        self.assertEqual(at(1, 12), grown.at)
        self.assertTrue(refused.is_refused)
        self.assertEqual({}, refused.sizes)
        self.assertEqual((history.SETTLE, {'charged': (LARGE, LESS)}),
                         (settled.action, settled.sizes))

    def test_a_refusal_that_leaves_a_charge(self):
        (change,) = history.changes([
            {'action': 'xloud_adjust', 'start_time': '2026-01-02T10:00:00',
             'message': 'Error; '
             'charged 2 vCPUs, 1024 MiB -> 4 vCPUs, 2048 MiB'}])
        self.assertTrue(change.is_refused)
        self.assertEqual({'charged': (SMALL, LARGE)}, change.sizes)

    def test_what_is_no_change(self):
        self.assertEqual([], history.changes([
            {'action': 'reboot', 'start_time': '2026-01-02T10:00:00'},
            {'action': 'xloud_adjust', 'start_time': None},
            {'action': 'xloud_adjust', 'start_time': 'yesterday'},
            {'action': 'xloud_adjust', 'start_time': '2026-99-02T10:00:00'}]))

    def test_a_message_that_was_cut(self):
        (change,) = history.changes([
            {'action': 'xloud_adjust', 'start_time': '2026-01-02T10:00:00',
             'message': 'desired 2 vCPUs, 1024 MiB -> 4 vCPUs, 2048 MiB; '
             'charged 2 vCPUs, 10'}])
        self.assertEqual({'desired': (SMALL, LARGE)}, change.sizes)

    def test_two_changes_in_one_second(self):
        """MySQL keeps no fractions, and a guest may follow at once."""
        found = history.changes([
            {'action': action, 'start_time': '2026-01-02T00:00:00.000000',
             'message': message} for action, message in (
                 ('xloud_settle',
                  'charged 4 vCPUs, 2048 MiB -> 3 vCPUs, 2048 MiB'),
                 ('xloud_adjust',
                  'charged 2 vCPUs, 1024 MiB -> 4 vCPUs, 2048 MiB'))])
        self.assertEqual(['xloud_adjust', 'xloud_settle'],
                         [change.action for change in found])
        self.assertEqual(
            [SMALL, LARGE, LESS],
            [step.size for step in history.steps(
                'charged', found, LESS, at(1), at(3))])

    def test_steps(self):
        found = history.changes(nova.ACTIONS)
        self.assertEqual(
            [(at(1), SMALL), (at(1, 12), LARGE), (at(2, 12), LESS)],
            history.steps('charged', found, LESS, at(1), at(3)))

    def test_steps_that_no_action_names(self):
        found = history.changes(nova.ACTIONS)
        # A resize since then.
        self.assertEqual(
            (at(3), SMALL),
            history.steps('charged', found, SMALL, at(1), at(3))[-1])
        # And one between two changes.
        found[-1].sizes['charged'] = (SMALL, LESS)
        self.assertEqual(
            [(at(1), SMALL), (at(1, 12), LARGE), (at(2, 12), SMALL),
             (at(2, 12), LESS)],
            history.steps('charged', found, LESS, at(1), at(3)))

    def test_a_server_without_history(self):
        self.assertEqual([(at(1), SMALL)], history.steps(
            'charged', [], SMALL, at(1), at(3)))
        self.assertEqual([(at(3), SMALL)], history.steps(
            'charged', [], SMALL, None, at(3)))


class PictureTest(unittest.TestCase):

    def draw(self, **changes):
        status = {**nova.STATUS, **changes}
        return ElementTree.fromstring(picture.now(sizes.dimensions(status)))

    def test_now(self):
        drawn = self.draw()
        self.assertIn('vCPUs: 2 of 8, charged 3, minimum 2.',
                      drawn.get('aria-label'))
        bars = drawn.findall('.//{*}rect')
        self.assertEqual(4, len(bars))
        self.assertAlmostEqual(0.25, float(bars[1].get('width')) /
                               float(bars[0].get('width')), 2)

    def test_what_nobody_knows(self):
        """What it is to have says nothing about what it has."""
        drawn = self.draw(condition='Unknown', actual_vcpus=None)
        self.assertIn('vCPUs: unknown of 8, charged 3, minimum 2.',
                      drawn.get('aria-label'))
        self.assertIn('unknown now, 3 charged',
                      [text.text for text in drawn.findall('.//{*}text')])
        self.assertEqual(0, float(drawn.findall('.//{*}rect')[1].get('width')))

    def test_shut_off(self):
        self.assertIn('vCPUs: 0 of 8, charged 3', self.draw(
            actual_vcpus=0).get('aria-label'))

    def test_fixed(self):
        self.assertIn('vCPUs: 8 of 8', self.draw(
            actual_vcpus=None, **nova.FIXED).get('aria-label'))

    def test_more_than_the_maximum(self):
        bars = self.draw(actual_vcpus=16).findall('.//{*}rect')
        self.assertAlmostEqual(float(bars[0].get('width')),
                               float(bars[1].get('width')), 1)

    def test_over_time(self):
        found = history.changes(nova.ACTIONS)
        charged = history.steps('charged', found, LESS, at(1), at(3))
        desired = history.steps('desired', found, LARGE, at(1), at(3))
        drawn = ElementTree.fromstring(picture.over_time(
            'vcpus', 'vCPUs', 8, charged, desired, at(3)))
        line = drawn.find('.//{*}polyline').get('points').split()
        xs = [float(point.split(',')[0]) for point in line]
        self.assertEqual(sorted(xs), xs)
        # Up at a quarter of the time, down at three quarters, to the end.
        span = xs[-1] - xs[0]
        self.assertEqual([0, 0.25, 0.25, 0.75, 0.75, 1],
                         [round((x - xs[0]) / span, 2) for x in xs])

    def test_a_server_of_this_moment(self):
        step = [history.Step(at(3), SMALL)]
        drawn = picture.over_time('memory_mb', 'Memory', 4096, step, step,
                                  at(3))
        self.assertNotIn('nan', drawn)
        ElementTree.fromstring(drawn)


class SizesTest(unittest.TestCase):

    def test_slider_steps_reach_the_ends(self):
        for least, most, step in ((1024, 4096, 256), (1000, 4096, 8),
                                  (1023, 4096, 1)):
            memory = sizes.dimensions({
                **nova.STATUS, 'min_memory_mb': least,
                'max_memory_mb': most})[1]
            self.assertEqual(step, memory.slider_step)
