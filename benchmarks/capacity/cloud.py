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

"""A cloud of equal hosts that is always as full as its operator lets it be.

There is always a next server that waits to be created, the first come first,
so the mix of sizes does not change with how full the hosts are. It goes where
Nova would put it: of the hosts with room for what it is charged at first, the
one with the most free memory and vCPUs, as shares of the host (Nova's ram and
cpu weighers, whose multipliers are equal by default, stretch the shares).

Every 15 minutes each elastic server is asked to hold what it uses and a
reserve, each dimension by itself. It grows at once and shrinks after an hour
of less. A grow for which its host has no room is refused, as Placement would,
changes nothing and is asked for again 15 minutes later; nothing migrates.
Guests obey at once, so a server is charged what it holds. In a step, servers
that end make room first, then those that run grow, then new ones come.
"""

import collections
import dataclasses
import importlib.util
import math
from pathlib import Path

from benchmarks.capacity import workload


def _room():
    """The code of XloudGrowthFilter, which imports nothing."""
    path = Path(__file__).resolve().parents[2] / 'nova' / 'xloud' / 'room.py'
    spec = importlib.util.spec_from_file_location('xloud_room', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


room = _room()

HOST_VCPUS = 64
HOST_MEMORY_MB = 64 * workload.MEMORY_MB_A_VCPU

CPU_RESERVE = 1.25  # hold a quarter more than is in use
MEMORY_RESERVE_MB = 128  # the default of [xloud] guest_memory_reserve_mb
MEMORY_PARTS = 8  # memory is asked for in eighths of the flavor's
PATIENCE = workload.STEPS_AN_HOUR

ELASTIC = {'fixed': (), 'elastic vCPUs': ('vcpus',),
           'elastic': ('vcpus', 'memory_mb')}


@dataclasses.dataclass(frozen=True)
class Policy:
    """What an operator decides.

    :param name: key of ELASTIC: the dimensions whose minimum flavors have
    :param cpu_ratio: cpu_allocation_ratio of the hosts
    :param ram_ratio: ram_allocation_ratio of the hosts
    :param fill: share of a host's capacity up to which it takes new servers;
        the rest is [xloud] room_for_growth, for those that it has to grow into
    :param minimum: of an elastic flavor, as a share of the flavor
    :param host_memory_mb: what each host has, with its HOST_VCPUS
    """

    name: str
    cpu_ratio: float
    ram_ratio: float
    fill: float = 1.0
    minimum: float = 0.25
    host_memory_mb: int = HOST_MEMORY_MB


@dataclasses.dataclass
class Counts:
    """What happened; times are numbers of steps."""

    server_steps: int = 0
    host_steps: int = 0
    vcpu_grows: int = 0
    vcpu_grows_refused: int = 0
    memory_grows: int = 0
    memory_grows_refused: int = 0
    below_vcpus: int = 0  # a server would use more than it holds
    below_memory: int = 0
    held_over_vcpus: int = 0  # servers of a host hold more than it has
    held_over_memory: int = 0
    used_over_vcpus: int = 0  # ... and use more than it has
    used_over_memory: int = 0


class Dimension:
    """What one server holds of one resource, and how that follows its use."""

    __slots__ = ('minimum', 'maximum', 'held', '_settled', '_waiting',
                 '_less', '_high')

    def __init__(self, minimum, maximum):
        self.minimum = self.held = minimum
        self.maximum = maximum
        self._settle()

    def is_right(self, wanted):
        """Whether there is nothing to follow."""
        return self.minimum == self.maximum or (
            self.held == wanted and self._settled)

    def _settle(self):
        self._settled = True
        self._waiting = False  # for a grow that was refused
        self._less = self._high = 0  # steps of less use, the most in them

    def follow(self, wanted, free):
        """Hold what is wanted, if that is possible now.

        :param free: what the host has left to charge
        :returns: (change of what is held, 1 if a grow was asked for that was
            not asked for before, 1 if that was refused)
        """
        wanted = min(self.maximum, max(self.minimum, wanted))
        if wanted > self.held:
            first, change = not self._waiting, wanted - self.held
            self._settle()
            if change > free:
                self._settled, self._waiting = False, True
                return 0, int(first), int(first)
            self.held = wanted
            return change, int(first), 0
        change = 0
        if wanted < self.held:
            less, high = self._less + 1, max(self._high, wanted)
            if less < PATIENCE:
                self._settled, self._waiting = False, False
                self._less, self._high = less, high
                return 0, 0, 0
            change = high - self.held
            self.held = high
        self._settle()
        return change, 0, 0


class Server:
    __slots__ = ('end', 'use', 'fixed', 'vcpus', 'memory_mb', '_part_mb')

    def __init__(self, demand, policy, scenario, now, lived=0):
        self.end = now - lived + demand.life
        self.use = demand.use(scenario, now, lived)
        elastic = ELASTIC[policy.name]
        self.fixed = not elastic
        self.vcpus, self.memory_mb = (
            Dimension(max(1, math.ceil(size * policy.minimum))
                      if name in elastic else size, size)
            for name, size in (('vcpus', demand.vcpus),
                               ('memory_mb', demand.memory_mb)))
        self._part_mb = demand.memory_mb // MEMORY_PARTS

    def wanted(self, vcpus, memory_mb):
        """(vCPUs, MiB) to hold for what is in use."""
        return (math.ceil(vcpus * CPU_RESERVE), self._part_mb * math.ceil(
            (memory_mb + MEMORY_RESERVE_MB) / self._part_mb))

    def hold_what_it_uses(self, now):
        """As after days of following."""
        wanted = self.wanted(*self.use(now))
        self.vcpus.follow(wanted[0], math.inf)
        self.memory_mb.follow(wanted[1], math.inf)


class Host:
    def __init__(self, policy):
        self.vcpus = HOST_VCPUS * policy.cpu_ratio
        self.memory_mb = policy.host_memory_mb * policy.ram_ratio
        self.real_memory_mb = policy.host_memory_mb
        self.charged_vcpus = self.charged_mb = 0
        self.servers = []

    def has_room(self, server, fill):
        percent = round(100 * (1 - fill))
        return (
            room.is_left(self.vcpus, self.charged_vcpus, server.vcpus.held,
                         percent) and
            room.is_left(self.memory_mb, self.charged_mb,
                         server.memory_mb.held, percent))

    def weight(self):
        """More for a host that has more left."""
        return -(self.charged_vcpus / self.vcpus +
                 self.charged_mb / self.memory_mb)

    def add(self, server):
        self.servers.append(server)
        self.charge(server.vcpus.held, server.memory_mb.held)

    def charge(self, vcpus, memory_mb):
        self.charged_vcpus += vcpus
        self.charged_mb += memory_mb

    def end_servers(self, now):
        for server in self.servers:
            if server.end <= now:
                self.charge(-server.vcpus.held, -server.memory_mb.held)
        self.servers = [one for one in self.servers if one.end > now]

    def run(self, now, counts):
        """One step of all servers: use, follow, count."""
        used_vcpus = used_mb = 0
        for server in self.servers:
            vcpus, memory_mb = server.use(now)
            if server.fixed:
                used_vcpus += vcpus
                used_mb += memory_mb
                continue
            wanted_vcpus, wanted_mb = server.wanted(vcpus, memory_mb)
            if not server.vcpus.is_right(wanted_vcpus):
                change, asked, refused = server.vcpus.follow(
                    wanted_vcpus, self.vcpus - self.charged_vcpus)
                self.charged_vcpus += change
                counts.vcpu_grows += asked
                counts.vcpu_grows_refused += refused
            if not server.memory_mb.is_right(wanted_mb):
                change, asked, refused = server.memory_mb.follow(
                    wanted_mb, self.memory_mb - self.charged_mb)
                self.charged_mb += change
                counts.memory_grows += asked
                counts.memory_grows_refused += refused
            held_vcpus, held_mb = server.vcpus.held, server.memory_mb.held
            if vcpus > held_vcpus:
                counts.below_vcpus += 1
                vcpus = held_vcpus
            if memory_mb > held_mb:
                counts.below_memory += 1
                memory_mb = held_mb
            used_vcpus += vcpus
            used_mb += memory_mb
        counts.held_over_vcpus += self.charged_vcpus > HOST_VCPUS
        counts.held_over_memory += self.charged_mb > self.real_memory_mb
        counts.used_over_vcpus += used_vcpus > HOST_VCPUS
        counts.used_over_memory += used_mb > self.real_memory_mb


def simulate(demands, policy, scenario, hosts, warm_up, measured):
    """Run a cloud and count.

    :param demands: the servers that wait to be created, in order; those that
        there is room for at once have lived a part of their life already and
        hold what they use
    :param hosts: how many
    :param warm_up: steps that do not count
    :param measured: steps that do
    :returns: Counts
    """
    cloud = [Host(policy) for _ in range(hosts)]
    queue = collections.deque(demands)
    while _create(queue, cloud, policy, scenario, 0, running=True):
        pass
    counts = Counts()
    for now in range(warm_up + measured):
        if now == warm_up:
            counts = Counts()
        for host in cloud:
            host.end_servers(now)
            host.run(now, counts)
        while _create(queue, cloud, policy, scenario, now + 1):
            pass
        counts.server_steps += sum(len(host.servers) for host in cloud)
        counts.host_steps += hosts
    return counts


def _create(queue, cloud, policy, scenario, now, running=False):
    """Create the first of the queue if a host has room; tell whether."""
    demand = queue[0]
    server = Server(demand, policy, scenario, now,
                    demand.lived if running else 0)
    if running:
        server.hold_what_it_uses(now)
    roomy = [host for host in cloud if host.has_room(server, policy.fill)]
    if roomy:
        queue.popleft()
        max(roomy, key=Host.weight).add(server)
    return bool(roomy)
