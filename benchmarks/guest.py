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

As root, with a libvirtd and QEMU guests of its own, as the hypervisor lane.
Each round changes the memory of a running guest up and down by an adjust, and
by the calls of libvirt that an adjust makes: live and for the next start. The
guest prints twice a second how much memory it has, which is how exactly it
can be seen. vCPUs only grow, one by one: under software emulation a guest
that gave one back can take none. Beside it a server is resized, with its
confirmation, to a flavor of that size on the same host.
"""

import argparse
import json

from benchmarks import in_tree

ROWS = (
    ('memory, adjust, request to answer', 'memory_adjust_ms'),
    ('memory, calls of libvirt alone', 'memory_libvirt_ms'),
    ('memory, grow, request to guest-seen', 'memory_grow_seen_ms'),
    ('memory, shrink, request to guest-seen', 'memory_shrink_seen_ms'),
    ('vCPU, adjust, request to answer', 'vcpu_adjust_ms'),
    ('vCPU, grow, request to guest-seen', 'vcpu_grow_seen_ms'),
    ('resize with confirm', 'resize_ms'),
)


def table(results):
    lines = ['medians of %(rounds)d rounds, %(hypervisor)s' % results]
    lines += ['  %-40s %9.1f ms' % (text, results[key]) for text, key in ROWS]
    lines += ['  %-40s %9.1f ms' % ('added to the calls of libvirt', (
                  results['memory_adjust_ms'] -
                  results['memory_libvirt_ms'])),
              '  %-40s %9.1f times' % ('adjust is faster than resize by', (
                  results['resize_ms'] / results['memory_adjust_ms']))]
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args()
    results = in_tree.run('guest_in_tree.py', args.rounds)
    print(json.dumps(results, indent=2))
    print(table(results))


if __name__ == '__main__':
    main()
