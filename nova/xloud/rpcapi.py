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

"""Client side of the RPC of elastic servers.

It has a namespace of its own on the compute topic. So no version of upstream's
changes, and a compute service without this namespace says so.
"""

import typing as ty

from oslo_concurrency import lockutils
import oslo_messaging as messaging

from nova.compute import rpcapi as compute_rpcapi
import nova.conf
from nova import exception
from nova.i18n import _
from nova.objects import base as objects_base
from nova import rpc
from nova.xloud import answer
from nova.xloud import size
from nova.xloud import task

CONF = nova.conf.CONF

# A status is not worth a longer wait: it says that the host does not answer.
STATE_TIMEOUT = 5

_ROUTER = None


class HostNotUpgraded(exception.ElasticConflict):
    """The compute service does not know elastic servers. Nothing was done."""


class HostSilent(exception.ElasticConflict):
    """No answer came. The request may have been carried out or not."""


class Request(ty.NamedTuple):
    """What nova-api asks for, and what it has checked before."""

    # The token of this request in the task of the server.
    token: str
    # None to keep what is desired.
    vcpus: ty.Optional[int]
    memory_mb: ty.Optional[int]
    # Whether the next start of the server gives the new size too.
    persist: bool
    # From task.range_of() and size.charged().
    flavor: ty.Sequence[int]
    charged: ty.Sequence[int]

    @classmethod
    def about(cls, instance, token, vcpus, memory_mb, persist):
        return cls(token, vcpus, memory_mb, persist,
                   flavor=task.range_of(instance),
                   charged=list(size.charged(instance)))


class XloudAPI:
    """Client side of the 'xloud' RPC namespace.

    API version history:

        * 1.0 - adjust() and guest_state()
        * 2.0 - claim(), adjust() and release() with a Request. A service
          with 2.0 refuses the adjust() of 1.0, whose sender has not taken
          the task of the server. A service with 1.0 refuses these three.
          guest_state() stays the same, so that each answers the other.
    """

    @property
    def router(self):
        # As in the compute RPC API, this is made once, and late, because
        # services fork after the import.
        global _ROUTER
        if _ROUTER is None:
            with lockutils.lock('xloud-rpcapi-router'):
                if _ROUTER is None:
                    target = messaging.Target(
                        topic=compute_rpcapi.RPC_TOPIC, namespace='xloud',
                        version='2.0')
                    _ROUTER = rpc.ClientRouter(rpc.get_client(
                        target,
                        serializer=objects_base.NovaObjectSerializer()))
        return _ROUTER

    def claim(self, context, instance, request):
        """Charge a server for its growth before it grows.

        :returns: what it is charged then
        :raises: ElasticNoRoom and ElasticConflict
        """
        return size.Size(*self._ask(context, instance, 'claim', request))

    def adjust(self, context, instance, request):
        """Change the size of a server.

        :returns: Answer about its guest after the change
        :raises: ElasticNoRoom and ElasticConflict
        """
        return answer.Answer.from_rpc(
            self._ask(context, instance, 'adjust', request))

    def release(self, context, instance, request):
        """Charge a server again for what it has, after claim()."""
        self._ask(context, instance, 'release', request)

    def _ask(self, context, instance, method, request):
        # A guest may take seconds for each vCPU that it gives back. While it
        # does, the host says at shorter intervals that it is alive.
        client = self._client(
            context, instance, timeout=CONF.long_rpc_timeout,
            call_monitor_timeout=CONF.rpc_response_timeout)
        try:
            # Send no object: what was read here may be outdated when the
            # host saves it.
            return _call(client, context, instance, method, {
                'instance_uuid': instance.uuid,
                'request': request._asdict()})
        except messaging.MessagingTimeout:
            raise HostSilent(
                instance_uuid=instance.uuid,
                reason=_('its host did not answer in time. Nothing was '
                         'changed.'))

    def guest_state(self, context, instance):
        """What the guest of a server holds.

        :returns: Answer
        :raises: ElasticConflict
        """
        client = self._client(
            context, instance, timeout=STATE_TIMEOUT, version='1.0')
        try:
            return answer.Answer.from_rpc(_call(
                client, context, instance, 'guest_state',
                {'instance': instance}))
        except messaging.MessagingTimeout:
            raise HostSilent(
                instance_uuid=instance.uuid,
                reason=_('its host does not answer.'))

    def _client(self, context, instance, **kwargs):
        return self.router.client(context).prepare(
            server=instance.host, **kwargs)


def _call(client, context, instance, method, arguments):
    try:
        return client.call(context, method, **arguments)
    except messaging.UnsupportedVersion:
        raise _not_upgraded(instance)
    except messaging.RemoteError as error:
        # A message broker preserves only the types of nova.exception, so
        # this is the same error.
        if error.exc_type == messaging.UnsupportedVersion.__name__:
            raise _not_upgraded(instance)
        raise


def _not_upgraded(instance):
    return HostNotUpgraded(
        instance_uuid=instance.uuid,
        reason=_('the compute service of its host is not upgraded to this '
                 'version of elastic servers yet. Try again after the '
                 'upgrade.'))
