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

"""One change of the size of a server, on its host.

It is planned, charged, made and settled, or undone. If nova-compute dies in
the middle of it, nova.xloud.reconcile finishes it.
"""

import typing as ty

from oslo_log import log as logging
from oslo_utils import timeutils

from nova.compute import vm_states
import nova.conf
from nova import exception
from nova.i18n import _
from nova.xloud import action
from nova.xloud import answer
from nova.xloud import blockers
from nova.xloud import condition
from nova.xloud import executor as xloud_executor
from nova.xloud import failures
from nova.xloud import guest as elastic_guest
from nova.xloud import memory
from nova.xloud import notes
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import task

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# What drivers raise with a reason for the user
_WITH_REASON = (exception.ElasticGuestRefused, elastic_guest.GuestBusy)
# and what they raise when they have changed nothing
_BEFORE_IT_BEGAN = (elastic_guest.ConfigurationRefused, elastic_guest.HostBusy)
# How often an undo waits again for its turn: half a minute in all
_MORE_TURNS = 5


class _Plan(ty.NamedTuple):
    """What a request makes of the sizes of a server."""

    guest: elastic_guest.GuestState
    # Its Sizes so far
    known: situation.Sizes
    # The Sizes to go back to: after a start, what was desired before is gone.
    earlier: situation.Sizes
    desired: size.Size
    boot: size.Size
    # How its last change ended, as of notes.outcome(), unless it has started
    # since
    outcome: ty.Optional[ty.Tuple[str, str]]
    # The request that its guest follows, unless it has started since
    awaited: ty.Optional[str]
    # Whether it is starting, and nobody has asked for another size since
    is_starting: bool

    @property
    def charge(self) -> size.Size:
        return size.largest(self.known.charged, self.desired, self.boot)

    @property
    def needed(self) -> size.Size:
        """What must be allocated, nothing if it only gives back."""
        least = self.earlier.desired
        if self.guest.running:
            # It may not have got yet what was asked for before.
            least = size.smallest(least, self.guest.holds)
        if (size.grows(self.desired, least) or
                size.grows(self.boot, self.known.boot)):
            return size.largest(self.desired, self.boot)
        return size.Size(0, 0)


