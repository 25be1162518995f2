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

import os_resource_classes as orc
from oslo_log import log as logging

import nova.conf
from nova import exception
from nova import objects
from nova.scheduler.filters import utils
from nova.xloud import room

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

AGGREGATE_KEY = 'xloud_room_for_growth'


def keep_room(host_state, request_spec) -> bool:
    """Drop the allocation candidates of a host that need the room it keeps.

    :returns: whether the host has candidates left
    """
    percent = _percent(host_state)
    if not percent:
        return True
    left = [candidate for candidate in host_state.allocation_candidates
            if _leaves_room(host_state, request_spec, candidate, percent)]
    if left == host_state.allocation_candidates or _exists(request_spec):
        return True
    host_state.allocation_candidates = left
    LOG.debug('%(host)s keeps %(percent)d percent for its servers to grow. '
              '%(count)d allocation candidates are left.',
              {'host': host_state.host, 'percent': percent,
               'count': len(left)})
    return bool(left)


def know(request_spec, provider_summaries) -> None:
    """Remember what Placement says of the hosts for a request.

    :param provider_summaries: as in its answer, or None if it was not asked
    """
    request_spec._xloud_providers = provider_summaries or {}
    # How many servers each host had then
    request_spec._xloud_servers_then = {}


def _leaves_room(host_state, request_spec, candidate, percent) -> bool:
    """Whether a host keeps its room if it is charged a candidate.

    Only Placement knows the allocation ratios that an operator gives a host.
    Pinned CPUs and bare-metal nodes have resources of their own, which no
    elastic server grows into.
    """
    found = request_spec._xloud_providers[host_state.uuid]['resources']
    asked = candidate['allocations'][host_state.uuid]['resources']
    # Of several new servers, the first ones count for the next one.
    then = request_spec._xloud_servers_then.setdefault(
        host_state.uuid, host_state.num_instances)
    count = 1 + max(0, host_state.num_instances - then)
    return all(
        room.is_left(found[name]['capacity'], found[name]['used'],
                     count * asked[name], percent)
        for name in (orc.VCPU, orc.MEMORY_MB) if name in asked)


def parse_percent(value: str) -> int:
    """What the metadata of an aggregate says.

    :raises ValueError: if it is not a number from 0 to 100
    """
    percent = int(value)
    if not 0 <= percent <= 100:
        raise ValueError()
    return percent


def _percent(host_state):
    """What the aggregates of a host say, else the option."""
    values = utils.aggregate_values_from_key(host_state, AGGREGATE_KEY)
    found = []
    for value in values:
        try:
            percent = parse_percent(value)
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
