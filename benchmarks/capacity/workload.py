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

"""Servers whose demand is synthetic, drawn from published statistics.

Published, and the tests hold what is drawn to it:

* mean of 3.8 vCPUs, 16.1 GB and 15.6 % of CPU in use, and a mean life of
  60.7 hours (28,305.9 of 336,000 running at a time, over 30 days): the sample
  of Azure's trace of 2019 that MARO's documentation describes;
* half of the servers never touch half of their memory: Li et al., "First-
  generation Memory Disaggregation for Cloud Platforms", 2022;
* over 80 % of the servers use less than 70 % of what they have: Uhlig et
  al., "The SAP Cloud Infrastructure Dataset", IMC 2025;
* the 95th percentile of a server's CPU is about three times its mean: the
  five servers that the notebook of Azure's trace of 2017 prints have 2.2, 3.0,
  3.1, 5.5 and 5.9;
* CPU follows the day and memory hardly moves: Jiang et al., "Characterizing
  Co-located Workloads in Alibaba Cloud Datacenters", TCC 2020;
* 32 % of the memory in use is cold, untouched for two minutes: Lagar-Cavilla
  et al., "Software-Defined Far Memory in Warehouse-Scale Computers", 2019.

Assumed, because nothing published says it: the families of the distributions,
their spread where no percentile is named above, the height of the daily peak,
how fast CPU demand wanders, how a server comes to the memory it uses, and
that a server's size, life and demand do not depend on each other.
"""

import dataclasses
import math
import random

STEPS_A_DAY = 96  # of 15 minutes: nothing shorter is seen
STEPS_AN_HOUR = STEPS_A_DAY // 24

# vCPUs and how often; 4 GiB for each vCPU.
SIZES = {1: 0.175, 2: 0.37, 4: 0.28, 8: 0.13, 16: 0.045}
MEMORY_MB_A_VCPU = 4096

LIFE_HOURS = 60.7
LIFE_SIGMA = 1.5  # log-normal: many live for hours, a few for weeks
CPU_BETA = (0.7, 3.8)  # of a server's mean use: mean 0.156
MEMORY_BETA = (2.3, 2.3)  # of what a server comes to touch: median 0.5
COLD = 0.32

PEAK = 0.6  # the daily peak is 1.6, the trough 0.4 of the mean
NOISE_SIGMA = 0.85  # log-normal, around the mean
NOISE_HOURS = 2.0  # its correlation falls to 1/e
START = 0.6  # of what it comes to touch is touched when a server starts
GROWTH_HOURS = 24.0  # until all of it is


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What servers have in common, and what their guests give back."""

    name: str
    shared_peak: bool  # the same hour for all; else each has its own
    gives_back: bool = False  # cold memory; else memory never falls
    surge: bool = False  # every server needs nearly all of its size at once
    at_start: float = START
    touched_more: float = 0.0  # this much of what is never touched is, too


OWN_HOURS = Scenario('own hours', shared_peak=False)
SAME_HOUR = Scenario('same hour', shared_peak=True)
COLD_BACK = Scenario('cold memory back', shared_peak=True, gives_back=True)
SURGE = Scenario('surge', shared_peak=True, surge=True)
AT_ONCE = Scenario('all memory at start', shared_peak=True, at_start=1.0)
MORE_MEMORY = Scenario('65 % of memory', shared_peak=True, touched_more=0.3)

SURGE_FROM = 2 * STEPS_A_DAY  # at the daily peak
SURGE_STEPS = 2 * STEPS_AN_HOUR
SURGE_SHARE = 0.8  # of its vCPUs and of its memory, for every server

DAILY = tuple(1 + PEAK * math.cos(2 * math.pi * step / STEPS_A_DAY)
              for step in range(STEPS_A_DAY))


class Demand:
    """What one server asks for and would use, if it were given it all."""

    def __init__(self, key, horizon):
        """Draw a server.

        :param key: anything printable: the same key gives the same server
        :param horizon: number of steps that may be asked about
        """
        draw = random.Random(str(key))
        self.vcpus = draw.choices(tuple(SIZES), tuple(SIZES.values()))[0]
        self.memory_mb = self.vcpus * MEMORY_MB_A_VCPU
        self.life = max(1, round(STEPS_AN_HOUR * _log_normal(
            draw, LIFE_HOURS, LIFE_SIGMA)))
        self.lived = int(draw.random() * self.life)
        self.mean_cpu = draw.betavariate(*CPU_BETA)
        self.touched_mb = self.memory_mb * draw.betavariate(*MEMORY_BETA)
        self.peak_step = draw.randrange(STEPS_A_DAY)
        self._draw = draw
        self._horizon = horizon
        self._wander = None

    @property
    def wander(self):
        """vCPUs in use at each step, before the hour of the day counts."""
        if self._wander is None:
            self._wander = tuple(self._wandering())
        return self._wander

    def _wandering(self):
        keep = math.exp(-1 / (NOISE_HOURS * STEPS_AN_HOUR))
        fresh = math.sqrt(1 - keep * keep) * NOISE_SIGMA
        mean = self.vcpus * self.mean_cpu
        state = self._draw.gauss(0, NOISE_SIGMA)
        for _ in range(min(self.life, self._horizon)):
            yield mean * math.exp(state - NOISE_SIGMA ** 2 / 2)
            state = keep * state + fresh * self._draw.gauss(0, 1)

    def use(self, scenario, start, lived):
        """What it would use, as a function of the step.

        :param start: the step at which it was created or first seen
        :param lived: its age then, in steps
        :returns: function of a step from start on -> (vCPUs, MiB)
        """
        first = 0 if scenario.shared_peak else self.peak_step
        daily = DAILY[first:] + DAILY[:first]
        wander, vcpus = self.wander, self.vcpus
        touched = self.touched_mb + scenario.touched_more * (
            self.memory_mb - self.touched_mb)
        growing, at_start = GROWTH_HOURS * STEPS_AN_HOUR, scenario.at_start
        gives_back, surge = scenario.gives_back, scenario.surge

        def at(now):
            hour = daily[now % STEPS_A_DAY]
            age = lived + now - start
            in_use = touched if age >= growing else touched * (
                at_start + (1 - at_start) * age / growing)
            if gives_back:
                # What is warm follows the day, too: half as much as CPU.
                in_use *= 1 - COLD + (hour - 1) * COLD / 2 / PEAK
            busy = wander[now - start] * hour
            if busy > vcpus:
                busy = vcpus
            if surge and SURGE_FROM <= now < SURGE_FROM + SURGE_STEPS:
                busy = max(busy, SURGE_SHARE * vcpus)
                in_use = max(in_use, SURGE_SHARE * self.memory_mb)
            return busy, in_use
        return at


def _log_normal(draw, mean, sigma):
    return mean * math.exp(draw.gauss(0, sigma) - sigma * sigma / 2)
