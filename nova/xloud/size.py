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

"""The sizes of an elastic server.

This is the only place that reads the extra specs ``minimum_cpu`` and
``minimum_memory`` and the sizes kept in ``instance.system_metadata``; every
hook asks here. The words, the same everywhere:

maximum
    The ``vcpus`` and ``memory_mb`` of the flavor.
minimum
    The size at first boot and the floor of a shrink. A dimension without its
    extra spec is fixed: its minimum is its maximum.
desired
    What was last asked for.
boot
    What the next start gives.
actual
    What the hypervisor says the guest holds. It is never stored.
charged
    ``max(desired, boot, actual)`` per dimension: what Placement, the resource
    tracker, quota and usage reports count. Kept in ``instance.vcpus`` and
    ``instance.memory_mb``.

Nothing here does I/O. Sizes are in vCPUs and MiB.
"""

import datetime
import typing as ty

from nova.compute import task_states
from nova.compute import vm_states
from nova import exception

_MINIMUM_VCPUS = 'minimum_cpu'
_MINIMUM_MEMORY = 'minimum_memory'
MINIMUM_KEYS = (_MINIMUM_VCPUS, _MINIMUM_MEMORY)

# Our own namespace of extra specs. A request spec carries what an existing
# server is charged to the scheduler in the flavor that it asks for, because
# a new field would change the version of an upstream object.
RESERVED_NAMESPACE = 'xloud'
_CLAIM_VCPUS = 'xloud:charged_vcpus'
_CLAIM_MEMORY = 'xloud:charged_memory_mb'

# instance.system_metadata: 'xloud_<word>_<dimension>'
_METADATA_PREFIX = 'xloud_'
_CHANGED_AT = _METADATA_PREFIX + 'changed_at'
_STARTED_AT = _METADATA_PREFIX + 'started_at'
_STALE_CONFIG = _METADATA_PREFIX + 'stale_config'
_RUN = _METADATA_PREFIX + 'run'
_CONDITION = _METADATA_PREFIX + 'condition'
_REASON = _METADATA_PREFIX + 'reason'
_EXCESS = 'excess'
_AWAITED = _METADATA_PREFIX + 'awaited'
_PENDING = _METADATA_PREFIX + 'pending'
_SETTLING = _METADATA_PREFIX + 'settling'
# Which request changes the server: see nova.xloud.task.
TASK = _METADATA_PREFIX + 'task'
# The end of its value when the request has ended.
TASK_DONE = 'done'
# What tells the noted condition of a server: see nova.xloud.noted.
OUTCOME = _CONDITION
REASON = _REASON
PENDING = _PENDING
METADATA_PREFIX = _METADATA_PREFIX
UNFINISHED = (_AWAITED, _PENDING, _SETTLING, _STALE_CONFIG)
SINCE = _METADATA_PREFIX + 'since'
# The books of each elastic server have it, and those of no other.
ELASTIC = _METADATA_PREFIX + 'desired_vcpus'

_OLD_WORDS = ('old_charged', 'old_desired', 'old_boot')

# All of it is the books of a server. They have a number that grows with each
# change. A copy that was changed has a sign after the number which it began
# with. The database takes a change only of the newest: nova.xloud.books.
BOOKS = _METADATA_PREFIX + 'books'
UNWRITTEN_BOOKS = '0'
# Nothing else of this copy's system_metadata is to be stored.
ONLY_BOOKS = '*'
# The rest of it has changes as well.
BOOKS_TOO = '+'
# What was put aside for a revert is dropped, whatever else was changed.
NO_OLD_BOOKS = '-'

# What a server does while it is scheduled to start anew, with its flavor: it
# is evacuated or unshelved. A rebuild stays and asks for nothing.
_STARTS_ANEW = (task_states.REBUILDING, task_states.UNSHELVING)
# What it does while a move that keeps its flavor is scheduled
_KEEPS_FLAVOR = (task_states.MIGRATING,) + _STARTS_ANEW


class Size(ty.NamedTuple):
    """vCPUs and memory in MiB."""

    vcpus: int
    memory_mb: int

    def __str__(self):
        return '%d vCPUs, %d MiB' % self


def largest(*sizes: Size) -> Size:
    """The largest of several sizes, each dimension on its own."""
    return Size(*map(max, zip(*sizes)))


