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

"""The only writer of the charge of elastic servers, in row and Placement.

Growth goes first to Placement and then into the row, a shrink the other way
round. So a crash leaves no server with less in Placement than its row says.
More in Placement does no harm, and ends when Placement accepts less.

Placement may accept no change on a host that is over its capacity. What a
server has there then counts as charged, also in the row, and the books say
why, until Placement accepts less.
"""

import typing as ty

from oslo_log import log as logging
from oslo_utils import timeutils

from nova import exception
from nova.i18n import _
from nova import objects
from nova.xloud import action
from nova.xloud import allocation
from nova.xloud import entries
from nova.xloud import notes
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import task
from nova.xloud import untold

LOG = logging.getLogger(__name__)

# How a move ends after which the server is where it was before. The others are
# left by a compute service that died, in a cold migration or before a live one
# was running. The next one takes the server back and does not touch the
# migration.
_UNDONE = ['reverted', 'cancelled', 'failed', 'error',
           'pre-migrating', 'migrating', 'queued', 'preparing']
# Of a live migration that goes on if the service that began it lives
_WAITING = ('queued', 'preparing')


class Ledger:
    """What the servers of one compute service are charged."""

    def __init__(self, compute, memos):
        """:param memos: nova.xloud.memo.Memo by uuid"""
        self._compute = compute
        self._memos = memos

    def allocate(self, context, instance, old, new) -> size.Size:
        """Change what the server is charged in Placement.

        :param old: what is allocated, or less
        :returns: what is allocated then, which may be more
        """
        if size.charges_by_extra_specs(instance.flavor):
            # An old flavor says what is allocated.
            return new
        try:
            return self._account(context, instance).allocate(old, new)
        finally:
            # A pass may have asked before that, and not read the answer yet.
            self._memos[instance.uuid].doubt()

    def allocate_what_fits(self, context, instance, old, new) -> size.Size:
        """The same as far as its host has room.

        :returns: what is allocated then, at least old
        """
        try:
            return self.allocate(context, instance, old, new)
        except exception.ElasticNoRoom:
            try:
                fits = self._account(context, instance).fitting(old, new)
                if fits in (old, new):
                    # Placement refuses for another reason than room.
                    return old
                return self.allocate(context, instance, old, fits)
            except exception.ElasticNoRoom:
                return old
            except allocation.NO_ANSWER as error:
                LOG.warning('Placement does not report how much room there '
                            'is: %s',
                            error, instance=instance)
                return old

    def release(self, context, instance, old, new, task_state) -> bool:
        """Allocate less, as the row of the server already says.

        If Placement refuses, the row is set to what is allocated.

        :param old: what is allocated
        :returns: whether it was done
        """
        try:
            self.allocate(context, instance, old, new)
            return True
        except exception.ElasticNoRoom as error:
            reason = error.kwargs.get('reason', error.format_message())

        def record():
            if notes.pending(instance) is None:
                LOG.warning('The charge falls later: %s', reason,
                            instance=instance)
            size.settle(instance, size.largest(old, new))
            notes.set_pending(instance, _(
                'The charge falls when Placement accepts it: %s') % reason)

        self.save(context, instance, record, task_state)
        self._note_refusal(context, instance, new)
        return False

    def _note_refusal(self, context, instance, charge):
        account = self._account(context, instance)
        try:
            obstacles = account.obstacles(charge)
        except exception.ElasticConflict:
            # The next look asks whether Placement still refuses.
            obstacles = frozenset()
        self._memos[instance.uuid].obstacles = obstacles

    def start_anew(self, context, instance) -> None:
        """Charge the boot size in the row of a server that does not run.

        :param instance: the copy of the operation, which may be outdated. It
            gets what was stored, and keeps its other changes.
        """
        stored = objects.Instance.get_by_uuid(
            context, instance.uuid,
            expected_attrs=['flavor', 'system_metadata'])

        def record():
            size.start_anew(stored)
            task.forget(stored)

        self.save(context, stored, record, stored.task_state)
        fields = {'vcpus', 'memory_mb', 'system_metadata'} - (
            instance.obj_what_changed())
        for field in fields:
            setattr(instance, field, getattr(stored, field))
        instance.obj_reset_changes(fields)

    def take_back(self, context, instance) -> bool:
        """Give a server what an undone move of it still has on its host.

        Placement before 14.0.0 gives a server nothing back on a host that is
        over its capacity. Nova undoes the move nevertheless.

        :returns: whether that was done
        """
        # It goes on, although somebody has reset the state of the server or
        # this service has done so when it started.
        waits = instance.uuid in self._compute._waiting_live_migrations
        undone = objects.MigrationList.get_by_filters(
            context, {'instance_uuid': instance.uuid, 'status': _UNDONE})
        return any(allocation.take_back(
            context, self._compute.reportclient, instance, migration.uuid,
            self._provider(instance)) for migration in undone
            if migration.source_node == instance.node and not (
                waits and migration.status in _WAITING))

    def allocate_again(self, context, instance) -> bool:
        """Allocate what a server is charged if Placement has nothing of it.

        :returns: whether that was done
        """
        return allocation.create(context, self._compute.reportclient,
                                 instance, self._provider(instance))

    def can_release(self, context, instance, charge) -> bool:
        """Whether Placement may accept less now, after it has refused.

        This changes nothing.
        """
        account = self._account(context, instance)
        memo = self._memos[instance.uuid]
        obstacles = account.obstacles(charge)
        if obstacles and not memo.obstacles and not account.can_write() and (
                # Else what is allocated now is in the way, and goes.
                obstacles >= account.obstacles(size.charged(instance))):
            memo.obstacles = obstacles
        # One that is gone may be why Placement refused. It may tolerate the
        # others.
        return not memo.obstacles or not memo.obstacles <= obstacles

    def has_room(self, context, instance, needed) -> bool:
        """Whether Placement may accept more now, after it has refused.

        This changes nothing.
        """
        charged = size.charged(instance)
        account = self._account(context, instance)
        try:
            return account.fitting(charged, needed) != charged and (
                not account.obstacles(charged) or
                # Placement may tolerate all of them.
                account.can_write())
        except (*allocation.NO_ANSWER, exception.ElasticConflict) as error:
            LOG.debug('Placement does not report whether there is room: %s',
                      error, instance=instance)
            return False

    def save(self, context, instance, record, task_state) -> bool:
        """Change the books of a server: its row and the resource tracker.

        :param record: changes the instance object
        :returns: whether anything has changed
        """
        self.make_up(instance)
        charged = size.charged(instance)
        before = instance.obj_clone()
        record()
        if size.charged(instance) != charged:
            # An older copy then has an older number, and is refused.
            entries.sign(instance, entries.ONLY_BOOKS)
            action.close_billing_period(
                context, before, self._compute.host)
        elif entries.of(instance) == entries.of(before):
            # Drop the sign of a writer, too.
            instance.system_metadata = before.system_metadata
            instance.obj_reset_changes(['system_metadata'])
            return False
        try:
            self._compute.rt.xloud_recount(
                instance, charged, expected_task_state=[task_state])
        except Exception as error:
            if task_state != task.TASK and not isinstance(
                    error, exception.InstanceUpdateConflict):
                self._memos[instance.uuid].unsure = untold.Change(
                    situation.sizes_of(before), situation.sizes_of(instance),
                    timeutils.utcnow())
            # Nobody must save this half-finished change.
            instance.obj_reset_changes()
            raise
        if task_state != task.TASK:
            # An adjust records it by itself.
            action.settled(instance, situation.sizes_of(before),
                           situation.sizes_of(instance))
        return True

    def make_up(self, instance) -> None:
        """Record a change that was saved although its answer was lost.

        :param instance: as it was read after that
        """
        known = self._memos[instance.uuid]
        unsure, known.unsure = known.unsure, None
        if unsure and unsure.after == situation.sizes_of(instance):
            action.settled(instance, *unsure)

    def allocated(self, context, instances) -> ty.Dict[
            str, ty.Optional[size.Size]]:
        """What servers are charged according to Placement.

        :returns: by uuid, None for a server without allocation
        """
        found: ty.Dict[str, ty.Optional[size.Size]] = {}
        for node in {instance.node for instance in instances}:
            here = [i for i in instances if i.node == node]
            try:
                charges = allocation.charges(
                    context, self._compute.reportclient,
                    self._provider(here[0]))
            except (*allocation.NO_ANSWER,
                    exception.ResourceProviderAllocationRetrievalFailed
                    ) as error:
                LOG.warning('Placement does not report what is allocated on '
                            '%(node)s: %(error)s',
                            {'node': node, 'error': error})
                continue
            found.update({
                i.uuid: size.charged(i)
                if size.charges_by_extra_specs(i.flavor) else
                charges.get(i.uuid) for i in here})
        return found

    def _account(self, context, instance):
        return allocation.Account(context, self._compute.reportclient,
                                  instance, self._provider(instance))

    def _provider(self, instance):
        # Do not use any provider with an allocation of the server: after an
        # evacuation, that can be the one that it left.
        return self._compute.rt.compute_nodes[instance.node].uuid
