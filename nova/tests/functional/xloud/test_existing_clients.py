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

"""What programs that exist send and read.

Two dashboards in circulation adjust servers with these requests, in version
2.1 without a microversion, and read these fields. They are not ours, so do not
change this file: if a test here fails, the programs fail. What is new is added
beside.
"""

from oslo_serialization import jsonutils

from nova.tests.functional.xloud import api_base

# (method, path, body; status, what the answer contains), in this order.
CONVERSATION = (
    ('GET', '/servers/%s/xloud-status', None, 200, '''
        {"xloud_status": {
            "current_vcpus": 2, "current_memory_mb": 1024,
            "min_vcpus": 2, "min_memory_mb": 1024,
            "max_vcpus": 8, "max_memory_mb": 4096,
            "balloon_driver_active": true,
            "attached_dimms_mb": 0, "has_virtiomem": false}}'''),
    # A step of the vCPUs: both sizes are sent.
    ('POST', '/os-xloud-adjust/%s', '''
        {"current_vcpus": 3, "current_memory_mb": 1024, "persist": true}''',
     202, '''
        {"xloud_status": {
            "current_vcpus": 3, "current_memory_mb": 1024,
            "min_vcpus": 2, "min_memory_mb": 1024,
            "max_vcpus": 8, "max_memory_mb": 4096,
            "balloon_driver_active": true,
            "attached_dimms_mb": 0, "has_virtiomem": false}}'''),
    # The slider of the memory, until the next start.
    ('POST', '/os-xloud-adjust/%s', '''
        {"current_vcpus": 3, "current_memory_mb": 2048, "persist": false}''',
     202, '''
        {"xloud_status": {"current_vcpus": 3, "current_memory_mb": 2048}}'''),
    ('GET', '/servers/%s/xloud-status', None, 200, '''
        {"xloud_status": {"current_vcpus": 3, "current_memory_mb": 2048}}'''),
    # The values of a form are strings.
    ('POST', '/os-xloud-adjust/%s', '''
        {"current_vcpus": "4", "current_memory_mb": "2048", "persist": true}
     ''', 202, '''
        {"xloud_status": {"current_vcpus": 4, "current_memory_mb": 2048}}'''),
    ('POST', '/os-xloud-adjust/%s', '{"current_vcpus": 4}', 202, '''
        {"xloud_status": {"current_vcpus": 4, "current_memory_mb": 2048}}'''),
    ('POST', '/os-xloud-adjust/%s', '''
        {"current_memory_mb": 1024, "persist": true}''', 202, '''
        {"xloud_status": {"current_vcpus": 4, "current_memory_mb": 1024}}'''),
    # They show the message of an error.
    ('POST', '/os-xloud-adjust/%s', '''
        {"current_vcpus": 9, "current_memory_mb": 1024, "persist": true}''',
     400, '{"badRequest": {"code": 400}}'),
    ('POST', '/os-xloud-adjust/%s', '''
        {"current_vcpus": 1, "current_memory_mb": 1024, "persist": true}''',
     400, '{"badRequest": {"code": 400}}'),
    ('GET', '/servers/%s/xloud-status', None, 200, '''
        {"xloud_status": {"current_vcpus": 4, "current_memory_mb": 1024}}'''),
)


class ExistingClientsTestCase(api_base.AdjustTestBase):

    # They send none.
    microversion = None
    networks = []

    def test_conversation(self):
        server = self._create_elastic()
        for method, path, body, status, expected in CONVERSATION:
            kwargs = {'check_response_status': [status]}
            if method == 'POST':
                answer = self.api.api_post(
                    path % server['id'], jsonutils.loads(body), **kwargs).body
            else:
                answer = self.api.api_get(path % server['id'], **kwargs).body
            (name, fields), = jsonutils.loads(expected).items()
            self.assertEqual([name], list(answer), (method, body))
            for field, value in fields.items():
                self.assertIs(type(value), type(answer[name][field]), field)
                self.assertEqual(value, answer[name][field], (body, field))
            if status >= 400:
                self.assertIsInstance(answer[name]['message'], str)

    def test_no_such_server(self):
        for path in ('/servers/%s/xloud-status', '/os-xloud-adjust/%s'):
            answer = self.api.api_get(
                path % '00000000-0000-0000-0000-000000000000',
                check_response_status=[404]).body
            self.assertEqual(404, answer['itemNotFound']['code'])
