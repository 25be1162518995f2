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

"""Bring what is desired, charged and held of a server together.

:func:`decide` is the whole of it and does no I/O. The :class:`Reconciler` of
a compute service carries out what it decides, in an order in which a crash
between any two steps leaves no server charged less than it holds, and the
next reconcile ends it: what is more is first charged in Placement and then
in the instance row, what is less the other way round.
"""

import datetime
import typing as ty

from keystoneauth1 import exceptions as ks_exc
from oslo_concurrency import lockutils
from oslo_log import log as logging
from oslo_utils import timeutils

from nova.compute import utils as compute_utils
from nova.compute import vm_states
import nova.conf
import nova.context
from nova import exception
from nova.i18n import _
from nova import objects
from nova import rpc
from nova import utils
from nova.xloud import action
from nova.xloud import allocation
from nova.xloud import condition
from nova.xloud import guest as elastic_guest
from nova.xloud import size

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# In the other states a server is somewhere else, or nobody knows.
# A server that is paused, or whose resize nobody has confirmed yet, holds what
# it holds. One that is suspended will, but there is no guest to ask.
_VM_STATES = (vm_states.ACTIVE, vm_states.STOPPED, vm_states.RESCUED,
              vm_states.PAUSED, vm_states.RESIZED)
# Those in which Nova may change the guest.
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
) -> Decision:
    """What to do about a server. Deciding again afterwards changes nothing.

    :param changed_at: when the server was last asked to change or started
    :param started: whether this is the first look at this run of the guest
    :param has_room: False if the host has no room for more than is charged
    :param outcome: what was noted before, as of size.outcome()
    :param started_at: when the server last started
    :param is_config_current: as of size.is_config_current()
    """
    boot = sizes.boot
    # What the hypervisor's configuration may still give stays charged.
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
    # A guest that starts holds the maximum until its balloon driver loads.
    # Another change does not give it more time for that.
    is_excess_borne = not overcommitted and (
        started or condition.is_waiting(started_at, now, settle_timeout))
    if is_excess_borne or not has_room:
        counted = _smallest(held, sizes.charged)
    else:
        counted = held

    drive = None
    if not waiting:
        desired, outcome = _accept(
            sizes, guest, desired, held, counted, settle_timeout, outcome)
    elif held != desired and not started:
        drive = _request(guest, desired, held, memory_reserve_mb)
    if drive is None and not is_config_current and not started:
        drive = safe_target(guest, desired, memory_reserve_mb)
    charge = size.largest(desired, boot, counted, configured)

    if not has_room:
        outcome = condition.OVERCOMMITTED, _(
            'The server holds %(held)s, is charged %(charge)s and its host '
            'has no room for more.') % {'held': held, 'charge': charge}
    return Decision(desired, charge, drive, outcome, held == desired)


def check_memory(guest, wanted_mb: int, reserve_mb: int) -> None:
    """Whether a running guest can be asked for this amount of memory.

    :raises ValueError: with the reason for the user
    """
    if guest.memory_pinned:
        raise ValueError(_(
            'a passed-through device keeps all of its memory on the host, '
            'so the memory cannot be changed.'))
    if wanted_mb >= guest.memory_mb:
        return
    if guest.used_memory_mb is None:
        raise ValueError(_(
            'its guest gives no memory statistics, so it is not known what '
            'can be taken. A balloon driver that gives them has to run in '
            'it.'))
    floor = guest.used_memory_mb + reserve_mb
    if wanted_mb < floor:
        raise ValueError(_(
            'its guest uses %(used)d MiB of memory and keeps %(reserve)d MiB '
            'above that, so %(floor)d MiB is the least now.') %
            {'used': guest.used_memory_mb, 'reserve': reserve_mb,
             'floor': floor})


def safe_target(guest, desired: size.Size, reserve_mb: int) -> size.Size:
    """What to ask for so that no memory is taken that the guest needs.

    Without statistics no balloon driver runs, and a new one does what the
    last request says: that should be what is desired.
    """
    needed_mb = (guest.used_memory_mb or 0) + reserve_mb
    is_needed = guest.used_memory_mb is not None and (
        desired.memory_mb < min(needed_mb, guest.memory_mb))
    if guest.memory_pinned or is_needed:
        return desired._replace(memory_mb=guest.memory_mb)
    return desired


