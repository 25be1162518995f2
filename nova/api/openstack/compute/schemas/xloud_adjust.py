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

import copy

from nova.api.validation import parameter_types
from nova.db import constants as db_const
from nova.xloud import blockers
from nova.xloud import condition

# A numeric string is accepted, as elsewhere in this API.
_size = {
    'type': ['integer', 'string'],
    'pattern': '^[0-9]+$', 'minLength': 1, 'maxLength': 10,
    'minimum': 1, 'maximum': db_const.MAX_INT,
}

adjust = {
    'type': 'object',
    'properties': {
        'current_vcpus': _size,
        'current_memory_mb': _size,
        'persist': parameter_types.boolean,
    },
    'additionalProperties': False,
}

show_query = {
    'type': 'object',
    'properties': {},
    'additionalProperties': True,
}

_amount = {'type': 'integer', 'minimum': 0}
_known_amount = {'type': ['integer', 'null'], 'minimum': 0}

_status = {
    'type': 'object',
    'properties': {
        # These nine are a contract with existing clients.
        'current_vcpus': _amount,
        'current_memory_mb': _amount,
        'min_vcpus': _amount,
        'min_memory_mb': _amount,
        'max_vcpus': _amount,
        'max_memory_mb': _amount,
        'balloon_driver_active': {'type': 'boolean'},
        'attached_dimms_mb': _amount,
        'has_virtiomem': {'type': 'boolean'},

        'desired_vcpus': _amount,
        'desired_memory_mb': _amount,
        'boot_vcpus': _amount,
        'boot_memory_mb': _amount,
        'allocated_vcpus': _amount,
        'allocated_memory_mb': _amount,
        'actual_vcpus': _known_amount,
        'actual_memory_mb': _known_amount,
        'online_vcpus': _known_amount,
        'vcpu_step': {'type': 'integer', 'minimum': 1},
        'condition': {'type': 'string', 'enum': list(condition.ALL)},
        'reason': {'type': ['string', 'null']},
        'blockers': {
            'type': 'array',
            'items': {
                'type': 'object',
                'properties': {
                    'code': {'type': 'string', 'enum': list(blockers.CODES)},
                    'dimension': {
                        'type': 'string',
                        'enum': [blockers.VCPUS, blockers.MEMORY],
                    },
                    'message': {'type': 'string'},
                },
                'required': ['code', 'dimension', 'message'],
                'additionalProperties': False,
            },
        },
    },
    'additionalProperties': False,
}
_status['required'] = sorted(_status['properties'])

show_response = {
    'type': 'object',
    'properties': {'xloud_status': _status},
    'required': ['xloud_status'],
    'additionalProperties': False,
}

adjust_response = copy.deepcopy(show_response)
