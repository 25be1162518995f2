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

"""Services die while a server changes its size, and come back."""

import concurrent.futures
import signal
import time
import typing as ty

from sandbox import broker
from sandbox import client
from sandbox import compute
from sandbox import database
from sandbox import hosts
from sandbox import layout
from sandbox import probes
from sandbox import servers


def promised(code: int, before: probes.Sizes,
             after: probes.Sizes) -> ty.Set[probes.Sizes]:
    """What a server may have in the end after such an answer to an adjust.

    Accepted means done, also if later; what is refused never happens.
    """
    if code == 202:
        return {after}
    if code == 409:
        return {before}
    return {before, after}


class Accidents(servers.Servers):
    def kill_compute(self):
        """nova-compute is killed in the middle of a change and comes back"""
        self._create('two')
        self._agree('two', probes.Sizes(1, 320))
        host = self.admin.compute.get_server(self.servers['two']).compute_host
        name = compute.service(host)

        def accident():
            self.supervisor.kill(name)
            compute.start_host(
                self.site, self.supervisor, self.admin, host)

        allowed = self._disturb(
            'two', probes.Sizes(2, 640), accident, frozen=name)
        self._agree_on_one_of('two', allowed)
        self._agree('one', probes.Sizes(2, 576))

    def restart_libvirt(self):
        """libvirtd is killed and comes back; the guests run on"""
        host = self.admin.compute.get_server(self.servers['two']).compute_host
        self.supervisor.kill(hosts.daemon(host, 'libvirtd'))
        hosts.start_daemon(self.site, self.supervisor, host, 'libvirtd')
        self._change_again('two', 512)

    def restart_broker(self):
        """RabbitMQ is restarted in the middle of a change"""
        self._restart(broker)

    def kill_database(self):
        """MariaDB is killed in the middle of a change and comes back"""
        self._restart(database)

    def _restart(self, service):
        """Restart what all others speak to while a change is made."""
        def accident():
            # RabbitMQ is asked to end, as in an upgrade; its queues are gone.
            if service is database:
                self.supervisor.kill(service.NAME)
            else:
                self.supervisor.stop(service.NAME)
            service.start(self.site, self.supervisor)

        before = self._desired('one')
        allowed = self._disturb(
            'one', before._replace(memory_mb=704), accident)
        self._wait_for_services()
        self._agree_on_one_of('one', allowed)
        self._change_again('one', before.memory_mb)
        self._agree('two', self._desired('two'))

    def _disturb(self, name, after, accident, frozen=None):
        """Have an accident while a change is made.

        :param after: the size that is asked for
        :param frozen: a process that is stopped first, so that what is done
            to it hits the change for certain
        :returns: the sizes that the answer allows it to end with
        """
        server = self.servers[name]
        before = self._desired(name)
        body = {f'current_{key}': value
                for key, value in after._asdict().items()}
        watcher = client.connect(self.site)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(self._ask, name, body)
            while watcher.compute.get_server(server).task_state is None:
                if asked.done():
                    raise probes.Mismatch(
                        'the change was over before the accident: '
                        f'{asked.result().text}')
            if frozen:
                self.supervisor.signal(frozen, signal.SIGSTOP)
            state = self._allocation(server)
            accident()
            answer = asked.result(probes.PATIENCE)
        self.show(f'    in the middle: Placement had {state}; '
                  f'the answer was {answer.status_code}')
        return promised(answer.status_code, before, after)

    def _change_again(self, name, memory_mb):
        """After an accident, all must work as before."""
        self._adjust(name, current_memory_mb=memory_mb)
        self._agree(name, probes.Sizes(self._desired(name).vcpus, memory_mb))

    def _wait_for_services(self):
        """Until each has reported to the database, over the broker."""
        now = time.time()
        for host in layout.HOSTS:
            self._wait(lambda: any(
                service.host == host and service.updated_at and
                compute.reported_since(service.updated_at, now)
                for service in self.admin.compute.services(
                    binary='nova-compute')),
                f'nova-compute of {host} reports again')

    def _agree_on_one_of(self, name, allowed):
        """Wait until all agree, on one of these sizes."""
        self._wait(lambda: not self._problems(name),
                   lambda: f'{name}: {self._problems(name)}')
        reached = self._desired(name)
        if reached not in allowed:
            raise probes.Mismatch(
                f'{name} has {reached}, and the answer promised '
                f'{" or ".join(map(str, allowed))}')
        self.show(f'    afterwards: {reached}')
