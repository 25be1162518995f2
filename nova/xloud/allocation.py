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

Placement refuses every write that leaves a provider over its capacity in any
class, even one that asks for less. It also refuses a write that leaves an
amount above the max_unit of its inventory.
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
from nova.xloud import size

LOG = logging.getLogger(__name__)

_ATTEMPTS = 5
# Seconds. The caller answers a request.
_LONGEST_PAUSE = 0.2


def charge(context, reportclient, instance, rp_uuid: str, old: size.Size,
           new: size.Size) -> size.Size:
    """Change what a server is charged on one provider.

    Its other resources and those on other providers stay. If it grows in one
    dimension, it does not fall in the other. If old and new are the same, this
    only checks the allocation.

    :param old: what is allocated now, or less than that
    :returns: what is allocated then
    :raises ElasticNoRoom: if Placement does not take it. Nothing was changed.
    :raises ElasticConflict: if less is allocated, if somebody else changes
        the allocation at the same time, or without an answer from Placement,
        when the change may have been made or not.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0, _LONGEST_PAUSE))
        allocations = _get(context, reportclient, instance)
        resources = allocations['allocations'].get(
            rp_uuid, {}).get('resources', {})
        found = _size(resources)
        if found is None or size.largest(found, old) != found:
            LOG.info('%(found)s are allocated on %(rp)s, not %(old)s.',
                     {'found': resources, 'rp': rp_uuid, 'old': old},
                     instance=instance)
            raise _conflict(instance, _(
                'its allocation in Placement is not what it is charged.'))
        wanted = size.largest(found, new)
        if wanted == found and new != old:
            wanted = new
        if wanted == found or new == old:
            return found
        _set(resources, wanted)
        response = _put(context, reportclient, instance, allocations)
        if response.status_code == 409 and not _is_concurrent(response):
            left = _without_evacuated(allocations['allocations'], rp_uuid)
            if left and _obstacles(context, reportclient, {
                    other: allocations['allocations'][other]
                    for other in left}):
                # It was evacuated from a host that accepts no writes. Nobody
                # needs its allocation there: when that host is back, it looks
                # for servers that have left it.
                for other in left:
                    del allocations['allocations'][other]
                response = _put(context, reportclient, instance, allocations)
        if response.status_code == 204:
            return wanted
        if not _is_concurrent(response):
            if size.largest(found, old, new) == found and (
                    size.largest(old, new) == new):
                # It has enough. That it has more goes later.
                return found
            raise _refused(context, reportclient, instance, rp_uuid, found,
                           wanted, response, allocations['allocations'])
        if 'consumer generation conflict' in _error(response)[1]:
            raise _conflict(instance, _(
                'its allocation in Placement was changed at the same time.'))
    raise _conflict(instance, _(
        'the resources of its host kept changing in Placement.'))


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


def ask_for_move(instance, allocation) -> None:
    """Ask a host for what a server is to have there, to which it is forced.

    :param allocation: what it has where it comes from, is changed
    """
    resources = dict(allocation['resources'])
    if (size.is_elastic(instance.flavor) and _size(resources) and
            not size.charges_by_extra_specs(instance.flavor)):
        _set(resources, size.moved(instance))
        allocation['resources'] = resources


def fitting(context, reportclient, instance, rp_uuid: str, old: size.Size,
            new: size.Size) -> size.Size:
    """As much of a growth as a provider has room for now.

    :param old: what is allocated now
    :returns: between old and new, each dimension on its own
    """
    inventory, usages = _provider(context, reportclient, rp_uuid)
    fits = []
    for name, has, wants in zip((orc.VCPU, orc.MEMORY_MB), old, new):
        room = _capacity(inventory, name) - usages.get(name, 0)
        most = min(has + room, inventory.get(name, {}).get('max_unit', 0))
        fits.append(max(has, min(wants, most)))
    return size.Size(*fits)


def free(context, reportclient, rp_uuid: str) -> size.Size:
    """What a provider has room for, less than nothing if it is overfull."""
    inventory, usages = _provider(context, reportclient, rp_uuid)
    return size.Size(*(
        _capacity(inventory, name) - usages.get(name, 0)
        for name in (orc.VCPU, orc.MEMORY_MB)))


def obstacles(context, reportclient, instance, rp_uuid: str,
              wanted: size.Size) -> ty.List[str]:
    """The resource classes because of which Placement takes no change now.

    :param wanted: what the server is to have on this provider
    :returns: those of all that it has which are over capacity or limits
    :raises ElasticConflict: without an answer from Placement
    """
    allocations = _get(context, reportclient, instance)['allocations']
    for other in _without_evacuated(allocations, rp_uuid):
        del allocations[other]
    return _obstacles(context, reportclient, allocations, rp_uuid, wanted)


def charges(context, reportclient, rp_uuid: str) -> ty.Dict[str, size.Size]:
    """What all servers are charged on a provider, by one request.

    :raises ResourceProviderAllocationRetrievalFailed: or
    :raises keystoneauth1.exceptions.ClientException: without an answer
    """
    found = reportclient.get_allocations_for_resource_provider(
        context, rp_uuid).allocations
    sizes = {consumer: _size(allocation['resources'])
             for consumer, allocation in found.items()}
    return {consumer: held for consumer, held in sizes.items() if held}


def _get(context, reportclient, instance):
    try:
        return reportclient.get_allocs_for_consumer(context, instance.uuid)
    except (ks_exc.ClientException,
            exception.ConsumerAllocationRetrievalFailed) as error:
        LOG.warning('Placement does not report what is allocated: %s', error,
                    instance=instance)
        raise _conflict(instance, _(
            'Placement does not report what is allocated to it.'))


def _put(context, reportclient, instance, allocations):
    try:
        return reportclient.put(
            '/allocations/%s' % instance.uuid, allocations,
            version=report.CONSUMER_GENERATION_VERSION,
            global_request_id=context.global_id)
    except ks_exc.ClientException as error:
        LOG.warning('Placement did not answer: %s', error, instance=instance)
        raise _conflict(instance, _(
            'Placement did not say whether it took the change.'))


def _is_concurrent(response):
    # As upstream's report client: Placement has one code for two conflicts,
    # that of a consumer and that of a provider.
    return _error(response)[0] == 'placement.concurrent_update'


def _refused(context, reportclient, instance, rp_uuid, old, new, response,
             allocations):
    LOG.info('Placement refused %(new)s instead of %(old)s: %(detail)s',
             {'new': new, 'old': old, 'detail': _error(response)[1]},
             instance=instance)
    if response.status_code != 409:
        return _conflict(instance, _('Placement refused the change.'))
    names = _obstacles(context, reportclient, allocations, rp_uuid,
                       size.Size(*map(min, zip(old, new))))
    if names:
        reason = _('it has %(old)s, and Placement accepts no change while the '
                   'host is over its capacity or limits in %(names)s.') % {
                       'old': old, 'names': ', '.join(names)}
    else:
        reason = _('it has %(old)s and there is no room for %(new)s.') % {
            'old': old, 'new': new}
    return exception.ElasticNoRoom(instance_uuid=instance.uuid, reason=reason)


def _without_evacuated(allocations, rp_uuid):
    """Other hosts on which a server has an allocation."""
    return [other for other, allocation in allocations.items()
            if other != rp_uuid and _size(allocation['resources'])]


def _obstacles(context, reportclient, allocations, rp_uuid=None,
               wanted=None):
    """Of a whole allocation: Placement checks all of it at each write.

    It may be on several providers, as of a network or a shared storage.

    :param wanted: what is to be on the provider rp_uuid, if that is given
    """
    names = set()
    for provider, allocation in allocations.items():
        try:
            inventory, usages = _provider(context, reportclient, provider)
        except (ks_exc.ClientException, LookupError, ValueError) as error:
            LOG.warning('Placement does not report the capacity of %(rp)s: '
                        '%(error)s', {'rp': provider, 'error': error})
            continue
        resources = dict(allocation['resources'])
        if provider == rp_uuid:
            _set(resources, wanted)
        names.update(
            name for name, amount in resources.items()
            if name in inventory and (
                usages.get(name, 0) > _capacity(inventory, name) or
                not _is_allowed(inventory[name], amount)))
    return sorted(names)


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
    except (ValueError, LookupError, TypeError):
        return None, response.text


def _conflict(instance, reason):
    return exception.ElasticConflict(
        instance_uuid=instance.uuid, reason=reason)


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
