#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Python imports this first where the folder is in PYTHONPATH."""

import gc
import os

if os.environ.get('XLOUD_LANE'):
    # Nova and its tests are half a million objects that stay. To look at all
    # of them as often as by default takes a sixth of the time of a lane.
    gc.set_threshold(*gc.get_threshold()[:2], 300)

if os.environ.get('XLOUD_RECORD_HOOKS'):
    from tools import hooks

    hooks.start_recording(os.environ[hooks.VARIABLE])
