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

"""What keeps a server from changing its size now.

An adjust is refused for the same reasons, with the same texts, as the status
shows beforehand.
"""

import typing as ty

from nova.compute import vm_states
from nova import exception
from nova.i18n import _
from nova.xloud import allocation
from nova.xloud import compatibility
from nova.xloud import devices
from nova.xloud import firmware
from nova.xloud import size
from nova.xloud import traits

VCPUS = 'vcpus'
MEMORY = 'memory_mb'

NOT_ELASTIC = 'not_elastic'
WRONG_STATE = 'wrong_state'
TASK_RUNNING = 'task_running'
LOCKED = 'locked'
HOST_DOWN = 'host_down'
HOST_SILENT = 'host_silent'
HOST_NOT_UPGRADED = 'host_not_upgraded'
HOST_CANNOT = 'host_cannot'
HOST_UNKNOWN = 'host_unknown'
SECURE_BOOT = 'secure_boot'
INCOMPATIBLE = 'incompatible'
GUEST_MISSING = 'guest_missing'
MEMORY_PINNED = 'memory_pinned'
NO_BALLOON_STATISTICS = 'no_balloon_statistics'
VCPUS_LEFT = 'vcpus_left'
VCPUS_FIXED = 'vcpus_fixed'
CODES = (NOT_ELASTIC, WRONG_STATE, TASK_RUNNING, LOCKED, HOST_DOWN,
         HOST_SILENT, HOST_NOT_UPGRADED, HOST_CANNOT, HOST_UNKNOWN,
         GUEST_MISSING, SECURE_BOOT, INCOMPATIBLE, MEMORY_PINNED,
         NO_BALLOON_STATISTICS, VCPUS_LEFT, VCPUS_FIXED)

_TRAITS = {VCPUS: traits.ELASTIC_VCPU, MEMORY: traits.ELASTIC_MEMORY}


class Blocker(ty.NamedTuple):
    code: str
    dimension: str
    message: str


def both(code, message) -> ty.List[Blocker]:
    return [Blocker(code, dimension, message)
            for dimension in (VCPUS, MEMORY)]


def of_flavor(flavor) -> ty.List[Blocker]:
    message = _('The flavor of the server has no range for this dimension.')
    blockers = []
    if not size.has_elastic_vcpus(flavor):
        blockers.append(Blocker(NOT_ELASTIC, VCPUS, message))
    if not size.has_elastic_memory(flavor):
        blockers.append(Blocker(NOT_ELASTIC, MEMORY, message))
    return blockers


def of_state(context, instance) -> ty.List[Blocker]:
    blockers = []
    if instance.vm_state not in (vm_states.ACTIVE, vm_states.STOPPED):
        blockers += both(WRONG_STATE, _(
            'The server is %s. Only an active or stopped server can change '
            'its size.') % instance.vm_state)
    if instance.task_state is not None:
        blockers += both(TASK_RUNNING, _(
            'The task %s of the server is not finished.') %
            instance.task_state)
    if instance.locked and not context.is_admin:
        blockers += both(LOCKED, _('The server is locked.'))
    return blockers


def of_host(compute_api, context, instance) -> ty.List[Blocker]:
    """What the host of a server does not report to Placement."""
    try:
        reported = traits.of_host(
            context, compute_api.placementclient, instance)
    except (exception.ComputeHostNotFound,
            exception.ResourceProviderTraitRetrievalFailed,
            *allocation.NO_ANSWER):
        return both(HOST_UNKNOWN, _(
            'Placement did not say whether the host of the server can change '
            'its size.'))
    message = _('The host of the server cannot change its size.')
    return [Blocker(HOST_CANNOT, dimension, message)
            for dimension, trait in _TRAITS.items() if trait not in reported]


def of_image(instance) -> ty.List[Blocker]:
    """What is refused today and an older server still has.

    A server that is shut off can start with another number of vCPUs.
    """
    try:
        compatibility.check_old(instance)
    except exception.NovaException as error:
        return both(INCOMPATIBLE, error.format_message())
    if instance.vm_state == vm_states.STOPPED or (
            not firmware.secure_boot(instance.flavor, instance.image_meta)):
        return []
    return [Blocker(SECURE_BOOT, VCPUS, _(
        'The server runs with UEFI Secure Boot, and plugging a vCPU can '
        'freeze it. Shut it off to change its vCPUs.'))]


def of_devices(instance) -> ty.List[Blocker]:
    """Devices that pin the memory, including those attached later."""
    return [pinned()] if devices.has_any(instance) else []


def of_guest(guest, flavor) -> ty.List[Blocker]:
    """What a running guest reports.

    :param guest: nova.xloud.guest.GuestState
    """
    found = []
    if guest.fixed_vcpus > size.minimum(flavor).vcpus:
        found.append(fixed(guest.fixed_vcpus))
    if guest.cannot_plug:
        found.append(Blocker(VCPUS_LEFT, VCPUS, _(
            'The server was asked to give back vCPUs, and under software '
            'emulation none can be added again before a hard reboot.')))
    if guest.memory_pinned:
        found.append(pinned())
    elif guest.used_memory_mb is None:
        message = _no_statistics(guest)
        if message:
            found.append(Blocker(NO_BALLOON_STATISTICS, MEMORY, message))
    return found


def _no_statistics(guest) -> ty.Optional[str]:
    """Why no memory can be taken, None if that passes within seconds."""
    missing = guest.missing_statistic
    if missing:
        return _('The balloon driver of the guest does not report the '
                 'statistic %s. Memory can be added but not taken.') % missing
    if missing is None and guest.balloon_active:
        # Its balloon has moved since it reported last.
        return None
    return _('The balloon driver of the guest reports no statistics. Memory '
             'can be added but not taken.')


def missing() -> ty.List[Blocker]:
    return both(GUEST_MISSING, _(
        'The server should run, but its host has no running guest of it.'))


def fixed(vcpus: int) -> Blocker:
    """Its configuration was made without a range of vCPUs."""
    return Blocker(VCPUS_FIXED, VCPUS, _(
        'The server was started with %d vCPUs that cannot be removed. After '
        'a hard reboot they can.') % vcpus)


def pinned() -> Blocker:
    return Blocker(MEMORY_PINNED, MEMORY, _(
        'A passed-through device pins the memory of the server, or it is '
        'locked. Its host would get none of it back.'))
