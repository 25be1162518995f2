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


"""What is noted of the requests to nova-api."""

import io
import json
from pathlib import Path
import tempfile
import unittest

from sandbox import watched


def application(environ, start_response):
    """Answers with what it was sent."""
    start_response('202 Accepted', [('Content-Type', 'application/json')])
    yield b'you said '
    yield environ['wsgi.input'].read()


class RecorderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.record = Path(folder.name, 'record')

    def post(self, body=b'{}', **environ):
        started = []
        answer = watched.Recorder(application, self.record)({
            'REQUEST_METHOD': 'POST', 'PATH_INFO': '/v2.1/servers',
            'CONTENT_LENGTH': str(len(body)), 'HTTP_X_AUTH_TOKEN': 'secret',
            # Of a connection that stays open.
            'wsgi.input': io.BytesIO(body + b'the next'), **environ},
            lambda *words: started.append(words))
        return started, b''.join(answer)

    def noted(self):
        return [json.loads(line) for line in
                self.record.read_text().splitlines()]

    def test_nobody_notices(self):
        started, answer = self.post(b'{"a": 1}')
        self.assertEqual(
            [('202 Accepted', [('Content-Type', 'application/json')])],
            started)
        self.assertEqual(b'you said {"a": 1}', answer)

    def test_what_is_noted(self):
        self.post(b'{"a": 1}')
        self.post(b'', CONTENT_LENGTH='', REQUEST_METHOD='GET')
        self.assertEqual(
            {'method': 'POST', 'path': '/v2.1/servers', 'version': '2.1',
             'body': '{"a": 1}', 'status': 202,
             'answer': 'you said {"a": 1}'}, self.noted()[0])
        self.assertEqual(['POST', 'GET'],
                         [request['method'] for request in self.noted()])
        self.assertNotIn('secret', self.record.read_text())

    def test_both_ways_to_name_a_microversion(self):
        for expected, environ in (
                ('2.1', {}),
                ('2.25', {'HTTP_X_OPENSTACK_NOVA_API_VERSION': '2.25'}),
                ('2.68', {'HTTP_OPENSTACK_API_VERSION': 'compute 2.68',
                          'HTTP_X_OPENSTACK_NOVA_API_VERSION': '2.68'})):
            self.post(**environ)
            self.assertEqual(expected, self.noted()[-1]['version'])