def _accept(sizes, guest, desired, held, counted, settle_timeout, outcome):
    """Take what the guest holds for what is desired, as it had its time."""
    accepted = size.largest(
        sizes.minimum, _smallest(counted, sizes.maximum))
    if held == desired:
        return desired, outcome
    if outcome and held == sizes.boot:
        # It came round after all.
        return accepted, None
    if outcome and accepted == desired:
        # As before. It holds less than its minimum.
        return desired, outcome
    return accepted, (
        condition.PARTIAL, _refusal(guest, desired, held, settle_timeout))


def _refusal(guest, desired, held, settle_timeout):
    reasons = [_('The guest holds %(held)s and not %(desired)s.') %
               {'held': held, 'desired': desired}]
    if held.vcpus > desired.vcpus:
        reasons.append(_('It did not give back vCPUs.'))
    elif held.vcpus < desired.vcpus:
        reasons.append(_('It did not take vCPUs.'))
    if guest.memory_pinned:
        reasons.append(_('A passed-through device keeps its memory.'))
    elif held.memory_mb != desired.memory_mb:
        if not guest.balloon_active:
            reasons.append(_('Its balloon driver does not answer.'))
        elif held.memory_mb > desired.memory_mb:
            reasons.append(_('It did not give back memory.'))
        else:
            reasons.append(_('It did not take memory.'))
    reasons.append(_('It had %d seconds.') % settle_timeout)
    return ' '.join(reasons)


def _request(guest, desired, held, reserve_mb):
    target = safe_target(guest, desired, reserve_mb)
    would_take_unseen = guest.used_memory_mb is None and (
        target.memory_mb < guest.memory_mb)
    if target.vcpus == held.vcpus and (
            would_take_unseen or target.memory_mb == guest.memory_mb):
        return None
    return target


def _smallest(*sizes):
    return size.Size(*map(min, zip(*sizes)))


def _grows(new, old):
    return size.largest(new, old) != old


def is_started(instance, guest) -> bool:
    """Whether this is the first look at this run of the guest."""
    return (guest.running and guest.run is not None and
            size.run(instance) != guest.run)


def note_start(instance, guest) -> None:
    if is_started(instance, guest):
        size.mark_started(instance, guest.run, timeutils.utcnow())


