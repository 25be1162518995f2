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

"""One elastic server from its first boot to its end, for a person to watch.

``story`` runs in Nova's tree with the fixtures of its hypervisor tests and
tells what happens, a JSON line each. The others show it: ``words`` has the
text, ``screen`` puts it there, ``picture`` draws the sizes over time.
"""
