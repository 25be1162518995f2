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

"""The package in Horizon, with canned HTTP behind the real calls."""

import json
import re
import types
from unittest import mock
from urllib import parse

from django.conf import settings
from django.template import loader
from django import urls
from django.utils import translation
import requests
import requests_mock

from openstack_auth import policy as auth_policy
from openstack_auth import utils as auth_utils

from openstack_dashboard import api as horizon_api
from openstack_dashboard.dashboards.admin.instances import tables as admin
from openstack_dashboard.dashboards.admin.instances import tabs as admin_tabs
from openstack_dashboard.dashboards.project.instances import tables as project
from openstack_dashboard.dashboards.project.instances import tabs as tabs_there
from openstack_dashboard import defaults
from openstack_dashboard.test import helpers

from xloud_dashboard import actions
from xloud_dashboard import hooks
from xloud_dashboard import tabs
from xloud_dashboard.tests import nova

AJAX = {'HTTP_X_REQUESTED_WITH': 'XMLHttpRequest'}


class Case:
    """Mixed with a case of Horizon."""

    server_status = 'ACTIVE'
    dashboard = 'project'

    def setUp(self):
        # As Horizon's own tests do when they load its URLs.
        auth_utils.patch_middleware_get_user()
        super().setUp()
        self.http = self.enterContextOf(requests_mock.Mocker())
        # What Horizon's pages ask beside us.
        self.http.get(requests_mock.ANY, status_code=404)
        self.http.get(re.compile(r'/v2.0/extensions$'),
                      json={'extensions': []})
        self.compute = horizon_api.base.url_for(self.request, 'compute')
        self.path = '%s/os-xloud-adjust/%s' % (self.compute, nova.SERVER)
        found = types.SimpleNamespace(
            id=nova.SERVER, name='web1', status=self.server_status)
        self.server_get = mock.patch.object(
            horizon_api.nova, 'server_get', return_value=found).start()

    def enterContextOf(self, context):
        entered = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return entered

    @property
    def url(self):
        panel = {'project': 'xloud_adjust', 'admin': 'xloud_servers'}
        return urls.reverse('horizon:%s:%s:adjust' % (
            self.dashboard, panel[self.dashboard]), args=[nova.SERVER])

    def post(self, **data):
        return self.client.post(self.url, {
            'initial-vcpus': 2, 'initial-memory_mb': 1024, 'vcpus': 2,
            'memory_mb': 1024, **data}, **AJAX)

    def sent(self):
        return json.loads(self.http.last_request.text)


class HooksTest(Case, helpers.TestCase):
    """What this package does to Horizon without a setting for it."""

    def test_row_actions(self):
        for table, action, before in (
                (project.InstancesTable, actions.AdjustSize,
                 project.ResizeLink),
                (admin.AdminInstancesTable, actions.AdminAdjustSize,
                 project.CreateSnapshot)):
            found = table._meta.row_actions
            self.assertEqual(1, found.count(action))
            self.assertEqual(found.index(before) + 1, found.index(action))
            self.assertIsInstance(table.base_actions['xloud_adjust'], action)

    def test_install_again(self):
        before = project.InstancesTable._meta.row_actions
        hooks.install()
        self.assertEqual(before, project.InstancesTable._meta.row_actions)

    def test_a_horizon_without_the_neighbour(self):
        class InstancesTable(project.InstancesTable):
            class Meta:
                row_actions = (project.LogLink,)
        hooks._add(InstancesTable, actions.AdjustSize)
        self.assertEqual((project.LogLink, actions.AdjustSize),
                         InstancesTable._meta.row_actions)

    def test_tabs(self):
        group = tabs_there.InstanceDetailTabs(
            self.request, instance=self.servers.first())
        self.assertIsInstance(group.get_tab('xloud_sizes'), tabs.SizesTab)
        admins = admin_tabs.AdminInstanceDetailTabs(
            self.request, instance=self.servers.first())
        self.assertIsInstance(admins.get_tab('xloud_sizes'),
                              tabs.AdminSizesTab)

    def test_policy(self):
        # As a site has them, and not as in Horizon's tests.
        auth_policy.reset()
        self.addCleanup(auth_policy.reset)
        with self.settings(POLICY_FILES=defaults.POLICY_FILES,
                           POLICY_DIRS=settings.POLICY_DIRS):
            for role, adjusts, shows, lists in (
                    ('reader', False, True, False),
                    ('member', True, True, False),
                    ('admin', True, True, True)):
                roles = {'reader': ['reader'], 'member': ['member', 'reader'],
                         'admin': ['admin', 'member', 'reader']}[role]
                self.setActiveUser(
                    id=self.user.id, token=self.token, username='user',
                    tenant_id=self.tenant.id, roles=[
                        {'name': name} for name in roles],
                    service_catalog=self.service_catalog)
                target = {'project_id': self.tenant.id}
                for rule, expected in (('adjust', adjusts), ('show', shows),
                                       ('index:all_projects', lists)):
                    self.assertIs(expected, bool(auth_policy.check(
                        (('compute', 'os_compute_api:xloud:' + rule),),
                        self.request, target)), (role, rule))


