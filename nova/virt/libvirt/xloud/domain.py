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

``<memory>`` and ``<vcpu>`` contain the maximum, because a running domain can
change neither. What the guest starts with is beside them: ``<currentMemory>``,
the target of the balloon, and ``current`` with the ``<vcpus>`` list.

The list is needed to shrink. Without it, libvirt makes all vCPUs of a cold
boot a fixed part of the machine, and later finds none that it can remove. So
only the vCPUs of the minimum are fixed, and they come first, as libvirt
requires.

QEMU starts with the fixed vCPUs, and gives a disk a queue for each of them.
The other vCPUs would have to share these queues, so the configuration names
the number of queues.
"""

import typing as ty

from oslo_utils import units

from nova.virt.libvirt import config as vconfig
from nova.xloud import size

# QEMU's own limit is 1024, including queues that are not for requests.
_MOST_QUEUES = 1021


def configure(guest, instance) -> None:
    """Make a new configuration start an elastic server at its boot size."""
    flavor = instance.flavor
    if not size.is_elastic(flavor):
        return
    if size.has_elastic_vcpus(flavor):
        guest.current_vcpus = size.boot(instance).vcpus
        guest.vcpu_list = vcpu_list(instance)
        for device in guest.devices:
            set_queues(device, instance)
    if size.has_elastic_memory(flavor):
        guest.current_memory = current_memory(instance)
        guest.devices = [_balloon(device) for device in guest.devices]


def set_queues(device, instance) -> None:
    """Give a disk, or a controller of disks, the queues of the maximum.

    This includes a disk that is attached later. Network devices with several
    queues already have them.
    """
    flavor = instance.flavor
    if not size.has_elastic_vcpus(flavor):
        return
    is_disk = isinstance(device, vconfig.LibvirtConfigGuestDisk) and (
        device.target_bus == 'virtio')
    is_controller = isinstance(
        device, vconfig.LibvirtConfigGuestController) and (
        device.model == 'virtio-scsi')
    if is_disk or is_controller:
        device.driver_queues = min(size.maximum(flavor).vcpus, _MOST_QUEUES)


def keep_queues(disk, running) -> None:
    """Give a disk at the destination of a live migration the same queues.

    The guest knows how many there are, so QEMU refuses another number. The
    configuration of a server that was started before names none.

    :param running: the XML of the disk as it is at the source
    """
    driver = running.find('driver')
    if driver is not None and driver.get('queues'):
        disk.driver_queues = driver.get('queues')


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


class ElasticBalloon(vconfig.LibvirtConfigMemoryBalloon):
    """A balloon that gives memory back before its guest runs out of it.

    Linux then no longer distinguishes memory in the balloon from memory in
    use: its total is the maximum.
    """

    def format_dom(self):
        dev = super().format_dom()
        dev.set('autodeflate', 'on')
        return dev


def _balloon(device):
    if not isinstance(device, vconfig.LibvirtConfigMemoryBalloon):
        return device
    balloon = ElasticBalloon()
    vars(balloon).update(vars(device))
    # If mem_stats_period_seconds is 0, guests get no balloon and the host
    # takes no new elastic servers. This server may be older than that setting.
    balloon.model = 'virtio'
    return balloon
