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

"""What an elastic server is charged, in a real Placement."""

from unittest import mock

import fixtures
from keystoneauth1 import exceptions as ks_exc
import os_resource_classes as orc
from oslo_utils.fixture import uuidsentinel as uuids

from nova import context
from nova import exception
from nova import objects
from nova.scheduler.client import report
from nova import test
from nova.tests.functional import fixtures as func_fixtures
from nova.tests.unit import fake_requests
from nova.xloud import allocation
from nova.xloud import size

SMALL = size.Size(2, 2048)
LARGE = size.Size(4, 4096)
DISK = {orc.DISK_GB: 10}


class ChargeTestCase(test.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(func_fixtures.PlacementFixture())
        self.useFixture(fixtures.MockPatch('time.sleep'))
        self.context = context.get_admin_context()
        self.client = report.SchedulerReportClient()
        self.instance = objects.Instance(uuid=uuids.server)
        for rp_uuid in (uuids.host, uuids.other_host):
            self.provide(rp_uuid, size.Size(8, 8192))
        self.allocate(uuids.server, {uuids.host: SMALL})

    def request(self, method, url, body, version='1.28'):
        response = getattr(self.client, method)(url, body, version=version)
        self.assertLess(response.status_code, 300, response.text)

    def provide(self, rp_uuid, total):
        self.request('post', '/resource_providers',
                     {'name': rp_uuid, 'uuid': rp_uuid})
        self.request('put', '/resource_providers/%s/inventories' % rp_uuid, {
            'resource_provider_generation': 0,
            'inventories': {
                orc.VCPU: {'total': total.vcpus},
                orc.MEMORY_MB: {'total': total.memory_mb},
                orc.DISK_GB: {'total': 1000}}})

    def allocate(self, consumer, charges):
        generation = self.allocations(consumer).get('consumer_generation')
        self.request('put', '/allocations/' + consumer, {
            'allocations': {
                rp_uuid: {'resources': {
                    orc.VCPU: charge.vcpus,
                    orc.MEMORY_MB: charge.memory_mb, **DISK}}
                for rp_uuid, charge in charges.items()},
            'project_id': uuids.project, 'user_id': uuids.user,
            'consumer_generation': generation})

    def allocations(self, consumer=uuids.server):
        return self.client.get_allocs_for_consumer(self.context, consumer)

    def charged(self, rp_uuid=uuids.host, consumer=uuids.server):
        allocations = self.allocations(consumer)['allocations']
        if rp_uuid not in allocations:
            return None
        resources = dict(allocations[rp_uuid]['resources'])
        held = size.Size(resources.pop(orc.VCPU), resources.pop(orc.MEMORY_MB))
        # Nothing else is ever touched.
        self.assertEqual(DISK, resources)
        return held

    def charge(self, old, new, rp_uuid=uuids.host):
        allocation.Account(
            self.context, self.client, self.instance, rp_uuid,
        ).allocate(old, new)

    def assertConflict(self, text, old, new, **kwargs):
        error = self.assertRaises(
            exception.ElasticConflict, self.charge, old, new, **kwargs)
        self.assertIn(text, error.format_message())

    def test_grows_and_shrinks(self):
        self.charge(SMALL, LARGE)
        self.assertEqual(LARGE, self.charged())
        self.charge(LARGE, SMALL)
        self.assertEqual(SMALL, self.charged())
        # Nothing falls where something grows.
        self.charge(SMALL, size.Size(4, 1024))
        self.assertEqual(size.Size(4, 2048), self.charged())
        self.charge(size.Size(4, 2048), size.Size(4, 1024))
        self.assertEqual(size.Size(4, 1024), self.charged())
        allocations = self.allocations()
        self.assertEqual((uuids.project, uuids.user),
                         (allocations['project_id'], allocations['user_id']))

    def test_the_same_is_only_checked(self):
        before = self.allocations()
        self.charge(SMALL, SMALL)
        self.assertEqual(before, self.allocations())
        self.assertConflict('not what it is charged', LARGE, LARGE)

    def test_up_to_the_last_bit_of_room(self):
        self.allocate(uuids.neighbour, {uuids.host: size.Size(2, 2048)})
        room = size.Size(6, 6144)
        for more in (size.Size(7, 6144), size.Size(6, 6145)):
            error = self.assertRaises(
                exception.ElasticNoRoom, self.charge, SMALL, more)
            self.assertEqual(409, error.code)
            self.assertIn(str(more), error.format_message())
            self.assertNotIn(uuids.host, error.format_message())
            self.assertEqual(SMALL, self.charged())
        self.charge(SMALL, room)
        self.assertEqual(room, self.charged())
        self.assertEqual(size.Size(2, 2048),
                         self.charged(consumer=uuids.neighbour))

    def test_more_than_the_host_has_at_all(self):
        self.assertRaises(exception.ElasticNoRoom,
                          self.charge, SMALL, size.Size(9, 2048))
        self.assertEqual(SMALL, self.charged())

    def test_an_allocation_elsewhere_stays(self):
        """As after an evacuation, until the old host is back."""
        self.allocate(uuids.server, {
            uuids.host: SMALL, uuids.other_host: SMALL})
        self.charge(SMALL, LARGE)
        self.assertEqual(LARGE, self.charged())
        self.assertEqual(SMALL, self.charged(uuids.other_host))

    def test_nothing_is_created_for_a_server_without_allocation(self):
        """A migration holds it, or the server was deleted."""
        self.client.delete_allocation_for_instance(
            self.context, uuids.server, force=True)
        self.assertConflict('not what it is charged', SMALL, LARGE)
        self.assertIsNone(self.charged())

    def test_nothing_is_created_on_another_provider(self):
        self.assertConflict('not what it is charged', SMALL, LARGE,
                            rp_uuid=uuids.other_host)
        self.assertEqual(SMALL, self.charged())
        self.assertIsNone(self.charged(uuids.other_host))

    def test_less_is_left_alone(self):
        self.assertConflict('not what it is charged', LARGE, SMALL)
        self.assertEqual(SMALL, self.charged())

    def test_more_is_in_order(self):
        self.allocate(uuids.server, {uuids.host: LARGE})
        self.charge(SMALL, SMALL)
        self.assertEqual(LARGE, self.charged())
        # A growth may be older than what somebody else has claimed.
        grown = size.Size(LARGE.vcpus, SMALL.memory_mb)
        self.charge(SMALL, grown)
        self.assertEqual(LARGE, self.charged())
        self.charge(grown, SMALL)
        self.assertEqual(SMALL, self.charged())

    def between_get_and_put(self, act):
        real = self.client.put

        def put(url, *args, **kwargs):
            self.client.put = real
            act()
            return real(url, *args, **kwargs)

        self.client.put = put

    def test_somebody_changes_the_same_server(self):
        other = size.Size(3, 3072)
        self.between_get_and_put(
            lambda: self.allocate(uuids.server, {uuids.host: other}))
        self.assertConflict('at the same time', SMALL, LARGE)
        self.assertEqual(other, self.charged())

    def test_the_server_is_deleted_meanwhile(self):
        self.between_get_and_put(
            lambda: self.client.delete_allocation_for_instance(
                self.context, uuids.server, force=True))
        self.assertConflict('at the same time', SMALL, LARGE)
        self.assertIsNone(self.charged())

    def test_somebody_changes_another_server(self):
        self.between_get_and_put(lambda: self.allocate(
            uuids.neighbour, {uuids.host: size.Size(1, 1024)}))
        self.charge(SMALL, LARGE)
        self.assertEqual(LARGE, self.charged())

    def answer(self, *responses):
        """Placement gives these answers to changes before its own."""
        pending = list(responses)
        real = self.client.put

        def put(url, *args, **kwargs):
            if not pending:
                return real(url, *args, **kwargs)
            response = pending.pop(0)
            if isinstance(response, Exception):
                raise response
            return response

        self.client.put = put

    def error(self, status, code='placement.undefined_code', detail=''):
        response = mock.Mock(status_code=status, text=detail)
        response.json.return_value = {
            'errors': [{'code': code, 'detail': detail}]}
        return response

    def test_a_conflict_of_the_provider_is_tried_again(self):
        conflict = self.error(
            409, 'placement.concurrent_update', 'resource provider generation')
        self.answer(conflict, conflict)
        self.charge(SMALL, LARGE)
        self.assertEqual(LARGE, self.charged())

    def test_a_conflict_of_the_provider_for_ever(self):
        self.answer(*[self.error(
            409, 'placement.concurrent_update',
            'resource provider generation')] * 100)
        self.assertConflict('kept changing', SMALL, LARGE)
        self.assertEqual(SMALL, self.charged())

    def test_placement_is_away(self):
        self.answer(ks_exc.ConnectFailure('gone'))
        self.assertConflict('did not say whether', SMALL, LARGE)
        with mock.patch.object(
                self.client, 'get', side_effect=ks_exc.ConnectFailure):
            self.assertConflict('does not report', SMALL, LARGE)
        self.assertEqual(SMALL, self.charged())

    def test_a_proxy_answers_instead(self):
        for page in ('<html>', '["Maintenance"]', '"Maintenance"',
                     '{"errors": ["Maintenance"]}'):
            self.answer(fake_requests.FakeResponse(502, content=page))
            self.assertConflict('refused', SMALL, LARGE)
            self.assertEqual(SMALL, self.charged())

    def test_a_fault_of_ours_is_not_taken_for_no_answer(self):
        with mock.patch.object(
                allocation, '_has_other_parts', side_effect=TypeError):
            self.assertRaises(
                TypeError, allocation.create, self.context, self.client,
                self.instance, uuids.host)

    def test_charges_of_all_servers(self):
        self.allocate(uuids.neighbour, {uuids.host: LARGE})
        self.request('put', '/allocations/' + uuids.no_server, {
            'allocations': {uuids.host: {'resources': DISK}},
            'project_id': uuids.project, 'user_id': uuids.user,
            'consumer_generation': None})
        with mock.patch.object(
                self.client, 'get', wraps=self.client.get) as get:
            self.assertEqual(
                {uuids.server: SMALL, uuids.neighbour: LARGE},
                allocation.charges(self.context, self.client, uuids.host))
        get.assert_called_once()
