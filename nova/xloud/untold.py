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

"""What changes the sizes of a server, and may be in no instance action."""

import datetime
import typing as ty

from oslo_utils import timeutils

from nova.xloud import situation

# How long nova-api may take to record a change after its host has made it.
_TOLD_SECONDS = 60


class Change(ty.NamedTuple):

    before: situation.Sizes
    after: situation.Sizes
    # Naive UTC
    when: datetime.datetime


class Requests:
    """What requests change, until nova-api has had the time to record it."""

    def __init__(self):
        # The request that changes the server, and its Sizes before that
        self._running: ty.Optional[ty.Tuple[str, situation.Sizes]] = None
        # By request: what it has left
        self._ended: ty.Dict[str, Change] = {}

    def begin(self, request_id: str, sizes: situation.Sizes) -> (
            situation.Sizes):
        """Remember what a server had, unless the request has begun before.

        :returns: what it had before the request
        """
        if self._running is None or self._running[0] != request_id:
            self._running = request_id, sizes
        return self._running[1]

    def end(self, request_id: str, sizes: situation.Sizes) -> None:
        """Remember what a request leaves, if it has begun here."""
        if self._running is not None and self._running[0] == request_id:
            self._ended[request_id] = Change(
                self._running[1], sizes, timeutils.utcnow())

    def forget_end(self, request_id: str) -> None:
        """Remember nothing of what a request leaves: it goes on."""
        self._ended.pop(request_id, None)

    def pop_untold(self) -> ty.List[ty.Tuple[str, Change]]:
        """What nova-api has had the time to record, the first one first.

        :returns: (id of the request, what it has left)
        """
        now = timeutils.utcnow()
        # A request can add another one at the same time.
        return [(request_id, self._ended.pop(request_id))
                for request_id, change in list(self._ended.items())
                if not situation.is_waiting(change.when, now, _TOLD_SECONDS)]
