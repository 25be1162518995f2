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

"""When elastic servers are compared with what they should be.

The loop over all of a host, in a thread of its own and with a time budget,
and what leads to a look at one server: a start, an event, another operation.
nova.xloud.executor does what nova.xloud.decision says.
"""

import threading
import time
import typing as ty

from oslo_concurrency import lockutils
from oslo_log import log as logging
from oslo_utils import timeutils

from nova.compute import task_states
from nova.compute import vm_states
import nova.context
from nova import exception
from nova import objects
from nova.xloud import action
from nova.xloud import decision
from nova.xloud import entries
from nova.xloud import executor as xloud_executor
from nova.xloud import failures
from nova.xloud import memo as xloud_memo
from nova.xloud import memory
from nova.xloud import notes
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import summary
from nova.xloud import task

LOG = logging.getLogger(__name__)

# A server in another state may be elsewhere, or has no guest to ask, such as a
# suspended one.
_VM_STATES = (vm_states.ACTIVE, vm_states.STOPPED, vm_states.RESCUED,
              vm_states.PAUSED, vm_states.RESIZED, vm_states.SHELVED,
              vm_states.SOFT_DELETED, vm_states.ERROR)
# Tasks that do not move the server, which can come to hold more meanwhile.
_STILL = (None, task_states.IMAGE_SNAPSHOT, task_states.IMAGE_SNAPSHOT_PENDING,
          task_states.IMAGE_PENDING_UPLOAD, task_states.IMAGE_UPLOADING,
          task_states.IMAGE_BACKUP, task_states.UPDATING_PASSWORD)
# In these, Nova waits for a guest to shut off, as long as its image says. A
# guest that does shut off may hold more for a moment, which no event tells.
_ENDING = (task_states.POWERING_OFF, task_states.RESCUING)
# How long one pass over the guests of a host may take.
_PASS_SECONDS = 60
# How long an event waits while something else works on its server.
_EVENT_SECONDS = 15
_LOOK_SECONDS = 0.2


