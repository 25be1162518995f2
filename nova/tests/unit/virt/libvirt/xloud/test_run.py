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

from unittest import mock

import fixtures

from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.unit.virt.libvirt.xloud import base
from nova.xloud import size


class RunTest(base.GuestsTestCase):

    def _forget(self):
        """nova-compute starts again."""
        self.driver._elastic_guests._observer.runs.clear()

    def test_goes_on(self):
        run = self._state().run
        self._forget()
        self.assertEqual(run, self._state().run)

        # Also where it is another domain of another libvirt
        self.domain._id += 7
        self.domain._reason = 2
        self.assertEqual(run, self._state().run)
        self._forget()
        self.domain._reason = 1
        self.assertEqual(run, self._state().run)

    def test_starts_anew(self):
        run = self._state().run
        self.domain.destroy()
        self.domain.create()
        other = self._state().run
        self.assertNotEqual(run, other)

        # libvirtd and nova-compute were restarted, and ids with them.
        number = self.domain.ID()
        self.domain.destroy()
        self.connection._id_counter = number
        self.domain.create()
        self.assertEqual(number, self.domain.ID())
        self._forget()
        self.assertNotEqual(other, self._state().run)

    def test_mark_in_persistent_configuration(self):
        """Live base.XML was made persistent, and nobody corrected it."""
        run = self._state().run
        self.domain.config.metadata = dict(self.domain.live.metadata)
        self.domain.destroy()
        self.domain.create()
        self.assertNotEqual(run, self._state().run)

    def test_paused_guest_that_moves_goes_on(self):
        """A pause also has reason 1, which means a start in other states."""
        run = self._state().run
        self.domain._id += 7
        self._forget()
        self.domain._state = fakelibvirt.VIR_DOMAIN_PAUSED
        self.domain._reason = 1
        self.assertEqual(run, self._state().run)

    def test_no_mark(self):
        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'setMetadata',
            side_effect=fakelibvirt.libvirtError('no')))
        self.assertIsNone(self._state().run)
        self.assertTrue(self._state().running)

    def test_mark_that_could_not_be_made_before(self):
        with mock.patch.object(
                self.domain, 'setMetadata',
                side_effect=fakelibvirt.libvirtError('no')):
            self.assertIsNone(self._state().run)
        run = self._state().run
        self.assertIsNotNone(run)
        # It stays known when more cannot be noted.
        with mock.patch.object(
                self.domain, 'setMetadata',
                side_effect=fakelibvirt.libvirtError('no')):
            self._change(size.Size(2, 1024))
            self.assertEqual(run, self._state().run)
