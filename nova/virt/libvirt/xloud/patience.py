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

"""Calls of libvirt that end in time.

A QEMU that is stopped or hangs never answers, and a call that asks it never
returns. libvirt lets later calls wait 30 seconds for the first one. If
libvirtd itself hangs, no call returns.

libvirt serves five calls of one client at the same time, and reads no other
call while they last. So if several QEMUs hang, such as with their storage,
only a part of these calls waits for them. The rest of Nova needs the others.

A guest may take seconds for each vCPU that it is asked to give back. So not
all of that part changes guests: it must be possible to look at the others.
"""

import threading
import time
import typing as ty

from nova.virt.libvirt import guest as libvirt_guest

SECONDS = 30

# How many calls of libvirt from here may last at the same time
_MOST_OPEN = 3
# and how many of these may change guests
MOST_CHANGES = 2
# How long to wait for calls that nobody awaits any more
_MOMENT = 0.1


class _OpenCalls:
    """The calls that have not ended, and those of them that nobody awaits."""

    def __init__(self):
        self._changed = threading.Condition()
        self._open: ty.Set[object] = set()
        # Those that change a guest
        self._changes: ty.Set[object] = set()
        self._abandoned: ty.Set[object] = set()

    def begin(self, call, seconds: float, is_change: bool) -> None:
        """Wait until one more call may begin.

        :raises: libvirtError if that takes longer than so many seconds, or
            if nobody knows when one of the others ends
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._abandoned >= self._in_the_way(is_change),
                seconds)
            if not self._changed.wait_for(
                    lambda: not self._in_the_way(is_change), _MOMENT):
                raise _not_made('%d calls have not ended' % len(
                    self._in_the_way(is_change)))
            self._open.add(call)
            if is_change:
                self._changes.add(call)

    def _in_the_way(self, is_change):
        """The calls of which one has to end first."""
        if len(self._open) >= _MOST_OPEN:
            return self._open
        if is_change and len(self._changes) >= MOST_CHANGES:
            return self._changes
        return set()

    def abandon(self, call) -> None:
        with self._changed:
            if call in self._open:
                self._abandoned.add(call)
                self._changed.notify_all()

    def end(self, call) -> None:
        with self._changed:
            self._open.discard(call)
            self._changes.discard(call)
            self._abandoned.discard(call)
            self._changed.notify_all()


_calls = _OpenCalls()


def call(function: ty.Callable, *args, seconds: ty.Optional[float] = None,
         turn: ty.Optional[threading.Lock] = None, is_change: bool = False,
         **kwargs):
    """Call a function, and abandon it if it takes too long.

    It runs in a thread of its own, which is a green thread under eventlet. The
    result of a call that ends after the time is up is lost.

    :param seconds: how long to wait, by default SECONDS
    :param turn: what the call holds until it has ended, if libvirt ends it
        even if nobody answers. It waits at most half of its time for that.
    :param is_change: whether it may change a guest, which can take long
    :raises: libvirtError, with VIR_ERR_OPERATION_TIMEOUT if it takes longer,
        and with VIR_ERR_SYSTEM_ERROR if it is not made because too many
        others have not ended
    """
    seconds = SECONDS if seconds is None else seconds
    ended = threading.Event()
    results: ty.List[ty.Any] = []
    errors: ty.List[BaseException] = []

    def run():
        begin = time.monotonic()
        try:
            results.append(function(*args, **kwargs))
        except BaseException as error:
            error.lasted = time.monotonic() - begin
            errors.append(error)
        end()
        ended.set()

    def end():
        _calls.end(ended)
        if turn is not None:
            turn.release()

    if turn is None:
        _calls.begin(ended, seconds, is_change)
    elif not turn.acquire(timeout=seconds / 2):
        raise _not_made('another call has not ended')
    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError as error:
        # The machine has no thread left now.
        error.was_made = False  # type: ignore[attr-defined]
        end()
        raise
    if not ended.wait(seconds):
        _calls.abandon(ended)
        error = _error(
            libvirt_guest.libvirt.VIR_ERR_OPERATION_TIMEOUT,
            'no answer within %g seconds' % seconds)
        error.lasted = seconds
        raise error
    if errors:
        raise errors[0]
    return results[0]


def lasted(error) -> float:
    """How many seconds the call took that failed with an error.

    What it had to wait for other calls is not a part of that.
    """
    return getattr(error, 'lasted', 0.0)


def was_made(error) -> bool:
    """Whether the call that failed with an error was made."""
    return getattr(error, 'was_made', True)


class Patient:
    """A virDomain, or the like, whose calls end in time."""

    def __init__(self, wrapped, seconds: ty.Optional[float] = None,
                 is_for_changes: bool = False):
        self._wrapped = wrapped
        self._seconds = seconds
        self._is_for_changes = is_for_changes

    def __getattr__(self, name):
        found = getattr(self._wrapped, name)
        if not callable(found):
            return found

        def patiently(*args, seconds=self._seconds, **kwargs):
            return call(found, *args, seconds=seconds,
                        is_change=self._is_for_changes, **kwargs)

        return patiently


def _not_made(message):
    error = _error(libvirt_guest.libvirt.VIR_ERR_SYSTEM_ERROR, message)
    error.was_made = False
    return error


def _error(code, message):
    libvirt = libvirt_guest.libvirt
    error = libvirt.libvirtError(message)
    # libvirt fills in the last error of this thread, if there is one.
    error.args = (message,)
    error.err = (code, libvirt.VIR_FROM_QEMU, message)
    return error
