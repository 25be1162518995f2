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

"""Who owns a change: what comes between its request and its end.

A resize ends while an adjust is on its way, a lock is held for hours, an
answer is lost, nova-api dies, others grow at the same time, services of the
release before run beside these. What was refused changes nothing, then or
later, and what is not ours stays.
"""

import threading
import time
from unittest import mock

import fixtures
from oslo_concurrency import lockutils
from oslo_db import exception as db_exc
from oslo_limit import fixture as limit_fixture
import oslo_messaging as messaging

from nova import exception
from nova import objects
from nova.tests.functional.api import client
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import answers_base
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import scripted
from nova.tests.functional.xloud import task_base
from nova.xloud import action
from nova.xloud import books
from nova.xloud import manager
from nova.xloud import noted
from nova.xloud import notes
from nova.xloud import rpcapi
from nova.xloud import size
from nova.xloud import task

GROWN = adjust_base.GROWN


class StaleInstanceTestCase(task_base.TaskBase):
    """nova-api has read the server before a resize of it ends."""

    def setUp(self):
        super().setUp()
        self.start_host('host2')
        self.other = self.create_elastic_flavor(
            maximum=size.Size(4, 4096), minimum=size.Size(1, 512))

    def resize(self):
        self.server = self._resize_server(self.server, self.other)

    def resize_and_confirm(self):
        self.resize()
        self.server = self._confirm_resize(self.server)

    def assert_flavor(self, vcpus):
        instance = self.instance(self.server)
        self.assertEqual(vcpus, instance.flavor.vcpus)
        self.assertEqual(vcpus, objects.Flavor.get_by_id(
            instance._context, instance.instance_type_id).vcpus)

    def test_before_it_is_taken(self):
        """At each end of the resize, and with each end of that."""
        for between, end in ((self.resize, self._revert_resize),
                             (self.resize, self._confirm_resize)):
            with self.before('take', between, owner=task):
                self.assertIn('another operation', self.post(
                    409, current_vcpus=8, current_memory_mb=8192))
            self.assert_flavor(4)
            self.assertEqual('resized', self.instance(self.server).vm_state)
            self.server = end(self.server)
            self.assertEqual('ACTIVE', self.server['status'])
            self.assert_flavor(8 if end == self._revert_resize else 4)
            self.assert_no_task()

    def test_the_resize_is_confirmed_before_it_is_taken(self):
        with self.before('take', self.resize_and_confirm, owner=task):
            self.assertIn('another operation', self.look(self.post(
                409, current_vcpus=8, current_memory_mb=8192)))
        self.assert_flavor(4)
        self.assert_no_task()
        self.compute = self.computes['host2']
        # The audit counts what has moved.
        self._run_periodics()
        self.post(202, current_vcpus=4, current_memory_mb=4096)
        self.assert_charged(self.server, size.Size(4, 4096), 'host2')

    def look(self, message):
        # The task was free again, and its flavor, or its host, another one.
        if 'its flavor was changed' in message or 'moved' in message or (
                'not upgraded' in message):
            return 'another operation'
        return message

    def test_a_resize_does_not_begin_while_it_runs(self):
        """Neither of them is disturbed by the other."""
        def resize():
            error = self.assertRaises(
                client.OpenStackApiException,
                self.api.post_server_action, self.server['id'],
                {'resize': {'flavorRef': self.other}})
            self.assertEqual(409, error.response.status_code)

        for name in ('claim', 'adjust'):
            with self.before(name, resize):
                self.post(202, current_vcpus=6, current_memory_mb=6144)
            self.assert_books(GROWN, GROWN)
            self.assert_flavor(8)
            self.post(202, current_vcpus=2, current_memory_mb=2048)

    def test_each_step(self):
        """Something gave the task to a resize: only that goes on."""
        for name, owner in (
                ('start', action),
                ('claim', rpcapi.XloudAPI), ('adjust', rpcapi.XloudAPI)):
            with self.before(name, self.reset_and_prepare, owner=owner):
                self.post(409, current_vcpus=6, current_memory_mb=6144)
            instance = self.instance(self.server)
            self.assertEqual('resize_prep', instance.task_state)
            self.assertIsNone(task.of(instance))
            with mock.patch.object(task, 'PATIENCE', 0):
                self.reconcile()
            instance = self.instance(self.server)
            self.assertEqual('resize_prep', instance.task_state)
            instance.task_state = None
            instance.save()
            self.reconcile()
            self.assert_books(base.MINIMUM, base.MINIMUM)

    def reset_and_prepare(self):
        """An operator clears the task, and a user resizes the server."""
        instance = self.instance(self.server)
        instance.task_state = None
        instance.save()
        with mock.patch(
                'nova.conductor.api.ComputeTaskAPI.resize_instance'):
            self.api.post_server_action(
                self.server['id'], {'resize': {'flavorRef': self.other}})
        self.assertEqual(
            'resize_prep', self.instance(self.server).task_state)


