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

"""How long a real guest needs to grow and shrink, as it sees it itself.

    tox -e bench -- guest [--rounds 5]

This runs as root, with a libvirtd and QEMU guests of its own, as the
hypervisor lane does. Each round changes the memory of a running guest up and
down by an adjust, and by the calls of libvirt that an adjust makes: live and
for the next start. The guest prints twice a second how much memory it has,
which limits the precision. vCPUs only grow, one by one, because under software
emulation a guest that gave one back can take none. For comparison a server is
resized, with its confirmation, to a flavor of that size on the same host. No
disk is copied and the tiny guest boots at once, so a resize can hardly be
shorter.
"""

from benchmarks import in_tree
from benchmarks import report

TIMES = (
    ('memory: adjust, request to answer', 'memory_adjust_ms'),
    ("memory: libvirt's calls alone", 'memory_libvirt_ms'),
    ('memory: grow, request to guest-seen', 'memory_grow_seen_ms'),
    ('memory: shrink, request to guest-seen', 'memory_shrink_seen_ms'),
    ('vCPU: adjust, request to answer', 'vcpu_adjust_ms'),
    ('vCPU: grow, request to guest-seen', 'vcpu_grow_seen_ms'),
    ('resize with its confirmation', 'resize_ms'))


def measure(rounds=5):
    return in_tree.run('guest_in_tree.py', rounds)


def rows(results):
    for what, key in TIMES:
        yield report.Row(what, f'{results[key]:.0f} ms')
    added = results['memory_adjust_ms'] - results['memory_libvirt_ms']
    yield report.Row("memory: what the adjust adds to libvirt's calls",
                     f'{added:.0f} ms', report.at_most(added, 250, ' ms'))
    times = results['resize_ms'] / results['memory_adjust_ms']
    yield report.Row('resize, as a multiple of the adjust',
                     f'{times:.1f} times', report.at_least(times, 20))
