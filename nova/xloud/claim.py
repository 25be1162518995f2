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

"""What a request spec asks Placement for.

A request spec has a flavor, and an existing server is charged something else.
"""

from nova.compute import task_states
from nova.xloud import size

# Our own namespace of extra specs. A request spec carries what an existing
# server is charged to the scheduler in the flavor that it asks for, because
# a new field would change the version of an upstream object.
RESERVED_NAMESPACE = 'xloud'
_CLAIM_VCPUS = 'xloud:charged_vcpus'
_CLAIM_MEMORY = 'xloud:charged_memory_mb'

# What a server does while a move that keeps its flavor is scheduled
_KEEPS_FLAVOR = (task_states.MIGRATING,) + size.STARTS_ANEW


def flavor_to_ask_for(flavor, instance):
    """The flavor that the request spec of this server needs for a move.

    After a failed resize, a request spec has the flavor that the server did
    not get. A move that keeps the flavor would claim the minimum of that
    flavor instead of what the server has.

    :param flavor: the flavor of the request spec
    :returns: the same object if nothing is elastic
    """
    own = instance.flavor if 'flavor' in instance else flavor
    if not size.is_elastic(flavor) and not size.is_elastic(own):
        return flavor
    if (flavor.id != own.id and 'task_state' in instance and
            instance.task_state in _KEEPS_FLAVOR):
        flavor = own
    return _carry(flavor, instance, size.moved)


def carry_charge(flavor, instance):
    """The flavor that a move of this server asks the scheduler for.

    :param flavor: the flavor of the request spec
    :returns: the same object if it is not elastic. Otherwise a copy, which
        says what the server is charged, or nothing of it if the flavor is a
        new one. A copy, because in the conductor the same object becomes the
        instance's new flavor.
    """
    return _carry(flavor, instance, size.charged)


def _carry(flavor, instance, claimed):
    if not size.is_elastic(flavor):
        return flavor
    carried = flavor.obj_clone()
    carried.extra_specs = {
        key: value for key, value in flavor.extra_specs.items()
        if key not in (_CLAIM_VCPUS, _CLAIM_MEMORY)}
    if flavor.id == instance.flavor.id:
        charge = claimed(instance)
        carried.extra_specs[_CLAIM_VCPUS] = str(charge.vcpus)
        carried.extra_specs[_CLAIM_MEMORY] = str(charge.memory_mb)
    return carried


def of(flavor) -> size.Size:
    """What a request spec with this flavor asks Placement for.

    What the server is charged, or starts with, if the flavor says so, else
    the minimum of the flavor.
    """
    if not size.is_elastic(flavor):
        return size.maximum(flavor)
    extra_specs = flavor.extra_specs
    if _CLAIM_VCPUS in extra_specs and _CLAIM_MEMORY in extra_specs:
        return size.Size(int(extra_specs[_CLAIM_VCPUS]),
                         int(extra_specs[_CLAIM_MEMORY]))
    return size.minimum(flavor)
