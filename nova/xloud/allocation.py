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

"""What an elastic server is charged in Placement.

All amounts are absolute, so every change can be repeated. The caller says what
it believes is allocated. If less is allocated, or the allocation now belongs
to a migration, it is left alone. More does no harm.

Placement before 14.0.0 refuses every write that leaves a provider over its
capacity in any class, even one that asks for less. Later it refuses only one
that makes that worse. Each refuses a write that leaves an amount above the
max_unit of its inventory.
"""

import random
import time
import typing as ty

from keystoneauth1 import exceptions as ks_exc
import os_resource_classes as orc
from oslo_log import log as logging

from nova import exception
from nova.i18n import _
from nova.scheduler.client import report
from nova.scheduler import utils as scheduler_utils
from nova.xloud import devices
from nova.xloud import size

LOG = logging.getLogger(__name__)

# Placement did not answer, or a proxy did, with no JSON or with another one:
# that need not be an object, nor have one where Placement has.
NO_ANSWER = (ks_exc.ClientException, AttributeError, LookupError, TypeError,
             ValueError)
_ATTEMPTS = 5
# Seconds. The caller answers a request.
_LONGEST_PAUSE = 0.2


class Obstacle(ty.NamedTuple):
    """Why Placement may refuse to change an allocation."""

    name: str  # of a resource class
    provider: str
    kind: str  # capacity or limits


