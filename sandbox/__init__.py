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


"""The fork for real on one machine: every service a process of its own.

A module is what it is named after: what has to be configured, prepared and
started for it. ``stack`` has the order of all of it, ``processes`` starts and
ends. ``check`` takes the ``steps`` of the end-to-end check, ``servers`` makes
and changes its servers, ``probes`` looks at them. All that is made lies in
``build/sandbox`` and listens on the loopback device or in network namespaces
of its own; nothing of the machine's own services, interfaces and routes is
started, stopped or configured.

Standard library only, but for what ``client`` and ``schemas`` import when they
are called, and for ``taps``, which only Neutron imports.
"""
