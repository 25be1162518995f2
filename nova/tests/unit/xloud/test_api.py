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

from unittest import mock

import fixtures
from oslo_utils import timeutils

from nova.compute import api as compute_api
from nova.compute import rpcapi as compute_rpcapi
from nova.compute import vm_states
from nova import context
from nova import exception
from nova import objects
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import answer
from nova.xloud import api
from nova.xloud import blockers
from nova.xloud import condition
from nova.xloud import guest as elastic_guest
from nova.xloud import rpcapi
from nova.xloud import size

GUEST = elastic_guest.GuestState(
    running=True, vcpus=2, memory_mb=2048, balloon_active=True,
    used_memory_mb=512, memory_pinned=False)
ANSWER = answer.Answer(GUEST)


class StatusTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.ctxt = context.RequestContext('user', 'owners')
        self.compute_api = mock.Mock(
            compute_rpcapi=compute_rpcapi.ComputeAPI())
        self.compute_api.servicegroup_api.service_is_up.return_value = True
        self.of_host = self.useFixture(fixtures.MockPatch(
            'nova.xloud.blockers.of_host', return_value=[])).mock
        self.ask = self.useFixture(fixtures.MockPatch(
            'nova.xloud.rpcapi.XloudAPI.guest_state',
            return_value=ANSWER)).mock
        self.services = objects.ServiceList(
            objects=[objects.Service(binary='nova-compute')])

    def _status(self, instance=None, **kwargs):
        if instance is None:
            instance = fakes.server(services=self.services, **kwargs)
        return api.status(self.compute_api, self.ctxt, instance)

    def test_asks_nobody_about_a_fixed_server(self):
        status = self._status(fakes.server(fakes.flavor()))
        self.ask.assert_not_called()
        self.of_host.assert_not_called()
        self.assertEqual([], self.compute_api.mock_calls)
        self.assertEqual(8, status.sizes.minimum.vcpus)

    def test_current(self):
        # The one size that old clients see.
        nothing = answer.Answer(elastic_guest.NOT_RUNNING)
        silent = rpcapi.HostSilent(instance_uuid='', reason='')
        for answered, vm_state, current in (
                (ANSWER, vm_states.ACTIVE, (2, 2048)),
                (nothing, vm_states.ACTIVE, (3, 3072)),
                (nothing, vm_states.STOPPED, (3, 3072)),
                (nothing, vm_states.SUSPENDED, (4, 4096)),
                (silent, vm_states.ACTIVE, (4, 4096)),
                (silent, vm_states.STOPPED, (3, 3072))):
            instance = fakes.server(
                services=self.services, vm_state=vm_state)
            size.record(instance, size.Size(4, 4096), size.Size(3, 3072))
            self.ask.side_effect = [answered]
            status = self._status(instance)
            self.assertEqual(current, status.current)

    def test_blockers_of_a_stopped_guest(self):
        # A guest that does not run has no balloon to miss.
        self.ask.return_value = answer.Answer(elastic_guest.NOT_RUNNING)
        self.assertEqual([], self._status().blockers)

    def test_memory_pinned_is_said_once(self):
        self.ask.return_value = answer.Answer(
            GUEST._replace(memory_pinned=True))
        instance = fakes.server(services=self.services)
        instance.flavor.extra_specs['resources:VGPU'] = '1'
        self.assertEqual(
            ['memory_pinned'],
            [blocker.code for blocker in self._status(instance).blockers])

    def test_host_down_is_not_asked(self):
        self.compute_api.servicegroup_api.service_is_up.return_value = False
        status = self._status()
        self.ask.assert_not_called()
        self.of_host.assert_not_called()
        self.assertEqual(condition.UNKNOWN, status.condition)

    def test_no_service(self):
        self.services.objects.clear()
        self.assertEqual(condition.UNKNOWN, self._status().condition)