class Account:
    """What one server is charged on one provider."""

    def __init__(self, context, reportclient, instance, rp_uuid: str):
        self._context = context
        self._client = reportclient
        self._instance = instance
        self._rp_uuid = rp_uuid

    def allocate(self, old: size.Size, new: size.Size) -> size.Size:
        """Change what the server is charged.

        Its other resources and those on other providers stay. If it grows in
        one dimension, it does not fall in the other. If old and new are the
        same, this only checks the allocation.

        :param old: what is allocated now, or less than that
        :returns: what is allocated then
        :raises ElasticNoRoom: if Placement does not take it. Nothing was
            changed.
        :raises ElasticConflict: if less is allocated, if somebody else
            changes the allocation at the same time, or without an answer from
            Placement, when the change may have been made or not.
        """
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, _LONGEST_PAUSE))
            whole = self._get()
            allocations = whole['allocations']
            found = self._found(allocations, old)
            wanted = size.largest(found, new)
            if wanted == found and not size.grows(new, old):
                # A growth leaves alone what somebody has claimed meanwhile.
                wanted = new
            if wanted == found or new == old:
                return found
            _set(allocations[self._rp_uuid]['resources'], wanted)
            response = self._put(whole)
            if response.status_code == 409 and not _is_concurrent(response):
                left = self._elsewhere(allocations)
                if left and self._obstacles(
                        {other: allocations[other] for other in left}):
                    # It was evacuated from a host that accepts no writes.
                    # Nobody needs its allocation there: when that host is
                    # back, it looks for servers that have left it.
                    for other in left:
                        del allocations[other]
                    response = self._put(whole)
            if response.status_code == 204:
                return wanted
            if not _is_concurrent(response):
                LOG.info('Placement refused %(new)s instead of %(old)s: '
                         '%(detail)s',
                         {'new': wanted, 'old': found,
                          'detail': _error(response)[1]},
                         instance=self._instance)
                if response.status_code != 409:
                    raise self._conflict(_('Placement refused the change.'))
                raise self._no_room(allocations, found, wanted)
            if 'consumer generation conflict' in _error(response)[1]:
                raise self._conflict(_(
                    'its allocation in Placement was changed at the same '
                    'time.'))
        raise self._conflict(_(
            'the resources of its host kept changing in Placement.'))

    def fitting(self, old: size.Size, new: size.Size) -> size.Size:
        """As much of a growth as the provider has room for now.

        :param old: what is allocated now
        :returns: between old and new, each dimension on its own
        """
        inventory, usages = _provider(
            self._context, self._client, self._rp_uuid)
        fits = []
        for name, has, wants in zip((orc.VCPU, orc.MEMORY_MB), old, new):
            room = _capacity(inventory, name) - usages.get(name, 0)
            limits = inventory.get(name, {'max_unit': 0, 'step_size': 1})
            most = min(wants, has + room, limits['max_unit'])
            fits.append(max(has, most - most % limits['step_size']))
        return size.Size(*fits)

    def obstacles(self, wanted: size.Size) -> ty.FrozenSet[Obstacle]:
        """Why Placement may take no change now.

        :param wanted: what the server is to have on this provider
        :returns: what is over capacity or limits, of all that it has
        :raises ElasticConflict: without an answer from Placement
        """
        allocations = self._get()['allocations']
        for other in self._elsewhere(allocations):
            del allocations[other]
        return self._obstacles(allocations, wanted)

    def can_write(self) -> bool:
        """Whether Placement accepts the allocation once more as it is.

        Then it would also accept less, although a class is over its capacity.

        :raises ElasticConflict: if it does not say so
        """
        whole = self._get()
        self._found(whole['allocations'], size.Size(0, 0))
        response = self._put(whole)
        if response.status_code == 409 and _is_concurrent(response):
            raise self._conflict(_(
                'its allocation in Placement was changed at the same time.'))
        return response.status_code == 204

    def _get(self):
        try:
            whole = self._client.get_allocs_for_consumer(
                self._context, self._instance.uuid)
            if not isinstance(whole['allocations'], dict):
                raise LookupError('an answer of somebody else: %s' % whole)
            return whole
        except (*NO_ANSWER,
                exception.ConsumerAllocationRetrievalFailed) as error:
            LOG.warning('Placement does not report what is allocated: %s',
                        error, instance=self._instance)
            raise self._conflict(_(
                'Placement does not report what is allocated to it.'))

    def _found(self, allocations, least):
        """What the server is charged.

        :param least: what is allocated at least
        """
        resources = allocations.get(self._rp_uuid, {}).get('resources', {})
        found = _size(resources)
        if found is None or size.largest(found, least) != found:
            LOG.info('%(found)s are allocated on %(rp)s, not %(old)s.',
                     {'found': resources, 'rp': self._rp_uuid, 'old': least},
                     instance=self._instance)
            raise self._conflict(_(
                'its allocation in Placement is not what it is charged.'))
        return found

    def _put(self, whole):
        try:
            return self._client.put(
                '/allocations/%s' % self._instance.uuid, whole,
                version=report.CONSUMER_GENERATION_VERSION,
                global_request_id=self._context.global_id)
        except ks_exc.ClientException as error:
            LOG.warning('Placement did not answer: %s', error,
                        instance=self._instance)
            raise self._conflict(_(
                'Placement did not say whether it took the change.'))

    def _elsewhere(self, allocations):
        """Other hosts on which the server has an allocation."""
        return [other for other, allocation in allocations.items()
                if other != self._rp_uuid and _size(allocation['resources'])]

    def _obstacles(self, allocations, wanted=None):
        """Of a whole allocation: Placement checks all of it at each write.

        It may be on several providers, as of a network or a shared storage.

        :param wanted: what is to be on this provider, if it is one of them
        """
        found = set()
        for provider, allocation in allocations.items():
            try:
                inventory, usages = _provider(
                    self._context, self._client, provider)
            except NO_ANSWER as error:
                LOG.warning('Placement does not report the capacity of '
                            '%(rp)s: %(error)s',
                            {'rp': provider, 'error': error})
                continue
            resources = dict(allocation['resources'])
            if provider == self._rp_uuid:
                _set(resources, wanted)
            for name in resources.keys() & inventory.keys():
                if usages.get(name, 0) > _capacity(inventory, name):
                    found.add(Obstacle(name, provider, 'capacity'))
                if not _is_allowed(inventory[name], resources[name]):
                    found.add(Obstacle(name, provider, 'limits'))
        return frozenset(found)

    def _no_room(self, allocations, old, new):
        names = sorted({obstacle.name for obstacle in self._obstacles(
            allocations, size.smallest(old, new))})
        amounts = {'old': old, 'new': new, 'names': ', '.join(names)}
        if not names:
            reason = _('it has %(old)s and there is no room for '
                       '%(new)s.') % amounts
        elif self._fits(old, new):
            reason = _('it has %(old)s, and Placement accepts no change while '
                       'the host is over its capacity or limits in '
                       '%(names)s.') % amounts
        else:
            # It depends on Placement whether these are in the way, too.
            reason = _('it has %(old)s and there is no room for %(new)s. The '
                       'host is over its capacity or limits in '
                       '%(names)s.') % amounts
        return exception.ElasticNoRoom(
            instance_uuid=self._instance.uuid, reason=reason)

    def _fits(self, old, new):
        try:
            return not size.grows(new, self.fitting(old, new))
        except NO_ANSWER:
            return True

    def _conflict(self, reason):
        return exception.ElasticConflict(
            instance_uuid=self._instance.uuid, reason=reason)


