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

"""Adjust and reconcile on a compute, with a real database and Placement."""

import contextlib
import threading
import time
from unittest import mock

import fixtures
from oslo_concurrency import lockutils
from oslo_db import exception as db_exc
import oslo_messaging as messaging
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils
import sqlalchemy

from nova.compute import power_state
from nova.compute import task_states
from nova import exception
from nova import objects
from nova.scheduler.client import report
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import scripted
from nova.xloud import answer
from nova.xloud import books
from nova.xloud import guest as elastic_guest
from nova.xloud import noted
from nova.xloud import notes
from nova.xloud import rpcapi
from nova.xloud import size
from nova.xloud import task

GROWN = adjust_base.GROWN


class LiveTestCase(adjust_base.AdjustTestCase):

    def test_both_ways(self):
        found = self.adjust(6, 6144)
        self.assertEqual(
            answer.Answer(elastic_guest.GuestState(
                running=True, vcpus=6, memory_mb=6144, balloon_active=True,
                used_memory_mb=64, memory_pinned=False),
                left=answer.Left(GROWN, GROWN, GROWN)), found)
        self.assert_books(GROWN, GROWN)
        self.adjust(2)
        self.assert_books(size.Size(2, 6144), size.Size(2, 6144))
        self.adjust(memory_mb=2048)
        self.assert_books(base.MINIMUM, base.MINIMUM)
        # One shrinks while the other grows.
        self.adjust(8, 4096)
        self.adjust(4, 8192)
        self.assert_books(size.Size(4, 8192), size.Size(4, 8192))

    def test_not_persistent(self):
        self.adjust(6, 6144, persist=False)
        self.assert_books(GROWN, base.MINIMUM)
        # What is asked to persist is what is asked for now.
        self.adjust(4, persist=True)
        self.assert_books(size.Size(4, 6144), size.Size(4, 2048))
        self.assertEqual(size.Size(4, 2048), self.guest.config)

    def test_smaller_for_now(self):
        """What the next start gives stays charged."""
        self.adjust(6, 6144)
        self.adjust(2, 2048, persist=False)
        self.assert_books(base.MINIMUM, GROWN)

    def test_no_room(self):
        flavor = self.create_elastic_flavor(
            maximum=size.Size(2, 28672), minimum=size.Size(2, 28672))
        other = self.create_server(flavor)
        self.assert_refused('no room for 6 vCPUs, 6144 MiB', 6, 6144)
        self.assertEqual([], self.driver.requests)
        self.adjust(6)
        self.assert_books(size.Size(6, 2048), size.Size(6, 2048))
        self.assertEqual({'host1': size.Size(2, 28672)},
                         self.allocated(other['id']))

    def test_late(self):
        self.guest.behaviour = scripted.LATE
        found = self.adjust(6, 6144)
        self.assertEqual(2, found.guest.vcpus)
        self.assert_books(GROWN, GROWN, held=base.MINIMUM)
        self.reconcile()
        self.guest.follow()
        self.reconcile()
        self.assert_books(GROWN, GROWN)

        self.adjust(2, 2048)
        # Nothing that the guest still holds is released.
        self.assert_books(base.MINIMUM, base.MINIMUM, held=GROWN)
        self.guest.held = size.Size(3, 4096)
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM,
                          held=size.Size(3, 4096))
        self.guest.follow()
        self.wait()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_late_and_the_clock_is_set_back(self):
        self._check_that_it_has_its_time(-3600)

    def test_late_and_the_clock_is_set_forward(self):
        self._check_that_it_has_its_time(3600)

    def _check_that_it_has_its_time(self, seconds):
        """So has what it is asked for after the clock was set."""
        self.guest.behaviour = scripted.LATE
        self.adjust(6, 6144)
        self.set_clock(seconds)
        for target in (GROWN, size.Size(7, 7168)):
            self.reconcile()
            self.wait(self.SETTLE_TIMEOUT - 60)
            self.reconcile()
            self.assert_books(target, target, held=base.MINIMUM)
            self.wait(61)
            self.reconcile()
            self.assert_books(base.MINIMUM, target, condition='Partial')
            self.adjust(7, 7168)

    def handle_event(self):
        """The driver reports that the guest has changed."""
        self.compute.manager.handle_events(
            elastic_guest.GuestChangedEvent(self.server['id']))

    def test_an_event_settles_it_at_once(self):
        self.adjust(6, 6144)
        self.guest.behaviour = scripted.LATE
        self.adjust(2, 2048)
        self.guest.follow()
        self.handle_event()
        self.assert_books(base.MINIMUM, base.MINIMUM)
        # Of a server that is gone, nothing happens.
        self.compute.manager.handle_events(
            elastic_guest.GuestChangedEvent(uuids.gone))

    def test_an_event_while_somebody_looks(self):
        """What that one saw is older than the event."""
        self.adjust(6, 6144)
        self.guest.behaviour = scripted.LATE
        self.adjust(2, 2048)
        look = self.driver.get_elastic_guests
        others = []

        def look_late(*args, **kwargs):
            seen = look(*args, **kwargs)
            if not others:
                self.guest.follow()
                others.append(threading.Thread(target=self.handle_event))
                others[0].start()
                time.sleep(0.5)
            return seen

        with mock.patch.object(self.driver, 'get_elastic_guests', look_late):
            self.handle_event()
            others[0].join()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_an_event_after_the_last_look_of_an_adjust(self):
        """Nothing may follow, and the charge does not wait for a pass."""
        self.adjust(6, 6144)
        self.guest.behaviour = scripted.LATE
        carry_out = self.compute.manager._elastic._executor.carry_out
        events = []

        def settle(*args, **kwargs):
            carry_out(*args, **kwargs)
            if not events:
                self.guest.follow()
                events.append(threading.Thread(target=self.handle_event))
                events[0].start()
                time.sleep(0.5)

        with mock.patch.object(
                self.compute.manager._elastic._executor, 'carry_out', settle):
            self.adjust(2, 2048)
            events[0].join()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_an_event_and_another_writer(self):
        """Who writes first may not look at the guest."""
        self.adjust(6, 6144)
        self.guest.behaviour = scripted.LATE
        self.adjust(2, 2048)
        self.guest.follow()
        carry_out = self.compute.manager._elastic._executor.carry_out
        conflicts = [exception.InstanceUpdateConflict(
            instance_uuid=self.server['id'], expected={}, actual={})]

        def settle(*args, **kwargs):
            if conflicts:
                raise conflicts.pop()
            carry_out(*args, **kwargs)

        with mock.patch.object(
                self.compute.manager._elastic._executor, 'carry_out', settle):
            self.handle_event()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_an_event_that_waits_for_others(self):
        """It waits as long as the last of them would."""
        reconciler = self.compute.manager._elastic
        instance = self.instance(self.server)
        now = 0
        looked_at = []

        def look(context, instance):
            looked_at.append(now)
            return now >= 20

        def handle_event():
            reconciler._reconcile_after_event(None, instance)

        def sleep(seconds):
            nonlocal now
            now += 4
            if now == 12:
                handle_event()

        with mock.patch.object(reconciler, 'reconcile_server', look), (
                mock.patch('nova.xloud.reconcile.time', mock.Mock(
                    monotonic=lambda: now, sleep=sleep))):
            handle_event()
        self.assertEqual([0, 4, 8, 12, 12, 16, 20], looked_at)
        self.assertEqual({}, reconciler._waiting)

    def test_asked_again_after_a_failure(self):
        self.adjust(6, 6144)
        self.guest.behaviour = scripted.LOST
        self.adjust(2, 2048)
        for failure in (scripted.FAILING, scripted.REFUSING):
            self.guest.behaviour = failure
            self.reconcile()
        self.guest.behaviour = scripted.LATE
        asked = len(self.driver.requests)
        # Once: the hypervisor waits for a vCPU, each time for seconds.
        for _ in range(2):
            self.reconcile()
            self.assertEqual(asked + 1, len(self.driver.requests))
        self.guest.follow()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_growth_is_lost(self):
        self.guest.behaviour = scripted.LOST
        self.adjust(6, 6144, persist=False)
        self.wait(self.SETTLE_TIMEOUT - 60)
        self.reconcile()
        self.assert_books(GROWN, base.MINIMUM, held=base.MINIMUM)
        self.wait(60)
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM, condition='Partial')
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM, condition='Partial')
        # Another try forgets it.
        self.guest.behaviour = scripted.OBEDIENT
        self.adjust(6, 6144)
        self.assert_books(GROWN, GROWN)

    def test_shrink_is_lost(self):
        self.adjust(6, 6144)
        self.guest.behaviour = scripted.LOST
        self.adjust(2, 2048)
        self.wait()
        self.reconcile()
        self.assert_books(GROWN, base.MINIMUM, condition='Partial')

    def test_vcpus_that_nobody_brings_online(self):
        """They are plugged and charged, and the guest says it has fewer."""
        self.guest.online_vcpus = 2
        self.adjust(6)
        larger = size.Size(6, 2048)
        status = self.status()
        self.assertEqual(('InProgress', 6, 2), (
            status['condition'], status['actual_vcpus'],
            status['online_vcpus']))
        self.assert_books(larger, larger)
        self.reconcile()
        self.assert_noted('InProgress')
        self.wait()
        self.reconcile()
        self.assert_books(larger, larger)
        reason = 'The guest has 6 vCPUs and uses 2'
        self.assert_noted('Partial', reason)
        self.useFixture(fixtures.MonkeyPatch(
            'nova.xloud.status.timeutils', mock.Mock(
                utcnow=lambda: timeutils.utcnow() + self.later)))
        status = self.status()
        self.assertEqual('Partial', status['condition'])
        self.assertIn(reason, status['reason'])
        last = next(
            found for found in
            self.api.get_instance_actions(self.server['id'])
            if found['action'] == 'xloud_adjust')
        self.assertIn(reason, str(self.api.get_instance_action_details(
            self.server['id'], last['request_id'])['events']))

        # Neither helps it, and neither makes it Settled.
        for stop, go_on in (
                (self._suspend_server, self._resume_server),
                ({'pause': None}, {'unpause': None})):
            for act in stop, go_on:
                if callable(act):
                    act(self.server)
                else:
                    self.api.post_server_action(self.server['id'], act)
                    self._wait_for_state_change(
                        self.server,
                        'PAUSED' if act is stop else 'ACTIVE')
                self.reconcile()
                self.assert_noted('Partial', reason)
                self.assertEqual('Partial', self.status()['condition'])

        self.guest.online_vcpus = 6
        status = self.status()
        self.assertEqual(('Settled', None, 6), (
            status['condition'], status['reason'], status['online_vcpus']))
        self.reconcile()
        self.assert_noted('Settled')

    def test_vcpus_that_were_not_online_before_a_change(self):
        """That says nothing of the next change, whose end nobody sees."""
        self.guest.online_vcpus = 2
        self.adjust(4)
        self.wait()
        self.reconcile()
        self.assert_noted('Partial', 'uses 2')

        def go_away(target):
            self.driver.is_away = True

        with mock.patch.object(self.guest, 'ask', go_away):
            self.adjust(6)
        self.assert_noted('InProgress')

    def test_vcpus_that_go_offline_shortly_after_a_change(self):
        """The list says that it is not over, as the status does."""
        self.guest.online_vcpus = 6
        self.adjust(6)
        self.assert_noted('Settled')
        self.guest.online_vcpus = 2
        self.reconcile()
        self.assertEqual('InProgress', self.status()['condition'])
        self.assert_noted('InProgress')
        self.guest.online_vcpus = 6
        self.reconcile()
        self.assert_noted('Settled')

    def assert_noted(self, condition, reason=''):
        """What a list of servers shows."""
        found, why = noted.of(self.instance(self.server).system_metadata)
        self.assertEqual(condition, found)
        self.assertIn(reason, why or '')

    def test_a_lost_request_is_made_again(self):
        self.guest.behaviour = scripted.LOST
        self.adjust(6, 6144)
        self.guest.behaviour = scripted.OBEDIENT
        self.reconcile()
        self.assert_books(GROWN, GROWN)

    def test_guest_refuses(self):
        for behaviour, text in ((scripted.REFUSING, 'would rather not'),
                                (scripted.FAILING, 'hypervisor failed')):
            self.guest.behaviour = behaviour
            error = self.assertRaises(
                exception.ElasticConflict, self.adjust, 6, 6144)
            self.assertIn(text, error.format_message())
            self.assertIn('undo', error.format_message())
            self.guest.behaviour = scripted.OBEDIENT
            self.reconcile()
            self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_guest_refuses_also_to_go_back(self):
        """What was claimed for it is given up, as nothing will happen."""
        self.adjust(6, 6144)
        self.guest.behaviour = scripted.LOST
        self.adjust(2, 2048)
        self.guest.behaviour = scripted.REFUSING
        error = self.assertRaises(
            exception.ElasticConflict, self.adjust, 8, 8192)
        self.assertIn('as soon as it can', error.format_message())
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM, held=GROWN)

    def test_its_configuration_was_edited(self):
        """A refused change leaves nothing, not even until a hard reboot."""
        for asked in (2, 2048), (8, 8192):
            self.guest.is_config_edited = False
            self.adjust(6, 6144)
            self.guest.is_config_edited = True
            for persist in True, False:
                error = self.assertRaises(
                    exception.ElasticConflict, self.adjust, *asked,
                    persist=persist)
                self.assertIn('edited. The change was undone', str(error))
                self.assert_books(GROWN, GROWN)
                self.assert_noted('Settled')
                self.assertEqual('Settled', self.status()['condition'])

    def test_an_operation_has_overwritten_its_configuration(self):
        """That is known after a restart, too, until it is corrected."""
        self.adjust(4, 4096)
        # Also while its guest is held up
        for self.guest.is_busy in False, True:
            self.wait()
            self.guest.config = size.Size(6, 6144)
            self.guest.has_stale_config = True
            self.assertEqual('InProgress', self.status()['condition'])
            self.guest.behaviour = scripted.BUSY
            self.reconcile()
            self.compute = self.restart_compute_service(self.compute)
            self.guest.has_stale_config = self.guest.is_busy = False
            self.assertEqual('InProgress', self.status()['condition'])
            self.assertIn('size of the next start', self.status()['reason'])
            self.guest.behaviour = scripted.OBEDIENT
            self.reconcile()
            self.assertEqual(size.Size(4, 4096), self.guest.config)
            self.assert_noted('Settled')

    def test_the_configuration_of_a_restless_guest_is_overwritten(self):
        """It is noted, although other changes of it wait."""
        self.wait()
        self.reconcile()
        leisure = self.compute.manager._elastic.memos[
            self.server['id']].leisure
        for _ in range(2):
            leisure.note(self.instance(self.server), 0)
        self.guest.is_still = self.guest.has_stale_config = True
        self.reconcile()
        self.compute = self.restart_compute_service(self.compute)
        self.guest.is_still = self.guest.has_stale_config = False
        self.assertIn('size of the next start', self.status()['reason'])

    def test_its_host_changes_other_servers(self):
        """Nothing was begun, so nothing is left of it."""
        with mock.patch.object(
                self.driver, 'set_elastic_guest',
                side_effect=elastic_guest.HostBusy(reason='Others first.')):
            error = self.assertRaises(
                exception.ElasticConflict, self.adjust, 8, 8192)
        self.assertIn('Others first. The change was undone', str(error))
        self.assert_books(base.MINIMUM, base.MINIMUM)
        self.assert_noted('Settled')

    def _become_partial(self):
        """It keeps 6 vCPUs and 6144 MiB of which it was to give back."""
        self.adjust(6, 6144)
        self.guest.behaviour = scripted.LOST
        self.adjust(2, 2048)
        self.wait()
        self.reconcile()

    def test_a_change_after_a_partial_one_is_refused(self):
        """What became of the one before is still to be seen."""
        self._become_partial()
        outcome = notes.outcome(self.instance(self.server))
        self.assertEqual('Partial', outcome[0])
        for behaviour, is_edited in (
                (scripted.OBEDIENT, True), (scripted.REFUSING, False)):
            self.guest.behaviour = behaviour
            self.guest.is_config_edited = is_edited
            error = self.assertRaises(
                exception.ElasticConflict, self.adjust, 8)
            self.assertIn('The change was undone', str(error))
            self.reconcile()
            status = self.status()
            self.assertEqual(outcome, (status['condition'], status['reason']))
            self.assertEqual(
                outcome, notes.outcome(self.instance(self.server)))
        # After a start, it is about another run of the guest.
        self.guest.behaviour = scripted.OBEDIENT
        self._reboot_server(self.server, hard=True)
        self.guest.behaviour = scripted.REFUSING
        self.assertRaises(exception.ElasticConflict, self.adjust, 8)
        self.assertEqual('Settled', self.status()['condition'])

    def test_a_change_after_a_partial_one_is_undone_late(self):
        """Its guest has the time for that, and nobody says that it ended."""
        self._become_partial()
        self.assert_noted('Partial')

        def plug(guest, target):
            guest.held = size.Size(8, 6144)
            raise exception.ElasticGuestRefused(reason='It has no memory.')

        steps, ask = iter([plug]), scripted.Guest.ask
        self.useFixture(fixtures.MockPatchObject(
            scripted.Guest, 'ask', lambda guest, target: next(steps, ask)(
                guest, target)))
        self.assertRaises(
            exception.ElasticConflict, self.adjust, 8, 8192)
        self.guest.is_still = True
        for _ in range(2):
            self.assert_noted('InProgress')
            self.assertEqual('InProgress', self.status()['condition'])
            self.reconcile()
            self.wait()
        self.guest.is_still = False
        self.reconcile()
        self.assertEqual(size.Size(6, 6144), size.desired(
            self.instance(self.server)))
        self.guest.follow()
        self.reconcile()
        self.assert_books(size.Size(6, 6144), base.MINIMUM)

    def test_hypervisor_goes_away_after_the_claim(self):
        def leave(*args):
            self.driver.is_away = True
            raise exception.HypervisorUnavailable(host='host1')

        with mock.patch.object(self.driver, 'set_elastic_guest', leave):
            error = self.assertRaises(
                exception.ElasticConflict, self.adjust, 6, 6144)
        self.assertIn('as soon as it can', error.format_message())
        self.assert_idle()
        self.reconcile()
        self.driver.is_away = False
        self.reconcile()
        # What was refused is not made up for.
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_the_undo_cannot_be_recorded(self):
        ledger = self.compute.manager._elastic._executor.ledger
        self.guest.behaviour = scripted.FAILING
        with mock.patch.object(
                ledger, 'save', wraps=ledger.save,
                side_effect=[mock.DEFAULT, exception.NovaException()]):
            # It is not refused, as it is not undone.
            self.assertIsNone(self.adjust(6, 6144))
        self.guest.behaviour = scripted.OBEDIENT
        self.reconcile()
        self.reconcile()
        self.assert_books(GROWN, GROWN)

    def test_hypervisor_does_not_answer(self):
        self.driver.is_away = True
        self.assert_refused('does not answer', 6, 6144)
        with self.cell() as cell:
            self.assertRaises(
                exception.ElasticConflict, rpcapi.XloudAPI().guest_state,
                cell, self.instance(self.server))

    def test_guest_has_gone_to_the_other_host(self):
        """What it holds is not known there, which is not nothing."""
        self.guest.host = 'host2'
        instance = self.instance(self.server)
        instance.task_state = 'migrating'
        with self.cell() as cell:
            found = rpcapi.XloudAPI().guest_state(cell, instance)
        self.assertIsNone(found.guest)

    def test_placement_does_not_take_the_release(self):
        self.adjust(6, 6144)
        with mock.patch.object(
                report.SchedulerReportClient, 'put',
                return_value=mock.Mock(status_code=500, text='')):
            self.adjust(2, 2048)
        self.assertEqual({'host1': GROWN}, self.allocated(self.server['id']))
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_database_goes_away_after_the_claim(self):
        away = db_exc.DBConnectionError()
        save = objects.Instance.save

        def cannot_give_back(instance, expected_task_state=None, **kwargs):
            if expected_task_state == ['resize_prep']:
                raise away
            save(instance, expected_task_state=expected_task_state, **kwargs)

        with mock.patch.object(
                self.compute.manager.rt, 'xloud_recount', side_effect=away), \
                mock.patch.object(objects.Instance, 'save', cannot_give_back):
            self.assertRaises(
                db_exc.DBConnectionError, self.adjust, 6, 6144)
            self.reconcile()
        self.assertEqual(
            'resize_prep', self.instance(self.server).task_state)
        # Its nova-api may still be at it.
        self.reconcile()
        self.assertEqual(
            'resize_prep', self.instance(self.server).task_state)
        with mock.patch.object(task, 'PATIENCE', 0):
            self.reconcile()
        self.assert_idle()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_somebody_moved_the_allocation(self):
        url = '/allocations/%s' % self.server['id']
        body = self.placement.get(url, version='1.28').body
        for allocation in body['allocations'].values():
            allocation['resources']['VCPU'] = 1
        self.placement.put(url, body, version='1.28')
        self.assert_refused('not what it is charged', 6)
        self.reconcile()
        self.adjust(6)
        self.assert_books(size.Size(6, 2048), size.Size(6, 2048))

    def test_memory_in_use(self):
        self.adjust(memory_mb=6144)
        self.guest.used_mb = 4000
        self.assert_refused('4128 MiB is the least', memory_mb=4127)
        self.adjust(memory_mb=4128)
        self.guest.has_balloon = False
        self.assert_refused('no memory statistics', memory_mb=4096)
        self.adjust(vcpus=4)
        self.guest.memory_pinned = True
        self.assert_refused('passed-through', memory_mb=8192)

    def test_something_else_happens(self):
        instance = self.instance(self.server)
        instance.task_state = task_states.IMAGE_SNAPSHOT
        instance.save()
        error = self.assertRaises(
            exception.ElasticConflict, self.adjust, 6)
        self.assertIn('another operation', error.format_message())
        # It keeps its task.
        self.assertEqual(task_states.IMAGE_SNAPSHOT,
                         self.instance(self.server).task_state)
        self.reconcile()
        self.assertEqual(task_states.IMAGE_SNAPSHOT,
                         self.instance(self.server).task_state)

    def test_another_host(self):
        with mock.patch.object(self.compute.manager, 'host', 'host9'):
            self.assert_refused('moved to another host', 6)

    def test_deleted_meanwhile(self):
        def delete(*args):
            self.api.delete_server(self.server['id'])
            self._wait_for_server_parameter(
                self.server, {'OS-EXT-STS:task_state': 'deleting'})

        with mock.patch.object(
                self.driver, 'set_elastic_guest', side_effect=delete):
            self.adjust(6, 6144)
        self._wait_until_deleted(self.server)
        self.assert_nothing_left(self.server['id'])
        self.reconcile()

    def test_deleted_before(self):
        instance = self.instance(self.server)
        self._delete_server(self.server)
        with self.cell() as cell:
            request = rpcapi.Request.about(
                instance, 'token', vcpus=6, memory_mb=None, persist=True)
            self.assertRaises(
                exception.InstanceNotFound, task.take, cell, instance,
                'token')
            self.assertRaises(
                exception.InstanceNotFound, rpcapi.XloudAPI().adjust, cell,
                instance, request)
        self.assert_nothing_left(self.server['id'])

    def test_instance_action(self):
        self.adjust(4)
        with self.cell() as cell:
            actions = objects.InstanceActionList.get_by_instance_uuid(
                cell, self.server['id'])
            events = objects.InstanceActionEventList.get_by_action(
                cell, actions[0].id)
        self.assertEqual(['compute_adjust'], [e.event for e in events])
        self.assertEqual(['Success'], [e.result for e in events])

    def test_instance_action_of_a_late_guest(self):
        self.guest.behaviour = scripted.LATE
        self.adjust(6, 6144)
        self.reconcile()
        self.assert_told(None)
        self.guest.follow()
        self.reconcile()
        self.assert_told('Success')
        self.adjust(2, 2048)
        self.assert_told(None)
        self.guest.held = size.Size(6, 4096)
        self.wait()
        self.reconcile()
        self.assert_told('Error', 'It did not give back vCPUs.')
        # What comes then is no answer to a request any more.
        self.guest.follow()
        self.reconcile()
        self.assert_told('Error', 'It did not give back vCPUs.')

    def test_instance_action_of_a_guest_that_starts_anew(self):
        self.guest.behaviour = scripted.LOST
        self.adjust(6, 6144, persist=False)
        self.driver.reboot(None, self.instance(self.server), None, 'HARD')
        self.reconcile()
        self.wait()
        self.reconcile()
        self.assert_told(None)
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def assert_told(self, result, text=''):
        """How the last adjust ended after its answer, None for not yet."""
        with self.cell() as cell:
            actions = [
                found for found in
                objects.InstanceActionList.get_by_instance_uuid(
                    cell, self.server['id'])
                if found.action == 'xloud_adjust']
            events = objects.InstanceActionEventList.get_by_action(
                cell, actions[0].id)
        self.assertEqual(result and [result], [
            event.result for event in events
            if event.event == 'compute_settle'] or None)
        if text:
            self.assertIn(text, events[0].details)

    def settlements(self):
        """How the sizes have changed, the last time first.

        nova-api does not say so for the requests of these tests.
        """
        with self.cell() as cell:
            found = objects.InstanceActionList.get_by_instance_uuid(
                cell, self.server['id'])
        return [action.message for action in sorted(
            found, key=lambda action: action.start_time, reverse=True)
            if action.action == 'xloud_settle']

    def test_history_of_sizes(self):
        self.adjust(6, 6144)
        self.guest.behaviour = scripted.LATE
        self.adjust(2, 2048)
        self.reconcile()
        self.assertEqual([], self.settlements())
        self.guest.follow()
        self.reconcile()
        self.assertEqual(
            ['charged 6 vCPUs, 6144 MiB -> 2 vCPUs, 2048 MiB'],
            self.settlements())
        self.reconcile()
        self.assertEqual(1, len(self.settlements()))
        self.guest.behaviour = scripted.LOST
        self.adjust(4)
        self.wait()
        self.reconcile()
        self.assertEqual(
            'desired 4 vCPUs, 2048 MiB -> 2 vCPUs, 2048 MiB',
            self.settlements()[0])

    def test_the_billing_period_ends_before(self):
        told = []

        def tell(notifier, ctxt, instance, host, **kwargs):
            told.append((instance.vcpus, instance.memory_mb, kwargs))

        self.useFixture(fixtures.MonkeyPatch(
            'nova.compute.utils.notify_usage_exists', tell))
        self.adjust(6, 6144)
        self.adjust(6, 6144)
        self.adjust(2, 2048)
        self.assertEqual([(*base.MINIMUM, {'current_period': True}),
                          (*GROWN, {'current_period': True})], told)