class LockTestCase(task_base.TaskBase):
    """Something holds the lock of the server, and no task state."""

    def test_it_is_refused_soon_and_never_happens(self):
        before = self.all_of(self.server)
        with lockutils.lock(self.server['id'], lock_file_prefix='nova-'):
            began = time.monotonic()
            for asked in ({'current_vcpus': 6},
                          {'current_vcpus': 2, 'persist': False}):
                self.assertIn('is busy with it', self.post(409, **asked))
            self.assertLess(time.monotonic() - began, 30)
        self.assertEqual(before, self.all_of(self.server))
        self.reconcile()
        time.sleep(2)
        self.assertEqual(before, self.all_of(self.server))
        self.assertEqual([], self.driver.requests)
        self.post(202, current_vcpus=6)

    def test_nobody_waits_for_it_any_more(self):
        """The message comes to the compute after nova-api has gone."""
        messages = []

        def keep(api, context, instance, method, request):
            messages.append((method, request))
            raise rpcapi.HostSilent(instance_uuid='', reason='by the test')

        with mock.patch.object(rpcapi.XloudAPI, '_ask', keep):
            self.post(409, current_vcpus=6, current_memory_mb=6144)
            self.post(409, current_vcpus=2, persist=False)
        self.assert_no_task()
        endpoint = self.compute.manager.additional_endpoints[-1]
        for is_taken in (False, True):
            if is_taken:
                # By somebody else.
                self.take()
            for method, request in messages:
                with self.cell() as cell:
                    error = self.assertRaises(
                        messaging.ExpectedException,
                        getattr(endpoint, method), cell, self.server['id'],
                        request._asdict())
                self.assertIn('nobody waits for', str(error.exc_info[1]))
        self.assertEqual(task.Task('req-of-somebody', task.OFFERED),
                         task.of(self.instance(self.server)))
        self.assertEqual([], self.driver.requests)
        self.assertEqual(
            {'host1': base.MINIMUM}, self.allocated(self.server['id']))

    def test_it_looked_before_that(self):
        """What nova-api takes back the compute does not accept any more."""
        for is_taken_again in (False, True):
            lost = []

            def lose(*args):
                if lost:
                    # The claim is given up.
                    return mock.DEFAULT
                lost.append(1)
                # Between its look and what it records.
                with self.cell() as cell:
                    instance = self.instance(self.server)
                    self.assertFalse(task.give_back(
                        cell, instance, task.of(instance).token))
                if is_taken_again:
                    self.take()
                return mock.DEFAULT

            ledger = self.compute.manager._elastic._executor.ledger
            with mock.patch.object(
                    ledger, 'allocate', side_effect=lose,
                    wraps=ledger.allocate):
                self.assertIn('could not be recorded', self.post(
                    409, current_vcpus=6, current_memory_mb=6144))
            with self.cell() as cell:
                task.give_back(
                    cell, self.instance(self.server), 'req-of-somebody')
            self.assert_no_task()
            self.reconcile()
            self.assert_books(base.MINIMUM, base.MINIMUM)
            self.assertEqual([], self.driver.requests)


class SeveralAtOnceTestCase(task_base.TaskBase):

    CALLERS = 6

    def test_one_runs(self):
        """The others are refused at once, and wait nowhere."""
        go, answers = threading.Event(), []
        at_work = []
        real_set = scripted.ScriptedFakeDriver.set_elastic_guest
        real_ask = rpcapi.XloudAPI._ask

        def slow(driver, *args):
            while not go.is_set():
                time.sleep(0.05)
            return real_set(driver, *args)

        def ask(api, context, instance, method, request):
            at_work.append(request.token)
            return real_ask(api, context, instance, method, request)

        def call(number):
            answers.append(self.owner.api_post(
                '/os-xloud-adjust/%s' % self.server['id'],
                {'current_vcpus': 3 + number % 5},
                check_response_status=[202, 409]).status)

        with mock.patch.object(scripted.ScriptedFakeDriver,
                               'set_elastic_guest', slow), \
                mock.patch.object(rpcapi.XloudAPI, '_ask', ask):
            threads = [threading.Thread(target=call, args=(number,))
                       for number in range(self.CALLERS)]
            for thread in threads:
                thread.start()
            self._wait_for_assert(lambda: self.assertEqual(
                self.CALLERS - 1, len(answers)))
            self.assertEqual({409}, set(answers))
            go.set()
            for thread in threads:
                thread.join()
        self.assertEqual([202], [a for a in answers if a != 409])
        self.assertEqual(1, len(set(at_work)))
        self.assertEqual(1, len(self.driver.requests))
        self.assert_no_task()


