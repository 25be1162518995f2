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

from nova.xloud import size

_UNKNOWN = size.Size(None, None)


class ViewBuilder:
    """Models the status of a server's size as a dictionary.

    The schema of the response says which field means what.
    """

    def show(self, status):
        """:param status: nova.xloud.status.Status"""
        guest, sizes = status.guest, status.sizes
        view = {
            'online_vcpus': guest.online_vcpus if guest else None,
            'balloon_driver_active': bool(guest and guest.balloon_active),
            # Only the balloon changes memory. Clients expect these two
            # fields.
            'attached_dimms_mb': 0,
            'has_virtiomem': False,
            'vcpu_step': status.vcpu_step,
            'condition': status.condition,
            'reason': status.reason,
            'blockers': [blocker._asdict() for blocker in status.blockers],
        }
        for word, held in (('current', status.current),
                           ('min', sizes.minimum),
                           ('max', sizes.maximum),
                           ('desired', sizes.desired),
                           ('boot', sizes.boot),
                           ('allocated', sizes.charged),
                           ('actual', guest.holds if guest else _UNKNOWN)):
            view[word + '_vcpus'] = held.vcpus
            view[word + '_memory_mb'] = held.memory_mb
        return view
