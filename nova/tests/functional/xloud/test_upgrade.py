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

"""Elastic servers that an earlier release of Nova has made.

Two releases do not fit into one process. So one of them records what it leaves
in the databases, in Placement, on its hosts and on the way to them, and the
others begin with that. See nova.tests.functional.xloud.recording.
"""

import datetime
import os
from unittest import mock

import ddt
import fixtures
from oslo_utils import timeutils
import testtools

from nova.compute import power_state
from nova import context
from nova.objects import base as objects_base
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.xloud import recording
from nova.tests.functional.xloud import scripted
from nova import version
from nova.virt import fake
from nova.virt.libvirt.xloud import run as guest_run
from nova.xloud import action
from nova.xloud import rpcapi
from nova.xloud import size
from nova.xloud import task

RECORD = 'XLOUD_RECORD'
MAXIMUM = size.Size(4, 4096)
MINIMUM = size.Size(1, 1024)
GROWN = size.Size(3, 3072)
OTHER_MAXIMUM = size.Size(2, 2048)
OTHER_MINIMUM = size.Size(1, 512)
# The state of a domain that has just booted, and its id.
BOOTED, DOMAIN_ID = (1, 1), 7


class CloudTestCase(scripted.GuestsTestCase):

    def setUp(self):
        super().setUp()
        for host in ('host1', 'host2'):
            self.start_host(host)

    def _cell_uuid(self):
        return self.host_mappings['host1'].cell_mapping.uuid

    def reconcile(self):
        for compute in self.computes.values():
            with self.cell() as cell:
                compute.manager._elastic.reconcile(cell)

    def status(self, server):
        return self.api.api_get(
            '/os-xloud-adjust/' + server['id']).body['xloud_status']

    def adjust(self, server, wanted, persist=True):
        self.api.api_post('/os-xloud-adjust/' + server['id'], {
            'current_vcpus': wanted.vcpus,
            'current_memory_mb': wanted.memory_mb, 'persist': persist},
            check_response_status=[202])


@testtools.skipUnless(
    os.environ.get(RECORD), 'only to write a recording: %s=FILE' % RECORD)
class RecordTestCase(CloudTestCase):

    def test_record(self):
        self.flavor = self.create_elastic_flavor(MAXIMUM, MINIMUM)
        servers = {
            name: self.create_server(self.flavor, host='host1')
            for name in ('settled', 'moving', 'offered', 'claimed',
                         'released', 'resized')}
        self.reconcile()
        sent = {}
        for name in ('settled', 'moving', 'resized'):
            self.adjust(servers[name], GROWN)
        self.adjust(servers['settled'], size.Size(2, 2048), persist=False)
        # It gives nothing back before the upgrade.
        self.guests[servers['moving']['id']].behaviour = scripted.LATE
        self.adjust(servers['moving'], MINIMUM)
        self._resize_server(servers['resized'], self.create_elastic_flavor(
            OTHER_MAXIMUM, OTHER_MINIMUM))
        requests = {
            name: self._take(servers[name])
            for name in ('offered', 'claimed', 'released')}
        for name in ('claimed', 'released'):
            self._ask('claim', servers[name], requests[name])
        with self.cell() as cell:
            rows = recording.read_rows(
                cell, [server['id'] for server in servers.values()])
        made = {
            'version': version.version_string_with_package(),
            'cell': self._cell_uuid(),
            'rows': rows,
            'servers': {name: self._about(server)
                        for name, server in servers.items()},
            'allocations': self._allocations(rows),
            'mark': self._mark(),
        }
        for name, method in (('offered', 'claim'), ('claimed', 'adjust'),
                             ('released', 'release')):
            with recording.messages(_is_ours) as messages:
                self._ask(method, servers[name], requests[name])
            (sent[method],) = messages
        with recording.messages(_is_ours) as messages:
            self.status(servers['settled'])
        (sent['guest_state'],) = messages
        with recording.messages(_is_scheduling) as messages:
            self._live_migrate(servers['settled'])
        (sent['select_destinations'],) = messages
        recording.save(os.environ[RECORD], {**made, 'messages': sent})

    def _take(self, server):
        """The task of a server, for a nova-api that then dies."""
        with self.cell() as cell:
            instance = self.instance(server)
            request = rpcapi.Request.about(
                instance, context.get_admin_context().request_id, *GROWN,
                persist=True)
            task.take(cell, instance, request.token)
            action.start(cell, instance)
        return request

    def _ask(self, method, server, request):
        with self.cell() as cell:
            return getattr(rpcapi.XloudAPI(), method)(
                cell, self.instance(server), request)

    def _about(self, server):
        instance = self.instance(server)
        guest = self.guests[server['id']]
        return {
            'id': server['id'], 'name': instance.name, 'host': instance.host,
            'charged': size.charged(instance),
            'desired': size.desired(instance), 'boot': size.boot(instance),
            'status': self.status(server),
            'run': guest.run,
            'guest': {'held': guest.held, 'target': guest.target,
                      'config': guest.config}}

    def _allocations(self, rows):
        hosts = {self._get_provider_uuid_by_host(host): host
                 for host in self.computes}
        found = {}
        for consumer in [row['uuid'] for name in ('instances', 'migrations')
                         for row in rows[name]]:
            body = self.placement.get(
                '/allocations/' + consumer, version='1.28').body
            if body['allocations']:
                found[consumer] = dict(body, allocations={
                    hosts[provider]: allocation['resources']
                    for provider, allocation in body['allocations'].items()})
        return found

    def _mark(self):
        self.useFixture(_libvirt())
        domain = recording.Domain()
        run = guest_run.Run(domain, DOMAIN_ID, BOOTED, 1 << 20)
        run.note_unplug(2)
        return dict(domain.mark, name=run.name)