def smallest(*sizes: Size) -> Size:
    """The smallest of several sizes, each dimension on its own."""
    return Size(*map(min, zip(*sizes)))


def grows(new: Size, old: Size) -> bool:
    """Whether one is larger than the other in some dimension."""
    return largest(new, old) != old


def has_elastic_vcpus(flavor) -> bool:
    return _MINIMUM_VCPUS in _extra_specs(flavor)


def has_elastic_memory(flavor) -> bool:
    return _MINIMUM_MEMORY in _extra_specs(flavor)


def is_elastic(flavor) -> bool:
    """Whether servers of this flavor have a range of sizes."""
    extra_specs = _extra_specs(flavor)
    return _MINIMUM_VCPUS in extra_specs or _MINIMUM_MEMORY in extra_specs


def charges_by_extra_specs(flavor) -> bool:
    """Whether a flavor names amounts of its own for Placement.

    No new server may combine that with a minimum; an old one may have it.
    """
    return any(key.startswith('resources') for key in _extra_specs(flavor))


def maximum(flavor) -> Size:
    return Size(flavor.vcpus, flavor.memory_mb)


def minimum(flavor) -> Size:
    """The smallest size of a server of this flavor.

    A stored value that :func:`validate` refuses makes its dimension fixed,
    so that such a flavor is never charged less than its servers hold.
    """
    return Size(
        _minimum_or(flavor, _MINIMUM_VCPUS, flavor.vcpus),
        _minimum_or(flavor, _MINIMUM_MEMORY, flavor.memory_mb))


def validate(flavor) -> None:
    """Check that the minimum of a flavor can be used.

    :raises ValueError: with a text for the user that names the extra spec,
        its value and the bound. Older API microversions do not validate what
        is stored.
    """
    for key, bound, unit in (
            (_MINIMUM_VCPUS, flavor.vcpus, 'vCPUs'),
            (_MINIMUM_MEMORY, flavor.memory_mb, 'MiB of memory')):
        value = _extra_specs(flavor).get(key, bound)
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(
                "The extra spec %s of the flavor is '%s', which is not an "
                "integer." % (key, value))
        if number < 1:
            raise ValueError(
                'The extra spec %s of the flavor is %d. It must be at '
                'least 1.' % (key, number))
        if number > bound:
            raise ValueError(
                'The extra spec %s of the flavor is %d, above the %d %s '
                'of the flavor.' % (key, number, bound, unit))


def open_books(instance) -> None:
    """Record that a new server gets what it is charged.

    The caller creates the instance.
    """
    if is_elastic(instance.flavor):
        for word in ('desired', 'boot'):
            _write(instance, word, charged(instance))
        instance.system_metadata[BOOKS] = '1'


def desired(instance) -> Size:
    """What was last asked for."""
    return _recorded(instance, 'desired') or _unwritten(instance)


def boot(instance) -> Size:
    """What the next start gives."""
    return _recorded(instance, 'boot') or _unwritten(instance)


def charged(instance) -> Size:
    """What is counted for a server, its flavor's size if it is not elastic."""
    if is_elastic(instance.flavor):
        return Size(instance.vcpus, instance.memory_mb)
    return maximum(instance.flavor)


def charged_as(instance, flavor) -> Size:
    """What a server is charged, or would be, with this flavor.

    During a resize a server has two: its own flavor and the one that it came
    from or goes to, which is charged its minimum.
    """
    if not is_elastic(flavor):
        return maximum(flavor)
    if flavor.id == instance.flavor.id:
        return charged(instance)
    if _is_old_flavor(instance, flavor):
        # Nothing was put aside if that resize is older than the series.
        return _recorded(instance, 'old_charged') or maximum(flavor)
    return minimum(flavor)


def reverted(instance, flavor) -> Size:
    """What a revert to this flavor charges, its own for a cold migration."""
    return _kept_charge(instance, flavor) or charged_as(instance, flavor)


def counted(instance, flavor, host: str) -> Size:
    """What a host counts with this flavor for a server that moves.

    The host that it has left keeps what a revert charges.
    """
    if is_elastic(flavor) and instance.host != host:
        return reverted(instance, flavor)
    return charged_as(instance, flavor)


