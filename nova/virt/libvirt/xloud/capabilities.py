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

"""Whether this host can change the size of a running guest."""

import typing as ty

import nova.conf
from nova.xloud import traits

CONF = nova.conf.CONF


def elastic(host) -> ty.Dict[str, bool]:
    """The driver capabilities for elastic servers, by dimension."""
    has_qemu = CONF.libvirt.virt_type in ('kvm', 'qemu')
    arch = host.get_capabilities().host.cpu.arch
    return {
        'supports_xloud_elastic_vcpu':
            has_qemu and arch in traits.VCPU_HOTPLUG_ARCHITECTURES,
        # Without a period for its statistics a guest has no balloon, and a
        # balloon does not free memory that is a file.
        'supports_xloud_elastic_memory':
            has_qemu and
            CONF.libvirt.mem_stats_period_seconds > 0 and
            CONF.libvirt.file_backed_memory == 0,
    }
