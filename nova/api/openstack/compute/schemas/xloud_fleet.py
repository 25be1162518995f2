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

from nova.api.validation import parameter_types
from nova.xloud import noted

_condition = {'type': 'string', 'enum': list(noted.CONDITIONS)}
_text = {'type': 'string', 'minLength': 1, 'maxLength': 255}

index_query = {
    'type': 'object',
    'properties': {
        'condition': parameter_types.multi_params(_condition),
        'host': parameter_types.single_param(_text),
        'project_id': parameter_types.single_param(_text),
        'all_projects': parameter_types.single_param(
            parameter_types.boolean),
        **parameter_types.pagination_parameters,
    },
    # A misspelt filter must not list all servers.
    'additionalProperties': False,
}

_amount = {'type': 'integer', 'minimum': 0}

_server = {
    'type': 'object',
    'properties': {
        'id': {'type': 'string', 'format': 'uuid'},
        'name': {'type': ['string', 'null']},
        'project_id': {'type': ['string', 'null']},
        'desired_vcpus': _amount,
        'desired_memory_mb': _amount,
        'boot_vcpus': _amount,
        'boot_memory_mb': _amount,
        'allocated_vcpus': _amount,
        'allocated_memory_mb': _amount,
        'min_vcpus': _amount,
        'min_memory_mb': _amount,
        'max_vcpus': _amount,
        'max_memory_mb': _amount,
        'condition': _condition,
        'reason': {'type': ['string', 'null']},
        # Before 32.0.0 the format is also checked of what is no string.
        'since': {'oneOf': [{'type': 'string', 'format': 'date-time'},
                            {'type': 'null'}]},
    },
    'additionalProperties': False,
}
_server['required'] = sorted(_server['properties'])
# Only for those whom the policy lets see it.
_server['properties']['host'] = {'type': ['string', 'null']}

index_response = {
    'type': 'object',
    'properties': {
        'xloud_servers': {'type': 'array', 'items': _server},
        'xloud_servers_links': {
            'type': 'array',
            'items': {
                'type': 'object',
                'properties': {
                    'rel': {'type': 'string', 'enum': ['next']},
                    'href': {'type': 'string', 'format': 'uri'},
                },
                'required': ['rel', 'href'],
                'additionalProperties': False,
            },
        },
    },
    'required': ['xloud_servers'],
    'additionalProperties': False,
}
