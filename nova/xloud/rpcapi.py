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

It has a namespace of its own on the compute topic, so that no version of
upstream's changes and a compute service that does not have it says so.
"""

from oslo_concurrency import lockutils
import oslo_messaging as messaging

from nova.compute import rpcapi as compute_rpcapi
import nova.conf
from nova import exception
from nova.i18n import _
from nova.objects import base as objects_base
from nova import rpc

CONF = nova.conf.CONF

# A view is not worth a longer wait: it says that the host does not answer.
STATE_TIMEOUT = 5

_ROUTER = None


class HostNotUpgraded(exception.ElasticConflict):
    """The compute service does not know elastic servers. Nothing was done."""


class HostSilent(exception.ElasticConflict):
    """No answer came. What was asked for may have been done or not."""


class XloudAPI:
    """Client side of the 'xloud' RPC namespace.

    API version history:

        * 1.0 - adjust() and guest_state()
    """

    @property
    def router(self):
        # As for the compute RPC API: made once, and late, since services
        # fork after the import.
        global _ROUTER
        if _ROUTER is None:
            with lockutils.lock('xloud-rpcapi-router'):
                if _ROUTER is None:
                    target = messaging.Target(
                        topic=compute_rpcapi.RPC_TOPIC, namespace='xloud',
                        version='1.0')
                    _ROUTER = rpc.ClientRouter(rpc.get_client(
                        target,
                        serializer=objects_base.NovaObjectSerializer()))
        return _ROUTER

    def adjust(self, context, instance, vcpus, memory_mb, persist):
        """Change the size of a server.

        :param vcpus: None to keep what is desired
        :param memory_mb: None to keep what is desired
        :returns: what the guest holds after the change, as guest_state()
        :raises: ElasticNoRoom and ElasticConflict
        """
        # A guest may take seconds for each vCPU that it gives back. While it
        # does, the host says at shorter intervals that it is alive.
        client = self._client(
            context, instance, timeout=CONF.long_rpc_timeout,
            call_monitor_timeout=CONF.rpc_response_timeout)
        try:
            return _call(client, context, instance, 'adjust', vcpus=vcpus,
                         memory_mb=memory_mb, persist=persist)
        except messaging.MessagingTimeout:
            raise HostSilent(
                instance_uuid=instance.uuid,
                reason=_('its host did not answer in time, so the outcome is '
                         'unknown. Look at the status of the server before '
                         'trying again.'))

    def guest_state(self, context, instance):
        """What the guest of a server holds.

        :returns: dict of actual_vcpus and actual_memory_mb, which are None
            if the hypervisor does not say and 0 if the guest does not run,
            balloon_driver_active, memory_pinned, used_memory_mb and
            cannot_plug; a newer host adds is_missing, whether no guest runs
            though one should, and is_returning and online_vcpus, as
            GuestState has them
        :raises: ElasticConflict
        """
        client = self._client(context, instance, timeout=STATE_TIMEOUT)
        try:
            return _call(client, context, instance, 'guest_state')
        except messaging.MessagingTimeout:
            raise HostSilent(
                instance_uuid=instance.uuid,
                reason=_('its host does not answer.'))

    def _client(self, context, instance, **kwargs):
        return self.router.client(context).prepare(
            server=instance.host, **kwargs)


def _call(client, context, instance, method, **kwargs):
    try:
        return client.call(context, method, instance=instance, **kwargs)
    except messaging.UnsupportedVersion:
        raise _not_upgraded(instance)
    except messaging.RemoteError as error:
        # The same over a message broker, where only the exceptions of
        # nova.exception arrive as themselves.
        if error.exc_type == messaging.UnsupportedVersion.__name__:
            raise _not_upgraded(instance)
        raise


def _not_upgraded(instance):
    return HostNotUpgraded(
        instance_uuid=instance.uuid,
        reason=_('the compute service of its host is not upgraded to elastic '
                 'servers yet.'))
