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

All amounts are absolute, so that doing a thing twice is doing it once. The
caller says what it believes is allocated: an allocation that is something
else, or that meanwhile belongs to a migration, is left alone.
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
           new: size.Size) -> None:
    """Change what a server is charged on one provider.

    Its other resources and its resources on other providers stay. If old and
    new are the same it is only checked.

    :param old: what is allocated now
    :raises ElasticNoRoom: if the provider does not have that much. Nothing
        was changed.
    :raises ElasticConflict: if something else is allocated, if somebody else
        changes the allocation at the same time, or without an answer from
        Placement, when the change may have been made or not.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0, _LONGEST_PAUSE))
        allocations = _get(context, reportclient, instance)
        resources = allocations['allocations'].get(
            rp_uuid, {}).get('resources', {})
        if _size(resources) != old:
            LOG.info('%(found)s are allocated on %(rp)s, not %(old)s.',
                     {'found': resources, 'rp': rp_uuid, 'old': old},
                     instance=instance)
            raise _conflict(instance, _(
                'its allocation in Placement is not what it is charged.'))
        if new == old:
            return
        resources.update(_resources(new))
        if _put(context, reportclient, instance, allocations, old, new):
            return
    raise _conflict(instance, _(
        'Placement was changing the resources of its host all the time.'))


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
        LOG.warning('Placement does not tell what is allocated: %s', error,
                    instance=instance)
        raise _conflict(instance, _(
            'Placement does not tell what is allocated to it.'))


def _put(context, reportclient, instance, allocations, old, new):
    """True if it was done, False if it may be tried again."""
    try:
        response = reportclient.put(
            '/allocations/%s' % instance.uuid, allocations,
            version=report.CONSUMER_GENERATION_VERSION,
            global_request_id=context.global_id)
    except ks_exc.ClientException as error:
        LOG.warning('Placement did not answer: %s', error, instance=instance)
        raise _conflict(instance, _(
            'Placement did not say whether it took the change.'))
    if response.status_code == 204:
        return True

    code, detail = _error(response)
    if code == 'placement.concurrent_update':
        # As upstream's report client: Placement has one code for both.
        if 'consumer generation conflict' not in detail:
            return False
        raise _conflict(instance, _(
            'its allocation in Placement was changed at the same time.'))
    LOG.info('Placement refused %(new)s instead of %(old)s: %(detail)s',
             {'new': new, 'old': old, 'detail': detail}, instance=instance)
    if response.status_code == 409:
        raise exception.ElasticNoRoom(
            instance_uuid=instance.uuid,
            reason=_('it has %(old)s and there is no place for %(new)s.') %
            {'old': old, 'new': new})
    raise _conflict(instance, _('Placement refused the change.'))


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


def _resources(held):
    return {orc.VCPU: held.vcpus, orc.MEMORY_MB: held.memory_mb}


def _size(resources):
    if not {orc.VCPU, orc.MEMORY_MB} <= set(resources):
        return None
    return size.Size(resources[orc.VCPU], resources[orc.MEMORY_MB])