def record(instance, desired: Size, boot: Size) -> None:
    """Store what was asked for and raise the charge to cover it.

    The charge never falls here, since what the guest holds is not known.
    The caller saves the instance.
    """
    _write(instance, 'desired', desired)
    _write(instance, 'boot', boot)
    _charge(instance, largest(charged(instance), desired, boot))


def settle(instance, actual: Size) -> None:
    """Lower or raise the charge to what the guest is known to hold.

    The caller saves the instance.
    """
    _charge(instance, largest(desired(instance), boot(instance), actual))


def start_anew(instance) -> None:
    """Charge what its next start gives, for a server of which nothing runs.

    The caller saves the instance.
    """
    record(instance, boot(instance), boot(instance))
    settle(instance, boot(instance))
    clear_outcome(instance)
    set_pending(instance, None)


def started_anew(instance) -> Size:
    """What is claimed for a server of which nothing runs yet."""
    if is_elastic(instance.flavor):
        return boot(instance)
    return maximum(instance.flavor)


def moved(instance) -> Size:
    """What is claimed for a server that moves and keeps its flavor."""
    if 'task_state' in instance and instance.task_state in _STARTS_ANEW:
        return started_anew(instance)
    charge = charged(instance)
    return largest(charge, _recorded(instance, _EXCESS) or charge)


def change_flavor(instance, flavor) -> Size:
    """Keep the books of a resize; call it before the flavor is replaced.

    A new flavor starts at its minimum and what the server had is put aside.
    The old flavor of a resize gets back exactly what was put aside, and so
    does the same flavor of a cold migration.

    :returns: what the server is charged with this flavor
    """
    charge = reverted(instance, flavor)
    if flavor.id == instance.flavor.id:
        if _kept_charge(instance, flavor):
            _take_back(instance)
        return charge
    if _is_old_flavor(instance, flavor):
        _take_back(instance)
    else:
        if is_elastic(instance.flavor):
            _put_aside(instance)
        for word in ('desired', 'boot'):
            if is_elastic(flavor):
                _write(instance, word, charge)
            else:
                _drop(instance, word)
    if is_elastic(flavor) or is_elastic(instance.flavor):
        _sign(instance, BOOKS_TOO)
    return charge


def keep_for_revert(instance) -> None:
    """Put aside what a server has that has come with a cold migration.

    For a resize, :func:`change_flavor` did. The caller saves the instance.
    """
    if is_elastic(instance.flavor) and (
            instance.old_flavor.id == instance.flavor.id):
        _put_aside(instance)


def forget_old_flavor(instance) -> None:
    """Drop what was put aside for a revert, when the move has ended."""
    if not any(map(is_old_size, instance.system_metadata)):
        return
    for word in _OLD_WORDS:
        _drop(instance, word)
    if not _is_signed(instance, BOOKS_TOO):
        _sign(instance, NO_OLD_BOOKS)


def is_old_size(key: str) -> bool:
    """Whether a key of system_metadata was put aside for a revert."""
    return key.startswith(_METADATA_PREFIX + 'old_')


def entries(instance) -> ty.Dict[str, str]:
    """All that is written about the sizes of a server."""
    return {key: value for key, value in instance.system_metadata.items()
            if is_size_metadata(key) and key != BOOKS}


def close_books(instance, charge: Size) -> None:
    """Forget all sizes of a server, which is charged this from now on.

    The caller saves the instance.
    """
    for key in entries(instance):
        _set(instance, key, None)
    _charge(instance, charge)


def mark_changed(instance, when: datetime.datetime) -> None:
    """Note when the server was last asked to change or started.

    :param when: naive UTC, as oslo_utils.timeutils.utcnow() gives
    """
    _write_time(instance, _CHANGED_AT, when)


def changed_at(instance) -> ty.Optional[datetime.datetime]:
    """When the server was last asked to change or started, naive UTC."""
    return _latest(_time(instance, _CHANGED_AT), started_at(instance))


def mark_started(instance, run: str, when: datetime.datetime) -> None:
    """Note which run of the guest it is and when it was first seen.

    :param when: naive UTC, as oslo_utils.timeutils.utcnow() gives
    """
    _set(instance, _RUN, run)
    _write_time(instance, _STARTED_AT, when)


def started_at(instance) -> ty.Optional[datetime.datetime]:
    """When the server last started, naive UTC."""
    launched_at = None
    if 'launched_at' in instance and instance.launched_at:
        # So that a new server needs no mark.
        launched_at = instance.launched_at.replace(tzinfo=None)
    return _latest(_time(instance, _STARTED_AT), launched_at)


