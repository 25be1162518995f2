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

"""The part of a compute service that changes the size of elastic servers.

If it dies in the middle of a change, nova.xloud.reconcile finishes that.
"""

import contextlib

from oslo_log import log as logging
import oslo_messaging as messaging
from oslo_utils import timeutils

from nova.compute import manager as compute_manager
from nova.compute import vm_states
import nova.conf
from nova import exception
from nova.i18n import _
from nova import objects
from nova.xloud import action
from nova.xloud import answer
from nova.xloud import blockers
from nova.xloud import condition
from nova.xloud import executor as xloud_executor
from nova.xloud import guest as elastic_guest
from nova.xloud import memory
from nova.xloud import notes
from nova.xloud import reconcile
from nova.xloud import rpcapi
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import task

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

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


class Endpoint:

    def __init__(self, compute):
        self.host = compute.host
        self._compute = compute

    def _guest(self, instance, wait=False, renew=False):
        try:
            guest = self._compute.driver.get_elastic_guests(
                [instance], wait, renew).get(instance.uuid)
        except NotImplementedError:
            # Unlike silence, this is permanent. nova-api distinguishes them.
            raise
        except Exception as error:
            LOG.warning('The hypervisor does not report what the server '
                        'holds: %s', error, instance=instance)
            raise _conflict(instance, _('its hypervisor does not answer.'))
        if guest is None:
            raise _conflict(instance, _('its guest does not answer.'))
        return guest


class GuestStates(Endpoint):
    """What is left of version 1 of the 'xloud' RPC namespace."""

    target = messaging.Target(namespace='xloud', version='1.0')

    @_expected
    def guest_state(self, context, instance):
        """What the guest of a server holds.

        :raises: NotImplementedError if the hypervisor has no elastic servers
        """
        guest = self._guest(instance)
        if elastic_guest.is_missing(instance, guest.running):
            return answer.Answer(is_missing=True).to_rpc()
        return answer.Answer(guest).to_rpc()

    @_expected
    def adjust(self, context, instance, vcpus, memory_mb, persist):
        """Refuse what a nova-api of version 1 asks for.

        It has not taken the task of the server, so nobody knows whether it
        still waits.
        """
        raise _conflict(instance, _(
            'nova-api is not upgraded to the version of its host yet. Try '
            'again after the upgrade.'))


