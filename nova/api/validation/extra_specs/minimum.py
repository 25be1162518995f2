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

"""Validators for the extra specs that make a server elastic.

A validator sees one key and its value, never the flavor. That a minimum is
not above the flavor's size is therefore checked when a server is created,
resized or rebuilt.
"""

from nova.api.validation.extra_specs import base


EXTRA_SPEC_VALIDATORS = [
    base.ExtraSpecValidator(
        name='minimum_cpu',
        description=(
            'The number of vCPUs a server has when it first boots, and the '
            'fewest it can be shrunk to while it runs. The ``vcpus`` of the '
            'flavor are the most it can grow to. Without this extra spec the '
            'number of vCPUs is fixed. '
            'Only supported by the libvirt virt driver.'
        ),
        value={
            'type': int,
            'min': 1,
            'description': 'The minimum number of vCPUs.',
        },
    ),
    base.ExtraSpecValidator(
        name='minimum_memory',
        description=(
            'The memory in MiB a server has when it first boots, and the '
            'least it can be shrunk to while it runs. The ``ram`` of the '
            'flavor is the most it can grow to. Without this extra spec the '
            'amount of memory is fixed. '
            'Only supported by the libvirt virt driver.'
        ),
        value={
            'type': int,
            'min': 1,
            'description': 'The minimum memory in MiB.',
        },
    ),
]


def register():
    return EXTRA_SPEC_VALIDATORS
