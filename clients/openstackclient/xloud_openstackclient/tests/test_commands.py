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

"""The commands, with a real connection of openstacksdk over canned HTTP."""

import io
import itertools
import json
import types
import unittest
from unittest import mock

from keystoneauth1 import session
from keystoneauth1 import token_endpoint
import openstack
from openstack import exceptions as sdk_exceptions
from osc_lib import exceptions
from osc_lib.tests import utils
import requests
from requests_mock.contrib import fixture

from xloud_openstackclient import commands
from xloud_openstackclient import elastic

URL = 'http://nova.example.org/v2.1'
KEYSTONE = 'http://keystone.example.org/v3'
SERVER = 'fc2ee1c0-2a5b-4a5c-9d5e-0d8b1a2c3d4e'
PATH = f'{URL}/os-xloud-adjust/{SERVER}'
STATUS = {
    'actual_memory_mb': 4096, 'actual_vcpus': 4, 'allocated_memory_mb': 4096,
    'allocated_vcpus': 4, 'attached_dimms_mb': 0,
    'balloon_driver_active': True, 'boot_memory_mb': 4096, 'boot_vcpus': 4,
    'condition': 'Settled', 'current_memory_mb': 4096, 'current_vcpus': 4,
    'desired_memory_mb': 4096, 'desired_vcpus': 4, 'has_virtiomem': False,
    'max_memory_mb': 4096, 'max_vcpus': 8, 'min_memory_mb': 1024,
    'min_vcpus': 2, 'reason': None, 'vcpu_step': 1,
    'blockers': [{'code': 'memory_pinned', 'dimension': 'memory',
                  'message': 'A device pins it.'}]}

LISTED = {
    'id': SERVER, 'name': 'web1', 'project_id': 'p', 'host': 'host1',
    'condition': 'Partial', 'reason': 'It refused.',
    'since': '2026-11-26T12:00:00Z', 'desired_vcpus': 4,
    'desired_memory_mb': 2048, 'boot_vcpus': 2, 'boot_memory_mb': 1024,
    'allocated_vcpus': 4, 'allocated_memory_mb': 2048, 'min_vcpus': 2,
    'min_memory_mb': 1024, 'max_vcpus': 8, 'max_memory_mb': 4096}


def action(name, when, message, user_id='u'):
    return {'action': name, 'start_time': when, 'message': message,
            'request_id': 'req-1', 'user_id': user_id}


def status(**changes):
    return {'json': {'xloud_status': {**STATUS, **changes}}}


