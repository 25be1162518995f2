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

import ddt

from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.virt import fake
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt.xloud import capabilities

VCPU = 'supports_xloud_elastic_vcpu'
MEMORY = 'supports_xloud_elastic_memory'


@ddt.ddt
class ElasticTest(test.NoDBTestCase):

    def _elastic(self, arch='x86_64', **libvirt_flags):
        self.flags(group='libvirt', **libvirt_flags)
        host = mock.Mock()
        host.get_capabilities.return_value.host.cpu.arch = arch
        return capabilities.elastic(host)

    @ddt.data('kvm', 'qemu')
    def test_virt_type(self, virt_type):
        self.assertEqual({VCPU: True, MEMORY: True},
                         self._elastic(virt_type=virt_type))

    @ddt.data('lxc', 'parallels')
    def test_other_virt_type(self, virt_type):
        self.assertEqual({VCPU: False, MEMORY: False},
                         self._elastic(virt_type=virt_type))

    @ddt.data('x86_64', 'ppc64le')
    def test_architecture(self, arch):
        self.assertTrue(self._elastic(arch)[VCPU])

    @ddt.data('aarch64', 'armv7l', 'riscv64', 's390x')
    def test_architecture_without_vcpu_hot_unplug(self, arch):
        self.assertEqual({VCPU: False, MEMORY: True}, self._elastic(arch))

    @ddt.data(0, -1)
    def test_no_statistics(self, period):
        self.assertEqual(
            {VCPU: True, MEMORY: False},
            self._elastic(mem_stats_period_seconds=period))

    def test_file_backed_memory(self):
        self.assertEqual({VCPU: True, MEMORY: False},
                         self._elastic(file_backed_memory=1024))


class DriverTest(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.driver = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), False)

    def test_known_when_the_host_is(self):
        self.assertNotIn(VCPU, self.driver.capabilities)

        self.driver._update_host_specific_capabilities()

        self.assertTrue(self.driver.capabilities[VCPU])
        self.assertTrue(self.driver.capabilities[MEMORY])