def note_config(instance, is_current: bool) -> None:
    """Note whether a start without Nova gives the boot size.

    Until the hypervisor's configuration of the server has the boot size, such
    a start gives the size that is there.
    """
    _set(instance, _STALE_CONFIG, None if is_current else 'True')


def is_config_current(instance) -> bool:
    return _STALE_CONFIG not in instance.system_metadata


def run(instance) -> ty.Optional[str]:
    """The run of :func:`mark_started`, if there is one."""
    return instance.system_metadata.get(_RUN)


def set_outcome(instance, condition: str, reason: str) -> None:
    """Remember that a change did not end as asked, and why."""
    _set(instance, _CONDITION, condition)
    # The column holds 255 characters.
    _set(instance, _REASON, reason[:255])


def outcome(instance) -> ty.Optional[ty.Tuple[str, str]]:
    """The (condition, reason) of :func:`set_outcome`, if there is one."""
    condition = instance.system_metadata.get(_CONDITION)
    if condition is None:
        return None
    return condition, instance.system_metadata.get(_REASON, '')


def clear_outcome(instance) -> None:
    for key in (_CONDITION, _REASON):
        _set(instance, key, None)
    _drop(instance, _EXCESS)


def note_excess(instance, held: Size) -> None:
    """Remember what a server holds of which its host had no room for all.

    It goes with the outcome of :func:`set_outcome`.
    """
    _write(instance, _EXCESS, held)


def set_pending(instance, reason: ty.Optional[str]) -> None:
    """Remember why the charge does not fall yet, None once it does."""
    _set(instance, _PENDING, reason[:255] if reason else None)


def pending(instance) -> ty.Optional[str]:
    """The reason of :func:`set_pending`, if there is one."""
    return instance.system_metadata.get(_PENDING)


def await_guest(instance, request_id: ty.Optional[str]) -> None:
    """Remember the request that the guest still has to follow, or none."""
    _set(instance, _AWAITED, request_id or None)


def awaited(instance) -> ty.Optional[str]:
    """The request id of :func:`await_guest`, if there is one."""
    return instance.system_metadata.get(_AWAITED)


def note_settling(instance, is_settling: bool) -> None:
    """Note whether the guest does not hold the desired size yet."""
    _set(instance, _SETTLING, 'True' if is_settling else None)


def is_settling(instance) -> bool:
    """Whether the guest was on its way to the desired size at last look."""
    return _SETTLING in instance.system_metadata or bool(awaited(instance))


def note_task(instance, value: ty.Optional[str]) -> None:
    """Remember which request changes the server, or None."""
    _set(instance, TASK, value)


def task(instance) -> ty.Optional[str]:
    """What :func:`note_task` noted."""
    return instance.system_metadata.get(TASK)


def is_size_metadata(key: str) -> bool:
    """Whether a key of system_metadata belongs to this server alone."""
    return key.startswith(_METADATA_PREFIX)


def flavor_to_ask_for(flavor, instance):
    """The flavor that the request spec of this server needs for a move.

    After a failed resize, a request spec has the flavor that the server did
    not get. A move that keeps the flavor would claim the minimum of that
    flavor instead of what the server has.

    :param flavor: the flavor of the request spec
    :returns: the same object if nothing is elastic
    """
    own = instance.flavor if 'flavor' in instance else flavor
    if not is_elastic(flavor) and not is_elastic(own):
        return flavor
    if (flavor.id != own.id and 'task_state' in instance and
            instance.task_state in _KEEPS_FLAVOR):
        flavor = own
    return _carry(flavor, instance, moved)


def carry_charge(flavor, instance):
    """The flavor that a move of this server asks the scheduler for.

    :param flavor: the flavor of the request spec
    :returns: the same object if it is not elastic. Otherwise a copy, which
        says what the server is charged, or nothing of it if the flavor is a
        new one. A copy, because in the conductor the same object becomes the
        instance's new flavor.
    """
    return _carry(flavor, instance, charged)


