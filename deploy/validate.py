#!/usr/bin/env python3
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
"""Try elastic servers on a cloud, and take away what was made.

    python3 deploy/validate.py CLOUD

CLOUD is a name in clouds.yaml, of an administrator. It makes a private
flavor and a server, grows and shrinks it, restarts it, and moves it live if
two hosts can have it. After each step the status of the server, its allocation
in Placement and, where this runs on the host of the server, libvirt have to
agree. Needs openstacksdk. Exit codes: 0 all passed, 1 something did not, 2
the cloud cannot be tried.
"""

import argparse
import contextlib
import json
from pathlib import Path
import signal
import subprocess
import sys
import time
import typing as ty
import uuid
from xml.etree import ElementTree

PASSED, FAILED, CANNOT = 0, 1, 2
OK, WRONG, LEFT_OUT = 'ok', 'FAILED', 'left out'
TRAITS = ('CUSTOM_XLOUD_ELASTIC_VCPU', 'CUSTOM_XLOUD_ELASTIC_MEMORY')
PREFIX = 'xloud-validate-'
# libvirt rounds.
_ROUNDING_MIB = 1
# A host that is busy may not answer for a while.
_BUSY = ('InProgress', 'Unknown')
# How long an API can be at work on a request whose answer was lost
_LOST = 10
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Wrong(Exception):
    """A step did not come out as it should."""


class LeftOut(Exception):
    """A step cannot be done on this cloud. The text says why."""


class Cannot(Exception):
    """The cloud cannot be tried."""


class Row(ty.NamedTuple):
    step: str
    result: str
    seconds: float
    text: str