class ShownTestCase(task_base.TaskBase):

    def test_the_status_of_the_server_stays(self):
        seen = []

        def look():
            for url in ('/servers/%s', '/servers/detail?uuid=%s'):
                body = self.owner.api_get(url % self.server['id']).body
                found = body.get('server') or body['servers'][0]
                seen.append(
                    (found['status'], found['OS-EXT-STS:task_state']))
            error = self.assertRaises(
                client.OpenStackApiException,
                self.api.post_server_action, self.server['id'],
                {'confirmResize': None})
            self.assertEqual(409, error.response.status_code)

        with self.before('adjust', look):
            self.post(202, current_vcpus=6, current_memory_mb=6144)
        self.assertEqual([('ACTIVE', 'resize_prep')] * 2, seen)
        self.assert_books(GROWN, GROWN)

        self._stop_server(self.server)
        del seen[:]
        with self.before('adjust', look):
            self.post(202, current_vcpus=2, current_memory_mb=2048)
        self.assertEqual([('SHUTOFF', 'resize_prep')] * 2, seen)

    def test_the_status_of_a_resize_is_shown(self):
        instance = self.instance(self.server)
        instance.task_state = 'resize_prep'
        instance.save()
        self.assertEqual('RESIZE', self.api.get_server(
            self.server['id'])['status'])


