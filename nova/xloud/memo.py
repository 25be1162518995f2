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

"""What a compute service remembers of an elastic server between two looks.

It only saves questions, writes and requests: a service that has just started
remembers nothing, and finds out again.
"""

import datetime
import time
import typing as ty

from oslo_utils import timeutils

import nova.conf
from nova.xloud import notes
from nova.xloud import situation
from nova.xloud import size

CONF = nova.conf.CONF

# After a change that no user asked for: how long the next one waits. Only a
# higher charge does not wait.
_LEISURE_SECONDS = 60
_MOST_LEISURE_SECONDS = 3600
# A clock that gains more between two looks was set. One that is corrected
# slowly gains a few seconds a minute.
_MOST_GAIN = datetime.timedelta(seconds=10)
# How long Placement's answer counts if nothing here has changed it. Somebody
# may change an allocation by hand, or restore the database of Placement.
KNOWN_SECONDS = 600
# A guest that cannot be asked gets its time again once in such a part of it.
_PARTS = 4
# How long nova-api may take to record a change after its host has made it.
_TOLD_SECONDS = 60


class _Leisure(ty.NamedTuple):
    """Limits the writes for a guest that moves its balloon by itself."""

    # When the server was last asked to change
    asked: ty.Optional[datetime.datetime]
    # The next change waits for some seconds from then on
    since: datetime.datetime
    seconds: int
    # By how many MiB the charge last rose
    step_mb: int


class _NoRoom(ty.NamedTuple):
    """Limits the questions to a host that has no room for a server."""

    needed: size.Size
    # It is not asked for some seconds from then on
    since: datetime.datetime
    seconds: int


class Change(ty.NamedTuple):
    """A change of the sizes that an instance action may not have."""

    before: situation.Sizes
    after: situation.Sizes
    # Naive UTC
    when: datetime.datetime


class _Unplug(ty.NamedTuple):
    """What a guest was asked for that has not begun to give back vCPUs."""

    run: ty.Optional[str]
    vcpus: int
    target: size.Size


def _longer(seconds):
    return min(max(2 * seconds, _LEISURE_SECONDS), _MOST_LEISURE_SECONDS)


def _is_waiting(limit):
    """Whether a limit holds now. It ends if the clock is set back."""
    return limit is not None and situation.is_waiting(
        limit.since, timeutils.utcnow(), limit.seconds)


class AllAllocations:
    """Limits how long it is known what the servers of a host have."""

    def __init__(self):
        self._since = time.monotonic()

    def are_outdated(self) -> bool:
        """Whether Placement has to be asked about all of them now."""
        if time.monotonic() - self._since < KNOWN_SECONDS:
            return False
        self._since = time.monotonic()
        return True


