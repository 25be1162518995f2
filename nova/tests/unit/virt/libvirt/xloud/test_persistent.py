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
import oslo_messaging as messaging

from nova import context
from nova import exception
from nova import objects
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.unit.virt.libvirt.xloud import fakes
from nova.virt import fake
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt.xloud import persistent
from nova.xloud import size

BOOT = size.Size(3, 1024)


def _xml(vcpus, memory):
    return (
        "<domain><memory unit='KiB'>2097152</memory>"
        "<currentMemory unit='KiB'>%d</currentMemory>"
        "<vcpu current='%d'>4</vcpu></domain>" % (memory, vcpus))


class PersistentTest(test.NoDBTestCase):
    """A configuration of 4 vCPUs and 2048 MiB, which should give BOOT."""

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.vcpus, self.memory = 4, 2097152
        self.host = mock.Mock()
        self.guest = self.host.get_guest.return_value
        self.guest.get_xml_desc.side_effect = self._configuration
        self.guest.set_vcpus.side_effect = self._set_vcpus
        self.guest.set_memory.side_effect = self._set_memory

    def _configuration(self, dump_inactive):
        self.assertTrue(dump_inactive)
        return _xml(self.vcpus, self.memory)

    def _set_vcpus(self, count, persistent):
        self.assertTrue(persistent)
        self.vcpus = count

    def _set_memory(self, amount, persistent):
        self.assertTrue(persistent)
        self.memory = amount

    def _keep(self, *args, **kwargs):
        instance = fakes.server(*args, **kwargs)
        with mock.patch('nova.objects.Instance.get_by_uuid',
                        return_value=instance):
            return persistent.keep_boot_size(self.host, instance)

    def test_inert(self):
        self.assertTrue(self._keep())
        self.host.get_guest.assert_not_called()

    def test_flavor_not_loaded(self):
        self.assertTrue(
            persistent.keep_boot_size(self.host, objects.Instance()))
        self.host.get_guest.assert_not_called()

    def test_both(self):
        self.assertTrue(self._keep(fakes.ELASTIC, boot=BOOT))
        self.assertEqual((3, 1048576), (self.vcpus, self.memory))

    def test_boot_size_of_now(self):
        """The caller's copy is as old as the operation that ends."""
        now = fakes.server(fakes.ELASTIC, boot=BOOT)
        self.useFixture(fixtures.MockPatch(
            'nova.objects.Instance.get_by_uuid', return_value=now))
        self.assertTrue(persistent.keep_boot_size(
            self.host, fakes.server(fakes.ELASTIC)))
        self.assertEqual((3, 1048576), (self.vcpus, self.memory))

    def test_what_else_is_mended(self):
        instance = fakes.server(fakes.ELASTIC)
        self.useFixture(fixtures.MockPatch(
            'nova.objects.Instance.get_by_uuid', return_value=instance))
        mended = []
        self.assertTrue(persistent.keep_boot_size(
            self.host, instance, mended.append))
        self.assertEqual([self.guest], mended)
        self.assertFalse(persistent.keep_boot_size(
            self.host, instance,
            mock.Mock(side_effect=fakelibvirt.libvirtError('no'))))

    def test_volume_is_migrated(self):
        """The domain has no configuration meanwhile; it gets a new one."""
        self.guest.has_persistent_configuration.return_value = False
        persistent.set_boot_size(
            self.guest, fakes.server(fakes.ELASTIC), BOOT)
        self.assertEqual((4, 2097152), (self.vcpus, self.memory))
        self.guest.has_persistent_configuration.return_value = True
        self.assertTrue(self._keep(fakes.ELASTIC, boot=BOOT))
        self.assertEqual((3, 1048576), (self.vcpus, self.memory))

    def test_only_vcpus(self):
        self._keep({'minimum_cpu': '2'})
        self.assertEqual((2, 2097152), (self.vcpus, self.memory))

    def test_only_memory(self):
        self._keep({'minimum_memory': '512'})
        self.assertEqual((4, 524288), (self.vcpus, self.memory))

    def test_nothing_to_write(self):
        self.vcpus, self.memory = 3, 1048576
        self._keep(fakes.ELASTIC, boot=BOOT)
        self.guest.set_vcpus.assert_not_called()
        self.guest.set_memory.assert_not_called()

    def test_refused(self):
        self.guest.set_vcpus.side_effect = fakelibvirt.libvirtError('no')
        self.assertFalse(self._keep(fakes.ELASTIC))
        self.assertIn('may not give the boot size', self.stdlog.logger.output)

    def test_only_the_memory_is_refused(self):
        """The vCPUs are right nevertheless, and were wrong before."""
        self.guest.set_memory.side_effect = fakelibvirt.libvirtError('no')
        self.assertFalse(self._keep(fakes.ELASTIC, boot=BOOT))
        self.guest.set_vcpus.assert_called_once_with(
            BOOT.vcpus, persistent=True)

    def test_libvirt_or_database_fails(self):
        """The operation before stays successful."""
        for error in (fakelibvirt.libvirtError('connection lost'),
                      exception.HypervisorUnavailable(host='host')):
            self.host.get_guest.side_effect = error
            self.assertFalse(self._keep(fakes.ELASTIC))
        self.host.get_guest.side_effect = exception.InstanceNotFound(
            instance_id='x')
        self.assertTrue(self._keep(fakes.ELASTIC))
        self.host.get_guest.side_effect = None
        instance = fakes.server(fakes.ELASTIC)
        with mock.patch('nova.objects.Instance.get_by_uuid',
                        side_effect=messaging.MessagingTimeout):
            self.assertFalse(persistent.keep_boot_size(self.host, instance))

    def test_not_done(self):
        self.guest.set_vcpus.side_effect = None
        error = self.assertRaises(
            exception.InternalError, persistent.set_boot_size, self.guest,
            fakes.server(fakes.ELASTIC), BOOT)
        self.assertIn(
            'accepted 3 vCPUs, 1024 MiB for the next start, but its '
            'configuration has 4 vCPUs, 1024 MiB', str(error))


class DriverTest(test.NoDBTestCase):
    """Where the driver would keep the present size."""

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.driver = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), False)
        self.instance = fakes.server(fakes.ELASTIC, boot=BOOT)
        self.context = context.get_admin_context()

    def test_live_migration(self):
        with mock.patch.object(self.driver, '_reattach_instance_vifs'), \
                mock.patch.object(
                    persistent, 'keep_boot_size', return_value=True) as keep:
            self.driver.post_live_migration_at_destination(
                self.context, self.instance, [])
        self.assertEqual((self.driver._host, self.instance),
                         keep.call_args.args[:2])

    @mock.patch.object(persistent, 'keep_boot_size', return_value=True)
    def test_swap_volume(self, keep):
        steps = mock.Mock()
        with mock.patch.multiple(
                self.driver, _host=mock.DEFAULT, _connect_volume=mock.DEFAULT,
                _disconnect_volume=mock.DEFAULT,
                _get_volume_config=mock.DEFAULT,
                _get_volume_encryption=mock.Mock(return_value=None),
                _swap_volume=steps.swap):
            steps.attach_mock(keep, 'keep')
            self.driver.swap_volume(
                self.context, {}, {}, self.instance, '/dev/vdb', 0)
            self.assertEqual(
                ['swap', 'keep'], [name for name, _, _ in steps.mock_calls])
