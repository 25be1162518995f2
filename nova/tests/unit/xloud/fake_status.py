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

"""What nova.xloud.api answers of an elastic server."""

from nova.xloud import blockers
from nova.xloud import condition
from nova.xloud import guest as elastic_guest
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import status

STATUS = status.Status(
    sizes=situation.Sizes(
        minimum=size.Size(1, 1024), maximum=size.Size(8, 8192),
        desired=size.Size(4, 4096), boot=size.Size(2, 2048),
        charged=size.Size(5, 5120)),
    current=size.Size(3, 3072), condition=condition.IN_PROGRESS, reason='why',
    blockers=[blockers.Blocker('locked', 'vcpus', 'because')], vcpu_step=1,
    guest=elastic_guest.GuestState(
        running=True, vcpus=3, memory_mb=3072, balloon_active=True,
        used_memory_mb=512, memory_pinned=False, online_vcpus=2))
