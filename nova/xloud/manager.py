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

"""What nova-compute answers to the calls about elastic servers.

nova.xloud.rpcapi is the client. nova.xloud.change makes what is asked for.
"""

import contextlib

import oslo_messaging as messaging

from nova.compute import manager as compute_manager
from nova import exception
from nova.i18n import _
from nova import objects
from nova.xloud import action
from nova.xloud import answer
from nova.xloud import change as xloud_change
from nova.xloud import executor as xloud_executor
from nova.xloud import guest as elastic_guest
from nova.xloud import reconcile
from nova.xloud import rpcapi
from nova.xloud import task

# The caller gets these refusals. They are no failures of the service.
_REFUSALS = (exception.Invalid, exception.InstanceNotFound,
             NotImplementedError)

_expected = messaging.expected_exceptions(*_REFUSALS)

# The work and its notifications read these attributes of an instance.
_EXPECTED_ATTRS = ('flavor', 'info_cache', 'metadata', 'system_metadata')


def plug_into(compute) -> reconcile.Reconciler:
    """Give a ComputeManager what elastic servers need."""
    unclaimed = task.Unclaimed()
    executor = xloud_executor.Executor(compute)
    compute.additional_endpoints += [
        GuestStates(compute), ElasticServers(compute, executor, unclaimed)]
    return reconcile.Reconciler(compute, executor, unclaimed)


class GuestStates:
    """What is left of version 1 of the 'xloud' RPC namespace."""

    target = messaging.Target(namespace='xloud', version='1.0')

    def __init__(self, compute):
        self._compute = compute

    @_expected
    def guest_state(self, context, instance):
        """What the guest of a server holds.

        :raises: NotImplementedError if the hypervisor has no elastic servers
        """
        guest = elastic_guest.ask(self._compute.driver, instance)
        if elastic_guest.is_missing(instance, guest.running):
            return answer.Answer(is_missing=True).to_rpc()
        return answer.Answer(guest).to_rpc()

    @_expected
    def adjust(self, context, instance, vcpus, memory_mb, persist):
        """Refuse what a nova-api of version 1 asks for.

        It has not taken the task of the server, so nobody knows whether it
        still waits.
        """
        raise exception.ElasticConflict(instance_uuid=instance.uuid, reason=_(
            'nova-api is not upgraded to the version of its host yet. Try '
            'again after the upgrade.'))


class ElasticServers:
    """Server side of the 'xloud' RPC namespace: see nova.xloud.rpcapi."""

    target = messaging.Target(namespace='xloud', version='2.0')

    def __init__(self, compute, executor, unclaimed):
        self._compute = compute
        self._executor = executor
        self._unclaimed = unclaimed

    @_expected
    def claim(self, context, instance_uuid, request):
        """Charge a server for its growth, so that it can be counted.

        :param request: nova.xloud.rpcapi.Request as a dict
        :returns: what the server is charged then
        :raises: ElasticNoRoom or ElasticConflict, when the server is as it
            was before
        """
        with self._changing(context, instance_uuid, request) as change:
            return list(change.claim())

    @_expected
    def adjust(self, context, instance_uuid, request):
        """Change the size of a server.

        :param request: nova.xloud.rpcapi.Request as a dict
        :returns: as guest_state(), after the change
        :raises: ElasticNoRoom or ElasticConflict, when the server is as it
            was before, unless its task says that the request was accepted
        """
        refusal, reply = self._adjust_or_refuse(
            context, instance_uuid, request)
        if refusal is not None:
            raise refusal
        return reply.to_rpc()

    # An operator needs no notification of a refusal.
    @compute_manager.wrap_exception()
    def _adjust_or_refuse(self, context, instance_uuid, request):
        try:
            with action.event(context, instance_uuid, 'compute_adjust',
                              self._compute.host) as details, self._changing(
                                  context, instance_uuid, request) as change:
                reply = change.make()
                details.append(change.what_has_changed())
                return None, reply
        except _REFUSALS as error:
            return error, None

    @_expected
    def release(self, context, instance_uuid, request):
        """Give up what claim() has charged: the request was refused."""
        with self._changing(context, instance_uuid, request) as change:
            change.give_up()

    @contextlib.contextmanager
    def _changing(self, context, instance_uuid, request):
        """The Change that a request asks for, of the server as it is now."""
        request = rpcapi.Request(**request)
        with task.locked(instance_uuid), (
                self._unclaimed.at_work(request.token)):
            instance = objects.Instance.get_by_uuid(
                context, instance_uuid, expected_attrs=list(_EXPECTED_ATTRS))
            change = xloud_change.Change(
                self._compute, self._executor, context, instance, request)
            change.check()
            yield change
