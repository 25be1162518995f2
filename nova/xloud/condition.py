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

"""Whether a server has the size that was asked for.

Settled
    The guest holds what is desired and that is what is charged.
InProgress
    A change or a start is not finished: a guest may take its time.
Partial
    The guest did not give or take all that was asked for.
Overcommitted
    The guest holds more than is charged and its host has no room for that.
Unknown
    The host does not report what the guest holds.

A condition says what is true now, not what was done: it is computed from what
the hypervisor reports now. What the compute service noted earlier only adds
the reason, and no longer counts once it is no longer true.
"""

import datetime
import typing as ty

from nova.i18n import _
from nova.xloud import size

SETTLED = 'Settled'
IN_PROGRESS = 'InProgress'
PARTIAL = 'Partial'
OVERCOMMITTED = 'Overcommitted'
UNKNOWN = 'Unknown'
ALL = (SETTLED, IN_PROGRESS, PARTIAL, OVERCOMMITTED, UNKNOWN)

# What a guest holds that does not run.
NOTHING = size.Size(0, 0)

# Hypervisors count memory in KiB and in pages, we in MiB.
_ROUNDING_MB = 1


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


def held(sizes: Sizes, actual: size.Size, memory_pinned: bool) -> size.Size:
    """What a running guest counts as holding.

    A fixed dimension counts as the flavor's. Pinned memory counts in full,
    whatever the balloon reports.
    """
    vcpus, memory_mb = actual
    if memory_pinned:
        memory_mb = sizes.maximum.memory_mb
    if abs(memory_mb - sizes.desired.memory_mb) <= _ROUNDING_MB:
        memory_mb = sizes.desired.memory_mb
    return size.Size(*(
        highest if lowest == highest else number
        for number, lowest, highest in zip(
            (vcpus, memory_mb), sizes.minimum, sizes.maximum)))


def evaluate(
    sizes: Sizes,
    outcome: ty.Optional[ty.Tuple[str, str]],
    changed_at: ty.Optional[datetime.datetime],
    started_at: ty.Optional[datetime.datetime],
    now: datetime.datetime,
    settle_timeout: int,
    actual: ty.Optional[size.Size],
    memory_pinned: bool = False,
    pending: ty.Optional[str] = None,
    is_settling: bool = True,
    is_returning: bool = False,
    online_vcpus: ty.Optional[int] = None,
    is_paused: bool = False,
) -> ty.Tuple[str, ty.Optional[str]]:
    """The condition of an elastic server.

    :param outcome: (condition, reason) that the compute service noted
    :param changed_at: when the server was last asked to change or started
    :param started_at: when it last started
    :param settle_timeout: how many seconds a guest may take
    :param actual: what the guest holds, NOTHING if it does not run, None if
        the host does not report it
    :param memory_pinned: whether a passed-through device pins its memory
    :param pending: why the charge does not fall yet
    :param is_settling: False if the guest held the desired size at the last
        look
    :param is_returning: whether its balloon driver has just come back
    :param online_vcpus: how many vCPUs the guest says it uses, None if it
        does not say
    :param is_paused: whether the guest can do nothing now
    :returns: (condition, reason), with a reason for all but Settled
    """
    if actual is None:
        return UNKNOWN, _('The host does not report what the server holds.')
    if actual != NOTHING:
        actual = held(sizes, actual, memory_pinned)
        noted = outcome[0] if outcome else None
        # Reconcile looks at what a guest does by itself before this judges.
        is_starting = (
            is_returning or not is_settling and outcome is None or
            is_waiting(started_at, now, settle_timeout))
        if _exceeds(actual, sizes.charged) and (
                not is_starting or noted == OVERCOMMITTED):
            return OVERCOMMITTED, _noted(outcome, OVERCOMMITTED) or (
                _('The server holds %(actual)s and is charged %(charged)s.') %
                {'actual': actual, 'charged': sizes.charged})
        difference = (_('The server holds %(actual)s instead of the desired '
                        '%(desired)s.') %
                      {'actual': actual, 'desired': sizes.desired})
        if actual != sizes.desired and (
                is_starting or is_paused or
                is_waiting(changed_at, now, settle_timeout)):
            return IN_PROGRESS, difference
        # When a guest refuses, what it holds then becomes the desired size.
        if actual != sizes.desired or noted == PARTIAL:
            return PARTIAL, _noted(outcome, PARTIAL) or difference
        if online_vcpus is not None and online_vcpus < actual.vcpus:
            # A start is a change, too.
            has_time = is_waiting(changed_at, now, settle_timeout)
            return (IN_PROGRESS if has_time else PARTIAL,
                    offline(online_vcpus, actual.vcpus))
    if not _same(sizes.charged,
                 size.largest(sizes.desired, sizes.boot, actual)):
        return IN_PROGRESS, pending or (
            _('The charge of %s is not updated yet.') % (sizes.charged,))
    return SETTLED, None


def offline(online_vcpus: int, vcpus: int) -> str:
    """The reason of a guest that does not use all of its vCPUs."""
    return _('The guest has %(vcpus)d vCPUs and uses %(online)d: the others '
             'are plugged but not online.') % {
                 'vcpus': vcpus, 'online': online_vcpus}


def _noted(outcome, condition):
    if outcome is not None and outcome[0] == condition:
        return outcome[1]
    return None


def _same(one, other):
    return (one.vcpus == other.vcpus and
            abs(one.memory_mb - other.memory_mb) <= _ROUNDING_MB)


def _exceeds(one, other):
    return (one.vcpus > other.vcpus or
            one.memory_mb > other.memory_mb + _ROUNDING_MB)
