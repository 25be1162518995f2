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

"""The tiny guest of the hypervisor lane, which is a file of Nova's tree."""

import importlib.util

from sandbox import layout

_spec = importlib.util.spec_from_file_location(
    'tiny_guest', layout.ROOT / 'nova/tests/hypervisor/tiny_guest.py')
assert _spec is not None and _spec.loader is not None
tiny_guest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_guest)