class ElasticServers(Endpoint):
    """Server side of the 'xloud' RPC namespace: see nova.xloud.rpcapi."""

    target = messaging.Target(namespace='xloud', version='2.0')

    def __init__(self, compute, executor, unclaimed):
        super().__init__(compute)
        self._executor = executor
        self._ledger = executor.ledger
        self._unclaimed = unclaimed

    @_expected
    def claim(self, context, instance_uuid, request):
        """Charge a server for its growth, so that it can be counted.

        :returns: what the server is charged then
        :raises: ElasticNoRoom or ElasticConflict, when the server is as it
            was before
        """
        request = rpcapi.Request(**request)
        with self._working_on(context, instance_uuid, request) as instance:
            guest, known, desired, boot = self._plan(instance, request)
            charge = size.largest(known.charged, desired, boot)

            def record():
                size.settle(instance, charge)
                task.note(instance, request.token, task.CLAIMED)

            self._charge(context, instance, request, known, charge, record)
            return list(size.charged(instance))

    @_expected
    def adjust(self, context, instance_uuid, request):
        """Change the size of a server.

        :param request: nova.xloud.rpcapi.Request as a dict
        :returns: as guest_state(), after the change
        :raises: ElasticNoRoom or ElasticConflict, when the server is as it
            was before, unless its task says that the request was accepted
        """
        request = rpcapi.Request(**request)
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
                              self.host) as details, self._working_on(
                                  context, instance_uuid, request) as instance:
                before = situation.sizes_of(instance)
                reply = self._adjust(context, instance, request)
                details.append(action.changes(
                    before, situation.sizes_of(instance)))
                return None, reply
        except _REFUSALS as error:
            return error, None

    @_expected
    def release(self, context, instance_uuid, request):
        """Give up what claim() has charged: the request was refused."""
        request = rpcapi.Request(**request)
        with self._working_on(context, instance_uuid, request) as instance:
            self._executor.carry_out(
                context, instance, self._guest(instance),
                xloud_executor.Occasion(task_state=task.TASK))

    @contextlib.contextmanager
    def _working_on(self, context, instance_uuid, request):
        """The server as it is now, if the request may still be carried out.

        If not, nova-api decides what becomes of its task.
        """
        with task.locked(instance_uuid), (
                self._unclaimed.at_work(request.token)):
            instance = objects.Instance.get_by_uuid(
                context, instance_uuid, expected_attrs=list(_EXPECTED_ATTRS))
            self._check(instance, request)
            yield instance

    def _check(self, instance, request):
        if not task.is_running(instance) or task.of(instance) not in (
                task.Task(request.token, task.OFFERED),
                task.Task(request.token, task.CLAIMED)):
            raise _conflict(instance, _(
                'another operation on it is running, or nobody waits for the '
                'request any more.'))
        if instance.host != self.host:
            raise _conflict(instance, _('it has moved to another host.'))
        if instance.node not in self._compute.rt.compute_nodes:
            raise _conflict(instance, _('its host is not ready.'))
        if instance.vm_state not in (vm_states.ACTIVE, vm_states.STOPPED):
            raise _conflict(instance, _(
                'it is neither active nor shut off.'))
        if task.range_of(instance) != list(request.flavor):
            raise _conflict(instance, _(
                'its flavor was changed. It allows %(minimum)s to '
                '%(maximum)s now.') % {
                    'minimum': size.minimum(instance.flavor),
                    'maximum': size.maximum(instance.flavor)})

    def _plan(self, instance, request):
        """The new desired and boot size of a server, if it can have them.

        :returns: what its guest holds, its Sizes so far, desired, boot
        """
        guest = self._guest(instance, wait=True)
        if request.memory_mb is not None and memory.is_unsure(
                guest, request.memory_mb):
            guest = self._guest(instance, wait=True, renew=True)
        known = sizes = situation.sizes_of(instance)
        if situation.is_start(instance, guest):
            sizes = sizes._replace(desired=sizes.boot)
        desired, boot = self._wanted(instance, guest, sizes, request)
        claim = size.largest(sizes.charged, desired, boot)
        for claimed, charged, checked in zip(
                claim, known.charged, request.charged):
            if claimed > charged and charged < checked:
                raise _conflict(instance, _(
                    'it is charged less than when its quota was checked. '
                    'Try again.'))
        return guest, known, desired, boot

    def _adjust(self, context, instance, request):
        guest, known, desired, boot = self._plan(instance, request)
        sizes = known
        if situation.is_start(instance, guest):
            sizes = known._replace(desired=known.boot)

        def record():
            self._note(instance, guest, desired, boot)
            task.note(instance, request.token, task.ACCEPTED)

        self._charge(context, instance, request, known,
                     size.largest(known.charged, desired, boot), record)
        try:
            self._act(instance, guest, desired, boot)
        except Exception as error:
            if not isinstance(error, exception.ElasticGuestRefused):
                LOG.exception('The guest was not changed.', instance=instance)
            outcome = self._undo(context, instance, request, guest, sizes)
            raise _conflict(instance, _failure(error, outcome))
        reply = self._settle(context, instance, request.token)
        self._end(instance, request)
        return reply

    def _charge(self, context, instance, request, known, charge, record):
        """Claim what a server is to be charged, and record that.

        :param known: its Sizes so far
        :param record: changes the instance, which is saved then
        :raises: ElasticNoRoom or ElasticConflict, when nothing was changed
        """
        self._executor.doubt(instance)
        if charge != known.charged or _state(instance) != task.CLAIMED:
            # Also without growth, because this checks the allocation, unless
            # claim() has just done so.
            self._ledger.charge(context, instance, known.charged, charge)
        try:
            self._ledger.save(context, instance, record, task.TASK)
        except Exception as error:
            LOG.warning('The new size was not recorded: %s', error,
                        instance=instance)
            if self._is_recorded(context, instance, charge, known):
                return
            raise _conflict(instance, _(
                'the new size could not be recorded. Nothing was changed.'))

    def _is_recorded(self, context, instance, charge, known):
        """Whether a save that raised was done; if not, give the claim up."""
        try:
            instance.refresh()
        except exception.InstanceNotFound:
            raise
        except Exception as error:
            # nova-api looks as well, and reports what it finds.
            LOG.warning('It is not known what is recorded: %s', error,
                        instance=instance)
            return False
        if (situation.sizes_of(instance) != known or
                _state(instance) == task.ACCEPTED):
            # The answer was lost, so the charge still has to be counted.
            self._compute.rt.xloud_recount(
                instance, known.charged, expected_task_state=[task.TASK])
            return True
        try:
            self._ledger.charge(context, instance, charge, known.charged)
        except Exception as error:
            LOG.warning('The claim of %(claim)s is given up later: %(error)s',
                        {'claim': charge, 'error': error}, instance=instance)
        return False

    def _end(self, instance, request):
        if not task.is_running(instance):
            # It ended in the save that settled it.
            return
        try:
            task.end(instance, request.token)
        except (exception.InstanceNotFound,
                exception.InstanceUpdateConflict) as error:
            LOG.debug('It is being deleted: %s', error, instance=instance)
        except Exception as error:
            LOG.warning('Its task state is cleared later: %s', error,
                        instance=instance)

    def _reload(self, instance):
        try:
            instance.refresh()
        except Exception as error:
            LOG.warning('It is not known what is recorded: %s', error,
                        instance=instance)
            # nova-api looks as well, and reports what it finds.
            raise _conflict(instance, _('its database does not answer.'))

    def _wanted(self, instance, guest, sizes, request):
        persist, memory_mb = request.persist, request.memory_mb
        is_active = instance.vm_state == vm_states.ACTIVE
        if guest.running != is_active:
            raise _conflict(instance, _(
                'its guest has just started or stopped.'))
        if not is_active and not persist:
            raise _conflict(instance, _(
                'it is shut off, so only the size of its next start can '
                'change. Set persist to true.'))
        if is_active and request.vcpus is not None and (
                request.vcpus < guest.fixed_vcpus):
            raise _conflict(
                instance, blockers.fixed(guest.fixed_vcpus).message)
        asked = request.vcpus, memory_mb
        desired, boot = (
            size.Size(*(kept if new is None else new
                        for new, kept in zip(asked, known)))
            for known in (sizes.desired, sizes.boot))
        if not persist:
            boot = sizes.boot
        elif not is_active:
            desired = boot
        if is_active and memory_mb is not None:
            self._check_memory(instance, guest, memory_mb)
        return desired, boot

    def _check_memory(self, instance, guest, memory_mb):
        if memory_mb == size.desired(instance).memory_mb == guest.memory_mb:
            return
        try:
            memory.check(
                guest, memory_mb, CONF.xloud.guest_memory_reserve_mb,
                memory.kernel_mb(size.maximum(instance.flavor),
                                 CONF.xloud.guest_memory_base_mb))
        except ValueError as error:
            raise _conflict(instance, error)

    def _note(self, instance, guest, desired, boot):
        xloud_executor.note_start(instance, guest, timeutils.utcnow())
        if boot != size.boot(instance):
            notes.note_config(instance, is_current=False)
        size.record(instance, desired, boot)
        notes.mark_changed(instance, timeutils.utcnow())
        outcome = notes.outcome(instance)
        if outcome and outcome[0] == condition.PARTIAL:
            notes.clear_outcome(instance)

    def _act(self, instance, guest, desired, boot):
        target = desired
        if guest.running:
            target = memory.target(
                guest, desired, CONF.xloud.guest_memory_reserve_mb)
        self._compute.driver.set_elastic_guest(instance, target, boot)

    def _settle(self, context, instance, request_id=None):
        """Release what the hypervisor confirms, now or later.

        :param request_id: of the adjust, unless that was undone
        :returns: Answer about the guest
        """
        try:
            guest = self._guest(instance)
        except exception.ElasticConflict:
            return answer.Answer()
        if elastic_guest.is_missing(instance, guest.running):
            return answer.Answer(is_missing=True)
        charged = size.charged(instance)
        try:
            self._executor.carry_out(
                context, instance, guest, xloud_executor.Occasion(
                    task_state=task.TASK, request_id=request_id,
                    is_configured=True))
        except exception.ElasticConflict as error:
            # Placement refused. What was saved before is counted.
            LOG.warning('The change is settled later: %s', error,
                        instance=instance)
            self._reload(instance)
        except Exception as error:
            LOG.warning('The change is settled later: %s', error,
                        instance=instance)
            # It is not known whether the save was done.
            self._reload(instance)
            if size.charged(instance) != charged:
                # The answer was lost, so the charge still has to be counted.
                self._compute.rt.xloud_recount(
                    instance, charged,
                    expected_task_state=[instance.task_state])
        return answer.Answer(guest)

    def _undo(self, context, instance, request, guest, sizes):
        """Go back to the earlier sizes, and say how far that got.

        They are recorded first, even if the hypervisor has gone away, because
        reconcile drives the guest to what is recorded.
        """
        def record():
            self._note(instance, guest, sizes.desired, sizes.boot)
            task.note(instance, request.token, task.REFUSED)

        try:
            self._ledger.save(context, instance, record, task.TASK)
        except Exception as error:
            LOG.warning('It was not recorded that the change is undone: %s',
                        error, instance=instance)
            self._reload(instance)
            if _state(instance) != task.REFUSED:
                # It stays accepted, and nova-api does not refuse it.
                return _('The change is tried again later.')
        try:
            self._act(instance, self._guest(instance), sizes.desired,
                      sizes.boot)
        except Exception as error:
            LOG.warning('The change is undone later: %s', error,
                        instance=instance)
            return _('Its host will undo the change as soon as it can.')
        self._settle(context, instance)
        return _('The change was undone.')


def _state(instance):
    known = task.of(instance)
    return known.state if known else None


def _failure(error, outcome):
    if isinstance(error, exception.ElasticGuestRefused):
        reason = error.kwargs['reason']
    else:
        reason = _('its hypervisor failed.')
    return _('%(reason)s %(outcome)s') % {
        'reason': reason, 'outcome': outcome}


def _conflict(instance, reason):
    return exception.ElasticConflict(
        instance_uuid=instance.uuid, reason=reason)
