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

One process runs Nova's services and Placement with SQLite, and a hypervisor
that does at once what it is asked. So the figures are what the services
themselves need. Each round makes the same change, from 2 vCPUs and 2048 MiB to
4 and 4096, in three ways: by an adjust, by the calls to the driver that an
adjust makes, and by a resize with its confirmation to a flavor of that size.
The resize neither stops a guest nor copies a disk, as a real one would.

The RPC transport looks for a message every 50 ms. An adjust meets this delay
once and a resize several times; both are measured as they are. The CPU time is
that of the whole process, and does not depend on what else the machine does.
The table counts calls to the hypervisor, requests to Placement, and statements
to the database that name a table. A reconcile pass is the first after a start,
or one of those that follow and find nothing changed.
"""

from benchmarks import in_tree
from benchmarks import report

CHANGE = (
    ('adjust, request to answer', 'adjust_ms'),
    ('adjust, request to applied in the guest', 'applied_ms'),
    ('adjust, CPU of all services', 'adjust_cpu_ms'),
    ("the driver's calls alone", 'driver_ms'),
    ('resize with its confirmation', 'resize_ms'),
    ('resize, CPU of all services', 'resize_cpu_ms'))


def measure(rounds=30, servers=(250, 500, 1000)):
    return in_tree.run('adjust_in_tree.py', rounds, servers)


def rows(results):
    change = results['change']
    for what, key in CHANGE:
        yield report.Row(what, f'{change[key]:.1f} ms')
    yield report.Row('resize, as a multiple of the adjust',
                     f'{change["resize_by_adjust"]} times')
    for what, counts in results['requests'].items():
        yield report.Row(what, _asked(counts))
    for one in results['reconcile']:
        is_steady = one['pass'] == 'next'
        yield report.Row(
            'reconcile, {servers} servers, {pass} pass'.format(**one),
            '{:.0f} ms, {hypervisor} to the hypervisor, '.format(
                one['ms'], **one) + _asked(one),
            report.goal('1 to the hypervisor, 0 to Placement', (
                one['hypervisor'], one['placement']) == (1, 0))
            if is_steady else '')
    each = [one['ms'] / one['servers'] for one in results['reconcile']
            if one['pass'] == 'next']
    if len(each) > 1:
        growth = each[-1] / each[0]
        yield report.Row(
            'reconcile, time for each server, most servers / fewest',
            f'{growth:.2f}', report.goal('linear', growth <= 1.1))


def _asked(counts):
    return '{placement} to Placement, {database} to the database'.format(
        **counts)
