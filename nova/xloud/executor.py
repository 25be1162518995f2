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

"""Carry out what is decided about an elastic server.

The order of steps is such that a crash between any two leaves no server
charged less than it holds, and the next reconcile finishes the work.
"""

import collections
import typing as ty

from oslo_log import log as logging

from nova.compute import vm_states
from nova import exception
from nova.i18n import _
from nova.xloud import action
from nova.xloud import condition
from nova.xloud import decision as xloud_decision
from nova.xloud import entries
from nova.xloud import guest as elastic_guest
from nova.xloud import ledger as xloud_ledger
from nova.xloud import memo as xloud_memo
from nova.xloud import notes
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import task

LOG = logging.getLogger(__name__)

# What Placement has of a server without allocation
_NOTHING = size.Size(0, 0)

# States in which Nova may change the guest.
_DRIVEN = (vm_states.ACTIVE, vm_states.STOPPED)


class Occasion(ty.NamedTuple):
    """Why a server is looked at, and what is known from that."""

    # The task state that the server must keep
    task_state: ty.Optional[str] = None
    # Of the adjust that is carried out, whose task ends with that if Placement
    # need not be asked
    request_id: ty.Optional[str] = None
    # Whether the hypervisor has just been given the boot size for its
    # configuration
    is_configured: bool = False
    # Whether the guest may be asked to change
    may_drive: bool = False
    # What Placement says the server is charged. Otherwise the instance row
    # says it, and there may be more.
    allocated: ty.Optional[size.Size] = None


class _Plan(ty.NamedTuple):
    """A decision for which everything is claimed."""

    decision: xloud_decision.Decision
    # What was to be charged
    wanted: size.Size
    # What is allocated
    allocated: size.Size
    # The request that the guest may still follow
    awaited: ty.Optional[str]
    # Whether no user asked for it
    is_unasked: bool
    # Whether it is noted that Placement has less, and Placement did not say
    # now what it has
    is_unsure: bool = False
    # Whether Placement does not accept a lower charge yet
    is_pending: bool = False

    def is_given_up(self, known: situation.Situation) -> bool:
        """Whether the guest is asked for what it holds.

        Until it was, it may still follow what it was asked for before.
        """
        return self.decision.drive is not None and (
            self.decision.desired != known.sizes.desired or
            self.decision.ends_start(known))

    @property
    def lacks_allocation(self) -> bool:
        """Whether Placement has less than is to be charged."""
        return size.grows(self.decision.charge, self.allocated)

    @property
    def may_lack_allocation(self) -> bool:
        return self.lacks_allocation or self.is_unsure


