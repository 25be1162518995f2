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

"""What QEMU and guest agents report that libvirt's own calls cannot.

libvirt counts a vCPU as removed only when QEMU reports it. Under software
emulation, QEMU 7.2 and 10.0 report a part of the vCPU, but never the vCPU
itself. So libvirt counts one vCPU too many until it is restarted. Plugging
another vCPU then crashes QEMU 7.2. It crashes QEMU 10.0 once more vCPUs were
started than its maximum, including removed ones.

libvirt can also ask an agent for its vCPUs, but then waits for the answer
without a limit. The call stays open, and a client can have five of them, so a
few guests could silence the hypervisor. What is asked here ends in time.
"""

import typing as ty

from oslo_log import log as logging
from oslo_serialization import jsonutils

from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt.xloud import patience

LOG = logging.getLogger(__name__)

_QUERY = '{"execute": "query-cpus-fast"}'
_AGENT_QUERY = '{"execute": "guest-get-vcpus"}'

# In characters. A guest with 4096 vCPUs, the most that QEMU has, needs a
# quarter of that.
_LONGEST_ANSWER = 1 << 20


def count_vcpus(host, domain) -> ty.Optional[int]:
    """How many vCPUs QEMU has, None if QEMU does not answer.

    libvirt logs every use of the monitor, so use this only for a guest in
    doubt.

    :param domain: a virDomain, not wrapped
    """
    if libvirt_guest.libvirtmod_qemu is None:
        return None
    try:
        answer = patience.call(
            _extension(host).virDomainQemuMonitorCommand, domain._o, _QUERY, 0)
        return len(jsonutils.loads(answer)['return'])
    except Exception as error:
        # Without its Python part, the binding returns None for a failure.
        LOG.warning('QEMU does not report how many vCPUs %(domain)s has: '
                    '%(error)s',
                    {'domain': domain.UUIDString(), 'error': error})
        return None


def count_online_vcpus(host, domain, seconds: int) -> int:
    """How many vCPUs the agent of a guest reports as online.

    :param domain: a virDomain, not wrapped
    :param seconds: how long libvirt waits for the agent, which can be some
        seconds more
    :raises: an exception of any kind if it does not answer or says nonsense
    """
    answer = _extension(host).virDomainQemuAgentCommand(
        domain._o, _AGENT_QUERY, seconds, 0)
    if answer is None or len(answer) > _LONGEST_ANSWER:
        raise ValueError('no usable answer')
    online = {vcpu['logical-id'] for vcpu in
              jsonutils.loads(answer)['return'] if vcpu['online']}
    if not online:
        # Such as of an agent that cannot read /sys
        raise ValueError('no vCPU online')
    return len(online)


def _extension(host):
    """libvirt's extension for QEMU, without its Python part."""
    return host._wrap_libvirt_proxy(libvirt_guest.libvirtmod_qemu)
