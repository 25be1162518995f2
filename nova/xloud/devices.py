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

"""Devices that access the memory of a guest directly.

They lock all of it on the host, so a guest that shrinks gives nothing back.
Nova refuses to create a server with elastic memory and such a device. If one
is attached later, the memory of the server cannot change.
"""

import typing as ty

import os_resource_classes as orc

from nova.network import model as network_model
from nova import objects
from nova.scheduler import utils as scheduler_utils

_CLASSES = (orc.VGPU, orc.VGPU_DISPLAY_HEAD, orc.PGPU, orc.FPGA,
            orc.PCI_DEVICE, orc.SRIOV_NET_VF)
_KEYS = ('pci_passthrough:alias', 'accel:device_profile')
_VNIC_TYPES = (network_model.VNIC_TYPES_SRIOV +
               network_model.VNIC_TYPES_DIRECT_PASSTHROUGH)


def keys_of(flavor) -> ty.List[str]:
    """The extra specs of a flavor that ask for such a device."""
    return [key for key in flavor.extra_specs
            if key in _KEYS or resource_class(key) in _CLASSES]


def ports_of(pci_requests) -> ty.List[str]:
    """The ports among InstancePCIRequests.

    The extra specs show those of a flavor. During a resize, the requests still
    contain those of the old flavor.
    """
    return [request.requester_id or request.request_id
            for request in pci_requests.requests
            if request.source == objects.InstancePCIRequest.NEUTRON_PORT]


def has_any(instance) -> bool:
    """Whether a server has such a device, including attached ones."""
    pci_requests = instance.pci_requests
    return bool(
        keys_of(instance.flavor) or
        (pci_requests and pci_requests.requests) or
        any(vif['vnic_type'] in _VNIC_TYPES
            for vif in instance.get_network_info()))


def resource_class(key: str) -> ty.Optional[str]:
    """The resource class of an extra spec, in any request group."""
    request = scheduler_utils.ResourceRequest
    match = request.XS_KEYPAT.match(key)
    if match and match.group(1) == request.XS_RES_PREFIX:
        return match.group(3)
    return None
