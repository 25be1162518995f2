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

"""What changing the size of a running server costs, and looking after many.

    tox -e bench -- adjust [--rounds 30] [--servers 250 500 1000]

In one process: Nova's services and Placement with SQLite, and a hypervisor
that does at once what it is asked. So the figures are what the services need
themselves. Each round makes the same change, from 2 vCPUs and 2048 MiB to 4
and 4096, in three ways: by an adjust, by the calls to the driver that an
adjust makes, and by a resize with its confirmation to a flavor of that size.
The resize neither stops a guest nor copies a disk, as a real one would. The
RPC transport looks for a message every 50 ms, which an adjust meets once and
a resize several times; both are measured as they are. The CPU time is that
of the whole process and does not grow with what else the machine does.
Statements are counted that name a table, not pings and begins.
"""

import argparse
import json

from benchmarks import in_tree


def table(results):
    change, requests = results['change'], results['requests']
    lines = ['a change of both sizes, median of %(rounds)d' % change]
    lines += ['  %-44s %8.1f ms' % (text, change[key]) for text, key in (
        ('adjust, request to answer', 'adjust_ms'),
        ('adjust, request to applied in the guest', 'applied_ms'),
        ('  CPU of all services', 'adjust_cpu_ms'),
        ("the driver's calls alone", 'driver_ms'),
        ('added to them', 'added_ms'),
        ('resize with confirm', 'resize_ms'),
        ('  CPU of all services', 'resize_cpu_ms'))]
    lines.append('  adjust is faster than resize by %19.1f times' %
                 change['resize_by_adjust'])
    lines.append('requests, median           to Placement  to database ')
    lines += ['  %-28s %10d %13d' % (
        name, counts['placement'], counts['database'])
        for name, counts in requests.items()]
    lines.append('one reconcile pass         '
                 'hypervisor calls  to Placement  to database       ms')
    lines += ['  %5d servers, %-9s %17d %13d %13d %7.1f' % (
        row['servers'], row['pass'], row['hypervisor'], row['placement'],
        row['database'], row['ms']) for row in results['reconcile']]
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=30)
    parser.add_argument('--servers', type=int, nargs='+',
                        default=[250, 500, 1000])
    args = parser.parse_args()
    results = in_tree.run('adjust_in_tree.py', args.rounds, args.servers)
    print(json.dumps(results, indent=2))
    print(table(results))


if __name__ == '__main__':
    main()
