#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Let the state machine of elastic servers run long.

    tools/run_tests.sh machine -- [--steps N] [--seed S] [--workers W]

A run has rounds of about a thousand steps. Each round is a process with a
Nova of its own and a seed that repeats it, so a run can last for days and use
all cores. The last line says with which seed the next run goes on: the steps
of runs whose seeds differ count together.
"""

import argparse
from concurrent import futures
import gc
import json
import logging
import os
import subprocess
import sys
import time
import typing as ty

STEPS_OF_AN_EXAMPLE = 50
EXAMPLES_OF_A_ROUND = 30


class Round(ty.NamedTuple):
    """What became of one."""

    seed: int
    steps: int
    # Texts, none if nothing was broken.
    breaches: ty.Sequence[str]


def play(seed):
    """Play one round, in this process."""
    import hypothesis
    from hypothesis import stateful
    import testtools

    from nova.tests.functional.xloud import machine
    from nova.tests.functional.xloud import two_hosts

    steps = []

    class CountedServers(machine.Servers):
        @stateful.invariant()
        def one_more_step(self):
            steps.append(1)

    class Long(two_hosts.World):
        def test_long(self):
            stateful.run_state_machine_as_test(
                hypothesis.seed(seed)(lambda: CountedServers(self)),
                settings=hypothesis.settings(
                    max_examples=EXAMPLES_OF_A_ROUND,
                    stateful_step_count=STEPS_OF_AN_EXAMPLE,
                    database=None, deadline=None, print_blob=False,
                    phases=[hypothesis.Phase.generate,
                            hypothesis.Phase.shrink],
                    suppress_health_check=list(hypothesis.HealthCheck)))

    # It does what it does for as long as it takes.
    os.environ['OS_TEST_TIMEOUT'] = '0'
    # To look for garbage takes a sixth of the time, and it all fits.
    gc.disable()
    logging.disable(logging.INFO)
    result = testtools.TestResult()
    Long('test_long').run(result)
    return Round(seed, len(steps), [
        text for _test, text in result.failures + result.errors])


def play_apart(seed):
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, '-m', 'tools.machine', '--round', str(seed)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        return Round(*json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        return Round(seed, 0, [done.stdout + done.stderr])


def rounds(seed, steps, workers, play_one=play_apart):
    """Play rounds until there were enough steps, or a breach.

    :param seed: of the first round, the next has the next number
    :returns: an iterator over each Round, as soon as it has ended
    """
    is_over = steps <= 0
    running: ty.Set[futures.Future] = set()
    with futures.ThreadPoolExecutor(workers) as pool:
        while running or not is_over:
            while not is_over and len(running) < workers:
                running.add(pool.submit(play_one, seed))
                seed += 1
            ended, running = futures.wait(
                running, return_when=futures.FIRST_COMPLETED)
            for future in ended:
                played = future.result()
                steps -= played.steps
                is_over |= steps <= 0 or bool(played.breaches)
                yield played


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=10000, metavar='N',
                        help='how many at least (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, metavar='S',
                        help='of the first round, the next has the next '
                        'number (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=os.cpu_count(),
                        metavar='W', help='processes (default: %(default)s)')
    parser.add_argument('--round', type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.round is not None:
        print(json.dumps(play(asked.round)), flush=True)
        return 0

    started, done, count, broken = time.monotonic(), 0, 0, []
    for played in rounds(asked.seed, asked.steps, asked.workers):
        done += played.steps
        count += 1
        broken += [played.seed] if played.breaches else []
        print(*played.breaches, sep='\n', end='')
        print('seed %d: %d steps, %s; %d of %d steps in %d s' % (
            played.seed, played.steps,
            'A BREACH' if played.breaches else 'no breach', done,
            asked.steps, time.monotonic() - started), flush=True)
    for seed in broken:
        print(f'To repeat it: tools/run_tests.sh machine -- --seed {seed} '
              '--steps 1 --workers 1')
    if not broken:
        print(f'{done} steps, no breach, seeds {asked.seed} to '
              f'{asked.seed + count - 1}. To add to them: --seed '
              f'{asked.seed + count}')
    return 1 if broken else 0


if __name__ == '__main__':
    sys.exit(main())