class ShutOffTestCase(adjust_base.AdjustTestCase):

    def test_the_next_start_gives_it(self):
        self.api.post_server_action(self.server['id'], {'os-stop': None})
        self._wait_for_state_change(self.server, 'SHUTOFF')
        self.adjust(6, 6144)
        self.assertEqual(GROWN, self.guest.config)
        self.assert_charged(self.server, GROWN, 'host1')
        self.adjust(4, 4096)
        self.assert_charged(self.server, size.Size(4, 4096), 'host1')
        self.assert_refused('Set persist to true', 6, persist=False)

        self.api.post_server_action(self.server['id'], {'os-start': None})
        self._wait_for_state_change(self.server, 'ACTIVE')
        self.assert_books(size.Size(4, 4096), size.Size(4, 4096))

    def test_an_older_server_is_listed_when_it_has_run(self):
        """The books of a server that is older than the series."""
        def listed():
            return [server['id'] for server in self.api.api_get(
                '/os-xloud-adjust').body['xloud_servers']]

        instance = self.instance(self.server)
        size.close_books(instance, size.charged(instance))
        books.save(instance, expected_task_state=[None])
        self._stop_server(self.server)
        self.reconcile()
        self.assertEqual([], listed())
        self._start_server(self.server)
        self.reconcile()
        self.assertEqual([self.server['id']], listed())
        self.assert_books(base.MINIMUM, base.MINIMUM)


