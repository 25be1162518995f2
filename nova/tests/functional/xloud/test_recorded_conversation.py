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

"""A conversation as it was, with real services and a real guest.

recordings/conversation.json was written by ``python -m sandbox.conversation``,
which sends what existing programs send; no record of the programs themselves
was at hand. Nobody changes this file or that one: what Nova answered then, it
answers today.
"""

from pathlib import Path

from oslo_serialization import jsonutils

from nova.tests.functional.xloud import api_base
from nova.xloud import size

RECORDING = Path(__file__).parent / 'recordings' / 'conversation.json'
# What a server holds follows later in a real guest; nothing else does.
HELD = ('current_vcpus', 'current_memory_mb')
FIELDS = ('min_vcpus', 'min_memory_mb', 'max_vcpus', 'max_memory_mb',
          'desired_vcpus', 'desired_memory_mb', 'boot_vcpus',
          'boot_memory_mb', 'balloon_driver_active', 'attached_dimms_mb',
          'has_virtiomem', 'code')


class RecordedConversationTestCase(api_base.AdjustTestBase):

    # They send none.
    microversion = None
    networks = []

    def test_replay(self):
        recording = jsonutils.loads(RECORDING.read_text())
        flavor = recording['flavor']
        server = self._create_server(flavor_id=self._create_flavor(
            vcpu=flavor['vcpus'], memory_mb=flavor['ram'], disk=1,
            ephemeral=0, extra_spec=flavor['extra_specs']),
            networks=self.networks, api=self.api)
        self.endpoint.actual = size.Size(1, 320)
        self._charge(server, self.endpoint.actual)
        for exchange in recording['exchanges']:
            found = self._ask(server['id'], exchange)
            (name, expected), = exchange['answer'].items()
            self.assertEqual([name], list(found), exchange)
            fields = FIELDS
            if expected.get('condition') == 'Settled':
                fields += HELD
            for field, value in expected.items():
                # No field is gone, and each is what it was.
                self.assertIn(field, found[name], exchange)
                if field in fields:
                    self.assertEqual(value, found[name][field],
                                     (field, exchange))
                    self.assertIs(type(value), type(found[name][field]))

    def _ask(self, server_id, exchange):
        path = exchange['path'].replace('SERVER', server_id)
        kwargs = {'check_response_status': [exchange['status']]}
        if exchange['method'] == 'GET':
            answer = self.api.api_get(path, **kwargs)
        else:
            answer = self.api.api_post(
                path, jsonutils.loads(exchange['body']), **kwargs)
        return jsonutils.loads(jsonutils.dumps(answer.body).replace(
            server_id, 'SERVER'))
