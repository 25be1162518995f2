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

"""The threads that a core of a guest has.

A guest takes and gives vCPUs by whole cores. On some architectures libvirt
accepts other numbers, and the guest then sees a core with missing threads. On
others the guest does not start with them.
"""

import typing as ty

from nova import exception
from nova.virt import hardware

_WANTED = ('cpu_threads', 'cpu_cores', 'cpu_sockets')
_LIMITS = ('cpu_max_threads', 'cpu_max_cores', 'cpu_max_sockets')


def step(flavor, image_meta) -> int:
    """What the vCPUs of a server must be a multiple of.

    These are the threads of the topology that
    hardware.get_best_cpu_topology() chooses. That function tries all numbers
    of sockets, cores and threads, which is too slow for each request; only
    divisors are possible.
    """
    if not _keys(flavor, image_meta):
        return 1
    try:
        wanted, most = hardware.get_cpu_topology_constraints(
            flavor, image_meta)
    except (exception.Invalid, ValueError):
        # Nova refuses a server with these, and says why.
        return 1
    vcpus = flavor.vcpus
    possible = [
        (sockets, cores, vcpus // sockets // cores)
        for sockets in _divisors(vcpus, most.sockets)
        for cores in _divisors(vcpus // sockets, most.cores)
        if vcpus // sockets // cores <= most.threads]

    def rank(topology):
        sockets, cores, threads = topology
        matches = sum(number == preferred for number, preferred in zip(
            topology, (wanted.sockets, wanted.cores, wanted.threads)))
        return matches, sockets * cores, sockets, threads

    return max(possible, key=rank)[2] if possible else 1


def key(flavor, image_meta) -> str:
    """The extra specs or image properties that decide the step."""
    found = _keys(flavor, image_meta)
    threads = [name for name in found if name.endswith('cpu_threads')]
    return ', '.join(threads[:1] or found)


def _keys(flavor, image_meta) -> ty.List[str]:
    """The keys that count, the image's first.

    If the image has one of the wanted keys, those of the flavor do not count;
    its limits still do.
    """
    properties = image_meta.properties
    of_image = ['hw_' + name for name in _WANTED + _LIMITS
                if properties.get('hw_' + name)]
    is_set_aside = any(
        properties.get('hw_' + name) for name in _WANTED)
    return of_image + [
        'hw:' + name for name in (_LIMITS if is_set_aside else
                                  _WANTED + _LIMITS)
        if 'hw:' + name in flavor.extra_specs]


def _divisors(number, most):
    return [divisor for divisor in range(1, min(number, most) + 1)
            if number % divisor == 0]
