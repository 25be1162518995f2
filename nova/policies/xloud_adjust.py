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

from oslo_policy import policy

from nova.policies import base

POLICY_ROOT = 'os_compute_api:xloud:%s'

xloud_adjust_policies = [
    policy.DocumentedRuleDefault(
        name=POLICY_ROOT % 'adjust',
        check_str=base.PROJECT_MEMBER_OR_ADMIN,
        description="Grow or shrink an elastic server inside the range of "
        "its flavor",
        operations=[
            {
                'method': 'POST',
                'path': '/os-xloud-adjust/{server_id}'
            }
        ],
        scope_types=['project']),
    policy.DocumentedRuleDefault(
        name=POLICY_ROOT % 'show',
        check_str=base.PROJECT_READER_OR_ADMIN,
        description="Show the sizes of a server, whether they are settled "
        "and what keeps them from changing",
        operations=[
            {
                'method': 'GET',
                'path': '/os-xloud-adjust/{server_id}'
            },
            {
                'method': 'GET',
                'path': '/servers/{server_id}/xloud-status'
            }
        ],
        scope_types=['project']),
]


def list_rules():
    return xloud_adjust_policies
