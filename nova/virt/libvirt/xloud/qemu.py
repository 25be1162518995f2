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

"""What QEMU itself says, where libvirt may be wrong.

libvirt only counts a vCPU as gone when QEMU tells it so. Under software
emulation QEMU 7.2 and 10.0 tell it of a part of the vCPU, and of the vCPU
itself never. Then libvirt has one vCPU too many until it is restarted. A plug
makes QEMU 7.2 die, and QEMU 10.0 once it has started more vCPUs than its
maximum, those that left included.
"""

import typing as ty

from oslo_log import log as logging
from oslo_serialization import jsonutils

from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt.xloud import patience

LOG = logging.getLogger(__name__)

_QUERY = '{"execute": "query-cpus-fast"}'


def count_vcpus(host, domain) -> ty.Optional[int]:
    """How many vCPUs QEMU has, None if it cannot be asked.

    libvirt notes in its log that somebody used the monitor, so this is only
    for a guest in doubt.

    :param domain: a virDomain, not wrapped
    """
    monitor = libvirt_guest.libvirtmod_qemu
    if monitor is None:
        return None
    monitor = host._wrap_libvirt_proxy(monitor)
    try:
        answer = patience.call(
            monitor.virDomainQemuMonitorCommand, domain._o, _QUERY, 0)
        return len(jsonutils.loads(answer)['return'])
    except Exception as error:
        # Without its Python part the binding answers None for a failure.
        LOG.warning('QEMU does not tell how many vCPUs %(domain)s has: '
                    '%(error)s',
                    {'domain': domain.UUIDString(), 'error': error})
        return None