def _carry(flavor, instance, claimed):
    if not is_elastic(flavor):
        return flavor
    carried = flavor.obj_clone()
    carried.extra_specs = {
        key: value for key, value in flavor.extra_specs.items()
        if key not in (_CLAIM_VCPUS, _CLAIM_MEMORY)}
    if flavor.id == instance.flavor.id:
        size = claimed(instance)
        carried.extra_specs[_CLAIM_VCPUS] = str(size.vcpus)
        carried.extra_specs[_CLAIM_MEMORY] = str(size.memory_mb)
    return carried


def claim(flavor) -> Size:
    """What a request spec with this flavor asks Placement for.

    What the server is charged, or starts with, if the flavor says so, else
    the minimum of the flavor.
    """
    if not is_elastic(flavor):
        return maximum(flavor)
    extra_specs = flavor.extra_specs
    if _CLAIM_VCPUS in extra_specs and _CLAIM_MEMORY in extra_specs:
        return Size(int(extra_specs[_CLAIM_VCPUS]),
                    int(extra_specs[_CLAIM_MEMORY]))
    return minimum(flavor)


def _extra_specs(flavor):
    try:
        return flavor.extra_specs or {}
    except exception.ObjectActionError:
        # A flavor may be loaded without its extra specs.
        return {}


def _minimum_or(flavor, key, bound):
    try:
        value = int(_extra_specs(flavor).get(key, bound))
    except (TypeError, ValueError):
        return bound
    return value if 1 <= value <= bound else bound


def _unwritten(instance):
    """The size of a server whose books were never written.

    It is older than the series, or a service without the series created it. It
    keeps what it has.
    """
    return largest(
        minimum(instance.flavor),
        smallest(charged(instance), maximum(instance.flavor)))


def _is_old_flavor(instance, flavor):
    old = instance.old_flavor
    return bool(old) and old.id == flavor.id and flavor.id != (
        instance.flavor.id)


def _kept_charge(instance, flavor):
    """What a cold migration put aside, None for a resize or without a move.

    After a reset of the server's state, that no longer counts.
    """
    if (is_elastic(flavor) and flavor.id == instance.flavor.id and
            instance.vm_state == vm_states.RESIZED):
        return _recorded(instance, 'old_charged')
    return None


def _put_aside(instance):
    _write(instance, 'old_charged', charged(instance))
    _write(instance, 'old_desired', desired(instance))
    _write(instance, 'old_boot', boot(instance))


def _take_back(instance):
    for word in ('desired', 'boot'):
        _move(instance, 'old_' + word, word)
    _drop(instance, 'old_charged')


def _keys(word):
    return ('%s%s_vcpus' % (_METADATA_PREFIX, word),
            '%s%s_memory_mb' % (_METADATA_PREFIX, word))


def _recorded(instance, word):
    values = [instance.system_metadata.get(key) for key in _keys(word)]
    return None if None in values else Size(*map(int, values))


def _time(instance, key):
    when = instance.system_metadata.get(key)
    return datetime.datetime.fromisoformat(when) if when else None


def _write_time(instance, key, when):
    _set(instance, key, when.replace(microsecond=0).isoformat())


def _latest(*times):
    return max((time for time in times if time), default=None)


def _write(instance, word, size):
    for key, value in zip(_keys(word), size):
        _set(instance, key, str(value))


def _drop(instance, word):
    for key in _keys(word):
        _set(instance, key, None)


def _move(instance, word, other):
    for key, other_key in zip(_keys(word), _keys(other)):
        _set(instance, other_key, instance.system_metadata.get(key))
        _set(instance, key, None)


def _set(instance, key, value):
    """Change one entry of the books, None to drop it."""
    if instance.system_metadata.get(key) == value:
        return
    if value is None:
        del instance.system_metadata[key]
    else:
        instance.system_metadata[key] = value
    if not _is_signed(instance, BOOKS_TOO):
        _sign(instance, ONLY_BOOKS)


def _sign(instance, how):
    """Say in the books how this copy of them was changed."""
    instance.system_metadata[BOOKS] = _known_books(instance) + how


def _is_signed(instance, how):
    # An older nova-conductor may have stored a sign, which is part of what
    # is known then.
    return instance.system_metadata.get(BOOKS) == (
        _known_books(instance) + how)


def _known_books(instance):
    return instance._orig_system_metadata.get(BOOKS, UNWRITTEN_BOOKS)


def _charge(instance, size):
    instance.vcpus, instance.memory_mb = size
