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

"""The instance actions of a server say what it was charged, and since when.

Its owner reads only these. Whatever becomes of a request, they end with what
is charged.
"""

import contextlib
import re
import threading
from unittest import mock

import oslo_messaging as messaging
from oslo_utils import timeutils

from nova.compute import instance_actions
from nova import exception
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import scripted
from nova.tests.functional.xloud import task_base
from nova import utils
from nova.xloud import action
from nova.xloud import api
from nova.xloud import books
from nova.xloud import noted
from nova.xloud import rpcapi
from nova.xloud import size
from nova.xloud import task

GROWN = adjust_base.GROWN

_CHANGE = r'%s (\d+) vCPUs, (\d+) MiB -> (\d+) vCPUs, (\d+) MiB'


class HistoryTestCase(task_base.TaskBase):

    def changes(self, word='charged'):
        """Each recorded change of one of its sizes, the first one first."""
        actions = self.api.get_instance_actions(self.server['id'])
        for found in sorted(reversed(actions), key=lambda a: a['start_time']):
            for sizes in re.findall(_CHANGE % word, found['message'] or ''):
                numbers = list(map(int, sizes))
                yield size.Size(*numbers[:2]), size.Size(*numbers[2:])

    def assert_told(self, charge):
        """The server is charged this, and each change of that is recorded.

        So is each change of its other sizes.
        """
        instance = self.instance(self.server)
        self.assertEqual(charge, size.charged(instance))
        for word in ('desired', 'boot', 'charged'):
            told = base.MINIMUM
            for before, after in self.changes(word):
                self.assertEqual(told, before, word)
                told = after
            self.assertEqual(getattr(size, word)(instance), told, word)

    def grow(self, status=202):
        return self.post(status, current_vcpus=6, current_memory_mb=6144)

    def assert_noted(self, name):
        self.assertEqual(name, noted.of(
            self.instance(self.server).system_metadata)[0])

    def give_back(self):
        """Nobody works on a request any more, and the next pass sees that."""
        with mock.patch.object(task, 'PATIENCE', 0):
            self.reconcile()
        self.reconcile()

    def test_a_claim_that_nobody_gives_up(self):
        """The host dies after it, so that the server stays charged."""
        silent = rpcapi.HostSilent(instance_uuid='', reason='by the test')
        with mock.patch.object(rpcapi.XloudAPI, 'adjust', side_effect=silent):
            self.grow(409)
        self.assert_told(GROWN)
        self.assertTrue(self.api.get_instance_actions(
            self.server['id'])[0]['message'].startswith('Error; charged '))
        # Also in the list of servers.
        self.assert_noted(noted.IN_PROGRESS)
        self.reconcile()
        self.assert_told(base.MINIMUM)
        self.assert_noted(noted.SETTLED)

    def test_a_change_that_is_undone_later(self):
        away = exception.HypervisorUnavailable(host='host1')
        for persist in (True, False):
            with mock.patch.object(
                    scripted.ScriptedFakeDriver, 'set_elastic_guest',
                    side_effect=away):
                self.assertIn('will undo the change', self.post(
                    409, current_vcpus=6, current_memory_mb=6144,
                    persist=persist))
            self.assert_told(GROWN)
            self.assert_noted(noted.IN_PROGRESS)
            self.reconcile()
            self.assert_told(base.MINIMUM)
            self.assert_noted(noted.SETTLED)

    def test_a_change_that_is_undone_after_a_long_time(self):
        """nova-compute is not there meanwhile, and no time has passed."""
        self.wait()
        set_guest = scripted.ScriptedFakeDriver.set_elastic_guest

        def set_and_hang(driver, *args):
            set_guest(driver, *args)
            driver.is_away = True
            raise exception.HypervisorUnavailable(host='host1')

        with mock.patch.object(
                scripted.ScriptedFakeDriver, 'set_elastic_guest',
                set_and_hang):
            self.assertIn('will undo the change', self.grow(409))
        self.assertEqual(GROWN, self.guest.held)
        self.compute = self.restart_compute_service(self.compute)
        self.wait()
        self.driver.is_away = False
        self.reconcile()
        self.assertEqual(base.MINIMUM, self.guest.held)
        self.assert_told(base.MINIMUM)
        self.assert_noted(noted.SETTLED)

    def test_a_guest_that_resets_itself_after_a_claim(self):
        """It has its time, whatever a request has left."""
        self.wait()
        silent = rpcapi.HostSilent(instance_uuid='', reason='by the test')
        with mock.patch.object(rpcapi.XloudAPI, 'adjust', side_effect=silent):
            self.grow(409)
        self.guest.behaviour = scripted.LOST
        self.guest.reset()
        self.reconcile()
        instance = self.instance(self.server)
        self.assertEqual(base.MINIMUM, size.desired(instance))
        self.assert_noted(noted.IN_PROGRESS)
        self.guest.load_balloon()
        self.reconcile()
        self.assert_told(base.MINIMUM)

    def test_a_change_after_the_server_was_read(self):
        """The request changes back what reconcile has just charged."""
        self.wait()
        self.reconcile()

        def take_memory():
            self.guest.held = GROWN
            self.guest.behaviour = scripted.LOST
            self.reconcile()
            self.assert_told(GROWN)
            self.guest.behaviour = scripted.OBEDIENT

        with self.before('take', take_memory, owner=task):
            self.post(202, current_vcpus=2, current_memory_mb=2048)
        self.assert_told(base.MINIMUM)

    def test_a_change_whose_answer_is_lost(self):
        self.wait()
        self.reconcile()
        self.guest.held = GROWN
        self.guest.behaviour = scripted.LOST
        with self.after('save', messaging.MessagingTimeout(), owner=books):
            self.reconcile()
        self.wait(60)
        self.reconcile()
        self.assert_told(GROWN)

    def test_a_change_that_is_not_saved(self):
        """It is made later, and recorded once."""
        self.wait()
        self.reconcile()
        self.guest.held = GROWN
        self.guest.behaviour = scripted.LOST
        with mock.patch.object(
                books, 'save', side_effect=messaging.MessagingTimeout()):
            self.reconcile()
        self.assert_told(base.MINIMUM)
        self.wait(60)
        self.reconcile()
        self.assertEqual(1, len(list(self.changes())))
        self.assert_told(GROWN)

    def test_nova_api_dies(self):
        # Nobody ends the action.
        self.adjust(*GROWN)
        self.reconcile()
        self.assertEqual([], list(self.changes()))
        self.wait(60)
        self.reconcile()
        self.assert_told(GROWN)
        self.reconcile()
        self.assertEqual(1, len(list(self.changes())))

    def test_a_program_that_asks_for_what_is_new(self):
        """It has asked before the change is recorded."""
        self.adjust(*GROWN)
        asked = timeutils.utcnow()
        self.wait(60)
        self.reconcile()
        with utils.temporary_mutation(self.api, microversion='2.58'):
            (found,) = self.api.api_get(
                '/servers/%s/os-instance-actions?changes-since=%sZ' % (
                    self.server['id'], asked.isoformat())
            ).body['instanceActions']
        self.assertEqual(instance_actions.XLOUD_SETTLE, found['action'])
        # It begins when the change was made.
        self.assertLess(
            timeutils.parse_strtime(found['start_time']), asked)

    def test_nova_api_does_not(self):
        self.grow()
        self.wait(60)
        self.reconcile()
        self.assert_told(GROWN)
        self.assertEqual(1, len(list(self.changes())))

    def grow_without_answer(self, failure=None, **sizes):
        """nova-api gives up while its host works, which goes on.

        :param failure: how the first try of the host ends
        """
        asks, goes_on = threading.Event(), threading.Event()
        set_guest = scripted.ScriptedFakeDriver.set_elastic_guest
        ask = rpcapi.XloudAPI._ask
        calls = []

        def slow(driver, *args):
            if not asks.is_set():
                asks.set()
                goes_on.wait(self.SECONDS)
                if failure is not None:
                    raise failure
            set_guest(driver, *args)

        def carry_out(*args):
            with contextlib.suppress(exception.ElasticConflict):
                ask(*args)

        def lose(*args):
            if 'adjust' not in args:
                return ask(*args)
            calls.append(threading.Thread(target=carry_out, args=args))
            calls[0].start()
            asks.wait(self.SECONDS)
            raise rpcapi.HostSilent(instance_uuid='', reason='by the test')

        with mock.patch.object(scripted.ScriptedFakeDriver,
                               'set_elastic_guest', slow), \
                mock.patch.object(rpcapi.XloudAPI, '_ask', lose):
            self.post(202, **sizes)
            told = list(self.changes())
            goes_on.set()
            calls[0].join()
        self.wait(60)
        self.give_back()
        return told

    def test_nova_api_does_not_wait(self):
        self.grow()
        told = self.grow_without_answer(
            current_vcpus=2, current_memory_mb=2048)
        self.assertEqual([(base.MINIMUM, GROWN)], told)
        self.assert_told(base.MINIMUM)
        request_id = next(
            found['request_id']
            for found in self.api.get_instance_actions(self.server['id'])
            if found['action'] == instance_actions.XLOUD_ADJUST)
        (event,) = [
            event for event in self.api.api_get(
                '/servers/%s/os-instance-actions/%s' % (
                    self.server['id'], request_id)
            ).body['instanceAction']['events']
            if event['event'] == 'api_xloud_adjust']
        self.assertEqual('Success', event['result'])

    def test_nova_api_does_not_wait_for_the_end(self):
        """It says what is charged for the moment, and that falls."""
        self.post(202, current_vcpus=4, current_memory_mb=6144)
        told = self.grow_without_answer(
            current_vcpus=6, current_memory_mb=2048)
        self.assertEqual(GROWN, told[-1][1])
        self.assert_told(size.Size(6, 2048))

    def test_nova_api_does_not_wait_for_a_refusal(self):
        """It says that the request is accepted, and that is undone."""
        told = self.grow_without_answer(
            exception.ElasticGuestRefused(
                instance_uuid=self.server['id'], reason='by the test.'),
            current_vcpus=6, current_memory_mb=6144)
        self.assertEqual([(base.MINIMUM, GROWN)], told)
        self.assert_told(base.MINIMUM)

    def test_nova_api_dies_after_the_claim(self):
        with self.cell() as cell:
            instance = self.instance(self.server)
            request = rpcapi.Request.about(
                instance, cell.request_id, *GROWN, True)
            task.take(cell, instance, request.token)
            action.start(cell, instance)
            rpcapi.XloudAPI().claim(cell, instance, request)
        self.wait(60)
        self.reconcile()
        # Somebody may still ask for the rest of it.
        self.assertEqual([], list(self.changes()))
        self.give_back()
        self.assertEqual(2, len(list(self.changes())))
        self.assert_told(base.MINIMUM)

    def test_a_change_before_nova_api_looks(self):
        """The guest follows right after the last look of its host."""
        self.grow()
        self.guest.behaviour = scripted.LOST

        def settle():
            self.guest.held = base.MINIMUM
            self.reconcile()

        with self.before('_refresh', settle, owner=api):
            self.post(202, current_vcpus=2, current_memory_mb=2048)
        self.assert_told(base.MINIMUM)

    def test_another_request_before_nova_api_looks(self):
        """The refused one does not say what the next one has changed."""
        self.guest.behaviour = scripted.REFUSING

        def grow():
            self.guest.behaviour = scripted.OBEDIENT
            self.grow()

        with self.before('_refresh', grow, owner=api):
            self.grow(409)
        self.assert_told(GROWN)

    def test_resize(self):
        self.start_host('host2')
        self.grow()
        less, fixed = size.Size(1, 512), size.Size(3, 1536)
        other = self.create_elastic_flavor(
            maximum=size.Size(4, 4096), minimum=less)
        plain = self._create_flavor(
            vcpu=fixed.vcpus, memory_mb=fixed.memory_mb, disk=1)
        self.server = self._resize_server(self.server, other)
        self.assert_told(less)
        self.server = self._revert_resize(self.server)
        self.assert_told(GROWN)
        for flavor, charge in ((plain, fixed), (other, less)):
            self.server = self._confirm_resize(
                self._resize_server(self.server, flavor))
            self.assert_told(charge)
