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
import oslo_messaging as messaging
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import rpcapi as compute_rpcapi
from nova import context
from nova import exception
from nova import objects
from nova import rpc
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.unit.xloud import broker
from nova.xloud import answer
from nova.xloud import rpcapi
from nova.xloud import size

STATE = {'actual_vcpus': 2, 'actual_memory_mb': 2048,
         'balloon_driver_active': True, 'memory_pinned': False,
         'used_memory_mb': 512, 'cannot_plug': False}
ANSWER = answer.Answer.from_rpc(STATE)

REQUEST = rpcapi.Request('token', 4, None, False, [1, 2, 2048, 8, 16384],
                         [2, 2048])


class Endpoint:
    """A compute service that knows elastic servers."""

    target = messaging.Target(namespace='xloud', version='2.0')

    def __init__(self):
        self.error = None

    def adjust(self, context, instance_uuid, request):
        if self.error:
            raise self.error
        self.asked = instance_uuid, request
        return STATE

    def claim(self, context, instance_uuid, request):
        return [4, 2048]

    def release(self, context, instance_uuid, request):
        pass


class FirstEndpoint:
    """What there was before, and what is still there of it."""

    target = messaging.Target(namespace='xloud', version='1.0')

    def adjust(self, context, instance, vcpus, memory_mb, persist):
        raise AssertionError('It must not be called.')

    def guest_state(self, context, instance):
        return STATE


class OldEndpoint:
    """A compute service of upstream."""

    target = messaging.Target(version='6.3')

    def adjust(self, context, instance, vcpus, memory_mb, persist):
        raise AssertionError('The namespace is not ours.')


class XloudAPITestCase(test.NoDBTestCase):
    """The client and a server on the in-process transport."""

    STUB_RPC = False
    transport = nova_fixtures.RPCFixture

    def setUp(self):
        super().setUp()
        self.useFixture(self.transport('nova.test'))
        self.useFixture(fixtures.MonkeyPatch(
            'nova.xloud.rpcapi._ROUTER', None))
        self.context = context.get_admin_context()
        self.instance = objects.Instance(uuid=uuids.instance, host='host1')
        # Where Nova's developers look for what is said to computes
        self.api = compute_rpcapi.ComputeAPI().xloud

    def _serve(self, endpoint):
        server = rpc.get_server(
            messaging.Target(topic='compute', server='host1'), [endpoint],
            serializer=objects.base.NovaObjectSerializer())
        server.start()
        self.addCleanup(server.wait)
        self.addCleanup(server.stop)

    def test_adjust(self):
        endpoint = Endpoint()
        self._serve(endpoint)
        self.assertEqual(
            ANSWER, self.api.adjust(self.context, self.instance, REQUEST))
        self.assertEqual((uuids.instance, REQUEST._asdict()), endpoint.asked)

    def test_claim(self):
        self._serve(Endpoint())
        self.assertEqual(
            size.Size(4, 2048),
            self.api.claim(self.context, self.instance, REQUEST))
        self.assertIsNone(
            self.api.release(self.context, self.instance, REQUEST))

    def test_guest_state(self):
        self._serve(FirstEndpoint())
        self.assertEqual(
            ANSWER, self.api.guest_state(self.context, self.instance))

    def test_refused(self):
        # As @messaging.expected_exceptions on the compute raises it.
        endpoint = Endpoint()
        try:
            raise exception.ElasticNoRoom(
                instance_uuid=uuids.instance, reason='full')
        except exception.ElasticNoRoom:
            endpoint.error = messaging.ExpectedException()
        self._serve(endpoint)
        error = self.assertRaises(
            exception.ElasticNoRoom, self.api.adjust, self.context,
            self.instance, REQUEST)
        self.assertEqual(409, error.code)
        self.assertIn('full', str(error))

    def test_not_upgraded(self):
        self._serve(OldEndpoint())
        self._assert_not_upgraded(
            self.api.guest_state, self.context, self.instance)

    def test_not_upgraded_to_this_version(self):
        self._serve(FirstEndpoint())
        for call in (self.api.claim, self.api.adjust, self.api.release):
            self._assert_not_upgraded(
                call, self.context, self.instance, REQUEST)

    def _assert_not_upgraded(self, *call):
        error = self.assertRaises(rpcapi.HostNotUpgraded, *call)
        self.assertIsInstance(error, exception.ElasticConflict)
        self.assertIn('not upgraded', str(error))
        self.assertIn(uuids.instance, str(error))

    def test_other_remote_error(self):
        with mock.patch.object(self.api, '_client') as client:
            client.return_value.call.side_effect = messaging.RemoteError(
                'KeyError', 'oops')
            self.assertRaises(
                messaging.RemoteError, self.api.adjust, self.context,
                self.instance, REQUEST)

    def test_no_answer(self):
        self.flags(long_rpc_timeout=1)
        self.useFixture(fixtures.MonkeyPatch(
            'nova.xloud.rpcapi.STATE_TIMEOUT', 1))
        error = self.assertRaises(
            rpcapi.HostSilent, self.api.adjust, self.context, self.instance,
            REQUEST)
        self.assertIn('Nothing was changed', str(error))
        error = self.assertRaises(
            rpcapi.HostSilent, self.api.guest_state, self.context,
            self.instance)
        self.assertIn('does not answer', str(error))

    def test_timeouts(self):
        self.flags(rpc_response_timeout=60, long_rpc_timeout=1800)
        router = mock.Mock()
        self.useFixture(fixtures.MonkeyPatch(
            'nova.xloud.rpcapi._ROUTER', router))
        prepare = router.client.return_value.prepare
        prepare.return_value.call.return_value = STATE
        self.api.adjust(self.context, self.instance, REQUEST)
        prepare.assert_called_with(
            server='host1', timeout=1800, call_monitor_timeout=60)
        self.api.guest_state(self.context, self.instance)
        prepare.assert_called_with(
            server='host1', timeout=5, version='1.0')
        # The connection of the server's cell is in the context.
        router.client.assert_called_with(self.context)


class XloudAPIOverABrokerTestCase(XloudAPITestCase):
    """The same, where exceptions arrive as a broker carries them."""

    transport = broker.BrokerFixture
