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

from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import guest as libvirt_guest

CONFIG = fakelibvirt.VIR_DOMAIN_AFFECT_CONFIG
LIVE = fakelibvirt.VIR_DOMAIN_AFFECT_LIVE
HOTPLUGGABLE = 16


class SizeTest(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.fixtures.libvirt.VIR_DOMAIN_VCPU_HOTPLUGGABLE',
            HOTPLUGGABLE))
        self.domain = mock.Mock()
        self.guest = libvirt_guest.Guest(self.domain)

    def test_set_vcpus_persistent(self):
        self.guest.set_vcpus(3, persistent=True)
        self.domain.setVcpusFlags.assert_called_once_with(
            3, CONFIG | HOTPLUGGABLE)

    def test_set_vcpus_live(self):
        self.guest.set_vcpus(3, live=True)
        self.domain.setVcpusFlags.assert_called_once_with(3, LIVE)

    def test_set_memory_persistent(self):
        self.guest.set_memory(1024, persistent=True)
        self.domain.setMemoryFlags.assert_called_once_with(1024, CONFIG)

    def test_set_memory_both(self):
        self.guest.set_memory(1024, persistent=True, live=True)
        self.domain.setMemoryFlags.assert_called_once_with(
            1024, CONFIG | LIVE)
