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

"""Two small hosts in one environment, and what disturbs them."""

import contextlib
from unittest import mock

import fixtures
import futurist
from keystoneauth1 import exceptions as ks_exc
import oslo_messaging as messaging
from oslo_utils import timeutils

from nova.api.metadata import password
from nova.api.openstack import common
from nova.compute import power_state
from nova import conf
from nova import objects
from nova.scheduler.client import report
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import xloud_answers
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import scripted
from nova.xloud import condition
from nova.xloud import rpcapi
from nova.xloud import situation
from nova.xloud import size

CONF = conf.CONF

HOSTS = ('host1', 'host2')
# The moments of a request. nova-api has read the server, has taken its task;
# its compute service claims the growth, asks the guest.
READ, TAKEN, CLAIMS, ASKS = MOMENTS = ('read', 'taken', 'claims', 'asks')
NOTHING = size.Size(0, 0)
DIMENSIONS = {'VCPU': 'vcpus', 'MEMORY_MB': 'memory_mb'}
ALLOCATIONS = """
    SELECT consumer_id, resource_providers.name, resource_classes.name, used
    FROM allocations
    JOIN resource_providers ON resource_providers.id = resource_provider_id
    JOIN resource_classes ON resource_classes.id = resource_class_id
"""
TRACKED = """
    SELECT vcpus_used, memory_mb_used FROM compute_nodes
    WHERE host = ? AND hypervisor_hostname = ? AND deleted = 0
"""
# Where an Instance is, and in which column its uuid.
ROWS = (('instances', 'uuid'), ('instance_system_metadata', 'instance_uuid'),
        ('instance_extra', 'instance_uuid'))

# Of what an operator may leave no room.
LIMITS = {
    'vCPUs': ('VCPU', 'reserved', 8),
    'vCPUs of one server': ('VCPU', 'max_unit', 1),
    'memory': ('MEMORY_MB', 'reserved', 13312),
    'disks': ('DISK_GB', 'reserved', 1028),
}
# The names of what a server can have.
FLAVORS = ('elastic', 'narrow', 'plain')
# How many vCPUs are promised for each that a host has.
OVERBOOKING = 2


class SmallDriver(scripted.ScriptedFakeDriver):
    """Room for two or three servers, and not for what they can become."""

    # As many as the largest flavor has: Placement gives no more to a server.
    vcpus = 8
    memory_mb = 13312

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # One of LIMITS.
        self.limit = None
        # What happens right before a guest is asked to change.
        self.before_it_asks = lambda: None

    def update_provider_tree(self, provider_tree, nodename, allocations=None):
        super().update_provider_tree(provider_tree, nodename, allocations)
        if self.limit:
            name, key, value = LIMITS[self.limit]
            inventory = provider_tree.data(nodename).inventory
            inventory[name][key] = value
            provider_tree.update_inventory(nodename, inventory)

    def set_elastic_guest(self, instance, target, boot):
        self.before_it_asks()
        super().set_elastic_guest(instance, target, boot)

    def _start(self, instance, boot=None):
        super()._start(instance, boot)
        # Nobody has had the time to look at it.
        self.guests[instance.uuid].is_new = True

    def rescue(self, context, instance, *args, **kwargs):
        super().rescue(context, instance, *args, **kwargs)
        self._start(instance)

    def unrescue(self, context, instance):
        super().unrescue(context, instance)
        self._start(instance)

    def resume_state_on_host_boot(self, context, instance, *args, **kwargs):
        self.power_on(context, instance, *args, **kwargs)

    def lose_power(self):
        for known in self.instances.values():
            known.state = power_state.SHUTDOWN

    def held(self, uuid):
        return (self.guests[uuid].held if self._is_running(uuid) else
                NOTHING)


