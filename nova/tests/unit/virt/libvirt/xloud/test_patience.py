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

import threading
import types

from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt.xloud import patience


class PatienceTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())

    def test_answer(self):
        self.assertEqual(3, patience.call(sum, [1, 2]))
        error = self.assertRaises(ValueError, patience.call, int, 'one')
        self.assertIn('one', str(error))

    def test_no_answer(self):
        released = threading.Event()
        self.addCleanup(released.set)
        error = self.assertRaises(
            fakelibvirt.libvirtError, patience.call, released.wait, 10,
            seconds=0.01)
        self.assertEqual(fakelibvirt.VIR_ERR_OPERATION_TIMEOUT,
                         error.get_error_code())
        self.assertEqual('no answer within 0.01 seconds',
                         error.get_error_message())

    def test_wrapper(self):
        released = threading.Event()
        self.addCleanup(released.set)
        domain = patience.Patient(types.SimpleNamespace(
            _o='object', ID=lambda: 7, hang=released.wait), 0.01)
        self.assertEqual('object', domain._o)
        self.assertEqual(7, domain.ID())
        self.assertRaises(fakelibvirt.libvirtError, domain.hang, 10)

    def test_some_calls_are_left_for_the_rest_of_nova(self):
        """libvirt serves five calls of one client at the same time."""
        begun, released = [], threading.Event()
        self.addCleanup(released.set)

        def hang():
            begun.append(None)
            released.wait(60)

        errors = [self.assertRaises(
            fakelibvirt.libvirtError, patience.call, hang, seconds=0.2)
            for _ in range(6)]
        self.assertEqual(3, len(begun))
        self.assertEqual('3 calls have not ended',
                         errors[-1].get_error_message())
        # An agent that hangs has a limit in libvirt, and is not asked in vain.
        turn = threading.Lock()
        self.assertEqual(3, patience.call(sum, [1, 2], turn=turn))
        # Nobody awaits it any more, but it has not ended.
        self.assertRaises(fakelibvirt.libvirtError, patience.call, hang,
                          seconds=0.2, turn=turn)
        error = self.assertRaises(
            fakelibvirt.libvirtError, patience.call, self.fail, seconds=0.2,
            turn=turn)
        self.assertFalse(patience.was_made(error))
        released.set()
        self.assertEqual(3, patience.call(sum, [1, 2], seconds=60))
        self.assertEqual(3, patience.call(sum, [1, 2], seconds=60, turn=turn))

    def test_a_look_waits_for_no_change(self):
        """A guest may take seconds for each vCPU that it gives back."""
        released, begun = threading.Event(), threading.Semaphore(0)
        self.addCleanup(released.set)
        domain = patience.Patient(types.SimpleNamespace(
            change=lambda: begun.release() or released.wait(60)), 60,
            is_for_changes=True)
        changes = [threading.Thread(target=domain.change) for _ in range(3)]
        for change in changes:
            change.start()
        for _ in range(2):
            begun.acquire()
        self.assertEqual(3, patience.call(sum, [1, 2], seconds=1))
        self.assertFalse(begun.acquire(timeout=0.2))
        released.set()
        for change in changes:
            change.join()
        self.assertTrue(begun.acquire(blocking=False))

    def test_a_call_waits_for_others(self):
        released = threading.Event()
        self.addCleanup(released.set)
        for _ in range(3):
            threading.Thread(
                target=patience.call, args=(released.wait, 60)).start()
        timer = threading.Timer(0.5, released.set)
        timer.start()
        self.assertEqual(3, patience.call(sum, [1, 2], seconds=60))
        self.assertTrue(released.is_set())
