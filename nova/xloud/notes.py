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

"""What the books of a server say besides its sizes.

When it was asked to change and when it started, how that ended, and what is
still awaited. The caller saves the instance.
"""

import datetime
import typing as ty

from nova.xloud import entries

_CHANGED_AT = entries.PREFIX + 'changed_at'
_STARTED_AT = entries.PREFIX + 'started_at'
_STILL_STARTS = entries.PREFIX + 'still_starts'
_STALE_CONFIG = entries.PREFIX + 'stale_config'
_RUN = entries.PREFIX + 'run'
_EXCESS = 'excess'
_ALLOCATED = 'allocated'
_AWAITED = entries.PREFIX + 'awaited'
_SETTLING = entries.PREFIX + 'settling'
_LEFT_OVER = entries.PREFIX + 'left_over'
# Which request changes the server: see nova.xloud.task.
TASK = entries.PREFIX + 'task'
# The end of its value when the request has ended.
TASK_DONE = 'done'
# nova.xloud.noted derives the condition of a server from these, and since
# when it holds.
OUTCOME = entries.PREFIX + 'condition'
REASON = entries.PREFIX + 'reason'
PENDING = entries.PREFIX + 'pending'
OFFLINE = entries.PREFIX + 'offline'
UNFINISHED = (_AWAITED, PENDING, _SETTLING, _LEFT_OVER, _STALE_CONFIG)
SINCE = entries.PREFIX + 'since'
# When the request has begun that changes the server now, and its condition
# before that
BEGUN = entries.PREFIX + 'begun'

# A change comes after the start of the guest that it changes.
_MOMENT = datetime.timedelta(microseconds=1)
# A database may keep whole seconds, and round them up.
_SECOND = datetime.timedelta(seconds=1)


def mark_changed(instance, when: datetime.datetime,
                 follows_start: bool = False) -> None:
    """Note from when on the guest has time for what is desired.

    :param when: naive UTC, as oslo_utils.timeutils.utcnow() gives
    :param follows_start: whether that is what its start has asked for, and it
        only gets its time again
    """
    started = _time(instance, _STARTED_AT)
    if started is not None and started >= when:
        # It was first seen now, or the clock was set back since, or is that
        # of another host.
        _write_time(instance, _STARTED_AT, when - _MOMENT)
    launched = started_at(instance, latest=when + _SECOND)
    if launched is not None and launched >= when:
        when = launched + _MOMENT
    _write_time(instance, _CHANGED_AT, when)
    # An older compute service changes only the other entry.
    entries.put(instance, _STILL_STARTS,
                when.isoformat() if follows_start else None)


def follows_start(instance, latest=datetime.datetime.max) -> bool:
    """Whether nobody has asked for another size since the last start.

    :param latest: what is noted after that is not true
    """
    asked_at, again_at = (
        _time(instance, key) for key in (_CHANGED_AT, _STILL_STARTS))
    if asked_at is not None and asked_at > latest:
        # The clock was set back since, and the last start may be older.
        latest = datetime.datetime.max
    return changed_at(instance, latest) in (
        again_at, started_at(instance, latest))


def changed_at(instance, latest=datetime.datetime.max) -> (
        ty.Optional[datetime.datetime]):
    """When the server was last asked to change or started, naive UTC.

    :param latest: what is noted after that is not true
    """
    return _latest(
        latest, _time(instance, _CHANGED_AT), started_at(instance, latest))


def is_noted_after(instance, latest: datetime.datetime) -> bool:
    """Whether a change or a start is noted that is not true."""
    return any(when is not None and when > latest for when in (
        _time(instance, _CHANGED_AT), _time(instance, _STARTED_AT)))


def mark_started(instance, run: str, when: datetime.datetime) -> None:
    """Note which run of the guest it is and when it was first seen.

    :param when: naive UTC, as oslo_utils.timeutils.utcnow() gives
    """
    entries.put(instance, _RUN, run)
    _write_time(instance, _STARTED_AT, when)
    entries.put(instance, _STILL_STARTS, None)
    asked_at = _time(instance, _CHANGED_AT)
    if asked_at is not None and asked_at > when:
        # The clock was set back since.
        entries.put(instance, _CHANGED_AT, None)


def started_at(instance, latest=datetime.datetime.max) -> (
        ty.Optional[datetime.datetime]):
    """When the server last started, naive UTC.

    :param latest: what is noted after that is not true
    """
    launched_at = None
    if 'launched_at' in instance and instance.launched_at:
        # So that a new server needs no mark.
        launched_at = instance.launched_at.replace(tzinfo=None)
    return _latest(latest, _time(instance, _STARTED_AT), launched_at)