class Change:
    """What a request changes. The caller holds the lock of the server."""

    def __init__(self, compute, executor, context, instance, request):
        """:param request: nova.xloud.rpcapi.Request"""
        self._compute = compute
        self._executor = executor
        self._ledger = executor.ledger
        self._memo = executor.memos[instance.uuid]
        self._context = context
        self.instance = instance
        self._request = request
        # Its Sizes before the request
        self._before: ty.Optional[situation.Sizes] = None

    def check(self) -> None:
        """Check that the request may still be carried out here.

        :raises ElasticConflict: if not; nova-api decides then what becomes of
            its task
        """
        instance, token = self.instance, self._request.token
        if not task.is_running(instance) or task.of(instance) not in (
                task.Task(token, task.OFFERED),
                task.Task(token, task.CLAIMED)):
            raise self._conflict(_(
                'another operation on it is running, or nobody waits for the '
                'request any more.'))
        if instance.host != self._compute.host:
            raise self._conflict(_('it has moved to another host.'))
        if instance.node not in self._compute.rt.compute_nodes:
            raise self._conflict(_('its host is not ready.'))
        if instance.vm_state not in (vm_states.ACTIVE, vm_states.STOPPED):
            raise self._conflict(_('it is neither active nor shut off.'))
        if task.range_of(instance) != list(self._request.flavor):
            raise self._conflict(_(
                'its flavor was changed. It allows %(minimum)s to '
                '%(maximum)s now.') % {
                    'minimum': size.minimum(instance.flavor),
                    'maximum': size.maximum(instance.flavor)})

    def claim(self) -> size.Size:
        """Charge the server for its growth, so that it can be counted.

        :returns: what the server is charged then
        :raises: ElasticNoRoom or ElasticConflict, when nothing was changed
        """
        plan = self._plan()
        # A claim that nobody gives up must not wait for a restless guest.
        self._memo.leisure.end()

        def record():
            # Books that were never written follow from the charge.
            size.record(self.instance, plan.known.desired, plan.known.boot)
            size.settle(self.instance, plan.charge)
            task.note(self.instance, self._request.token, task.CLAIMED)

        self._claim(plan, record)
        self._note_request()
        return size.charged(self.instance)

    def give_up(self) -> None:
        """Charge what the server has, and no longer what was claimed."""
        guest = self._guest()
        if not elastic_guest.is_missing(self.instance, guest.running):
            self._executor.carry_out(
                self._context, self.instance, guest,
                xloud_executor.Occasion(task_state=task.TASK))
        self._note_request()

    def make(self) -> answer.Answer:
        """Charge, ask the guest, and release what it gives back at once.

        :raises: ElasticNoRoom or ElasticConflict, when the server is as it
            was before, unless its task says that the request was accepted
        """
        plan = self._plan()
        self._memo.requests.forget_end(self._request.token)
        is_config_current = notes.is_config_current(self.instance)

        def record():
            self._note(plan.guest, plan.desired, plan.boot)
            # A service that dies before it has asked the guest finds this.
            notes.await_guest(self.instance, self._request.token)
            task.note(self.instance, self._request.token, task.ACCEPTED)

        self._claim(plan, record)
        try:
            self._act(plan.guest, plan.desired, plan.boot)
        except Exception as error:
            if not isinstance(error, _WITH_REASON):
                LOG.exception('The guest was not changed.',
                              instance=self.instance)
            if isinstance(error, _BEFORE_IT_BEGAN):
                outcome = self._undo_before_it_began(plan, is_config_current)
            else:
                outcome = self._undo(plan)
            self._note_request()
            raise self._conflict(_failure(error, outcome))
        reply = self._release(self._request.token)
        self._end()
        sizes = self._note_request()
        return reply._replace(left=answer.Left(
            sizes.desired, sizes.boot, sizes.charged))

    def what_has_changed(self) -> str:
        """The sizes that the request has changed, when it is made."""
        assert self._before is not None
        return action.changes(
            self._before, situation.sizes_of(self.instance))

    def _note_request(self):
        """Remember what the request leaves, for its instance action.

        :returns: the Sizes that it leaves
        """
        sizes = situation.sizes_of(self.instance)
        self._memo.requests.end(self._request.token, sizes)
        return sizes

    def _plan(self):
        """The new desired and boot size of the server, if it can have them."""
        memory_mb = self._request.memory_mb
        guest = self._guest(wait=True)
        if memory_mb is not None and memory.is_unsure(guest, memory_mb):
            guest = self._guest(wait=True, renew=True)
        known = earlier = situation.sizes_of(self.instance)
        outcome = notes.outcome(self.instance)
        awaited = notes.awaited(self.instance)
        self._before = self._memo.requests.begin(self._request.token, known)
        seen = situation.of(self.instance, guest, timeutils.utcnow())
        if seen.is_start:
            earlier = known._replace(desired=known.boot)
            outcome = awaited = None
        plan = _Plan(guest, known, earlier, *self._wanted(guest, earlier),
                     outcome, awaited, seen.is_start or (
                         seen.follows_start and situation.is_waiting(
                             seen.changed_at, seen.now, seen.settle_timeout)))
        for claimed, charged, checked in zip(
                plan.charge, known.charged, self._request.charged):
            if claimed > charged and charged < checked:
                raise self._conflict(_(
                    'it is charged less than when its quota was checked. '
                    'Try again.'))
        return plan

    def _wanted(self, guest, sizes):
        """The desired and the boot size that the request leads to."""
        request, instance = self._request, self.instance
        is_active = instance.vm_state == vm_states.ACTIVE
        if elastic_guest.is_missing(instance, guest.running):
            raise self._conflict(blockers.missing()[0].message)
        if guest.running != is_active:
            raise self._conflict(_('its guest has just started.'))
        if not is_active and not request.persist:
            raise self._conflict(_(
                'it is shut off, so only the size of its next start can '
                'change. Set persist to true.'))
        if is_active and request.vcpus is not None and (
                request.vcpus < guest.fixed_vcpus):
            raise self._conflict(blockers.fixed(guest.fixed_vcpus).message)
        asked = request.vcpus, request.memory_mb
        desired, boot = (
            size.Size(*(kept if new is None else new
                        for new, kept in zip(asked, known)))
            for known in (sizes.desired, sizes.boot))
        if not request.persist:
            boot = sizes.boot
        elif not is_active:
            desired = boot
        if is_active and request.memory_mb is not None:
            self._check_memory(guest)
        return desired, boot

    def _check_memory(self, guest):
        memory_mb, instance = self._request.memory_mb, self.instance
        if memory_mb == size.desired(instance).memory_mb == guest.memory_mb:
            return
        try:
            memory.check(
                guest, memory_mb, CONF.xloud.guest_memory_reserve_mb,
                memory.kernel_mb(size.maximum(instance.flavor),
                                 CONF.xloud.guest_memory_base_mb))
        except ValueError as error:
            raise self._conflict(error)

    def _claim(self, plan, record):
        """Claim what the server is to be charged, and record that.

        :param record: changes the instance, which is saved then
        :raises: ElasticNoRoom or ElasticConflict, when nothing was changed
        """
        self._executor.doubt(self.instance)
        if plan.charge != plan.known.charged:
            self._ledger.allocate(self._context, self.instance,
                                  plan.known.charged, plan.charge)
        elif self._state() != task.CLAIMED:
            # This only checks the allocation, as claim() has done. If a part
            # of it was lost, the server must still be able to shrink.
            needed = plan.needed
            self._ledger.allocate(
                self._context, self.instance, needed, needed)
        try:
            self._ledger.save(
                self._context, self.instance, record, task.TASK)
        except Exception as error:
            LOG.warning('The new size was not recorded: %s', error,
                        instance=self.instance)
            if self._is_recorded(plan):
                return
            raise self._conflict(_(
                'the new size could not be recorded. Nothing was changed.'))

    def _is_recorded(self, plan):
        """Whether a save that raised was done; if not, give the claim up."""
        instance, charged = self.instance, plan.known.charged
        try:
            instance.refresh()
        except exception.InstanceNotFound:
            raise
        except Exception as error:
            # nova-api looks as well, and reports what it finds.
            LOG.warning('It is not known what is recorded: %s', error,
                        instance=instance)
            return False
        if (situation.sizes_of(instance) != plan.known or
                self._state() == task.ACCEPTED):
            # The answer was lost.
            self._count_anew()
            return True
        with failures.warned(LOG, 'The claim of %s is given up later: %s',
                             plan.charge, instance=instance):
            self._ledger.allocate(
                self._context, instance, plan.charge, charged)
        return False

    def _note(self, guest, desired, boot, follows_start=False):
        instance, now = self.instance, timeutils.utcnow()
        xloud_executor.note_start(instance, guest, now)
        if boot != size.boot(instance):
            notes.note_config(instance, is_current=False)
        size.record(instance, desired, boot)
        notes.mark_changed(instance, now, follows_start)
        notes.set_offline(instance, None)
        outcome = notes.outcome(instance)
        if outcome and outcome[0] == condition.PARTIAL:
            notes.clear_outcome(instance)

    def _act(self, guest, desired, boot):
        """:param guest: GuestState before the request"""
        target = desired
        if guest.running:
            target = memory.target(
                guest, desired, CONF.xloud.guest_memory_reserve_mb)
            if self._request.memory_mb is None:
                target = memory.leave_unknown(guest, target)
            elif memory.is_unsure(guest, target.memory_mb):
                # It goes back to what it had.
                target = target._replace(memory_mb=guest.memory_mb)
        self._compute.driver.set_elastic_guest(self.instance, target, boot)

    def _act_in_turn(self, guest, desired, boot):
        """The same, but wait longer while the host changes other guests."""
        for is_last in [False] * _MORE_TURNS + [True]:
            try:
                return self._act(guest, desired, boot)
            except elastic_guest.HostBusy:
                if is_last:
                    raise

    def _release(self, request_id=None, is_configured=True):
        """Release what the hypervisor confirms, now or later.

        :param request_id: of the adjust, unless that was undone
        :param is_configured: whether the hypervisor has just been given the
            boot size for its configuration
        :returns: Answer about the guest
        """
        instance = self.instance
        try:
            guest = self._guest()
        except exception.ElasticConflict:
            return answer.Answer()
        if elastic_guest.is_missing(instance, guest.running):
            return answer.Answer(is_missing=True)
        try:
            self._executor.carry_out(
                self._context, instance, guest, xloud_executor.Occasion(
                    task_state=task.TASK, request_id=request_id,
                    is_configured=is_configured))
        except exception.ElasticConflict as error:
            # Placement refused. What was saved before is counted.
            LOG.warning('The change is settled later: %s', error,
                        instance=instance)
            self._reload()
        except Exception as error:
            LOG.warning('The change is settled later: %s', error,
                        instance=instance)
            # It is not known what was saved.
            self._reload()
            self._count_anew()
        return answer.Answer(guest)

    def _count_anew(self):
        """Have its host count what the rows say.

        It is not known what it has counted of this server.
        """
        with failures.left_to_audit(LOG, self.instance):
            self._compute.rt.update_available_resource(
                self._context.elevated(), self.instance.node)

    def _undo(self, plan):
        """Go back to the earlier sizes, and say how far that got.

        They are recorded first, even if the hypervisor has gone away, because
        reconcile drives the guest to what is recorded.
        """
        if not self._record_undo(plan):
            # It stays accepted, and nova-api does not refuse it.
            return _('The change is tried again later.')
        try:
            self._act_in_turn(
                self._guest_now(plan.guest), plan.earlier.desired,
                plan.earlier.boot)
        except Exception as error:
            LOG.warning('The change is undone later: %s', error,
                        instance=self.instance)
        else:
            left = self._release()
            if left.is_missing or left.guest is not None and not (
                    size.grows(left.guest.holds, plan.guest.holds)):
                return _('The change was undone.')
        return _('Its host will undo the change as soon as it can.')

    def _guest_now(self, before):
        """The guest with the latest statistics that are known."""
        try:
            guest = self._guest(renew=True)
        except exception.ElasticConflict:
            return before
        if guest.used_memory_mb is None and guest.running:
            # There are none since its last move.
            if guest.memory_mb <= before.memory_mb:
                return before
            # It may use all that it has taken.
            return guest._replace(used_memory_mb=guest.memory_mb)
        return guest

    def _undo_before_it_began(self, plan, is_config_current):
        """The same, if neither the guest nor its configuration was changed.

        :param is_config_current: whether that had the boot size
        """
        if not self._record_undo(plan, is_config_current):
            return _('The change is tried again later.')
        self._release(is_configured=False)
        return _('The change was undone.')

    def _record_undo(self, plan, is_config_current=None):
        """:returns: whether it is recorded that the request is refused"""
        def record():
            self._note(plan.guest, plan.earlier.desired, plan.earlier.boot,
                       follows_start=plan.is_starting)
            if is_config_current is not None:
                notes.note_config(self.instance, is_config_current)
            if plan.outcome:
                notes.set_outcome(self.instance, *plan.outcome)
            notes.await_guest(self.instance, plan.awaited)
            notes.note_left_over(self.instance, True)
            task.note(self.instance, self._request.token, task.REFUSED)

        try:
            self._ledger.save(
                self._context, self.instance, record, task.TASK)
        except Exception as error:
            LOG.warning('It was not recorded that the change is undone: %s',
                        error, instance=self.instance)
            self._reload()
        return self._state() == task.REFUSED

    def _end(self):
        if not task.is_running(self.instance):
            # It ended in the save that settled it.
            return
        with failures.warned(LOG, 'Its task state is cleared later: %s',
                             instance=self.instance):
            try:
                task.end(self.instance, self._request.token)
            except (exception.InstanceNotFound,
                    exception.InstanceUpdateConflict) as error:
                LOG.debug('It is being deleted: %s', error,
                          instance=self.instance)

    def _reload(self):
        try:
            self.instance.refresh()
        except Exception as error:
            LOG.warning('It is not known what is recorded: %s', error,
                        instance=self.instance)
            # nova-api looks as well, and reports what it finds.
            raise self._conflict(_('its database does not answer.'))

    def _guest(self, wait=False, renew=False):
        return elastic_guest.ask(
            self._compute.driver, self.instance, wait, renew)

    def _state(self):
        known = task.of(self.instance)
        return known.state if known else None

    def _conflict(self, reason):
        return exception.ElasticConflict(
            instance_uuid=self.instance.uuid, reason=reason)


def _failure(error, outcome):
    if isinstance(error, _WITH_REASON):
        reason = error.kwargs['reason']
    else:
        reason = _('its hypervisor failed.')
    return _('%(reason)s %(outcome)s') % {
        'reason': reason, 'outcome': outcome}
