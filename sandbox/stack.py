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


"""The order in which all of it starts, is looked at and ends."""

import concurrent.futures
import fcntl
import shutil
import time
import typing as ty

from sandbox import balancer
from sandbox import broker
from sandbox import client
from sandbox import compute
from sandbox import copying
from sandbox import dashboard
from sandbox import database
from sandbox import hosts
from sandbox import identity
from sandbox import image
from sandbox import layout
from sandbox import machine
from sandbox import network
from sandbox import nodes
from sandbox import placement
from sandbox import processes
from sandbox import wire

# Of the steps that speak to a service, what says more when they fail.
_LOGS = {'catalogue': identity.NAME, 'network': network.NAME,
         'image': image.NAME, 'flavors': compute.API,
         'heartbeats': compute.API}
_CONFIGURED = (broker, identity, image, placement, network, compute, hosts,
               copying, dashboard)


class Row(ty.NamedTuple):
    """A process as ``status`` shows it."""

    name: str
    state: str
    pid: ty.Optional[int]
    memory_mb: int
    seconds: int


class Unfit(Exception):
    """This machine cannot have a sandbox; one line for each reason."""


def supervisor_of(site: layout.Layout) -> processes.Supervisor:
    return processes.Supervisor(site.site / 'processes', site.logs)


def lock(wait: bool = False):
    """One command at a time changes the sandbox; close it to let go."""
    layout.FOLDER.mkdir(parents=True, exist_ok=True)
    handle = open(layout.FOLDER / 'lock', 'w')
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise Unfit('Another tools/sandbox.sh is at work on this sandbox.')
    return handle


class Up:
    """Start what does not run; what does is left alone."""

    def __init__(self, show: ty.Callable[[str], None] = print,
                 stock: bool = False, with_dashboard: bool = False):
        self._show = show
        self._stock = stock
        self._with_dashboard = with_dashboard
        self._begin = time.monotonic()

    def run(self) -> layout.Layout:
        if layout.load() is None:
            missing = machine.missing(
                layout.ports(), [balancer.NAME] if self._stock else [])
            if missing:
                raise Unfit('\n'.join(missing))
        self.site = layout.create(stock=self._stock)
        if self._stock and not self.site.stock:
            raise Unfit('There is a sandbox with our series. First: '
                        'tools/sandbox.sh down')
        if self.site.release != layout.RELEASE:
            raise Unfit(f'There is a sandbox with Nova {self.site.release}, '
                        f'not {layout.RELEASE}. First: tools/sandbox.sh down')
        self.supervisor = supervisor_of(self.site)
        if self._with_dashboard:
            self.site.dashboard.mkdir(exist_ok=True)
        if self.site.stock:
            self._once('nodes with stock Nova',
                       lambda site, supervisor: nodes.create(site))
            balancer.configure(self.site)
        for module in _CONFIGURED:
            module.configure(self.site)
        client.write_clouds(self.site)
        with concurrent.futures.ThreadPoolExecutor() as self._pool:
            self._start_all()
        return self.site

    def _start_all(self):
        site, supervisor = self.site, self.supervisor
        beside = [self._begin_step('RabbitMQ', broker.start)]
        beside.append(self._begin_step('hosts', self._start_hosts))
        self._step('MariaDB', database.start)
        self._once('schemas', lambda _site, _supervisor:
                   database.create_schemas(site))
        # The longest first.
        schemas = [self._begin_once('nova-schema', compute.migrate)]
        schemas += [self._begin_once(f'{module.NAME}-schema', module.migrate)
                    for module in (network, image, placement)]
        self._once('keystone-schema', identity.migrate)
        self._step('Keystone', identity.start)
        self._once('catalogue', lambda _site, _supervisor:
                   identity.fill(client.connect(site), site))
        self._join(beside + schemas)
        self._join([
            self._begin_step('Glance', image.start),
            self._begin_step('Placement', placement.start),
            self._begin_step('Neutron', network.start),
            self._begin_step('Nova API, scheduler, conductor',
                             compute.start_control)])
        cloud = client.connect(site)
        self._step('network', lambda _site, _supervisor:
                   network.fill(cloud))
        agents = self._begin_step('agents of Neutron', self._start_agents)
        horizon = [self._pool.submit(self._start_dashboard)
                   ] if site.dashboard.exists() else []
        self._join([agents, *horizon, *(
            self._begin_step(f'nova-compute on {host}',
                             self._start_compute, host)
            for host in layout.HOSTS)])
        self._once('image', lambda _site, _supervisor:
                   image.fill(cloud, site))
        self._once('flavors', lambda _site, _supervisor: compute.fill(cloud))
        self._step('heartbeats', lambda _site, _supervisor:
                   compute.wait_for_control(supervisor, cloud))

    def _start_hosts(self, site, supervisor):
        for host in layout.HOSTS:
            hosts.start(site, supervisor, host)
        wire.connect(site, supervisor)
        copying.start(site, supervisor)

    def _start_dashboard(self):
        self._once('dashboard', lambda site, supervisor:
                   dashboard.install(site, supervisor))
        self._step('Horizon', dashboard.start)

    # Connections are not shared between threads.

    def _start_agents(self, site, supervisor):
        network.start_agents(site, supervisor, client.connect(site))

    def _start_compute(self, site, supervisor, host):
        compute.start_host(site, supervisor, client.connect(site), host)

    def _step(self, title, action, *arguments):
        started = time.monotonic()
        try:
            action(self.site, self.supervisor, *arguments)
        except (processes.Failed, KeyboardInterrupt):
            raise
        except Exception as error:
            log = _LOGS.get(title)
            raise processes.Failed(
                f'{title}: {error}', log and self.supervisor.log(log))
        now = time.monotonic()
        if now - started > 1:  # else it was there
            self._show(f'{now - self._begin:6.1f} s  {title} '
                       f'({now - started:.1f} s)')

    def _once(self, name, action):
        done = self.site.site / 'done' / name
        if not done.exists():
            self._step(name.replace('-', ' '), action)
            done.touch()

    def _begin_step(self, *arguments):
        return self._pool.submit(self._step, *arguments)

    def _begin_once(self, *arguments):
        return self._pool.submit(self._once, *arguments)

    def _join(self, steps):
        for step in concurrent.futures.as_completed(steps):
            step.result()  # the first that failed says so


