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

"""Whether the firmware of a guest allows plugging vCPUs."""

import typing as ty

from nova.objects import fields

_KEYS = ('os:secure_boot', 'os_secure_boot')


def secure_boot(flavor, image_meta) -> ty.Optional[str]:
    """The key and value with which a guest can start with UEFI Secure Boot.

    Its firmware then runs in System Management Mode, which does not know a
    plugged vCPU: the guest stops, while the hypervisor counts the vCPU. As in
    the libvirt driver, only UEFI has it, and what "optional" means depends on
    the host.
    """
    properties = image_meta.properties
    if properties.get('hw_firmware_type') != fields.FirmwareType.UEFI:
        return None
    in_flavor, in_image = _KEYS
    for key, value in ((in_flavor, flavor.extra_specs.get(in_flavor)),
                       (in_image, properties.get(in_image))):
        if value in (fields.SecureBoot.REQUIRED, fields.SecureBoot.OPTIONAL):
            return '%s=%s' % (key, value)
    return None
