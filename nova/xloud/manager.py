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

What it leaves half done when it dies is ended by nova.xloud.reconcile.
"""

from oslo_log import log as logging
import oslo_messaging as messaging
from oslo_utils import timeutils

from nova.compute import manager as compute_manager
from nova.compute import task_states
from nova.compute import utils as compute_utils
from nova.compute import vm_states
import nova.conf
from nova import exception
from nova.i18n import _
from nova import utils
from nova.xloud import condition
from nova.xloud import guest as elastic_guest
from nova.xloud import reconcile
from nova.xloud import size

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# An existing one, so that no version changes. It keeps moves, snapshots and
# other changes away, and a compute service that starts clears it.
_TASK = task_states.RESIZE_PREP


def plug_into(compute) -> reconcile.Reconciler:
    """Give a ComputeManager what elastic servers need."""
    reconciler = reconcile.Reconciler(compute)
    compute.additional_endpoints.append(ElasticServers(compute, reconciler))
    return reconciler


class ElasticServers:
    """Server side of the 'xloud' RPC namespace: see nova.xloud.rpcapi."""

    target = messaging.Target(namespace='xloud', version='1.0')

    def __init__(self, compute, reconciler):
        self.host = compute.host
        self._compute = compute
        self._reconciler = reconciler

    # Not reverts_task_state: it would also clear the task state of another
    # operation, because of which this one was refused.
    @messaging.expected_exceptions(
        exception.Invalid, exception.InstanceNotFound, NotImplementedError)
    @compute_manager.wrap_exception()
    @compute_utils.wrap_instance_event(prefix='compute')
    @compute_manager.wrap_instance_fault
    def adjust(self, context, instance, vcpus, memory_mb, persist):
        """Change the size of a server.

        :param vcpus: None to keep what is desired
        :param memory_mb: None to keep what is desired
        :param persist: whether its next start gives the new size too
        :returns: as guest_state(), after the change
        :raises: ElasticNoRoom or ElasticConflict, when the server is as it
            was before, and as guest_state()
        """
        @utils.synchronized(instance.uuid)
        def locked():
            self._take(instance)
            try:
                return self._adjust(
                    context, instance, vcpus, memory_mb, persist)
            finally:
                self._give_back(instance)

        return locked()

    @messaging.expected_exceptions(
        exception.Invalid, exception.InstanceNotFound, NotImplementedError)
    def guest_state(self, context, instance):
        """What the guest of a server holds.

        :raises: NotImplementedError if the hypervisor has no elastic servers
        """
        guest = self._guest(instance)
        if elastic_guest.is_missing(instance, guest.running):
            return _view(None, is_missing=True)
        return _view(guest)

    def _take(self, instance):
        instance.task_state = _TASK
        try:
            instance.save(
                expected_vm_state=[vm_states.ACTIVE, vm_states.STOPPED],
                expected_task_state=[None])
        except exception.InstanceUpdateConflict:
            raise _conflict(instance, _(
                'something else happens to it, or it is neither active nor '
                'shut off.'))

    def _give_back(self, instance):
        instance.task_state = None
        try:
            instance.save(expected_task_state=[_TASK])
        except (exception.InstanceNotFound,
                exception.InstanceUpdateConflict) as error:
            LOG.debug('It is being deleted: %s', error, instance=instance)
        except Exception as error:
            LOG.warning('Its task state is cleared later: %s', error,
                        instance=instance)
            self._reconciler.give_back_later(instance, _TASK)

    def _adjust(self, context, instance, vcpus, memory_mb, persist):
        if instance.host != self.host:
            raise _conflict(instance, _('it has moved to another host.'))
        if instance.node not in self._compute.rt.compute_nodes:
            raise _conflict(instance, _('its host is not ready.'))
        guest = self._guest(instance, wait=True)
        known = sizes = condition.sizes_of(instance)
        if reconcile.is_started(instance, guest):
            sizes = sizes._replace(desired=sizes.boot)
        desired, boot = self._wanted(
            instance, guest, sizes, vcpus, memory_mb, persist)
        claim = size.largest(sizes.charged, desired, boot)

        self._reconciler.doubt(instance)
        # Also without growth: it says whether the books are in order.
        self._reconciler.charge(context, instance, sizes.charged, claim)
        try:
            self._record(context, instance, guest, desired, boot)
        except Exception as error:
            LOG.warning('The new size was not recorded: %s', error,
                        instance=instance)
            if self._give_up_claim(context, instance, claim, known):
                raise _conflict(instance, _(
                    'the new size could not be recorded. Nothing was '
                    'changed.'))
            raise _conflict(instance, _(
                'it is not known whether the new size was recorded. Look at '
                'the status of the server before trying again.'))
        try:
            self._act(instance, guest, desired, boot)
        except Exception as error:
            if not isinstance(error, exception.ElasticGuestRefused):
                LOG.exception('The guest was not changed.', instance=instance)
            outcome = self._undo(context, instance, guest, sizes)
            raise _conflict(instance, _failure(error, outcome))
        return self._settle(context, instance, context.request_id)

    def _wanted(self, instance, guest, sizes, vcpus, memory_mb, persist):
        """The new desired and boot size, if the server can have them now."""
        is_active = instance.vm_state == vm_states.ACTIVE
        if guest.running != is_active:
            raise _conflict(instance, _(
                'its guest has just started or stopped.'))
        if not is_active and not persist:
            raise _conflict(instance, _(
                'it is shut off. Only a size that persists can be given to '
                'it, for its next start.'))
        asked = size.Size(vcpus, memory_mb)
        desired, boot = (
            size.Size(*(kept if new is None else new
                        for new, kept in zip(asked, known)))
            for known in (sizes.desired, sizes.boot))
        if not persist:
            boot = sizes.boot
        elif not is_active:
            desired = boot
        for wanted in (desired, boot):
            if (size.largest(wanted, sizes.minimum) != wanted or
                    size.largest(wanted, sizes.maximum) != sizes.maximum):
                raise _conflict(instance, _(
                    'its flavor was changed and allows %(minimum)s to '
                    '%(maximum)s.') % {'minimum': sizes.minimum,
                                       'maximum': sizes.maximum})
        if is_active and memory_mb is not None:
            self._check_memory(instance, guest, memory_mb)
        return desired, boot

    def _check_memory(self, instance, guest, memory_mb):
        if memory_mb == size.desired(instance).memory_mb == guest.memory_mb:
            return
        try:
            reconcile.check_memory(
                guest, memory_mb, CONF.xloud.guest_memory_reserve_mb)
        except ValueError as error:
            raise _conflict(instance, error)

    def _record(self, context, instance, guest, desired, boot):
        def record():
            reconcile.note_start(instance, guest)
            if boot != size.boot(instance):
                size.note_config(instance, is_current=False)
            size.record(instance, desired, boot)
            size.mark_changed(instance, timeutils.utcnow())
            outcome = size.outcome(instance)
            if outcome and outcome[0] == condition.PARTIAL:
                size.clear_outcome(instance)

        self._reconciler.save(context, instance, record, _TASK)

    def _act(self, instance, guest, desired, boot):
        target = desired
        if guest.running:
            target = reconcile.safe_target(
                guest, desired, CONF.xloud.guest_memory_reserve_mb)
        self._compute.driver.set_elastic_guest(instance, target, boot)

    def _settle(self, context, instance, request_id=None):
        """Release what the hypervisor confirms, which may also be later.

        :param request_id: of the adjust, unless that was undone
        """
        try:
            guest = self._guest(instance)
        except exception.ElasticConflict:
            return _view(None)
        if elastic_guest.is_missing(instance, guest.running):
            return _view(None, is_missing=True)
        try:
            self._reconciler.settle(
                context, instance, guest, task_state=_TASK, drive=False,
                is_configured=True, request_id=request_id)
        except Exception as error:
            LOG.warning('The change is settled later: %s', error,
                        instance=instance)
        return _view(guest)

    def _undo(self, context, instance, guest, sizes):
        """Go back to the sizes before, and tell the user how far that got.

        They are recorded first, also if the hypervisor has gone away: what
        is recorded is what a reconcile will drive the guest to.
        """
        try:
            self._record(context, instance, guest, sizes.desired, sizes.boot)
        except Exception as error:
            LOG.warning('The change is not undone: %s', error,
                        instance=instance)
            return _('It is tried again later.')
        try:
            self._act(instance, self._guest(instance), sizes.desired,
                      sizes.boot)
        except Exception as error:
            LOG.warning('The change is undone later: %s', error,
                        instance=instance)
            return _('The change is undone as soon as its host can.')
        self._settle(context, instance)
        return _('The change was undone.')

    def _give_up_claim(self, context, instance, claim, known):
        """Nothing shall be left of a change that was not recorded.

        :param known: the Sizes that were recorded before
        :returns: False if it may be recorded after all, and will be made
        """
        try:
            instance.refresh()
        except exception.InstanceNotFound:
            raise
        except Exception as error:
            LOG.warning('It is not known what is recorded: %s', error,
                        instance=instance)
            return False
        if condition.sizes_of(instance) != known:
            return False
        try:
            self._reconciler.charge(context, instance, claim, known.charged)
        except Exception as error:
            LOG.warning('The claim of %(claim)s is given up later: %(error)s',
                        {'claim': claim, 'error': error}, instance=instance)
        return True

    def _guest(self, instance, wait=False):
        try:
            guest = self._compute.driver.get_elastic_guests(
                [instance], wait).get(instance.uuid)
        except NotImplementedError:
            # Unlike silence this does not pass: nova-api tells them apart.
            raise
        except Exception as error:
            LOG.warning('The hypervisor does not tell what the server holds: '
                        '%s', error, instance=instance)
            raise _conflict(instance, _('its hypervisor does not answer.'))
        if guest is None:
            raise _conflict(instance, _('its guest does not answer.'))
        return guest


def _failure(error, outcome):
    if isinstance(error, exception.ElasticGuestRefused):
        reason = error.kwargs['reason']
    else:
        reason = _('its hypervisor failed.')
    return _('%(reason)s %(outcome)s') % {
        'reason': reason, 'outcome': outcome}


def _view(guest, is_missing=False):
    return {
        'is_missing': is_missing,
        'online_vcpus': guest.online_vcpus if guest else None,
        'is_returning': bool(guest and guest.is_returning),
        'actual_vcpus': guest.vcpus if guest else None,
        'actual_memory_mb': guest.memory_mb if guest else None,
        'balloon_driver_active': bool(guest and guest.balloon_active),
        'memory_pinned': bool(guest and guest.memory_pinned),
        'used_memory_mb': guest.used_memory_mb if guest else None,
        'cannot_plug': bool(guest and guest.cannot_plug),
    }


def _conflict(instance, reason):
    return exception.ElasticConflict(
        instance_uuid=instance.uuid, reason=reason)
