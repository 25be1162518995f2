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

"""Each answer to an adjust, through HTTP and from a real compute service.

What is refused has changed nothing: not the books, the allocation or the
guest.
"""

import datetime
from unittest import mock

import fixtures
from keystoneauth1 import exceptions as ks_exc
from openstack import exceptions as sdk_exc
from oslo_limit import exception as limit_exceptions
from oslo_limit import fixture as limit_fixture
from oslo_messaging._drivers import impl_fake
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils
from placement import db_api as placement_db
import sqlalchemy

import nova.conf
from nova import exception
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import answers_base
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import scripted
from nova.tests.unit import fake_requests
from nova.tests.unit.xloud import broker
from nova import utils
from nova.xloud import rpcapi
from nova.xloud import size
from nova.xloud import traits

CONF = nova.conf.CONF
GROWN = adjust_base.GROWN


class AcceptedTestCase(answers_base.AnswersBase):

    def test_grow_and_shrink(self):
        status = self.post(202, current_vcpus=6, current_memory_mb=6144,
                           persist=True)
        for word in ('current', 'desired', 'boot', 'allocated', 'actual'):
            self.assertEqual(6, status[word + '_vcpus'], word)
            self.assertEqual(6144, status[word + '_memory_mb'], word)
        self.assertEqual(('Settled', None, [], True), (
            status['condition'], status['reason'], status['blockers'],
            status['balloon_driver_active']))
        self.assertEqual(status, self.get())
        self.assertEqual(status, self.get(url='/servers/%s/xloud-status'))
        self.assert_books(GROWN, GROWN)

        status = self.post(202, current_vcpus='2', current_memory_mb='2048',
                           persist='false')
        self.assertEqual(
            (2, 2, 6, 6, 'Settled'),
            tuple(status[key] for key in (
                'current_vcpus', 'desired_vcpus', 'boot_vcpus',
                'allocated_vcpus', 'condition')))
        self.assert_books(base.MINIMUM, GROWN)

    def test_late_and_lost(self):
        self.guest.behaviour = scripted.LATE
        status = self.post(202, current_vcpus=6, current_memory_mb=6144)
        self.assertEqual(
            ('InProgress', 2, 6, 6),
            tuple(status[key] for key in (
                'condition', 'actual_vcpus', 'desired_vcpus',
                'allocated_vcpus')))
        self.guest.follow()
        self.reconcile()
        self.assertEqual('Settled', self.get()['condition'])

        self.guest.behaviour = scripted.LOST
        status = self.post(202, current_vcpus=2, current_memory_mb=2048)
        self.assertEqual('InProgress', status['condition'])
        self.wait()
        self.reconcile()
        status = self.get()
        self.assertEqual('Partial', status['condition'])
        self.assertIn('did not give back', status['reason'])
        self.assertEqual(
            6, status['allocated_vcpus'])
        self.guest.behaviour = scripted.OBEDIENT
        self.assertEqual(
            'Settled', self.post(202, current_vcpus=3)['condition'])

    def test_overcommitted(self):
        other = self.create_server(self.create_elastic_flavor(
            maximum=size.Size(8, 28672), minimum=size.Size(2, 28672)))
        self.driver.starts_with_balloon = False
        self._reboot_server(self.server, hard=True)
        self.assertEqual('InProgress', self.get()['condition'])
        self.useFixture(fixtures.MockPatch(
            'nova.xloud.situation.is_waiting', return_value=False))
        self.reconcile()
        status = self.get()
        self.assertEqual('Overcommitted', status['condition'])
        self.assertIn('no room', status['reason'])
        self.assertEqual(8192, status['current_memory_mb'])
        self._delete_server(other)
        self.reconcile()
        self.assertEqual('Partial', self.get()['condition'])

    def test_every_microversion(self):
        self.post(202, current_vcpus=4)
        expected = self.get()
        for microversion in (None, '2.1', '2.2', '2.35', '2.37', '2.46',
                             '2.56', '2.86', '2.87', 'latest'):
            self.owner.microversion = microversion
            self.assertEqual(expected, self.post(
                202, current_vcpus=4, current_memory_mb=2048), microversion)
            for url in ('/os-xloud-adjust/%s', '/servers/%s/xloud-status'):
                self.assertEqual(expected, self.get(url=url), microversion)
            self.refuse(400, 'maximum', current_vcpus=9)

    def test_shut_off(self):
        self._stop_server(self.server)
        self.refuse(409, 'persist', current_vcpus=6, persist=False)
        status = self.post(202, current_vcpus=6, current_memory_mb=6144)
        self.assertEqual(
            ('Settled', 6, 6, 6, 0, []),
            tuple(status[key] for key in (
                'condition', 'current_vcpus', 'boot_vcpus',
                'allocated_vcpus', 'actual_vcpus', 'blockers')))
        self._start_server(self.server)
        self.assert_books(GROWN, GROWN)
        self.assertEqual(6, self.get()['actual_vcpus'])


