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

"""All of upstream's tests, compared with the untouched base."""

from tools.lane import counting
from tools.lane import running
from tools.lane import suites
from tools import tree


def upstream(arguments):
    """All of a suite; only what fails with us and not without us counts."""
    name = arguments.pop(0) if arguments[:1] and (
        arguments[0] in suites.SUITES) else 'unit'
    total = counting.Outcome()
    for _mode in suites.in_each_mode(
            name, suites.chosen(tree.LANES.concurrency)):
        total.add(_upstream(name, arguments))
    return total


def _upstream(name, arguments):
    test_path = f'./nova/tests/{name}'
    outcome = running.run_lane('upstream', tree.TREE, test_path, *arguments)
    regexes = sorted(filter(None, map(running.as_regex, outcome.failures)))
    if not regexes or len(outcome.failures) > running.AGAIN['upstream']:
        return outcome
    counting.show(f'\nagain, on the untouched base: {len(regexes)} tests')
    tree.make_base_tree()
    with running.file_of(regexes) as listed:
        base = running.run_stestr(
            tree.BASE_TREE, test_path, '--include-list', listed, workers='1',
            quiet=True)
    outcome.failures, verdicts = judge(outcome.failures, base.failures)
    counting.show('\n'.join(verdicts))
    return outcome


def judge(suspects, base):
    """Tell our failures from upstream's.

    A suspect that is no test (a worker that died, say) cannot be run again;
    it is ours until someone has looked.
    """
    ours = [test for test in suspects if test not in base]
    return ours, [
        ('FAILS ONLY WITH THE SERIES: ' if test in ours else
         'fails on the base too: ') + test for test in suspects]
