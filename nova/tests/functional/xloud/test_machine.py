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

"""Whatever happens to elastic servers, in whatever order, the books agree.

Hypothesis makes up what happens, on two small hosts that are often full. One
environment is for all examples, since to start Nova costs seconds: an example
begins with empty hosts and leaves them empty. RPC casts and threads are calls
here, so that an example goes the same way each time.

The environment variable ``XLOUD_EXAMPLES`` says how many examples to try. If
it is set, one that fails is made shorter too, which takes its time.
"""

import os

import hypothesis
from hypothesis import stateful

from nova.tests.functional.xloud import machine
from nova.tests.functional.xloud import two_hosts

EXAMPLES = 'XLOUD_EXAMPLES'


class MachineTestCase(two_hosts.World):

    def test_whatever_happens(self):
        asked = os.environ.get(EXAMPLES)
        phases = [hypothesis.Phase.generate]
        if asked:
            phases.append(hypothesis.Phase.shrink)
        stateful.run_state_machine_as_test(
            lambda: machine.Servers(self), settings=hypothesis.settings(
                max_examples=int(asked or 5), stateful_step_count=30,
                derandomize=True, database=None, deadline=None,
                phases=phases, print_blob=False,
                suppress_health_check=list(hypothesis.HealthCheck)))