def names(site: layout.Layout) -> ty.List[str]:
    """All processes of a sandbox that is up."""
    on_hosts = [
        name for host in layout.HOSTS
        for name in (host, *hosts.daemons(host), copying.daemon(host),
                     compute.service(host))]
    return [database.NAME, broker.MAPPER, broker.NAME, identity.NAME,
            image.NAME, placement.NAME, network.NAME,
            *compute.apis(site), *([balancer.NAME] if site.stock else []),
            *compute.CONTROL, wire.RELAY, *on_hosts, *network.AGENTS,
            *([dashboard.NAME] if site.dashboard.exists() else [])]


def rows(site: layout.Layout) -> ty.List[Row]:
    supervisor = supervisor_of(site)
    return [_row(supervisor, name) for name in names(site)]


def down(show: ty.Callable[[str], None] = print) -> None:
    """End all processes, the newest first, and remove what they wrote."""
    site = layout.load()
    if site is not None:
        supervisor = supervisor_of(site)
        started = supervisor.names()[::-1]
        # Guests before the libvirtd that would report their end, and what
        # speaks to database and broker before these.
        _stop_all(supervisor, [name for name in started
                               if name.startswith(('nova', 'neutron'))])
        hosts.end_all_inside(site)
        last = (database.NAME, broker.NAME, broker.MAPPER)
        _stop_all(supervisor, [
            name for name in started if name not in last])
        for name in last:
            supervisor.stop(name)
        show(f'ended {len(started)} processes')
    else:
        show('There is no sandbox.')
    # Also what a first start left that was interrupted.
    if layout.site().exists():
        shutil.rmtree(layout.site())


def _stop_all(supervisor, names):
    def stop(name):
        # All that it would tell others, or keep, is removed with it.
        supervisor.stop(name, 5)

    with concurrent.futures.ThreadPoolExecutor(len(names) or 1) as pool:
        list(pool.map(stop, names))


def _row(supervisor, name):
    process = supervisor.running(name)
    if process is None:
        return Row(name, 'ended' if name in supervisor.names() else
                   'absent', None, 0, 0)
    return Row(name, 'runs', process.pid, _memory_mb(process.session),
               int(time.time() - supervisor.since(name)))


def _memory_mb(session):
    """What the processes of a session have in memory that no other has."""
    total = 0
    for process in processes.all_stats():
        if process.session == session:
            total += _own_kib(process.pid)
    return total // 1024


def _own_kib(pid):
    try:
        with open(f'/proc/{pid}/smaps_rollup') as lines:
            return sum(int(line.split()[1]) for line in lines
                       if line.startswith('Pss:'))
    except OSError:
        return 0