class RowActionTest(Case, helpers.TestCase):

    def allowed(self, flavor=None, **changes):
        row = types.SimpleNamespace(
            id=nova.SERVER, status='ACTIVE', flavor=flavor or {'id': '1'})
        for key, value in changes.items():
            setattr(row, key, value)
        answer = actions.AdjustSize().allowed(self.request, row)
        # A row is no reason to ask anybody.
        self.assertEqual(0, self.http.call_count)
        self.server_get.assert_not_called()
        return answer

    def test_states(self):
        self.assertTrue(self.allowed())
        self.assertTrue(self.allowed(status='SHUTOFF'))
        self.assertFalse(self.allowed(status='PAUSED'))
        self.assertFalse(self.allowed(
            **{'OS-EXT-STS:task_state': 'resize_prep'}))

    def test_flavor_in_the_row(self):
        self.assertTrue(self.allowed({'extra_specs': {'minimum_cpu': '1'}}))
        self.assertTrue(self.allowed({'extra_specs': {'minimum_memory': '9'}}))
        self.assertFalse(self.allowed({'extra_specs': {}}))
        # The policy does not let the user see them.
        self.assertTrue(self.allowed({'vcpus': 2}))

    def test_link(self):
        action = actions.AdjustSize()
        action.table = mock.Mock(
            get_full_url=lambda: '/project/instances/?marker=1')
        self.assertEqual(
            self.url + '?next=%2Fproject%2Finstances%2F%3Fmarker%3D1',
            action.get_link_url(types.SimpleNamespace(id=nova.SERVER)))


