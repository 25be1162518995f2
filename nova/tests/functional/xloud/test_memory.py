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

"""What a guest needs of its memory is not taken, nor held against it."""

import contextlib
from unittest import mock

from nova import exception
from nova.tests.functional.api import client as api_client
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import scripted
from nova.xloud import notes
from nova.xloud import size

GROWN = size.Size(2, 6144)


class MemoryTestCase(adjust_base.AdjustTestCase):

    @contextlib.contextmanager
    def without_statistics(self):
        """The guest reports none, even if it is waited for."""
        def states(instances, wait=False, renew=False):
            return {self.server['id']: self.guest.state}

        self.guest.is_outdated = True
        with mock.patch.object(self.driver, 'get_elastic_guests', states):
            yield

    def assert_undone(self, most, **kwargs):
        """The guest is asked for more, and then its hypervisor fails."""
        real = scripted.Guest.ask

        def ask(guest, target):
            real(guest, target)
            guest.is_outdated = True
            if size.grows(guest.target, most):
                raise RuntimeError('internal error')

        self.guest.is_outdated = True
        with mock.patch.object(scripted.Guest, 'ask', ask):
            error = self.assertRaises(
                exception.ElasticConflict, self.adjust, **kwargs)
        self.assertIn('was undone', error.format_message())
        self.assertEqual(most, self.guest.target)

    def test_outdated_statistics_are_renewed(self):
        self.adjust(memory_mb=6144)
        self.guest.used_mb = 4000
        self.guest.is_outdated = True
        self.assert_refused('so 4128 MiB is the least', memory_mb=4127)
        self.guest.is_outdated = True
        self.adjust(memory_mb=4128)
        self.assert_books(size.Size(2, 4128), size.Size(2, 4128))

    def test_statistics_that_are_not_renewed_in_time(self):
        self.adjust(memory_mb=6144)
        with self.without_statistics():
            self.assert_refused('has just moved', memory_mb=4096)

    def test_the_statistic_that_is_missing_is_named(self):
        self.adjust(memory_mb=6144)
        self.guest.used_mb = None
        self.assert_refused('the statistic usable', memory_mb=4096)
        self.adjust(memory_mb=8192)
        status = self.api.api_get(
            '/os-xloud-adjust/%s' % self.server['id']).body['xloud_status']
        self.assertEqual(
            [('no_balloon_statistics', 'memory_mb')],
            [(blocker['code'], blocker['dimension'])
             for blocker in status['blockers']])
        self.assertIn('statistic usable', status['blockers'][0]['message'])

    def test_a_moving_balloon_is_no_blocker(self):
        self.guest.is_outdated = True
        status = self.api.api_get(
            '/os-xloud-adjust/%s' % self.server['id']).body['xloud_status']
        self.assertEqual([], status['blockers'])

    def shrink_partly(self):
        """The guest stops half way, as it needs more than at first."""
        self.adjust(memory_mb=6144)
        self.guest.behaviour = scripted.LATE
        self.adjust(memory_mb=2048)
        self.guest.held = size.Size(2, 4096)
        self.guest.used_mb = 4000

    def test_a_guest_that_needs_more_is_left_in_peace(self):
        self.shrink_partly()
        self.assertEqual(2048, self.guest.target.memory_mb)
        self.reconcile()
        self.assertEqual(4096, self.guest.target.memory_mb)
        # That is not what is desired: it may need less again.
        self.assert_books(base.MINIMUM, base.MINIMUM,
                          held=size.Size(2, 4096))
        self.guest.used_mb = 1000
        self.reconcile()
        self.guest.follow()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_it_keeps_what_it_needs_while_its_vcpus_change(self):
        """Even if nothing is known just then of what it needs."""
        self.shrink_partly()
        self.reconcile()
        self.guest.is_outdated = True
        self.adjust(vcpus=3)
        self.assertEqual(size.Size(3, 4096), self.guest.target)
        self.assert_undone(size.Size(3, 4096), vcpus=4)
        with self.without_statistics():
            self.reconcile()
        self.assertEqual(size.Size(3, 4096), self.guest.target)
        self.guest.behaviour = scripted.OBEDIENT
        self.guest.used_mb = 1000
        self.reconcile()
        self.assertEqual(size.Size(3, 2048), self.guest.held)

    def test_it_keeps_what_it_needs_after_it_stopped_reporting(self):
        """It has no time for its balloon because it has too little memory."""
        self.shrink_partly()
        self.reconcile()
        self.guest.has_balloon = False
        self.adjust(vcpus=3)
        self.assertEqual(size.Size(3, 4096), self.guest.target)
        self.reconcile()
        self.assertEqual(size.Size(3, 4096), self.guest.target)

    def test_it_takes_memory_that_nobody_asked_for(self):
        """It goes back as far as it can, as after a request."""
        self.wait()
        self.reconcile()
        self.guest.behaviour = scripted.LATE
        for is_still in (False, True):
            self.guest.held = size.Size(2, 2304)
            self.guest.used_mb = 2150
            self.guest.is_still = is_still
            self.reconcile()
            self.guest.is_still = False
            for _ in range(3):
                self.reconcile()
                self.assertEqual(2304, self.guest.target.memory_mb)
            self.guest.used_mb = 1000
            self.reconcile()
            self.assertEqual(2048, self.guest.target.memory_mb)
            self.guest.follow()
            self.wait()
            self.reconcile()

    def test_it_takes_memory_before_its_vcpus_fail(self):
        """What it may use then is not taken when the growth is undone."""
        real = scripted.Guest.ask

        def ask(guest, target):
            real(guest, target)
            if target.vcpus == 6:
                guest.used_mb, guest.has_balloon = 5000, reports
                raise RuntimeError('internal error')

        for reports in (True, False):
            with mock.patch.object(scripted.Guest, 'ask', ask):
                error = self.assertRaises(
                    exception.ElasticConflict, self.adjust, 6, 6144)
            self.assertIn('Its host will undo', error.format_message())
            self.assertEqual(size.Size(2, 6144), self.guest.target)
            self.guest.used_mb = 1000
            self.reconcile()
        self.guest.load_balloon()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_it_goes_on_giving_back_while_its_vcpus_change(self):
        self.adjust(memory_mb=6144)
        self.guest.behaviour = scripted.LATE
        self.adjust(memory_mb=2048)
        self.guest.is_outdated = True
        self.adjust(vcpus=3)
        self.assertEqual(size.Size(3, 2048), self.guest.target)

    def test_a_growth_that_fails_goes_back_to_what_it_kept(self):
        self.shrink_partly()
        self.reconcile()
        self.assert_undone(size.Size(2, 4096), memory_mb=5000)

    def test_what_is_given_up_is_asked_for_no_longer(self):
        self.shrink_partly()
        self.guest.behaviour = scripted.LATE
        self.wait()
        self.reconcile()
        held = size.Size(2, 4096)
        self.assertEqual(4096, self.guest.target.memory_mb)
        self.assert_books(held, base.MINIMUM, condition='Partial')
        self.assertIn('It needs 4128 MiB',
                      notes.outcome(self.instance(self.server))[1])
        # What it is asked for it has, so that nothing falls later.
        self.guest.used_mb = 100
        self.guest.follow()
        self.reconcile()
        self.assert_books(held, base.MINIMUM, condition='Partial')

    def test_the_hypervisor_is_away_when_it_is_given_up(self):
        self.shrink_partly()
        self.wait()
        with mock.patch.object(
                self.driver, 'set_elastic_guest', side_effect=ValueError):
            self.reconcile()
        held = size.Size(2, 4096)
        self.assertEqual(2048, self.guest.target.memory_mb)
        self.assert_books(held, base.MINIMUM, condition='Partial')
        self.reconcile()
        self.assertEqual(4096, self.guest.target.memory_mb)
        requests = len(self.driver.requests)
        self.reconcile()
        self.assertEqual(requests, len(self.driver.requests))

    def test_growth_that_is_given_up_does_not_come_later(self):
        self.guest.behaviour = scripted.LATE
        self.adjust(memory_mb=6144)
        self.wait()
        self.reconcile()
        self.guest.follow()
        self.reconcile()
        self.assert_books(base.MINIMUM, GROWN, condition='Partial')

    def test_growth_that_is_asked_for_at_once_does_not_come_later(self):
        """Nobody has seen this run of the guest before it was asked."""
        self.guest.start(base.MINIMUM)
        self.test_growth_that_is_given_up_does_not_come_later()

    def test_a_guest_gets_what_it_needs_to_boot(self):
        self.guest.start(base.MINIMUM)
        self.guest.held = size.Size(2, 3000)
        self.guest.used_mb = 2990
        self.reconcile()
        self.reconcile()
        self.assertEqual(size.Size(2, 3118), self.guest.held)
        # Within its time that costs nothing, and afterwards it goes back.
        self.assert_books(base.MINIMUM, base.MINIMUM, charge=base.MINIMUM,
                          held=size.Size(2, 3118))
        self.guest.used_mb = 500
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)


