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

import typing as ty

import os_resource_classes as orc

from nova.compute import task_states
from nova.compute import vm_states
from nova import exception
from nova.xloud import entries
from nova.xloud import notes

_MINIMUM_VCPUS = 'minimum_cpu'
_MINIMUM_MEMORY = 'minimum_memory'
MINIMUM_KEYS = (_MINIMUM_VCPUS, _MINIMUM_MEMORY)
# What Placement counts of a size
CLASSES = (orc.VCPU, orc.PCPU, orc.MEMORY_MB)

# The task states in which a server is scheduled to start from its image, with
# its flavor: evacuate and unshelve. A rebuild stays and asks for nothing.
STARTS_ANEW = (task_states.REBUILDING, task_states.UNSHELVING)

_OLD_WORDS = ('old_charged', 'old_desired', 'old_boot')


class Size(ty.NamedTuple):
    """vCPUs and memory in MiB."""

    vcpus: int
    # None only in a request to a guest, which then goes on with what it was
    # last asked for
    memory_mb: int

    def __str__(self):
        if self.memory_mb is None:
            return '%d vCPUs' % self.vcpus
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
    """Whether a flavor names the vCPUs or the memory for Placement itself.

    No new server may combine that with a minimum; an old one may have it.
    """
    return any(key.startswith('resources') and key.split(':')[-1] in CLASSES
               for key in _extra_specs(flavor))


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
            entries.write_size(instance, word, charged(instance))
        entries.open_books(instance)


def desired(instance) -> Size:
    """What was last asked for."""
    return _written(instance, 'desired') or _unwritten(instance)


def boot(instance) -> Size:
    """What the next start gives."""
    return _written(instance, 'boot') or _unwritten(instance)


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
        return _old_charge(instance, flavor)
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
    entries.write_size(instance, 'desired', desired)
    entries.write_size(instance, 'boot', boot)
    _write_charge(instance, largest(charged(instance), desired, boot))


def settle(instance, actual: Size) -> None:
    """Lower or raise the charge to what the guest is known to hold.

    The caller saves the instance.
    """
    _write_charge(instance, largest(desired(instance), boot(instance), actual))


def start_anew(instance) -> None:
    """Charge what the next start gives, for a server that does not run.

    The caller saves the instance.
    """
    record(instance, boot(instance), boot(instance))
    settle(instance, boot(instance))
    _forget_guest(instance)


def started_anew(instance) -> Size:
    """What is claimed for a server that does not run yet."""
    if is_elastic(instance.flavor):
        return boot(instance)
    return maximum(instance.flavor)


def moved(instance) -> Size:
    """What is claimed for a server that moves and keeps its flavor."""
    if 'task_state' in instance and instance.task_state in STARTS_ANEW:
        return started_anew(instance)
    charge = charged(instance)
    return largest(charge, notes.excess(instance) or charge)


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
        if not _are_books_of_old_flavor(instance):
            _take_back(instance)
    else:
        if is_elastic(instance.flavor):
            _put_aside(instance)
        if is_elastic(flavor):
            for word in ('desired', 'boot'):
                entries.write_size(instance, word, charge)
    if is_elastic(flavor):
        _forget_guest(instance)
        entries.sign_what_changed(instance)
    elif is_elastic(instance.flavor):
        for key in entries.of(instance):
            if not entries.is_old_size(key):
                entries.put(instance, key, None)
        entries.sign_what_changed(instance)
    return charge


def keep_for_revert(instance) -> None:
    """Put aside what a server has after a cold migration has brought it.

    For a resize, :func:`change_flavor` did. The caller saves the instance.
    """
    if is_elastic(instance.flavor) and (
            instance.old_flavor.id == instance.flavor.id):
        _put_aside(instance)


def forget_old_flavor(instance) -> None:
    """Drop what was put aside for a revert, when the move has ended."""
    if _are_books_of_old_flavor(instance):
        for key in entries.of(instance):
            entries.put(instance, key, None)
        entries.sign_what_changed(instance)
        return
    if not any(map(entries.is_old_size, instance.system_metadata)):
        return
    for word in _OLD_WORDS:
        entries.drop_size(instance, word)
    if not entries.is_signed(instance, entries.BOOKS_TOO):
        entries.sign(instance, entries.NO_OLD_BOOKS)


def close_books(instance, charge: Size) -> None:
    """Forget all sizes of a server, which is charged this from now on.

    The caller saves the instance.
    """
    for key in entries.of(instance):
        entries.put(instance, key, None)
    _write_charge(instance, charge)


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


def _recorded(instance, word):
    found = entries.read_size(instance, word)
    return found and Size(*found)


def _sizes_recorded(instance):
    return [found for found in (
        _recorded(instance, word) for word in ('desired', 'boot')) if found]


def _written(instance, word):
    """What is recorded, unless it is about another flavor.

    Somebody may have gone back to Nova without the series for a while. A
    resize leaves the books as they were there.
    """
    lowest, highest = minimum(instance.flavor), maximum(instance.flavor)
    for found in _sizes_recorded(instance):
        if grows(lowest, found) or grows(found, highest):
            return None
    return _recorded(instance, word)


def _unwritten(instance):
    """The size of a server whose books were never written.

    It is older than the series, or a service without the series created it or
    has resized it. It keeps what it has.
    """
    return largest(
        minimum(instance.flavor),
        smallest(charged(instance), maximum(instance.flavor)))


def _is_old_flavor(instance, flavor):
    old = instance.old_flavor
    return bool(old) and old.id == flavor.id and flavor.id != (
        instance.flavor.id)


def _old_charge(instance, flavor):
    """What a revert of a resize to this flavor charges."""
    if _are_books_of_old_flavor(instance):
        return largest(*_sizes_recorded(instance))
    # Nothing was put aside if that resize is older than the series.
    return _recorded(instance, 'old_charged') or maximum(flavor)


def _are_books_of_old_flavor(instance):
    """Whether a host without the series has resized an elastic server.

    It gives only flavors that are not elastic, and leaves the books as they
    were.
    """
    return _recorded(instance, 'desired') is not None and (
        not is_elastic(instance.flavor))


def _kept_charge(instance, flavor):
    """What a cold migration put aside, None for a resize or without a move.

    After a reset of the server's state, that no longer counts.
    """
    if (is_elastic(flavor) and flavor.id == instance.flavor.id and
            instance.vm_state == vm_states.RESIZED):
        return _recorded(instance, 'old_charged')
    return None


def _put_aside(instance):
    entries.write_size(instance, 'old_charged', charged(instance))
    entries.write_size(instance, 'old_desired', desired(instance))
    entries.write_size(instance, 'old_boot', boot(instance))


def _take_back(instance):
    for word in ('desired', 'boot'):
        entries.move_size(instance, 'old_' + word, word)
    entries.drop_size(instance, 'old_charged')


def _forget_guest(instance):
    """Forget what was noted of a guest that is no more.

    The next one is configured with the boot size.
    """
    notes.clear_outcome(instance)
    notes.set_offline(instance, None)
    notes.set_pending(instance, None)
    notes.await_guest(instance, None)
    notes.note_settling(instance, False)
    notes.note_left_over(instance, False)
    notes.note_config(instance, is_current=True)


def _write_charge(instance, size):
    instance.vcpus, instance.memory_mb = size