class Reconciler:
    """Does for the servers of one compute service what is decided."""

    def __init__(self, compute):
        self._compute = compute
        # The servers whose allocation was seen to be what they are charged.
        # One that leaves, moves or fails is looked at again. It is empty
        # after a start, so that what a crash left is found.
        self._verified: ty.Set[str] = set()
        # Task states that could not be cleared, by server. Empty after a
        # start, which clears them itself.
        self._to_give_back: ty.Dict[str, str] = {}

    def give_back_later(self, instance, task_state) -> None:
        """Clear the task state of a server as soon as that can be saved."""
        self._to_give_back[instance.uuid] = task_state

    def reconcile(self, context) -> None:
        """All elastic servers of the host."""
        instances = objects.InstanceList.get_by_host(
            context, self._compute.host,
            expected_attrs=['flavor', 'system_metadata'])
        self._give_back(instances)
        servers = {instance.uuid: instance for instance in instances
                   if self._is_quiet(instance)}
        self._verified.intersection_update(servers)
        if not servers:
            return
        guests = self._guests(list(servers.values()))
        if not guests:
            return
        allocated = self._allocated(context, [
            instance for uuid, instance in servers.items()
            if uuid not in self._verified])
        for uuid, instance in servers.items():
            try:
                if uuid in guests:
                    self._look_at(context, instance, guests[uuid], allocated)
            except Exception:
                # It shall not keep the others from what they need.
                LOG.exception('Not reconciled.', instance=instance)

    def reconcile_server(self, context, instance, allocated=None) -> None:
        """One server, unless something else happens to it just now.

        :param allocated: what Placement says it is charged, if that is known
        """
        try:
            if not size.is_elastic(instance.flavor):
                return

            @utils.synchronized(instance.uuid, blocking=False)
            def locked():
                instance.refresh()
                if self._is_quiet(instance):
                    guest = self._guest(instance)
                    if guest is not None:
                        self.settle(context, instance, guest,
                                    allocated=allocated)
            locked()
        except lockutils.AcquireLockFailedException:
            LOG.debug('Not reconciled: it is in use.', instance=instance)
        except (exception.InstanceNotFound,
                exception.InstanceUpdateConflict) as error:
            LOG.debug('Not reconciled: %s', error, instance=instance)
        except exception.ElasticConflict as error:
            LOG.warning('Not reconciled now: %s', error, instance=instance)
        except Exception:
            LOG.exception('Not reconciled.', instance=instance)

    def handle_event(self, event) -> None:
        """A driver said that a guest changed."""
        context = nova.context.get_admin_context()
        try:
            instance = objects.Instance.get_by_uuid(
                context, event.get_instance_uuid(),
                expected_attrs=['flavor', 'system_metadata'])
        except exception.InstanceNotFound:
            return
        if self._is_quiet(instance):
            self.reconcile_server(context, instance)

    def settle(self, context, instance, guest, task_state=None,
               allocated=None, drive=True, is_configured=False,
               request_id=None) -> None:
        """Do what is decided about one server.

        The caller holds the lock of the instance.

        :param task_state: the task state that the server must keep
        :param allocated: what Placement says it is charged, if that is not
            what the instance row says
        :param drive: whether the guest may be asked to change
        :param is_configured: whether the hypervisor has just been given the
            boot size for its configuration
        :param request_id: of the adjust that is being settled, if it is one
        """
        self.doubt(instance)
        awaited = self._awaited(instance, guest, request_id)
        is_current = is_configured or size.is_config_current(instance)
        charged = size.charged(instance)
        if allocated is None:
            allocated = charged
        decision = self._decide(instance, guest, is_current)
        if _grows(decision.charge, allocated):
            try:
                self.charge(context, instance, allocated, decision.charge)
                allocated = decision.charge
            except exception.ElasticNoRoom:
                decision = self._decide(
                    instance, guest, is_current, has_room=False)
                self._warn_once(instance, decision)

        is_partial = (decision.outcome is not None and
                      decision.outcome[0] == condition.PARTIAL)
        has_ended = decision.is_reached or is_partial

        def record():
            note_start(instance, guest)
            size.record(instance, decision.desired, size.boot(instance))
            size.settle(instance, decision.charge)
            size.note_config(instance, is_current)
            size.clear_outcome(instance)
            if decision.outcome:
                size.set_outcome(instance, *decision.outcome)
            size.await_guest(instance, None if has_ended else awaited)

        self.save(context, instance, record, task_state)
        # If it ended with the request, the events of that say enough, unless
        # the guest refused.
        if awaited and has_ended and (is_partial or not request_id):
            action.tell(instance, self._compute.host, awaited,
                        decision.outcome[1] if is_partial else None)
        if _grows(decision.charge, allocated):
            return
        if decision.charge != allocated:
            self.charge(context, instance, allocated, decision.charge)
        self._verified.add(instance.uuid)
        if decision.drive and drive and instance.vm_state in _DRIVEN:
            is_configured = self._drive(instance, decision.drive)
            guest = self._guest(instance)
            if guest is not None:
                self.settle(context, instance, guest, task_state=task_state,
                            drive=False, is_configured=is_configured)

    def charge(self, context, instance, old, new) -> None:
        """Change what the server is charged in Placement."""
        allocation.charge(
            context, self._compute.reportclient, instance,
            self._provider(instance), old, new)

    def save(self, context, instance, record, task_state) -> None:
        """Change the books of a server: its row and the resource tracker.

        :param record: changes the instance object
        """
        charged = size.charged(instance)
        before = instance.obj_clone()
        record()
        if size.charged(instance) != charged:
            _close_billing_period(context, before, self._compute.host)
        elif size.entries(instance) == size.entries(before):
            instance.obj_reset_changes(['system_metadata'])
            return
        try:
            self._compute.rt.xloud_recount(
                instance, charged, expected_task_state=[task_state])
        except Exception:
            # Nobody shall save what is only half true.
            instance.obj_reset_changes()
            raise

    def doubt(self, instance) -> None:
        """Have the allocation of a server looked at again."""
        self._verified.discard(instance.uuid)

    def _look_at(self, context, instance, guest, allocated):
        uuid = instance.uuid
        found = allocated.get(uuid)
        if uuid in allocated and found is None:
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
            # It got what every start gives.
            return None
        return request_id or size.awaited(instance)

    def _decide(self, instance, guest, is_config_current, has_room=True):
        return decide(
            condition.sizes_of(instance), guest, size.changed_at(instance),
            timeutils.utcnow(), CONF.xloud.settle_timeout,
            CONF.xloud.guest_memory_reserve_mb, is_started(instance, guest),
            has_room, size.outcome(instance), size.started_at(instance),
            is_config_current)

    def _is_settled(self, instance, guest, allocated):
        decision = self._decide(
            instance, guest, size.is_config_current(instance))
        sizes = condition.sizes_of(instance)
        is_told = size.awaited(instance) is None or not decision.is_reached
        return not is_started(instance, guest) and is_told and (
            decision._replace(is_reached=True) == Decision(
                sizes.desired, sizes.charged, None, size.outcome(instance),
                True)) and allocated in (None, sizes.charged)

    def _give_back(self, instances):
        here = {instance.uuid: instance for instance in instances}
        for uuid, task_state in list(self._to_give_back.items()):
            instance = here.get(uuid)
            if instance is not None and instance.task_state == task_state:
                instance.task_state = None
                try:
                    instance.save(expected_task_state=[task_state])
                except (exception.InstanceNotFound,
                        exception.InstanceUpdateConflict) as error:
                    LOG.debug('It is being deleted: %s', error,
                              instance=instance)
                except Exception as error:
                    LOG.warning('Its task state is cleared later: %s', error,
                                instance=instance)
                    continue
            # Else somebody cleared it, or the server is gone.
            del self._to_give_back[uuid]

    def _is_quiet(self, instance):
        """Whether nothing else happens to an elastic server of this host."""
        compute = self._compute
        return (instance.host == compute.host and
                instance.task_state is None and
                instance.vm_state in _VM_STATES and
                instance.node in compute.rt.compute_nodes and
                size.is_elastic(instance.flavor))

    def _guest(self, instance):
        return self._guests([instance]).get(instance.uuid)

    def _guests(self, instances):
        """What is known of guests, without those that give no answer."""
        try:
            return self._compute.driver.get_elastic_guests(instances)
        except NotImplementedError:
            return {}
        except Exception as error:
            LOG.warning('The hypervisor does not tell what elastic servers '
                        'hold: %s', error)
            return {}

    def _allocated(self, context, instances):
        """What Placement says that servers are charged.

        :returns: dict of Size by uuid, None for a server without allocation
        """
        found = {}
        for node in {instance.node for instance in instances}:
            here = [i for i in instances if i.node == node]
            try:
                charges = allocation.charges(
                    context, self._compute.reportclient,
                    self._provider(here[0]))
            except (exception.ResourceProviderAllocationRetrievalFailed,
                    ks_exc.ClientException) as error:
                LOG.warning('Placement does not tell what is allocated on '
                            '%(node)s: %(error)s',
                            {'node': node, 'error': error})
                continue
            found.update({i.uuid: charges.get(i.uuid) for i in here})
        return found

    def _provider(self, instance):
        # Not any provider that the server has an allocation on: after an
        # evacuation that may be the one which it left.
        return self._compute.rt.compute_nodes[instance.node].uuid

    def _drive(self, instance, target):
        """True if the hypervisor has the boot size in its configuration."""
        try:
            self._compute.driver.set_elastic_guest(
                instance, target, size.boot(instance))
            return True
        except Exception as error:
            # The settle timeout runs.
            LOG.warning('The guest was not changed to %(target)s: %(error)s',
                        {'target': target, 'error': error},
                        instance=instance)
            return isinstance(error, exception.ElasticGuestRefused)

    def _warn_once(self, instance, decision):
        if (size.outcome(instance) or (None,))[0] != condition.OVERCOMMITTED:
            LOG.warning('%s', decision.outcome[1], instance=instance)


def _close_billing_period(context, instance, host):
    try:
        compute_utils.notify_usage_exists(
            rpc.get_notifier('compute', host), context, instance, host,
            current_period=True)
    except Exception:
        LOG.exception('The usage so far was not notified.',
                      instance=instance)