class FormTest(Case, helpers.TestCase):

    def test_sizes(self):
        self.http.get(self.path, **nova.status())
        response = self.client.get(self.url, **AJAX)
        for text in ('Adjust Size: web1', 'type="range"',
                     '2 to 8; 2 now,', '3 charged', '1024 to 4096; 1024 now,',
                     'id="xloud-vcpus-slider"', 'type="submit"',
                     'data-xloud-other="xloud-memory_mb-slider"'):
            self.assertContains(response, text)
        self.assertTemplateNotUsed(response, 'base.html')
        self.assertEqual(self.token.id,
                         self.http.last_request.headers['X-Auth-Token'])

    def test_as_a_page(self):
        self.http.get(self.path, **nova.status())
        self.assertTemplateUsed(self.client.get(self.url), 'base.html')
        self.assertRedirectsNoFollow(
            self.client.get(
                urls.reverse('horizon:project:xloud_adjust:index')),
            urls.reverse('horizon:project:instances:index'))

    def test_each_field_has_a_label(self):
        self.http.get(self.path, **nova.status())
        response = self.client.get(self.url, **AJAX)
        for name in ('vcpus', 'memory_mb', 'until_next_boot'):
            self.assertContains(response, 'for="id_%s"' % name, count=1)
            self.assertContains(response, ' id="id_%s"' % name, count=1)
        self.assertContains(response, 'aria-label="vCPUs"', count=1)
        self.assertContains(response, 'aria-label="Memory (MiB)"', count=1)
        self.assertContains(response, 'aria-valuetext="1024 MiB"', count=1)
        for name in ('vcpus', 'memory_mb'):
            self.assertContains(
                response, 'aria-describedby="xloud-%s-facts"' % name, count=2)

    def test_what_blocks(self):
        self.http.get(self.path, **nova.status(
            condition='InProgress', reason='It holds 8 vCPUs.', blockers=[
                {'code': 'secure_boot', 'dimension': 'vcpus',
                 'message': 'Plugging a vCPU can freeze it.'}]))
        response = self.client.get(self.url, **AJAX)
        self.assertContains(response, 'vCPUs: Plugging a vCPU can freeze it.')
        self.assertContains(response, 'It holds 8 vCPUs.')
        self.assertContains(response, 'In progress')
        self.assertContains(
            response,
            'aria-describedby="xloud-vcpus-facts xloud-vcpus-blockers"')

    def test_one_dimension(self):
        self.http.get(self.path, **nova.status(min_vcpus=8, desired_vcpus=8))
        response = self.client.get(self.url, **AJAX)
        self.assertNotContains(response, 'id="id_vcpus"')
        self.assertContains(response, '8, which the flavor fixes')
        self.http.post(self.path, status_code=202, **nova.status())
        self.post(memory_mb=2048)
        self.assertEqual({'current_memory_mb': 2048, 'persist': True},
                         self.sent())

    def test_threads_of_a_core(self):
        self.http.get(self.path, **nova.status(vcpu_step=2))
        self.assertContains(self.client.get(self.url, **AJAX),
                            'class="form-control" step="2" data-x')
        # A browser would refuse the size that the server has.
        self.http.get(self.path, **nova.status(vcpu_step=2, desired_vcpus=3))
        self.assertContains(self.client.get(self.url, **AJAX),
                            'class="form-control" step="1" data-x')

    def test_numbers_of_a_language_with_separators(self):
        self.http.get(self.path, **nova.status())
        with self.settings(USE_THOUSAND_SEPARATOR=True):
            response = self.client.get(
                self.url, HTTP_ACCEPT_LANGUAGE='de', **AJAX)
        self.assertContains(response, 'max="4096"')
        self.assertContains(response, '<td>4096</td>')

    def test_adjust(self):
        self.http.get(self.path, **nova.status())
        self.http.post(self.path, status_code=202, **nova.status(
            desired_vcpus=4, desired_memory_mb=2048))
        response = self.post(vcpus=4, memory_mb=2048)
        self.assertEqual({'current_vcpus': 4, 'current_memory_mb': 2048,
                          'persist': True}, self.sent())
        self.assertEqual(urls.reverse('horizon:project:instances:index'),
                         response['X-Horizon-Location'])
        self.assertCookieMessage(response, 'web1 has 4 vCPUs, 2048 MiB.')

    def test_only_what_has_changed_is_sent(self):
        # Another user has changed the vCPUs meanwhile.
        self.http.get(self.path, **nova.status(desired_vcpus=6))
        self.http.post(self.path, status_code=202, **nova.status())
        self.post(memory_mb=2048, until_next_boot='True')
        self.assertEqual({'current_memory_mb': 2048, 'persist': False},
                         self.sent())

    def test_nothing_has_changed(self):
        self.http.get(self.path, **nova.status())
        self.http.post(self.path, status_code=202, **nova.status())
        self.post()
        self.assertEqual({'current_vcpus': 2, 'current_memory_mb': 1024,
                          'persist': True}, self.sent())

    def test_back_to_where_the_user_was(self):
        self.http.get(self.path, **nova.status())
        self.http.post(self.path, status_code=202, **nova.status())
        for asked, expected in (
                ('/project/instances/?marker=1',
                 '/project/instances/?marker=1'),
                ('//elsewhere.example.org/',
                 urls.reverse('horizon:project:instances:index'))):
            response = self.client.post(
                self.url + '?' + parse.urlencode({'next': asked}),
                {'vcpus': 3, 'memory_mb': 1024}, **AJAX)
            self.assertEqual(expected, response['X-Horizon-Location'])

    def test_a_refusal_is_in_the_form(self):
        self.http.get(self.path, **nova.status())
        for code in (400, 403, 404, 409):
            words = 'Instance %s: No room <for 2> VCPU.' % nova.SERVER
            self.http.post(self.path, **nova.refusal(code, words))
            response = self.post(vcpus=4)
            self.assertEqual(200, response.status_code)
            self.assertNotIn('X-Horizon-Location', response)
            self.assertContains(response, 'data-xloud-refusal')
            self.assertContains(response, 'No room &lt;for 2&gt; VCPU.')
            # And what the user wanted is still there.
            self.assertContains(response, 'name="vcpus" value="4"')
            self.assertContains(response, 'name="initial-vcpus" value="2"')

    def test_an_answer_that_is_lost(self):
        """A proxy gives up, and the change happens all the same."""
        self.http.get(self.path, **nova.status())
        for lost in ({'status_code': 504, 'text': 'x'}, {'status_code': 502},
                     {'exc': requests.ConnectionError('http://inside')},
                     {'exc': requests.ReadTimeout()}):
            self.http.post(self.path, **lost)
            response = self.post(vcpus=4)
            self.assertNotIn('X-Horizon-Location', response)
            self.assertContains(response, 'may have been accepted all the')
            self.assertNotContains(response, 'try again')
        self.http.post(self.path, status_code=503, text='x')
        self.assertNotContains(self.post(vcpus=4), 'accepted all the same')

    def test_out_of_range(self):
        self.http.get(self.path, **nova.status())
        for size in (1, 9):
            response = self.post(vcpus=size)
            self.assertEqual('GET', self.http.last_request.method)
            self.assertContains(response, 'has-error')

    def test_no_form(self):
        for answer, words in (
                (nova.refusal(404, 'The resource could not be found.'),
                 'This cloud has no elastic servers'),
                ({'status_code': 404, 'text': '404 Not Found'},
                 'This cloud has no elastic servers'),
                (nova.refusal(404, 'Instance x could not be found.'),
                 'Instance x could not be found.'),
                (nova.refusal(403, 'Policy does not allow it.'),
                 'Policy does not allow it.'),
                ({'status_code': 401}, 'Your session has expired.'),
                ({'status_code': 503, 'text': 'x', 'reason': 'Too Busy'},
                 '503 Too Busy'),
                ({'status_code': 200, 'text': 'x'},
                 'gave an unknown answer (200).'),
                ({'status_code': 200, 'json': {'status': 'maintenance'}},
                 'gave an unknown answer (200).'),
                ({'status_code': 200, 'json': None},
                 'gave an unknown answer (200).'),
                ({'exc': requests.ConnectionError('http://inside')},
                 'The compute service does not answer.'),
                (nova.status(**nova.FIXED), 'its flavor has no range')):
            self.http.get(self.path, **answer)
            for response in (self.client.get(self.url, **AJAX),
                             self.post(vcpus=4)):
                self.assertEqual(200, response.status_code)
                self.assertNotIn('X-Horizon-Location', response)
                self.assertContains(response, words)
                self.assertContains(response, 'data-xloud-problem')
                self.assertNotContains(response, 'type="submit"')
                self.assertEqual('GET', self.http.last_request.method)

    def test_a_server_that_horizon_does_not_find(self):
        self.server_get.side_effect = requests.ConnectionError()
        self.http.get(self.path, **nova.status())
        response = self.client.get(self.url, **AJAX)
        self.assertContains(response, 'Adjust Size: ' + nova.SERVER)
        self.assertContains(response, 'type="submit"')