class RefusedTestCase(answers_base.AnswersBase):

    def test_bad_request(self):
        for body in ({}, {'persist': True}, {'current_vcpus': 'four'},
                     {'current_vcpus': 4.5}, {'current_vcpus': None},
                     {'current_vcpus': True}, {'current_memory_mb': 1 << 31},
                     {'current_vcpus': 4, 'vcpus': 4},
                     {'current_vcpus': 4, 'persist': 'maybe'}):
            self.refuse(400, '', **(body or {'xloud': {}}))
        for text, body in (
                ('minimum of the server, 2', {'current_vcpus': 1}),
                ('maximum of the server, 8', {'current_vcpus': 9}),
                ('minimum of the server, 2048', {'current_memory_mb': 2047}),
                ('maximum of the server, 8192', {'current_memory_mb': 8193}),
                ('maximum', {'current_vcpus': 4, 'current_memory_mb': 8193}),
                ('minimum', {'current_vcpus': 1, 'current_memory_mb': 4096})):
            self.refuse(400, text, **body)

        threads = self.create_server(self.create_elastic_flavor(
            extra_specs={'hw:cpu_threads': '2'}))
        self.refuse(400, 'multiple of the 2 threads', threads,
                    current_vcpus=3)
        self.post(202, threads, current_vcpus=4)

    def test_bad_request_in_a_fixed_dimension(self):
        plain = self.create_server(
            self._create_flavor(vcpu=4, memory_mb=2048))
        only_vcpus = self.create_server(
            self.create_elastic_flavor(minimum=(2, None)))
        self.refuse(400, 'current_vcpus cannot change', plain,
                    current_vcpus=4)
        self.refuse(400, 'current_memory_mb cannot change', only_vcpus,
                    current_vcpus=4, current_memory_mb=4096)
        # Clients that send both sizes say what it has.
        self.post(202, only_vcpus, current_vcpus=4, current_memory_mb=8192)
        self.assert_charged(only_vcpus, size.Size(4, 8192), 'host1')
        self.assertEqual({'host1': size.Size(4, 2048)},
                         self.allocated(plain['id']))

    def test_not_found(self):
        for roles in (['reader'], ['reader', 'member']):
            stranger = self.client('stranger', uuids.strangers, roles)
            self.refuse(404, 'could not be found', api=stranger)
            self.get(404, api=stranger)
            self.get(404, api=stranger, url='/servers/%s/xloud-status')
        for server_id in (uuids.nobody, 'x'):
            self.post(404, {'id': server_id}, current_vcpus=4)
            self.get(404, {'id': server_id})
        self._delete_server(self.server)
        self.post(404, current_vcpus=4)
        self.get(404)

    def test_over_quota(self):
        """The quota of the owner, also if an administrator calls."""
        admin = self.client('admin', uuids.admins, ['admin'])
        other = self.create_server(self.create_elastic_flavor(), api=admin)
        self.assertEqual(uuids.admins, self.instance(other).project_id)

        def check(what):
            for api in (self.owner, admin):
                self.refuse(403, what[0], api=api, current_vcpus=5)
                self.refuse(403, what[1], api=api, current_memory_mb=5120)
                # What is left is given, and can be given back.
                self.post(202, api=api, current_vcpus=4,
                          current_memory_mb=4096)
                self.post(202, api=api, current_vcpus=2,
                          current_memory_mb=2048)

        self.flags(cores=4, ram=4096, group='quota')
        check(('cores', 'ram'))
        self.flags(count_usage_from_placement=True, group='quota')
        check(('cores', 'ram'))
        # It counts what is charged: more for the next start is more.
        self.post(202, current_vcpus=4)
        self.post(202, current_vcpus=2, persist=False)
        self.post(202, current_vcpus=4, persist=False)
        self.post(202, current_vcpus=2)

        self.flags(driver='nova.quota.UnifiedLimitsDriver', group='quota')
        self.useFixture(limit_fixture.LimitFixture(
            {'class:VCPU': 4, 'class:MEMORY_MB': 4096, 'servers': 0,
             'class:DISK_GB': 0}, {}))
        check(('class:VCPU', 'class:MEMORY_MB'))

    def test_quota_is_not_known(self):
        """Whoever counts, or has the limits, does not answer."""
        def fail(*args, **kwargs):
            raise errors.pop(0)

        text = 'the quota of its project cannot be checked'
        self.post(202, current_vcpus=2)
        self.flags(count_usage_from_placement=True, group='quota')
        errors = [ks_exc.ConnectFailure('by the test')]
        with fixtures.MonkeyPatch(
                'nova.scheduler.client.report.SchedulerReportClient'
                '._get_usages', fail):
            self.refuse(409, text)
            # What it gives back needs no quota.
            self.post(202, current_vcpus=2)

        # The second time, the growth is charged already.
        check = 'nova.objects.Quotas.check_deltas'
        errors = [exception.UsagesRetrievalFailed(
            project_id='x', user_id='y')]
        with fixtures.MonkeyPatch(check, lambda *args, **kwargs: (
                self.allocated(self.server['id'])['host1'].vcpus == 2 or
                fail())):
            self.refuse(409, text)

        self.flags(driver='nova.quota.UnifiedLimitsDriver', group='quota')
        for error in (limit_exceptions.SessionInitError('by the test'),
                      sdk_exc.HttpException('by the test'),
                      ks_exc.ServiceUnavailable()):
            errors = [error]
            with fixtures.MonkeyPatch('oslo_limit.limit.Enforcer', fail):
                self.refuse(409, text)

    def test_a_proxy_answers_for_placement(self):
        """With a page of its own, which says that all is well."""
        self._check_answer_of_proxy('<html>Maintenance</html>')

    def test_a_proxy_answers_for_placement_with_json(self):
        for page in ('{"message": "Maintenance"}', '["Maintenance"]',
                     '"Maintenance"', 'null', '{"allocations": null}'):
            self._check_answer_of_proxy(page)

    def _check_answer_of_proxy(self, page):
        self.adjust(4, 4096)
        self.guest.behaviour = scripted.LOST
        self.adjust(memory_mb=2048)
        self.guest.behaviour = scripted.OBEDIENT
        traits._known.clear()
        self.flags(count_usage_from_placement=True, group='quota')
        with fixtures.MonkeyPatch(
                'nova.scheduler.client.report.SchedulerReportClient.get',
                mock.Mock(return_value=fake_requests.FakeResponse(
                    200, content=page))):
            self.assert_blocked('host_unknown')
            self.assertIn('Placement did not say', self.post(
                409, current_vcpus=6))
            with fixtures.MonkeyPatch(
                    'nova.xloud.blockers.of_host', mock.Mock(return_value=[])):
                self.assertIn('the quota of its project', self.post(
                    409, current_vcpus=6))
                self.assertIn('Placement does not report', self.post(
                    409, current_vcpus=3))
            # A pass does for each server what it can.
            self.reconcile()
            self.assertEqual(size.Size(4, 2048), self.guest.held)
        self.reconcile()
        self.assert_charged(self.server, size.Size(4, 2048), 'host1')

    def test_wrong_state(self):
        for action, state, back in (('pause', 'paused', 'unpause'),
                                    ('suspend', 'suspended', 'resume'),
                                    ('rescue', 'rescued', 'unrescue')):
            self.action(action)
            self._wait_for_server_parameter(
                self.server, {'OS-EXT-STS:vm_state': state,
                              'OS-EXT-STS:task_state': None})
            self.refuse(409, 'vm_state ' + state)
            self.assert_blocked('wrong_state')
            self.action(back)
            self._wait_for_state_change(self.server, 'ACTIVE')
        self.start_host('host2')
        self.action('migrate')
        self._wait_for_state_change(self.server, 'VERIFY_RESIZE')
        self.refuse(409, 'vm_state resized')
        self._revert_resize(self.server)
        self.post(202, current_vcpus=4)
        self._shelve_server(self.server)
        message = self.post(409, current_vcpus=6)
        self.assertIn('vm_state shelved_offloaded', message)
        self.assertEqual('Settled', self.assert_blocked(
            'wrong_state')['condition'])

    def test_task_running_or_locked(self):
        instance = self.instance(self.server)
        instance.task_state = 'image_snapshot'
        instance.save()
        self.refuse(409, 'task_state image_snapshot')
        self.assert_blocked('task_running')
        instance.task_state = None
        instance.save()

        self.owner.post_server_action(self.server['id'], {'lock': None})
        self.refuse(409, 'locked')
        self.assert_blocked('locked')
        self.post(202, api=self.admin_api, current_vcpus=4)

    def test_host_down(self):
        with utils.temporary_mutation(self.admin_api, microversion='2.11'):
            self.admin_api.force_down_service(
                'host1', 'nova-compute', True)
        self.refuse(409, 'is down')
        status = self.assert_blocked('host_down')
        self.assertEqual(('Unknown', None, 2), (
            status['condition'], status['actual_vcpus'],
            status['current_vcpus']))

    def test_host_cannot(self):
        rp_uuid = self._get_provider_uuid_by_host('host1')
        others = [trait for trait in self._get_provider_traits(rp_uuid)
                  if trait != traits.ELASTIC_MEMORY]
        self._set_provider_traits(rp_uuid, others)
        self.refuse(409, 'cannot change it', current_memory_mb=4096)
        self.assert_blocked('host_cannot', ['memory_mb'])
        # A driver that reports it and does not have it.
        self._set_provider_traits(rp_uuid, others + [traits.ELASTIC_MEMORY])
        self.useFixture(fixtures.MockPatchObject(
            self.driver, 'get_elastic_guests',
            side_effect=NotImplementedError))
        self.refuse(409, 'cannot change it')
        self.assertEqual(
            'Unknown', self.assert_blocked('host_cannot')['condition'])

    def test_hypervisor_away(self):
        self.driver.is_away = True
        self.refuse(409, 'hypervisor does not answer')
        self.assertEqual(
            'Unknown', self.assert_blocked('host_silent')['condition'])

    def test_no_room(self):
        self.create_server(self.create_elastic_flavor(
            maximum=size.Size(2, 28672), minimum=size.Size(2, 28672)))
        self.refuse(409, 'No room on the host', current_vcpus=6,
                    current_memory_mb=6144)
        # Its memory may grow by the rest.
        self.post(202, current_memory_mb=3584)

    def test_memory_of_the_guest(self):
        self.post(202, current_memory_mb=6144)
        self.guest.used_mb = 4000
        self.refuse(409, '4128 MiB is the least', current_memory_mb=4096)
        self.guest.has_balloon = False
        self.refuse(409, 'no memory statistics', current_memory_mb=4096)
        self.assert_blocked('no_balloon_statistics', ['memory_mb'])
        self.post(202, current_vcpus=4)
        self.guest.has_balloon = True
        self.guest.memory_pinned = True
        self.refuse(409, 'passed-through', current_memory_mb=8192)
        self.assert_blocked('memory_pinned', ['memory_mb'])
        # As nova knows it, without the hypervisor.
        self.guest.memory_pinned = False
        instance = self.instance(self.server)
        instance.pci_requests = objects.InstancePCIRequests(
            instance_uuid=instance.uuid, requests=[
                objects.InstancePCIRequest(
                    count=1, spec=[{}], request_id=uuids.request)])
        instance.save()
        self.refuse(409, 'pins the memory', current_memory_mb=8192)

    def test_guest_refuses(self):
        for behaviour, text in (
                (scripted.REFUSING, 'would rather not'),
                (scripted.FAILING, 'hypervisor failed')):
            self.guest.behaviour = behaviour
            message = self.post(409, current_vcpus=6, current_memory_mb=6144)
            self.assertIn(text, message)
            self.assertIn('undo', message)
            self.guest.behaviour = scripted.OBEDIENT
            self.reconcile()
            self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_not_upgraded(self):
        answers_base.forget_namespace(self.compute)
        self.refuse(409, 'not upgraded')
        self.assertEqual(
            'Unknown', self.assert_blocked('host_not_upgraded')['condition'])


