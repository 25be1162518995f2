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

"""Compare what is desired, charged and held, and correct differences.

:func:`decide` decides everything and does no I/O. The :class:`Reconciler` of a
compute service carries that out. Its order of steps is such that a crash
between any two leaves no server charged less than it holds, and the next
reconcile finishes the work. nova.xloud.ledger writes the charge.
"""

import datetime
import threading
import time
import typing as ty

from oslo_concurrency import lockutils
from oslo_log import log as logging
from oslo_utils import timeutils

from nova.compute import task_states
from nova.compute import vm_states
import nova.conf
import nova.context
from nova import exception
from nova.i18n import _
from nova import objects
from nova import utils
from nova.xloud import action
from nova.xloud import condition
from nova.xloud import guest as elastic_guest
from nova.xloud import ledger as xloud_ledger
from nova.xloud import memory
from nova.xloud import size
from nova.xloud import task

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# A server in another state may be elsewhere, or has no guest to ask, such as a
# suspended one.
_VM_STATES = (vm_states.ACTIVE, vm_states.STOPPED, vm_states.RESCUED,
              vm_states.PAUSED, vm_states.RESIZED, vm_states.SHELVED)
# Tasks that do not move the server, which can come to hold more meanwhile.
_STILL = (None, task_states.IMAGE_SNAPSHOT, task_states.IMAGE_SNAPSHOT_PENDING,
          task_states.IMAGE_PENDING_UPLOAD, task_states.IMAGE_UPLOADING,
          task_states.IMAGE_BACKUP, task_states.UPDATING_PASSWORD)
# How long one pass over the guests of a host may take.
_PASS_SECONDS = 60
# How long what no user asked for rests, except that the charge rises
_LEISURE_SECONDS = 60
_MOST_LEISURE_SECONDS = 3600
# How long an event waits while something else works on its server.
_EVENT_SECONDS = 15
_LOOK_SECONDS = 0.2
# States in which Nova may change the guest.
_DRIVEN = (vm_states.ACTIVE, vm_states.STOPPED)


class Decision(ty.NamedTuple):
    desired: size.Size
    charge: size.Size
    # What to ask the guest for, None for nothing.
    drive: ty.Optional[size.Size]
    # As of size.outcome().
    outcome: ty.Optional[ty.Tuple[str, str]]
    # Whether the guest holds what is desired.
    is_reached: bool