class LeastTestCase(adjust_base.AdjustTestCase):
    """128 MiB, 3/128 of 8192 MiB, 8 vCPUs, and 104 MiB for a high zone."""

    LEAST = 432

    def setUp(self):
        super().setUp()
        # The flavor was made before its minimum was refused.
        instance = self.instance(self.server)
        size.record(instance, base.MINIMUM, base.MINIMUM)
        instance.flavor.extra_specs['minimum_memory'] = '64'
        instance.save()

    def post(self, memory_mb):
        return self.api.api_post(
            '/os-xloud-adjust/%s' % self.server['id'],
            {'current_memory_mb': memory_mb},
            check_response_status=[202]).body['xloud_status']

    def assert_answer(self, text, memory_mb):
        before = self.books(self.server)
        error = self.assertRaises(
            api_client.OpenStackApiException, self.post, memory_mb)
        self.assertEqual(409, error.response.status_code)
        self.assertIn(text, str(error))
        self.assertEqual(before, self.books(self.server))

    def test_of_a_running_server(self):
        self.assert_answer('so 432 MiB is the least now', 431)
        self.post(self.LEAST)
        self.reconcile()
        least = size.Size(2, self.LEAST)
        self.assert_books(least, least)

    def test_of_a_server_that_is_shut_off(self):
        self._stop_server(self.server)
        self.assert_answer('432 MiB is the least for its next start', 256)
        self.post(self.LEAST)
        self.assertEqual(
            self.LEAST, size.boot(self.instance(self.server)).memory_mb)

    def test_what_is_held_passes(self):
        instance = self.instance(self.server)
        held = size.Size(2, 256)
        size.record(instance, held, held)
        instance.save()
        self._stop_server(self.server)
        self.assertEqual(256, self.post(256)['boot_memory_mb'])
        self.assertEqual(300, self.post(300)['boot_memory_mb'])
        self._start_server(self.server)
        self.reconcile()
        self.assertEqual(300, self.post(300)['desired_memory_mb'])
        self.assertEqual(400, self.post(400)['desired_memory_mb'])