class GivenBackTestCase(task_base.TaskBase):
    """What nobody ends any more is given back, and nothing else."""

    def test_the_answer_to_the_take_is_lost(self):
        lost = messaging.MessagingTimeout('by the test')
        with self.after('_take_as_read', lost, owner=task):
            self.read(500, self.owner.api_post(
                '/os-xloud-adjust/%s' % self.server['id'],
                {'current_vcpus': 6}, check_response_status=[500]))
        self.assert_no_task()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_accepted_at_that_moment(self):
        """A database that undoes a transaction lets the other one win."""
        self.take()

        def accept():
            instance = self.instance(self.server)
            task.note(instance, 'req-of-somebody', task.ACCEPTED)
            instance.save()

        with self.before('save', accept, owner=books), self.cell() as cell:
            self.assertTrue(task.give_back(
                cell, self.instance(self.server), 'req-of-somebody'))
        self.assertEqual(task.ACCEPTED, task.of(
            self.instance(self.server)).state)

    def test_the_database_is_away_for_a_moment(self):
        for when in (self.before, self.after):
            self.take()
            lost = db_exc.DBConnectionError()
            work = lost if when == self.after else mock.Mock(side_effect=lost)
            with when('save', work, owner=books), self.cell() as cell:
                self.assertFalse(task.give_back(
                    cell, self.instance(self.server), 'req-of-somebody'))
            self.assert_no_task()

    def test_a_deadlock_that_lasts(self):
        """nova-api waits for as long as the database layer, and no longer."""
        tries = []

        def deadlock(*args, **kwargs):
            tries.append(args)
            raise db_exc.DBDeadlock()

        self.take()
        with self.cell() as cell, \
                mock.patch('nova.db.main.api._instance_update', deadlock), \
                mock.patch('oslo_db.api.time.sleep'):
            self.assertRaises(
                db_exc.DBDeadlock, task.give_back, cell,
                self.instance(self.server), 'req-of-somebody')
        self.assertEqual(6, len(tries))

    def test_the_books_change_while_it_is_taken(self):
        """Twice, and no task begins."""
        real, saves = books.save, []

        def save(*args, **kwargs):
            saves.append(args)
            if len(saves) < 3:
                instance = self.instance(self.server)
                notes.set_pending(instance, str(len(saves)))
                instance.save()
            return real(*args, **kwargs)

        with mock.patch.object(books, 'save', save):
            self.take()
        self.assertEqual(3, len(saves))
        self.assertTrue(task.is_running(self.instance(self.server)))

    def test_nova_api_has_died(self):
        for state in (task.OFFERED, task.CLAIMED, task.REFUSED):
            self.take(state=state)
            self.reconcile()
            self.assertTrue(task.is_running(self.instance(self.server)))
            with mock.patch.object(task, 'PATIENCE', 0):
                self.reconcile()
            self.assert_no_task()
            self.assert_books(base.MINIMUM, base.MINIMUM)

    def claim(self):
        """What nova-api does before the change, and dies."""
        with self.cell() as cell:
            instance = self.instance(self.server)
            request = rpcapi.Request.about(
                instance, 'req-of-somebody', 6, 6144, True)
            task.take(cell, instance, request.token)
            self.assertEqual(GROWN, rpcapi.XloudAPI().claim(
                cell, instance, request))

    def test_what_was_claimed_is_given_up(self):
        """nova-api dies between the claim and the change."""
        self.claim()
        self.assertEqual({'host1': GROWN}, self.allocated(self.server['id']))
        self.assertEqual(GROWN, size.charged(self.instance(self.server)))
        self.assertEqual(
            base.MINIMUM, size.desired(self.instance(self.server)))
        with mock.patch.object(task, 'PATIENCE', 0):
            self.reconcile()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)
        self.assertEqual([], self.driver.requests)

    def test_accepted_and_not_ended(self):
        with mock.patch.object(task, 'note_end'), mock.patch.object(
                task, 'end', side_effect=messaging.MessagingTimeout('lost')):
            self.post(202, current_vcpus=6, current_memory_mb=6144)
        self.assertEqual(task.ACCEPTED, task.of(
            self.instance(self.server)).state)
        self.post(409, current_vcpus=2)
        self.reconcile()
        self.assert_books(GROWN, GROWN)
        self.post(202, current_vcpus=2)

    def test_the_pass_that_gives_it_back_finishes_it(self):
        """What is logged for alerts is what that pass leaves."""
        self.claim()
        self.reconcile()
        line = 'Elastic servers: InProgress=1, total=1'
        self.assertEqual(1, self.stdlog.logger.output.count(line))
        with mock.patch.object(task, 'PATIENCE', 0):
            self.reconcile()
        self.assertEqual(1, self.stdlog.logger.output.count(line))
        self.assert_no_task()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_at_work(self):
        """What is being done now is not given back."""
        def look():
            with mock.patch.object(task, 'PATIENCE', 0):
                self.reconcile()
            self.assertTrue(task.is_running(self.instance(self.server)))

        with self.before('set_elastic_guest', look,
                         owner=scripted.ScriptedFakeDriver):
            self.post(202, current_vcpus=6, current_memory_mb=6144)
        self.assert_books(GROWN, GROWN)

    def test_the_state_of_the_server_is_reset(self):
        """An administrator clears its task state in the middle of it."""
        def reset():
            self.admin_api.post_server_action(
                self.server['id'], {'os-resetState': {'state': 'active'}})

        with self.before('adjust', reset):
            self.post(409, current_vcpus=6)
        self.reconcile()
        self.assert_no_task()
        self.assert_books(base.MINIMUM, base.MINIMUM)

        with self.before('set_elastic_guest', reset,
                         owner=scripted.ScriptedFakeDriver):
            self.post(202, current_vcpus=6, current_memory_mb=6144)
        self.reconcile()
        self.assert_no_task()
        self.assert_books(GROWN, GROWN)

    def test_the_state_of_the_server_is_reset_and_it_leaves(self):
        """No compute service looks at it any more."""
        for state, is_accepted in ((task.OFFERED, False),
                                   (task.ACCEPTED, True)):
            self.take(state=state)
            self.admin_api.post_server_action(
                self.server['id'], {'os-resetState': {'state': 'active'}})
            self._shelve_server(
                self.server, expected_state='SHELVED_OFFLOADED')
            with self.cell() as cell:
                self.assertEqual(is_accepted, task.give_back(
                    cell, self.instance(self.server), 'req-of-somebody'))
            self.assertEqual(('Settled', None), noted.of(
                self.instance(self.server).system_metadata))
            self._unshelve_server(self.server)

    def test_the_server_is_soft_deleted(self):
        self.flags(reclaim_instance_interval=3600)
        with self.before('set_elastic_guest',
                         lambda: self.api.delete_server(self.server['id']),
                         owner=scripted.ScriptedFakeDriver):
            self.post(202, current_vcpus=6, persist=False)
        self._wait_for_state_change(self.server, 'SOFT_DELETED')
        self.reconcile()
        self.assertEqual(('Settled', None), noted.of(
            self.instance(self.server).system_metadata))
        self.assert_charged(self.server, base.MINIMUM, 'host1')

    def test_a_resize_is_left_alone(self):
        """Also where a task of ours ended without a word before."""
        for state in (None, task.DONE, task.ACCEPTED):
            instance = self.instance(self.server)
            if state:
                task.note(instance, 'req-of-somebody', state)
            # As API.resize() does.
            task.forget(instance)
            instance.task_state = 'resize_prep'
            instance.save(expected_task_state=[None])
            with mock.patch.object(task, 'PATIENCE', 0):
                self.reconcile()
            with self.cell() as cell:
                task.give_back(cell, instance, 'req-of-somebody')
            instance = self.instance(self.server)
            self.assertEqual('resize_prep', instance.task_state)
            instance.task_state = None
            instance.save()


