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

"""The threads that a Host of the libvirt driver has for its events."""

import functools

import fixtures
import libvirt

from nova.tests.hypervisor import fixtures as hypervisor_fixtures
from nova.virt.libvirt import host as libvirt_host


class _Native:
    """Runs the event loop of libvirt; a process has only one."""

    is_running = False

    @classmethod
    def run(cls):
        """What each Host runs in a thread of its own."""
        if cls.is_running:
            return
        cls.is_running = True
        while True:
            libvirt.virEventRunDefaultImpl()


def _classes_with(method):
    """Those that have it themselves: since 33.0.0 not only the Host."""
    return [owner for owner in vars(libvirt_host).values()
            if isinstance(owner, type) and method in vars(owner)]


class Loops(fixtures.Fixture):
    """Lets these threads end with a test, all but the one of libvirt.

    Since 34.0.0, Nova's fixtures wait for all that a test has spawned.
    """

    def _setUp(self):
        self._is_over = False
        # What wakes each loop that runs
        self._wakers = []
        for owner in _classes_with('_native_thread'):
            self.useFixture(fixtures.MockPatchObject(
                owner, '_native_thread', _Native.run))
        for owner in _classes_with('_conn_event_thread'):
            self._replace(
                owner, '_conn_event_thread', owner._dispatch_conn_event,
                lambda host: host._conn_event_handler_queue.put(lambda: None))
        for owner in _classes_with('_dispatch_thread'):
            self._replace(
                owner, '_dispatch_thread', owner._dispatch_events,
                functools.partial(owner._queue_event, event={}))
        self.addCleanup(self._end)

    def _replace(self, owner, name, step, wake):
        def run(host):
            waker = functools.partial(wake, host)
            self._wakers.append(waker)
            try:
                while not self._is_over:
                    step(host)
            finally:
                # A Host that has stopped refuses what its guest does last.
                self._wakers.remove(waker)

        self.useFixture(fixtures.MockPatchObject(owner, name, run))

    def _end(self):
        self._is_over = True
        for wake in list(self._wakers):
            wake()
        hypervisor_fixtures.wait_for(
            lambda: not self._wakers, 60, 'the loops for events end')
