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

"""What a compute service answers about a guest.

Only this module writes and reads that part of the RPC API. nova-api and
nova-compute can be of different releases. So no key is removed or means
something else later, and a key that is added may be missing.
"""

import typing as ty

from nova.xloud import guest as elastic_guest
from nova.xloud import size


class Left(ty.NamedTuple):
    """The sizes that an adjust has left, whatever has changed since."""

    desired: size.Size
    boot: size.Size
    charged: size.Size


class Answer(ty.NamedTuple):
    # None if it is not known what the guest holds.
    guest: ty.Optional[elastic_guest.GuestState] = None
    # No guest runs though one should.
    is_missing: bool = False
    # Only after an adjust
    left: ty.Optional[Left] = None

    def to_rpc(self) -> ty.Dict[str, ty.Any]:
        guest = self.guest
        return {
            'is_missing': self.is_missing,
            'online_vcpus': guest.online_vcpus if guest else None,
            'is_returning': bool(guest and guest.is_returning),
            # 0 if the guest does not run
            'actual_vcpus': guest.vcpus if guest else None,
            'actual_memory_mb': guest.memory_mb if guest else None,
            'balloon_driver_active': bool(guest and guest.balloon_active),
            'memory_pinned': bool(guest and guest.memory_pinned),
            'used_memory_mb': guest.used_memory_mb if guest else None,
            'cannot_plug': bool(guest and guest.cannot_plug),
            'missing_statistic': guest.missing_statistic if guest else None,
            'fixed_vcpus': guest.fixed_vcpus if guest else 0,
            'is_still': bool(guest and guest.is_still),
            'is_busy': bool(guest and guest.is_busy),
            'has_stale_config': bool(guest and guest.has_stale_config),
            'left': self.left and {
                word: list(one) for word, one in self.left._asdict().items()},
        }

    @classmethod
    def from_rpc(cls, answer) -> 'Answer':
        vcpus, memory_mb = answer['actual_vcpus'], answer['actual_memory_mb']
        left = answer.get('left') and Left(**{
            word: size.Size(*one) for word, one in answer['left'].items()})
        if None in (vcpus, memory_mb):
            return cls(is_missing=answer.get('is_missing', False), left=left)
        return cls(elastic_guest.GuestState(
            running=(vcpus, memory_mb) != (0, 0),
            vcpus=vcpus, memory_mb=memory_mb,
            balloon_active=answer['balloon_driver_active'],
            used_memory_mb=answer['used_memory_mb'],
            memory_pinned=answer['memory_pinned'],
            cannot_plug=answer['cannot_plug'],
            is_returning=answer.get('is_returning', False),
            online_vcpus=answer.get('online_vcpus'),
            missing_statistic=answer.get(
                'missing_statistic', elastic_guest.UNNAMED),
            fixed_vcpus=answer.get('fixed_vcpus', 0),
            is_still=answer.get('is_still', False),
            is_busy=answer.get('is_busy', False),
            has_stale_config=answer.get('has_stale_config', False)),
            answer.get('is_missing', False), left)
