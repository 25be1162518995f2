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

"""How many servers a host carries when they hold what they use, and the risk.

    tox -e bench -- capacity

This is a simulation, so the figures are the same on every machine. It covers
some clouds of the study (:doc:`capacity-study`); ``tox -e capacity`` simulates
all of it. The table compares the number of servers on one host with that of
servers that hold their flavor at ratios of 1.0 (mean, least and greatest of
five seeds). It also shows how many of the requested memory grows are refused,
and in how many of the host-hours guests use more memory than the host has.
"""

from benchmarks.capacity import cloud
from benchmarks.capacity import study
from benchmarks.capacity import workload
from benchmarks import report

TOLD = {
    'elastic, on full hosts': (
        cloud.Policy('elastic', 4.0, 1.0), workload.SAME_HOUR),
    'elastic, new servers up to 90 % of a host': (
        cloud.Policy('elastic', 4.0, 1.0, 0.9), workload.SAME_HOUR),
    'elastic, new servers up to 80 % of a host': (
        cloud.Policy('elastic', 4.0, 1.0, 0.8), workload.SAME_HOUR),
    'elastic vCPUs alone, on full hosts': (
        cloud.Policy('elastic vCPUs', 4.0, 1.0), workload.SAME_HOUR),
    'elastic, memory ratio of 1.5': (
        cloud.Policy('elastic', 4.0, 1.5), workload.SAME_HOUR),
    'fixed, memory ratio of 2.0': (
        cloud.Policy('fixed', 4.0, 2.0), workload.SAME_HOUR),
    'fixed, memory ratio of 2.0, all want more at once': (
        cloud.Policy('fixed', 4.0, 2.0), workload.SURGE),
    'elastic, on full hosts, all want more at once': (
        cloud.Policy('elastic', 4.0, 1.0), workload.SURGE)}
KEPT = ('policy', 'cpu_ratio', 'ram_ratio', 'fill', 'scenario',
        'times_the_reference', 'memory_grows_refused', 'used_over_memory')


def measure():
    results = study.run(clouds=[
        ('told', policy, scenario) for policy, scenario in TOLD.values()])
    return {what: {key: found[key] for key in KEPT}
            for what, found in zip(TOLD, results)}


def rows(results):
    for what, found in results.items():
        refused = found['memory_grows_refused']
        yield report.Row(what, '; '.join([
            '{mean:.2f} ({min:.2f} to {max:.2f}) times the servers'.format(
                **found['times_the_reference']),
            *([f'{100 * refused["mean"]:.0f} % refused'] if refused else []),
            f'{100 * found["used_over_memory"]["mean"]:.0f} % over']))
