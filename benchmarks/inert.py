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

"""What the series costs a server that is not elastic: ratios to the base.

    tox -e bench -- inert [--total 3000]

Two processes, one in the tree and one in its untouched base, take turns on the
same core. Each call is a scheduling request (request filters, resource
request, query string) or a guest configuration (domain XML) for a flavor
without a minimum. Each pair of calls gives a ratio of CPU time, and whatever
else the machine does affects both calls. The median of these ratios is the
ratio of the two processes. The place of a process in memory makes it faster or
slower by some percent for as long as it lives. So ten pairs of processes do
this, each pair with another order of its sets. The table shows the median of
their ratios, with the least and the greatest.
"""

import itertools
import json
import os
import statistics
import subprocess

from benchmarks import in_tree
from benchmarks import report
from tools import tree

SUBJECTS = ('scheduling requests', 'guest configurations')
PAIRS = 10
WARM_UP = 10


def measure(total=3000):
    """Ratios patched / base for each subject.

    :param total: how many of each subject each side makes
    :returns: {subject: {'ratio': float, 'ratios': [float], 'base_us': float,
        'patched_us': float}}, microseconds of CPU of the fastest one
    """
    tree.make_base_tree()
    cores = itertools.cycle(os.sched_getaffinity(0))
    measured = [_measure_pair(core, seed, total // PAIRS)
                for core, seed in zip(cores, range(PAIRS))]
    results = {}
    for subject in SUBJECTS:
        pairs = [pair[subject] for pair in measured]
        ratios = [statistics.median(patched / base for base, patched in turns)
                  for turns in pairs]
        base_us, patched_us = (
            1e6 * min(seconds) for seconds in zip(*itertools.chain(*pairs)))
        results[subject] = {
            'ratio': round(statistics.median(ratios), 4),
            'ratios': [round(ratio, 4) for ratio in sorted(ratios)],
            'base_us': round(base_us, 1), 'patched_us': round(patched_us, 1)}
    return results


def rows(results):
    for subject, found in results.items():
        yield report.Row(
            f'{subject}, patched / base',
            '{ratio:.3f} ({0:.3f} to {1:.3f})'.format(
                min(found['ratios']), max(found['ratios']), **found),
            report.at_most(round(found['ratio'], 3), 1.02))


def _measure_pair(core, seed, turns):
    """{subject: [(seconds in the base, seconds in the tree)]}"""
    found = {subject: [] for subject in SUBJECTS}
    base, patched = workers = [
        _Worker(folder, seed) for folder in (tree.BASE_TREE, tree.TREE)]
    try:
        for subject in SUBJECTS:
            for worker in workers:
                worker.run(subject, WARM_UP)
                worker.stay_on(core)
            for number in range(turns):
                # Who goes first alternates: the second finds a warm cache.
                seconds = {worker: worker.run(subject, 1) for worker in (
                    workers if number % 2 else workers[::-1])}
                found[subject].append((seconds[base], seconds[patched]))
    finally:
        for worker in workers:
            worker.stop()
    return found


class _Worker:
    """A process inside a tree."""

    def __init__(self, directory, seed):
        self._process = subprocess.Popen(
            in_tree.command('inert_in_tree.py'), cwd=directory, text=True,
            env={**os.environ, 'PYTHONHASHSEED': str(seed)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)

    def run(self, subject, count):
        print(json.dumps([subject, count]), file=self._process.stdin,
              flush=True)
        return json.loads(self._process.stdout.readline())

    def stay_on(self, core):
        os.sched_setaffinity(self._process.pid, {core})

    def stop(self):
        self._process.stdin.close()
        self._process.wait()