class Executor:
    """Carries out decisions about the servers of one compute service."""

    def __init__(self, compute):
        self._compute = compute
        # By uuid
        self.memos: ty.Dict[str, xloud_memo.Memo] = collections.defaultdict(
            xloud_memo.Memo)
        self.ledger = xloud_ledger.Ledger(compute, self.memos)

    def forget_others(self, instances) -> None:
        here = {instance.uuid for instance in instances}
        for uuid in set(self.memos) - here:
            self.memos.pop(uuid, None)

    def doubt(self, instance) -> None:
        """Look at the allocation of a server again next time."""
        self.memos[instance.uuid].doubt()

    def carry_out(self, context, instance, guest, occasion) -> None:
        """Carry out what is decided about one server.

        The caller holds the lock of the instance.

        :param guest: GuestState
        """
        with self.memos[instance.uuid].writing:
            drive, allocated = self._charge(context, instance, guest, occasion)
        self._drive(context, instance, guest, drive, allocated)

    def _charge(self, context, instance, guest, occasion):
        """Charge and record what is decided.

        :returns: what to ask the guest for, None for nothing, and what is
            allocated, as in Occasion
        """
        memo = self.memos[instance.uuid]
        memo.doubt()
        memo.forget_unplug(guest)
        known = memo.look_at(instance, guest, occasion.is_configured)
        if occasion.allocated is None and known.lacks_allocation:
            occasion = self._ask_placement(context, instance, known, occasion)
        was_current = notes.is_config_current(instance)
        plan = self._plan(context, instance, known, occasion)
        drive = plan.decision.drive if occasion.may_drive else None
        if drive and guest.running and plan.may_lack_allocation:
            drive = _only_back(known, drive)
        if plan.is_unasked and not _is_news(known, plan) and (
                memo.leisure.can_rest(
                    instance, situation.held(known.sizes, guest),
                    plan.decision.charge)):
            if was_current and not known.loses_config:
                if plan.is_given_up(known):
                    drive = None
                return drive, occasion.allocated and plan.allocated
            # Only what the hypervisor's configuration gives has to be noted.
            plan = _with_charge(plan, known.sizes.charged)
        if self._must_wait(context, instance, known, plan):
            plan = _with_charge(plan, known.sizes.charged)._replace(
                is_pending=True)
        decision = plan.decision
        step_mb = plan.wanted.memory_mb - size.moved(instance).memory_mb

        is_saved = self.ledger.save(
            context, instance,
            lambda: self._record(instance, known, plan, occasion),
            occasion.task_state)
        if not is_saved and decision.charge != plan.allocated and (
                not self._is_newest(instance)):
            # Its charge was raised since it was read.
            return None, None
        # If it ended with the request, the events of the request say enough,
        # unless the guest refused.
        if plan.awaited and decision.has_ended and (
                decision.is_partial or not occasion.request_id):
            self._tell(instance, guest, plan)
        # The second half of a change is not counted again.
        if plan.is_unasked and is_saved and (
                was_current or not occasion.is_configured):
            memo.leisure.note(instance, step_mb)
        allocated = plan.allocated
        if not plan.lacks_allocation:
            if decision.charge != allocated and not plan.is_pending and (
                    self.ledger.release(context, instance, allocated,
                                        decision.charge, occasion.task_state)):
                allocated = decision.charge
                memo.room.forget()
            if occasion.allocated is not None:
                # Otherwise there may be more, which the next pass finds.
                memo.verify(instance)
        return drive, occasion.allocated and allocated

    @staticmethod
    def _is_newest(instance):
        """Whether a server, its place and its books are still as read."""
        def state():
            return (instance.host, instance.node, instance.task_state,
                    instance.system_metadata.get(entries.BOOKS))

        known = state()
        instance.refresh()
        return known == state()

    def _ask_placement(self, context, instance, known, occasion):
        """Find out whether a server still lacks a part of its charge.

        A guest that moves its balloon does not have this asked each time.

        :returns: the Occasion with what Placement says, if it was asked
        """
        falls = size.grows(
            known.sizes.charged, xloud_decision.decide(known).charge)
        if not falls and occasion.task_state is None and (
                self.memos[instance.uuid].room.is_short()):
            return occasion
        return occasion._replace(allocated=self.ledger.allocated(
            context, [instance]).get(instance.uuid))

    def raise_charge(self, context, instance, guest) -> None:
        """Charge what a guest holds, and leave everything else.

        Another task may hold the lock of the instance. The caller holds
        Memo.writing.

        :raises InstanceUpdateConflict: if its books were changed meanwhile
        """
        memo = self.memos[instance.uuid]
        charged = size.charged(instance)
        held = held_by(instance, guest)
        wanted = memo.leisure.rounded(instance, size.largest(charged, held))
        allocated = self._allocate_more(
            context, instance, charged, wanted, held)
        charge = size.largest(charged, size.smallest(wanted, allocated))

        def record():
            size.settle(instance, charge)
            is_noted = _is_noted_overcommitted(instance)
            if not size.grows(held, charge):
                if is_noted:
                    notes.clear_outcome(instance)
            elif charge != charged or not is_noted:
                known = memo.look_at(instance, guest)
                notes.set_outcome(instance, *xloud_decision.decide(
                    known, room=charge).outcome)
                notes.note_excess(instance, held)

        if self.ledger.save(context, instance, record, instance.task_state):
            memo.leisure.note(instance, charge.memory_mb - charged.memory_mb)

    def note_no_allocation(self, context, instance) -> None:
        """Note that Placement has nothing of a server on its host.

        The caller holds the lock of the instance.
        """
        charged = size.charged(instance)

        def record():
            notes.set_outcome(instance, condition.OVERCOMMITTED, _(
                'The server is charged %s and has no allocation of vCPUs and '
                'memory on its host.') % (charged,))
            notes.note_excess(instance, size.moved(instance), _NOTHING)

        self.ledger.save(context, instance, record, instance.task_state)

    def _plan(self, context, instance, known, occasion):
        """Decide what to do, and claim what that needs."""
        memo = self.memos[instance.uuid]
        awaited = _awaited(instance, known, occasion.request_id)
        # A start asks for the boot size, and the guest reaches that once.
        is_unasked = (
            known.guest.running and not awaited and
            occasion.task_state is None and not known.has_start_window)
        charged = known.sizes.charged
        # It was not asked, did not answer, or has nothing.
        is_unsure = occasion.allocated is None and known.lacks_allocation
        is_noted = is_unsure and known.allocated not in (None, _NOTHING)
        allocated = occasion.allocated or charged
        if is_noted:
            allocated = size.Size(*known.allocated)
        decision = xloud_decision.decide(known)
        needed = wanted = decision.charge
        if is_unasked:
            wanted = memo.leisure.rounded(instance, needed)
        else:
            memo.room.forget()
        if size.grows(wanted, allocated) and not is_unsure:
            allocated = self._allocate_more(
                context, instance, allocated, wanted, needed)
        if size.grows(needed, allocated):
            decision = xloud_decision.decide(known, room=allocated)
            _warn_once(instance, decision)
        else:
            decision = decision._replace(charge=size.largest(
                needed, size.smallest(wanted, allocated)))
        if is_unsure and not is_noted:
            decision = decision._replace(outcome=known.outcome)
        return _Plan(
            decision, wanted, allocated, awaited, is_unasked, is_unsure)

    def _allocate_more(self, context, instance, old, wanted, needed):
        """Allocate what fits of a growth, unless nothing is known to fit.

        :returns: what is allocated then
        """
        memo = self.memos[instance.uuid]
        is_short = size.grows(size.charged(instance), old)
        if memo.room.is_short() and not is_short:
            return old
        allocated = self.ledger.allocate_what_fits(
            context, instance, old, size.largest(old, wanted))
        if size.grows(needed, allocated):
            memo.room.note_short(needed)
        else:
            memo.room.forget()
        return allocated

    def _must_wait(self, context, instance, known, plan):
        """Whether Placement has refused a lower charge, and still would."""
        charge, charged = plan.decision.charge, known.sizes.charged
        return (known.pending is not None and charge != charged and
                not size.grows(charge, charged) and
                not self.ledger.can_release(context, instance, charge))

    def _record(self, instance, known, plan, occasion):
        decision = plan.decision
        note_start(instance, known.guest, known.now)
        if known.begins_anew:
            self.memos[instance.uuid].begin_anew(
                instance, known.follows_start)
        elif known.has_strayed:
            # It has its time later, and is not what it started with.
            self.memos[instance.uuid].leisure.mark_changed(
                instance, known.now, follows_start=False)
        elif decision.ends_start(known):
            # That gives it no more time, but to take what it lacks.
            lacks = decision.desired.memory_mb > (
                held_by(instance, known.guest).memory_mb)
            self.memos[instance.uuid].leisure.mark_changed(
                instance, known.now if lacks else
                known.changed_at or known.now, follows_start=False)
        notes.note_settling(instance, not decision.has_ended)
        notes.note_left_over(instance, False)
        size.record(instance, decision.desired, size.boot(instance))
        size.settle(instance, decision.charge)
        if not plan.is_pending:
            notes.set_pending(instance, None)
        notes.note_config(
            instance, known.is_config_current and not plan.is_given_up(known))
        notes.clear_outcome(instance)
        notes.set_offline(instance, decision.offline)
        if decision.outcome:
            notes.set_outcome(instance, *decision.outcome)
            if decision.outcome[0] == condition.OVERCOMMITTED:
                notes.note_excess(
                    instance, size.largest(
                        plan.wanted, held_by(instance, known.guest)),
                    plan.allocated if plan.lacks_allocation else
                    known.allocated if plan.is_unsure else None)
        notes.await_guest(
            instance, None if decision.has_ended else plan.awaited)
        if occasion.request_id and (
                plan.is_pending or decision.charge == plan.allocated):
            # Nothing of the adjust follows.
            task.note_end(instance, occasion.request_id)

    def _tell(self, instance, guest, plan):
        reason = None
        if plan.decision.is_partial:
            reason = plan.decision.outcome[1]
        if guest.has_offline_vcpus:
            reason = reason or condition.offline(
                guest.online_vcpus, guest.vcpus)
        action.tell(instance, self._compute.host, plan.awaited, reason)

    def _drive(self, context, instance, guest, target, allocated):
        """Ask a guest to change, and carry out what follows at once.

        :param target: None for nothing
        :param allocated: as in Occasion
        """
        can_change = instance.vm_state in _DRIVEN or (
            # Its configuration, and no guest
            instance.vm_state == vm_states.ERROR and not guest.running)
        if target is None or not can_change:
            return
        memo = self.memos[instance.uuid]
        if memo.is_unplugging(guest, target):
            return
        vcpus = guest.vcpus
        error = self._ask(instance, target)
        is_busy = memo.is_asked_in_vain = isinstance(
            error, elastic_guest.GuestBusy)
        if is_busy:
            # What was left of its time may have passed while it was asked.
            memo.hold_up()
        guest = self.guests([instance]).get(instance.uuid)
        if guest is not None:
            if error is None and guest.vcpus == vcpus:
                memo.note_unplug(guest, target)
            self.carry_out(context, instance, guest, Occasion(
                is_configured=_has_configuration(error), allocated=allocated))
        if is_busy:
            # The guest has its time from the next look on.
            memo.hold_up()

    def _ask(self, instance, target):
        """Ask the hypervisor for a size.

        :returns: the error with which it refused, None if it accepted
        """
        try:
            self._compute.driver.set_elastic_guest(
                instance, target, size.boot(instance))
            return None
        except elastic_guest.ConfigurationRefused as error:
            LOG.warning('The configuration of the guest was not changed: %s',
                        error, instance=instance)
            return error
        except Exception as error:
            # While it refuses or fails, the settle timeout runs.
            LOG.warning('The guest was not changed to %(target)s: %(error)s',
                        {'target': target, 'error': error},
                        instance=instance)
            return error

    def guests(self, instances, renew=False) -> ty.Dict[
            str, elastic_guest.GuestState]:
        """What is known of guests, without those that do not answer."""
        by_uuid = {instance.uuid: instance for instance in instances}
        try:
            guests = self._compute.driver.get_elastic_guests(
                instances, renew=renew)
            return {uuid: guest for uuid, guest in guests.items()
                    if not elastic_guest.is_missing(
                        by_uuid[uuid], guest.running)}
        except NotImplementedError:
            return {}
        except Exception as error:
            LOG.warning('The hypervisor does not report what elastic servers '
                        'hold: %s', error)
            return {}


