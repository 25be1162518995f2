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

# What libvirt 9.0.0 says of a running guest that was asked to grow.
LIVE_XML = """\
<domain type='kvm' id='1'>
  <name>demo</name>
  <memory unit='KiB'>2097152</memory>
  <currentMemory unit='KiB'>1600000</currentMemory>
  <vcpu placement='static' cpuset='0-1'>4</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='yes' hotpluggable='no' order='2'/>
    <vcpu id='2' enabled='yes' hotpluggable='yes' order='3'/>
    <vcpu id='3' enabled='yes' hotpluggable='yes' order='4'/>
  </vcpus>
  <os/>
</domain>"""

BOOT_VCPUS = """\
  <vcpu placement="static" cpuset="0-1" current="3">4</vcpu>
  <vcpus>
    <vcpu id="0" enabled="yes" hotpluggable="no"/>
    <vcpu id="1" enabled="yes" hotpluggable="no"/>
    <vcpu id="2" enabled="yes" hotpluggable="yes"/>
    <vcpu id="3" enabled="no" hotpluggable="yes"/>
  </vcpus>
"""
BOOT_MEMORY = '<currentMemory unit="KiB">1048576</currentMemory>'
BOOT = size.Size(3, 1024)


def without_space(xml):
    return ''.join(xml.split())


class AtBootSizeTest(test.NoDBTestCase):

    def _at_boot_size(self, *args, **kwargs):
        return without_space(persistent.at_boot_size(
            LIVE_XML, test_domain.server(*args, **kwargs)))

    def test_inert(self):
        self.assertIs(LIVE_XML, persistent.at_boot_size(
            LIVE_XML, test_domain.server()))

    def test_flavor_not_loaded(self):
        self.assertIs(LIVE_XML, persistent.at_boot_size(
            LIVE_XML, objects.Instance()))

    def test_both(self):
        xml = self._at_boot_size(test_domain.ELASTIC, boot=BOOT)

        self.assertIn(without_space(BOOT_VCPUS), xml)
        self.assertIn(without_space(BOOT_MEMORY), xml)
        self.assertEqual(1, xml.count('<currentMemory'))
        self.assertEqual(1, xml.count('<vcpus>'))
        self.assertIn('<memoryunit="KiB">2097152</memory>', xml)

    def test_only_vcpus(self):
        xml = self._at_boot_size({'minimum_cpu': '2'}, boot=BOOT)

        self.assertIn(without_space(BOOT_VCPUS), xml)
        self.assertIn('>1600000</currentMemory>', xml)

    def test_only_memory(self):
        xml = self._at_boot_size({'minimum_memory': '512'}, boot=BOOT)

        self.assertIn("order=\"4\"", xml)
        self.assertIn(without_space(BOOT_MEMORY), xml)


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

    @mock.patch('os.unlink')
    @mock.patch('nova.virt.libvirt.utils.load_file', return_value=LIVE_XML)
    def test_unrescue(self, load_file, unlink):
        self.flags(instances_path='/nowhere')
        with mock.patch.multiple(
                self.driver, _destroy=mock.DEFAULT, _create_guest=mock.DEFAULT,
                _lvm_disks=mock.Mock(return_value=[])) as mocks:
            self.driver.unrescue(self.context, self.instance)
        _context, xml, _instance = mocks['_create_guest'].call_args[0]
        self.assertIn(without_space(BOOT_VCPUS), without_space(xml))
