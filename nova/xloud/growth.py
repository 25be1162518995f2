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

"""Keep room on hosts for elastic servers to grow.

Placement fills a host with minima, and then refuses every server on it that
grows. So a new server passes a host only if a part of the host stays free. A
server that exists may use that part: it moves because it has to, or it grows.
"""

import typing as ty

import os_resource_classes as orc
from oslo_log import log as logging

import nova.conf
from nova import exception
from nova import objects
from nova.scheduler.filters import utils
from nova.xloud import room
from nova.xloud import size

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

AGGREGATE_KEY = 'xloud_room_for_growth'


def leaves_room(host_state, request_spec) -> bool:
    """Whether a host keeps its room if it gets what is asked for."""
    percent = _percent(host_state)
    if not percent:
        return True
    capacity, used = _of_placement(host_state, request_spec) or (
        _of_resource_tracker(host_state))
    asked = size.Size(request_spec.vcpus, request_spec.memory_mb)
    if all(room.is_left(*numbers, percent)
           for numbers in zip(capacity, used, asked)):
        return True
    if _exists(request_spec):
        return True
    LOG.debug('%(host)s keeps %(percent)d percent for its servers to grow.',
              {'host': host_state, 'percent': percent})
    return False


def know(request_spec, provider_summaries) -> None:
    """Remember what Placement says of the hosts for a request.

    :param provider_summaries: as in its answer, or None if it was not asked
    """
    request_spec._xloud_providers = provider_summaries or {}
    # What the resource tracker of each had used then
    request_spec._xloud_used_then = {}


def _of_placement(host_state, request_spec):
    """What a host may be charged and what it is charged.

    Only Placement knows the allocation ratios that an operator gives it.

    :returns: None if it was not asked
    """
    known = getattr(request_spec, '_xloud_providers', {})
    found = known.get(host_state.uuid, {}).get('resources', {})
    classes = (orc.VCPU, orc.MEMORY_MB)
    if not set(classes) <= set(found):
        return None
    used = _used(host_state)
    # Of several new servers, the first ones count for the next one.
    then = request_spec._xloud_used_then.setdefault(host_state.uuid, used)
    return [found[name]['capacity'] for name in classes], [
        found[name]['used'] + max(0, now - before)
        for name, now, before in zip(classes, used, then)]


def _of_resource_tracker(host_state):
    """The same, with what the host reserves for itself in both."""
    return (host_state.vcpus_total * host_state.cpu_allocation_ratio,
            host_state.total_usable_ram_mb *
            host_state.ram_allocation_ratio), _used(host_state)


def _used(host_state) -> ty.Tuple[int, int]:
    return (host_state.vcpus_used,
            host_state.total_usable_ram_mb - host_state.free_ram_mb)


def _percent(host_state):
    """What the aggregates of a host say, else the option."""
    values = utils.aggregate_values_from_key(host_state, AGGREGATE_KEY)
    found = []
    for value in values:
        try:
            percent = int(value)
            if not 0 <= percent <= 100:
                raise ValueError()
        except ValueError:
            LOG.warning("An aggregate of host %(host)s has %(key)s=%(value)s, "
                        "which is not a number from 0 to 100. It is ignored.",
                        {'host': host_state.host, 'key': AGGREGATE_KEY,
                         'value': value})
        else:
            found.append(percent)
    return max(found, default=CONF.xloud.room_for_growth)


def _exists(request_spec):
    """Whether it is a server that was scheduled before.

    Only such a server is mapped to a cell. It is looked up once for each
    request, and only if a host has no room for a new server.
    """
    known = getattr(request_spec, '_xloud_exists', None)
    if known is None:
        try:
            mapping = objects.InstanceMapping.get_by_instance_uuid(
                request_spec._context, request_spec.instance_uuid)
            known = mapping.cell_mapping is not None
        except exception.InstanceMappingNotFound:
            known = False
        request_spec._xloud_exists = known
    return known