def decide(
    sizes: condition.Sizes,
    guest: elastic_guest.GuestState,
    changed_at: ty.Optional[datetime.datetime],
    now: datetime.datetime,
    settle_timeout: int,
    memory_reserve_mb: int = 0,
    started: bool = False,
    has_room: bool = True,
    outcome: ty.Optional[ty.Tuple[str, str]] = None,
    started_at: ty.Optional[datetime.datetime] = None,
    is_config_current: bool = True,
    room: ty.Optional[size.Size] = None,
) -> Decision:
    """What to do about a server. Deciding again afterwards changes nothing.

    :param changed_at: when the server was last asked to change or started
    :param started: whether this is the first look at this run of the guest
    :param has_room: False if the host has no room for all that it holds
    :param room: what can be charged then
    :param outcome: what was noted before, as of size.outcome()
    :param started_at: when the server last started
    :param is_config_current: as of size.is_config_current()
    """
    boot = sizes.boot
    # If the configuration can still give more than boot, that stays charged.
    configured = boot if is_config_current else sizes.charged
    if not guest.running:
        return Decision(
            desired=boot, charge=size.largest(boot, configured),
            drive=None if is_config_current else boot, outcome=None,
            is_reached=True)

    # What was asked for without 'persist' ended with the earlier run.
    desired = boot if started else sizes.desired
    held = condition.held(
        sizes._replace(desired=desired), guest.holds, guest.memory_pinned)
    overcommitted = (
        not started and outcome is not None and
        outcome[0] == condition.OVERCOMMITTED)
    if started or overcommitted:
        outcome = None
    waiting = started or condition.is_waiting(
        changed_at, now, settle_timeout)
    # A starting guest holds the maximum until its balloon driver loads, and so
    # does, for a moment, a guest that has reset itself. An adjust gives no
    # more time for that.
    is_excess_borne = not overcommitted and (
        started or guest.is_returning or
        condition.is_waiting(started_at, now, settle_timeout))
    if is_excess_borne:
        counted = _smallest(held, sizes.charged)
    elif not has_room:
        counted = _smallest(held, room or sizes.charged)
    else:
        counted = held

    drive = None
    if not waiting:
        asked = desired
        desired, outcome = _accept(
            sizes, guest, desired, held, counted, settle_timeout, outcome,
            memory_reserve_mb)
        # A balloon driver that loads late should follow the start's request.
        awaits_driver = not guest.balloon_active and changed_at == started_at
        if has_room and desired.memory_mb != asked.memory_mb and (
                not awaits_driver):
            drive = desired._replace(
                memory_mb=max(desired.memory_mb, held.memory_mb))
    elif held != desired and not started:
        if changed_at == started_at:
            target = memory.start_target(
                guest, desired, memory_reserve_mb, sizes.maximum.memory_mb)
        else:
            target = memory.target(
                guest, desired, memory_reserve_mb, memory_reserve_mb // 2)
        drive = _request(guest, desired, held, target)
    if drive is None and not is_config_current and not started:
        drive = memory.target(guest, desired, memory_reserve_mb)
    charge = size.largest(desired, boot, counted, configured)

    if not has_room:
        outcome = condition.OVERCOMMITTED, _(
            'The server holds %(held)s, is charged %(charge)s and its host '
            'has no room for more.') % {'held': held, 'charge': charge}
    is_reached = held == desired and not (
        waiting and guest.has_offline_vcpus)
    return Decision(desired, charge, drive, outcome, is_reached)


def _accept(sizes, guest, desired, held, counted, settle_timeout, outcome,
            reserve_mb):
    """After the timeout, what the guest holds becomes the desired size."""
    accepted = size.largest(
        sizes.minimum, _smallest(counted, sizes.maximum))
    if held == desired:
        return desired, outcome
    if outcome and held == sizes.boot:
        # The guest reached its boot size after the timeout.
        return accepted, None
    if outcome and accepted == desired:
        # Nothing has changed: it holds less than its minimum.
        return desired, outcome
    return accepted, (
        condition.PARTIAL,
        _refusal(guest, desired, held, settle_timeout, reserve_mb))


def _refusal(guest, desired, held, settle_timeout, reserve_mb):
    reasons = [_('The guest holds %(held)s and not %(desired)s.') %
               {'held': held, 'desired': desired}]
    if held.vcpus > desired.vcpus:
        reasons.append(_('It did not give back vCPUs.'))
    elif held.vcpus < desired.vcpus:
        reasons.append(_('It did not take vCPUs.'))
    if guest.memory_pinned:
        reasons.append(_('A passed-through device pins its memory.'))
    elif held.memory_mb != desired.memory_mb:
        if not guest.balloon_active:
            reasons.append(_('Its balloon driver does not answer.'))
        elif held.memory_mb > desired.memory_mb:
            reasons.append(_('It did not give back memory.'))
            needed_mb = memory.needs(guest, reserve_mb)
            if needed_mb is not None and needed_mb > desired.memory_mb:
                reasons.append(_('It needs %d MiB.') % needed_mb)
        else:
            reasons.append(_('It did not take memory.'))
    reasons.append(_('It had %d seconds.') % settle_timeout)
    return ' '.join(reasons)


def _request(guest, desired, held, target):
    """The target, unless there is nothing to ask the guest for."""
    if target.vcpus != held.vcpus:
        return target
    if guest.used_memory_mb is None and target.memory_mb < guest.memory_mb:
        # Without statistics, memory in use could be taken.
        return None
    # A guest that keeps what it holds has been asked for less.
    is_kept = target != desired and not guest.memory_pinned
    return target if is_kept or target.memory_mb != guest.memory_mb else None


def _smallest(*sizes):
    return size.Size(*map(min, zip(*sizes)))


def _grows(new, old):
    return size.largest(new, old) != old


def is_started(instance, guest) -> bool:
    """Whether this is the first look at this run of the guest."""
    return (guest.running and guest.run is not None and
            size.run(instance) != guest.run)


def _held(instance, guest):
    return condition.held(condition.sizes_of(instance), guest.holds,
                          guest.memory_pinned)


def note_start(instance, guest) -> None:
    if is_started(instance, guest):
        size.mark_started(instance, guest.run, timeutils.utcnow())


def has_strayed(instance, guest, now: datetime.datetime) -> bool:
    """Whether a settled guest has changed although nobody asked.

    It has reset itself and its balloon driver is not back yet, or somebody
    changed it without Nova. It has as much time to go back as for a change.
    """
    if (not guest.running or is_started(instance, guest) or
            size.is_settling(instance) or size.outcome(instance) or
            condition.is_waiting(size.changed_at(instance), now,
                                 CONF.xloud.settle_timeout)):
        return False
    sizes = condition.sizes_of(instance)
    return sizes.desired != condition.held(
        sizes, guest.holds, guest.memory_pinned)


class _Leisure(ty.NamedTuple):
    """Limits the writes for a guest that moves its balloon by itself."""

    # When the server was last asked to change
    asked: ty.Optional[datetime.datetime]
    until: datetime.datetime
    seconds: int
    # By how much the charge last rose
    step_mb: int


class _NoRoom(ty.NamedTuple):
    """Limits the questions to a host that has no room for a server."""

    needed: size.Size
    until: datetime.datetime
    seconds: int


def _longer(seconds):
    return min(max(2 * seconds, _LEISURE_SECONDS), _MOST_LEISURE_SECONDS)


class Reconciler:
    """Carries out the decisions for the servers of one compute service."""

    def __init__(self, compute, unclaimed):
        """:param unclaimed: nova.xloud.task.Unclaimed"""
        self._compute = compute
        ledger = xloud_ledger.Ledger(compute)
        self._ledger = ledger
        self.charge, self.save = ledger.charge, ledger.save
        self._unclaimed = unclaimed
        # The servers whose allocation is known to be what they are charged.
        # One that leaves, moves or fails is removed. The set is empty after a
        # start, so that what a crash left is found.
        self._verified: ty.Set[str] = set()
        self._running = threading.Lock()
        # Where to continue a pass that took too long
        self._next: ty.Optional[str] = None
        # By server, until when what no user asked for rests
        self._leisure: ty.Dict[str, _Leisure] = {}
        # By server, until when not to ask for more
        self._no_room: ty.Dict[str, _NoRoom] = {}
        # The servers that were paused on their way to what is desired
        self._paused: ty.Set[str] = set()
        # The servers for which an event waits
        self._waiting: ty.Set[str] = set()
        # By server, the size that a guest was asked for to give back vCPUs
        self._unplugging: ty.Dict[str, ty.Tuple] = {}

    def reconcile_soon(self, context) -> None:
        """All elastic servers of the host, in a thread of its own.

        A guest may take seconds for what it is asked.
        """
        if not self._running.acquire(blocking=False):
            LOG.debug('The last reconcile has not ended.')
            return

        def run():
            try:
                self.reconcile(context)
            except Exception:
                LOG.exception('Not reconciled.')
            finally:
                self._running.release()

        threading.Thread(target=run, name='xloud-reconcile',
                         daemon=True).start()

    def reconcile(self, context) -> None:
        """All elastic servers of the host."""
        instances = self._instances(context)
        self._forget_others(instances)
        if not instances:
            self._verified.clear()
            return
        self._unclaimed.give_back(context, instances)
        servers = {instance.uuid: instance for instance in instances
                   if self._is_ours(instance)}
        self._verified.intersection_update(
            uuid for uuid, instance in servers.items()
            if self._is_quiet(instance))
        if not servers:
            return
        guests = self._guests(list(servers.values()))
        if not guests:
            return
        allocated = self._ledger.allocated(context, [
            instance for uuid, instance in servers.items()
            if uuid not in self._verified and self._is_quiet(instance)])
        deadline = time.monotonic() + _PASS_SECONDS
        for uuid in self._in_turn(servers):
            if time.monotonic() > deadline:
                # Those that are left come first in the next pass.
                LOG.debug('Guests take their time. The next pass goes on.')
                self._next = uuid
                break
            try:
                if uuid in guests:
                    self._look_at(
                        context, servers[uuid], guests[uuid], allocated)
            except Exception:
                # The failure of one server must not stop the others.
                LOG.exception('Not reconciled.', instance=servers[uuid])

    def _forget_others(self, instances):
        here = {instance.uuid for instance in instances}
        for known in (self._leisure, self._no_room, self._unplugging):
            for uuid in set(known) - here:
                known.pop(uuid, None)
        self._paused.intersection_update(here)

    def _instances(self, context):
        """The elastic servers of the host, without a look at others."""
        known = self._compute.rt.xloud_servers
        wanted = sorted(known)
        if not wanted:
            return []
        instances = objects.InstanceList.get_by_filters(
            context, {'host': self._compute.host, 'uuid': wanted,
                      'deleted': False},
            expected_attrs=['flavor', 'system_metadata'])
        # Forget servers that have left; the resource tracker adds one that
        # comes back. One on its way here is not found yet, and stays.
        known.difference_update(
            set(wanted) - {instance.uuid for instance in instances} -
            set(self._compute.rt.tracked_migrations))
        return instances

    def _in_turn(self, servers):
        uuids = list(servers)
        if self._next in servers:
            first = uuids.index(self._next)
            uuids = uuids[first:] + uuids[:first]
        self._next = None
        return uuids

    def reconcile_server(self, context, instance, allocated=None) -> bool:
        """Reconcile one server, unless something else works on it now.

        :param allocated: what Placement says it is charged, if that is known
        :returns: False if something else works on it
        """
        try:
            if not size.is_elastic(instance.flavor):
                return True

            @utils.synchronized(instance.uuid, blocking=False)
            def locked():
                instance.refresh()
                if self._is_quiet(instance):
                    guest = self._guest(instance)
                    if guest is not None and memory.is_unsure(
                            guest, size.desired(instance).memory_mb):
                        guest = self._guest(instance, renew=True)
                    if guest is not None:
                        self.settle(context, instance, guest,
                                    allocated=allocated)
            locked()
        except lockutils.AcquireLockFailedException:
            LOG.debug('Not reconciled: it is in use.', instance=instance)
            return False
        except (exception.InstanceNotFound,
                exception.InstanceUpdateConflict) as error:
            LOG.debug('Not reconciled: %s', error, instance=instance)
        except exception.ElasticConflict as error:
            LOG.warning('Not reconciled now: %s', error, instance=instance)
        except Exception:
            LOG.exception('Not reconciled.', instance=instance)
        return True

    def start_anew(self, context, instance) -> None:
        """Charge boot for a server of which nothing ran until now.

        The operation goes on in any case, and reconcile ends this.
        """
        try:
            if size.is_elastic(instance.flavor):
                self._ledger.start_anew(context, instance)
        except Exception as error:
            LOG.warning('Its boot size is charged later: %s', error,
                        instance=instance)

    def handle_event(self, event) -> None:
        """A driver reports that a guest has changed."""
        context = nova.context.get_admin_context()
        try:
            instance = objects.Instance.get_by_uuid(
                context, event.get_instance_uuid(),
                expected_attrs=['flavor', 'system_metadata'])
        except exception.InstanceNotFound:
            return
        if self._is_quiet(instance):
            self._reconcile_after_event(context, instance)
        elif self._is_ours(instance):
            guest = self._guest(instance)
            if guest is not None:
                self._raise(context, instance, guest)

    def _reconcile_after_event(self, context, instance):
        """Look at a server, even if something else looks at it now.

        The other look may be older than the event, which may be the last.
        """
        deadline = time.monotonic() + _EVENT_SECONDS
        while not self.reconcile_server(context, instance):
            # Of several events only one waits, and sees what all report.
            if instance.uuid in self._waiting or time.monotonic() > deadline:
                return
            self._waiting.add(instance.uuid)
            time.sleep(_LOOK_SECONDS)
            self._waiting.discard(instance.uuid)

    def settle(self, context, instance, guest, task_state=None,
               allocated=None, drive=True, is_configured=False,
               request_id=None) -> None:
        """Carry out what is decided about one server.

        The caller holds the lock of the instance.

        :param task_state: the task state that the server must keep
        :param allocated: what Placement says it is charged, if that is not
            what the instance row says
        :param drive: whether the guest may be asked to change
        :param is_configured: whether the hypervisor has just been given the
            boot size for its configuration
        :param request_id: of the adjust that is being settled, if it is one,
            whose task ends with that if Placement need not be asked
        """
        self.doubt(instance)
        if not self._is_unplugging(instance, guest):
            self._unplugging.pop(instance.uuid, None)
        awaited = self._awaited(instance, guest, request_id)
        is_current = is_configured or size.is_config_current(instance)
        # A start asks for the boot size, and the way down to it ends.
        is_unasked = (
            guest.running and not awaited and task_state is None and
            not self._is_starting(instance, guest))
        charged = size.charged(instance)
        is_known = allocated is not None
        if allocated is None:
            allocated = charged
        has_strayed_now = self._has_full_time(
            instance, guest, timeutils.utcnow())
        decision, wanted, allocated = self._decide_and_claim(
            context, instance, guest, is_current, allocated, is_unasked)

        # Until it was asked for what it holds, the guest may still follow what
        # it was asked for before.
        is_given_up = decision.drive is not None and (
            decision.desired != size.desired(instance))
        was_current = size.is_config_current(instance)
        if is_unasked and self._can_rest(instance, guest, decision):
            if was_current:
                if drive and not is_given_up:
                    self._ask(context, instance, guest, decision.drive,
                              allocated if is_known else None)
                return
            # Only what the hypervisor's configuration gives has to be noted.
            decision = decision._replace(charge=charged)
        is_pending = (
            size.pending(instance) is not None and
            decision.charge != charged and
            not _grows(decision.charge, charged) and
            not self._ledger.can_release(context, instance))
        if is_pending:
            decision = decision._replace(charge=charged)
        is_partial = (decision.outcome is not None and
                      decision.outcome[0] == condition.PARTIAL)
        has_ended = decision.is_reached or is_partial
        step_mb = wanted.memory_mb - size.moved(instance).memory_mb

        def record():
            note_start(instance, guest)
            if has_strayed_now:
                self._mark_strayed(instance)
            size.note_settling(instance, not has_ended)
            size.record(instance, decision.desired, size.boot(instance))
            size.settle(instance, decision.charge)
            if not is_pending:
                size.set_pending(instance, None)
            size.note_config(instance, is_current and not is_given_up)
            size.clear_outcome(instance)
            if decision.outcome:
                size.set_outcome(instance, *decision.outcome)
                if decision.outcome[0] == condition.OVERCOMMITTED:
                    size.note_excess(instance, size.largest(
                        wanted, _held(instance, guest)))
            size.await_guest(instance, None if has_ended else awaited)
            if request_id and (is_pending or decision.charge == allocated):
                # Nothing of the adjust follows.
                task.note_end(instance, request_id)

        is_saved = self.save(context, instance, record, task_state)
        # If it ended with the request, the events of the request say enough,
        # unless the guest refused.
        if awaited and has_ended and (is_partial or not request_id):
            reason = decision.outcome[1] if is_partial else None
            if guest.has_offline_vcpus:
                reason = reason or condition.offline(
                    guest.online_vcpus, guest.vcpus)
            action.tell(instance, self._compute.host, awaited, reason)
        # The second half of a change that is counted already is not another.
        if is_unasked and is_saved and (was_current or not is_configured):
            self._note_unasked(instance, step_mb)
        if _grows(decision.charge, allocated):
            return
        if decision.charge != allocated and not is_pending and (
                self._ledger.release(context, instance, allocated,
                                     decision.charge, task_state)):
            allocated = decision.charge
            self._no_room.pop(instance.uuid, None)
        if is_known:
            # Else there may be more, of which the next pass hears.
            self._verified.add(instance.uuid)
        if drive:
            self._ask(context, instance, guest, decision.drive,
                      allocated if is_known else None, task_state)

    def _decide_and_claim(self, context, instance, guest, is_current,
                          allocated, is_unasked):
        """Decide what to do, and claim what that needs.

        :returns: the decision, what was to be charged, what is allocated
        """
        decision = self._decide(instance, guest, is_current)
        needed = wanted = decision.charge
        if is_unasked:
            wanted = self._rounded(instance, needed)
        else:
            self._no_room.pop(instance.uuid, None)
        if _grows(wanted, allocated):
            allocated = self._charge_more(
                context, instance, allocated, wanted, needed)
        if _grows(needed, allocated):
            decision = self._decide(
                instance, guest, is_current, has_room=False,
                room=size.largest(size.charged(instance), allocated))
            self._warn_once(instance, decision)
        else:
            decision = decision._replace(charge=size.largest(
                needed, _smallest(wanted, allocated)))
        return decision, wanted, allocated

    def _ask(self, context, instance, guest, target, allocated,
             task_state=None):
        """Ask a guest to change, and settle what it does at once."""
        if target is None or instance.vm_state not in _DRIVEN:
            return
        if self._is_unplugging(instance, guest, target):
            # Each time libvirt would wait for seconds.
            return
        vcpus = guest.vcpus
        is_asked, is_configured = self._drive(instance, target)
        guest = self._guest(instance)
        if guest is not None:
            if is_asked and guest.vcpus == vcpus:
                self._note_unplug(instance, guest, target)
            self.settle(context, instance, guest, task_state=task_state,
                        allocated=allocated, drive=False,
                        is_configured=is_configured)

    def doubt(self, instance) -> None:
        """Look at the allocation of a server again next time."""
        self._verified.discard(instance.uuid)

    def _look_at(self, context, instance, guest, allocated):
        uuid = instance.uuid
        no_room = self._no_room.get(uuid)
        if no_room and self._ledger.has_room(
                context, instance, no_room.needed):
            del self._no_room[uuid]
        if not self._is_quiet(instance):
            self._raise(context, instance, guest)
            return
        found = allocated.get(uuid)
        if uuid in allocated and found is None:
            if size.charges_by_extra_specs(instance.flavor):
                LOG.debug('Its flavor says what is allocated.',
                          instance=instance)
                return
            LOG.warning('The server has no allocation of vCPUs and memory on '
                        'its host. Heal its allocations.', instance=instance)
        elif not self._is_settled(instance, guest, found):
            self.reconcile_server(context, instance, found)
        elif found is not None:
            self._verified.add(uuid)

    @staticmethod
    def _awaited(instance, guest, request_id):
        """The request that the guest may still follow."""
        if not guest.running or is_started(instance, guest):
            # The start gave it the boot size, whatever was requested.
            return None
        return request_id or size.awaited(instance)

    def _decide(self, instance, guest, is_config_current, has_room=True,
                room=None):
        now = timeutils.utcnow()
        changed_at = size.changed_at(instance)
        if self._has_full_time(instance, guest, now) or (
                instance.vm_state == vm_states.PAUSED):
            changed_at = now
        return decide(
            condition.sizes_of(instance), guest, changed_at,
            now, CONF.xloud.settle_timeout,
            CONF.xloud.guest_memory_reserve_mb, is_started(instance, guest),
            has_room, size.outcome(instance), size.started_at(instance),
            is_config_current, room)

    def _has_full_time(self, instance, guest, now):
        """Whether a guest has the time for a change from now on.

        A paused guest can do nothing, so its time begins when it goes on.
        """
        if instance.vm_state == vm_states.PAUSED:
            if guest.running and size.is_settling(instance):
                self._paused.add(instance.uuid)
            return False
        if not size.is_settling(instance) or is_started(instance, guest):
            self._paused.discard(instance.uuid)
        return (instance.uuid in self._paused or
                has_strayed(instance, guest, now))

    def _is_settled(self, instance, guest, allocated):
        decision = self._decide(
            instance, guest, size.is_config_current(instance))
        sizes = condition.sizes_of(instance)
        is_noted = not (size.is_settling(instance) and decision.is_reached)
        is_noted &= not self._has_full_time(
            instance, guest, timeutils.utcnow())
        return not is_started(instance, guest) and is_noted and (
            decision._replace(is_reached=True) == Decision(
                sizes.desired, sizes.charged, None, size.outcome(instance),
                True)) and allocated in (None, sizes.charged)

    def _is_quiet(self, instance):
        """Whether nothing else happens to an elastic server of this host."""
        return (self._is_ours(instance) and instance.task_state is None and
                instance.vm_state in _VM_STATES)

    def _is_ours(self, instance):
        """Whether an elastic server and its allocation are on this host."""
        compute = self._compute
        return (instance.host == compute.host and
                instance.task_state in _STILL and
                instance.vm_state in _VM_STATES + (vm_states.ERROR,) and
                instance.node in compute.rt.compute_nodes and
                size.is_elastic(instance.flavor))

    @staticmethod
    def _is_starting(instance, guest):
        """Whether it may hold more than its boot size, as after a start."""
        return is_started(instance, guest) or condition.is_waiting(
            size.started_at(instance), timeutils.utcnow(),
            CONF.xloud.settle_timeout)

    def _raise(self, context, instance, guest):
        """Raise the charge of a guest while another task runs."""
        def excess():
            held = _held(instance, guest)
            return _grows(held, size.charged(instance)) and held

        if (not guest.running or self._is_starting(instance, guest) or
                not excess()):
            return
        try:
            @utils.synchronized(instance.uuid, blocking=False)
            def locked():
                instance.refresh()
                held = self._is_ours(instance) and excess()
                if not held:
                    return
                charged = size.charged(instance)
                wanted = self._rounded(instance, size.largest(charged, held))
                allocated = self._charge_more(
                    context, instance, charged, wanted, held)
                charge = size.largest(charged, _smallest(wanted, allocated))
                if self._ledger.save(
                        context, instance,
                        lambda: size.settle(instance, charge),
                        instance.task_state):
                    self._note_unasked(
                        instance, charge.memory_mb - charged.memory_mb)
            locked()
        except lockutils.AcquireLockFailedException:
            LOG.debug('Not charged more: it is in use.', instance=instance)
        except (exception.InstanceNotFound, exception.ElasticConflict,
                exception.InstanceUpdateConflict) as error:
            LOG.debug('Not charged more: %s', error, instance=instance)

    def _charge_more(self, context, instance, old, wanted, needed):
        """Charge as much of a growth as fits, unless nothing is known to fit.

        :returns: what is allocated then
        """
        now = timeutils.utcnow()
        known = self._no_room.get(instance.uuid)
        is_short = _grows(size.charged(instance), old)
        if known is not None and now < known.until and not is_short:
            return old
        allocated = self._ledger.charge_what_fits(
            context, instance, old, size.largest(old, wanted))
        self._no_room.pop(instance.uuid, None)
        if _grows(needed, allocated):
            seconds = _longer(known.seconds if known else 0)
            self._no_room[instance.uuid] = _NoRoom(
                needed, now + datetime.timedelta(seconds=seconds), seconds)
        return allocated

    def _rounded(self, instance, charge):
        """What to charge a guest that takes memory again and again.

        Each time twice as much more as the last time, so that it happens a
        few times only.
        """
        leisure = self._leisure_now(instance)
        covered_mb = size.moved(instance).memory_mb
        if leisure is None or charge.memory_mb <= covered_mb:
            return charge
        return charge._replace(memory_mb=max(charge.memory_mb, min(
            covered_mb + 2 * leisure.step_mb,
            size.maximum(instance.flavor).memory_mb)))

    def _can_rest(self, instance, guest, decision):
        """Whether what no user asked for can wait.

        All that the guest holds is charged, or known not to fit.
        """
        return (self._leisure_now(instance) is not None and
                not _grows(decision.charge, size.charged(instance)) and
                not _grows(_held(instance, guest), size.moved(instance)))

    def _leisure_of(self, instance):
        leisure = self._leisure.get(instance.uuid)
        if leisure is None or leisure.asked != size.changed_at(instance):
            return None
        return leisure

    def _leisure_now(self, instance):
        leisure = self._leisure_of(instance)
        if leisure is None or timeutils.utcnow() >= leisure.until:
            return None
        return leisure

    def _mark_strayed(self, instance):
        """Give a guest time to go back to its size."""
        self._paused.discard(instance.uuid)
        leisure = self._leisure_of(instance)
        size.mark_changed(instance, timeutils.utcnow())
        if leisure is not None:
            self._leisure[instance.uuid] = leisure._replace(
                asked=size.changed_at(instance))

    def _note_unasked(self, instance, step_mb):
        """The first change that no user asked for gives no leisure."""
        leisure = self._leisure_of(instance)
        if self._leisure_now(instance) is not None:
            until, seconds = leisure.until, leisure.seconds
        else:
            seconds = _longer(leisure.seconds) if leisure else 0
            until = timeutils.utcnow() + datetime.timedelta(seconds=seconds)
        self._leisure[instance.uuid] = _Leisure(
            size.changed_at(instance), until, seconds, max(step_mb, 0))

    def _guest(self, instance, renew=False):
        return self._guests([instance], renew).get(instance.uuid)

    def _guests(self, instances, renew=False):
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

    def _is_unplugging(self, instance, guest, target=None):
        """Whether the guest was asked already to give back vCPUs."""
        asked = self._unplugging.get(instance.uuid)
        return asked is not None and asked[:2] == (
            guest.run, guest.vcpus) and target in (None, asked[2])

    def _note_unplug(self, instance, guest, target):
        """Remember that the guest was asked and has not begun."""
        if guest.vcpus > target.vcpus:
            self._unplugging[instance.uuid] = guest.run, guest.vcpus, target

    def _drive(self, instance, target):
        """Ask the hypervisor for a size.

        :returns: whether it accepted that, and whether it has the boot size
            in its configuration
        """
        try:
            self._compute.driver.set_elastic_guest(
                instance, target, size.boot(instance))
            return True, True
        except Exception as error:
            # The settle timeout runs.
            LOG.warning('The guest was not changed to %(target)s: %(error)s',
                        {'target': target, 'error': error},
                        instance=instance)
            return False, isinstance(error, exception.ElasticGuestRefused)

    def _warn_once(self, instance, decision):
        if (size.outcome(instance) or (None,))[0] != condition.OVERCOMMITTED:
            LOG.warning('%s', decision.outcome[1], instance=instance)
