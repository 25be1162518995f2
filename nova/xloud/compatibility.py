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

"""What an elastic server cannot be combined with.

Nova refuses a server that could never shrink, or that would shrink without its
host getting anything back. It does so at create, resize and rebuild. The
public functions do nothing for a flavor that is not elastic. Otherwise they
raise ``InvalidRequest``, which all three operations answer with 400; its text
names the extra spec and the reason. About memory encryption and locked memory
Nova itself can raise something else first.

A device that is attached to a running server is not seen before its next
resize.
"""

import nova.conf
from nova import exception
from nova.i18n import _
from nova import objects
from nova.virt import hardware
from nova.xloud import claim
from nova.xloud import devices
from nova.xloud import firmware
from nova.xloud import memory
from nova.xloud import size
from nova.xloud import topology
from nova.xloud import traits

CONF = nova.conf.CONF

_MINIMUM_VCPUS, _MINIMUM_MEMORY = size.MINIMUM_KEYS


def check(flavor, image) -> None:
    """Refuse a flavor and an image for a server, new or rebuilt.

    A server never boots with less than its minimum, so only the minimum is
    compared with the memory that the image needs.

    :param image: dict from the image API; for a server that boots from a
        volume, what is known of the volume's image, or empty
    """
    if not size.is_elastic(flavor):
        return
    try:
        image_meta = objects.ImageMeta.from_dict(image)
    except ValueError as error:
        raise exception.InvalidRequest(
            _('Invalid image metadata. Error: %s') % error)
    _check(flavor, image_meta)


def check_new(flavor) -> None:
    """Refuse a flavor for a new server, which starts at its minimum."""
    if size.has_elastic_memory(flavor):
        _check_kernel(flavor, size.minimum(flavor).memory_mb)


def check_old(instance) -> None:
    """Refuse to change a server that was created before these rules.

    Not even its boot size may change while it is shut off.
    """
    _check_flavor(instance.flavor)
    _check_image(instance.flavor, instance.image_meta)


def check_rebuild(instance, image) -> None:
    """Refuse to rebuild a server at the size that it starts with.

    That can be more than its minimum. A server that is older than this rule
    can be too small for its kernel, and the image can bring another topology;
    its owner can adjust it first.

    :param image: as of check()
    """
    flavor, boot = instance.flavor, size.boot(instance)
    if size.has_elastic_memory(flavor):
        _check_kernel(flavor, boot.memory_mb)
    if size.has_elastic_vcpus(flavor):
        image_meta = objects.ImageMeta.from_dict(image)
        step = topology.step(flavor, image_meta)
        if boot.vcpus % step and (
                step != topology.step(flavor, instance.image_meta)):
            raise exception.InvalidRequest(
                _('The server starts with %(vcpus)d vCPUs, which is not a '
                  'multiple of the %(step)d threads of a core, set by '
                  '%(topology)s. Change its current_vcpus to a multiple '
                  'first.') %
                {'vcpus': boot.vcpus, 'step': step,
                 'topology': topology.key(flavor, image_meta)})


def check_ports(flavor, pci_requests, requested_networks) -> None:
    """Refuse ports for a new server.

    :param pci_requests: InstancePCIRequests, including those of the ports
    :param requested_networks: NetworkRequestList or None, with the device
        profiles of its ports
    """
    if not size.has_elastic_memory(flavor):
        return
    _check_pci_requests(pci_requests)
    for network in requested_networks or ():
        if network.device_profile:
            raise _pinned(_('a port with the device profile %s') %
                          network.device_profile)


def check_resize(instance, flavor) -> None:
    """Refuse a new flavor for a server, which keeps its image and ports."""
    if not size.is_elastic(flavor):
        return
    _check(flavor, instance.image_meta)
    if size.has_elastic_memory(flavor):
        check_new(flavor)
        _check_pci_requests(instance.pci_requests)


def _check(flavor, image_meta):
    try:
        size.validate(flavor)
    except ValueError as error:
        raise exception.InvalidRequest(str(error))
    _check_flavor(flavor)
    _check_image(flavor, image_meta)
    if size.has_elastic_vcpus(flavor):
        _check_vcpus(flavor, image_meta)
    if size.has_elastic_memory(flavor):
        _check_memory(flavor, image_meta)


def _check_flavor(flavor):
    for key in flavor.extra_specs:
        if key.startswith(claim.RESERVED_NAMESPACE + ':'):
            raise exception.InvalidRequest(
                _('The extra spec %s of the flavor is in a namespace that is '
                  'reserved for elastic servers.') % key)
        if devices.resource_class(key) in size.CLASSES:
            raise _conflict(
                _keys(flavor), key,
                _('it replaces the size that the server is charged'))


