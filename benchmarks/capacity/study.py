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

"""Which clouds are compared, over which seeds, and what is told of them."""

import dataclasses
import functools
import statistics

from benchmarks.capacity import cloud
from benchmarks.capacity import workload

HOSTS = 6
WARM_UP = workload.STEPS_A_DAY
MEASURED = 3 * workload.STEPS_A_DAY
SEEDS = (1, 2, 3, 4, 5)
# More than any cloud here gets to create.
QUEUE = 3000

CPU_RATIOS = (1.0, 2.0, 4.0)
RAM_RATIOS = (1.0, 1.2, 1.5)
FILLS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)
NOVA_CPU_RATIO, NOVA_RAM_RATIO = 4.0, 1.0  # initial_*_allocation_ratio
REFERENCE = cloud.Policy('fixed', 1.0, 1.0)


def compared():
    """(part of the study, policy, scenario) of every cloud."""
    # Where memory is fixed the hour of the peak changes next to nothing.
    for scenario, names in ((workload.SAME_HOUR, cloud.ELASTIC),
                            (workload.OWN_HOURS, ('elastic',))):
        for name in names:
            for cpu_ratio in CPU_RATIOS:
                for ram_ratio in RAM_RATIOS:
                    yield ('ratios', cloud.Policy(name, cpu_ratio, ram_ratio),
                           scenario)
    # As many servers as elastic ones at 1.0, by ratio alone.
    yield ('ratio alone', cloud.Policy('fixed', NOVA_CPU_RATIO, 2.0),
           workload.SAME_HOUR)
    for scenario in (workload.OWN_HOURS, workload.SAME_HOUR,
                     workload.COLD_BACK):
        for fill in FILLS:
            yield ('room', cloud.Policy(
                'elastic', NOVA_CPU_RATIO, NOVA_RAM_RATIO, fill), scenario)
    for name, ram_ratio, fill in (
            ('fixed', 1.0, 1.0), ('fixed', 1.5, 1.0), ('fixed', 2.0, 1.0),
            ('elastic', 1.0, 1.0), ('elastic', 1.0, 0.8)):
        yield ('surge', cloud.Policy(name, NOVA_CPU_RATIO, ram_ratio, fill),
               workload.SURGE)
    yield from _what_if()


def _what_if():
    """Other guests, other flavors, other hosts."""
    full, roomy = (
        cloud.Policy('elastic', NOVA_CPU_RATIO, NOVA_RAM_RATIO, fill)
        for fill in (1.0, 0.9))
    for scenario in (workload.MORE_MEMORY, workload.AT_ONCE):
        for policy in (full, roomy):
            yield 'what if', policy, scenario
    for policy in (full, roomy):
        yield ('what if: minima of half a flavor',
               dataclasses.replace(policy, minimum=0.5), workload.SAME_HOUR)
    for name, cpu_ratio in (('fixed', NOVA_CPU_RATIO), ('elastic vCPUs', 1.0),
                            ('elastic', 1.0), ('elastic', NOVA_CPU_RATIO)):
        yield ('what if: 8 GiB for each CPU', cloud.Policy(
            name, cpu_ratio, NOVA_RAM_RATIO,
            host_memory_mb=2 * cloud.HOST_MEMORY_MB), workload.SAME_HOUR)


def run(seeds=SEEDS, hosts=HOSTS, clouds=None, progress=lambda done: None):
    """Simulate every cloud with every seed.

    :param clouds: as of compared()
    :param progress: called with the number of seeds that are done
    :returns: a list of {'part', 'policy', fields of cloud.Policy, 'scenario',
        measure: {'mean', 'min', 'max'}, ...}; a measure is None where there
        was nothing to measure
    """
    clouds = list(clouds or compared())
    samples = [[] for _ in clouds]
    for done, seed in enumerate(seeds, 1):
        demands = [workload.Demand((seed, number), WARM_UP + MEASURED)
                   for number in range(QUEUE)]

        @functools.lru_cache(maxsize=None)  # parts have clouds in common
        def simulated(policy, scenario):
            span = (workload.SURGE_FROM, workload.SURGE_STEPS) if (
                scenario.surge) else (WARM_UP, MEASURED)
            return cloud.simulate(demands, policy, scenario, hosts, *span)

        reference = _density(simulated(REFERENCE, workload.SAME_HOUR))
        for (_part, policy, scenario), sample in zip(clouds, samples):
            sample.append(measures(simulated(policy, scenario), reference))
        progress(done)
    return [
        {'part': part, **_told(policy), 'scenario': scenario.name,
         **_spread(sample)}
        for (part, policy, scenario), sample in zip(clouds, samples)]


def measures(counts, reference):
    """What is told of one cloud; shares are of one.

    :param counts: cloud.Counts
    :param reference: servers of a host that they are compared with
    """
    density = _density(counts)
    return {
        'servers_per_host': density,
        'times_the_reference': density / reference,
        'grows_refused': _share(
            counts.vcpu_grows_refused + counts.memory_grows_refused,
            counts.vcpu_grows + counts.memory_grows),
        'vcpu_grows_refused': _share(
            counts.vcpu_grows_refused, counts.vcpu_grows),
        'memory_grows_refused': _share(
            counts.memory_grows_refused, counts.memory_grows),
        **{name: _share(getattr(counts, name), counts.server_steps)
           for name in ('below_vcpus', 'below_memory')},
        **{name: _share(getattr(counts, name), counts.host_steps)
           for name in ('held_over_vcpus', 'held_over_memory',
                        'used_over_vcpus', 'used_over_memory')}}


def parameters():
    """What the figures depend on, to be kept with them."""
    told = {
        'hosts': HOSTS, 'seeds': list(SEEDS), 'host_vcpus': cloud.HOST_VCPUS,
        'host_memory_mb': cloud.HOST_MEMORY_MB,
        'reference': _told(REFERENCE),
        'days': [span / workload.STEPS_A_DAY for span in (WARM_UP, MEASURED)]}
    for module in (workload, cloud):
        for name, value in vars(module).items():
            if name.isupper() and isinstance(
                    value, (int, float, dict, tuple)) and name != 'DAILY':
                told[name.lower()] = value
    return told


def _told(policy):
    fields = dataclasses.asdict(policy)
    return {'policy': fields.pop('name'), **fields}


def _density(counts):
    return counts.server_steps / counts.host_steps


def _share(part, whole):
    return part / whole if whole else None


def _spread(sample):
    spread = {}
    for name in sample[0]:
        values = [one[name] for one in sample if one[name] is not None]
        spread[name] = {
            'mean': round(statistics.fmean(values), 5),
            'min': round(min(values), 5),
            'max': round(max(values), 5)} if values else None
    return spread
