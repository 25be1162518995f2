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

"""What a user can see of the size of a server.

nova.api.openstack.compute.views.xloud_adjust gives it the form of the API.
"""

import typing as ty

from oslo_utils import timeutils

from nova.compute import vm_states
from nova.xloud import blockers
from nova.xloud import condition
from nova.xloud import guest as elastic_guest
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import topology

# A server in these states gets its boot size when it starts.
_AT_REST = (vm_states.STOPPED, vm_states.SHELVED, vm_states.SHELVED_OFFLOADED)


class Status(ty.NamedTuple):
    sizes: situation.Sizes
    # The size for clients that show only one
    current: size.Size
    # One of nova.xloud.condition, and why it is not Settled
    condition: str
    reason: ty.Optional[str]
    blockers: ty.Sequence[blockers.Blocker]
    # What the vCPUs must be a multiple of
    vcpu_step: int
    # None if nobody was asked, or the host does not answer
    guest: ty.Optional[elastic_guest.GuestState] = None


def of_fixed(instance) -> Status:
    """The status of a server that is not elastic."""
    only = size.maximum(instance.flavor)
    return Status(
        sizes=situation.Sizes(only, only, only, only, only), current=only,
        condition=condition.SETTLED, reason=None,
        blockers=blockers.of_flavor(instance.flavor),
        vcpu_step=_step(instance))


def of_elastic(context, instance, guest, by_host) -> Status:
    """The status of an elastic server.

    :param guest: GuestState, None if its host does not answer
    :param by_host: the blockers of its host
    """
    known = situation.of(instance, guest, timeutils.utcnow())
    found, reason = condition.evaluate(known)
    return Status(
        known.sizes, _current(instance, known.sizes, guest), found, reason,
        _blockers(context, instance, guest, by_host), _step(instance), guest)


def _current(instance, sizes, guest):
    """What the guest holds.

    If it does not run, it is what it will start with, or go on with if it is
    suspended. If the host does not answer, it is the desired size.
    """
    if guest is not None and guest.running:
        return guest.holds
    if instance.vm_state == vm_states.SUSPENDED:
        return sizes.desired
    if guest is not None or instance.vm_state in _AT_REST:
        return sizes.boot
    return sizes.desired


def _blockers(context, instance, guest, by_host):
    found = (blockers.of_state(context, instance) + by_host +
             blockers.of_image(instance))
    if guest is not None and guest.running:
        found += blockers.of_guest(guest, instance.flavor)
    if not any(blocker.code == blockers.MEMORY_PINNED for blocker in found):
        found += blockers.of_devices(instance)
    fixed = blockers.of_flavor(instance.flavor)
    fixed_dimensions = [blocker.dimension for blocker in fixed]
    return fixed + [blocker for blocker in found
                    if blocker.dimension not in fixed_dimensions]


def _step(instance):
    return topology.step(instance.flavor, instance.image_meta)
