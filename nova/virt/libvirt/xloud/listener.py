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

"""Hear from libvirt that an elastic guest has changed."""

import threading
import time
import typing as ty

from oslo_log import log as logging

from nova.virt.libvirt import event as libvirtevent
from nova.virt.libvirt.xloud import events
from nova.xloud import guest as elastic_guest

LOG = logging.getLogger(__name__)

# While a balloon moves, an event comes every second.
_CALM_SECONDS = 2
# Of how many guests events are handled at the same time
_MOST_AT_WORK = 16


def spawn(work) -> None:
    """Start a thread of our own.

    Nova's own ones are few, builds and live migrations of other servers need
    them, and to handle an event can take a minute.

    :raises RuntimeError: if the machine has no thread left
    """
    threading.Thread(target=work, name='xloud-event', daemon=True).start()


class Listener:

    def __init__(self, observer, changer, emit_event):
        """:param emit_event: takes an event for the compute manager"""
        self._observer = observer
        self._changer = changer
        self._emit_event = emit_event
        # When to emit an event of a guest, the soonest first.
        self._to_emit: ty.Dict[str, float] = {}
        # Whether a thread waits for that
        self._is_waiting = False
        # The guests whose events are emitted next, the first one first, and
        # how many threads do that
        self._due: ty.Dict[str, None] = {}
        self._at_work = 0
        # For all of these
        self._to_emit_lock = threading.Lock()

    def take_event(self, event) -> bool:
        """Handle an event of the host.

        :returns: whether no other handler needs it
        """
        if not isinstance(event, libvirtevent.LibvirtEvent):
            return False
        is_ours = isinstance(
            event, (events.BalloonChangedEvent, events.DeviceAddedEvent,
                    events.GuestResetEvent))
        uuid = event.get_instance_uuid()
        if uuid not in self._observer.domains:
            return is_ours
        # Another thread may drop it meanwhile.
        run = self._observer.runs.get(uuid)
        if isinstance(event, events.GuestResetEvent):
            if run is not None:
                run.note_reset()
            return True
        if events.is_about_vcpu(event):
            is_known = uuid in self._changer.refusing and isinstance(
                event, libvirtevent.DeviceRemovalFailedEvent)
            if not is_known:
                self._emit_soon(uuid)
            return True
        if isinstance(event, libvirtevent.DeviceEvent):
            self._observer.unsure.add(uuid)
        elif run is not None and is_ours:
            run.note_move()
        self._emit_soon(uuid)
        return is_ours

    def _emit_soon(self, uuid):
        with self._to_emit_lock:
            if uuid not in self._observer.elastic:
                return
            self._to_emit.setdefault(uuid, time.monotonic() + _CALM_SECONDS)
            if self._is_waiting:
                # One waits for all guests.
                return
            self._is_waiting = True
        if not _try_to_spawn(self._wait_for_each):
            self._is_waiting = False

    def _wait_for_each(self):
        while True:
            with self._to_emit_lock:
                if not self._to_emit:
                    self._is_waiting = False
                    return
                uuid, when = next(iter(self._to_emit.items()))
            time.sleep(max(0, when - time.monotonic()))
            with self._to_emit_lock:
                del self._to_emit[uuid]
                # An event that nobody has begun to handle says the same.
                is_due = uuid in self._due
                self._due[uuid] = None
                if self._at_work >= (1 if is_due else _MOST_AT_WORK):
                    continue
                self._at_work += 1
            # Handling it can take seconds, and must not delay the events of
            # other guests.
            if not _try_to_spawn(self._emit_each):
                with self._to_emit_lock:
                    self._at_work -= 1

    def _emit_each(self):
        while True:
            with self._to_emit_lock:
                if not self._due:
                    self._at_work -= 1
                    return
                uuid = next(iter(self._due))
                del self._due[uuid]
            try:
                self._emit_event(elastic_guest.GuestChangedEvent(uuid))
            except Exception:
                LOG.exception('An event of a guest was not handled.',
                              instance_uuid=uuid)


def _try_to_spawn(work) -> bool:
    try:
        spawn(work)
        return True
    except RuntimeError as error:
        # The next event tries again, and reconcile looks at all guests.
        LOG.warning('Events of guests wait: %s', error)
        return False