def _check_image(flavor, image_meta):
    if hardware.get_mem_encryption_constraint(flavor, image_meta):
        raise _conflict(
            _keys(flavor), _('memory encryption'),
            _('encrypted memory is locked on the host'))
    if _numa_topology(flavor, image_meta) is not None:
        raise _conflict(
            _keys(flavor),
            _('a NUMA topology (from NUMA nodes, CPU pinning, page sizes or '
              'persistent memory of the flavor or the image)'),
            _('it fixes the vCPUs and the memory of each node'))


def _numa_topology(flavor, image_meta):
    """What Nova gives a server; it answers 500 to some bad values."""
    try:
        return hardware.numa_get_constraints(flavor, image_meta)
    except exception.LockMemoryForbidden:
        # It is Invalid since 2026.2, and its answer is Nova's for any flavor.
        raise
    except (exception.Invalid, ValueError) as error:
        raise exception.InvalidRequest(
            _('The flavor or the image has a value that Nova cannot use: '
              '%s') % error)


def _check_vcpus(flavor, image_meta):
    # The trait of a host says nothing about an emulated architecture.
    emulated = image_meta.properties.get('hw_emulation_architecture')
    if emulated and emulated not in traits.VCPU_HOTPLUG_ARCHITECTURES:
        raise _conflict(
            _MINIMUM_VCPUS,
            _('the image property hw_emulation_architecture=%s') % emulated,
            _('such a guest cannot take and give back vCPUs while it runs'))
    secure_boot = firmware.secure_boot(flavor, image_meta)
    if secure_boot:
        raise _conflict(
            _MINIMUM_VCPUS, _('UEFI Secure Boot, %s') % secure_boot,
            _('plugging a vCPU can freeze such a guest'))
    step = topology.step(flavor, image_meta)
    minimum = size.minimum(flavor).vcpus
    if minimum % step:
        raise exception.InvalidRequest(
            _('The extra spec %(key)s of the flavor is %(minimum)d, which is '
              'not a multiple of the %(step)d threads of a core, set by '
              '%(topology)s.') %
            {'key': _MINIMUM_VCPUS, 'minimum': minimum, 'step': step,
             'topology': topology.key(flavor, image_meta)})


def _check_memory(flavor, image_meta):
    minimum = size.minimum(flavor).memory_mb
    min_ram = image_meta.min_ram if 'min_ram' in image_meta else 0
    if min_ram > minimum:
        raise exception.InvalidRequest(
            _('The extra spec %(key)s of the flavor is %(minimum)d, below '
              'the min_ram of the image, %(min_ram)d.') %
            {'key': _MINIMUM_MEMORY, 'minimum': minimum, 'min_ram': min_ram})
    for key in devices.keys_of(flavor):
        raise _pinned(key)


def _check_kernel(flavor, memory_mb):
    """Refuse a boot size with which no kernel of this maximum can run."""
    maximum = size.maximum(flavor)
    least_mb = memory.kernel_mb(maximum, CONF.xloud.guest_memory_base_mb)
    if memory_mb >= least_mb:
        return
    raise exception.InvalidRequest(
        _('The extra spec %(key)s of the flavor is %(minimum)d, and the '
          'server would start with %(memory)d MiB. The kernel of its guest '
          'needs memory for the whole maximum, %(maximum)s, so %(least)d MiB '
          'is the least.') %
        {'key': _MINIMUM_MEMORY, 'minimum': size.minimum(flavor).memory_mb,
         'memory': memory_mb, 'maximum': maximum, 'least': least_mb})


def _check_pci_requests(pci_requests):
    ports = devices.ports_of(pci_requests)
    if ports:
        raise _pinned(_('the PCI device of port %s') % ', '.join(ports))


def _keys(flavor):
    keys = []
    if size.has_elastic_vcpus(flavor):
        keys.append(_MINIMUM_VCPUS)
    if size.has_elastic_memory(flavor):
        keys.append(_MINIMUM_MEMORY)
    return ', '.join(keys)


def _pinned(what):
    return _conflict(
        _MINIMUM_MEMORY, what,
        _('the device locks the memory of the guest, so the host would get '
          'none of it back'))


def _conflict(keys, what, reason):
    return exception.InvalidRequest(
        _('The extra spec %(keys)s of the flavor cannot be combined with '
          '%(what)s: %(reason)s.') %
        {'keys': keys, 'what': what, 'reason': reason})