class PolicyTestCase(answers_base.AnswersBase):

    def setUp(self):
        # As nova sets them. Other tests leave something else behind.
        self.flags(enforce_new_defaults=True, group='oslo_policy')
        if 'enforce_scope' in CONF.oslo_policy:    # until 33.0.0
            self.flags(enforce_scope=True, group='oslo_policy')
        super().setUp()

    def test_forbidden(self):
        reader = self.client('reader', roles=['reader'])
        other = self.client('other', roles=['other'])
        for api in (reader, other):
            self.refuse(403, 'os_compute_api:xloud:adjust', api=api)
        self.get(api=reader)
        self.assertIn('os_compute_api:xloud:show', self.get(403, api=other))
        for api in (self.client('other member'), self.admin_api,
                    self.client('admin', uuids.admins, ['admin'])):
            self.post(202, api=api, current_vcpus=4)
            self.get(api=api)
            self.post(202, api=api, current_vcpus=2)


class BrokerTestCase(answers_base.AnswersBase):
    """The answers for which an exception crosses a message broker."""

    def setUp(self):
        super().setUp()
        # The in-process transport hands over the exception itself.
        reply = impl_fake.FakeIncomingMessage.reply

        def serialized(message, result=None, failure=None):
            if failure:
                failure = None, broker.as_received(failure[1]), None
            reply(message, result, failure)

        self.useFixture(fixtures.MonkeyPatch(
            'oslo_messaging._drivers.impl_fake.FakeIncomingMessage.reply',
            serialized))

    def test_answers(self):
        self.post(202, current_vcpus=6, current_memory_mb=6144)
        self.guest.used_mb = 6000
        self.refuse(409, '6128 MiB is the least', current_memory_mb=4096)
        self.create_server(self.create_elastic_flavor(
            maximum=size.Size(2, 25600), minimum=size.Size(2, 25600)))
        self.refuse(409, 'No room on the host', current_memory_mb=8192)
        self.driver.is_away = True
        self.refuse(409, 'hypervisor does not answer')
        self.assert_blocked('host_silent')
        self.driver.is_away = False
        self.guest.behaviour = scripted.REFUSING
        self.assertIn('would rather not', self.post(409, current_vcpus=7))
        with fixtures.MockPatchObject(
                self.driver, 'get_elastic_guests',
                side_effect=NotImplementedError):
            self.refuse(409, 'cannot change it')
            self.assert_blocked('host_cannot')
        answers_base.forget_namespace(self.compute)
        self.refuse(409, 'not upgraded')
        self.assertEqual(
            'Unknown', self.assert_blocked('host_not_upgraded')['condition'])

    def test_deleted_meanwhile(self):
        with self.cell() as cell:
            instance = objects.Instance.get_by_uuid(
                cell, self.server['id'], expected_attrs=[
                    'flavor', 'system_metadata', 'info_cache', 'services'])
        self._delete_server(self.server)
        self.useFixture(fixtures.MockPatch(
            'nova.compute.api.API.get', return_value=instance))
        self.assertIn('could not be found', self.post(404, current_vcpus=4))
        self.assert_nothing_left(self.server['id'])