def held_by(instance, guest) -> size.Size:
    """What a running guest counts as holding."""
    return situation.held(situation.sizes_of(instance), guest)


def note_start(instance, guest, now) -> None:
    if situation.is_start(instance, guest):
        notes.mark_started(instance, guest.run, now)


def _awaited(instance, known, request_id):
    """The request that the guest may still follow."""
    if not known.guest.running or known.is_start:
        # The start gave it the boot size, whatever was requested.
        return None
    return request_id or notes.awaited(instance)


def _has_configuration(error):
    """Whether the hypervisor has the boot size in its configuration.

    :param error: of :meth:`Executor._ask`
    """
    return error is None or (
        isinstance(error, exception.ElasticGuestRefused) and
        not isinstance(error, elastic_guest.ConfigurationRefused))


def _with_charge(plan, charge):
    return plan._replace(decision=plan.decision._replace(charge=charge))


def _is_noted_overcommitted(instance):
    return (notes.outcome(instance) or (None,))[0] == condition.OVERCOMMITTED


def _only_back(known, target):
    """What of a request to a guest gives something back, None for nothing.

    Its configuration is written with such a request.
    """
    held = situation.held(known.sizes, known.guest)
    if target.memory_mb is None:
        if target.vcpus > held.vcpus and known.is_config_current:
            return None
        return target._replace(vcpus=min(target.vcpus, held.vcpus))
    back = size.smallest(target, held)
    if back == held != target and known.is_config_current:
        return None
    return back


def _is_news(known, plan):
    """Whether a guest does not cause that again and again.

    A part of its allocation was lost or has come back, its start is over, or a
    request has left something.
    """
    return (
        plan.decision.ends_start(known) or known.has_left_over or
        plan.may_lack_allocation != known.lacks_allocation or
        plan.lacks_allocation and plan.allocated != known.allocated)


def _warn_once(instance, decision):
    if not _is_noted_overcommitted(instance):
        LOG.warning('%s', decision.outcome[1], instance=instance)
