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

"""The end-to-end check: what users, operators and accidents do."""

import time
import typing as ty

from sandbox import client
from sandbox import probes
from sandbox import processes
from sandbox import servers
from sandbox.steps import accidents
from sandbox.steps import moves
from sandbox.steps import sizes


def run(check: servers.Servers, show: ty.Callable[[str], None]) -> int:
    """Take the steps of a check; it stops at the first that fails."""
    try:
        return _run(check, show)
    finally:
        check.tidy()


def _run(check, show):
    check.remove_servers()
    passed, steps = 0, check.STEPS
    for name in steps:
        started = time.monotonic()
        title = getattr(check, name).__doc__.strip().partition('\n')[0]
        try:
            getattr(check, name)()
        except (probes.Mismatch, client.CommandFailed, processes.Failed,
                *check.errors()) as error:
            show(f'FAILED  {title}\n\n{error}\n')
            show(f'The servers are left as they are, and the logs in '
                 f'{check.site.logs}.\nIf something does not run any more, '
                 'tools/sandbox.sh up starts it.')
            show(f'test: {passed} passed, 1 failed, '
                 f'{len(steps) - passed - 1} not run')
            return 1
        passed += 1
        show(f'ok  {title} ({time.monotonic() - started:.1f} s)')
    check.remove_servers()
    show(f'test: {passed} passed, 0 failed, 0 not run')
    return 0


class Check(sizes.Sizes, moves.Moves, accidents.Accidents):
    """All steps, in their order: each goes on from what those before left."""

    STEPS = (
        'create', 'grow', 'show_sizes', 'shrink', 'refuse', 'migrate',
        'migrate_cold', 'resize', 'shelve', 'shelve_shrunk', 'evacuate',
        'evacuate_shrunk', 'keep_quota', 'hide', 'kill_compute',
        'restart_libvirt', 'restart_broker', 'kill_database',
        'give_vcpu_back', 'ask_agent', 'delete')
