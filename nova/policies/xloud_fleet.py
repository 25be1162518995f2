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

xloud_fleet_policies = [
    policy.DocumentedRuleDefault(
        name=POLICY_ROOT % 'index',
        check_str=base.PROJECT_READER_OR_ADMIN,
        description="List the elastic servers of a project with their sizes",
        operations=[
            {
                'method': 'GET',
                'path': '/os-xloud-adjust'
            }
        ],
        scope_types=['project']),
    policy.DocumentedRuleDefault(
        name=POLICY_ROOT % 'index:all_projects',
        check_str=base.ADMIN,
        description="List the elastic servers of all projects or of another "
        "project",
        operations=[
            {
                'method': 'GET',
                'path': '/os-xloud-adjust'
            }
        ],
        scope_types=['project']),
    policy.DocumentedRuleDefault(
        name=POLICY_ROOT % 'index:host',
        check_str=base.ADMIN,
        description="See the host of each elastic server in a list of them, "
        "and list those of a host",
        operations=[
            {
                'method': 'GET',
                'path': '/os-xloud-adjust'
            }
        ],
        scope_types=['project']),
]


def list_rules():
    return xloud_fleet_policies