def give(context, reportclient, instance, consumer_uuid: str) -> bool:
    """Give what a server is charged to a migration of it.

    A change of the charge that began before the move may still come between
    what the report client reads and what it writes.

    :returns: as move_allocations() of the report client
    :raises AllocationMoveFailed: if somebody changes it again and again
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return reportclient.move_allocations(
                context, instance.uuid, consumer_uuid)
        except exception.AllocationMoveFailed:
            if attempt == _ATTEMPTS or not size.is_elastic(instance.flavor):
                raise
            time.sleep(random.uniform(0, _LONGEST_PAUSE))


def take_back(context, reportclient, instance, consumer_uuid: str,
              rp_uuid: str) -> bool:
    """Give a server what a migration of it still has on its host.

    :returns: whether that was done
    """
    try:
        held = reportclient.get_allocs_for_consumer(context, consumer_uuid)
        return rp_uuid in held['allocations'] and bool(
            reportclient.move_allocations(
                context, consumer_uuid, instance.uuid))
    except (*NO_ANSWER, exception.AllocationMoveFailed,
            exception.ConsumerAllocationRetrievalFailed) as error:
        LOG.warning('The allocation of migration %(migration)s stays with it: '
                    '%(error)s', {'migration': consumer_uuid, 'error': error},
                    instance=instance)
        return False


def create(context, reportclient, instance, rp_uuid: str) -> bool:
    """Allocate what a server is charged, if Placement has nothing of it.

    Somebody has deleted that. As in Nova's own command, which heals such a
    server, a part that its flavor does not name cannot be allocated again. If
    its host has no room for all of its vCPUs and memory, it gets what fits.

    :returns: whether that was done
    """
    if _has_other_parts(instance):
        return False
    resources = scheduler_utils.resources_from_flavor(
        instance, instance.flavor)
    try:
        held = reportclient.get_allocs_for_consumer(context, instance.uuid)
        if held['allocations']:
            return False
        if _create(context, reportclient, instance, rp_uuid, resources):
            return True
        charged = size.charged(instance)
        fits = Account(context, reportclient, instance, rp_uuid).fitting(
            size.Size(0, 0), charged)
        if fits == charged or not all(fits):
            return False
        _set(resources, fits)
        return _create(context, reportclient, instance, rp_uuid, resources)
    except (*NO_ANSWER, exception.AllocationUpdateFailed,
            exception.ConsumerAllocationRetrievalFailed,
            exception.PlacementAPIConnectFailure) as error:
        LOG.warning('Nothing is allocated again: %s', error, instance=instance)
        return False


def _create(context, reportclient, instance, rp_uuid, resources):
    return reportclient.put_allocations(context, instance.uuid, {
        'allocations': {rp_uuid: {'resources': resources}},
        'project_id': instance.project_id, 'user_id': instance.user_id,
        # Only if nobody else allocates something meanwhile
        'consumer_generation': None})


def _has_other_parts(instance):
    """Whether devices or the bandwidth of ports are allocated, too."""
    return bool(devices.keys_of(instance.flavor)) or any(
        (vif.get('profile') or {}).get('allocation')
        for vif in instance.get_network_info())


def ask_for_move(instance, allocation) -> None:
    """Ask a host for what a server is to have there, to which it is forced.

    :param allocation: what it has where it comes from, is changed
    """
    resources = dict(allocation['resources'])
    if (size.is_elastic(instance.flavor) and _size(resources) and
            not size.charges_by_extra_specs(instance.flavor)):
        _set(resources, size.moved(instance))
        allocation['resources'] = resources


def free(context, reportclient, rp_uuid: str) -> size.Size:
    """What a provider has room for, less than nothing if it is overfull."""
    inventory, usages = _provider(context, reportclient, rp_uuid)
    return size.Size(*(
        _capacity(inventory, name) - usages.get(name, 0)
        for name in (orc.VCPU, orc.MEMORY_MB)))


def charges(context, reportclient, rp_uuid: str) -> ty.Dict[str, size.Size]:
    """What all servers are charged on a provider, by one request.

    :raises: ResourceProviderAllocationRetrievalFailed or NO_ANSWER
    """
    found = reportclient.get_allocations_for_resource_provider(
        context, rp_uuid).allocations
    sizes = {consumer: _size(allocation['resources'])
             for consumer, allocation in found.items()}
    return {consumer: held for consumer, held in sizes.items() if held}


def _is_concurrent(response):
    # As upstream's report client: Placement has one code for two conflicts,
    # that of a consumer and that of a provider.
    return _error(response)[0] == 'placement.concurrent_update'


def _is_allowed(inventory, amount):
    return (inventory['min_unit'] <= amount <= inventory['max_unit'] and
            amount % inventory['step_size'] == 0)


def _provider(context, reportclient, rp_uuid):
    """The inventories and the usages of a provider."""
    return tuple(
        reportclient.get('/resource_providers/%s/%s' % (rp_uuid, what),
                         global_request_id=context.global_id).json()[what]
        for what in ('inventories', 'usages'))


def _capacity(inventory, name):
    if name not in inventory:
        return 0
    found = inventory[name]
    return int((found['total'] - found['reserved']) *
               found['allocation_ratio'])


def _error(response):
    """The code and detail of an error, which a proxy may have made."""
    try:
        error = response.json()['errors'][0]
        return error.get('code'), error.get('detail', '')
    except NO_ANSWER:
        return None, response.text


def _set(resources, held):
    resources[_cpu_class(resources)] = held.vcpus - _pinned(resources)
    resources[orc.MEMORY_MB] = held.memory_mb


def _cpu_class(resources):
    # A server that is older than the series may have pinned CPUs.
    return (orc.PCPU if orc.PCPU in resources and orc.VCPU not in resources
            else orc.VCPU)


def _pinned(resources):
    """The pinned CPUs of a server that has others, too."""
    return resources.get(orc.PCPU, 0) if orc.VCPU in resources else 0


def _size(resources):
    name = _cpu_class(resources)
    if not {name, orc.MEMORY_MB} <= set(resources):
        return None
    return size.Size(resources[name] + _pinned(resources),
                     resources[orc.MEMORY_MB])
