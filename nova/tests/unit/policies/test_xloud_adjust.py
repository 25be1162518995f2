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

import unittest

import fixtures
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils

from nova.api.openstack.compute import xloud_adjust
from nova.compute import vm_states
from nova import exception
from nova.policies import base as base_policy
from nova.policies import xloud_adjust as policies
from nova.tests.unit.api.openstack import fakes
from nova.tests.unit import fake_instance
from nova.tests.unit.policies import xloud_base
from nova.tests.unit.xloud import fake_status


class XloudAdjustPolicyTest(xloud_base.XloudPolicyTest):
    """Test the policies of elastic servers with all possible contexts.

    This class defines the sets of contexts with different roles which are
    allowed and not allowed to pass the policy checks. With those sets of
    contexts, it calls the API operations and verifies the expected behaviour.
    """

    def setUp(self):
        super().setUp()
        self.controller = xloud_adjust.XloudAdjustController()
        self.req = fakes.HTTPRequest.blank('')
        self.mock_get = self.useFixture(
            fixtures.MockPatch('nova.api.openstack.common.get_instance')).mock
        self.instance = fake_instance.fake_instance_obj(
            self.project_member_context,
            id=1, uuid=uuids.fake_id, project_id=self.project_id,
            vm_state=vm_states.ACTIVE, task_state=None,
            launched_at=timeutils.utcnow())
        self.mock_get.return_value = self.instance
        # Since 30.0.0 tests validate what is answered.
        for name in ('nova.xloud.api.status',
                     'nova.compute.api.API.xloud_adjust'):
            self.useFixture(fixtures.MockPatch(
                name, return_value=fake_status.STATUS))

        # With legacy rules and no scope checks, all admins and everyone in
        # the project of the server can see and change it.
        self.project_member_authorized_contexts = self._contexts(
            'legacy_admin', 'project_admin', 'project_manager',
            'project_member', 'project_reader', 'project_foo')
        if xloud_base.SCOPE_IS_OPTIONAL:
            self.project_member_authorized_contexts += self._contexts(
                'system_admin')
        self.project_reader_authorized_contexts = (
            self.project_member_authorized_contexts)

    def test_adjust_policy(self):
        self.common_policy_auth(self.project_member_authorized_contexts,
                                policies.POLICY_ROOT % 'adjust',
                                self.controller.adjust,
                                self.req, self.instance.uuid,
                                body={'current_vcpus': 4})

    def test_show_policy(self):
        self.common_policy_auth(self.project_reader_authorized_contexts,
                                policies.POLICY_ROOT % 'show',
                                self.controller.show,
                                self.req, self.instance.uuid)


class XloudAdjustOwnerPolicyTest(XloudAdjustPolicyTest):
    """A site may keep both to the user who made the server."""

    def test_owner(self):
        self.instance.user_id = self.project_member_context.user_id
        self.policy.set_rules(
            {policies.POLICY_ROOT % name: 'user_id:%(user_id)s'
             for name in ('adjust', 'show')}, overwrite=False)
        calls = (
            (self.controller.show, {}),
            (self.controller.adjust, {'body': {'current_vcpus': 4}}))
        for call, kwargs in calls:
            self.req.environ['nova.context'] = self.project_member_context
            call(self.req, self.instance.uuid, **kwargs)
            self.req.environ['nova.context'] = self.project_reader_context
            self.assertRaises(exception.PolicyNotAuthorized, call, self.req,
                              self.instance.uuid, **kwargs)


class XloudAdjustNoLegacyNoScopePolicyTest(XloudAdjustPolicyTest):
    """Test the policies of elastic servers with no legacy deprecated rules
    and no scope checks.
    """

    without_deprecated_rules = True
    rules_without_deprecation = {
        policies.POLICY_ROOT % 'adjust': base_policy.PROJECT_MEMBER_OR_ADMIN,
        policies.POLICY_ROOT % 'show': base_policy.PROJECT_READER_OR_ADMIN}

    def setUp(self):
        super().setUp()
        # With no legacy rule, only members change and readers see it.
        scope = 'no_scope' if xloud_base.SCOPE_IS_OPTIONAL else 'scope'
        self.project_member_authorized_contexts = getattr(
            self, f'project_member_or_admin_with_{scope}_no_legacy')
        self.project_reader_authorized_contexts = getattr(
            self, f'project_reader_or_admin_with_{scope}_no_legacy')


@unittest.skipUnless(xloud_base.SCOPE_IS_OPTIONAL,
                     'all other tests here check scope')
class XloudAdjustScopeTypePolicyTest(XloudAdjustPolicyTest):
    """Test the policies of elastic servers with system scope enabled.

    This class sets the nova.conf [oslo_policy] enforce_scope to True so that
    the scope checking on the oslo policy side is on.
    """

    def setUp(self):
        super().setUp()
        self.flags(enforce_scope=True, group='oslo_policy')
        # With scope enabled, system users are no longer allowed.
        self.project_member_authorized_contexts = (
            self.project_m_r_or_admin_with_scope_and_legacy)
        self.project_reader_authorized_contexts = (
            self.project_m_r_or_admin_with_scope_and_legacy)


class XloudAdjustScopeTypeNoLegacyPolicyTest(XloudAdjustScopeTypePolicyTest):
    """Test the policies of elastic servers with system scope enabled and no
    more deprecated rules.
    """

    without_deprecated_rules = True
    rules_without_deprecation = {
        policies.POLICY_ROOT % 'adjust': base_policy.PROJECT_MEMBER_OR_ADMIN,
        policies.POLICY_ROOT % 'show': base_policy.PROJECT_READER_OR_ADMIN}

    def setUp(self):
        super().setUp()
        # With no legacy rule and scope enabled, only project admins, members
        # and readers are left.
        self.project_member_authorized_contexts = (
            self.project_member_or_admin_with_scope_no_legacy)
        self.project_reader_authorized_contexts = (
            self.project_reader_or_admin_with_scope_no_legacy)
