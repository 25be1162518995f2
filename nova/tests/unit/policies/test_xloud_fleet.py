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

from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids

from nova.api.openstack.compute.schemas import xloud_fleet as schema
from nova.api.openstack.compute import xloud_fleet
from nova import context as nova_context
from nova import exception
from nova.policies import base as base_policy
from nova.policies import xloud_fleet as policies
from nova.tests.unit.api.openstack import fakes
from nova.tests.unit.policies import xloud_base

# A whole answer: since 30.0.0 tests validate what is answered.
SERVER = {
    **dict.fromkeys(schema._server['properties'], 1),
    'id': uuids.server, 'name': 'web1', 'project_id': 'p', 'host': 'host1',
    'condition': 'Settled', 'reason': None, 'since': None}


@mock.patch('nova.xloud.fleet.servers', return_value=[])
class XloudFleetPolicyTest(xloud_base.XloudPolicyTest):
    """Who lists whose elastic servers, with the defaults of new clouds."""

    without_deprecated_rules = True
    rules_without_deprecation = {
        policies.POLICY_ROOT % 'index': base_policy.PROJECT_READER_OR_ADMIN}

    def setUp(self):
        super().setUp()
        if xloud_base.SCOPE_IS_OPTIONAL:
            self.flags(enforce_scope=True, group='oslo_policy')
        self.controller = xloud_fleet.XloudFleetController()
        self.admins = self._contexts('legacy_admin', 'project_admin')
        # They all ask for the servers of their own project.
        self.readers = self.admins + self._contexts(
            'project_manager', 'project_member', 'project_reader',
            'other_project_manager', 'other_project_member',
            'other_project_reader')

    def _check(self, authorized, rule, query=''):
        req = fakes.HTTPRequest.blank('/os-xloud-adjust' + query)
        for context in self.all_contexts:
            req.environ['nova.context'] = context
            if any(context is one for one in authorized):
                self.controller.index(req)
                continue
            error = self.assertRaises(exception.PolicyNotAuthorized,
                                      self.controller.index, req)
            if any(context is one for one in self.readers):
                self.assertIn(policies.POLICY_ROOT % rule + ' ', str(error))

    def test_index_policy(self, servers):
        self._check(self.readers, 'index')

    def test_all_projects_policy(self, servers):
        for query in ('?all_projects=1', '?project_id=' + uuids.another):
            self._check(self.admins, 'index:all_projects', query)

    def test_host_policy(self, servers):
        self._check(self.admins, 'index:host', '?host=host1')

    def test_who_sees_the_host(self, servers):
        for contexts, sees in ((self.admins, True),
                               (self.readers[len(self.admins):], False)):
            for context in contexts:
                servers.return_value = [dict(SERVER)]
                req = fakes.HTTPRequest.blank('/os-xloud-adjust')
                req.environ['nova.context'] = context
                answer = self.controller.index(req)
                self.assertEqual(
                    sees, 'host' in answer['xloud_servers'][0])

    def test_token_without_a_project(self, servers):
        """It has no servers of its own, so it asks for those of all."""
        context = nova_context.RequestContext('user', None, roles=['reader'])
        req = fakes.HTTPRequest.blank('/os-xloud-adjust')
        req.environ['nova.context'] = context
        rule = policies.POLICY_ROOT % 'index'
        for check in ('rule:project_reader_or_admin',
                      'project_id:%(project_id)s', '@'):
            self.policy.set_rules({rule: check}, overwrite=False)
            self.assertRaises(exception.PolicyNotAuthorized,
                              self.controller.index, req)
        self.assertFalse(servers.called)
        self.policy.set_rules({rule + ':all_projects': '@'}, overwrite=False)
        self.controller.index(req)
        self.assertIsNone(servers.call_args.args[1].project_id)
