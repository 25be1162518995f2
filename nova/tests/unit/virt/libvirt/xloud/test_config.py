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

from nova.tests.unit.virt.libvirt import test_config
from nova.virt.libvirt import config


class CurrentSizeTest(test_config.LibvirtConfigBaseTest):

    def _guest(self, **kwargs):
        guest = config.LibvirtConfigGuest()
        guest.virt_type = 'kvm'
        guest.name = 'demo'
        guest.uuid = 'b38a3f43-4be2-4046-897f-b67c2f5e0147'
        guest.memory = 2048
        guest.vcpus = 4
        guest.os_type = 'hvm'
        for name, value in kwargs.items():
            setattr(guest, name, value)
        return guest

    def test_none(self):
        self.assertXmlEqual("""
            <domain type="kvm">
              <uuid>b38a3f43-4be2-4046-897f-b67c2f5e0147</uuid>
              <name>demo</name>
              <memory>2048</memory>
              <vcpu>4</vcpu>
              <os>
                <type>hvm</type>
              </os>
            </domain>""", self._guest().to_xml())

    def test_memory(self):
        guest = self._guest(
            current_memory=1024, max_memory_size=4096, max_memory_slots=2)

        self.assertXmlEqual("""
            <domain type="kvm">
              <uuid>b38a3f43-4be2-4046-897f-b67c2f5e0147</uuid>
              <name>demo</name>
              <memory>2048</memory>
              <maxMemory slots="2">4096</maxMemory>
              <currentMemory>1024</currentMemory>
              <vcpu>4</vcpu>
              <os>
                <type>hvm</type>
              </os>
            </domain>""", guest.to_xml())

    def test_vcpus(self):
        guest = self._guest(current_vcpus=2, cpuset={0, 1, 3}, vcpu_list=[
            config.LibvirtConfigGuestVCPU(0),
            config.LibvirtConfigGuestVCPU(1, hotpluggable=True),
            config.LibvirtConfigGuestVCPU(
                2, enabled=False, hotpluggable=True),
            config.LibvirtConfigGuestVCPU(
                3, enabled=False, hotpluggable=True)])

        self.assertXmlEqual("""
            <domain type="kvm">
              <uuid>b38a3f43-4be2-4046-897f-b67c2f5e0147</uuid>
              <name>demo</name>
              <memory>2048</memory>
              <vcpu cpuset="0-1,3" current="2">4</vcpu>
              <vcpus>
                <vcpu id="0" enabled="yes" hotpluggable="no"/>
                <vcpu id="1" enabled="yes" hotpluggable="yes"/>
                <vcpu id="2" enabled="no" hotpluggable="yes"/>
                <vcpu id="3" enabled="no" hotpluggable="yes"/>
              </vcpus>
              <os>
                <type>hvm</type>
              </os>
            </domain>""", guest.to_xml())

    def test_parse_keeps_the_maximum(self):
        guest = self._guest(current_memory=1024, current_vcpus=2, vcpu_list=[
            config.LibvirtConfigGuestVCPU(0)])
        parsed = config.LibvirtConfigGuest()

        parsed.parse_str(guest.to_xml())

        self.assertEqual((4, 2048), (parsed.vcpus, parsed.memory))
