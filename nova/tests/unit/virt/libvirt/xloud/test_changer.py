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

import time
from unittest import mock

import ddt
import fixtures

from nova import exception
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.unit.virt.libvirt.xloud import base
from nova.virt.libvirt.xloud import patience
from nova.xloud import blockers
from nova.xloud import guest as elastic_guest
from nova.xloud import size


def _error(code, text):
    return fakelibvirt.make_libvirtError(
        fakelibvirt.libvirtError, text, error_code=code)


@ddt.ddt
class ChangeTest(base.GuestsTestCase):

    def test_order(self):
        with mock.patch.multiple(
                'nova.virt.libvirt.guest.Guest', set_vcpus=mock.DEFAULT,
                set_memory=mock.DEFAULT) as mocks:
            steps = mock.Mock()
            for name, step in mocks.items():
                steps.attach_mock(step, name)
            self.assertRaises(exception.ElasticGuestRefused,
                              self._change, size.Size(4, 1500))
        self.assertEqual(
            [mock.call.set_memory(1500 * 1024, live=True),
             mock.call.set_vcpus(4, live=True)], steps.mock_calls)

    def test_vcpus_leave_before_memory(self):
        self.domain.unplug = 'refuse'
        self.assert_refused('refuses to remove vCPUs', size.Size(2, 512))
        self.assertEqual(1048576, self.domain.live.memory)

    def test_libvirt_does_not_do_what_it_says(self):
        self.domain._set_live_vcpus = lambda count: None
        for vcpus in (4, 2):
            self.assert_refused(
                'accepted %d vCPUs for it, but counts 3 now' % vcpus,
                size.Size(vcpus, 1024))

    def test_fixed_dimensions_are_left_alone(self):
        self.instance.flavor.extra_specs = {'minimum_cpu': '2'}
        self._change(size.Size(4, 512), boot=size.Size(4, 512))
        self.assertEqual((4, 1048576), (
            self.domain.live.current_vcpus, self.domain.live.memory))
        self.assertEqual((4, 1048576), (
            self.domain.config.current_vcpus, self.domain.config.memory))
        self.instance.flavor.extra_specs = {'minimum_memory': '512'}
        self._change(size.Size(2, 512), boot=size.Size(2, 512))
        self.assertEqual((4, 512 * 1024), (
            self.domain.live.current_vcpus, self.domain.live.memory))

    def test_memory_is_asked_for_again(self):
        """The guest was on its way to another size."""
        self.domain.is_balloon_late = True
        self._change(size.Size(3, 512))
        self._change(size.Size(3, 1024))
        self.assertEqual(1048576, self.domain.wanted_memory)

    def test_memory_is_left_alone(self):
        self.domain.is_balloon_late = True
        self._change(size.Size(3, 512))
        self._change(size.Size(4, None))
        self.assertEqual(512 * 1024, self.domain.wanted_memory)
        self.assertEqual(4, self.domain.live.current_vcpus)

    def test_no_balloon(self):
        self.devices = "<memballoon model='none'/>"
        self.assert_refused('no memory balloon', size.Size(2, 512))
        self.assertEqual(3, self.domain.live.current_vcpus)
        self._change(size.Size(2, 1024))
        self.assertEqual(2, self.domain.live.current_vcpus)
        self._change(size.Size(3, None))
        self.assertEqual(3, self.domain.live.current_vcpus)

    def test_more_than_the_maximum(self):
        self.assert_refused('refuses to change the memory', size.Size(3, 4096))
        self.assert_refused('refuses to add vCPUs', size.Size(8, 1024))

    def test_configuration_with_another_maximum(self):
        """Somebody used virsh edit, or setmaxmem --config."""
        self.domain.config.max_memory = 1048576
        error = self.assertRaises(
            elastic_guest.ConfigurationRefused, self._change,
            size.Size(4, 1500), size.Size(4, 1500))
        self.assertIn('Reboot it hard first', str(error))
        # Nor does the next start give a part of that.
        for sizes in self.domain.live, self.domain.config:
            self.assertEqual(
                (3, 1048576), (sizes.current_vcpus, sizes.memory))

    def test_libvirt_fails(self):
        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'setMemoryFlags',
            side_effect=fakelibvirt.libvirtError('connection lost')))
        self.assertRaises(
            fakelibvirt.libvirtError, self._change, size.Size(3, 512))

    @ddt.data((size.Size(2, 1024), base.BOOT), (size.Size(3, 512), base.BOOT),
              (base.MAXIMUM, base.BOOT), (base.BOOT, size.Size(2, 1024)))
    @ddt.unpack
    def test_another_job_of_libvirt_has_the_guest(self, target, boot):
        """libvirt waits for it as long as for vCPUs that leave late."""
        def wait(*args):
            time.sleep(0.02)
            raise _error(
                fakelibvirt.VIR_ERR_OPERATION_TIMEOUT, 'held by a dump')

        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.changer._SECONDS_FOR_JOB', 0.01))
        self._state()
        for name in ('setVcpusFlags', 'setMemoryFlags'):
            self.useFixture(fixtures.MockPatchObject(
                self.domain, name, side_effect=wait))
        error = self.assertRaises(
            elastic_guest.GuestBusy, self._change, target, boot)
        self.assertIn('such as a dump', str(error))
        self.assertFalse(self._state().cannot_plug)

    def test_a_guest_that_does_not_answer(self):
        """It is asked for nothing, so the change is not accepted."""
        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'memoryStats', side_effect=_error(
                fakelibvirt.VIR_ERR_OPERATION_TIMEOUT, 'held by a dump')))
        self.assertRaises(
            elastic_guest.GuestBusy, self._change, size.Size(2, 512))

    def test_other_guests_hang(self):
        """So libvirt is not asked, which is no failure of this guest."""
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.patience._calls._open', {1, 2, 3}))
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.patience._calls._abandoned', {1, 2, 3}))
        self.assertRaises(
            elastic_guest.GuestBusy, self._change, size.Size(2, 512))

    def test_other_guests_are_changed(self):
        """Each may take seconds for each vCPU, and requests do not queue."""
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.changer._SECONDS_FOR_TURN', 0.01))
        ask, errors = self.domain.setMemoryFlags, []

        def change_another(*args):
            """Beside this one, until there are too many."""
            try:
                self._change(size.Size(3, 512))
            except elastic_guest.HostBusy as error:
                errors.append(str(error))
            return ask(*args)

        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'setMemoryFlags', change_another))
        self._change(size.Size(3, 512))
        (error,) = errors
        self.assertIn('Try again in a few seconds', error)
        # They have ended.
        self._change(size.Size(3, 1024))

    def test_a_late_vcpu_after_other_calls(self):
        """How long libvirt was busy says nothing of this guest."""
        self.domain.type = 'qemu'
        self.domain.unplug = 'late'
        self._state()
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.changer._SECONDS_FOR_JOB', 1))
        begin = patience._calls.begin
        to_wait = []

        def wait_for_others(*args):
            while to_wait:
                time.sleep(to_wait.pop())
            begin(*args)

        set_metadata = self.domain.setMetadata

        def set_metadata_before_unplug(*args):
            to_wait.append(1.1)
            return set_metadata(*args)

        self.useFixture(fixtures.MockPatchObject(
            self.domain, 'setMetadata', set_metadata_before_unplug))
        self.useFixture(fixtures.MockPatchObject(
            patience._calls, 'begin', wait_for_others))
        self._change(size.Size(2, 1024))
        self.assertTrue(self._state().cannot_plug)

    @ddt.data(None, 'nonsense')
    def test_qemu_cannot_be_asked(self, answer):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.guest.libvirtmod_qemu', answer and mock.Mock(
                virDomainQemuMonitorCommand=lambda *args: answer)))
        self.domain.type = 'qemu'
        self.domain.unplug = 'late'
        self._change(size.Size(2, 1024))
        # Not less than it may hold
        self.assertEqual(3, self._state().vcpus)
        self.assert_refused('find out whether it did', base.MAXIMUM)
        # Asking again does no harm, and libvirt's answer settles it.
        self._change(size.Size(2, 1024))
        self.domain.give_back()
        self.assertEqual(2, self._state().vcpus)

    def test_late_vcpu_of_a_guest_that_is_not_emulated(self):
        """There QEMU reports it, and libvirt is right."""
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.guest.libvirtmod_qemu', mock.Mock(
                virDomainQemuMonitorCommand=self.fail)))
        for unplug in ('late', 'refuse'):
            self.domain.unplug = unplug
            if unplug == 'late':
                self._change(size.Size(2, 1024))
            else:
                self.assert_refused(
                    'refuses to remove vCPUs', size.Size(2, 1024))
            self.assertEqual(3, self._state().vcpus)
            self._change(base.MAXIMUM)
            self.assertEqual(4, self._state().vcpus)
            self.domain.live.set_vcpus(3)

    def test_emulated_guest_refused(self):
        """No vCPU was removed, so nothing is in doubt."""
        self.domain.type = 'qemu'
        self.domain.unplug = 'refuse'
        self.assert_refused('refuses to remove vCPUs', size.Size(2, 1024))
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.guest.libvirtmod_qemu', mock.Mock(
                virDomainQemuMonitorCommand=self.fail)))
        self.assertFalse(self._state().cannot_plug)
        self._change(base.MAXIMUM)
        self.assertEqual(4, self._state().vcpus)

    def test_software_emulation_does_not_plug_again(self):
        """Not even after a restart of libvirtd, which then counts right."""
        self.domain.type = 'qemu'
        self.domain.unplug = 'silent'
        self.assertFalse(self._state().cannot_plug)
        self._change(size.Size(2, 1024))
        self.assertEqual(2, self._state().vcpus)
        self.domain.silently_gone = 0
        self.domain.live.set_vcpus(2)
        self.assert_refused('software emulation', base.MAXIMUM)
        self.assertTrue(self._state().cannot_plug)
        self.assertEqual(1024 * 1024, self.domain.live.memory)

    def test_software_emulation_does_not_plug_while_a_vcpu_may_leave(self):
        """It may never leave, so nobody is told that it has."""
        self.domain.type = 'qemu'
        self.domain.unplug = 'late'
        self._change(size.Size(2, 1024))
        self.assertEqual(3, self._state().vcpus)
        asked = 'was asked to give back vCPUs'
        self.assert_refused(asked, base.MAXIMUM)
        (blocker,) = blockers.of_guest(self._state(), self.instance.flavor)
        self.assertIn(asked, blocker.message)
        for check, error in (
                (self.driver._elastic_guests.check_live_migration,
                 exception.MigrationPreCheckError),
                (self.driver._elastic_guests.check_devices,
                 exception.Invalid)):
            self.assertIn(asked, str(self.assertRaises(
                error, check, self.instance)))

    def test_software_emulation_loses_no_vcpu_unnoted(self):
        self.domain.type = 'qemu'
        self._state()
        with mock.patch.object(
                self.domain, 'setMetadata',
                side_effect=fakelibvirt.libvirtError('no')):
            for _ in range(2):
                self.assert_refused('cannot record', size.Size(2, 1024))
        self.assertEqual(3, self.domain.live.current_vcpus)
        self.assertFalse(self._state().cannot_plug)

    def test_qemu_is_not_asked_without_doubt(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.guest.libvirtmod_qemu', None))
        for vcpus in (4, 2, 3):
            self._change(size.Size(vcpus, 1024))
            self.assertEqual(vcpus, self._state().vcpus)
