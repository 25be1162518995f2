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

"""The size of an elastic server in the configuration of its domain.

``<memory>`` and ``<vcpu>`` carry the maximum, because a running domain can
change neither. What the guest starts with is beside them: ``<currentMemory>``,
the target of the balloon, and ``current`` with the ``<vcpus>`` list.

The list is needed to shrink. Without it libvirt makes all vCPUs of a cold
boot a fixed part of the machine and later finds none that may leave. So only
those below the minimum are fixed, and they come first, as libvirt wants it.
"""

import typing as ty

from oslo_utils import units

from nova.virt.libvirt import config as vconfig
from nova.xloud import size


def configure(guest, instance) -> None:
    """Make a new configuration start an elastic server at its boot size."""
    flavor = instance.flavor
    if not size.is_elastic(flavor):
        return
    if size.has_elastic_vcpus(flavor):
        guest.current_vcpus = size.boot(instance).vcpus
        guest.vcpu_list = vcpu_list(instance)
    if size.has_elastic_memory(flavor):
        guest.current_memory = current_memory(instance)
        _require_balloon(guest)


def vcpu_list(instance) -> ty.List[vconfig.LibvirtConfigGuestVCPU]:
    fixed = size.minimum(instance.flavor).vcpus
    online = size.boot(instance).vcpus
    return [
        vconfig.LibvirtConfigGuestVCPU(
            number, enabled=number < online, hotpluggable=number >= fixed)
        for number in range(size.maximum(instance.flavor).vcpus)]


def current_memory(instance) -> int:
    """The memory at the next start, in libvirt's unit."""
    return size.boot(instance).memory_mb * units.Ki


def _require_balloon(guest):
    # The server may be older than a mem_stats_period_seconds of 0, with which
    # its host takes no new one and guests get no balloon.
    for device in guest.devices:
        if isinstance(device, vconfig.LibvirtConfigMemoryBalloon):
            device.model = 'virtio'
