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

"""How much memory the guest of an elastic server needs.

A guest that runs says it: it needs what it holds less what it could use at
once. What it says it has in total does not help, because that leaves out what
its kernel took before, for a memory of the maximum.

A guest that does not run yet says nothing. What its kernel will take follows
from the maximum, by measurements that the manual has with their command.

Nothing here does I/O. A guest is a nova.xloud.guest.GuestState.
"""

from nova.i18n import _
from nova.xloud import size

# What a Linux kernel takes of each MiB of the maximum: 1/64 for the
# descriptions of its pages, and half as much again for hash tables and for
# what each zone keeps free.
_SHARE = 3 / 128

# A maximum above this has memory that some devices cannot address. The kernel
# adds 64 MiB of bounce buffers, and a zone with a reserve of its own.
_LOW_MB = 2048
_HIGH_ZONE_MB = 104

# Each vCPU that may come has its data from the start.
_VCPU_MB = 1

# Hypervisors count memory in KiB and in pages, we in MiB.
_ROUNDING_MB = 1


def kernel_mb(maximum: size.Size, base_mb: int) -> int:
    """With how little the kernel of a guest with this maximum can live.

    :param base_mb: what does not depend on the maximum, negative if nothing
        is known of it and so of the whole
    """
    if base_mb < 0:
        return 0
    needed_mb = base_mb + int(_SHARE * maximum.memory_mb) + (
        _VCPU_MB * maximum.vcpus)
    if maximum.memory_mb > _LOW_MB:
        needed_mb += _HIGH_ZONE_MB
    return min(needed_mb, maximum.memory_mb)


def check_boot(wanted_mb: int, kept_mb: int, least_mb: int) -> None:
    """Whether a server that is shut off can start with this memory.

    :param kept_mb: with how much it starts as it is: that much, or more, may
        be asked for, as it made nobody worse off
    :param least_mb: as of kernel_mb()
    :raises ValueError: with the reason for the user
    """
    if wanted_mb < min(kept_mb, least_mb):
        raise ValueError(_(
            'the kernel of its guest cannot start with %(wanted)d MiB, as it '
            'keeps books of the maximum of its flavor. %(least)d MiB is the '
            'least for its next start.') %
            {'wanted': wanted_mb, 'least': least_mb})


def check(guest, wanted_mb: int, reserve_mb: int, least_mb: int = 0) -> None:
    """Whether a running guest can be asked for this amount of memory.

    :param reserve_mb: what it must keep above what it needs
    :param least_mb: with how little it can start, as of kernel_mb()
    :raises ValueError: with the reason for the user
    """
    if guest.memory_pinned:
        raise ValueError(_(
            'a passed-through device keeps all of its memory on the host, '
            'so the memory cannot be changed.'))
    if wanted_mb + _ROUNDING_MB >= guest.memory_mb:
        return
    if guest.used_memory_mb is None:
        raise ValueError(_unknown(guest))
    # Keeping what it holds is always possible.
    floor_mb = min(max(needs(guest, reserve_mb), least_mb), guest.memory_mb)
    if wanted_mb >= floor_mb:
        return
    if floor_mb == least_mb:
        raise ValueError(_(
            'the kernel of its guest keeps books of the maximum of its '
            'flavor, so %(floor)d MiB is the least now.') %
            {'floor': floor_mb})
    raise ValueError(_(
        'its guest needs %(used)d MiB of memory and keeps %(reserve)d MiB '
        'above that, so %(floor)d MiB is the least now.') %
        {'used': guest.used_memory_mb, 'reserve': reserve_mb,
         'floor': floor_mb})


def is_unsure(guest, wanted_mb: int) -> bool:
    """Whether newer statistics may say that this much can be taken.

    Those of a guest whose balloon has moved since are not used.
    """
    return (guest.running and guest.balloon_active and
            not guest.memory_pinned and
            guest.used_memory_mb is None and
            guest.missing_statistic is None and
            wanted_mb + _ROUNDING_MB < guest.memory_mb)


def target(guest, desired: size.Size, reserve_mb: int,
           tolerance_mb: int = 0) -> size.Size:
    """What to ask for so that no memory is taken that the guest needs.

    A guest that needs more than is desired keeps what it holds, and the
    hypervisor has to be asked for that: it goes on with what it was asked for
    before.

    Without statistics no balloon driver runs, and a new one does what the
    last request says: that should be what is desired.

    :param tolerance_mb: how much of its reserve may be missing: what a guest
        uses is never quite the same
    """
    if guest.memory_pinned:
        return desired._replace(memory_mb=guest.memory_mb)
    needed_mb = needs(guest, reserve_mb)
    if needed_mb is None or (
            desired.memory_mb + _ROUNDING_MB >= guest.memory_mb or
            desired.memory_mb + tolerance_mb >= needed_mb):
        return desired
    return desired._replace(memory_mb=guest.memory_mb)


def start_target(guest, desired: size.Size, reserve_mb: int,
                 maximum_mb: int) -> size.Size:
    """What to ask a guest for that starts and comes down to its boot size.

    It may need more to start than afterwards. If it needs far more than that
    it keeps what it holds, and gets its reserve if it has next to nothing
    left. Else it is not held up: its boot size need not leave it any reserve,
    and what it uses is not quite sure while much memory moves.
    """
    target_mb = desired.memory_mb
    if guest.memory_pinned:
        target_mb = guest.memory_mb
    elif guest.used_memory_mb is not None and (
            desired.memory_mb + _ROUNDING_MB < guest.memory_mb):
        left_mb = guest.memory_mb - guest.used_memory_mb
        if left_mb <= reserve_mb // 8:
            target_mb = max(guest.memory_mb, min(
                needs(guest, reserve_mb), maximum_mb))
        elif guest.used_memory_mb > desired.memory_mb + reserve_mb:
            target_mb = guest.memory_mb
    return desired._replace(memory_mb=target_mb)


def needs(guest, reserve_mb: int):
    """What a guest should keep in MiB, None if that is not known."""
    if guest.used_memory_mb is None:
        return None
    return guest.used_memory_mb + reserve_mb


def _unknown(guest):
    """Why it is not known what a guest needs."""
    if guest.missing_statistic:
        return _(
            'its balloon driver does not report the statistic %s, the memory '
            'that the guest could use at once, so it is not known what can '
            'be taken. Update the driver.') % guest.missing_statistic
    if guest.balloon_active:
        return _(
            'its balloon has just moved, and its guest has reported no '
            'memory statistics since. Try again in some seconds.')
    return _(
        'its guest reports no memory statistics, so it is not known what can '
        'be taken. Check that its balloon driver is running; after a start, '
        'wait until the guest has booted.')