class Reconciler:
    """Looks at the elastic servers of one compute service."""

    def __init__(self, compute, executor, unclaimed):
        """:param unclaimed: nova.xloud.task.Unclaimed"""
        self._compute = compute
        self._executor = executor
        self._unclaimed = unclaimed
        self.memos = executor.memos
        self._running = threading.Lock()
        # Where to continue a pass that took too long
        self._next: ty.Optional[str] = None
        self._all_allocations = xloud_memo.AllAllocations()
        # By server for which an event waits: until when
        self._waiting: ty.Dict[str, float] = {}
        self._waiting_lock = threading.Lock()

    def reconcile_soon(self, context) -> None:
        """Reconcile all elastic servers of the host, in a thread of its own.

        A guest may need seconds to answer.
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

        try:
            threading.Thread(target=run, name='xloud-reconcile',
                             daemon=True).start()
        except RuntimeError:
            # The machine has no thread left now. The next pass needs one, too.
            self._running.release()
            raise

    def reconcile(self, context) -> None:
        """Reconcile all elastic servers of the host."""
        try:
            self._reconcile(context)
        except Exception:
            # Such as while nova-conductor is away
            self._hold_up(list(self.memos))
            raise

    def _hold_up(self, uuids):
        """Remember that nobody has looked at these servers."""
        for uuid in uuids:
            self.memos[uuid].hold_up()

    def _reconcile(self, context):
        instances = self._instances(context)
        self._executor.forget_others(instances)
        if not instances:
            return
        for instance in instances:
            self._executor.ledger.make_up(instance)
        self._unclaimed.give_back(context, instances)
        servers = {instance.uuid: instance for instance in instances
                   if self._is_ours(instance)}
        for instance in instances:
            # A server that leaves, moves or fails may be charged something
            # else afterwards.
            if not self._is_quiet(instance):
                self._executor.doubt(instance)
                if not task.is_running(instance):
                    self.memos[instance.uuid].hold_up()
        guests = servers and self._executor.guests(list(servers.values()))
        self._hold_up(servers.keys() - guests)
        if guests:
            self._look_at_all(context, servers, guests)
        summary.log(instances, {
            uuid for uuid in servers.keys() - guests
            if servers[uuid].task_state not in _ENDING})
        self._make_up_history(instances)

    def _make_up_history(self, instances):
        for instance in instances:
            if task.is_running(instance):
                # A request that has charged the server may still go on.
                continue
            requests = self.memos[instance.uuid].requests
            for request_id, change in requests.pop_untold():
                with failures.warned(
                        LOG, 'It is not known whether an instance action '
                        'records that the sizes have changed: %s',
                        instance=instance):
                    action.make_up(instance, request_id, *change)

    def _look_at_all(self, context, servers, guests):
        if self._all_allocations.are_outdated():
            # All at once, so that it is one question for the host.
            for instance in servers.values():
                self._executor.doubt(instance)
        unsure = [instance for uuid, instance in servers.items()
                  if not self.memos[uuid].is_verified(instance) and
                  self._is_free(instance)]
        for instance in unsure:
            self.memos[instance.uuid].is_asked = True
        allocated = self._executor.ledger.allocated(context, unsure)
        deadline = time.monotonic() + _PASS_SECONDS
        for uuid in self._in_turn(servers):
            if time.monotonic() > deadline:
                # Those that are left come first in the next pass.
                LOG.debug('The guests are slow. The next pass goes on.')
                self._next = uuid
                break
            try:
                if uuid in guests:
                    self._look_at(
                        context, servers[uuid], guests[uuid], allocated)
            except Exception:
                # The failure of one server must not stop the others.
                LOG.exception('Not reconciled.', instance=servers[uuid])
                self._hold_up([uuid])

    def _instances(self, context):
        """The elastic servers of the host, without a look at others."""
        known = self._compute.rt.xloud_servers
        wanted = sorted(known)
        if not wanted:
            return []
        instances = objects.InstanceList.get_by_filters(
            context, {'host': self._compute.host, 'uuid': wanted,
                      'deleted': False, 'soft_deleted': True},
            expected_attrs=['flavor', 'system_metadata'])
        # Forget servers that have left or are no longer elastic; the resource
        # tracker adds one that comes back. One on its way stays.
        known.difference_update(
            set(wanted) - {instance.uuid for instance in instances
                           if size.is_elastic(instance.flavor)} -
            set(self._compute.rt.tracked_migrations))
        return instances

    def _in_turn(self, servers):
        uuids = list(servers)
        if self._next in servers:
            first = uuids.index(self._next)
            uuids = uuids[first:] + uuids[:first]
        self._next = None
        return uuids

    def reconcile_server(self, context, instance, allocated=None,
                         goes_on=False) -> bool:
        """Reconcile one server, unless something else works on it now.

        :param allocated: what Placement says it is charged, if that is known
        :param goes_on: whether its guest could do nothing, or was asked for
            nothing, until now
        :returns: False if something else works on it
        """
        try:
            if not size.is_elastic(instance.flavor):
                return True

            if goes_on:
                self.memos[instance.uuid].hold_up()
            with task.locked_now(instance.uuid):
                instance.refresh()
                if not self.memos[instance.uuid].is_asked:
                    # Something has changed it since.
                    allocated = None
                if self._is_ours(instance):
                    # A live migration brings one that no claim has noted.
                    self._compute.rt.xloud_servers.add(instance.uuid)
                if self._is_free(instance):
                    guest = self._guest(instance)
                    if guest is not None and memory.is_unsure(
                            guest, _wanted_mb(instance)):
                        guest = self._guest(instance, renew=True)
                    if guest is not None:
                        self._executor.carry_out(
                            context, instance, guest,
                            xloud_executor.Occasion(
                                may_drive=True, allocated=allocated))
        except lockutils.AcquireLockFailedException:
            LOG.debug('Not reconciled: it is in use.', instance=instance)
            return False
        except exception.InstanceUpdateConflict as error:
            LOG.debug('Not reconciled: %s', error, instance=instance)
            return False
        except exception.InstanceNotFound as error:
            LOG.debug('Not reconciled: %s', error, instance=instance)
        except exception.ElasticConflict as error:
            LOG.warning('Not reconciled now: %s', error, instance=instance)
        except Exception:
            LOG.exception('Not reconciled.', instance=instance)
            self._hold_up([instance.uuid])
        return True

    def start_anew(self, context, instance) -> None:
        """Charge the boot size of a server that has not run until now.

        If that fails, the operation goes on. Reconcile charges it later, or
        its next start if it has no host then.
        """
        if not size.is_elastic(instance.flavor):
            return
        try:
            self._executor.ledger.start_anew(context, instance)
        except Exception as error:
            # The books were changed meanwhile, or an answer was lost.
            LOG.debug('It is tried once more: %s', error, instance=instance)
            with failures.warned(LOG, 'Its boot size is charged later: %s',
                                 instance=instance):
                self._executor.ledger.start_anew(context, instance)

    def handle_event(self, event) -> None:
        """A driver reports that a guest has changed."""
        context = nova.context.get_admin_context()
        try:
            instance = objects.Instance.get_by_uuid(
                context, event.get_instance_uuid(),
                expected_attrs=['flavor', 'system_metadata'])
        except exception.InstanceNotFound:
            return
        if self._is_free(instance) or task.is_running(instance):
            # The last look of an adjust may be older than the event.
            self._reconcile_after_event(context, instance)
        elif instance.task_state not in _ENDING and self._is_ours(instance):
            guest = self._guest(instance)
            if guest is not None:
                self._raise(context, instance, guest)

    def _reconcile_after_event(self, context, instance):
        """Look at a server, even if something else looks at it now.

        The other look may be older than the event, which may be the last.
        """
        deadline = time.monotonic() + _EVENT_SECONDS
        while not self.reconcile_server(context, instance):
            with self._waiting_lock:
                if instance.uuid in self._waiting:
                    # One waiting event is enough: it sees what all of them
                    # report, if it waits as long as the last would.
                    self._waiting[instance.uuid] = deadline
                    return
                if time.monotonic() > deadline:
                    return
                self._waiting[instance.uuid] = deadline
            time.sleep(_LOOK_SECONDS)
            with self._waiting_lock:
                deadline = self._waiting.pop(instance.uuid)

    def _look_at(self, context, instance, guest, allocated):
        memo, uuid = self.memos[instance.uuid], instance.uuid
        if memo.room.needed and self._executor.ledger.has_room(
                context, instance, memo.room.needed):
            memo.room.forget()
        if not self._is_free(instance):
            self._raise(context, instance, guest)
            return
        found = allocated.get(uuid)
        if uuid in allocated and found is None:
            if not self._get_allocation(context, instance):
                LOG.warning('The server has no allocation of vCPUs and memory '
                            'on its host. Heal its allocations.',
                            instance=instance)
        elif not self._is_settled(instance, guest, found):
            if not self.reconcile_server(context, instance, found):
                self._raise(context, instance, guest)
        elif found is not None and memo.is_asked:
            memo.verify(instance)

    def _get_allocation(self, context, instance):
        """Get a server that has no allocation on its host one.

        An undone move has it still, or somebody has deleted it.
        """
        ledger = self._executor.ledger
        try:
            with task.locked_now(instance.uuid):
                instance.refresh()
                if not self._is_free(instance):
                    return False
                # One in error may be where its allocation is.
                if self._is_quiet(instance) and (
                        ledger.take_back(context, instance) or
                        ledger.allocate_again(context, instance)):
                    return True
                self._executor.note_no_allocation(context, instance)
                return False
        except (lockutils.AcquireLockFailedException,
                exception.InstanceNotFound,
                exception.InstanceUpdateConflict) as error:
            LOG.debug('Nothing is allocated to it: %s', error,
                      instance=instance)
            return False

    def _is_settled(self, instance, guest, allocated):
        known = self.memos[instance.uuid].look_at(instance, guest)
        return (allocated in (None, known.sizes.charged) and
                not decision.decide(known).changes(known))

    def _is_quiet(self, instance):
        """The same, unless something has gone wrong with it.

        Then a move may have left its allocation elsewhere.
        """
        return (self._is_free(instance) and
                instance.vm_state != vm_states.ERROR)

    def _is_free(self, instance):
        """Whether nothing else happens to an elastic server of this host."""
        return self._is_ours(instance) and instance.task_state is None

    def _is_ours(self, instance):
        """Whether an elastic server and its allocation are on this host."""
        compute = self._compute
        return (instance.host == compute.host and
                instance.task_state in _STILL + _ENDING and
                instance.vm_state in _VM_STATES and
                instance.node in compute.rt.compute_nodes and
                size.is_elastic(instance.flavor))

    def _raise(self, context, instance, guest):
        """Raise the charge of a guest while something else works on it.

        That may hold the lock of the server for hours, such as while a volume
        is swapped. So this does not wait for it: what is stored is compared,
        in Placement and in the database.
        """
        def state():
            return (instance.vm_state, instance.task_state,
                    instance.system_metadata.get(entries.BOOKS))

        if not _exceeds(instance, guest):
            return
        try:
            # It was asked some time ago, and may have ended since.
            instance.refresh()
            before = state()
            guest = self._guest(instance)
            with self.memos[instance.uuid].writing:
                instance.refresh()
                if guest is not None and state() == before and (
                        self._is_ours(instance) and
                        _exceeds(instance, guest)):
                    self._executor.raise_charge(context, instance, guest)
        except (exception.InstanceNotFound, exception.ElasticConflict,
                exception.InstanceUpdateConflict) as error:
            LOG.debug('Not charged more: %s', error, instance=instance)
            # More may be allocated than charged now.
            self._executor.doubt(instance)

    def _guest(self, instance, renew=False):
        return self._executor.guests([instance], renew).get(instance.uuid)


def _exceeds(instance, guest):
    """Whether a guest holds more than its server is charged, and may not."""
    known = situation.of(instance, guest, timeutils.utcnow())
    return guest.running and not (
        known.has_start_window or guest.is_returning) and size.grows(
            xloud_executor.held_by(instance, guest), size.charged(instance))


def _wanted_mb(instance):
    """The least memory to which a balloon may be on its way."""
    wanted_mb = size.desired(instance).memory_mb
    if notes.follows_start(instance):
        wanted_mb = min(wanted_mb, size.boot(instance).memory_mb)
    return wanted_mb
