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
    The guest holds more than is charged and its host has no room for that, or
    Placement has lost the charge or a part of it.
Unknown
    The host does not report what the guest holds.

A condition says what is true now, not what was done: it is computed from what
the hypervisor reports now. What the compute service noted earlier only adds
the reason, and no longer counts once it is no longer true.
"""

import typing as ty

from nova.i18n import _
from nova.xloud import memory
from nova.xloud import noted
from nova.xloud import situation
from nova.xloud import size

SETTLED, IN_PROGRESS, PARTIAL, OVERCOMMITTED = noted.CONDITIONS
UNKNOWN = 'Unknown'
ALL = (SETTLED, IN_PROGRESS, PARTIAL, OVERCOMMITTED, UNKNOWN)

# What a guest holds that does not run.
_NOTHING = size.Size(0, 0)


def evaluate(known: situation.Situation) -> ty.Tuple[str, ty.Optional[str]]:
    """The condition of an elastic server.

    :returns: (condition, reason), with a reason for all but Settled
    """
    guest, sizes = known.guest, known.sizes
    if guest is None:
        return UNKNOWN, _('The host does not report what the server holds.')
    actual, found = _NOTHING, None
    if guest.running:
        actual = situation.held(sizes, guest)
        found = _of_running(known, actual)
    elif known.is_suspended:
        found = _of_suspended(known)
    else:
        found = _lack(known)
    if found is not None:
        return found
    if known.is_in_error and not guest.running:
        # Nothing is in progress, and it keeps its charge.
        return SETTLED, None
    # What was asked for until the next start ends with the guest.
    charge = sizes.boot
    if guest.running or known.is_suspended:
        charge = size.largest(sizes.desired, sizes.boot, actual)
    if not _same(sizes.charged, charge):
        return IN_PROGRESS, known.pending or (
            _('The charge of %s is not updated yet.') % (sizes.charged,))
    if not known.is_config_current:
        return IN_PROGRESS, _(
            'The hypervisor was not given the size of the next start yet.')
    return SETTLED, None


def _of_running(known, actual):
    """The condition of a guest that is not as it should be, or None."""
    sizes, online = known.sizes, known.guest.online_vcpus
    # How the last change of an earlier run ended says nothing about this one.
    outcome = None if known.is_start else known.outcome
    noted = outcome[0] if outcome else None
    has_time = known.is_held_up and known.is_settling or situation.is_waiting(
        known.changed_at, known.now, known.settle_timeout)
    is_over = _exceeds(actual, sizes.charged)
    # Reconcile looks at what a guest does by itself before this judges, and
    # whether there is room for what a start has left.
    is_unseen = outcome is None and (
        not known.is_settling or
        is_over and known.follows_start)
    is_starting = (
        known.is_start or known.guest.is_returning or is_unseen or
        situation.is_waiting(
            known.started_at, known.now, known.settle_timeout))
    if is_over and (not is_starting or noted == OVERCOMMITTED):
        return OVERCOMMITTED, _noted(outcome, OVERCOMMITTED) or (
            _('The server holds %(actual)s and is charged %(charged)s.') %
            {'actual': actual, 'charged': sizes.charged})
    lack = _lack(known)
    if lack is not None:
        return lack
    sentences = [
        _('The server holds %(actual)s instead of the desired %(desired)s.') %
        {'actual': actual, 'desired': sizes.desired}]
    if known.guest.is_still:
        sentences.append(_('Its guest can do nothing now: somebody has paused '
                           'it, or it hangs.'))
    elif known.is_in_error:
        sentences.append(_('The server is in error, and its guest is asked '
                           'for nothing until that is over.'))
    elif known.is_unconfirmed:
        sentences.append(_('Its guest is asked for nothing until its resize '
                           'is confirmed or reverted.'))
    difference = ' '.join(sentences)
    if actual != sizes.desired and (
            is_starting or known.is_held_up or has_time):
        return IN_PROGRESS, difference
    # When a guest refuses, what it holds then becomes the desired size.
    if actual != sizes.desired or noted == PARTIAL:
        return PARTIAL, _noted(outcome, PARTIAL) or difference
    if online is not None and online < actual.vcpus:
        # A start is a change, too.
        return (IN_PROGRESS if has_time else PARTIAL,
                offline(online, actual.vcpus))
    return None


def _lack(known):
    """What is noted of a server that has less in Placement, or None.

    Only its host asks Placement.
    """
    if known.lacks_allocation and (
            _noted(known.outcome, OVERCOMMITTED) is not None):
        return known.outcome
    return None


def _of_suspended(known):
    """The condition of a guest that goes on later with what it was doing."""
    if known.outcome is None and known.is_settling:
        return IN_PROGRESS, _(
            'The server goes on with its last change when it is resumed.')
    if known.outcome is None and known.offline:
        return PARTIAL, known.offline
    return known.outcome


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
            abs(one.memory_mb - other.memory_mb) <= memory.ROUNDING_MB)


def _exceeds(one, other):
    return (one.vcpus > other.vcpus or
            one.memory_mb > other.memory_mb + memory.ROUNDING_MB)