class StartTestCase(adjust_base.AdjustTestCase):

    def reboot(self, kind='HARD'):
        self._reboot_server(self.server, hard=kind == 'HARD')

    def test_a_reboot_gives_the_boot_size(self):
        for kind in ('HARD', 'SOFT'):
            self.adjust(6, 6144, persist=False)
            self.reboot(kind)
            self.assert_books(base.MINIMUM, base.MINIMUM)
            self.adjust(4, 4096, persist=True)
            self.reboot(kind)
            self.assert_books(size.Size(4, 4096), size.Size(4, 4096))
            self.adjust(2, 2048)

    def test_a_start_that_nobody_told_of(self):
        self.adjust(6, 6144, persist=False)
        self.guest.start(base.MINIMUM)
        self.assert_books(GROWN, base.MINIMUM, held=base.MINIMUM)
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_adjusted_right_after_such_a_start(self):
        self.adjust(6, 6144, persist=False)
        self.guest.start(base.MINIMUM)
        self.adjust(3, persist=False)
        self.assert_books(size.Size(3, 2048), base.MINIMUM)

    def _settle_and_watch_bills(self):
        self.adjust(4, 4096)
        self.wait()
        self.reconcile()
        told = []
        self.useFixture(fixtures.MonkeyPatch(
            'nova.compute.utils.notify_usage_exists',
            lambda notifier, ctxt, instance, host, **kwargs: told.append(
                size.charged(instance))))
        return told

    def test_a_reset_from_inside(self):
        """It is no start, and soon holds again what it held."""
        asked, full = size.Size(4, 4096), size.Size(4, 8192)
        bills = self._settle_and_watch_bills()
        self.guest.behaviour = scripted.LATE
        self.guest.reset()
        self.assertEqual('InProgress', self.status()['condition'])
        self.reconcile()
        self.assert_books(asked, asked, charge=asked, held=full)
        self.assertEqual('InProgress', self.status()['condition'])
        self.guest.load_balloon()
        self.reconcile()
        self.assert_books(asked, asked)
        self.assertEqual('Settled', self.status()['condition'])
        self.assertEqual([], bills)

    def test_a_guest_that_strays(self):
        """It is charged at once and asked to come back, as long as that."""
        asked, full = size.Size(4, 4096), size.Size(4, 8192)
        self._settle_and_watch_bills()
        self.guest.behaviour = scripted.LOST
        self.guest.held = full
        self.assertEqual('InProgress', self.status()['condition'])
        self.reconcile()
        self.assert_books(asked, asked, held=full)
        self.assertEqual(asked, self.driver.requests[-1][1])
        self.assertEqual('InProgress', self.status()['condition'])
        self.wait()
        self.reconcile()
        self.assert_books(full, asked, condition='Partial')

        self.adjust(4, 4096)
        self.guest.behaviour = scripted.OBEDIENT
        self.reconcile()
        self.assert_books(asked, asked)

    def test_no_guest_where_one_should_run(self):
        """It may run elsewhere: only a power sync says that it does not."""
        self.adjust(6, 6144, persist=False)
        self.driver.instances[self.server['id']].state = power_state.SHUTDOWN
        self.wait()
        self.reconcile()
        self.assert_charged(self.server, GROWN, 'host1')
        status = self.status()
        self.assertEqual(
            ('Unknown', None, {'guest_missing'}),
            (status['condition'], status['actual_vcpus'],
             {blocker['code'] for blocker in status['blockers']}))
        # The same that the status says
        self.assert_refused(status['blockers'][0]['message'], 4, 4096)

        self.api.post_server_action(self.server['id'], {'os-stop': None})
        self._wait_for_state_change(self.server, 'SHUTOFF')
        self.reconcile()
        self.assert_charged(self.server, base.MINIMUM, 'host1')

    def test_a_claim_is_given_up_while_no_guest_runs(self):
        self.adjust(6, 6144, persist=False)
        with self.cell() as cell:
            instance = self.instance(self.server)
            request = rpcapi.Request.about(instance, 'a-token', 8, 8192, True)
            task.take(cell, instance, request.token)
            rpcapi.XloudAPI().claim(cell, instance, request)
            guest = self.driver.instances[self.server['id']]
            guest.state = power_state.SHUTDOWN
            rpcapi.XloudAPI().release(cell, instance, request)
            self.assert_charged(self.server, base.MAXIMUM, 'host1')
            guest.state = power_state.RUNNING
            rpcapi.XloudAPI().release(cell, instance, request)
        self.assert_charged(self.server, GROWN, 'host1')

    def test_stopped_and_started(self):
        self.adjust(6, 6144, persist=False)
        self.api.post_server_action(self.server['id'], {'os-stop': None})
        self._wait_for_state_change(self.server, 'SHUTOFF')
        self.reconcile()
        self.assert_charged(self.server, base.MINIMUM, 'host1')
        self.api.post_server_action(self.server['id'], {'os-start': None})
        self._wait_for_state_change(self.server, 'ACTIVE')
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_the_balloon_driver_loads(self):
        self.driver.starts_with_balloon = False
        self.reboot()
        full = size.Size(2, base.MAXIMUM.memory_mb)
        self.assert_books(base.MINIMUM, base.MINIMUM, base.MINIMUM, full)
        self.assert_refused('no memory statistics', memory_mb=4096)
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM, base.MINIMUM, full)
        self.guest.load_balloon()
        self.wait()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def run_without_balloon_driver(self):
        """It holds all of its memory, and its time is over."""
        self.driver.starts_with_balloon = False
        self.reboot()
        self.wait()
        self.reconcile()

    def test_no_balloon_driver_loads(self):
        self.run_without_balloon_driver()
        full = size.Size(2, base.MAXIMUM.memory_mb)
        self.assert_books(full, base.MINIMUM, condition='Partial')
        self.guest.load_balloon()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_a_balloon_driver_that_loads_late_is_seen_at_work(self):
        self.run_without_balloon_driver()
        target = self.guest.target
        self.guest.has_balloon = True
        self.guest.held = size.Size(2, base.MAXIMUM.memory_mb // 2)
        self.reconcile()
        self.assertEqual(target, self.guest.target)
        self.guest.load_balloon()
        self.wait()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def load_balloon_in_part(self):
        """Its driver loads, and is on its way.

        :returns: what its guest holds now
        """
        self.guest.has_balloon = True
        self.guest.held = size.Size(2, base.MAXIMUM.memory_mb - 1024)
        return self.guest.held

    def test_a_balloon_driver_that_loads_late_takes_nothing_in_use(self):
        self.run_without_balloon_driver()
        held = self.load_balloon_in_part()
        self.guest.is_outdated = True
        self.guest.used_mb = held.memory_mb - 100
        self.reconcile()
        self.assert_books(held, base.MINIMUM, condition='Partial')
        self.assertEqual(held, self.guest.target)
        # That was the end of its start.
        self.guest.used_mb = 64
        requests, books = self.driver.requests[:], self.books(self.server)
        self.reconcile()
        self.assertEqual(requests, self.driver.requests)
        self.assertEqual(books, self.books(self.server))

    def test_a_late_balloon_driver_is_seen_where_its_guest_is_squeezed(self):
        """Nobody knew what it uses when it was looked at before."""
        self.run_without_balloon_driver()
        held = self.load_balloon_in_part()
        self.guest.used_mb = None
        self.reconcile()
        self.assertEqual(base.MINIMUM, self.guest.target)
        self.guest.used_mb = held.memory_mb - 10
        self.reconcile()
        # It gets what it uses, and its reserve.
        enough = held._replace(memory_mb=held.memory_mb + 118)
        self.assertEqual(enough, self.guest.target)
        self.assert_books(enough, base.MINIMUM, condition='Partial')

    def test_a_late_balloon_driver_takes_turns_with_the_kernel(self):
        """So nobody knows what the guest uses, but that nothing is left."""
        self.run_without_balloon_driver()
        held = self.load_balloon_in_part()
        self.guest.used_mb, self.guest.is_squeezed = None, True
        self.reconcile()
        enough = held._replace(memory_mb=held.memory_mb + 128)
        self.assertEqual(enough, self.guest.target)
        self.assert_books(enough, base.MINIMUM, condition='Partial')

    def test_no_balloon_driver_loads_and_it_is_paused(self):
        self.driver.starts_with_balloon = False
        self.reboot()
        self.api.post_server_action(self.server['id'], {'pause': None})
        self._wait_for_state_change(self.server, 'PAUSED')
        self.wait()
        self.reconcile()
        full = size.Size(2, base.MAXIMUM.memory_mb)
        # It can give nothing back now, and is charged what it holds.
        self.assert_books(base.MINIMUM, base.MINIMUM, charge=full, held=full)
        self.assertEqual('InProgress', self.status()['condition'])
        self.unpause()
        self.reconcile()
        self.wait()
        self.reconcile()
        self.assert_books(full, base.MINIMUM, condition='Partial')

    def unpause(self):
        self.api.post_server_action(self.server['id'], {'unpause': None})
        self._wait_for_state_change(self.server, 'ACTIVE')

    def test_it_is_paused_on_its_way_down(self):
        self.adjust(*GROWN)
        self.guest.behaviour = scripted.LATE
        self.adjust(*base.MINIMUM)
        self.api.post_server_action(self.server['id'], {'pause': None})
        self._wait_for_state_change(self.server, 'PAUSED')
        for _ in range(3):
            self.reconcile()
            self.wait()
            books = self.books(self.server)
            self.assert_books(base.MINIMUM, base.MINIMUM, held=GROWN)
            self.assertEqual('InProgress', self.status()['condition'])
        self.reconcile()
        self.assertEqual(books, self.books(self.server))

        # Its time begins anew, also if the compute service has.
        self.compute = self.restart_compute_service(self.compute)
        self.reconcile()
        self.unpause()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM, held=GROWN)
        self.assertEqual('InProgress', self.status()['condition'])
        self.guest.follow()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)
        self.assertEqual('Settled', self.status()['condition'])

    def test_its_time_passes_while_it_can_do_nothing(self):
        for action, state, back in (
                ('pause', 'PAUSED', 'unpause'),
                ('suspend', 'SUSPENDED', 'resume')):
            self.guest.behaviour = scripted.OBEDIENT
            self.adjust(*GROWN)
            self.guest.behaviour = scripted.LATE
            self.adjust(*base.MINIMUM)
            self.api.post_server_action(self.server['id'], {action: None})
            self._wait_for_state_change(self.server, state)
            self.wait()
            # Neither does this depend on a look at it meanwhile.
            self.compute = self.restart_compute_service(self.compute)
            self.api.post_server_action(self.server['id'], {back: None})
            self._wait_for_state_change(self.server, 'ACTIVE')
            self._check_that_it_has_its_time()

    def _check_that_it_has_its_time(self):
        """A guest that was held up and does not shrink, from now on."""
        for _ in range(2):
            self._wait_for_assert(lambda: self.assertEqual(
                'InProgress', self.status()['condition']))
            self.assert_books(base.MINIMUM, base.MINIMUM, held=GROWN)
            self.reconcile()
        self.wait()
        self.reconcile()
        self.assert_books(GROWN, base.MINIMUM, condition='Partial')

    def test_its_time_passes_while_its_image_is_taken(self):
        self.adjust(*GROWN)
        self.guest.behaviour = scripted.LATE
        self.adjust(*base.MINIMUM)
        snapshot = self.driver.snapshot

        def take_long(*args):
            snapshot(*args)
            self.wait()
            self.reconcile()
            self.assertEqual('InProgress', self.status()['condition'])

        with mock.patch.object(self.driver, 'snapshot', take_long):
            self.api.post_server_action(
                self.server['id'], {'createImage': {'name': 'image'}})
            self._wait_for_server_parameter(
                self.server, {'OS-EXT-STS:task_state': None})
        self._check_that_it_has_its_time()

    def test_its_time_passes_while_it_is_still(self):
        """Somebody else paused it, or its hypervisor does not answer."""
        def hold(is_held):
            self.guest.is_still = is_held

        def hang(is_hung):
            # For how long is not known yet.
            self.guest.is_busy = is_hung

        def leave(is_away):
            self.driver.is_away = is_away

        for stop in (hold, hang, leave):
            self.guest.behaviour = scripted.OBEDIENT
            self.adjust(*GROWN)
            self.guest.behaviour = scripted.LATE
            self.adjust(*base.MINIMUM)
            stop(True)
            asked = len(self.driver.requests)
            for _ in range(2):
                self.wait()
                self.reconcile()
            self.assertEqual(
                'Unknown' if self.driver.is_away else 'InProgress',
                self.status()['condition'])
            # In vain, and each time nova-compute would wait.
            self.assertEqual(asked, len(self.driver.requests))
            stop(False)
            self.reconcile()
            self._check_that_it_has_its_time()

    def test_events_of_a_guest_that_cannot_be_asked(self):
        """Its row is not written at each of them."""
        self._begin_to_shrink(scripted.BUSY)
        saved, save = [], objects.Instance.save

        def count(instance, *args, **kwargs):
            saved.append(instance)
            save(instance, *args, **kwargs)

        with mock.patch.object(objects.Instance, 'save', count):
            for _ in range(20):
                self.compute.manager.handle_events(
                    elastic_guest.GuestChangedEvent(self.server['id']))
                self.wait(9)
        self.assertLessEqual(len(saved), 4)
        self.assertEqual('InProgress', self.status()['condition'])
        self.guest.behaviour = scripted.LATE
        self.reconcile()
        self._check_that_it_has_its_time()

    def _check_that_it_may_stray(self, while_it):
        """It has its time to go back from when it can be asked."""
        self.adjust(*GROWN)
        self.wait()
        self.reconcile()
        self.guest.behaviour = scripted.LATE
        self.guest.held = size.Size(6, 3000)
        setattr(self.guest, while_it, True)
        # Only one look sees that.
        self.reconcile()
        self.assertEqual('InProgress', self.status()['condition'])
        setattr(self.guest, while_it, False)
        for _ in range(2):
            self.reconcile()
            self.assertEqual('InProgress', self.status()['condition'])
        self.guest.follow()
        self.reconcile()
        self.assert_books(GROWN, GROWN)

    def test_it_strays_while_it_is_still(self):
        self._check_that_it_may_stray('is_still')

    def test_it_strays_while_it_is_busy(self):
        self._check_that_it_may_stray('is_busy')

    def _begin_to_shrink(self, behaviour):
        """Its hypervisor does not do its part for a long time."""
        self.adjust(*GROWN)
        self.guest.behaviour = scripted.LATE
        self.adjust(*base.MINIMUM)
        self.guest.behaviour = behaviour
        for _ in range(3):
            self.reconcile()
            self.wait()

    def test_its_time_passes_while_it_cannot_be_asked(self):
        """Such as while an operator dumps it: libvirt asks it for nothing."""
        self._begin_to_shrink(scripted.BUSY)
        self.guest.behaviour = scripted.LATE
        self.reconcile()
        self._check_that_it_has_its_time()

    def test_its_time_passes_while_its_hypervisor_waits_to_ask_it(self):
        """A dump begins shortly before that, and libvirt waits for its end."""
        def wait(target):
            self.wait()
            raise elastic_guest.GuestBusy(reason='It is dumped.')

        self.adjust(*GROWN)
        self.guest.behaviour = scripted.LATE
        self.adjust(*base.MINIMUM)
        with mock.patch.object(self.guest, 'ask', wait):
            self.reconcile()
        self.reconcile()
        self._check_that_it_has_its_time()

    def test_its_time_passes_while_its_hypervisor_fails(self):
        """That may never end."""
        self._begin_to_shrink(scripted.FAILING)
        self.assertEqual('Partial', self.status()['condition'])

    def test_its_time_passes_while_nobody_looks_at_it(self):
        """nova-conductor or the database is away for minutes."""
        away = mock.Mock(
            side_effect=messaging.MessagingTimeout('by the test'))
        for name in ('InstanceList.get_by_filters', 'Instance.refresh'):
            self.guest.behaviour = scripted.OBEDIENT
            self.adjust(*GROWN)
            self.guest.behaviour = scripted.LATE
            self.adjust(*base.MINIMUM)
            with fixtures.MonkeyPatch('nova.objects.' + name, away):
                for _ in range(2):
                    self.wait()
                    with contextlib.suppress(messaging.MessagingTimeout):
                        self.reconcile()
            self.reconcile()
            self._check_that_it_has_its_time()

    def test_it_hangs_in_the_middle_of_a_change(self):
        """Each question to its hypervisor would take half a minute."""
        self.guest.behaviour = scripted.FAILING
        self.assertRaises(exception.ElasticConflict, self.adjust, *GROWN)
        self.guest.is_still = True
        asked = len(self.driver.requests)
        for _ in range(3):
            self.reconcile()
        self.assertEqual(asked, len(self.driver.requests))
        self.guest.is_still = False
        self.guest.behaviour = scripted.OBEDIENT
        self.reconcile()
        self.assertEqual(asked + 1, len(self.driver.requests))
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def report(self, state):
        self.admin_api.post_server_action(
            self.server['id'], {'os-resetState': {'state': state}})

    def assert_condition(self, expected):
        """In its status as well as in lists."""
        self.assertEqual(
            (expected, expected), (self.status()['condition'], noted.of(
                self.instance(self.server).system_metadata)[0]))

    def test_it_is_in_error_in_the_middle_of_a_change(self):
        """It is asked for nothing, and what its guest does counts."""
        self.adjust(*GROWN)
        self.guest.behaviour = scripted.LATE
        self.adjust(*base.MINIMUM)
        self.report('error')
        asked = len(self.driver.requests)
        for _ in range(2):
            self.wait()
            self.reconcile()
            self.assert_condition('InProgress')
            self.assertIn('in error', self.status()['reason'])
        self.assertEqual(asked, len(self.driver.requests))
        self.assert_books(base.MINIMUM, base.MINIMUM, held=GROWN)
        self.guest.follow()
        self.reconcile()
        self.assert_condition('Settled')
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_it_is_in_error_and_then_has_its_time(self):
        self.adjust(*GROWN)
        self.guest.behaviour = scripted.LATE
        self.adjust(*base.MINIMUM)
        self.report('error')
        self.wait()
        self.reconcile()
        self.report('active')
        self.reconcile()
        self._check_that_it_has_its_time()

    def test_it_is_in_error_and_has_no_guest(self):
        """Where that is, or what it held last, is not known."""
        self.guest.behaviour = scripted.LATE
        self.adjust(*GROWN, persist=False)
        self.report('error')
        self.driver.instances[self.server['id']].state = power_state.SHUTDOWN
        for _ in range(2):
            self.reconcile()
            self.assert_condition('Settled')
            books = self.books(self.server)
            self.assert_books(GROWN, base.MINIMUM, held=base.MINIMUM)
        self.assertEqual(books, self.books(self.server))
        self._reboot_server(self.server, hard=True)
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_it_is_in_error_and_loses_its_guest(self):
        """On its way down, and after it did not give back all."""
        self.adjust(*GROWN)
        self.guest.behaviour = scripted.LATE
        self.adjust(*base.MINIMUM)
        self._check_without_a_guest(base.MINIMUM)
        self.guest.behaviour = scripted.LATE
        self.adjust(*GROWN)
        self.wait()
        self.reconcile()
        self.assert_condition('Partial')
        self._check_without_a_guest(base.MINIMUM, boot=GROWN)

    def test_it_is_in_error_after_a_change_that_was_not_undone(self):
        """The hypervisor went away, and is back without the guest."""
        self.guest.behaviour = scripted.FAILING
        self.assertRaises(exception.ElasticConflict, self.adjust, *GROWN)
        self.guest.behaviour = scripted.OBEDIENT
        self._check_without_a_guest(base.MINIMUM)

    def _check_without_a_guest(self, desired, boot=base.MINIMUM):
        self.report('error')
        self.driver.instances[self.server['id']].state = power_state.SHUTDOWN
        for _ in range(2):
            self.reconcile()
            self.assert_condition('Settled')
            self.assertEqual(desired, size.desired(self.instance(self.server)))
            self.assert_charged(self.server, GROWN, 'host1')
        self._reboot_server(self.server, hard=True)
        self.reconcile()
        self.assert_books(boot, boot)

    def test_its_time_passes_while_there_is_no_compute_service(self):
        for task_state in (None, 'image_uploading'):
            self.guest.behaviour = scripted.OBEDIENT
            self.adjust(*GROWN)
            self.guest.behaviour = scripted.LATE
            self.adjust(*base.MINIMUM)
            instance = self.instance(self.server)
            instance.task_state = task_state
            instance.save()
            self.wait()
            self.compute = self.restart_compute_service(self.compute)
            self.reconcile()
            self.assertEqual('InProgress', self.status()['condition'])
            self.assert_books(base.MINIMUM, base.MINIMUM, held=GROWN)
            self.wait()
            self.reconcile()
            self.assert_books(GROWN, base.MINIMUM, condition='Partial')

    def test_suspended(self):
        """It goes on with what it had, and does not start."""
        self.adjust(*GROWN, persist=False)
        self._suspend_server(self.server)
        self.reconcile()
        status = self.status()
        self.assertEqual(
            ('Settled', *GROWN, 0),
            (status['condition'], status['current_vcpus'],
             status['current_memory_mb'], status['actual_vcpus']))
        self._resume_server(self.server)
        self.assert_books(GROWN, base.MINIMUM)

    def test_suspended_before_it_has_what_was_asked_for(self):
        self.guest.behaviour = scripted.LOST
        self.adjust(*GROWN)
        for expected in ('InProgress', 'Partial'):
            self._suspend_server(self.server)
            self.reconcile()
            status = self.status()
            self.assertEqual(expected, status['condition'])
            self.assertEqual(
                expected, noted.of(
                    self.instance(self.server).system_metadata)[0])
            self._resume_server(self.server)
            self.wait()
            self.reconcile()
        self.assert_books(base.MINIMUM, GROWN, charge=GROWN,
                          condition='Partial')

    def test_it_is_paused_and_refuses_after_that(self):
        self.adjust(*GROWN)
        self.guest.behaviour = scripted.LOST
        self.adjust(*base.MINIMUM)
        self.api.post_server_action(self.server['id'], {'pause': None})
        self._wait_for_state_change(self.server, 'PAUSED')
        self.wait()
        self.reconcile()
        self.unpause()
        self.reconcile()
        self.wait(self.SETTLE_TIMEOUT // 2)
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM, held=GROWN)
        self.wait()
        self.reconcile()
        self.assert_books(GROWN, base.MINIMUM, condition='Partial')

    def test_no_balloon_driver_loads_and_nobody_confirms(self):
        self.start_host('host2')
        self.adjust(3, 3072)
        books = self.books(self.server)
        self.computes['host2'].manager.driver.starts_with_balloon = False
        flavor = self.create_elastic_flavor(
            maximum=size.Size(4, 16384), minimum=size.Size(1, 1024))
        full = size.Size(1, 16384)
        for end in (self._revert_resize, self._confirm_resize):
            self.api.post_server_action(
                self.server['id'], {'resize': {'flavorRef': flavor}})
            self._wait_for_state_change(self.server, 'VERIFY_RESIZE')
            self.compute = self.computes['host2']
            self.reconcile_hosts()
            self.assert_charged(self.server, size.Size(1, 1024), 'host2')
            self.wait()
            self.reconcile_hosts()
            self._run_periodics()
            # It is asked for nothing now, and nothing is given up.
            least = size.Size(1, 1024)
            self.assert_books(least, least, held=full, host='host2')
            self.assertEqual('InProgress', self.status()['condition'])
            self.assertIn('until its resize is confirmed',
                          self.status()['reason'])
            if end == self._revert_resize:
                self.guest.load_balloon()
                self.reconcile_hosts()
                self.assert_books(least, least, host='host2')
            end(self.server)
            if end == self._revert_resize:
                self.compute = self.computes['host1']
                self.reconcile_hosts()
                self._run_periodics()
                self.assert_books(size.Size(3, 3072), size.Size(3, 3072))
                self.assert_used(host1=size.Size(3, 3072),
                                 host2=size.Size(0, 0))
                self.assertEqual(books[:2], self.books(self.server)[:2])
        self._run_periodics()
        self.assert_used(host1=size.Size(0, 0), host2=full)
        self.guest.load_balloon()
        self.reconcile_hosts()
        self._run_periodics()
        self.assert_books(size.Size(1, 1024), size.Size(1, 1024),
                          host='host2')

    def reconcile_hosts(self):
        with self.cell() as cell:
            for compute in self.computes.values():
                compute.manager._elastic.reconcile(cell)

    def test_no_room_for_what_it_holds(self):
        flavor = self.create_elastic_flavor(
            maximum=size.Size(8, 28672), minimum=size.Size(2, 28672))
        other = self.create_server(flavor)
        self.driver.starts_with_balloon = False
        self.reboot()
        self.wait()
        # Nobody has looked for room yet.
        self.assertEqual('InProgress', self.status()['condition'])
        full = size.Size(2, base.MAXIMUM.memory_mb)
        # 512 of 32768 MiB are for the host itself.
        fits = size.Size(2, 3584)
        for _ in range(3):
            self.reconcile()
            self.assert_books(fits, base.MINIMUM, fits, full,
                              condition='Overcommitted')
        self.assertEqual(1, self.stdlog.logger.output.count(
            'its host has no room for more'))
        # Room comes.
        self._delete_server(other)
        self.reconcile()
        self.assert_books(full, base.MINIMUM, condition='Partial')

    def test_no_room_until_its_balloon_driver_loads(self):
        self.create_server(self.create_elastic_flavor(
            maximum=size.Size(8, 28672), minimum=size.Size(2, 28672)))
        self.run_without_balloon_driver()
        self.assertEqual('Overcommitted', self.status()['condition'])
        self.guest.load_balloon()
        self.wait()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)
        self.assertEqual('Settled', self.status()['condition'])

    def test_no_room_and_held_up_until_its_balloon_driver_loads(self):
        """What there was room for is not what anybody asked for."""
        self.create_server(self.create_elastic_flavor(
            maximum=size.Size(8, 28672), minimum=size.Size(2, 28672)))
        self.run_without_balloon_driver()
        self.api.post_server_action(self.server['id'], {'pause': None})
        self._wait_for_state_change(self.server, 'PAUSED')
        self.reconcile()
        self.unpause()
        self.reconcile()
        self.guest.load_balloon()
        self.reconcile()
        self.assertEqual(base.MINIMUM, self.guest.target)
        self.wait()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_live_migration_is_no_start(self):
        self.start_host('host2')
        self.adjust(6, 6144, persist=False)
        self._live_migrate(self.server)
        self.compute = self.computes['host2']
        self.reconcile()
        # The audit counts what has moved.
        self._run_periodics()
        self.assert_books(GROWN, base.MINIMUM, host='host2')
        self.adjust(2, 2048)
        self.assert_books(base.MINIMUM, base.MINIMUM, host='host2')

    def test_cold_migration_is_a_start(self):
        self.start_host('host2')
        self.adjust(6, 6144, persist=False)
        self.api.post_server_action(self.server['id'], {'migrate': None})
        self._wait_for_state_change(self.server, 'VERIFY_RESIZE')
        self.reconcile_hosts()
        self._confirm_resize(self.server)
        self.compute = self.computes['host2']
        self.reconcile()
        # The audit counts what has moved.
        self._run_periodics()
        self.assert_books(base.MINIMUM, base.MINIMUM, host='host2')

    def migrate_grown(self, there):
        """Migrate what does not persist, of which the other host counts less.

        :param there: what its guest holds on host2 in the end
        """
        self.adjust(6, 6144, persist=False)
        self.api.post_server_action(self.server['id'], {'migrate': None})
        self._wait_for_state_change(self.server, 'VERIFY_RESIZE')
        self.assert_used(host1=GROWN, host2=GROWN)
        self.compute = self.computes['host2']
        self.reconcile_hosts()
        self.wait()
        self.reconcile_hosts()
        self.assert_used(host1=GROWN, host2=there)

    def revert_grown(self):
        """It is as it was, and what its guest has started with remains."""
        self._revert_resize(self.server)
        self.compute = self.computes['host1']
        self.assert_used(host1=GROWN, host2=size.Size(0, 0))
        self.assert_books(GROWN, base.MINIMUM, held=base.MINIMUM)
        self.reconcile_hosts()
        self.assert_books(base.MINIMUM, base.MINIMUM)
        self.assert_used(host1=base.MINIMUM, host2=size.Size(0, 0))

    def confirm_grown(self, there):
        self._confirm_resize(self.server)
        self.assert_used(host1=size.Size(0, 0), host2=there)

    def test_migration_of_what_does_not_persist(self):
        self.start_host('host2')
        for _ in range(2):
            self.migrate_grown(base.MINIMUM)
            self.assert_books(base.MINIMUM, base.MINIMUM, host='host2')
            self.revert_grown()
        self.migrate_grown(base.MINIMUM)
        self.confirm_grown(base.MINIMUM)
        self.assert_books(base.MINIMUM, base.MINIMUM, host='host2')

    def test_migration_of_what_holds_more_there(self):
        self.start_host('host2')
        self.computes['host2'].manager.driver.starts_with_balloon = False
        full = size.Size(2, base.MAXIMUM.memory_mb)
        self.migrate_grown(full)
        self.assert_books(base.MINIMUM, base.MINIMUM, held=full, host='host2')
        self._revert_resize(self.server)
        self.compute = self.computes['host1']
        self.assert_charged(self.server, GROWN, 'host1')
        self.assertEqual(GROWN, size.desired(self.instance(self.server)))
        self.assert_used(host1=GROWN, host2=size.Size(0, 0))
        self.reconcile_hosts()
        self.assert_books(base.MINIMUM, base.MINIMUM)
        self.migrate_grown(full)
        self.confirm_grown(full)
        # It has its time from now on.
        self.reconcile_hosts()
        self.assert_books(base.MINIMUM, base.MINIMUM, held=full, host='host2')
        self.wait()
        self.reconcile_hosts()
        self.assert_books(full, base.MINIMUM, condition='Partial',
                          host='host2')
        # Its balloon driver loads late, as after any other start.
        self.guest.load_balloon()
        self.wait()
        self.reconcile_hosts()
        self.assert_books(base.MINIMUM, base.MINIMUM, host='host2')

    def start_without_balloon_driver(self):
        self._stop_server(self.server)
        self.driver.starts_with_balloon = False
        self._start_server(self.server)

    def refuse_a_change(self):
        self.guest.behaviour = scripted.FAILING
        self.assertRaises(exception.ElasticConflict, self.adjust, 3)
        self.guest.behaviour = scripted.OBEDIENT

    def assert_late_driver_follows_start(self):
        self.wait()
        self.reconcile()
        self.assert_books(size.Size(2, base.MAXIMUM.memory_mb), base.MINIMUM,
                          condition='Partial')
        self.guest.load_balloon()
        self.wait()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_it_is_paused_while_it_starts(self):
        self.start_without_balloon_driver()
        self.api.post_server_action(self.server['id'], {'pause': None})
        self._wait_for_state_change(self.server, 'PAUSED')
        self.wait()
        self.reconcile()
        self.unpause()
        self.reconcile()
        self.assert_books(
            base.MINIMUM, base.MINIMUM,
            held=size.Size(2, base.MAXIMUM.memory_mb))
        self.refuse_a_change()
        self.assert_late_driver_follows_start()
        # What is asked for and given up after that does not come late.
        self.guest.behaviour = scripted.LOST
        self.adjust(memory_mb=6144)
        self.wait()
        self.reconcile()
        self.guest.load_balloon()
        self.reconcile()
        self.assert_books(base.MINIMUM, size.Size(2, 6144),
                          charge=size.Size(2, 6144), condition='Partial')

    def test_a_refused_change_is_not_asked_for(self):
        """What it follows is still its start."""
        self.start_without_balloon_driver()
        self.refuse_a_change()
        self.reconcile()
        self.refuse_a_change()
        self.assert_late_driver_follows_start()

    def test_rescue_image_without_balloon_driver(self):
        self.adjust(6, 6144, persist=False)
        self.driver.starts_with_balloon = False
        self.api.post_server_action(self.server['id'], {'rescue': None})
        self._wait_for_state_change(self.server, 'RESCUE')
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM,
                          held=size.Size(2, base.MAXIMUM.memory_mb),
                          charge=size.Size(2, 6144))
        self.assertEqual('InProgress', self.status()['condition'])
        # Nobody asks it for anything.
        self.assert_late_driver_follows_start()
        self.api.post_server_action(self.server['id'], {'unrescue': None})
        self._wait_for_state_change(self.server, 'ACTIVE')
        self.driver.starts_with_balloon = True
        self.reconcile()
        self.guest.load_balloon()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_reverted_migration(self):
        self.start_host('host2')
        self.adjust(6, 6144)
        self.api.post_server_action(self.server['id'], {'migrate': None})
        self._wait_for_state_change(self.server, 'VERIFY_RESIZE')
        self._revert_resize(self.server)
        self.reconcile()
        self.assert_books(GROWN, GROWN)
        self.adjust(2, 2048)
        self.assert_books(base.MINIMUM, base.MINIMUM)


