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

"""What is known of an elastic server at one moment.

nova.xloud.condition says from it what a user sees, and nova.xloud.decision
what to do. Neither asks anybody for more.
"""

import datetime
import typing as ty

from nova.compute import task_states
from nova.compute import vm_states
import nova.conf
from nova.xloud import guest as elastic_guest
from nova.xloud import memory
from nova.xloud import notes
from nova.xloud import size

CONF = nova.conf.CONF

# The task of an adjust is among these, as a resize uses the same value.
_NOTHING_ELSE = (None, task_states.RESIZE_PREP)
_HELD_UP = (vm_states.PAUSED, vm_states.ERROR, vm_states.RESIZED)


class Sizes(ty.NamedTuple):
    """What is known of a server without asking its hypervisor."""

    minimum: size.Size
    maximum: size.Size
    desired: size.Size
    boot: size.Size
    charged: size.Size


def sizes_of(instance) -> Sizes:
    return Sizes(
        minimum=size.minimum(instance.flavor),
        maximum=size.maximum(instance.flavor),
        desired=size.desired(instance),
        boot=size.boot(instance),
        charged=size.charged(instance))


def is_waiting(
    since: ty.Optional[datetime.datetime],
    now: datetime.datetime,
    settle_timeout: int,
) -> bool:
    """Whether a guest still has time for what it was asked then."""
    # The clock of another host can be ahead.
    return since is not None and (
        abs(now - since) < datetime.timedelta(seconds=settle_timeout))


def held(sizes: Sizes, guest: elastic_guest.GuestState) -> size.Size:
    """What a running guest counts as holding.

    A fixed dimension counts as the flavor's. Pinned memory counts in full,
    whatever the balloon reports.
    """
    vcpus, memory_mb = guest.holds
    if guest.memory_pinned:
        memory_mb = sizes.maximum.memory_mb
    if abs(memory_mb - sizes.desired.memory_mb) <= memory.ROUNDING_MB:
        memory_mb = sizes.desired.memory_mb
    return size.Size(*(
        highest if lowest == highest else number
        for number, lowest, highest in zip(
            (vcpus, memory_mb), sizes.minimum, sizes.maximum)))


def is_start(instance, guest) -> bool:
    """Whether this is the first look at this run of the guest."""
    return (guest.running and guest.run is not None and
            notes.run(instance) != guest.run)