class World(adjust_base.AdjustTestCase):
    """Two hosts and their servers."""

    compute_driver = 'fake.SmallDriver'

    def setUp(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.fake.SmallDriver', SmallDriver))
        # Nobody who waits here is served meanwhile.
        for name in ('task.LOCK_WAIT', 'allocation._LONGEST_PAUSE'):
            self.useFixture(fixtures.MonkeyPatch('nova.xloud.' + name, 0))
        super().setUp()
        # Not before: nova-api is a thread.
        self.useFixture(nova_fixtures.SpawnIsSynchronousFixture())
        with self.cell() as cell:
            self.databases = self.useFixture(
                xloud_answers.QuickDatabases(cell))
        # What was seen of each server, and of what it was made.
        self.seen = {}
        self.flags(resume_guests_state_on_host_boot=True)
        self.start_host('host2')
        for host in HOSTS:
            self.migrate_at_once(host)
        self.call_instead_of_cast()
        self.flavors = dict(zip(FLAVORS, (
            self.create_elastic_flavor(),
            self.create_elastic_flavor(
                size.Size(4, 4096), size.Size(1, None)),
            self._create_flavor(vcpu=2, memory_mb=3072, disk=1))))
        self._delete_server(self.server)

    def start_host(self, host, **kwargs):
        self.flags(initial_cpu_allocation_ratio=OVERBOOKING)
        return super().start_host(host, **kwargs)

    def call_instead_of_cast(self):
        # Not the base class: CastAsCallFixture leaves a cast in this one.
        contexts = messaging.rpc.client._CallContext
        cast = contexts.cast

        def call(client, ctxt, method, **kwargs):
            if client.target.fanout:
                return cast(client, ctxt, method, **kwargs)
            try:
                client.call(ctxt, method, **kwargs)
            except Exception:
                # Nobody tells who casts.
                pass

        self.useFixture(fixtures.MockPatchObject(contexts, 'cast', call))

    def driver_of(self, host):
        return self.computes[host].manager.driver

    def held(self, instance):
        if not instance.host:
            return NOTHING
        return self.driver_of(instance.host).held(instance.uuid)

    def condition_of(self, instance):
        """What its status says, from what its host reports now."""
        (guest,) = self.driver_of(instance.host).get_elastic_guests(
            [instance]).values()
        return condition.evaluate(situation.of(
            instance, guest, timeutils.utcnow() + self.later))[0]

    # What a look costs, each of 100,000 steps pays several times: it reads
    # the databases of Nova and Placement, past their APIs and their engines.

    def instance(self, server):
        return self.instances([server['id']])[server['id']]

    def instances(self, uuids):
        rows = self.rows_of(uuids)
        changed = [uuid for uuid in rows
                   if self.seen.get(uuid, (None,))[0] != rows[uuid]]
        if changed:
            self.seen.update((uuid, (rows[uuid], None)) for uuid in changed)
            with self.cell() as cell:
                for found in objects.InstanceList.get_by_filters(
                        cell, {'uuid': changed},
                        expected_attrs=['flavor', 'system_metadata']):
                    self.seen[found.uuid] = rows[found.uuid], found
        return {uuid: self.seen[uuid][1] for uuid in rows
                if self.seen[uuid][1]}

    def rows_of(self, uuids):
        """All of which an Instance is made."""
        rows = {}
        for table, column in ROWS:
            for row in self.databases.cell_rows.execute(
                    'SELECT %s, * FROM %s WHERE %s IN (%s) ORDER BY id' % (
                        column, table, column,
                        ', '.join('?' * len(uuids))), list(uuids)):
                rows.setdefault(row[0], []).append(row)
        return rows

    def allocations(self):
        """What is allocated on the hosts, by consumer and host."""
        found = {}
        for consumer, host, name, used in (
                self.databases.placement_rows.execute(ALLOCATIONS)):
            sizes = found.setdefault(consumer, {})
            size_on_host = sizes.get(host, NOTHING)
            sizes[host] = size_on_host._replace(**{
                DIMENSIONS[name]: used}) if name in DIMENSIONS else (
                    size_on_host)
        return found

    def used(self, host):
        charges = [hosts.get(host, NOTHING)
                   for hosts in self.allocations().values()]
        return size.Size(*map(sum, zip(NOTHING, *charges)))

    def tracked(self, host):
        (vcpus, memory_mb), = self.databases.cell_rows.execute(
            TRACKED, (host, host))
        return size.Size(vcpus - CONF.reserved_host_cpus,
                         memory_mb - CONF.reserved_host_memory_mb)

    def has_room(self, host, more):
        room = size.Size(
            OVERBOOKING * SmallDriver.vcpus, SmallDriver.memory_mb - 512)
        return all(used + number <= most for used, number, most in zip(
            self.used(host), more, room))

    def reconcile(self):
        with self.cell() as cell:
            for host in HOSTS:
                if host in self.computes:
                    self.computes[host].manager._elastic.reconcile(cell)

    def restart(self, host):
        self.computes[host] = self.restart_compute_service(
            self.computes[host])
        self.migrate_at_once(host)

    def migrate_at_once(self, host):
        """Live migrations have threads of their own."""
        self.computes[host].manager._live_migration_executor = (
            futurist.SynchronousExecutor())

    def set_forced_down(self, host, forced_down):
        with self.cell() as cell:
            service = objects.Service.get_by_host_and_binary(
                cell, host, 'nova-compute')
            service.forced_down = forced_down
            service.save()

    def limit(self, host, limit):
        """An operator leaves no room for something, or gives all back.

        :param limit: one of LIMITS, or None
        """
        driver = self.driver_of(host)
        if driver.limit != limit:
            driver.limit = limit
            self.audit(host)

    @contextlib.contextmanager
    def soft_deletes(self):
        """What is deleted can be restored."""
        self.flags(reclaim_instance_interval=3600)
        yield
        self.flags(reclaim_instance_interval=0)

    def audit(self, host):
        with self.cell() as cell:
            self.computes[host].manager.update_available_resource(cell)

    def post_password(self, uuid, text):
        """As a guest does at its first boot."""
        password.handle_password(
            mock.Mock(method='POST', body=text.encode(),
                      content_length=len(text)),
            mock.Mock(password=None, uuid=uuid))

    @contextlib.contextmanager
    def meanwhile(self, moment, work):
        """Something else happens in the middle of the next request, once.

        :param moment: one of MOMENTS
        """
        waiting = [work]

        def happen():
            if waiting:
                waiting.pop()()

        def before(real):
            def call(*args, **kwargs):
                happen()
                return real(*args, **kwargs)
            return call

        def after(real):
            def call(*args, **kwargs):
                known = real(*args, **kwargs)
                happen()
                return known
            return call

        with contextlib.ExitStack() as stack:
            if moment == READ:
                stack.enter_context(mock.patch.object(
                    common, 'get_instance', after(common.get_instance)))
            elif moment == TAKEN:
                for name in ('claim', 'adjust'):
                    stack.enter_context(mock.patch.object(
                        rpcapi.XloudAPI, name,
                        before(getattr(rpcapi.XloudAPI, name))))
            elif moment == CLAIMS:
                stack.enter_context(mock.patch.object(
                    report.SchedulerReportClient, 'put',
                    before(report.SchedulerReportClient.put)))
            elif moment == ASKS:
                for host in HOSTS:
                    stack.enter_context(mock.patch.object(
                        self.driver_of(host), 'before_it_asks', happen))
            yield

    @contextlib.contextmanager
    def lost_reply(self, number):
        """A compute service saves a server and is not told, the number-th.

        nova-api has its database and needs no nova-conductor.
        """
        real = objects.Instance.save
        left = [number]
        at_work = []

        def save(instance, *args, **kwargs):
            real(instance, *args, **kwargs)
            left[0] -= bool(at_work)
            if at_work and not left[0]:
                raise messaging.MessagingTimeout('by the test')

        def on_the_compute(real):
            def call(*args, **kwargs):
                at_work.append(1)
                try:
                    return real(*args, **kwargs)
                finally:
                    at_work.pop()
            return call

        with contextlib.ExitStack() as stack:
            if number:
                stack.enter_context(mock.patch.object(
                    objects.Instance, 'save', save))
            for compute in self.computes.values():
                endpoint = compute.manager.additional_endpoints[-1]
                for owner, name in ((endpoint, 'claim'), (endpoint, 'adjust'),
                                    (endpoint, 'release'),
                                    (compute.manager._elastic, 'reconcile')):
                    stack.enter_context(mock.patch.object(
                        owner, name, on_the_compute(getattr(owner, name))))
            yield

    @contextlib.contextmanager
    def placement_trouble(self, trouble, number):
        """Something happens to a change of an allocation, the number-th."""
        real = report.SchedulerReportClient.put
        left = [number]

        def put(client, url, data, **kwargs):
            left[0] -= 1
            if left[0] or trouble is None:
                return real(client, url, data, **kwargs)
            if trouble == 'busy':
                return mock.Mock(status_code=409, json=lambda: {'errors': [{
                    'code': 'placement.concurrent_update',
                    'detail': 'resource provider generation conflict'}]})
            if trouble == 'unreachable':
                raise ks_exc.ConnectFailure('by the test')
            if trouble == 'changed':
                # Somebody else writes what is there.
                known = client.get(url, version='1.28').json()
                real(client, url, known, version='1.28')
                return real(client, url, data, **kwargs)
            real(client, url, data, **kwargs)
            raise ks_exc.ConnectFailure('by the test')

        with mock.patch.object(report.SchedulerReportClient, 'put', put):
            yield
