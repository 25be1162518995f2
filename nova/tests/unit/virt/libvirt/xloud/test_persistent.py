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

from nova import context
from nova import objects
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.unit.virt.libvirt.xloud import test_domain
from nova.virt import fake
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt.xloud import persistent
from nova.xloud import size

BOOT = size.Size(3, 1024)


class KeepBootSizeTest(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.host = mock.Mock()
        self.guest = self.host.get_guest.return_value

    def _keep(self, *args, **kwargs):
        persistent.keep_boot_size(
            self.host, test_domain.server(*args, **kwargs))

    def test_inert(self):
        self._keep()
        self.host.get_guest.assert_not_called()

    def test_flavor_not_loaded(self):
        persistent.keep_boot_size(self.host, objects.Instance())
        self.host.get_guest.assert_not_called()

    def test_both(self):
        self._keep(test_domain.ELASTIC, boot=BOOT)
        self.guest.set_vcpus.assert_called_once_with(3, persistent=True)
        self.guest.set_memory.assert_called_once_with(
            1048576, persistent=True)

    def test_only_vcpus(self):
        self._keep({'minimum_cpu': '2'})
        self.guest.set_vcpus.assert_called_once_with(2, persistent=True)
        self.guest.set_memory.assert_not_called()

    def test_only_memory(self):
        self._keep({'minimum_memory': '512'})
        self.guest.set_vcpus.assert_not_called()
        self.guest.set_memory.assert_called_once_with(
            524288, persistent=True)

    def test_refused(self):
        self.guest.set_vcpus.side_effect = fakelibvirt.libvirtError('no')
        self._keep(test_domain.ELASTIC)
        self.assertIn('2 vCPUs, 512 MiB', self.stdlog.logger.output)


class DriverTest(test.NoDBTestCase):
    """Where the driver would keep the size of now."""

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.driver = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), False)
        self.instance = test_domain.server(test_domain.ELASTIC, boot=BOOT)
        self.context = context.get_admin_context()

    def test_live_migration(self):
        with mock.patch.object(self.driver, '_reattach_instance_vifs'), \
                mock.patch.object(persistent, 'keep_boot_size') as keep:
            self.driver.post_live_migration_at_destination(
                self.context, self.instance, [])
        keep.assert_called_once_with(self.driver._host, self.instance)

    @mock.patch.object(persistent, 'keep_boot_size')
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
