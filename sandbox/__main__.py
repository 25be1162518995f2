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


"""    python -m sandbox up | status | test | measure | deployment | down"""

import argparse
import functools
import os
import sys
import time
import typing as ty

from sandbox import client
from sandbox import compute
from sandbox import identity
from sandbox import layout
from sandbox import machine
from sandbox import network
from sandbox import processes
from sandbox import stack

FOUND, UNFIT, INTERRUPTED = 1, 2, 130
_LINES = 15
_WITHOUT_KVM = """

There is no KVM here. What is then different when a vCPU leaves is in
doc/source/xloud/operators.rst, "Hosts without KVM"."""


def up(stock: bool = False, dashboard: bool = False) -> int:
    started = time.monotonic()
    with stack.lock():
        site = stack.Up(_show, stock, dashboard).run()
    _show(f'\nThe sandbox is ready ({time.monotonic() - started:.0f} s).\n\n'
          f'{_what_next(site)}')
    return 0


def status() -> int:
    site = layout.load()
    if site is None:
        _show('There is no sandbox. tools/sandbox.sh up makes one.')
        return FOUND
    rows = stack.rows(site)
    _show(f'{"process":24}{"state":8}{"pid":>8}{"MiB":>7}{"seconds":>9}')
    for row in rows:
        _show(f'{row.name:24}{row.state:8}{row.pid or "":>8}'
              f'{row.memory_mb or "":>7}{row.seconds or "":>9}')
    ended = [row.name for row in rows if row.pid is None]
    if ended:
        _show(f'\nNot running: {", ".join(ended)}. '
              'tools/sandbox.sh up starts what does not run.\n'
              f'Logs are in {_short(site.logs)}.')
        return FOUND
    _show(f'\n{_what_next(site)}')
    return 0


def test(only_dashboard: bool = False) -> int:
    from sandbox import browse
    from sandbox import check

    def run(site):
        checks = [] if only_dashboard else [check.Check]
        if site.dashboard.exists():
            checks.append(browse.Browse)
        elif only_dashboard:
            _show('This sandbox has no dashboard. tools/sandbox.sh up '
                  '--dashboard adds it.')
            return UNFIT
        # Not the next one if this one fails.
        return next(filter(None, (
            check.run(kind(site, _show), _show) for kind in checks)), 0)

    return _with_all(run)


def measure() -> int:
    from sandbox import measure
    from sandbox import probes

    def run(site):
        try:
            return measure.run(site, _show)
        except probes.Mismatch as error:
            _show(f'FAILED: {error}')
            return FOUND

    return _with_all(run)


def deployment(killed: bool = False) -> int:
    from sandbox import deployment

    site = layout.load()
    if site is None or not site.stock or any(
            row.pid is None for row in stack.rows(site)):
        _show('There is no sandbox with stock Nova. First: '
              'tools/sandbox.sh up --stock')
        return UNFIT
    # Not under the lock: its playbooks restart services.
    return deployment.run(site, _show, killed)


def restart(name: str) -> int:
    """As systemd would: for the playbooks of a deployment."""
    site = layout.load()
    if site is None:
        return UNFIT
    # The one before it may have been killed here and go on on its host.
    with stack.lock(wait=True):
        supervisor = stack.supervisor_of(site)
        supervisor.stop(name, 60)  # as long as Nova itself would wait
        compute.start_one(site, supervisor, name)
    return 0


def _with_all(run: ty.Callable[[layout.Layout], int]) -> int:
    site = layout.load()
    if site is None or any(row.pid is None for row in stack.rows(site)):
        _show('The sandbox does not run. First: tools/sandbox.sh up')
        return UNFIT
    with stack.lock():
        return run(site)


def down() -> int:
    with stack.lock():
        stack.down(_show)
    return 0


def _what_next(site: layout.Layout) -> str:
    demo = client.cloud(identity.PERSONS[0])
    return f"""\
Type:

    export OS_CLIENT_CONFIG_FILE={site.clouds}
    export OS_CLOUD={demo} PATH={layout.ENV}/bin:$PATH
    openstack server create --flavor elastic --image tiny \\
        --network {network.NETWORK} --wait one
    openstack console log show one | tail -n 1

Make it grow, and see how it is:

    sid=$(openstack server show one -f value -c id)
    adjust={site.url("nova")}/v2.1/os-xloud-adjust/$sid
    token=$(openstack token issue -f value -c id)
    curl -s -H "X-Auth-Token: $token" -H 'Content-Type: application/json' \\
        -d '{{"current_vcpus": 2, "current_memory_mb": 640}}' $adjust
    curl -s -H "X-Auth-Token: $token" $adjust

The administrator is OS_CLOUD={client.ADMIN}; a user of another project is
OS_CLOUD={client.cloud(identity.PERSONS[1])}.
{_dashboard(site)}tools/sandbox.sh test checks all of it; \
tools/sandbox.sh down ends and
removes it.{_WITHOUT_KVM if compute.is_emulated(site) else ''}"""


def _dashboard(site):
    if not site.dashboard.exists():
        return ''
    return (f'The dashboard is {site.url("horizon")}; the passwords are in\n'
            f'{_short(site.clouds)}.\n')


def _fail(error: processes.Failed) -> None:
    _show(f'\nFAILED: {error}')
    if error.log is not None:
        _show(f'\nThe last lines of {_short(error.log)}:')
        for line in processes.last_lines(error.log, _LINES):
            _show(f'    {line}')
    _show('\nNext: tools/sandbox.sh up goes on from here; tools/sandbox.sh '
          'down ends and\nremoves all of it, the logs too.')


def _short(path):
    return path.relative_to(layout.ROOT)


def _show(text: str) -> None:
    print(text, flush=True)


COMMANDS: ty.Dict[str, ty.Callable[[], int]] = {
    'up': up, 'status': status, 'test': test, 'measure': measure,
    'deployment': deployment, 'down': down}


def main() -> int:
    parser = argparse.ArgumentParser(prog='tools/sandbox.sh')
    parser.add_argument('command', choices=[*COMMANDS, 'restart'])
    parser.add_argument('name', nargs='?')
    parser.add_argument('--stock', action='store_true')
    parser.add_argument('--dashboard', action='store_true')
    parser.add_argument('--killed', action='store_true')
    asked = parser.parse_args()
    command = COMMANDS.get(asked.command, lambda: restart(asked.name))
    if command is test:
        command = functools.partial(test, asked.dashboard)
    if command is up:
        command = functools.partial(up, asked.stock, asked.dashboard)
    if command is deployment:
        command = functools.partial(deployment, asked.killed)
    os.environ['PATH'] = machine.PATH  # also of Neutron's agents
    try:
        return command()
    except stack.Unfit as error:
        _show(str(error))
        return UNFIT
    except processes.Failed as error:
        _fail(error)
        return FOUND
    except PermissionError as error:
        # A sandbox is its owner's alone, and that is root.
        if os.geteuid() == 0:
            raise
        _show(f'{error.filename} is not yours. '
              'Run tools/sandbox.sh as root.')
        return UNFIT
    except KeyboardInterrupt:
        _show('\nInterrupted. tools/sandbox.sh up goes on, down ends it.')
        return INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
