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

    tools/run_tests.sh machine -- [--steps N] [--seed S]

Nova starts anew every few hundred steps, so that a run can last for days. The
seed of such a round repeats it: what a breach needs is the seed that is shown
with it, and no more steps than a round has.
"""

import argparse
import os
import sys
import time

import hypothesis
from hypothesis import stateful
import testtools

from nova.tests.functional.xloud import test_machine

STEPS_OF_AN_EXAMPLE = 30
EXAMPLES_OF_A_ROUND = 20
SECONDS_BETWEEN_SIGNS = 30


class Run:
    """How far it is.

    :param steps: how many are wanted
    """

    def __init__(self, steps, show=print, clock=time.monotonic):
        self.wanted = steps
        self.done = 0
        self._show = show
        self._clock = clock
        self._started = self._signed = clock()

    @property
    def is_enough(self):
        return self.done >= self.wanted

    def step(self):
        self.done += 1
        if self._clock() - self._signed >= SECONDS_BETWEEN_SIGNS:
            self._signed = self._clock()
            self._show(f'... {self}')

    def __str__(self):
        seconds = self._clock() - self._started
        return (f'{self.done} of {self.wanted} steps in {seconds:.0f} s, '
                'no breach')


def one_round(run, seed):
    """Run some examples; what breaks a rule is an error or a failure."""

    class CountedServers(test_machine.Servers):
        @stateful.invariant()
        def one_more_step(self):
            run.step()

    class Round(test_machine.World):
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

    result = testtools.TestResult()
    Round('test_long').run(result)
    return [text for _test, text in result.failures + result.errors]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=10000, metavar='N',
                        help='how many at least (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, metavar='S',
                        help='of the first round, the next has the next '
                        'number (default: %(default)s)')
    asked = parser.parse_args(arguments)
    # It does what it does for as long as it takes.
    os.environ['OS_TEST_TIMEOUT'] = '0'
    run = Run(asked.steps, lambda text: print(text, flush=True))
    seed, breaches = asked.seed, []
    while not run.is_enough:
        breaches = one_round(run, seed)
        if breaches:
            print(*breaches, sep='\n')
            print(f'A breach after {run.done} steps. To repeat it: '
                  f'tools/run_tests.sh machine -- --seed {seed} --steps 1',
                  flush=True)
            break
        seed += 1
    else:
        print(f'{run}, seeds {asked.seed} to {seed - 1}')
    return 1 if breaches else 0


if __name__ == '__main__':
    sys.exit(main())