class QuotaTestCase(task_base.TaskBase):

    def setUp(self):
        super().setUp()
        self.other = self.create_server(self.create_elastic_flavor())
        self.flags(cores=10, ram=-1, group='quota')

    def charged(self):
        return [size.charged(self.instance(server)).vcpus
                for server in (self.server, self.other)]

    def adjust_other(self, vcpus):
        self.post(202, server=self.other, current_vcpus=vcpus)

    def check_two_at_once(self):
        # Both have passed the first check.
        with self.before('claim', lambda: self.adjust_other(8)):
            message = self.post(403, current_vcpus=8)
        self.assertEqual([2, 8], self.charged())
        self.assert_books(base.MINIMUM, base.MINIMUM)
        self.assertEqual(
            [], [uuid for uuid, _target, _boot in self.driver.requests
                 if uuid == self.server['id']])
        self.adjust_other(2)
        self.post(202, current_vcpus=8)
        self.post(202, current_vcpus=2)
        return message

    def test_two_at_once(self):
        self.assertIn('Requested 6, but already used 10 of 10 cores',
                      self.check_two_at_once())

    def test_two_at_once_counted_in_placement(self):
        self.flags(count_usage_from_placement=True, group='quota')
        self.check_two_at_once()

    def test_two_at_once_with_unified_limits(self):
        self.flags(driver='nova.quota.UnifiedLimitsDriver', group='quota')
        self.useFixture(limit_fixture.LimitFixture(
            {'class:VCPU': 10, 'class:MEMORY_MB': 65536, 'servers': 9,
             'class:DISK_GB': 99}, {}))
        self.assertIn('limit of 10 due to current usage 10 and delta 6',
                      self.check_two_at_once())

    def test_not_checked_again(self):
        self.flags(recheck_quota=False, group='quota')
        with self.before('adjust', lambda: self.adjust_other(8)):
            self.post(202, current_vcpus=8)
        self.assertEqual([8, 8], self.charged())

    def test_the_release_is_lost(self):
        """What was charged for it is given up all the same."""
        with self.before('claim', lambda: self.adjust_other(8)), \
                mock.patch.object(
                    rpcapi.XloudAPI, 'release',
                    side_effect=messaging.MessagingTimeout('lost')):
            self.post(403, current_vcpus=8)
        self.assert_no_task()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_the_charge_falls_meanwhile(self):
        """The growth is not what its quota was checked for."""
        for recheck in (True, False):
            self.flags(recheck_quota=recheck, group='quota')
            self.post(202, current_vcpus=8)

            def shrink():
                # An earlier request ends, and somebody takes what it frees.
                self.post(202, current_vcpus=2)
                self.adjust_other(8)

            with self.before('take', shrink, owner=task):
                self.assertIn('charged less', self.post(
                    409, current_vcpus=8))
            self.assertEqual([2, 8], self.charged())
            self.assert_books(base.MINIMUM, base.MINIMUM)
            self.adjust_other(2)


