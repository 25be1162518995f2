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

import datetime
import time

import fixtures
from oslo_limit import fixture as limit_fixture
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils

from nova.compute import instance_actions
from nova import exception
from nova import objects
from nova.tests.functional.api import client
from nova.tests.functional.xloud import api_base
from nova.xloud import notes
from nova.xloud import size
from nova.xloud import traits

MINIMUM = api_base.MINIMUM


class AdjustTestCase(api_base.AdjustTestBase):
    """The table of answers, through HTTP."""

    def test_grow_and_shrink(self):
        server = self._create_elastic()
        body = {'current_vcpus': 4, 'current_memory_mb': 4096,
                'persist': True}
        status = self._post(server, body, 202)
        self.assertEqual([(4, 4096, True)], self.endpoint.adjusts)
        for word in ('current', 'desired', 'boot', 'allocated', 'actual'):
            self.assertEqual(4, status[word + '_vcpus'])
            self.assertEqual(4096, status[word + '_memory_mb'])
        self.assertEqual('Settled', status['condition'])
        self.assertEqual(status, self._status(server))

        status = self._adjust(server, current_vcpus=2)
        self.assertEqual((2, None, True), self.endpoint.adjusts[-1])
        self.assertEqual(2, status['desired_vcpus'])
        # Its release is not confirmed yet.
        self.assertEqual(4, status['allocated_vcpus'])
        self.assertEqual('InProgress', status['condition'])

    def test_persist(self):
        server = self._create_elastic()
        boot = 2
        for vcpus, (value, persist) in enumerate((
                ('false', False), (True, True), (False, False),
                ('1', True), ('off', False)), start=3):
            status = self._adjust(
                server, current_vcpus=str(vcpus), persist=value)
            self.assertEqual((vcpus, None, persist),
                             self.endpoint.adjusts[-1])
            boot = vcpus if persist else boot
            self.assertEqual(vcpus, status['desired_vcpus'])
            self.assertEqual(boot, status['boot_vcpus'])

    def test_malformed(self):
        # The body is refused before the server is looked for.
        for body in (
                None, [], 'x', 1, {}, {'persist': True},
                {'current_vcpus': None}, {'current_vcpus': 'four'},
                {'current_vcpus': 4.0}, {'current_vcpus': 4.5},
                {'current_vcpus': True}, {'current_vcpus': [4]},
                {'current_vcpus': ''}, {'current_vcpus': '-4'},
                {'current_vcpus': 0}, {'current_vcpus': -1},
                {'current_vcpus': '0'}, {'current_vcpus': 1 << 31},
                {'current_vcpus': '9' * 5000},
                {'current_memory_mb': 10 ** 30},
                {'current_memory_mb': '1e3'},
                {'current_vcpus': 4, 'persist': 'maybe'},
                {'current_vcpus': 4, 'persist': None},
                {'current_vcpus': 4, 'persist': 1},
                {'current_vcpus': 4, 'desired_vcpus': 4},
                {'xloud_adjust': {'current_vcpus': 4}}):
            self._post({'id': uuids.server}, body, 400)

    def test_outside_of_the_range(self):
        server = self._create_elastic()
        for body, bound in (({'current_vcpus': 1}, 'minimum of the server, 2'),
                            ({'current_vcpus': 9}, 'maximum of the server, 8'),
                            ({'current_memory_mb': 1023}, 'server, 1024'),
                            ({'current_memory_mb': 4097}, 'server, 4096'),
                            ({'current_vcpus': 4, 'current_memory_mb': 9999},
                             'server, 4096')):
            self._refuse(400, server, bound, body=body)

    def test_not_a_multiple_of_the_threads(self):
        server = self._create_elastic(**{'hw:cpu_threads': '2'})
        self.assertEqual(2, self._status(server)['vcpu_step'])
        self._refuse(400, server, 'hw:cpu_threads', body={'current_vcpus': 3})
        self._adjust(server, current_vcpus=4)

    def test_below_the_min_ram_of_the_image(self):
        server = self._create_elastic()
        instance = self._instance(server)
        instance.system_metadata['image_min_ram'] = '1500'
        instance.save()
        self._refuse(400, server, 'min_ram', body={'current_memory_mb': 1499})
        self._adjust(server, current_memory_mb=1500)

    def test_not_elastic(self):
        server = self._create()
        for body in ({'current_vcpus': 8}, {'current_memory_mb': 4096},
                     {'current_vcpus': 4, 'current_memory_mb': 2048}):
            self._refuse(400, server, 'no range', body=body)

    def test_not_elastic_in_a_dimension(self):
        server = self._create(minimum_cpu='2')
        for body in ({'current_memory_mb': 4096}, {'current_memory_mb': 2048},
                     {'current_vcpus': 4, 'current_memory_mb': 2048}):
            self._refuse(400, server, 'current_memory_mb', body=body)
        # Clients that send both sizes say what it has.
        self._adjust(server, current_vcpus=4, current_memory_mb=4096)

    def test_forbidden_by_policy(self):
        server = self._create_elastic()
        self.policy.set_rules(
            {'os_compute_api:xloud:adjust': 'rule:admin_api'},
            overwrite=False)
        self._refuse(403, server, 'os_compute_api:xloud:adjust')
        self._status(server)
        self._adjust(server, api=self.admin_api, current_vcpus=4)
        self.policy.set_rules(
            {'os_compute_api:xloud:show': 'rule:admin_api'}, overwrite=False)
        self._status(server, status=403)
        self._status(server, '/servers/%s/xloud-status', status=403)

    def test_quota(self):
        self._test_quota()

    def test_quota_counted_from_placement(self):
        self.flags(count_usage_from_placement=True, group='quota')
        self._test_quota()

    def _test_quota(self):
        server = self._create_elastic()
        other = self._create_elastic()
        self.flags(cores=7, ram=3000, group='quota')
        message = self._refuse(
            403, server, 'cores', body={'current_vcpus': 6})
        self.assertIn('Requested 4', message)
        self.assertIn('used 4 of 7', message)
        self._refuse(403, server, 'ram', body={'current_memory_mb': 2048})
        # Exactly what is left, and what is not grown is not counted.
        self.flags(ram=1, group='quota')
        self._adjust(server, current_vcpus=5, current_memory_mb=1024)
        self.flags(cores=1, group='quota')
        self._adjust(other, current_vcpus=2)

    def test_quota_is_that_of_the_owner(self):
        server = self._create_elastic()
        self.admin_api.project_id = 'admin'
        self.admin_api.api_put(
            '/os-quota-sets/%s' % self.api.project_id,
            {'quota_set': {'cores': 3}})
        self._refuse(403, server, 'cores', api=self.admin_api)
        self._adjust(server, api=self.admin_api, current_vcpus=3)

    def test_unified_limits(self):
        self.flags(driver='nova.quota.UnifiedLimitsDriver', group='quota')
        limits = {name: 1000 for name in (
            'server_metadata_items', 'server_injected_files',
            'server_injected_file_content_bytes',
            'server_injected_file_path_bytes', 'server_key_pairs',
            'server_groups', 'server_group_members', 'servers',
            'class:VCPU', 'class:MEMORY_MB', 'class:DISK_GB')}
        limits['class:MEMORY_MB'] = 1 << 20
        fixture = self.useFixture(limit_fixture.LimitFixture(limits, {}))
        server = self._create_elastic()
        # Limits of what does not grow are exceeded.
        fixture.reglimits.update(
            {'class:VCPU': 4, 'class:MEMORY_MB': 1, 'servers': 0,
             'class:DISK_GB': 0})
        self._refuse(403, server, 'class:VCPU', body={'current_vcpus': 5})
        self._refuse(403, server, 'class:MEMORY_MB',
                     body={'current_memory_mb': 1025})
        self._adjust(server, current_vcpus=4, current_memory_mb=1024)

    def test_no_such_server(self):
        for server_id in (uuids.server, 'x', '1'):
            self._adjust({'id': server_id}, 404, current_vcpus=4)
            self._status({'id': server_id}, status=404)
            self._status(
                {'id': server_id}, '/servers/%s/xloud-status', status=404)

    def test_server_of_another_project(self):
        server = self._create_elastic()
        stranger = client.TestOpenStackClient(
            'stranger', self.api.base_url, project_id=uuids.stranger)
        self._adjust(server, 404, api=stranger, current_vcpus=4)
        self._status(server, status=404, api=stranger)
        self.assertEqual([], self.endpoint.adjusts)

    def test_wrong_state(self):
        server = self._create_elastic()
        for vm_state in ('paused', 'suspended', 'rescued', 'error', 'shelved',
                         'resized', 'building', 'soft-delete'):
            instance = self._instance(server)
            instance.vm_state = vm_state
            instance.save()
            self._refuse(409, server, 'vm_state ' + vm_state)
            self._assert_blocked(server, 'wrong_state')

    def test_task_running(self):
        server = self._create_elastic()
        instance = self._instance(server)
        instance.task_state = 'migrating'
        instance.save()
        self._refuse(409, server, 'task_state migrating')
        self._assert_blocked(server, 'task_running')

    def test_locked(self):
        server = self._create_elastic()
        self.api.post_server_action(server['id'], {'lock': None})
        self._refuse(409, server, 'locked')
        self._assert_blocked(server, 'locked')
        self.assertEqual(
            [], self._status(server, api=self.admin_api)['blockers'])
        self._adjust(server, api=self.admin_api, current_vcpus=4)

    def test_stopped_server(self):
        server = self._create_elastic()
        self._stop_server(server)
        self.endpoint.actual = size.Size(0, 0)
        self._refuse(409, server, 'persist',
                     body={'current_vcpus': 4, 'persist': False})
        status = self._status(server)
        self.assertEqual(2, status['current_vcpus'])
        self.assertEqual(0, status['actual_vcpus'])
        self.assertEqual('Settled', status['condition'])
        self.assertEqual([], status['blockers'])
        self._adjust(server, current_vcpus=4)
        self.endpoint.actual = size.Size(0, 0)
        status = self._status(server)
        self.assertEqual(4, status['boot_vcpus'])
        self.assertEqual(4, status['current_vcpus'])

    def test_host_down(self):
        server = self._create_elastic()
        self.admin_api.microversion = '2.11'
        self.admin_api.force_down_service('compute', 'nova-compute', True)
        self._refuse(409, server, 'is down')
        self.assertEqual(0, self.endpoint.questions)
        self._assert_unknown(server, 'host_down')
        self.assertEqual(0, self.endpoint.questions)

    def test_host_not_upgraded(self):
        server = self._create_elastic()
        self.endpoints[:] = [
            endpoint for endpoint in self.endpoints
            if getattr(endpoint, 'target', None) is None or
            endpoint.target.namespace != 'xloud']
        self._refuse(409, server, 'not upgraded')
        self._assert_unknown(server, 'host_not_upgraded')

    def test_host_without_trait(self):
        server = self._create_elastic()
        self._report(traits.ELASTIC_VCPU)
        self._refuse(409, server, 'cannot change it',
                     body={'current_memory_mb': 2048})
        self._assert_blocked(server, 'host_cannot', ['memory_mb'])
        self._adjust(server, current_vcpus=4)
        self._report(traits.ELASTIC_MEMORY)
        self._refuse(409, server, 'cannot change it')
        self._assert_blocked(server, 'host_cannot', ['vcpus'])
        self._adjust(server, current_memory_mb=2048)
        # Clients send both sizes, including the one that stays.
        self._adjust(server, current_vcpus=4, current_memory_mb=3072)

    def test_host_cannot(self):
        server = self._create_elastic()
        self.endpoint.error = NotImplementedError()
        self._refuse(409, server, 'cannot change it')
        self._assert_unknown(server, 'host_cannot')

    def test_host_does_not_answer(self):
        server = self._create_elastic()
        self.flags(long_rpc_timeout=1)
        self.endpoint.delay = 2
        self._refuse(409, server, 'did not answer in time')
        self.assertEqual(1, len(self.endpoint.adjusts))
        # What was refused does not happen later.
        time.sleep(3)
        self.assertEqual(MINIMUM, self.endpoint.actual)
        self.assertEqual(2, self._status(server)['desired_vcpus'])

    def test_placement_does_not_answer(self):
        server = self._create_elastic()
        self.useFixture(fixtures.MockPatch(
            'nova.scheduler.client.report.SchedulerReportClient.'
            'get_provider_traits',
            side_effect=exception.ResourceProviderTraitRetrievalFailed(
                uuid=uuids.rp)))
        self._refuse(409, server, 'Placement did not say')
        self._assert_blocked(server, 'host_unknown')

    def test_refused_by_the_host(self):
        server = self._create_elastic()
        for kind in (exception.ElasticNoRoom, exception.ElasticConflict):
            self.endpoint.error = kind(
                instance_uuid=server['id'], reason='the host knows why')
            self._refuse(409, server, 'the host knows why')

    def test_memory_pinned(self):
        server = self._create_elastic()
        instance = self._instance(server)
        instance.pci_requests.requests.append(objects.InstancePCIRequest(
            count=1, spec=[{}], request_id=uuids.request))
        instance.pci_requests.instance_uuid = instance.uuid
        instance.save()
        self._refuse(409, server, 'pins the memory',
                     body={'current_memory_mb': 2048})
        self._refuse(409, server, 'pins the memory',
                     body={'current_memory_mb': 2048, 'current_vcpus': 4})
        self._assert_blocked(server, 'memory_pinned', ['memory_mb'])
        # The vCPUs can change, also if the memory that it has is sent too.
        self._adjust(server, current_vcpus=4, current_memory_mb=1024)

    def test_memory_pinned_as_the_host_says(self):
        server = self._create_elastic()
        self.endpoint.pinned = True
        self._assert_blocked(server, 'memory_pinned', ['memory_mb'])

    def test_guest_without_balloon(self):
        server = self._create_elastic()
        self.endpoint.balloon = False
        self._assert_blocked(server, 'no_balloon_statistics', ['memory_mb'])
        self.assertFalse(self._status(server)['balloon_driver_active'])

    def _assert_blocked(self, server, code, dimensions=('memory_mb', 'vcpus')):
        status = self._status(server)
        self.assertEqual(
            sorted((code, dimension) for dimension in dimensions),
            sorted((blocker['code'], blocker['dimension'])
                   for blocker in status['blockers']))
        return status

    def _assert_unknown(self, server, code):
        status = self._assert_blocked(server, code)
        self.assertEqual('Unknown', status['condition'])
        self.assertIsNone(status['actual_vcpus'])
        self.assertIsNone(status['actual_memory_mb'])
        # What was asked for stands in for what the host does not say.
        self.assertEqual(2, status['current_vcpus'])
        self.assertEqual(1024, status['current_memory_mb'])

    def test_action(self):
        server = self._create_elastic()
        self._adjust(server, current_vcpus=4)
        self._refuse(400, server, 'maximum', body={'current_vcpus': 9})
        self.endpoint.error = exception.ElasticNoRoom(
            instance_uuid=server['id'], reason='full')
        self._adjust(server, 409, current_vcpus=6)
        actions = [
            action for action in self.api.get_instance_actions(server['id'])
            if action['action'] == instance_actions.XLOUD_ADJUST]
        # The newest is the first. What nova-api refuses is none.
        self.assertEqual(
            ['Error', 'desired 2 vCPUs, 1024 MiB -> 4 vCPUs, 1024 MiB; '
             'boot 2 vCPUs, 1024 MiB -> 4 vCPUs, 1024 MiB; '
             'charged 2 vCPUs, 1024 MiB -> 4 vCPUs, 1024 MiB'],
            [action['message'] for action in actions])
        for action, result, details in zip(
                actions, ('Error', 'Success'), ('full', None)):
            action = self.admin_api.api_get(
                '/servers/%s/os-instance-actions/%s' % (
                    server['id'], action['request_id'])
            ).body['instanceAction']
            (event,) = [event for event in action['events']
                        if event['event'] == 'api_xloud_adjust']
            self.assertEqual(result, event['result'])
            self.assertIsNone(event['traceback'])
            if details:
                self.assertIn(details, event['details'])