class Validation:
    """One server from its flavor to its end."""

    def __init__(self, cloud, asked: argparse.Namespace):
        self.cloud = cloud
        self.asked = asked
        self.name = PREFIX + uuid.uuid4().hex[:8]
        self.rows: ty.List[Row] = []
        # Known before it is made: its answer may be lost.
        self.flavor: ty.Optional[str] = None
        self.server: ty.Any = None
        # Whether a server was asked for, and nobody said which
        self.is_unanswered = False

    def run(self, show: ty.Callable[[Row], None]) -> bool:
        """Take all steps, and take away what they made in any case."""
        try:
            for step in STEPS:
                if not self._take(step, show):
                    break
        finally:
            _stay()
            self._take(Validation.clean_up, show)
        return all(row.result != WRONG for row in self.rows)

    def _take(self, step, show):
        title = step.__doc__.strip().partition('\n')[0]
        started = time.monotonic()
        try:
            result, text = OK, step(self) or ''
        except LeftOut as reason:
            result, text = LEFT_OUT, str(reason)
        except (Wrong, *_errors()) as error:
            result, text = WRONG, str(error)
        except Exception as error:
            # An answer that nobody expects is what this looks for.
            result, text = WRONG, f'{type(error).__name__}: {error}'
        row = Row(title, result, round(time.monotonic() - started, 1), text)
        self.rows.append(row)
        show(row)
        return result != WRONG

    # The steps, in this order

    def look_at_hosts(self):
        """computes are up and have the traits"""
        up = [service.host for service in self.cloud.compute.services(
            binary='nova-compute') if service.state == 'up']
        if not up:
            raise Wrong('no nova-compute is up')
        able = self._able()
        if not able:
            raise Wrong(f'none of {len(up)} computes reports {TRAITS[0]} and '
                        f'{TRAITS[1]}')
        return f'{len(up)} computes are up, {len(able)} have both traits'

    def make_flavor(self):
        """a flavor from 1 to 2 vCPUs"""
        most, least = self.asked.memory, self.asked.minimum_memory
        self.flavor = self.name
        self.cloud.compute.create_flavor(
            id=self.flavor, name=self.name, vcpus=2, ram=most,
            disk=self.asked.disk, is_public=False)
        self.cloud.compute.flavor_add_tenant_access(
            self.flavor, self.cloud.current_project_id)
        self.cloud.compute.create_flavor_extra_specs(self.flavor, {
            'minimum_cpu': '1', 'minimum_memory': str(least)})
        return f'1 to 2 vCPUs, {least} to {most} MiB'

    def refuse_a_wrong_flavor(self):
        """minimum_cpu=x is refused"""
        answer = self.cloud.compute.post(
            f'/flavors/{self.flavor}/os-extra_specs',
            json={'extra_specs': {'minimum_cpu': 'x'}}, microversion='2.86')
        if answer.status_code != 400:
            self.cloud.compute.create_flavor_extra_specs(
                self.flavor, {'minimum_cpu': '1'})
            raise Wrong(f'nova-api answers {answer.status_code}: its entry '
                        'point of the extra spec is missing')

    def boot(self):
        """a server starts with its minimum"""
        image = self._image()
        networks: ty.Any = 'none'
        if self.asked.network:
            networks = [{'uuid': self.cloud.network.find_network(
                self.asked.network, ignore_missing=False).id}]
        extra = {}
        if self.asked.host:
            extra['availability_zone'] = f'nova:{self.asked.host}'
        self.is_unanswered = True
        server = self.cloud.compute.create_server(
            name=self.name, flavor_id=self.flavor, image_id=image.id,
            networks=networks, **extra)
        self.is_unanswered = False
        try:
            self.server = self.cloud.compute.wait_for_server(
                server, wait=self.asked.seconds)
        except _errors() as error:
            raise Wrong(f'{error}{self._fault(server)}')
        self._expect(1, self.asked.minimum_memory, guest=True)
        return f'on {self._host()}'

    def grow(self):
        """it grows while it runs"""
        self._adjust(current_vcpus=2, current_memory_mb=self.asked.memory)
        self._expect(2, self.asked.memory)

    def shrink_memory(self):
        """it gives memory back"""
        middle = (self.asked.memory + self.asked.minimum_memory) // 2
        self._adjust(current_memory_mb=middle)
        self._expect(2, middle)
        self.middle = middle

    def shrink_vcpus(self):
        """it gives a vCPU back"""
        self._adjust(current_vcpus=1)
        self._expect(1, self.middle)

    def refuse(self):
        """a size beyond its flavor is refused"""
        for body in ({'current_vcpus': 3},
                     {'current_memory_mb': self.asked.memory + 1}):
            answer = self._post(body)
            if answer.status_code != 400:
                raise Wrong(f'{body}: {answer.status_code}')

    def restart(self):
        """a hard reboot keeps its size"""
        self.cloud.compute.reboot_server(self.server, 'HARD')
        self._wait_for_task()
        self._expect(1, self.middle, guest=True)

    def move(self):
        """a live migration keeps its size"""
        if self.asked.no_migration:
            raise LeftOut('--no-migration')
        up = {host['hypervisor_hostname'] for host in self._get(
            self.cloud.compute, '/os-hypervisors/detail', 'hypervisors')
            if host['state'] == 'up' and host['status'] == 'enabled'}
        if len(up) < 2:
            raise LeftOut('there is only one compute')
        if len(up & self._able()) < 2:
            # Nova moves it nowhere else.
            raise LeftOut('only one compute that is up has both traits')
        before = self._host()
        self.cloud.compute.live_migrate_server(
            self.server, host=None, block_migration='auto')
        self._wait_for_task()
        after = self._host()
        if after == before:
            raise Wrong(f'it is still on {before}')
        self._expect(1, self.middle)
        return f'from {before} to {after}'

    def read_actions(self):
        """each adjust is in its actions"""
        actions = [action.action for action in
                   self.cloud.compute.server_actions(self.server)]
        if actions.count('xloud_adjust') < 3:
            raise Wrong(f'its actions are {actions}')

    def read_logs(self):
        """the logs of Nova here have no error about the server"""
        if not self.asked.logs:
            raise LeftOut('--logs names no folder')
        named, found = False, []
        for log in self._logs():
            with log.open(errors='replace') as opened:
                for text in opened:
                    if self.server.id in text:
                        named = True
                        if ' ERROR ' in text:
                            found.append(f'{log.name}: {text.strip()[:200]}')
        if not named:
            raise LeftOut(f'no log in {self.asked.logs} names the server')
        if found:
            raise Wrong(f'{len(found)} lines; the first one: {found[0]}')

    def clean_up(self):
        """what was made is taken away"""
        try:
            self._end_server()
        finally:
            if self.flavor is not None:
                self.cloud.compute.delete_flavor(self.flavor)

    def _end_server(self):
        if self.server is None and self.flavor is not None:
            # Its creation may have been accepted and then have failed.
            self.server = self._find_server()
        if self.server is None:
            return
        self.cloud.compute.delete_server(self.server)
        self.cloud.compute.wait_for_delete(
            self.server, wait=self.asked.seconds)
        deadline = time.monotonic() + self.asked.seconds
        while self._allocations():
            if time.monotonic() > deadline:
                raise Wrong('left: its allocation in Placement')
            time.sleep(1)

    def _find_server(self):
        """The server, for which nova-api may still be at work."""
        deadline = time.monotonic() + (_LOST if self.is_unanswered else 0)
        while True:
            found = self.cloud.compute.find_server(self.name)
            if found is not None or time.monotonic() >= deadline:
                return found
            time.sleep(1)

    # What everybody says

    def _expect(self, vcpus, memory_mb, guest=False):
        """The status, Placement and libvirt agree on a size.

        :param guest: whether the guest has just started; until its balloon
            driver runs it holds its maximum
        """
        deadline = time.monotonic() + self.asked.seconds
        while True:
            status = self._status()
            if status['condition'] not in _BUSY or (
                    time.monotonic() > deadline):
                break
            time.sleep(2)
        if status['condition'] != 'Settled':
            raise Wrong(f'it is {status["condition"]}: {status["reason"]}' + (
                ' Does the image have a balloon driver?' if guest else ''))
        wanted = (vcpus, memory_mb)
        for word in ('desired', 'boot', 'actual', 'allocated'):
            self._compare(f'the status ({word})', (
                status[f'{word}_vcpus'], status[f'{word}_memory_mb']), wanted)
        # Nova releases first in its database, and then there.
        while self._allocations() != wanted and time.monotonic() < deadline:
            time.sleep(1)
        self._compare('Placement', self._allocations(), wanted)
        libvirt = self._libvirt()
        if libvirt:
            # Without KVM, libvirt is not told of a vCPU that has left.
            self._compare('libvirt', (libvirt[0] or vcpus, libvirt[1]),
                          wanted)

    @staticmethod
    def _compare(who, found, wanted):
        if not found:
            raise Wrong(f'{who} has nothing of it, not {wanted[0]} vCPUs '
                        f'{wanted[1]} MiB')
        if found[:1] != wanted[:1] or (
                abs(found[1] - wanted[1]) > _ROUNDING_MIB):
            raise Wrong(f'{who} says {found[0]} vCPUs {found[1]} MiB, not '
                        f'{wanted[0]} vCPUs {wanted[1]} MiB')

    def _libvirt(self):
        """What the domain has, if its hypervisor is this machine's."""
        if not self.asked.virsh:
            return None
        done = subprocess.run(
            [*self.asked.virsh.split(), 'dumpxml', self.server.id],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.returncode:
            return None  # it is on another host
        xml = ElementTree.fromstring(done.stdout)
        vcpu = xml.find('vcpu')
        assert vcpu is not None
        counted = int(vcpu.get('current', vcpu.text or '0'))
        return (None if xml.get('type') == 'qemu' else counted,
                int(xml.findtext('currentMemory', '0')) // 1024)

    def look_for_rights(self):
        """See that this is an administrator, of Nova and of Placement.

        :raises: Cannot
        """
        for service, path in ((self.cloud.compute, '/os-services'),
                              (self.cloud.placement, '/resource_providers')):
            try:
                answer = service.get(path)
            except _errors() as error:
                raise Cannot(f'{self.asked.cloud}: GET {path}: {error}')
            if answer.status_code == 403:
                raise Cannot(f'{self.asked.cloud} names no administrator: '
                             f'GET {path}: {_message(answer)}')

    def look_for_libvirt(self):
        """See that it answers, as later its silence means another host.

        :raises: Cannot
        """
        command = self.asked.virsh.split() + ['uri']
        try:
            done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
        except OSError as error:
            raise Cannot(f'--virsh: {error}')
        if done.returncode:
            raise Cannot(f'--virsh: {" ".join(command)} failed: '
                         f'{done.stdout.strip()[-300:]}')

    def look_for_logs(self):
        """See that they can be read, as they are needed last.

        :raises: Cannot
        """
        logs = self._logs()
        if not logs:
            raise Cannot(
                f'--logs: there is no nova-*.log in {self.asked.logs}')
        for log in logs:
            try:
                log.open().close()
            except OSError as error:
                raise Cannot(f'--logs: {error}')

    def _logs(self):
        return sorted(self.asked.logs.glob('nova-*.log'))

    def _allocations(self):
        found = self._get(
            self.cloud.placement, f'/allocations/{self.server.id}',
            'allocations')
        resources = [entry['resources'] for entry in found.values()]
        return resources and (
            sum(each.get('VCPU', 0) for each in resources),
            sum(each.get('MEMORY_MB', 0) for each in resources))

    def _status(self):
        return self._get(
            self.cloud.compute, f'/os-xloud-adjust/{self.server.id}',
            'xloud_status')

    def _post(self, body):
        return self.cloud.compute.post(
            f'/os-xloud-adjust/{self.server.id}', json=body)

    def _adjust(self, **body):
        answer = self._post(body)
        if answer.status_code != 202:
            raise Wrong(f'{body}: {answer.status_code} {_message(answer)}')

    def _host(self):
        return self.cloud.compute.get_server(self.server.id).compute_host

    def _fault(self, server):
        """What Nova says of it, which nobody can ask when it is deleted."""
        try:
            fault = self.cloud.compute.get_server(server.id).fault
            return f': {fault["message"]}'
        except (*_errors(), KeyError, TypeError):
            return ''

    def _wait_for_task(self):
        deadline = time.monotonic() + self.asked.seconds
        while True:
            found = self.cloud.compute.get_server(self.server.id)
            if found.status == 'ERROR':
                raise Wrong(f'the server is in error{self._fault(found)}')
            if found.status == 'ACTIVE' and not found.task_state:
                return
            if time.monotonic() > deadline:
                raise Wrong(f'it is {found.status}, {found.task_state} '
                            f'after {self.asked.seconds} s')
            time.sleep(2)

    def _image(self):
        if self.asked.image:
            return self.cloud.image.find_image(
                self.asked.image, ignore_missing=False)
        for image in self.cloud.image.images(status='active'):
            if (image.min_ram or 0) <= self.asked.minimum_memory and (
                    (image.min_disk or 0) <= self.asked.disk):
                return image
        raise Wrong('no image fits; name one with --image')

    def _able(self):
        """The names of the hosts that have both traits."""
        return {provider['name'] for provider in self._get(
            self.cloud.placement, '/resource_providers', 'resource_providers',
            required=','.join(TRAITS))}

    @staticmethod
    def _get(service, path, key, **query):
        answer = service.get(path, params=query)
        if answer.status_code != 200:
            raise Wrong(f'GET {path}: {answer.status_code} '
                        f'{_message(answer)}')
        return answer.json()[key]


STEPS = (
    Validation.look_at_hosts, Validation.make_flavor,
    Validation.refuse_a_wrong_flavor, Validation.boot, Validation.grow,
    Validation.shrink_memory, Validation.shrink_vcpus, Validation.refuse,
    Validation.restart, Validation.move, Validation.read_actions,
    Validation.read_logs)


def _message(answer):
    try:
        (found,) = answer.json().values()
        if isinstance(found, list):  # as Placement has it
            return found[0]['detail']
        return found['message']
    except (ValueError, AttributeError, LookupError, TypeError):
        return answer.text[:200]


def _errors():
    from keystoneauth1 import exceptions as authentication
    import openstack

    return (openstack.exceptions.SDKException,
            authentication.ClientException)


def connect(name: str):
    """Connect as the administrator who is named.

    :raises: Cannot
    """
    try:
        import openstack
    except ImportError:
        raise Cannot('openstacksdk is missing: pip install openstacksdk')
    try:
        cloud = openstack.connect(cloud=name)
        # Both are read alike by all releases that we support.
        cloud.compute.default_microversion = '2.86'
        cloud.placement.default_microversion = '1.29'
        cloud.authorize()
    except Exception as error:
        raise Cannot(f'{name}: {error}')
    return cloud


def line(row: Row) -> str:
    text = f'{row.result:9}{row.seconds:7.1f} s  {row.step}'
    return f'{text}: {row.text}' if row.text else text


@contextlib.contextmanager
def _ended_gently():
    """Take away what was made also if somebody or a lost terminal ends it."""
    before = {number: signal.getsignal(number) for number in _ENDS}
    try:
        for number, known in before.items():
            if known != signal.SIG_IGN:  # as of nohup
                signal.signal(number, _end)
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def _end(number, _frame):
    _stay()
    name = signal.Signals(number).name
    with contextlib.suppress(OSError):  # of a terminal that has gone
        print(f'validate: {name}: what was made is taken away',
              file=sys.stderr, flush=True)
    sys.exit(f'validate: ended by {name}')


def _stay():
    """Let nobody end this any more: what was made is taken away next.

    People repeat Ctrl-C, and the end of a session is SIGTERM and SIGHUP.
    """
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)


def main(arguments: ty.Optional[ty.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        description='Try elastic servers on a cloud, and take away what was '
        'made.', epilog='exit codes: 0 all passed, 1 something did not, 2 '
        'the cloud cannot be tried')
    parser.add_argument('cloud', help='in clouds.yaml, of an administrator')
    parser.add_argument('--image', help='default: the first that fits')
    parser.add_argument('--network', help='default: none')
    parser.add_argument('--host', help='where the server starts')
    parser.add_argument('--memory', type=int, default=1024, metavar='MIB',
                        help='the maximum of the flavor (default 1024)')
    parser.add_argument('--minimum-memory', type=int, default=512,
                        metavar='MIB')
    parser.add_argument('--disk', type=int, default=1, metavar='GIB')
    parser.add_argument('--seconds', type=int, default=300,
                        help='for each step (default 300)')
    parser.add_argument('--no-migration', action='store_true')
    parser.add_argument('--virsh', metavar='COMMAND',
                        help='where this runs on a compute: how to ask '
                        'libvirt, such as "podman exec nova_libvirt virsh"')
    parser.add_argument('--logs', type=Path, metavar='DIR',
                        help='a folder of logs of Nova on this machine')
    parser.add_argument('--json', action='store_true', help='print JSON')
    asked = parser.parse_args(arguments)
    if not 0 < asked.minimum_memory < asked.memory:
        parser.error(f'--minimum-memory is {asked.minimum_memory}; it has to '
                     f'be at least 1 and less than --memory, {asked.memory}')
    if asked.seconds < 0:
        parser.error(f'--seconds is {asked.seconds}; it has to be at least 0')
    if asked.virsh is not None and not asked.virsh.split():
        parser.error('--virsh is empty; leave it out, or give a command')
    try:
        validation = Validation(connect(asked.cloud), asked)
        validation.look_for_rights()
        if asked.virsh:
            validation.look_for_libvirt()
        if asked.logs:
            validation.look_for_logs()
    except Cannot as reason:
        print(f'validate: {reason}', file=sys.stderr)
        return CANNOT
    with _ended_gently():
        passed = validation.run(
            lambda row: None if asked.json else print(line(row), flush=True))
    if asked.json:
        print(json.dumps({'passed': passed, 'steps': [
            row._asdict() for row in validation.rows]}, indent=1))
    else:
        print('passed' if passed else 'FAILED')
    return PASSED if passed else FAILED


if __name__ == '__main__':
    sys.exit(main())
