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

from nova import utils
from nova.virt.libvirt import event as libvirtevent
from nova.virt.libvirt.xloud import events
from nova.xloud import guest as elastic_guest

try:
    from nova import thread_pool_factory as spawner
except ImportError:                       # before 34.0.0
    spawner = utils

# While a balloon moves, an event comes every second.
_CALM_SECONDS = 2


class Listener:

    def __init__(self, observer, changer, emit_event):
        """:param emit_event: takes an event for the compute manager"""
        self._observer = observer
        self._changer = changer
        self._emit_event = emit_event
        # When to emit an event of a guest, the soonest first.
        self._to_emit: ty.Dict[str, float] = {}
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
            if uuid not in self._observer.elastic or uuid in self._to_emit:
                return
            self._to_emit[uuid] = time.monotonic() + _CALM_SECONDS
            if len(self._to_emit) > 1:
                return
        # One waits for all guests, as there are few threads.
        spawner.spawn(self._emit_each)

    def _emit_each(self):
        is_last = False
        while not is_last:
            with self._to_emit_lock:
                uuid, when = next(iter(self._to_emit.items()))
            time.sleep(max(0, when - time.monotonic()))
            with self._to_emit_lock:
                del self._to_emit[uuid]
                is_last = not self._to_emit
            # Handling it can take seconds, and must not delay the events of
            # other guests.
            spawner.spawn(self._emit_event,
                          elastic_guest.GuestChangedEvent(uuid))
