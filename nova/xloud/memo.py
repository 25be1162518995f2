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
import threading
import time
import typing as ty

from oslo_utils import timeutils

import nova.conf
from nova.xloud import allocation
from nova.xloud import limits
from nova.xloud import notes
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import untold

CONF = nova.conf.CONF

# A clock that gains more between two looks was set. One that is corrected
# slowly gains a few seconds a minute.
_MOST_GAIN = datetime.timedelta(seconds=10)
# How long Placement's answer counts if nothing here has changed it. Somebody
# may change an allocation by hand, or restore the database of Placement.
KNOWN_SECONDS = 600
# A guest that cannot be asked gets its time again once in such a part of it.
_PARTS = 4


class _Unplug(ty.NamedTuple):
    """What a guest was asked for that has not begun to give back vCPUs."""

    run: ty.Optional[str]
    vcpus: int
    target: size.Size


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
        # What was in the way when Placement refused a lower charge. After a
        # start it is not known: another Placement may accept what one before
        # 14.0.0 refused.
        self.obstacles: ty.FrozenSet[allocation.Obstacle] = frozenset()
        self.room = limits.Room()
        # Without a request. It failed when it was saved, and may have been
        # saved nevertheless.
        self.unsure: ty.Optional[untold.Change] = None
        self.requests = untold.Requests()
        # Held while its allocation and its row change one after the other
        self.writing = threading.Lock()
        self.leisure = limits.Leisure()
        # Whether it was looked at since the service has started
        self._is_known = False
        # The clock less the monotonic one, which nobody sets, at the last look
        self._offset: ty.Optional[datetime.datetime] = None
        # Whether its guest did nothing, or was asked for nothing, before it
        # reached its desired size
        self._was_held_up = False
        # Whether the hypervisor had no time when it was last to ask the guest
        self.is_asked_in_vain = False
        self._unplug: ty.Optional[_Unplug] = None

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
            self._was_held_up |= known.has_left_over or (
                notes.awaited(instance) is not None)
        if known.is_held_up or is_clock_set:
            self._was_held_up |= guest.running and (
                known.is_settling or known.has_strayed)
        elif known.is_start or not (
                known.is_settling or known.has_left_over):
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

    def begin_anew(self, instance, follows_start: bool) -> None:
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
        self.leisure.mark_changed(instance, now, follows_start)

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
        if asked is None or (
                (asked.run, asked.vcpus) != (guest.run, guest.vcpus)):
            return False
        return target is None or (
            target.vcpus == asked.target.vcpus and
            target.memory_mb in (None, asked.target.memory_mb))

    def note_unplug(self, guest, target: size.Size) -> None:
        """Remember that the guest was asked and has not begun."""
        if guest.vcpus > target.vcpus:
            self._unplug = _Unplug(guest.run, guest.vcpus, target)
