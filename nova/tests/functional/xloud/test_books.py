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

"""The books of a server beside others who write into its row."""

import datetime
from unittest import mock

from nova.api.metadata import password
from nova.compute import api as compute_api
from nova import exception
from nova import objects
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import base
from nova import utils
from nova.xloud import entries
from nova.xloud import size

GROWN = adjust_base.GROWN


class UnwrittenBooksTestCase(adjust_base.AdjustTestCase):
    """A server that is older than the series, whose flavor has minima."""

    def age(self, server, charge=base.MAXIMUM):
        """Nothing is written, and it has and holds this much."""
        with self.cell() as cell:
            instance = objects.Instance.get_by_uuid(
                cell, server['id'],
                expected_attrs=['flavor', 'system_metadata'])
            for key in [*entries.of(instance), entries.BOOKS]:
                del instance.system_metadata[key]
            instance.vcpus, instance.memory_mb = charge
            instance.launched_at -= datetime.timedelta(days=100)
            with mock.patch('nova.xloud.books.merge',
                            lambda _context, _row, new: new):
                instance.save()
        url = '/allocations/%s' % server['id']
        body = self.placement.get(url, version='1.28').body
        for allocation in body['allocations'].values():
            resources = allocation['resources']
            resources['VCPU'], resources['MEMORY_MB'] = charge
        self.placement.put(url, body, version='1.28')
        guest = self.driver.guests[server['id']]
        guest.held = guest.target = guest.config = charge
        self.compute = self.restart_compute_service(self.compute)
        self.driver.requests.clear()

    def test_nobody_asks_the_guest(self):
        self.age(self.server)
        for _ in range(3):
            self.reconcile()
            self.wait()
        self.assertEqual([], self.driver.requests)
        self.assert_books(base.MAXIMUM, base.MAXIMUM)
        # Its owner may.
        self.adjust(4, 4096)
        self.assert_books(size.Size(4, 4096), size.Size(4, 4096))

    def test_a_refused_growth_while_it_is_shut_off(self):
        """Its sizes follow from its charge, which a claim raises."""
        charge = size.Size(4, 4096)
        self._stop_server(self.server)
        self.age(self.server, charge)
        over = exception.TooManyInstances(
            overs='cores', req=1, used=1, allowed=1)
        with mock.patch('nova.xloud.quota.check', side_effect=[None, over]):
            self.api.api_post(
                '/os-xloud-adjust/' + self.server['id'],
                {'current_vcpus': 8}, check_response_status=[403])
        self.reconcile()
        instance = self.instance(self.server)
        for sizes in (size.desired, size.boot, size.charged):
            self.assertEqual(charge, sizes(instance))
        self.assert_charged(self.server, charge, 'host1')

    def test_its_flavor_says_what_is_allocated(self):
        """As Nova does when it heals or moves the server."""
        with self.cell() as cell:
            instance = objects.Instance.get_by_uuid(
                cell, self.server['id'], expected_attrs=['flavor'])
            flavor = instance.flavor
            flavor.extra_specs = dict(
                flavor.extra_specs, **{'resources:VCPU': '1'})
            instance.flavor = flavor
            instance.save()
        self.age(self.server)
        url = '/allocations/%s' % self.server['id']
        body = self.placement.get(url, version='1.28').body
        for allocation in body['allocations'].values():
            allocation['resources']['VCPU'] = 1
        self.placement.put(url, body, version='1.28')
        for _ in range(3):
            self.reconcile()
        self.assertEqual(
            {'host1': size.Size(1, base.MAXIMUM.memory_mb)},
            self.allocated(self.server['id']))
        instance = self.instance(self.server)
        self.assertEqual(base.MAXIMUM, size.charged(instance))
        self.assertIn(entries.BOOKS, instance.system_metadata)
        self.assertEqual('Settled', self.status()['condition'])
        with self.cell() as cell:
            self.compute.manager._elastic._executor.ledger.allocate(
                cell, instance, base.MAXIMUM, base.MINIMUM)
        self.assertEqual(
            {'host1': size.Size(1, base.MAXIMUM.memory_mb)},
            self.allocated(self.server['id']))

    def test_its_next_start_gives_what_it_had(self):
        self.age(self.server)
        self._stop_server(self.server)
        self.reconcile()
        self._start_server(self.server)
        self.reconcile()
        self.assert_books(base.MAXIMUM, base.MAXIMUM)
        self._reboot_server(self.server, hard=True)
        self.assert_books(base.MAXIMUM, base.MAXIMUM)

    def test_vcpus_that_were_started_without_a_list(self):
        self.age(self.server)
        self.guest.fixed_vcpus = base.MAXIMUM.vcpus
        (blocker,) = self.status()['blockers']
        self.assertEqual(('vcpus_fixed', 'vcpus'),
                         (blocker['code'], blocker['dimension']))
        before = self.books(self.server)
        message = self.api.api_post(
            '/os-xloud-adjust/' + self.server['id'], {'current_vcpus': 4},
            check_response_status=[409]).body['conflictingRequest']['message']
        self.assertTrue(message.endswith(blocker['message']), message)
        self.assertEqual(before, self.books(self.server))
        self.assertEqual([], self.driver.requests)
        # Its memory can change, and a client may send both.
        self.adjust(base.MAXIMUM.vcpus, 4096)
        self.assert_books(*[base.MAXIMUM._replace(memory_mb=4096)] * 2)

        self._reboot_server(self.server, hard=True)
        self.assertEqual([], self.status()['blockers'])
        self.adjust(4)
        self.assert_books(*[size.Size(4, 4096)] * 2)

    def pin(self, server, pinned):
        """Its host is charged these CPUs as pinned ones."""
        provider = self._get_provider_uuid_by_host('host1')
        url = '/resource_providers/%s/inventories' % provider
        inventories = self.placement.get(url, version='1.28').body
        inventories['inventories']['PCPU'] = dict(
            inventories['inventories']['VCPU'], total=16)
        self.placement.put(url, inventories, version='1.28')
        url = '/allocations/%s' % server['id']
        body = self.placement.get(url, version='1.28').body
        resources = body['allocations'][provider]['resources']
        resources['PCPU'] = pinned
        resources['VCPU'] -= pinned
        if not resources['VCPU']:
            del resources['VCPU']
        response = self.placement.put(url, body, version='1.28')
        self.assertEqual(204, response.status, response.body)
        return resources

    def test_pinned_cpus(self):
        self._test_pinned_cpus(base.MAXIMUM.vcpus, 'dedicated')

    def test_pinned_and_other_cpus(self):
        self._test_pinned_cpus(3, 'mixed')

    def _test_pinned_cpus(self, pinned, policy):
        self.age(self.server)
        resources = self.pin(self.server, pinned)
        with self.cell() as cell:
            instance = objects.Instance.get_by_uuid(
                cell, self.server['id'],
                expected_attrs=['flavor', 'system_metadata'])
            instance.flavor.extra_specs['hw:cpu_policy'] = policy
            instance.flavor.extra_specs['hw:cpu_dedicated_mask'] = '0-2'
            instance.save()
        for _ in range(3):
            self.reconcile()
            self.wait()
        self.assertEqual([], self.driver.requests)
        self.assertEqual(
            {self.host_uuid(): resources},
            {provider: allocation['resources'] for provider, allocation in
             self._get_allocations_by_server_uuid(
                 self.server['id']).items()})
        self.assertEqual(base.MAXIMUM,
                         size.charged(self.instance(self.server)))
        blocked = self.status()['blockers']
        self.assertEqual(
            [('incompatible', 'vcpus'), ('incompatible', 'memory_mb')],
            [(blocker['code'], blocker['dimension'])
             for blocker in blocked])
        for asked in ({'current_vcpus': 4}, {'current_memory_mb': 4096}):
            message = self.api.api_post(
                '/os-xloud-adjust/' + self.server['id'], asked,
                check_response_status=[409]
            ).body['conflictingRequest']['message']
            self.assertTrue(message.endswith(blocked[0]['message']))
        self.assertNotIn('Heal its', self.stdlog.logger.output)
        self.assertNotIn('are allocated on', self.stdlog.logger.output)

    def host_uuid(self):
        return self._get_provider_uuid_by_host('host1')

    def test_one_dimension(self):
        server = self.create_server(
            self.create_elastic_flavor(minimum=(None, 2048)))
        self.age(server)
        for _ in range(2):
            self.reconcile()
            self.wait()
        self.assertEqual([], self.driver.requests)
        self.assertEqual(base.MAXIMUM,
                         self.driver.guests[server['id']].held)
        self.assert_charged(server, base.MAXIMUM, 'host1')

    def test_a_resize_that_was_begun_before(self):
        self.start_host('host2')
        held = size.Size(4, 4096)
        self.server = self._resize_server(
            self.server, self.create_elastic_flavor(
                maximum=held, minimum=size.Size(1, 512)))
        with self.cell() as cell:
            instance = objects.Instance.get_by_uuid(
                cell, self.server['id'],
                expected_attrs=['flavor', 'system_metadata'])
            for key in [*entries.of(instance), entries.BOOKS]:
                del instance.system_metadata[key]
            instance.vcpus, instance.memory_mb = held
            with mock.patch('nova.xloud.books.merge',
                            lambda _context, _row, new: new):
                instance.save()
        migration = self.admin_api.api_get(
            '/os-migrations').body['migrations'][0]['uuid']
        for consumer, charge in ((self.server['id'], held),
                                 (migration, base.MAXIMUM)):
            url = '/allocations/%s' % consumer
            body = self.placement.get(url, version='1.28').body
            for allocation in body['allocations'].values():
                resources = allocation['resources']
                resources['VCPU'], resources['MEMORY_MB'] = charge
            self.placement.put(url, body, version='1.28')
        self._run_periodics()
        self.assert_used(host1=base.MAXIMUM, host2=held)
        self.server = self._revert_resize(self.server)
        self.reconcile()
        self.assert_books(base.MAXIMUM, base.MAXIMUM)

    def test_move_and_resize(self):
        self.age(self.server)
        self.start_host('host2')
        self.server = self._migrate_server(self.server)
        self.server = self._confirm_resize(self.server)
        self.assertEqual(base.MAXIMUM, size.boot(self.instance(self.server)))
        self.assert_charged(self.server, base.MAXIMUM, 'host2')