class ShutOffTest(Case, helpers.TestCase):

    server_status = 'SHUTOFF'

    def test_next_start(self):
        self.http.get(self.path, **nova.status(boot_vcpus=3))
        response = self.client.get(self.url, **AJAX)
        self.assertContains(response, 'name="vcpus" value="3"')
        self.assertNotContains(response, 'until_next_boot')
        self.http.post(self.path, status_code=202, **nova.status(
            condition='InProgress', boot_vcpus=4))
        response = self.post(vcpus=4)
        self.assertTrue(self.sent()['persist'])
        self.assertCookieMessage(
            response, 'web1 will start with 4 vCPUs, 1024 MiB.')

    def test_shut_off_since_the_form_was_shown(self):
        """Nova refuses what was asked for, and nothing else is."""
        self.http.get(self.path, **nova.status())
        self.http.post(self.path, **nova.refusal(409, 'It is shut off.'))
        response = self.post(vcpus=4, until_next_boot='on')
        self.assertFalse(self.sent()['persist'])
        self.assertContains(response, 'It is shut off.')
        self.assertContains(response, 'until_next_boot')


class AdminFormTest(Case, helpers.BaseAdminViewTests):

    dashboard = 'admin'

    def test_adjust(self):
        self.http.get(self.path, **nova.status())
        self.http.post(self.path, status_code=202, **nova.status(
            condition='InProgress', reason='The guest is slow.'))
        response = self.client.get(self.url, **AJAX)
        self.assertContains(response, 'action="%s"' % self.url)
        response = self.post(vcpus=4)
        self.assertEqual(urls.reverse('horizon:admin:instances:index'),
                         response['X-Horizon-Location'])
        self.assertCookieMessage(
            response, 'web1 gets 2 vCPUs, 1024 MiB. The guest is slow.')