def note_config(instance, is_current: bool) -> None:
    """Note whether a start without Nova gives the boot size.

    Until the hypervisor's configuration of the server has the boot size, such
    a start gives the size that is there.
    """
    entries.put(instance, _STALE_CONFIG, None if is_current else 'True')


def is_config_current(instance) -> bool:
    return _STALE_CONFIG not in instance.system_metadata


def run(instance) -> ty.Optional[str]:
    """The run of :func:`mark_started`, if there is one."""
    return instance.system_metadata.get(_RUN)


def set_outcome(instance, condition: str, reason: str) -> None:
    """Remember that a change did not end as asked, and why."""
    entries.put(instance, OUTCOME, condition)
    # The column holds 255 characters.
    entries.put(instance, REASON, reason[:255])


def outcome(instance) -> ty.Optional[ty.Tuple[str, str]]:
    """The (condition, reason) of :func:`set_outcome`, if there is one."""
    condition = instance.system_metadata.get(OUTCOME)
    if condition is None:
        return None
    return condition, instance.system_metadata.get(REASON, '')


def clear_outcome(instance) -> None:
    for key in (OUTCOME, REASON):
        entries.put(instance, key, None)
    for word in (_EXCESS, _ALLOCATED):
        entries.drop_size(instance, word)


def note_excess(instance, held, allocated=None) -> None:
    """Remember what a server holds, if its host had no room for all of it.

    It goes with the outcome of :func:`set_outcome`.

    :param held: nova.xloud.size.Size
    :param allocated: what Placement has, if that is less than its charge
    """
    entries.write_size(instance, _EXCESS, held)
    if allocated is None:
        entries.drop_size(instance, _ALLOCATED)
    else:
        entries.write_size(instance, _ALLOCATED, allocated)


def excess(instance) -> ty.Optional[ty.Tuple[int, int]]:
    """The vCPUs and MiB of :func:`note_excess`, if there are any."""
    return entries.read_size(instance, _EXCESS)


def allocated(instance) -> ty.Optional[ty.Tuple[int, int]]:
    """What :func:`note_excess` noted of Placement, if it did."""
    return entries.read_size(instance, _ALLOCATED)


def set_pending(instance, reason: ty.Optional[str]) -> None:
    """Remember why the charge does not fall yet, None once it does."""
    entries.put(instance, PENDING, reason[:255] if reason else None)


def pending(instance) -> ty.Optional[str]:
    """The reason of :func:`set_pending`, if there is one."""
    return instance.system_metadata.get(PENDING)


def set_offline(instance, reason: ty.Optional[str]) -> None:
    """Remember that the guest does not use its vCPUs, None once it does.

    Unlike an outcome, this ends when the guest uses them.
    """
    entries.put(instance, OFFLINE, reason[:255] if reason else None)


def offline(instance) -> ty.Optional[str]:
    """The reason of :func:`set_offline`, if there is one."""
    return instance.system_metadata.get(OFFLINE)


def await_guest(instance, request_id: ty.Optional[str]) -> None:
    """Remember the request that the guest still has to follow, or none."""
    entries.put(instance, _AWAITED, request_id or None)


def awaited(instance) -> ty.Optional[str]:
    """The request id of :func:`await_guest`, if there is one."""
    return instance.system_metadata.get(_AWAITED)


def note_settling(instance, is_settling: bool) -> None:
    """Note whether the guest does not hold the desired size yet."""
    entries.put(instance, _SETTLING, 'True' if is_settling else None)


def is_settling(instance) -> bool:
    """Whether the guest was on its way to the desired size at last look."""
    return _SETTLING in instance.system_metadata or bool(awaited(instance))


def note_left_over(instance, is_left_over: bool) -> None:
    """Note whether a request has left something that is not undone yet.

    Unlike a guest that settles, this says nothing about the guest.
    """
    entries.put(instance, _LEFT_OVER, 'True' if is_left_over else None)


def is_left_over(instance) -> bool:
    return _LEFT_OVER in instance.system_metadata


def note_task(instance, value: ty.Optional[str]) -> None:
    """Remember which request changes the server, or None."""
    entries.put(instance, TASK, value)


def task(instance) -> ty.Optional[str]:
    """What :func:`note_task` noted."""
    return instance.system_metadata.get(TASK)


def _time(instance, key):
    when = instance.system_metadata.get(key)
    return datetime.datetime.fromisoformat(when) if when else None


def _write_time(instance, key, when):
    entries.put(instance, key, when.isoformat())


def _latest(limit, *times):
    return max((time for time in times if time and time <= limit),
               default=None)