class LostReplyTestCase(task_base.TaskBase):
    """nova-conductor does each save, and its answer to one is lost."""

    def setUp(self):
        super().setUp()
        self.save_on_the_compute = objects.Instance.save
        # Before the first call: what is called once may be remembered.
        endpoint = self.compute.manager.additional_endpoints[-1]
        for name in ('adjust', 'claim'):
            self.useFixture(fixtures.MockPatchObject(
                endpoint, name, self.on_the_compute(getattr(endpoint, name))))

    def on_the_compute(self, call):
        def called(*args, **kwargs):
            with mock.patch.object(
                    objects.Instance, 'save', self.save_on_the_compute):
                return call(*args, **kwargs)
        return called

    def lose(self, number, work):
        """:returns: whether there was a save of that number"""
        real = objects.Instance.save
        count = []

        def lossy(instance, *args, **kwargs):
            real(instance, *args, **kwargs)
            count.append(1)
            if len(count) == number:
                raise messaging.MessagingTimeout('by the test')

        with mock.patch.object(self, 'save_on_the_compute', lossy):
            work()
        return len(count) >= number

    def check(self, start, target, behaviour=scripted.OBEDIENT, least=2):
        for number in range(1, 20):
            self.guest.behaviour = scripted.OBEDIENT
            self.post(202, current_vcpus=start.vcpus,
                      current_memory_mb=start.memory_mb)
            self.guest.behaviour = behaviour
            answers = []
            is_lost = self.lose(number, lambda: answers.append(
                self.owner.api_post(
                    '/os-xloud-adjust/%s' % self.server['id'],
                    {'current_vcpus': target.vcpus,
                     'current_memory_mb': target.memory_mb},
                    check_response_status=[202, 409]).status))
            self.guest.behaviour = scripted.OBEDIENT
            # Its host counts what is recorded, before any audit.
            self.assertEqual(size.charged(self.instance(self.server)),
                             self.tracked('host1'))
            self.reconcile()
            self.reconcile()
            self._run_periodics()
            # What was accepted is so, what was refused is not.
            end = target if answers == [202] else start
            self.assert_books(end, end)
            self.assert_no_task()
            if not is_lost:
                break
        self.assertGreater(number, least)

    def test_grow(self):
        self.check(base.MINIMUM, GROWN, least=3)

    def test_shrink(self):
        self.check(GROWN, base.MINIMUM)

    def test_undo(self):
        self.check(base.MINIMUM, GROWN, scripted.REFUSING)

    def test_fail(self):
        self.check(base.MINIMUM, GROWN, scripted.FAILING)

    def test_of_the_host(self):
        """What a host counts is saved apart, after the books."""
        for target in (GROWN, base.MINIMUM):
            with self.after(
                    'save', messaging.MessagingTimeout('by the test'),
                    owner=objects.ComputeNode):
                self.post(202, current_vcpus=target.vcpus,
                          current_memory_mb=target.memory_mb)
            self.assert_hosts_agree()
            self.assert_books(target, target)


class FirstElasticServers:
    """What the release before answers: RPC 1.0."""

    target = messaging.Target(namespace='xloud', version='1.0')

    def __init__(self, compute):
        self.states = manager.GuestStates(compute)
        self.called = []

    def guest_state(self, context, instance):
        return self.states.guest_state(context, instance)

    def adjust(self, context, instance, vcpus, memory_mb, persist):
        self.called.append(instance.uuid)


class RollingUpgradeTestCase(task_base.TaskBase):

    def test_old_compute(self):
        """It is shown, and refused without having been asked."""
        endpoints = self.compute.rpcserver.dispatcher.endpoints
        answers_base.forget_namespace(self.compute)
        old = FirstElasticServers(self.compute.manager)
        endpoints.append(old)
        self.refuse(409, 'not upgraded')
        self.refuse(409, 'not upgraded', current_vcpus=2)
        self.assertEqual([], old.called)
        status = self.get()
        self.assertEqual(('Settled', 2, []), (
            status['condition'], status['actual_vcpus'], status['blockers']))

    def test_old_api(self):
        """The messages that it sends, as they were recorded."""
        before = self.all_of(self.server)
        router = rpcapi.XloudAPI().router
        with self.cell() as cell:
            instance = self.instance(self.server)
            client = router.client(cell).prepare(
                server='host1', version='1.0')
            for persist in (True, False):
                error = self.assertRaises(
                    exception.ElasticConflict, client.call, cell, 'adjust',
                    instance=instance, vcpus=6, memory_mb=6144,
                    persist=persist)
                self.assertIn('nova-api is not upgraded', str(error))
            state = client.call(cell, 'guest_state', instance=instance)
        self.assertEqual(2, state['actual_vcpus'])
        self.assertEqual(before, self.all_of(self.server))
        self.assertEqual([], self.driver.requests)