class TabTest(Case, helpers.TestCase):

    def setUp(self):
        super().setUp()
        self.instance = types.SimpleNamespace(
            id=nova.SERVER, name='web1', status='ACTIVE',
            tenant_id=self.tenant.id, created='2026-01-01T00:00:00Z',
            flavor={'extra_specs': {'minimum_cpu': '2'}})
        self.history = '%s/servers/%s/os-instance-actions' % (
            self.compute, nova.SERVER)

    def tab(self):
        group = tabs_there.InstanceDetailTabs(
            self.request, instance=self.instance)
        return group.get_tab('xloud_sizes')

    def render(self):
        tab = self.tab()
        return loader.render_to_string(
            tab.template_name, tab.get_context_data(self.request),
            self.request)

    def test_hidden_where_the_flavor_has_no_range(self):
        self.assertIsNotNone(self.tab())
        self.instance.flavor = {'extra_specs': {'hw:cpu_policy': 'shared'}}
        self.assertIsNone(self.tab())

    def test_sizes(self):
        self.http.get(self.path, **nova.status())
        self.http.get(self.history, json={'instanceActions': nova.ACTIONS})
        shown = self.render()
        self.assertEqual(3, shown.count('role="img"'))
        for text in ('vCPUs: 2 of 8, charged 3, minimum 2.', self.url,
                     'Request, refused', 'Guest, start or resize',
                     '4 vCPUs, 2048 MiB', '3 vCPUs, 2048 MiB'):
            self.assertIn(text, shown)
        self.assertEqual(1, self.http.request_history[-1].url.count(
            '/os-instance-actions'))

    def test_decimal_commas(self):
        self.http.get(self.path, **nova.status())
        self.http.get(self.history, json={'instanceActions': nova.ACTIONS})
        with translation.override('de'):
            self.assertNotRegex(self.render(), r' (x|y|width)="\d+,')

    def test_no_change(self):
        self.http.get(self.path, **nova.status())
        self.http.get(self.history, json={'instanceActions': []})
        self.assertIn('The size has never changed.', self.render())

    def test_no_history(self):
        self.http.get(self.path, **nova.status())
        self.http.get(self.history, **nova.refusal(403, 'Not for you.'))
        shown = self.render()
        self.assertIn('Not for you.', shown)
        self.assertIn('Sizes of this server', shown)

    def test_a_cloud_without_the_series(self):
        self.http.get(self.path, **nova.refusal(
            404, 'The resource could not be found.'))
        shown = self.render()
        self.assertIn('This cloud has no elastic servers', shown)
        self.assertNotIn('<svg', shown)

    def test_nothing_to_adjust(self):
        self.http.get(self.path, **nova.status())
        self.http.get(self.history, json={'instanceActions': []})
        self.instance.status = 'PAUSED'
        self.assertNotIn(self.url, self.render())


