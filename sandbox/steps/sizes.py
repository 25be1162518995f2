#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""A server changes its size, or may not."""

from sandbox import client
from sandbox import identity
from sandbox import image
from sandbox import probes
from sandbox import servers


class Sizes(servers.Servers):
    def create(self):
        """a server starts at its minimum, and is charged for it"""
        self._create('one')
        self._agree('one', probes.Sizes(1, 320))

    def grow(self):
        """it grows in vCPUs and memory"""
        self._adjust('one', current_vcpus=2, current_memory_mb=640)
        self._agree('one', probes.Sizes(2, 640))

    def show_sizes(self):
        """both addresses of its status and the quota say the same"""
        server = self.servers['one']
        status, again = (
            self.owner.compute.get(url).json() for url in (
                f'/os-xloud-adjust/{server}',
                f'/servers/{server}/xloud-status'))
        self._expect(again, status, 'the second address of the status')
        limits = {row['Name']: row['Value'] for row in client.openstack(
            self.site, probes.OWNER, 'limits', 'show', '--absolute', '-f',
            'json')}
        self._expect(
            probes.Sizes(limits['totalCoresUsed'], limits['totalRAMUsed']),
            probes.Sizes(2, 640), 'what the quota of the project counts')

    def shrink(self):
        """it gives memory back"""
        self._adjust('one', current_memory_mb=448)
        self._agree('one', probes.Sizes(2, 448))

    def refuse(self):
        """sizes outside of the range of its flavor are refused with 400"""
        for asked in ({'current_vcpus': 3}, {'current_memory_mb': 319},
                      {'current_memory_mb': 769}, {}):
            self._expect(self._ask('one', asked).status_code, 400,
                         f'the answer to {asked}')
        self._agree('one', probes.Sizes(2, 448))

    def keep_quota(self):
        """growth beyond the quota of its project is refused with 403"""
        project = identity.CHECKERS[0]
        client.openstack(self.site, client.ADMIN, 'quota', 'set',
                         '--ram', '600', project)
        try:
            refused = self._ask('one', {'current_memory_mb': 640})
        finally:
            client.openstack(self.site, client.ADMIN, 'quota', 'set',
                             '--ram', '51200', project)
        self._expect(refused.status_code, 403, f'the answer {refused.text}')
        self._agree('one', probes.Sizes(2, 576))

    def hide(self):
        """another project sees nothing of it and can do nothing with it"""
        server = self.servers['one']
        listed = client.openstack(
            self.site, probes.STRANGER, 'server', 'list', '-f', 'json')
        self._expect(listed, [], 'what another project lists')
        for url in (f'/os-xloud-adjust/{server}',
                    f'/servers/{server}/xloud-status'):
            self._expect(self.stranger.compute.get(url).status_code, 404,
                         f'the answer to another project for {url}')
        self._expect(self._ask('one', {'current_memory_mb': 640},
                               self.stranger).status_code, 404,
                     'the answer to another project that wants to change it')
        self._agree('one', probes.Sizes(2, 576))

    def give_vcpu_back(self):
        """it gives a vCPU back"""
        # The last change of its vCPUs: where the processor is emulated, QEMU
        # may not survive one that is plugged after one was unplugged.
        memory_mb = self._desired('one').memory_mb
        self._adjust('one', current_vcpus=1)
        self._agree('one', probes.Sizes(1, memory_mb))

    def ask_agent(self):
        """the agent of a guest says how many vCPUs are online"""
        self._create('agent', image.IMAGE_WITH_AGENT)
        for vcpus in (1, 2):
            self._adjust('agent', current_vcpus=vcpus)
            self._agree('agent', probes.Sizes(vcpus, 320))
            # Nova does not ask one for five minutes that was late, as it may
            # be on a busy machine.
            self._wait(lambda: self._online('agent') == vcpus, lambda:
                       f'{vcpus} vCPUs are online: {self._online("agent")}',
                       patience=2 * probes.PATIENCE)

    def _online(self, name):
        return self._status(self.servers[name])['online_vcpus']