class Situation(ty.NamedTuple):
    """The books of a server, its guest, and the time."""

    sizes: Sizes
    # None if its host does not report it.
    guest: ty.Optional[elastic_guest.GuestState]
    now: datetime.datetime
    # How many seconds a guest may take
    settle_timeout: int
    memory_reserve_mb: int
    # When the server was last asked to change or started
    changed_at: ty.Optional[datetime.datetime] = None
    # When it last started
    started_at: ty.Optional[datetime.datetime] = None
    # The (condition, reason) that the compute service noted
    outcome: ty.Optional[ty.Tuple[str, str]] = None
    # What it held or was to be charged when its host had no room for that
    excess: ty.Optional[ty.Tuple[int, int]] = None
    # What Placement had, if that was noted to be less than its charge
    allocated: ty.Optional[ty.Tuple[int, int]] = None
    # Why the charge does not fall yet
    pending: ty.Optional[str] = None
    # The reason that was noted if the guest does not use all of its vCPUs
    offline: ty.Optional[str] = None
    # False if the guest held the desired size at the last look
    is_settling: bool = True
    # Whether a start without Nova gives the boot size
    is_config_current: bool = True
    # Whether it does not, and that is not noted yet
    loses_config: bool = False
    # Whether a request has left something that is noted as unfinished
    has_left_over: bool = False
    # Whether this is the first look at this run of the guest
    is_start: bool = False
    # Whether nobody has asked for another size since the last start
    follows_start: bool = False
    # Whether its guest can do nothing, because it is paused or hangs, or is
    # asked for nothing, because another task is running, or the server is in
    # error or not confirmed after a resize. So is one that is busy when its
    # time is over: it may hang.
    is_held_up: bool = False
    # Whether the clock was set back since it was asked to change or started.
    # How long ago that was is not known.
    is_clock_set_back: bool = False
    # Whether something has gone wrong with it. Its guest may be elsewhere.
    is_in_error: bool = False
    # Whether it was resized or migrated, and nobody has confirmed that
    is_unconfirmed: bool = False
    # Whether its guest is that of a rescue image, which is asked for nothing
    is_rescued: bool = False
    # Whether its guest is saved, and goes on from there later
    is_suspended: bool = False
    # Whether it was held up before it reached its desired size
    was_held_up: bool = False

    @property
    def has_start_window(self) -> bool:
        """Whether it may hold more than its boot size, as after a start."""
        return self.is_start or is_waiting(
            self.started_at, self.now, self.settle_timeout)

    @property
    def lacks_allocation(self) -> bool:
        """Whether less than its charge was allocated, and there was no room.

        Otherwise what there was no room for is not charged, which is all that
        an older compute service notes.
        """
        if self.excess is None:
            return False
        if self.allocated is not None:
            return size.grows(self.sizes.charged, self.allocated)
        return not size.grows(self.excess, self.sizes.charged)

    @property
    def has_strayed(self) -> bool:
        """Whether a settled guest has changed although nobody asked.

        It has reset itself and its balloon driver is not back yet, or
        somebody changed it without Nova. It has as much time to go back as
        for a change.
        """
        if (not self.guest.running or self.is_start or self.is_settling or
                self.outcome or is_waiting(
                    self.changed_at, self.now, self.settle_timeout)):
            return False
        return self.sizes.desired != held(self.sizes, self.guest)

    @property
    def begins_anew(self) -> bool:
        """Whether the guest has the time for a change from now on."""
        return not self.is_held_up and (self.was_held_up or self.has_strayed)

    @property
    def has_time(self) -> bool:
        """Whether the guest still has time for what is desired."""
        return self.is_start or is_waiting(
            self.asked_at, self.now, self.settle_timeout)

    @property
    def asked_at(self) -> ty.Optional[datetime.datetime]:
        """From when on the guest has time for what is desired."""
        if self.begins_anew or self.is_held_up:
            return self.now
        return self.changed_at


def of(instance, guest, now) -> Situation:
    """:param guest: GuestState, None if its host does not report it"""
    # The clock of another host can be ahead.
    settle_timeout = CONF.xloud.settle_timeout
    latest = now + datetime.timedelta(seconds=settle_timeout)
    changed_at = notes.changed_at(instance, latest)
    is_noted_current = notes.is_config_current(instance)
    has_stale_config = guest is not None and guest.has_stale_config
    known = Situation(
        sizes_of(instance), guest, now, settle_timeout,
        CONF.xloud.guest_memory_reserve_mb, changed_at=changed_at,
        started_at=notes.started_at(instance, latest),
        follows_start=notes.follows_start(instance, latest),
        is_clock_set_back=notes.is_noted_after(instance, latest),
        outcome=notes.outcome(instance), excess=notes.excess(instance),
        allocated=notes.allocated(instance),
        pending=notes.pending(instance), offline=notes.offline(instance),
        is_settling=notes.is_settling(instance),
        is_config_current=is_noted_current and not has_stale_config,
        loses_config=is_noted_current and has_stale_config,
        has_left_over=notes.is_left_over(instance),
        is_start=guest is not None and is_start(instance, guest),
        is_in_error=instance.vm_state == vm_states.ERROR,
        is_unconfirmed=instance.vm_state == vm_states.RESIZED,
        is_rescued=instance.vm_state == vm_states.RESCUED,
        is_suspended=instance.vm_state == vm_states.SUSPENDED,
        is_held_up=instance.vm_state in _HELD_UP or (
            instance.task_state not in _NOTHING_ELSE) or (
                guest is not None and _can_do_nothing(guest, is_waiting(
                    changed_at, now, settle_timeout))))
    if guest is not None and known.has_strayed:
        # It had reached that.
        return known._replace(follows_start=False)
    return known


def _can_do_nothing(guest, has_time):
    """Whether a guest can do nothing, or may hang when its time is over."""
    return guest.is_still or guest.is_busy and not has_time