class FleetTest(Case, helpers.BaseAdminViewTests):

    def setUp(self):
        super().setUp()
        self.fleet = self.compute + '/os-xloud-adjust'
        projects = self.tenants.list()
        self.project = projects[0]
        self.tenant_list = mock.patch.object(
            horizon_api.keystone, 'tenant_list',
            return_value=(projects, False)).start()
        self.index = urls.reverse('horizon:admin:xloud_servers:index')

    def test_servers(self):
        self.http.get(self.fleet, json={'xloud_servers': [
            dict(nova.ROW, project_id=self.project.id)]})
        response = self.client.get(self.index)
        for text in ('web1', 'cmp1', self.project.name, '2, charged 3',
                     '1024\N{EN DASH}4096', 'Partial',
                     'The guest keeps a vCPU.',
                     urls.reverse('horizon:admin:xloud_servers:adjust',
                                  args=[nova.SERVER])):
            self.assertContains(response, text)
        self.assertEqual(['true'], self.http.last_request.qs['all_projects'])

    def test_what_nova_may_leave_out(self):
        row = dict(nova.ROW, name=None, project_id=None, reason=None,
                   since=None)
        del row['host']
        self.http.get(self.fleet, json={'xloud_servers': [row]})
        response = self.client.get(self.index)
        self.assertContains(response, nova.SERVER)
        self.assertNotContains(response, 'Never')

    def test_filters(self):
        self.http.get(self.fleet, json={
            'xloud_servers': [nova.ROW],
            'xloud_servers_links': [{'rel': 'next', 'href': 'x'}]})
        response = self.client.get(self.index, {
            'condition': 'Partial', 'host': 'cmp1',
            'project': self.project.name})
        sent = parse.parse_qs(parse.urlsplit(self.http.last_request.url).query)
        self.assertEqual(
            (['Partial'], ['cmp1'], [self.project.id]),
            (sent['condition'], sent['host'], sent['project_id']))
        # The next page has them too.
        self.assertContains(response, 'condition=Partial&amp;host=cmp1&amp;'
                            'project=%s&amp;marker=%s' % (
                                self.project.name, nova.SERVER))
        self.client.get(self.index, {'condition': 'none', 'project': 'x y'})
        sent = parse.parse_qs(parse.urlsplit(self.http.last_request.url).query)
        self.assertNotIn('condition', sent)
        self.assertEqual(['x y'], sent['project_id'])

    def test_conditions_by_which_nova_lists(self):
        self.http.get(self.fleet, json={'xloud_servers': []})
        response = self.client.get(self.index, {'condition': 'Unknown'})
        self.assertNotIn('condition', self.http.last_request.qs)
        self.assertEqual(
            ['', 'Settled', 'InProgress', 'Partial', 'Overcommitted'],
            re.findall('<option value="(.*)"', response.content.decode()))

    def test_projects_of_one_name(self):
        """Domains can have the same names."""
        self.http.get(self.fleet, json={'xloud_servers': [nova.ROW]})
        one, other = (types.SimpleNamespace(id=project_id, name='web')
                      for project_id in ('1', '2'))
        self.tenant_list.return_value = ([one, other], False)
        self.assertContains(
            self.client.get(self.index, {'project': 'web'}),
            'More than one project is named web.')
        self.client.get(self.index, {'project': '2'})
        self.assertEqual(['2'], self.http.last_request.qs['project_id'])

    def test_a_cloud_without_the_series(self):
        self.http.get(self.fleet, **nova.refusal(
            404, 'The resource could not be found.'))
        response = self.client.get(self.index)
        self.assertContains(response, 'This cloud has no elastic servers')
        self.assertEqual(200, response.status_code)

    def test_each_filter_has_a_label(self):
        self.http.get(self.fleet, json={'xloud_servers': []})
        response = self.client.get(self.index)
        # Without it the form does nothing.
        self.assertContains(response, ' action="%s"' % self.index)
        for name in ('condition', 'host', 'project'):
            self.assertContains(response, 'for="xloud-%s"' % name, count=1)
            self.assertContains(response, ' id="xloud-%s"' % name, count=1)