class Memo:

    def __init__(self):
        # The charge that its allocation is known to have. It is not known
        # after a start, so that what a crash left is found.
        self._verified: ty.Optional[size.Size] = None
        # Whether nothing has changed its allocation since Placement was asked
        self.is_asked = False
        # Whether Placement has refused a lower charge. Another Placement may
        # accept what one before 14.0.0 refused.
        self.is_release_refused = False
        # Whether Placement had less than its charge when it last said that,
        # None if nobody has asked. The books say only of some servers which of
        # both is why there is no room.
        self.is_lacking: ty.Optional[bool] = None
        # Why not to ask for more, for some time
        self.no_room: ty.Optional[_NoRoom] = None
        # Without a request. It failed when it was saved, and may have been
        # saved nevertheless.
        self.unsure: ty.Optional[Change] = None
        # Whether it was looked at since the service has started
        self._is_known = False
        # The clock less the monotonic one, which nobody sets, at the last look
        self._offset: ty.Optional[datetime.datetime] = None
        # Whether its guest did nothing, or was asked for nothing, before it
        # reached its desired size
        self._was_held_up = False
        # Whether the hypervisor had no time when it was last to ask the guest
        self.is_asked_in_vain = False
        # How long a change that no user asked for waits
        self._leisure: ty.Optional[_Leisure] = None
        self._unplug: ty.Optional[_Unplug] = None
        # The request that changes the server, and its Sizes before that
        self._request: ty.Optional[ty.Tuple[str, situation.Sizes]] = None
        # By request: what it has left, as long as nova-api may not have said
        # so
        self._untold: ty.Dict[str, Change] = {}

    def look_at(self, instance, guest, is_configured=False) -> (
            situation.Situation):
        """The situation of a server that is now looked at.

        A guest that is held up has its time when that is over, and one whose
        clock is set has it from now on.

        :param is_configured: whether the hypervisor has just been given the
            boot size for its configuration
        """
        known = situation.of(instance, guest, timeutils.utcnow())
        is_clock_set = (
            self._is_set_forward(known.now) or known.is_clock_set_back)
        if not self._is_known:
            # Nobody has asked its guest while there was no service.
            self._is_known = True
            self._was_held_up |= notes.awaited(instance) is not None
        if known.is_held_up or is_clock_set:
            self._was_held_up |= guest.running and (
                known.is_settling or known.has_strayed)
        elif not known.is_settling or known.is_start:
            self._was_held_up = False
        return known._replace(
            was_held_up=self._was_held_up,
            is_config_current=is_configured or known.is_config_current)

    def _is_set_forward(self, now):
        """Whether the clock was set forward since the last look."""
        before, self._offset = self._offset, (
            now - datetime.timedelta(seconds=time.monotonic()))
        return before is not None and self._offset - before > _MOST_GAIN

    def hold_up(self) -> None:
        """Remember that the guest did nothing, or was asked for nothing."""
        self._was_held_up = True

    def begin_anew(self, instance) -> None:
        """Give a guest the time for a change from now on.

        One that cannot be asked, and has got its time a short time ago, gets
        it when it can: otherwise each look would write that.
        """
        now, before = timeutils.utcnow(), notes.changed_at(instance)
        if self.is_asked_in_vain and before is not None and (
                before <= now and situation.is_waiting(
                    before, now, CONF.xloud.settle_timeout // _PARTS)):
            return
        self._was_held_up = False
        leisure = self._leisure_of(instance)
        notes.mark_changed(instance, now)
        if leisure is not None:
            self._leisure = leisure._replace(asked=notes.changed_at(instance))

    # What is allocated

    def is_verified(self, instance) -> bool:
        """Whether its allocation is known to be what it is charged.

        The charge may be another one, because somebody else has written the
        row, such as with a backup of the database.
        """
        return self._verified == size.charged(instance)

    def doubt(self) -> None:
        """Its allocation changes: what Placement said before is outdated."""
        self._verified = None
        self.is_asked = False

    def verify(self, instance) -> None:
        """Its allocation is what it is charged."""
        self._verified = size.charged(instance)

    # Room

    def is_without_room(self) -> bool:
        """Whether its host had no room for more, a short time ago."""
        return _is_waiting(self.no_room)

    def note_no_room(self, needed: size.Size) -> None:
        """After several times in a row, the host is asked less often."""
        seconds = _longer(self.no_room.seconds if self.no_room else 0)
        self.no_room = _NoRoom(needed, timeutils.utcnow(), seconds)

    # vCPUs that are asked back

    def forget_unplug(self, guest) -> None:
        """Forget a request that the guest has begun to follow."""
        if not self.is_unplugging(guest):
            self._unplug = None

    def is_unplugging(self, guest, target=None) -> bool:
        """Whether the guest was asked already to give back vCPUs.

        Each time libvirt would wait for seconds.
        """
        asked = self._unplug
        return asked is not None and (
            (asked.run, asked.vcpus) == (guest.run, guest.vcpus) and
            target in (None, asked.target))

    def note_unplug(self, guest, target: size.Size) -> None:
        """Remember that the guest was asked and has not begun."""
        if guest.vcpus > target.vcpus:
            self._unplug = _Unplug(guest.run, guest.vcpus, target)

    # What a request changes

    def begin_request(self, request_id: str, sizes: situation.Sizes) -> (
            situation.Sizes):
        """Remember what a server had, unless the request has begun before.

        :returns: what it had before the request
        """
        if self._request is None or self._request[0] != request_id:
            self._request = request_id, sizes
        return self._request[1]

    def note_request(self, request_id: str, sizes: situation.Sizes) -> None:
        """Remember what a request leaves, if it has begun here."""
        if self._request is not None and self._request[0] == request_id:
            self._untold[request_id] = Change(
                self._request[1], sizes, timeutils.utcnow())

    def forget_request(self, request_id: str) -> None:
        """Remember nothing of what a request leaves: it goes on."""
        self._untold.pop(request_id, None)

    def pop_untold(self) -> ty.List[ty.Tuple[str, Change]]:
        """What nova-api has had the time to record, the first one first.

        :returns: (id of the request, what it has left)
        """
        now = timeutils.utcnow()
        # A request can add another one at the same time.
        return [(request_id, self._untold.pop(request_id))
                for request_id, change in list(self._untold.items())
                if not situation.is_waiting(change.when, now, _TOLD_SECONDS)]

    # Changes that no user asked for

    def note_unasked(self, instance, step_mb: int) -> None:
        """Remember such a change. Only from the second on, the next waits."""
        leisure = self._leisure_of(instance)
        if self._leisure_now(instance) is not None:
            since, seconds = leisure.since, leisure.seconds
        else:
            seconds = _longer(leisure.seconds) if leisure else 0
            since = timeutils.utcnow()
        self._leisure = _Leisure(
            notes.changed_at(instance), since, seconds, max(step_mb, 0))

    def end_leisure(self) -> None:
        self._leisure = None

    def rounded(self, instance, charge: size.Size) -> size.Size:
        """What to charge a guest that takes memory again and again.

        Each step is twice the last one, so that there are only a few.
        """
        leisure = self._leisure_now(instance)
        covered_mb = size.moved(instance).memory_mb
        if leisure is None or charge.memory_mb <= covered_mb:
            return charge
        return charge._replace(memory_mb=max(charge.memory_mb, min(
            covered_mb + 2 * leisure.step_mb,
            size.maximum(instance.flavor).memory_mb)))

    def can_rest(self, instance, held: size.Size, charge: size.Size) -> bool:
        """Whether a change that no user asked for can wait.

        All that the guest holds is charged, or known not to fit.
        """
        return (self._leisure_now(instance) is not None and
                not size.grows(charge, size.charged(instance)) and
                not size.grows(held, size.moved(instance)))

    def _leisure_of(self, instance):
        leisure = self._leisure
        if leisure is None or leisure.asked != notes.changed_at(instance):
            return None
        return leisure

    def _leisure_now(self, instance):
        leisure = self._leisure_of(instance)
        return leisure if _is_waiting(leisure) else None
