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

"""Which of upstream's tests call what the series changes."""

import os
import tempfile

from tools import hooks
from tools.lane import counting
from tools.lane import running
from tools.lane import suites
from tools import selection
from tools import tree


def record(arguments):
    """Write which of upstream's tests call a hook, for what is not known.

    Arguments are suites, both if there is none, and "all" to forget what is
    known. This takes as long as all tests that may call them.
    """
    total = counting.Outcome()
    asked = [word for word in arguments if word in suites.SUITES]
    for name in asked or suites.SUITES:
        total.add(_record(name, 'all' in arguments))
    return total


def _record(name, anew):
    in_tree = hooks.in_tree(str(tree.TREE), tree.base())
    file = suites.callers_file(name)
    # What the lane knows, which may be from an older release.
    callers = (selection.Callers() if anew else
               selection.Callers.load(suites.known_callers(name)))
    unknown = in_tree - callers.hooks
    touched = tree.touched()
    new = set(tree.added())
    files = [path for path in selection.callers_of(
        name, str(tree.TREE), unknown, touched) if path not in new]
    if not unknown or not files:
        counting.show(f'{name}: nothing is unknown')
        return counting.Outcome()
    counting.show('\n'.join(
        [f'{name}: who calls', *sorted(unknown), 'of', *files]))
    with tempfile.TemporaryDirectory() as folder:
        recorded = hooks.Record(folder)
        os.environ.update(recorded.environ(str(tree.TREE), tree.base()))
        outcome = counting.Outcome()
        # Some hooks are for native threads alone, others for green ones.
        for _mode in suites.in_each_mode(name, tree.LANES.concurrency):
            outcome.add(running.run_lane(
                'record', tree.TREE, f'./nova/tests/{name}',
                selection.as_regex(files), '--exclude-regex',
                selection.REPETITIONS))
        met = recorded.hooks_met()
    if outcome.failures:
        counting.show(f'{file} stays as it is: tests failed')
    else:
        callers.add({test: called & unknown for test, called in met.items()},
                    unknown, selection.COMMON[name]).without(in_tree).save(
                        file)
    return outcome