class OtherWritersTestCase(adjust_base.AdjustTestCase):

    def test_a_password_during_an_adjust(self):
        request = mock.Mock(method='POST', body=b'secret', content_length=6)
        ledger = self.compute.manager._elastic._executor.ledger
        allocate = ledger.allocate

        def post_password(*args, **kwargs):
            password.handle_password(request, mock.Mock(
                password=None, uuid=self.server['id']))
            return allocate(*args, **kwargs)

        with mock.patch.object(ledger, 'allocate', post_password):
            self.adjust(6, 6144)
        self.assert_books(GROWN, GROWN)
        self.assertEqual(
            'secret', password.extract_password(self.instance(self.server)))
        self.adjust(2, 2048)
        self.assertEqual(
            'secret', password.extract_password(self.instance(self.server)))

    def test_a_lock_that_was_begun_before_an_adjust(self):
        start = compute_api.API._record_action_start
        did = []

        def adjust_first(api, context, instance, action, **kwargs):
            if not did:
                did.append(action)
                self.adjust(6, 6144)
            return start(api, context, instance, action, **kwargs)

        with mock.patch.object(
                compute_api.API, '_record_action_start', adjust_first), \
                utils.temporary_mutation(
                    self.admin_api, microversion='2.73'):
            self.admin_api.post_server_action(
                self.server['id'], {'lock': {'locked_reason': 'x'}})
        self.assertEqual(['lock'], did)
        self.reconcile()
        self.assert_books(GROWN, GROWN)
        self.assertEqual('x', self.instance(
            self.server).system_metadata['locked_reason'])