class StatusTestCase(api_base.AdjustTestBase):

    def test_elastic(self):
        server = self._create_elastic()
        expected = {
            'current_vcpus': 2, 'current_memory_mb': 1024,
            'min_vcpus': 2, 'min_memory_mb': 1024,
            'max_vcpus': 8, 'max_memory_mb': 4096,
            'balloon_driver_active': True, 'attached_dimms_mb': 0,
            'has_virtiomem': False,
            'desired_vcpus': 2, 'desired_memory_mb': 1024,
            'boot_vcpus': 2, 'boot_memory_mb': 1024,
            'allocated_vcpus': 2, 'allocated_memory_mb': 1024,
            'actual_vcpus': 2, 'actual_memory_mb': 1024,
            'online_vcpus': None,
            'vcpu_step': 1, 'condition': 'Settled', 'reason': None,
            'blockers': [],
        }
        for microversion in (None, '2.1', 'latest'):
            self.api.microversion = microversion
            for url in ('/os-xloud-adjust/%s', '/servers/%s/xloud-status'):
                self.assertEqual(expected, self._status(server, url))

    def test_not_elastic(self):
        server = self._create()
        status = self._status(server)
        self.assertEqual(0, self.endpoint.questions)
        for word in ('min', 'max', 'current', 'desired', 'boot', 'allocated'):
            self.assertEqual(8, status[word + '_vcpus'])
            self.assertEqual(4096, status[word + '_memory_mb'])
        self.assertIsNone(status['actual_vcpus'])
        self.assertEqual('Settled', status['condition'])
        self.assertEqual(
            [('not_elastic', 'vcpus'), ('not_elastic', 'memory_mb')],
            [(blocker['code'], blocker['dimension'])
             for blocker in status['blockers']])

    def test_elastic_in_one_dimension(self):
        server = self._create(minimum_memory='1024')
        self._charge(server, size.Size(8, 1024))
        self.endpoint.actual = size.Size(8, 1024)
        status = self._status(server)
        self.assertEqual((8, 8), (status['min_vcpus'], status['max_vcpus']))
        self.assertEqual(1024, status['min_memory_mb'])
        self.assertEqual('Settled', status['condition'])
        self.assertEqual(['vcpus'], [blocker['dimension']
                                     for blocker in status['blockers']])

    def test_start(self):
        # A guest holds its maximum until its balloon driver is loaded.
        server = self._create_elastic()
        self.endpoint.actual = MINIMUM._replace(memory_mb=4096)
        instance = self._instance(server)
        # It was asked to change after that.
        notes.mark_changed(
            instance, timeutils.utcnow() + datetime.timedelta(seconds=1))
        notes.note_settling(instance, True)
        instance.save()
        status = self._status(server)
        self.assertEqual('InProgress', status['condition'])
        self.assertEqual(4096, status['current_memory_mb'])
        self.assertEqual(1024, status['desired_memory_mb'])
        self.useFixture(fixtures.MockPatch(
            'nova.xloud.situation.is_waiting', return_value=False))
        status = self._status(server)
        self.assertEqual('Overcommitted', status['condition'])
        self.assertIn('4096', status['reason'])

    def test_partial(self):
        server = self._create_elastic()
        instance = self._instance(server)
        notes.set_outcome(instance, 'Partial', 'the guest kept it')
        instance.save()
        status = self._status(server)
        self.assertEqual('Partial', status['condition'])
        self.assertEqual('the guest kept it', status['reason'])

    def test_hypervisor_does_not_answer(self):
        server = self._create_elastic()
        self.endpoint.actual = None
        status = self._status(server)
        self.assertEqual('Unknown', status['condition'])
        self.assertEqual({'host_silent'}, {
            blocker['code'] for blocker in status['blockers']})

    def test_host_does_not_answer(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.xloud.rpcapi.STATE_TIMEOUT', 1))
        server = self._create_elastic()
        self.endpoint._state = lambda: time.sleep(2)
        status = self._status(server)
        self.assertEqual('Unknown', status['condition'])
        self.assertIsNone(status['actual_memory_mb'])
        self.assertEqual({'host_silent'}, {
            blocker['code'] for blocker in status['blockers']})

    def test_shelved_offloaded(self):
        server = self._create_elastic()
        self._shelve_server(server)
        self._refuse(409, server, 'vm_state shelved_offloaded')
        asked = self.endpoint.questions
        status = self._status(server)
        self.assertEqual(asked, self.endpoint.questions)
        self.assertEqual('Settled', status['condition'])
        self.assertEqual(0, status['actual_vcpus'])
        self.assertEqual(2, status['current_vcpus'])
        self.assertEqual({'wrong_state'}, {
            blocker['code'] for blocker in status['blockers']})
