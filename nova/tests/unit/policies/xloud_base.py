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

"""The base of tests of our policies, for all releases of Nova."""

from oslo_policy import opts as policy_opts

from nova.tests.unit.policies import base

# Until 33.0.0; after that oslo.policy always enforces it.
SCOPE_IS_OPTIONAL = any(
    option.name == 'enforce_scope' for option in policy_opts._options)


class XloudPolicyTest(base.BasePolicyTest):

    def _contexts(self, *names):
        """Those of them that this release has."""
        return [getattr(self, name + '_context') for name in names
                if hasattr(self, name + '_context')]