class TracesTestCase(answers_base.AnswersBase):
    """What an adjust leaves for those who look later."""

    def events(self, api):
        """(event, result, details) of each adjust, the newest first."""
        actions = [
            action for action in api.get_instance_actions(self.server['id'])
            if action['action'] == 'xloud_adjust']
        return [
            (action['message'], sorted(
                (event['event'], event['result'], event.get('details'))
                for event in api.api_get(
                    '/servers/%s/os-instance-actions/%s' % (
                        self.server['id'], action['request_id'])
                ).body['instanceAction']['events']))
            for action in actions]

    def test_instance_actions(self):
        self.post(202, current_vcpus=4)
        # Refused before anything is recorded.
        self.post(400, current_vcpus=9)
        self.guest.used_mb = 2000
        self.post(202, current_memory_mb=4096)
        self.post(202, current_vcpus=6, persist=False)
        self.post(409, current_memory_mb=2100)
        self.guest.behaviour = scripted.REFUSING
        self.post(409, current_vcpus=7)
        found = self.events(self.admin_api)
        self.assertEqual([
            'Error', 'Error',
            'desired 4 vCPUs, 4096 MiB -> 6 vCPUs, 4096 MiB; '
            'charged 4 vCPUs, 4096 MiB -> 6 vCPUs, 4096 MiB',
            '; '.join(word + ' 4 vCPUs, 2048 MiB -> 4 vCPUs, 4096 MiB'
                      for word in ('desired', 'boot', 'charged')),
            '; '.join(word + ' 2 vCPUs, 2048 MiB -> 4 vCPUs, 2048 MiB'
                      for word in ('desired', 'boot', 'charged'))],
            [message for message, _events in found])
        for (_message, events), text in zip(
                found, ('rather not', '2128 MiB is the least', None, None,
                        None)):
            result = 'Error' if text else 'Success'
            self.assertEqual(
                [('api_xloud_adjust', result), ('compute_adjust', result)],
                [event[:2] for event in events])
            for _name, _result, details in events:
                self.assertIn(text or '', details or '')
        # The owner sees the sizes as well.
        self.assertEqual([message for message, _events in found], [
            message for message, _events in self.events(self.owner)])

    def test_instance_actions_of_a_growth_that_is_given_up(self):
        """Before the compute has begun with it."""
        self.create_server(self.create_elastic_flavor(
            maximum=size.Size(2, 28672), minimum=size.Size(2, 28672)))
        self.post(409, current_memory_mb=6144)
        with mock.patch('nova.xloud.quota.check', side_effect=[
                None, exception.TooManyInstances(
                    overs='cores', req=1, used=1, allowed=1)]):
            self.post(403, current_vcpus=4)
        found = self.events(self.admin_api)
        self.assertEqual(['Error', 'Error'], [
            message for message, _events in found])
        for (_message, events), text in zip(
                found, ('Quota exceeded', 'No room on the host')):
            ((name, result, details),) = events
            self.assertEqual(('api_xloud_adjust', 'Error'), (name, result))
            self.assertIn(text, details)

    def test_refusals_are_no_faults(self):
        self.guest.used_mb = 2000
        self.post(202, current_memory_mb=4096)
        self.post(409, current_memory_mb=2100)
        self.guest.behaviour = scripted.REFUSING
        self.post(409, current_vcpus=6)
        with self.cell() as cell:
            self.assertEqual([], list(
                objects.InstanceFaultList.get_by_instance_uuids(
                    cell, [self.server['id']])))
            for event in (
                    event for found in
                    objects.InstanceActionList.get_by_instance_uuid(
                        cell, self.server['id'])
                    for event in
                    objects.InstanceActionEventList.get_by_action(
                        cell, found.id)):
                self.assertIsNone(event.traceback)

    def test_notifications(self):
        """Each in its legacy and its versioned form."""
        self.flags(notify_on_state_change='vm_and_task_state',
                   notification_format='both', group='notifications')
        found = nova_fixtures.NotificationFixture(self)
        self.useFixture(found)

        def told():
            legacy = [message.event_type for message in found.notifications]
            versioned = [message['event_type']
                         for message in found.versioned_notifications]
            updates = [
                (message.payload['new_task_state'], message.payload['vcpus'])
                for message in found.notifications
                if message.event_type == 'compute.instance.update']
            versioned_updates = [
                message['payload']['nova_object.data']['state_update'][
                    'nova_object.data']['new_task_state']
                for message in found.versioned_notifications
                if message['event_type'] == 'instance.update']
            self.assertEqual(
                [task_state for task_state, _vcpus in updates],
                versioned_updates)
            found.reset()
            return (updates[0], updates[-1], '_adjust_or_refuse' in legacy,
                    'compute.exception' in versioned)

        def assert_told(old, new, fails=False):
            self.assertEqual(
                (('resize_prep', old), (None, new), fails, fails), told())

        self.post(202, current_vcpus=4)
        assert_told(2, 4)
        self.flags(notify_on_state_change='vm_state', group='notifications')
        self.post(202, current_vcpus=2)
        assert_told(4, 2)
        self.guest.behaviour = scripted.REFUSING
        self.post(409, current_vcpus=6)
        assert_told(2, 2)
        for method, fails in (('make', True), ('claim', False)):
            with mock.patch('nova.xloud.change.Change.' + method,
                            side_effect=ZeroDivisionError):
                self.post(500, current_vcpus=6)
            assert_told(2, 2, fails)

    def test_usage_before_the_change(self):
        notifications = nova_fixtures.NotificationFixture(self)
        self.useFixture(notifications)

        def told():
            found = [
                (message.payload['vcpus'], message.payload['memory_mb'])
                for message in notifications.notifications
                if message.event_type == 'compute.instance.exists']
            notifications.reset()
            return found

        self.post(202, current_vcpus=6, current_memory_mb=6144)
        self.assertEqual([base.MINIMUM], told())
        self.post(202, current_vcpus=6)
        self.post(400, current_vcpus=9)
        self.assertEqual([], told())
        self.guest.behaviour = scripted.LATE
        self.post(202, current_vcpus=2, current_memory_mb=2048)
        # It is charged what it holds.
        self.assertEqual([], told())
        self.guest.follow()
        self.reconcile()
        self.assertEqual([GROWN], told())

    def test_usage_of_a_period_that_ended_before_the_change(self):
        """The audit tells what is charged when it runs."""
        # Nova asks who was launched before that, cut to whole seconds.
        instance = self.instance(self.server)
        instance.launched_at -= datetime.timedelta(seconds=1)
        instance.save()
        ended = timeutils.utcnow()
        period = (ended - datetime.timedelta(hours=1), ended)
        self.flags(instance_usage_audit=True)
        self.post(202, current_vcpus=6)
        with mock.patch('nova.utils.last_completed_audit_period',
                        return_value=period), self.cell() as cell:
            self.compute.manager._instance_usage_audit(cell)
        (before, audited) = [
            (message.payload['vcpus'], message.payload['audit_period_ending'])
            for message in self.notifier.notifications
            if message.event_type == 'compute.instance.exists']
        self.assertEqual((2, 6), (before[0], audited[0]))
        # So whoever sorts by that bills the change for before it.
        self.assertEqual(str(ended), audited[1])
        self.assertLess(audited[1], before[1])


