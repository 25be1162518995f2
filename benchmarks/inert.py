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

    tox -e bench -- inert [--total 1000]

Two processes, one in the tree and one in its untouched base, take turns in
small rounds, so that a change of the machine's speed meets both. Each round
makes scheduling requests (request filters, resource request, query string)
or guest configurations (domain XML) for a flavor without a minimum. What
counts is the CPU time of the fastest round of each side: whatever else the
machine does can only make a round slower. Where a process has its memory
makes it faster or slower by some percent for as long as it lives, so several
pairs of processes do this: told is the median of their ratios, with the least
and the greatest.
"""

import json
import statistics
import subprocess

from benchmarks import in_tree
from benchmarks import report
from tools import tree

SUBJECTS = ('scheduling requests', 'guest configurations')
PAIRS = 5
ROUND = 10


def measure(total=1000):
    """Ratios patched / base for each subject.

    :param total: how many of each subject each side makes
    :returns: {subject: {'ratio': float, 'ratios': [float], 'base_us': float,
        'patched_us': float}}, microseconds of CPU for one
    """
    tree.make_base_tree()
    fastest = {subject: [] for subject in SUBJECTS}
    for _ in range(PAIRS):
        for subject, both in _measure_pair(total // PAIRS // ROUND).items():
            fastest[subject].append(both)
    results = {}
    for subject, rounds in fastest.items():
        ratios = [patched / base for base, patched in rounds]
        base_us, patched_us = map(min, zip(*rounds))
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


def _measure_pair(rounds):
    """{subject: (microseconds in the base, in the tree)}, fastest rounds."""
    fastest = {}
    workers = [_Worker(tree.BASE_TREE), _Worker(tree.TREE)]
    try:
        for subject in SUBJECTS:
            for worker in workers:
                worker.run(subject, ROUND)  # warm up
            seconds = {worker: [] for worker in workers}
            for number in range(rounds):
                # Who goes first alternates: the second finds a warm cache.
                for worker in workers if number % 2 else workers[::-1]:
                    seconds[worker].append(worker.run(subject, ROUND))
            fastest[subject] = tuple(
                1e6 * min(seconds[worker]) / ROUND for worker in workers)
    finally:
        for worker in workers:
            worker.stop()
    return fastest


class _Worker:
    """A process inside a tree."""

    def __init__(self, directory):
        self._process = subprocess.Popen(
            in_tree.command('inert_in_tree.py'), cwd=directory, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)

    def run(self, subject, count):
        print(json.dumps([subject, count]), file=self._process.stdin,
              flush=True)
        return json.loads(self._process.stdout.readline())

    def stop(self):
        self._process.stdin.close()
        self._process.wait()