class AdjustTestCase(test.NoDBTestCase):
    """The hook in the compute API and the order of what it leads to."""

    def setUp(self):
        super().setUp()
        self.ctxt = context.RequestContext('user', 'owners')
        self.compute_api = compute_api.API()
        self.instance = fakes.server(
            launched_at=timeutils.utcnow(),
            services=objects.ServiceList(
                objects=[objects.Service(binary='nova-compute')]))
        self.is_up = self.useFixture(fixtures.MockPatchObject(
            self.compute_api.servicegroup_api, 'service_is_up',
            return_value=True)).mock
        self.calls = mock.Mock()
        for name, target in (
                ('of_host', 'nova.xloud.blockers.of_host'),
                ('quota', 'nova.xloud.quota.check'),
                ('take', 'nova.xloud.task.take'),
                ('start', 'nova.xloud.action.start'),
                ('claim', 'nova.xloud.rpcapi.XloudAPI.claim'),
                ('rpc', 'nova.xloud.rpcapi.XloudAPI.adjust'),
                ('release', 'nova.xloud.rpcapi.XloudAPI.release'),
                ('event', 'nova.objects.InstanceActionEvent.create'),
                ('give_back', 'nova.xloud.task.give_back'),
                ('refresh', 'nova.xloud.api._refresh'),
                ('finish', 'nova.xloud.action.finish')):
            patch = self.useFixture(fixtures.MockPatch(target))
            self.calls.attach_mock(patch.mock, name)
        self.calls.of_host.return_value = []
        self.calls.rpc.return_value = ANSWER
        self.calls.claim.return_value = size.Size(4, 2048)
        self.calls.give_back.return_value = False
        self.calls.take.side_effect = lambda ctxt, instance, token: instance

    def _adjust(self, vcpus=4, memory_mb=None, persist=True):
        return self.compute_api.xloud_adjust(
            self.ctxt, self.instance, vcpus, memory_mb, persist)

    def _order(self):
        return [call[0] for call in self.calls.mock_calls]

    def test_order(self):
        self._adjust()
        self.assertEqual(
            ['of_host', 'quota', 'take', 'start', 'claim', 'quota', 'rpc',
             'event', 'refresh', 'finish'], self._order())
        self.calls.take.assert_called_once_with(
            self.ctxt, self.instance, self.ctxt.request_id)
        request = rpcapi.Request(
            self.ctxt.request_id, 4, None, True,
            [self.instance.flavor.id, 2, 2048, *fakes.MAXIMUM], [2, 2048])
        self.calls.claim.assert_called_once_with(
            self.ctxt, self.instance, request)
        self.calls.rpc.assert_called_once_with(
            self.ctxt, self.instance, request._replace(charged=[4, 2048]))

    def test_order_without_growth(self):
        size.record(self.instance, size.Size(4, 4096), size.Size(4, 4096))
        self._adjust(2, 2048)
        self.assertEqual(
            ['of_host', 'quota', 'take', 'start', 'rpc', 'event', 'refresh',
             'finish'], self._order())

    def test_order_without_second_check(self):
        self.flags(recheck_quota=False, group='quota')
        self._adjust()
        self.assertNotIn('claim', self._order())

    def _refuses(self, error, *args, **kwargs):
        self.assertRaises(error, self._adjust, *args, **kwargs)
        self.calls.rpc.assert_not_called()

    def test_refusal_leaves_no_trace(self):
        self._refuses(exception.InvalidRequest, 9)
        self.assertEqual([], self._order())

    def test_refused_by_the_second_check(self):
        self.calls.quota.side_effect = [None, exception.TooManyInstances('no')]
        self._refuses(exception.TooManyInstances)
        self.assertEqual(
            ['of_host', 'quota', 'take', 'start', 'claim', 'quota',
             'release', 'give_back', 'event', 'refresh', 'finish'],
            self._order())

    def test_refused_by_the_host(self):
        for error in (exception.ElasticConflict, exception.ElasticNoRoom,
                      rpcapi.HostSilent):
            self.calls.rpc.side_effect = error(instance_uuid='', reason='')
            self.assertRaises(error, self._adjust)
            self.calls.give_back.assert_called_with(
                self.ctxt, self.instance, self.ctxt.request_id)
            self.calls.finish.assert_called_with(
                self.ctxt, self.instance, 'Error')

    def test_accepted_and_no_answer(self):
        self.calls.rpc.side_effect = rpcapi.HostSilent(
            instance_uuid='', reason='')
        self.calls.give_back.return_value = True
        self._assert_unknown('host_silent')

    def test_accepted_and_the_guest_has_stopped(self):
        self.calls.rpc.return_value = answer.Answer(is_missing=True)
        self._assert_unknown('guest_missing')

    def _assert_unknown(self, code):
        """The blockers say why, as in the status right after it."""
        status = self._adjust()
        self.assertEqual('Unknown', status.condition)
        self.assertEqual(
            [(code, 'vcpus'), (code, 'memory_mb')],
            [blocker[:2] for blocker in status.blockers])

    def test_lock(self):
        self.instance.locked = True
        self._refuses(exception.InstanceIsLocked)
        self.assertEqual([], self._order())

    def test_state(self):
        for vm_state, task_state in (('paused', None), ('error', None),
                                     ('active', 'resize_prep')):
            self.instance.vm_state = vm_state
            self.instance.task_state = task_state
            self._refuses(exception.InstanceInvalidState)
        self.assertEqual([], self._order())

    def test_host_down(self):
        self.is_up.return_value = False
        self._refuses(exception.ServiceUnavailable)

    def test_stopped(self):
        self.instance.vm_state = 'stopped'
        self._refuses(exception.ElasticConflict, persist=False)
        self._adjust(persist=True)

    def test_host_cannot(self):
        self.calls.of_host.return_value = [
            blockers.Blocker('host_cannot', 'vcpus', 'why')]
        self._refuses(exception.ElasticConflict)
        # Only what is asked for matters.
        status = self._adjust(None, 4096)
        self.assertEqual(['host_cannot'], [
            blocker.code for blocker in status.blockers])

    def test_memory_pinned(self):
        self.instance.flavor.extra_specs['resources:VGPU'] = '1'
        self._refuses(exception.ElasticConflict, None, 4096)
        self._refuses(exception.ElasticConflict, 4, 4096)
        self._adjust(4)
        self._adjust(4, 2048)

    def test_driver_without_it(self):
        self.calls.rpc.side_effect = NotImplementedError
        self.assertRaises(exception.ElasticConflict, self._adjust)
