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
"""Let a compute finish what it has begun before its restart, and give it back.

    python3 xloud_drain.py drain CLOUD HOST --owner WHO
    python3 xloud_drain.py enable CLOUD HOST

When nova-compute starts, Nova puts a server in error whose build its end cut
off. So "drain" disables the service, and waits until nothing is at work on the
host.

A service that is disabled has a reason, which Nova keeps in the same write.
The reason tells who disabled it, so nothing else has to be remembered:
"enable", of this run or of one after a kill, enables what has the reason of
"drain", and leaves alone what an operator has disabled.
"""

import argparse
import json
import sys
import time
import typing as ty

DONE, BUSY = 0, 1
REASON = 'XLoud Nova is being deployed here'
# Services have the same id in all cells.
_VERSION = '2.53'
# Of migrations that go on, or should: after a crash they stay so for ever.
_MOVES = ('accepted', 'queued', 'preparing', 'running', 'pre-migrating',
          'migrating', 'post-migrating')
_LONGEST_REASON = 255


class Failed(Exception):
    """It cannot be done. The text says why."""


class Compute:
    """What the cloud says about the nova-compute of a host."""

    def __init__(self, cloud: ty.Any, host: str):
        self._compute = cloud.compute
        self._host = host

    def service(self) -> ty.Dict[str, ty.Any]:
        for service in self._get('/os-services', 'services',
                                 binary='nova-compute', host=self._host):
            return service
        raise Failed(f'os-services knows no nova-compute on {self._host}')

    def disable(self, owner: str) -> bool:
        """Keep new servers away, unless somebody does that already."""
        service = self.service()
        if service['status'] == 'disabled':
            return False
        reason = f'{REASON} ({owner}); the next deploy or rollback enables it'
        self._put(service, status='disabled',
                  disabled_reason=reason[:_LONGEST_REASON])
        return True

    def enable(self) -> bool:
        """Undo ``disable``, and nothing that another has disabled."""
        service = self.service()
        if service['status'] != 'disabled' or not (
                service['disabled_reason'] or '').startswith(REASON):
            return False
        self._put(service, status='enabled')
        return True

    def under_way(self) -> ty.Set[str]:
        """Servers whose build has no host yet: it may be this one."""
        return {server.id for server in self._compute.servers(
            all_projects=True, status='BUILD') if not server.compute_host}

    def work(self, chosen: ty.Set[str]) -> ty.List[str]:
        """What a restart would cut off.

        :param chosen: servers for which the scheduler may have chosen this
            host before it was disabled
        """
        if self.service()['state'] == 'down':
            return []  # whatever waits, waits for the restart
        # First these: meanwhile one of them may come here.
        left = [f'{server} (has no host yet)' for server in
                (self.under_way() & chosen if chosen else ())]
        left += [self._text(server) for server in self._compute.servers(
            all_projects=True, compute_host=self._host)
            if self._is_at_work(server)]
        return sorted(left or self._arriving())

    def _arriving(self):
        found = set()
        for status in _MOVES:
            for move in self._get('/os-migrations', 'migrations',
                                  host=self._host, status=status):
                found.add(move['instance_uuid'])
        servers = (self._compute.find_server(
            server, ignore_missing=True, all_projects=True)
            for server in found)
        return [self._text(server) for server in servers
                if server is not None and self._is_at_work(server)]

    @staticmethod
    def _is_at_work(server):
        # One in error is left as it is when nova-compute starts.
        return server.status != 'ERROR' and bool(
            server.task_state or server.status == 'BUILD')

    @staticmethod
    def _text(server):
        return f'{server.id} ({server.task_state or server.status})'

    def _get(self, path, key, **query):
        answer = self._compute.get(path, params=query,
                                   microversion=_VERSION)
        _check(answer)
        return answer.json()[key]

    def _put(self, service, **body):
        _check(self._compute.put(f'/os-services/{service["id"]}', json=body,
                                 microversion=_VERSION))


def _check(answer):
    if answer.status_code != 200:
        raise Failed(f'Nova answers {answer.status_code}: '
                     f'{answer.text[:200]}')


def again(call: ty.Callable[[], ty.Any], deadline: float) -> ty.Any:
    """Call until it succeeds: an API may be about to start."""
    while True:
        try:
            return call()
        except Exception as error:
            if time.monotonic() > deadline:
                raise Failed(str(error))
        time.sleep(1)


def drain(compute: Compute, asked: argparse.Namespace) -> int:
    begun = time.monotonic()
    deadline = begun + asked.seconds
    disabled = again(lambda: compute.disable(asked.owner), deadline)
    # Whoever comes later, the scheduler sends elsewhere.
    chosen = again(compute.under_way, deadline)
    while True:
        left = again(lambda: compute.work(chosen), deadline)
        if not left or time.monotonic() > deadline:
            break
        time.sleep(1)
    print(json.dumps({'disabled': disabled, 'left': left,
                      'seconds': round(time.monotonic() - begun)}))
    if left and asked.late == 'stop':
        if disabled:
            again(compute.enable, time.monotonic() + asked.seconds)
        print(f'still at work after {asked.seconds:.0f} s: '
              f'{", ".join(left)}. Nothing was restarted. Wait or end them, '
              'give it more seconds, or have it restarted all the same.',
              file=sys.stderr)
        return BUSY
    return DONE


def enable(compute: Compute, asked: argparse.Namespace) -> int:
    enabled = again(compute.enable, time.monotonic() + asked.seconds)
    print(json.dumps({'enabled': enabled}))
    return DONE


def show(compute: Compute, asked: argparse.Namespace) -> int:
    service = again(compute.service, time.monotonic() + asked.seconds)
    print(json.dumps({word: service[word] for word in (
        'state', 'status', 'disabled_reason')}))
    return DONE


COMMANDS = {'drain': drain, 'enable': enable, 'show': show}


def main(arguments: ty.Optional[ty.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('command', choices=COMMANDS)
    parser.add_argument('cloud', help='a name in clouds.yaml')
    parser.add_argument('host', help='as os-services calls it')
    parser.add_argument('--owner', default='somebody', metavar='WHO')
    parser.add_argument('--seconds', type=float, default=600)
    parser.add_argument('--late', choices=('stop', 'restart'),
                        default='stop', help='when the time is over')
    asked = parser.parse_args(arguments)
    import openstack

    compute = Compute(openstack.connect(cloud=asked.cloud), asked.host)
    try:
        return COMMANDS[asked.command](compute, asked)
    except Failed as reason:
        print(f'{asked.command} {asked.host}: {reason}', file=sys.stderr)
        return BUSY


if __name__ == '__main__':
    sys.exit(main())
