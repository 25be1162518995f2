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

from nova import context
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import quota
from nova.xloud import size


class QuotaTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.admin = context.RequestContext(
            'admin', 'admins', is_admin=True)
        self.instance = fakes.server()

    def _check(self, vcpus, memory_mb, **kwargs):
        quota.check(
            self.admin, self.instance,
            quota.growth_of(self.instance, vcpus, memory_mb), **kwargs)

    @mock.patch('nova.objects.Quotas.check_deltas')
    def test_only_growth_over_the_charge(self, check):
        for asked, deltas in (((3, None), {'cores': 1}),
                              ((2, 2049), {'ram': 1}),
                              ((8, 4096), {'cores': 6, 'ram': 2048}),
                              ((2, 2048), None), ((None, 2048), None)):
            check.reset_mock()
            self._check(*asked)
            if deltas is None:
                check.assert_not_called()
            else:
                # The owner's, whoever calls.
                check.assert_called_once_with(
                    self.admin, deltas, 'owners', user_id='owner',
                    check_project_id='owners', check_user_id='owner')
        # What it is charged already it may have again.
        size.record(self.instance, size.Size(4, 4096), size.Size(2, 2048))
        check.reset_mock()
        self._check(4, 4096)
        check.assert_not_called()

    @mock.patch('nova.limit.placement._get_usage',
                return_value={'class:VCPU': 4})
    @mock.patch('oslo_limit.limit.Enforcer')
    def test_unified_limits(self, enforcer, usage):
        self.flags(driver='nova.quota.UnifiedLimitsDriver', group='quota')
        self._check(4, 2048)
        enforcer.return_value.enforce.assert_called_once_with(
            'owners', {'class:VCPU': 2})
        # What is counted already is not counted again.
        self._check(4, 2048, is_charged=True)
        enforcer.return_value.enforce.assert_called_with(
            'owners', {'class:VCPU': 0})