class PeriodicTestCase(adjust_base.AdjustTestCase):

    def test_one_call_and_no_request(self):
        for _ in range(3):
            self.create_server(self.create_elastic_flavor())
        plain = self.create_server(self._create_flavor())
        self.reconcile()
        del self.driver.observations[:]
        with mock.patch.object(
                report.SchedulerReportClient, 'get') as get, \
                mock.patch.object(
                    report.SchedulerReportClient, 'put') as put, \
                mock.patch.object(objects.Instance, 'save') as save:
            statements = self._statements_of(self.reconcile)
        # The servers with their flavors, and their metadata
        self.assertEqual(2, len(statements), statements)
        self.assertIn(self.server['id'], str(statements))
        self.assertNotIn(plain['id'], str(statements))
        self.assertEqual(1, len(self.driver.observations))
        self.assertEqual(4, len(self.driver.observations[0]))
        self.assertNotIn(plain['id'], self.driver.observations[0])
        for call in (get, put, save):
            call.assert_not_called()

    @staticmethod
    def _statements_of(work):
        """What is sent to the database meanwhile, with its parameters."""
        statements = []

        def note(connection, cursor, statement, parameters, *args):
            # Services report that they live at any time.
            if ' instance' in statement:
                statements.append((statement, parameters))

        listener = (sqlalchemy.engine.Engine, 'before_cursor_execute', note)
        sqlalchemy.event.listen(*listener)
        try:
            work()
        finally:
            sqlalchemy.event.remove(*listener)
        return statements

    def test_hypervisor_is_away(self):
        before = self.books(self.server)
        self.driver.is_away = True
        self.reconcile()
        self.assertEqual(before, self.books(self.server))
        self.assertIn('Elastic servers: Unknown=1, total=1',
                      self.stdlog.logger.output)

    def test_no_server_can_be_looked_at(self):
        self.guest.behaviour = scripted.LATE
        self.adjust(*GROWN)
        self._suspend_server(self.server)
        self.reconcile()
        self.assertIn('Elastic servers: InProgress=1, total=1',
                      self.stdlog.logger.output)

    def test_a_server_in_use_is_left_for_later(self):
        self.guest.start(GROWN)
        before = self.books(self.server)
        with lockutils.lock(self.server['id'], 'nova-'):
            self.reconcile()
        self.assertEqual(before, self.books(self.server))
        self.wait()
        self.reconcile()
        self.assertNotEqual(before, self.books(self.server))

    def test_one_broken_server_does_not_hold_up_others(self):
        broken = self.instance(self.server)
        broken.system_metadata['xloud_desired_vcpus'] = 'many'
        broken.save()
        other = self.create_server(self.create_elastic_flavor())
        self.driver.guests[other['id']].start(size.Size(3, 2048))
        self.reconcile()
        self.wait()
        self.reconcile()
        self.assertEqual({'host1': size.Size(3, 2048)},
                         self.allocated(other['id']))