@ddt.ddt
class UpgradeTestCase(CloudTestCase):

    def setUp(self):
        super().setUp()
        # Also on a busy machine.
        self.flags(settle_timeout=3600, group='xloud')
        self.old = recording.load('2024.1', self._cell_uuid())
        with self.cell() as cell:
            recording.write_rows(cell, self.old['rows'])
        for consumer, body in self.old['allocations'].items():
            response = self.placement.put(
                '/allocations/' + consumer, dict(
                    body, consumer_generation=None, allocations={
                        self._get_provider_uuid_by_host(host): {
                            'resources': resources}
                        for host, resources in body['allocations'].items()}),
                version='1.28')
            self.assertEqual(204, response.status, response.body)
        self._turn_back()
        self.servers = self.old['servers']
        for server in self.servers.values():
            self._take_over(server)
        self._run_periodics()

    def _turn_back(self):
        """The upgrade follows at once: a change has only minutes."""
        recorded = datetime.datetime.fromisoformat(max(
            row['updated_at'] for row in self.old['rows']['instances']))
        before = timeutils.utcnow() - recorded
        clock = mock.Mock(utcnow=lambda: timeutils.utcnow() - before)
        for user in ('change', 'limits', 'memo', 'reconcile', 'status',
                     'untold'):
            self.useFixture(fixtures.MonkeyPatch(
                'nova.xloud.%s.timeutils' % user, clock))

    def _take_over(self, server):
        """Its guest runs on."""
        driver = self.computes[server['host']].manager.driver
        driver.instances[server['id']] = fake.FakeInstance(
            server['name'], power_state.RUNNING, server['id'])
        guest = scripted.Guest(server['host'], self.instance(server))
        guest.run = server['run']
        for name, value in server['guest'].items():
            setattr(guest, name, size.Size(*value))
        if guest.held != guest.target:
            guest.behaviour = scripted.LATE
        self.guests[server['id']] = guest

    def restart(self):
        for host, compute in list(self.computes.items()):
            self.computes[host] = self.restart_compute_service(compute)
        self.reconcile()

    def send(self, name):
        with self.cell() as cell:
            return recording.send(self.old['messages'][name], cell)

    def assert_booked(self, server, desired, boot=None, charge=None,
                      host='host1'):
        boot = boot or desired
        instance = self.instance(server)
        self.assertEqual(desired, size.desired(instance))
        self.assertEqual(boot, size.boot(instance))
        self.assert_charged(
            server, charge or size.largest(desired, boot), host)

    def assert_no_task(self, server):
        instance = self.instance(server)
        self.assertIsNone(instance.task_state)
        self.assertFalse(task.is_running(instance))

    def test_books(self):
        for name, server in self.servers.items():
            instance = self.instance(server)
            self.assertEqual(server['charged'], [*size.charged(instance)])
            self.assertEqual(server['desired'], [*size.desired(instance)])
            self.assertEqual(server['boot'], [*size.boot(instance)])
            old, status = server['status'], self.status(server)
            # The time that a change has may be over.
            if old['condition'] == 'InProgress':
                del old['condition']
                self.assertIn(status['condition'], ['InProgress', 'Partial'])
            # A later release may tell more.
            self.assertEqual(old, {key: status[key] for key in old}, name)
        self.assert_hosts_agree()

    @ddt.data(False, True)
    def test_settled(self, restarts):
        server = self.servers['settled']
        if restarts:
            self.restart()
        smaller = size.Size(2, 2048)
        self.assert_booked(server, smaller, boot=GROWN)
        self.adjust(server, smaller)
        self.assert_booked(server, smaller)
        self._live_migrate(server)
        # The audit counts what has moved.
        self._run_periodics()
        self.assert_booked(server, smaller, host='host2')
        self.adjust(server, MAXIMUM)
        self.assert_booked(server, MAXIMUM, host='host2')
        self._delete_server(server)
        self.assert_nothing_left(server['id'])

    @ddt.data(False, True)
    def test_guest_that_is_late(self, restarts):
        server = self.servers['moving']
        if restarts:
            self.restart()
        self.assert_booked(server, MINIMUM, charge=GROWN)
        self.guests[server['id']].follow()
        self.reconcile()
        self.assert_booked(server, MINIMUM)

    @ddt.data('offered', 'claimed')
    def test_request_that_nobody_works_on(self, name):
        server = self.servers[name]
        self.restart()
        self.assert_booked(server, MINIMUM)
        self.assert_no_task(server)
        self.adjust(server, GROWN)
        self.assert_booked(server, GROWN)

    def test_revert_of_a_resize(self):
        server = self.servers['resized']
        self.restart()
        self._revert_resize(server)
        self.assert_booked(server, GROWN)
        self.adjust(server, MINIMUM)
        self.assert_booked(server, MINIMUM)

    def test_confirmation_of_a_resize(self):
        server = self.servers['resized']
        self.restart()
        self._confirm_resize(server)
        self.assert_booked(server, OTHER_MINIMUM, host='host2')
        self.adjust(server, OTHER_MAXIMUM)
        self.assert_booked(server, OTHER_MAXIMUM, host='host2')

    # nova-api and nova-conductor of the old release

    def test_claim(self):
        self.assertEqual(self.old['messages']['claim']['answer'],
                         self.send('claim'))
        self.assert_charged(self.servers['offered'], GROWN, 'host1')

    def test_adjust(self):
        self.assert_answer('adjust')
        self.assert_booked(self.servers['claimed'], GROWN)
        self.assert_no_task(self.servers['claimed'])

    def test_release(self):
        self.send('release')
        self.assert_booked(self.servers['released'], MINIMUM)

    def test_guest_state(self):
        self.assert_answer('guest_state')

    def assert_answer(self, name):
        expected = self.old['messages'][name]['answer']
        answer = self.send(name)
        # An old nova-api does not know what was added since.
        self.assertEqual(expected, {key: answer[key] for key in expected})

    def test_scheduling_of_a_move(self):
        """The charge is carried in the flavor of the request."""
        server = self.servers['settled']
        # As before each live migration, it belongs to the migration now.
        self.placement.delete('/allocations/' + server['id'])
        self.send('select_destinations')
        self.assertEqual({'host2': size.Size(*server['charged'])},
                         self.allocated(server['id']))

    def test_nova_api_of_this_release(self):
        """It sends to an old nova-compute what an old nova-api sends."""
        server = self.servers['settled']
        with recording.messages(_is_ours) as messages:
            self.adjust(server, GROWN)
            self.status(server)
        for sent in messages:
            method = sent['message']['method']
            old = self.old['messages'][method]['message']
            self.assertEqual(old['version'], sent['message']['version'])
            self.assertEqual(_shape(old['args']),
                             _shape(sent['message']['args']), method)
        self.assertLessEqual({'adjust', 'guest_state'}, {
            sent['message']['method'] for sent in messages})

    def test_run_of_a_guest(self):
        """The metadata of a domain that started under the old release."""
        self.useFixture(_libvirt())
        domain = recording.Domain(self.old['mark'])
        run = guest_run.Run(domain, DOMAIN_ID, BOOTED, 1 << 20)
        self.assertEqual(self.old['mark']['name'], run.name)
        self.assertEqual(2, run.unplug)
        self.assertEqual(0, domain.writes)


def _libvirt():
    return fixtures.MonkeyPatch(
        'nova.virt.libvirt.guest.libvirt', fakelibvirt)


def _is_ours(namespace, _method):
    return namespace == 'xloud'


def _is_scheduling(_namespace, method):
    return method == 'select_destinations'


def _shape(value):
    """What a message has, without what it says; an object is its name.

    Nova's conductor translates newer objects for older services.
    """
    if isinstance(value, dict):
        name = value.get(objects_base.NovaObject._obj_primitive_key('name'))
        return name or {key: _shape(item) for key, item in value.items()}
    return None if value is None else type(value).__name__