class CommandsTest(utils.TestCommand):
    def setUp(self):
        super().setUp()
        self.http = self.useFixture(fixture.Fixture())
        versions = {'version': {
            'id': 'v2.1', 'status': 'CURRENT', 'version': '2.96',
            'min_version': '2.1',
            'links': [{'rel': 'self', 'href': URL + '/'}]}}
        self.http.get(URL, json=versions)
        self.http.get(URL + '/', json=versions)
        self.http.get(f'{URL}/servers/web1', status_code=404)
        self.http.get(f'{URL}/servers/detail', json={'servers': [
            {'id': SERVER, 'name': 'web1'}]})
        self.http.get(f'{URL}/servers/{SERVER}', json={
            'server': {'id': SERVER, 'name': 'web1'}})
        self.http.get(KEYSTONE, json={'version': {
            'id': 'v3.14', 'status': 'stable',
            'links': [{'rel': 'self', 'href': KEYSTONE + '/'}]}})
        made = session.Session(auth=token_endpoint.Token(URL, 'token'))
        self.stderr = io.StringIO()
        self.app = types.SimpleNamespace(
            stdout=io.StringIO(), stderr=self.stderr, cloud=None,
            client_manager=types.SimpleNamespace(
                sdk_connection=openstack.connection.Connection(
                    session=made, compute_endpoint_override=URL,
                    compute_api_version='2.1',
                    identity_endpoint_override=KEYSTONE,
                    identity_api_version='3')))
        waited = mock.patch('time.sleep')
        waited.start()
        self.addCleanup(waited.stop)

    def run_command(self, made, *words):
        made = made(self.app, None)
        parser = made.get_parser('test')
        columns, values = made.take_action(parser.parse_args(words))
        return dict(zip(columns, values))

    def refusal(self, *words):
        return str(self.assertRaises(
            exceptions.CommandError, self.run_command,
            commands.AdjustServer, *words))

    def test_adjust(self):
        self.http.post(PATH, status_code=202, **status(
            condition='InProgress', reason='It takes its time.'))
        shown = self.run_command(
            commands.AdjustServer, 'web1', '--vcpus', '4', '--memory', '4096')
        self.assertEqual(
            {'current_vcpus': 4, 'current_memory_mb': 4096, 'persist': True},
            json.loads(self.http.last_request.text))
        self.assertEqual(('InProgress', 'It takes its time.', 4, 8), (
            shown['condition'], shown['reason'], shown['current_vcpus'],
            shown['max_vcpus']))
        self.assertEqual('memory: A device pins it. (memory_pinned)',
                         shown['blockers'].human_readable())
        self.assertEqual(STATUS['blockers'],
                         shown['blockers'].machine_readable())

    def test_status_of_another_version(self):
        """Earlier forks of Nova answer with fewer fields."""
        fields = ('current_vcpus', 'max_vcpus')
        self.http.get(PATH, json={'xloud_status': {
            key: STATUS[key] for key in fields}})
        shown = self.run_command(commands.ShowElasticServer, 'web1')
        self.assertEqual((4, 8), tuple(shown[key] for key in fields))
        self.assertIsNone(shown['condition'])
        self.assertIsNone(shown['boot_vcpus'])
        self.assertEqual([], shown['blockers'].machine_readable())

    def test_one_dimension_until_the_next_boot(self):
        self.http.post(PATH, status_code=202, **status())
        self.run_command(commands.AdjustServer, SERVER, '--vcpus', '4',
                         '--until-next-boot')
        self.assertEqual({'current_vcpus': 4, 'persist': False},
                         json.loads(self.http.last_request.text))

    def test_wait_until_settled(self):
        self.http.post(PATH, status_code=202, **status())
        self.http.get(PATH, [status(condition='InProgress', reason='Wait.'),
                             status(condition='Unknown', reason='Silent.'),
                             status()])
        shown = self.run_command(commands.AdjustServer, 'web1', '--vcpus',
                                 '4', '--wait')
        self.assertEqual('Settled', shown['condition'])
        self.assertEqual('InProgress: Wait.\nUnknown: Silent.\n',
                         self.stderr.getvalue())

    def test_wait_for_a_guest_that_does_not_follow(self):
        self.http.post(PATH, status_code=202, **status())
        self.http.get(PATH, **status(condition='Partial',
                                     reason='It keeps its memory.'))
        self.assertEqual('It keeps its memory.', self.refusal(
            'web1', '--memory', '2048', '--wait'))

    def test_wait_while_the_api_restarts(self):
        self.http.post(PATH, status_code=202, **status())
        self.http.get(PATH, [
            status(condition='InProgress', reason='Wait.'),
            {'status_code': 503}, {'exc': requests.exceptions.ConnectionError},
            # It ends in the middle of an answer, or a balancer is busy.
            {'exc': requests.exceptions.ChunkedEncodingError},
            {'status_code': 429}, status()])
        shown = self.run_command(commands.AdjustServer, 'web1', '--vcpus',
                                 '4', '--wait')
        self.assertEqual('Settled', shown['condition'])

    LOST = ({'exc': requests.exceptions.ConnectionError},
            {'exc': requests.exceptions.ReadTimeout},
            {'exc': requests.exceptions.ChunkedEncodingError},
            {'status_code': 502}, {'status_code': 504})

    def test_an_answer_that_is_lost(self):
        """A proxy gives up, and the change happens all the same."""
        for lost in self.LOST:
            self.http.post(PATH, **lost)
            said = self.refusal('web1', '--vcpus', '4')
            self.assertIn('The answer was lost: ', said)
            self.assertIn('may have been accepted all the same', said)
            self.assertIn('look at the status', said)
        for code in (500, 503):           # these are answers
            self.http.post(PATH, status_code=code)
            self.assertNotIn('lost', self.refusal('web1', '--vcpus', '4'))

    def test_wait_although_the_answer_is_lost(self):
        for lost in self.LOST:
            self.http.post(PATH, **lost)
            self.http.get(PATH, [
                status(desired_vcpus=2), {'status_code': 503},
                status(condition='InProgress', reason='Wait.'), status()])
            shown = self.run_command(commands.AdjustServer, 'web1', '--vcpus',
                                     '4', '--wait')
            self.assertEqual('Settled', shown['condition'])
            self.assertIn('The answer was lost', self.stderr.getvalue())

    def test_wait_for_what_was_not_accepted(self):
        self.http.post(PATH, status_code=504)
        self.http.get(PATH, **status(desired_vcpus=2))
        passed = itertools.count(step=elastic.LOST / 4)
        with mock.patch('time.monotonic', side_effect=passed):
            self.assertIn('was not accepted. Ask for it again', self.refusal(
                'web1', '--vcpus', '4', '--wait'))

    def test_wait_for_what_is_undone(self):
        """Its hypervisor refuses after a while, and nobody hears that."""
        for answer in ({'status_code': 504},
                       # The host has not reported how the change ended.
                       {'status_code': 202, **status(condition='Unknown')}):
            for size in ({'desired_vcpus': 2, 'boot_vcpus': 2},
                         {'boot_vcpus': 2}):
                self.http.post(PATH, **answer)
                self.http.get(PATH, [
                    status(condition='InProgress', reason='Wait.'),
                    status(condition='InProgress', reason='Wait.'),
                    status(**size)])
                self.assertIn('its host has undone the change', self.refusal(
                    'web1', '--vcpus', '4', '--wait'))

    def test_wait_for_a_size_that_ends_with_a_restart(self):
        self.http.post(PATH, status_code=202, **status(boot_vcpus=2))
        self.http.get(PATH, **status(desired_vcpus=2, boot_vcpus=2))
        self.assertIn('it was started again', self.refusal(
            'web1', '--vcpus', '4', '--until-next-boot', '--wait'))

    def test_wait_for_a_server_that_stops(self):
        """It has failed, or its owner has stopped it."""
        off = status(actual_vcpus=0, actual_memory_mb=0)
        silent = status(condition='Unknown', actual_vcpus=None)
        for answer in ({'status_code': 504}, {'status_code': 202, **status()},
                       {'status_code': 202, **silent}):
            self.http.post(PATH, **answer)
            self.http.get(PATH, [
                status(condition='InProgress', reason='Wait.'), off])
            self.assertIn('does not run any more', self.refusal(
                'web1', '--vcpus', '4', '--wait'))
        # It was shut off all the time.
        self.http.post(PATH, status_code=202, **off)
        self.assertEqual('Settled', self.run_command(
            commands.AdjustServer, 'web1', '--vcpus', '4', '--wait')[
                'condition'])

    def test_wait_for_a_boot_size_that_was_not_accepted(self):
        """The size was there already, only until the next boot."""
        self.http.post(PATH, status_code=504)
        self.http.get(PATH, **status(boot_vcpus=2))
        passed = itertools.count(step=elastic.LOST / 4)
        words = 'web1', '--vcpus', '4', '--wait'
        with mock.patch('time.monotonic', side_effect=passed):
            self.assertIn('was not accepted. Ask for it again',
                          self.refusal(*words))
            self.assertEqual(2, self.run_command(
                commands.AdjustServer, *words, '--until-next-boot')[
                    'boot_vcpus'])

    def test_an_answer_that_is_not_of_nova(self):
        compute = self.app.client_manager.sdk_connection.compute
        nothing = dict.fromkeys(
            ('xloud_status', 'instanceActions', 'xloud_servers'))
        for answer in ({'text': '<html>Sign in</html>'}, {'json': {}},
                       {'json': []}, {'json': nothing}):
            for path, call in (
                    (PATH, elastic.show),
                    (f'{URL}/servers/{SERVER}/os-instance-actions',
                     elastic.history),
                    (f'{URL}/os-xloud-adjust', lambda compute, _server: list(
                        elastic.list_servers(compute)))):
                self.http.get(path, **answer)
                error = self.assertRaises(sdk_exceptions.SDKException,
                                          call, compute, SERVER)
                self.assertIn(f'{path} is not the API of Nova', str(error))

    def test_wait_for_an_api_that_does_not_answer(self):
        compute = self.app.client_manager.sdk_connection.compute
        for code, timeout in ((503, 0), (403, 60)):
            self.http.get(PATH, status_code=code)
            self.assertRaises(sdk_exceptions.HttpException, elastic.wait,
                              compute, SERVER, timeout=timeout)

    def test_wait_has_an_end(self):
        self.http.get(PATH, **status(condition='InProgress', reason='Slow.'))
        compute = self.app.client_manager.sdk_connection.compute
        error = self.assertRaises(elastic.NotSettled, elastic.wait, compute,
                                  SERVER, timeout=0)
        self.assertIn('still InProgress', str(error))
        self.assertEqual('InProgress', error.status['condition'])

    def test_refusals_are_in_the_words_of_the_api(self):
        for code, kind in ((400, 'badRequest'), (403, 'forbidden'),
                           (409, 'conflictingRequest')):
            self.http.post(
                PATH, status_code=code,
                headers={'Content-Type': 'application/json; charset=UTF-8'},
                json={kind: {'code': code, 'message': 'No room: 3 of 4.'}})
            self.assertEqual('No room: 3 of 4.',
                             self.refusal('web1', '--vcpus', '4'))

    def test_a_cloud_without_the_series(self):
        self.http.post(PATH, status_code=404, json={
            'itemNotFound': {'code': 404, 'message':
                             'The resource could not be found.'}})
        self.assertIn('no elastic servers',
                      self.refusal('web1', '--vcpus', '4'))

    def test_a_server_that_has_just_gone(self):
        said = f'Instance {SERVER} could not be found.'
        self.http.post(PATH, status_code=404, json={
            'itemNotFound': {'code': 404, 'message': said}})
        self.assertIn(said, self.refusal('web1', '--vcpus', '4'))

    def test_nothing_asked_for(self):
        self.assertIn('--vcpus', self.refusal('web1'))
        self.assertFalse(self.http.called)

    def test_sizes_below_one(self):
        for word in ('0', '-1', 'x'):
            self.assertRaises(
                SystemExit, commands.AdjustServer(self.app, None).get_parser(
                    'test').parse_args, ['web1', '--vcpus', word])

    def test_show(self):
        self.http.get(PATH, **status())
        shown = self.run_command(commands.ShowElasticServer, 'web1')
        self.assertEqual({**STATUS, 'blockers': shown['blockers']}, shown)

    def run_list(self, made, *words):
        made = made(self.app, None)
        columns, rows = made.take_action(
            made.get_parser('test').parse_args(words))
        return [dict(zip(columns, row)) for row in rows]

    def test_list(self):
        """All pages, with the filters in each."""
        path = f'{URL}/os-xloud-adjust'
        self.http.get(path, [
            {'json': {'xloud_servers': [LISTED],
                      'xloud_servers_links': [
                          {'rel': 'next', 'href': 'elsewhere'}]}},
            {'json': {'xloud_servers': [{**LISTED, 'name': 'web2'}]}}])
        shown = self.run_list(
            commands.ListElasticServers, '--condition', 'Partial',
            '--condition', 'Settled', '--all-projects', '--host', 'host1')
        self.assertEqual(['web1', 'web2'], [one['name'] for one in shown])
        self.assertEqual((4, 4096, 'Partial'), (
            shown[0]['desired_vcpus'], shown[0]['max_memory_mb'],
            shown[0]['condition']))
        self.assertNotIn('host', shown[0])
        first, second = self.http.request_history[-2:]
        self.assertEqual({'condition': ['partial', 'settled'],
                          'host': ['host1'], 'all_projects': ['true']},
                         first.qs)
        self.assertEqual({**first.qs, 'marker': [SERVER]}, second.qs)

    def test_list_long(self):
        self.http.get(f'{URL}/os-xloud-adjust', json={
            'xloud_servers': [LISTED]})
        shown, = self.run_list(commands.ListElasticServers, '--long')
        self.assertEqual(('host1', 'It refused.', 2), (
            shown['host'], shown['reason'], shown['boot_vcpus']))

    def test_list_as_a_member(self):
        """No host, and others are refused in the words of the API."""
        member = {key: value for key, value in LISTED.items()
                  if key != 'host'}
        path = f'{URL}/os-xloud-adjust'
        self.http.get(path, json={'xloud_servers': [member]})
        shown, = self.run_list(commands.ListElasticServers, '--long')
        self.assertNotIn('host', shown)
        self.http.get(path, status_code=403, json={'forbidden': {
            'code': 403, 'message': 'Policy says no.'}}, headers={
                'Content-Type': 'application/json'})
        error = self.assertRaises(
            exceptions.CommandError, self.run_list,
            commands.ListElasticServers, '--all-projects')
        self.assertEqual('Policy says no.', str(error))

    def listed_of(self, *words):
        """The project that Nova is asked about."""
        listed = self.http.get(f'{URL}/os-xloud-adjust', json={
            'xloud_servers': []})
        self.run_list(commands.ListElasticServers, *words)
        (project,) = listed.last_request.qs['project_id']
        return project

    def test_list_of_a_project(self):
        """By its name or ID; a member may not look others up."""
        self.http.get(f'{KEYSTONE}/projects/billing', status_code=404)
        named = self.http.get(f'{KEYSTONE}/projects', json={
            'projects': [{'id': 'p1', 'name': 'billing'}]})
        self.assertEqual('p1', self.listed_of('--project', 'billing'))
        self.http.get(f'{KEYSTONE}/domains/sales', json={
            'domain': {'id': 'd1', 'name': 'sales'}})
        self.assertEqual('p1', self.listed_of(
            '--project', 'billing', '--project-domain', 'sales'))
        self.assertEqual(['d1'], named.last_request.qs['domain_id'])
        self.http.get(f'{KEYSTONE}/projects/p2', json={
            'project': {'id': 'p2', 'name': 'research'}})
        self.assertEqual('p2', self.listed_of('--project', 'p2'))
        for path in ('projects', 'projects/p3', 'projects/ours'):
            self.http.get(f'{KEYSTONE}/{path}', status_code=403)
        self.assertEqual('p3', self.listed_of('--project', 'p3'))
        with mock.patch(
                'openstack.connection.Connection.current_project',
                types.SimpleNamespace(id='p4', name='ours')):
            self.assertEqual('p4', self.listed_of('--project', 'ours'))
            self.assertEqual('p3', self.listed_of('--project', 'p3'))

    def test_list_of_a_project_that_is_not_one(self):
        self.http.get(f'{KEYSTONE}/projects/billing', status_code=404)
        two = [{'id': name, 'name': 'billing'} for name in ('p1', 'p2')]
        for found, message in (([], 'No Project found for billing'),
                               (two, 'More than one Project exists')):
            self.http.get(f'{KEYSTONE}/projects', json={'projects': found})
            error = self.assertRaises(
                exceptions.CommandError, self.run_list,
                commands.ListElasticServers, '--project', 'billing')
            self.assertIn(message, str(error))

    def test_list_without_the_series(self):
        self.http.get(f'{URL}/os-xloud-adjust', status_code=404)
        error = self.assertRaises(exceptions.CommandError, self.run_list,
                                  commands.ListElasticServers)
        self.assertIn('no elastic servers', str(error))

    def test_history(self):
        self.http.get(f'{URL}/servers/{SERVER}/os-instance-actions', json={
            'instanceActions': [
                action('xloud_settle', '2026-11-26T12:05:00.000000',
                       'charged 4 vCPUs, 4096 MiB -> 2 vCPUs, 1024 MiB',
                       user_id=None),
                action('xloud_adjust', '2026-11-26T12:04:00.000000', 'Error'),
                action('xloud_adjust', '2026-11-26T12:03:00.000000',
                       'desired 2 vCPUs, 1024 MiB -> 4 vCPUs, 4096 MiB; '
                       'boot 2 vCPUs, 1024 MiB -> 4 vCPUs, 4096 MiB; charged '
                       '2 vCPUs, 1024 MiB -> 4 vCPUs, 4096 MiB'),
                action('reboot', '2026-11-26T12:02:00.000000', None),
                action('create', '2026-11-26T12:01:00.000000', None)]})
        shown = self.run_list(commands.ListElasticHistory, 'web1')
        keys = ('desired_vcpus', 'boot_memory_mb', 'charged_vcpus')
        self.assertEqual(
            [('4', '4096', '4'), ('', '', ''), ('', '', '2')],
            [tuple(one[key].human_readable() for key in keys)
             for one in shown])
        self.assertEqual(
            [(4, 4096, 4), (None, None, None), (None, None, 2)],
            [tuple(one[key].machine_readable() for key in keys)
             for one in shown])
        self.assertEqual(
            ['xloud_adjust', 'xloud_adjust', 'xloud_settle'],
            [one['action'] for one in shown])

    def test_history_of_one_second(self):
        """MySQL keeps no fractions, and a guest may follow at once."""
        when = '2026-11-26T12:03:00.000000'
        self.http.get(f'{URL}/servers/{SERVER}/os-instance-actions', json={
            'instanceActions': [
                action('xloud_settle', when,
                       'charged 4 vCPUs, 4096 MiB -> 3 vCPUs, 4096 MiB'),
                action('xloud_adjust', when,
                       'charged 2 vCPUs, 1024 MiB -> 4 vCPUs, 4096 MiB')]})
        shown = self.run_list(commands.ListElasticHistory, 'web1')
        self.assertEqual([4, 3], [one['charged_vcpus'].machine_readable()
                                  for one in shown])

    def test_history_has_no_pages(self):
        """Also for whoever asks for a newer Nova."""
        self.http.get(f'{URL}/servers/{SERVER}/os-instance-actions', json={
            'instanceActions': [
                action('xloud_adjust', '2026-11-26T12:04:00.000000', 'Error')
            ]})
        compute = self.app.client_manager.sdk_connection.compute
        compute.default_microversion = '2.96'
        self.run_list(commands.ListElasticHistory, SERVER)
        self.assertEqual('compute 2.1', self.http.last_request.headers[
            'OpenStack-API-Version'])

    def test_no_history(self):
        self.http.get(f'{URL}/servers/{SERVER}/os-instance-actions', json={
            'instanceActions': [
                action('create', '2026-11-26T12:01:00.000000', None)]})
        self.http.get(PATH, **status())
        self.assertEqual([], self.run_list(commands.ListElasticHistory,
                                           'web1'))
        self.http.get(PATH, status_code=404)
        error = self.assertRaises(exceptions.CommandError, self.run_list,
                                  commands.ListElasticHistory, 'web1')
        self.assertIn('no elastic servers', str(error))


if __name__ == '__main__':
    unittest.main()
