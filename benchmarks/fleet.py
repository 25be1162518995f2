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

"""What listing the elastic servers of a cloud costs.

    tox -e bench -- fleet [--servers 1000 5000] [--rounds 20]

One process runs nova-api with SQLite in memory. The servers are rows of the
database, of which each has the entries that a server has after its first
change, and every hundredth is Partial. The time is that of one request to
``GET /os-xloud-adjust`` as an administrator, with the time that the client
needs to read the answer: the median. The CPU time is that of the whole
process, with the database in it, and does not depend on what else the machine
does. The goal is for that. Statements are those to the database that name a
table.
"""

from benchmarks import in_tree
from benchmarks import report


def measure(servers=(1000, 5000), rounds=20):
    return in_tree.run('fleet_in_tree.py', servers, rounds)


def rows(results):
    for one in results['pages']:
        yield report.Row(
            '{what}, {servers} servers'.format(**one),
            '{cpu_ms:.0f} ms of CPU, {median_ms:.0f} ms, {statements} '
            'statements for {found} servers'.format(**one),
            report.at_most(round(one['cpu_ms']), 300, ' ms'))
    by_what = {}
    for one in results['pages']:
        by_what.setdefault(one['what'], set()).add(one['statements'])
    yield report.Row(
        'statements', 'the same for each number of servers',
        report.goal('do not grow with the servers', all(
            len(counts) == 1 for counts in by_what.values())))