class CostTestCase(answers_base.AnswersBase):
    """What an answer costs others: the database, Placement, the broker."""

    def setUp(self):
        super().setUp()
        self.asked = {'statements': 0, 'Placement': 0, 'calls': 0}
        placement = self.placement.fixture._client
        placement.request = self.counted('Placement', placement.request)
        self.useFixture(fixtures.MockPatch(
            'nova.xloud.rpcapi._call',
            self.counted('calls', rpcapi._call)))
        others = placement_db.get_placement_engine()

        def count(connection, cursor, statement, *args):
            if (connection.engine is not others and
                    statement not in ('BEGIN', 'SELECT 1')):
                self.asked['statements'] += 1

        listener = (sqlalchemy.engine.Engine, 'before_cursor_execute', count)
        sqlalchemy.event.listen(*listener)
        self.addCleanup(sqlalchemy.event.remove, *listener)

    def counted(self, name, real):
        def call(*args, **kwargs):
            self.asked[name] += 1
            return real(*args, **kwargs)
        return call

    def assert_costs(self, statements, placement, calls, *size_asked):
        # Traits are kept for a while, and a change may leave a row behind.
        self.post(202, current_vcpus=4, current_memory_mb=4096)
        self.asked.update(dict.fromkeys(self.asked, 0))
        self.post(202, current_vcpus=size_asked[0],
                  current_memory_mb=size_asked[1])
        self.assertEqual((placement, calls), (
            self.asked['Placement'], self.asked['calls']))
        # A query of Nova's may be more of them with another release.
        self.assertLessEqual(self.asked['statements'], statements + 4)

    def test_growth(self):
        self.assert_costs(70, 2, 2, *GROWN)

    def test_shrink(self):
        self.assert_costs(46, 3, 1, *base.MINIMUM)

    def test_nothing_to_change(self):
        self.assert_costs(36, 1, 1, 4, 4096)
