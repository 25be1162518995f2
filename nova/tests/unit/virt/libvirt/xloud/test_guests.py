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
import time
from unittest import mock

import ddt
import fixtures

from nova import exception
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.unit.virt.libvirt.xloud import base
from nova.tests.unit.virt.libvirt.xloud import fakes
from nova.xloud import size


@ddt.ddt
class GuestsTest(base.GuestsTestCase):

    def _boot_size_is(self, boot):
        instance = fakes.server(fakes.ELASTIC, boot=boot)
        self.useFixture(fixtures.MockPatch(
            'nova.objects.Instance.get_by_uuid', return_value=instance))

    def test_mending(self):
        self._boot_size_is(base.BOOT)
        self._state()
        self.domain.config.metadata = dict(self.domain.live.metadata)
        self.domain.config.set_vcpus(4)
        self.driver._boot_sizes.keep(self.instance)
        self.assertEqual({}, self.domain.config.metadata)
        self.assertEqual(3, self.domain.config.current_vcpus)

    def test_mending_fails(self):
        """The operation before does not fail, and Nova tries again."""
        self._boot_size_is(base.BOOT)
        self._state()
        for owner, name in ((self.domain, 'setMetadata'),
                            (self.domain, 'setVcpusFlags'),
                            (self.driver._host, 'get_guest')):
            self.domain.config.metadata = dict(self.domain.live.metadata)
            self.domain.config.set_vcpus(4)
            with mock.patch.object(
                    owner, name, side_effect=fakelibvirt.libvirtError('no')):
                self.driver._boot_sizes.keep(self.instance)
                self.assertTrue(self._state().has_stale_config)
                self.assertNotEqual({}, self.domain.config.metadata)
            self.assertFalse(self._state().has_stale_config)
            self.assertEqual({}, self.domain.config.metadata)
            self.assertEqual(3, self.domain.config.current_vcpus)

    def test_mending_waits_for_a_guest(self):
        """libvirt serves five calls of a client, and others need them."""
        self._boot_size_is(base.BOOT)
        self._state()
        self.domain.config.set_vcpus(4)
        tries, begun, released = [], threading.Event(), threading.Event()
        self.addCleanup(released.set)

        def wait(*args):
            tries.append(args)
            begun.set()
            released.wait(60)
            raise fakelibvirt.libvirtError('held by a dump')

        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.xloud.persistent._LONG_SECONDS', 0.1))
        with mock.patch.object(self.domain, 'setVcpusFlags', wait):
            released.set()
            self.driver._boot_sizes.keep(self.instance)
            released.clear()
            begun.clear()
            first, *others = (
                threading.Thread(target=self._state) for _ in range(6))
            first.start()
            begun.wait(60)
            for look in others:
                look.start()
            time.sleep(0.2)
            self.assertEqual(2, len(tries))
            released.set()
            for look in first, *others:
                look.join()
            self._state()
            self.assertEqual(2, len(tries))
        self.useFixture(fixtures.MockPatchObject(
            self.driver._boot_sizes, '_mend_after', 0))
        self._state()
        self.assertEqual(3, self.domain.config.current_vcpus)

    @ddt.data(('qemu', True), ('kvm', False))
    @ddt.unpack
    def test_state_that_cannot_be_taken_out_of_qemu(self, kind, is_refused):
        self.domain.type = kind
        check = self.driver._elastic_guests
        for unplugged in (False, True):
            if unplugged:
                self._change(size.Size(2, 1024))
            if unplugged and is_refused:
                self.assertRaises(
                    exception.MigrationPreCheckError,
                    self.driver.check_can_live_migrate_source, None,
                    self.instance, None)
                self.assertRaises(
                    exception.InstanceFaultRollback, self.driver.suspend,
                    None, self.instance)
                self._assert_refuses_devices()
            else:
                check.check_live_migration(self.instance)
                check.check_suspend(self.instance)
                check.check_devices(self.instance)
        self.assertTrue(self.domain.live)

    def _assert_refuses_devices(self):
        for change, *arguments in (
                (self.driver.attach_volume, None, None, self.instance, None),
                (self.driver.detach_volume, None, None, self.instance, None),
                (self.driver.attach_interface, None, self.instance, None,
                 None),
                (self.driver.detach_interface, None, self.instance, None)):
            error = self.assertRaises(exception.Invalid, change, *arguments)
            self.assertIn('Reboot the server hard', str(error))

    def test_libvirt_cannot_say_whether_vcpus_left(self):
        """No operation fails because of that."""
        self.useFixture(fixtures.MockPatchObject(
            self.connection, 'domainListGetStats',
            side_effect=fakelibvirt.libvirtError('no')))
        check = self.driver._elastic_guests
        check.check_live_migration(self.instance)
        check.check_suspend(self.instance)
        check.check_devices(self.instance)
