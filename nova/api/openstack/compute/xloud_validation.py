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

"""Decorators of API controllers that older releases of Nova do not have."""

from nova.api import validation


def _unchanged(decorated):
    return decorated


# Upstream has these two since 32.0.0 and 30.0.0, and demands them there.
validated = getattr(validation, 'validated', _unchanged)
response_body_schema = getattr(
    validation, 'response_body_schema', lambda schema: _unchanged)
