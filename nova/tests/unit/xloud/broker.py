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

import sys

from kombu.transport import memory
from oslo_messaging._drivers import common

import nova.conf
from nova import rpc
from nova.tests import fixtures as nova_fixtures

CONF = nova.conf.CONF


def as_received(error):
    """The exception that a caller sees of one that a service raised."""
    try:
        raise error
    except Exception:
        return common.deserialize_remote_exception(
            common.serialize_remote_exception(sys.exc_info()),
            rpc.get_allowed_exmods())


class BrokerFixture(nova_fixtures.RPCFixture):
    """RPC by oslo.messaging's driver of a real broker, in this process.

    Arguments, results and exceptions are serialized as they are there; of
    the broker itself only the queues are left. Upstream's fixture hands an
    exception to the caller as it is.
    """

    def setUp(self):
        super().setUp()
        rpc.cleanup()
        self._buses.clear()
        self.messaging_conf.transport_url = 'kombu+memory:////'
        rpc.init(CONF)
        # These outlive every connection.
        self.addCleanup(memory.Channel.queues.clear)
        self.addCleanup(memory.Transport.global_state.clear)
