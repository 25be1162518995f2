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

"""What a Nova answers, over requests-mock."""

import copy

SERVER = 'fc2ee1c0-2a5b-4a5c-9d5e-0d8b1a2c3d4e'
STATUS = {
    'actual_memory_mb': 1024, 'actual_vcpus': 2, 'allocated_memory_mb': 2048,
    'allocated_vcpus': 3, 'attached_dimms_mb': 0,
    'balloon_driver_active': True, 'blockers': [], 'boot_memory_mb': 1024,
    'boot_vcpus': 2, 'condition': 'Settled', 'current_memory_mb': 1024,
    'current_vcpus': 2, 'desired_memory_mb': 1024, 'desired_vcpus': 2,
    'has_virtiomem': False, 'max_memory_mb': 4096, 'max_vcpus': 8,
    'min_memory_mb': 1024, 'min_vcpus': 2, 'online_vcpus': None,
    'reason': None, 'vcpu_step': 1}
FIXED = {'min_vcpus': 8, 'min_memory_mb': 4096, 'desired_vcpus': 8,
         'desired_memory_mb': 4096, 'current_vcpus': 8,
         'current_memory_mb': 4096, 'blockers': [
             {'code': 'not_elastic', 'dimension': 'vcpus',
              'message': 'The flavor has no range.'},
             {'code': 'not_elastic', 'dimension': 'memory_mb',
              'message': 'The flavor has no range.'}]}
ACTIONS = [
    {'action': 'xloud_settle', 'start_time': '2026-01-02T12:00:00.000000',
     'message': 'charged 4 vCPUs, 2048 MiB -> 3 vCPUs, 2048 MiB'},
    {'action': 'xloud_adjust', 'start_time': '2026-01-02T10:00:00.000000',
     'message': 'Error'},
    {'action': 'xloud_adjust', 'start_time': '2026-01-01T12:00:00.000000',
     'message': 'desired 2 vCPUs, 1024 MiB -> 4 vCPUs, 2048 MiB; '
     'boot 2 vCPUs, 1024 MiB -> 4 vCPUs, 2048 MiB; '
     'charged 2 vCPUs, 1024 MiB -> 4 vCPUs, 2048 MiB'},
    {'action': 'create', 'start_time': '2026-01-01T00:00:00.000000',
     'message': None},
]
ROW = {
    'id': SERVER, 'name': 'web1', 'project_id': '1', 'host': 'cmp1',
    'desired_vcpus': 2, 'desired_memory_mb': 1024, 'boot_vcpus': 2,
    'boot_memory_mb': 1024, 'allocated_vcpus': 3, 'allocated_memory_mb': 1024,
    'min_vcpus': 2, 'min_memory_mb': 1024, 'max_vcpus': 8,
    'max_memory_mb': 4096, 'condition': 'Partial',
    'reason': 'The guest keeps a vCPU.', 'since': '2026-01-02T12:00:00Z'}


def status(**changes):
    """As keywords of requests-mock."""
    return {'json': {'xloud_status': {**copy.deepcopy(STATUS), **changes}}}


def refusal(code, message):
    kinds = {400: 'badRequest', 403: 'forbidden', 404: 'itemNotFound',
             409: 'conflictingRequest'}
    return {'status_code': code,
            'json': {kinds[code]: {'code': code, 'message': message}}}
