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

"""What is not asked or written again at once.

Each time in a row it waits longer, up to an hour.
"""

import datetime
import typing as ty

from oslo_utils import timeutils

from nova.xloud import notes
from nova.xloud import situation
from nova.xloud import size

_SECONDS = 60
_MOST_SECONDS = 3600


class _Wait(ty.NamedTuple):

    since: datetime.datetime
    seconds: int

    def is_on(self) -> bool:
        """Whether it lasts. It ends if the clock is set back."""
        return situation.is_waiting(
            self.since, timeutils.utcnow(), self.seconds)


def _from_now(seconds):
    return _Wait(timeutils.utcnow(), seconds)


def _longer(seconds):
    return min(max(2 * seconds, _SECONDS), _MOST_SECONDS)


class Room:
    """Limits the questions to a host that has no room for a server.

    :ivar needed: the Size that did not fit, None if all is known to fit
    """

    def __init__(self):
        self.needed: ty.Optional[size.Size] = None
        self._wait: ty.Optional[_Wait] = None

    def is_short(self) -> bool:
        """Whether its host had no room for more, a short time ago."""
        return self._wait is not None and self._wait.is_on()

    def note_short(self, needed: size.Size) -> None:
        self.needed = needed
        last = self._wait
        self._wait = _from_now(_longer(last.seconds if last else 0))

    def forget(self) -> None:
        """It fits, or somebody wants to know whether it does."""
        self.needed = self._wait = None


class _Unasked(ty.NamedTuple):
    """A change that no user asked for."""

    # When the server was last asked to change
    asked: ty.Optional[datetime.datetime]
    # The next change waits for that. Only a higher charge does not.
    wait: _Wait
    # By how many MiB the charge rose
    step_mb: int


class Leisure:
    """Limits the writes for a guest that moves its balloon by itself."""

    def __init__(self):
        self._last: ty.Optional[_Unasked] = None

    def note(self, instance, step_mb: int) -> None:
        """Remember such a change. Only from the second on, the next waits."""
        last = self._last_of(instance)
        if last is not None and last.wait.is_on():
            wait = last.wait
        else:
            wait = _from_now(_longer(last.wait.seconds) if last else 0)
        self._last = _Unasked(
            notes.changed_at(instance), wait, max(step_mb, 0))

    def mark_changed(self, instance, now: datetime.datetime,
                     follows_start: bool) -> None:
        """As :func:`nova.xloud.notes.mark_changed`, and wait as before."""
        last = self._last_of(instance)
        notes.mark_changed(instance, now, follows_start)
        if last is not None:
            self._last = last._replace(asked=notes.changed_at(instance))

    def end(self) -> None:
        self._last = None

    def rounded(self, instance, charge: size.Size) -> size.Size:
        """What to charge a guest that takes memory again and again.

        Each step is twice the last one, so that there are only a few.
        """
        last = self._last_of(instance)
        covered_mb = size.moved(instance).memory_mb
        if last is None or not last.wait.is_on() or (
                charge.memory_mb <= covered_mb):
            return charge
        return charge._replace(memory_mb=max(charge.memory_mb, min(
            covered_mb + 2 * last.step_mb,
            size.maximum(instance.flavor).memory_mb)))

    def can_rest(self, instance, held: size.Size, charge: size.Size) -> bool:
        """Whether a change that no user asked for can wait.

        All that the guest holds is charged, or known not to fit.
        """
        last = self._last_of(instance)
        return (last is not None and last.wait.is_on() and
                not size.grows(charge, size.charged(instance)) and
                not size.grows(held, size.moved(instance)))

    def _last_of(self, instance):
        """The last change, unless the server was asked for one since."""
        last = self._last
        if last is None or last.asked != notes.changed_at(instance):
            return None
        return last
