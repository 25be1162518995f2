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

A running guest reports it: it needs what it holds less what it could use at
once. The total that it reports does not help, because its kernel has already
taken a part of it, in proportion to the maximum.

A guest that does not run yet reports nothing. What its kernel will take
follows from the maximum. The manual has the measurements and their command.

Nothing here does I/O. A guest is a nova.xloud.guest.GuestState.
"""

from nova.i18n import _
from nova.xloud import size

# A Linux kernel takes 1/64 of the maximum for the descriptions of its pages,
# and half as much again for hash tables and for what each zone keeps free.
_SHARE = 3 / 128

# Some devices cannot address memory above this. The kernel then adds 64 MiB of
# bounce buffers, and a zone with a reserve of its own.
_LOW_MB = 2048
_HIGH_ZONE_MB = 104

# The kernel keeps data for each possible vCPU from the start.
_VCPU_MB = 1

# Hypervisors count memory in KiB and in pages, Nova in MiB.
ROUNDING_MB = 1


def kernel_mb(maximum: size.Size, base_mb: int) -> int:
    """The least memory with which a kernel can run at this maximum.

    :param base_mb: the part that does not depend on the maximum; negative if
        it is not known, so that nothing is refused
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

    :param kept_mb: the memory with which it starts now; asking for that much
        or more is always allowed, because it makes nothing worse
    :param least_mb: as of kernel_mb()
    :raises ValueError: with the reason for the user
    """
    if wanted_mb < min(kept_mb, least_mb):
        raise ValueError(_(
            'the kernel of its guest cannot start with %(wanted)d MiB, '
            'because it needs memory for the whole maximum of its flavor. '
            '%(least)d MiB is the least for its next start.') %
            {'wanted': wanted_mb, 'least': least_mb})


def check(guest, wanted_mb: int, reserve_mb: int, least_mb: int = 0) -> None:
    """Whether a running guest can be asked for this amount of memory.

    :param reserve_mb: what it must keep beyond what it needs
    :param least_mb: the least memory with which it can start, from kernel_mb()
    :raises ValueError: with the reason for the user
    """
    if guest.memory_pinned:
        raise ValueError(_(
            'a passed-through device pins its memory on the host, or it is '
            'locked there, so its memory cannot change.'))
    if wanted_mb + ROUNDING_MB >= guest.memory_mb:
        return
    if guest.used_memory_mb is None:
        raise ValueError(_unknown(guest))
    # A guest can always keep what it holds.
    floor_mb = min(max(needs(guest, reserve_mb), least_mb), guest.memory_mb)
    if wanted_mb >= floor_mb:
        return
    if floor_mb == least_mb:
        raise ValueError(_(
            'the kernel of its guest needs memory for the whole maximum of '
            'its flavor, so %(floor)d MiB is the least now.') %
            {'floor': floor_mb})
    raise ValueError(_(
        'its guest needs %(used)d MiB of memory and keeps %(reserve)d MiB '
        'above that, so %(floor)d MiB is the least now.') %
        {'used': guest.used_memory_mb, 'reserve': reserve_mb,
         'floor': floor_mb})


def is_unsure(guest, wanted_mb: int) -> bool:
    """Whether newer statistics could allow this size.

    Statistics that are old, or older than the last move of the balloon, are
    not used.
    """
    return (_is_blind(guest, wanted_mb) and guest.balloon_active and
            guest.missing_statistic is None)


def _is_blind(guest, wanted_mb):
    """Whether memory would be taken, and nobody knows what is in use."""
    return (guest.running and not guest.memory_pinned and
            guest.used_memory_mb is None and
            wanted_mb + ROUNDING_MB < guest.memory_mb)


def target(guest, desired: size.Size, reserve_mb: int,
           tolerance_mb: int = 0) -> size.Size:
    """What to ask for so that no memory is taken that the guest needs.

    A guest that needs more than the desired size keeps what it holds. The
    hypervisor has to be asked for that, because it continues with the last
    request.

    Without statistics no balloon driver runs. When one loads, it follows the
    last request, which should be the desired size.

    :param tolerance_mb: how much of the reserve may be missing, because what a
        guest uses varies a little
    """
    if guest.memory_pinned:
        return desired._replace(memory_mb=guest.memory_mb)
    needed_mb = needs(guest, reserve_mb)
    if needed_mb is None or (
            desired.memory_mb + ROUNDING_MB >= guest.memory_mb or
            desired.memory_mb + tolerance_mb >= needed_mb):
        return desired
    return desired._replace(memory_mb=guest.memory_mb)


def leave_unknown(guest, target: size.Size) -> size.Size:
    """The same request, without memory if that could take what is in use.

    Nobody knows what the guest was last asked for, which may be to keep more
    than is desired, or to go on giving back.

    :returns: Size, without memory_mb if statistics could forbid it
    """
    if _is_blind(guest, target.memory_mb):
        return target._replace(memory_mb=None)
    return target


def start_target(guest, desired: size.Size, reserve_mb: int,
                 maximum_mb: int) -> size.Size:
    """What to ask a starting guest for, on its way to its boot size.

    A guest can need more memory while it starts than afterwards. If it needs
    far more than its boot size, it keeps what it holds; if it has almost
    nothing left, it also gets its reserve. Otherwise it goes to its boot size,
    which need not include a reserve: the statistics are not exact while much
    memory moves.
    """
    target_mb = desired.memory_mb
    if guest.memory_pinned:
        target_mb = guest.memory_mb
    elif guest.used_memory_mb is not None and (
            desired.memory_mb + ROUNDING_MB < guest.memory_mb):
        left_mb = guest.memory_mb - guest.used_memory_mb
        if left_mb <= reserve_mb // 8:
            target_mb = max(guest.memory_mb, min(
                needs(guest, reserve_mb), maximum_mb))
        elif guest.used_memory_mb > desired.memory_mb + reserve_mb:
            target_mb = guest.memory_mb
    return desired._replace(memory_mb=target_mb)


def needs(guest, reserve_mb: int):
    """The MiB that a guest should keep, None if that is not known."""
    if guest.used_memory_mb is None:
        return None
    return guest.used_memory_mb + reserve_mb


def _unknown(guest):
    """Why it is not known what a guest needs."""
    if guest.missing_statistic:
        return _(
            'its balloon driver does not report the statistic %s, which is '
            'the memory that the guest could use at once. Update the '
            'driver.') % guest.missing_statistic
    if guest.balloon_active:
        return _(
            'its balloon has just moved, or its guest reports seldom, and it '
            'has reported no memory statistics since. Try again in a few '
            'seconds.')
    return _(
        'its guest reports no memory statistics. Check that its balloon '
        'driver is running; after a start, wait until the guest has booted.')
