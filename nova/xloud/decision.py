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

"""What to do about an elastic server.

:func:`decide` decides everything, from a Situation and without I/O. Deciding
again after that was carried out changes nothing.
"""

import typing as ty

from nova.i18n import _
from nova.xloud import condition
from nova.xloud import memory
from nova.xloud import situation
from nova.xloud import size


class Decision(ty.NamedTuple):
    desired: size.Size
    charge: size.Size
    # What to ask the guest for, None for nothing.
    drive: ty.Optional[size.Size]
    # As of notes.outcome().
    outcome: ty.Optional[ty.Tuple[str, str]]
    # Whether the guest holds what is desired.
    is_reached: bool
    # Why it is Partial nevertheless: the guest does not use all of that.
    offline: ty.Optional[str] = None

    @property
    def is_partial(self) -> bool:
        return self.outcome is not None and (
            self.outcome[0] == condition.PARTIAL)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is expected of the guest."""
        return self.is_reached or self.is_partial

    def ends_start(self, known: situation.Situation) -> bool:
        """Whether the guest no longer follows what its start has asked for.

        It is asked for another amount of memory. A guest that still has time
        is only asked for that until it needs less.
        """
        return (
            known.follows_start and known.guest.running and
            not known.has_time and self.drive is not None and
            self.drive.memory_mb not in (None, known.sizes.boot.memory_mb))

    def changes(self, known: situation.Situation) -> bool:
        """Whether something is to be asked, charged or recorded."""
        return (
            known.is_start or known.begins_anew or known.loses_config or
            known.has_left_over or
            known.is_settling and self.is_reached or
            not known.is_settling and not self.has_ended or
            self.drive is not None or self.outcome != known.outcome or
            self.offline != known.offline or
            self.desired != known.sizes.desired or
            self.charge != known.sizes.charged)


class _Case(ty.NamedTuple):
    """A running guest against what it should be."""

    desired: size.Size
    held: size.Size
    # What of that is charged
    counted: size.Size
    # What was noted of it and is still true
    outcome: ty.Optional[ty.Tuple[str, str]]


def decide(known: situation.Situation,
           room: ty.Optional[size.Size] = None) -> Decision:
    """What to do about a server.

    :param room: what is allocated, if its host has no room for all that it
        holds or may hold
    """
    sizes = known.sizes
    # If the configuration can still give more than boot, that stays charged.
    configured = sizes.boot if known.is_config_current else sizes.charged
    if not known.guest.running:
        desired, charge = sizes.boot, size.largest(sizes.boot, configured)
        if known.is_in_error:
            # It may run elsewhere, so what its next start gives is not known.
            desired, charge = sizes.desired, sizes.charged
        outcome = None
        if room is not None:
            outcome = condition.OVERCOMMITTED, _(
                'The server is charged %(charge)s, has %(room)s in '
                'Placement, and its host has no room for more.') % {
                    'charge': charge, 'room': room}
        return Decision(
            desired, charge,
            drive=None if known.is_config_current else sizes.boot,
            outcome=outcome, is_reached=True)

    case, waiting = _case(known, room), known.has_time
    # The hypervisor would wait for the answer of a guest that is still.
    can_ask = not (known.is_start or known.is_held_up or known.is_rescued)
    drive, desired, outcome = None, case.desired, case.outcome
    if not waiting:
        desired, outcome = _accept(known, case)
        if can_ask:
            if room is None:
                desired = _with_reserve(known, case, desired)
            drive = _give_up(known, case, desired, room)
    elif case.held != desired:
        # A change is being undone. That is not the end of the one before.
        outcome = None
        if can_ask:
            drive = _request(known, case)
    if drive is None and not known.is_config_current and can_ask:
        drive = memory.leave_unknown(known.guest, memory.target(
            known.guest, desired, known.memory_reserve_mb))
        if _awaits_driver(known):
            drive = drive._replace(memory_mb=None)
    charge = size.largest(desired, sizes.boot, case.counted, configured)

    if room is not None:
        text = _('The server holds %(held)s, is charged %(charge)s and its '
                 'host has no room for more.')
        if size.grows(charge, room):
            # Its allocation was lost.
            text = _('The server holds %(held)s, is charged %(charge)s, has '
                     '%(room)s in Placement, and its host has no room for '
                     'more.')
        outcome = condition.OVERCOMMITTED, text % {
            'held': case.held, 'charge': charge, 'room': room}
    is_reached, offline = case.held == desired, None
    if known.guest.has_offline_vcpus:
        if known.is_held_up and known.offline:
            # It can do nothing about that now.
            offline = known.offline
        elif waiting:
            is_reached = False
        else:
            offline = condition.offline(
                known.guest.online_vcpus, known.guest.vcpus)
    return Decision(desired, charge, drive, outcome, is_reached, offline)


def _case(known, room):
    guest, outcome = known.guest, known.outcome
    # What was asked for without 'persist' ended with the earlier run.
    sizes = known.sizes
    if known.is_start:
        sizes = sizes._replace(desired=sizes.boot)
    held = situation.held(sizes, guest)
    overcommitted = (
        not known.is_start and outcome is not None and
        outcome[0] == condition.OVERCOMMITTED)
    if known.is_start or overcommitted:
        outcome = None
    # A starting guest holds the maximum until its balloon driver loads, and so
    # does, for a moment, a guest that has reset itself. An adjust gives no
    # more time for that.
    if not overcommitted and (
            known.has_start_window or guest.is_returning):
        counted = size.smallest(held, sizes.charged)
    elif room is not None:
        counted = size.smallest(held, room)
    else:
        counted = held
    desired = sizes.desired
    if overcommitted and known.follows_start and known.has_time:
        # That is only what there was room for.
        desired = sizes.boot
    return _Case(desired, held, counted, outcome)


def _accept(known, case):
    """After the timeout, what the guest holds becomes the desired size.

    :returns: that, and the outcome
    """
    if case.held == case.desired:
        return case.desired, case.outcome
    accepted = size.largest(
        known.sizes.minimum, size.smallest(case.counted, known.sizes.maximum))
    if (case.outcome or known.follows_start) and (
            case.held == known.sizes.boot):
        # The guest reached its boot size after the timeout.
        return accepted, None
    if case.outcome and accepted == case.desired:
        # Nothing has changed: it holds less than its minimum.
        return case.desired, case.outcome
    if case.outcome:
        # Nobody has asked it since for more than to keep what it held.
        return accepted, (condition.PARTIAL, _(
            'The guest holds %(held)s. It had %(desired)s when its last '
            'change was given up.') % {
                'held': case.held, 'desired': case.desired})
    return accepted, (condition.PARTIAL, _refusal(known, case))


def _refusal(known, case):
    guest, held, desired = known.guest, case.held, case.desired
    reasons = [_('The guest holds %(held)s and not %(desired)s.') %
               {'held': held, 'desired': desired}]
    if held.vcpus > desired.vcpus:
        reasons.append(_('It did not give back vCPUs.'))
    elif held.vcpus < desired.vcpus:
        reasons.append(_('It did not take vCPUs.'))
    if guest.memory_pinned:
        reasons.append(_(
            'A passed-through device pins its memory, or it is locked.'))
    elif held.memory_mb != desired.memory_mb:
        if not guest.balloon_active:
            reasons.append(_('Its balloon driver does not answer.'))
        elif held.memory_mb > desired.memory_mb:
            reasons.append(_('It did not give back memory.'))
            needed_mb = memory.needs(guest, known.memory_reserve_mb)
            if needed_mb is not None and needed_mb > desired.memory_mb:
                reasons.append(_('It needs %d MiB.') % needed_mb)
        else:
            reasons.append(_('It did not take memory.'))
    reasons.append(_('It had %d seconds.') % known.settle_timeout)
    return ' '.join(reasons)


def _give_up(known, case, accepted, room):
    """What to ask a guest for that did not do what it was asked for.

    Until then it may still follow the earlier request.
    """
    kept_mb = max(accepted.memory_mb, case.held.memory_mb)
    if _has_late_driver(known, case, room):
        # It does what the start has asked for.
        if _late_target_mb(known, case) > known.sizes.boot.memory_mb:
            return case.held._replace(memory_mb=kept_mb)
        return None
    if room is not None or accepted.memory_mb == case.desired.memory_mb:
        return None
    return accepted._replace(memory_mb=kept_mb)


def _with_reserve(known, case, accepted):
    """What is accepted, with the reserve of a guest that has nothing left.

    A late balloon driver has taken all that there was before anybody looked.
    """
    target_mb = _late_target_mb(known, case)
    if not _has_late_driver(known, case) or target_mb <= max(
            case.held.memory_mb, known.sizes.boot.memory_mb):
        return accepted
    return accepted._replace(memory_mb=target_mb)


def _has_late_driver(known, case, room=None):
    """Whether a balloon driver loads late, or may do so."""
    return _awaits_driver(known) or known.follows_start and (
        room is not None or case.held.memory_mb <= case.desired.memory_mb)


def _late_target_mb(known, case):
    """What a guest should keep whose balloon driver loads late.

    More than its boot size if it needs that, and more than it holds if it has
    almost nothing left.
    """
    boot = known.sizes.boot
    if case.held.memory_mb <= boot.memory_mb:
        return boot.memory_mb
    if known.guest.is_squeezed and known.guest.used_memory_mb is None:
        # Its driver and its kernel take the same memory in turns, so that its
        # balloon always moves.
        return min(case.held.memory_mb + known.memory_reserve_mb,
                   known.sizes.maximum.memory_mb)
    return memory.start_target(
        known.guest, boot, known.memory_reserve_mb,
        known.sizes.maximum.memory_mb).memory_mb


def _awaits_driver(known):
    """Whether a balloon driver that loads late should follow the start."""
    return known.follows_start and not known.guest.balloon_active


def _request(known, case):
    """What to ask a guest for that still has time, None for nothing."""
    guest, desired, reserve_mb = (
        known.guest, case.desired, known.memory_reserve_mb)
    if known.follows_start:
        target = memory.start_target(
            guest, desired, reserve_mb, known.sizes.maximum.memory_mb)
    else:
        target = memory.target(guest, desired, reserve_mb, reserve_mb // 2)
    target = memory.leave_unknown(guest, target)
    if target.vcpus != case.held.vcpus:
        return target
    if target.memory_mb is None:
        return None
    # A guest that keeps what it holds has been asked for less.
    is_kept = target != desired and not guest.memory_pinned
    return target if is_kept or target.memory_mb != guest.memory_mb else None
