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

from nova.scheduler import filters
from nova.xloud import growth


class XloudGrowthFilter(filters.BaseHostFilter):
    """Leaves room on hosts for the elastic servers that run there.

    See ``[xloud] room_for_growth``. Moves and grows may use that room.
    """

    def host_passes(self, host_state, spec_obj):
        return growth.keep_room(host_state, spec_obj)
