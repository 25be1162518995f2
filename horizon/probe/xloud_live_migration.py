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

"""Record what Horizon asks Nova for when somebody migrates live.

This is one of Horizon's tests: it runs in Horizon's tree, fills in its forms
and looks at what a Nova of a given newest microversion is sent.  That Nova is
a server here that names its versions and writes down what it gets; nothing
between form and wire is replaced.  ``python3 -m tools.horizon`` runs it.
"""

import http.server
import json
import os
import threading
from unittest import mock

from django.urls import reverse

from openstack_dashboard import api
from openstack_dashboard.test import helpers

SERVER = '0e6b4d6c-2d5c-4d38-8f2c-8d1f0f4f5c11'


class Nova(http.server.BaseHTTPRequestHandler):
    """And as much of a Keystone as novaclient asks for a token.

    What the server keeps is in `self.server`: newest and actions.
    """

    def do_GET(self):
        path = self.path.rstrip('/')
        links = [{'rel': 'self',
                  'href': f'http://{self.headers["Host"]}{path}/'}]
        if path.endswith('/v2.1'):
            self.answer(200, {'version': {
                'id': 'v2.1', 'status': 'CURRENT', 'min_version': '2.1',
                'version': self.server.newest, 'links': links}})
        elif path.endswith('/v3'):
            self.answer(200, {'version': {
                'id': 'v3.14', 'status': 'stable', 'links': links}})
        elif path.endswith(f'/servers/{SERVER}'):
            self.answer(200, {'server': {
                'id': SERVER, 'name': 'web1', 'status': 'ACTIVE',
                'image': None, 'OS-EXT-SRV-ATTR:host': 'cmp1'}})
        elif path.endswith('/os-hypervisors/cmp1/servers'):
            self.answer(200, {'hypervisors': [{
                'id': 1, 'hypervisor_hostname': 'cmp1',
                'servers': [{'uuid': SERVER, 'name': 'web1'}]}]})
        else:
            self.answer(404, {'itemNotFound': {'code': 404,
                                               'message': path}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(
            self.headers['Content-Length'])))
        if self.path.endswith('/auth/tokens'):
            self.answer(201, {'token': {
                'methods': ['token'], 'user': {'id': 'u', 'name': 'admin'},
                'issued_at': '2026-01-01T00:00:00.000000Z',
                'expires_at': '2999-01-01T00:00:00.000000Z'}})
            return
        # The one is what novaclient sends up to 2.26.
        version = (self.headers.get('OpenStack-API-Version') or
                   self.headers.get('X-OpenStack-Nova-API-Version') or
                   'compute 2.1').split()[-1]
        self.server.actions.append({'version': version, 'body': body})
        self.answer(202, {})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('X-Subject-Token', 'token')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class LiveMigrations(helpers.BaseAdminViewTests):

    def setUp(self):
        super().setUp()
        # Horizon's tests let nothing out; here the wire is what counts.
        helpers.HTTPConnection.connect = self._real_conn_request
        self.nova = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Nova)
        self.nova.actions = []
        serving = threading.Thread(target=self.nova.serve_forever,
                                   daemon=True)
        serving.start()
        self.addCleanup(serving.join)
        self.addCleanup(self.nova.server_close)
        self.addCleanup(self.nova.shutdown)
        address = 'http://127.0.0.1:%d' % self.nova.server_address[1]
        hosts = [mock.Mock(host=host, status='enabled', state='up')
                 for host in ('cmp1', 'cmp2')]
        for patcher in (
                mock.patch.object(
                    api.base, 'url_for',
                    side_effect=lambda request, service: address + (
                        '/v3' if service == 'identity' else '/v2.1')),
                mock.patch.object(api.nova, 'service_list',
                                  return_value=hosts)):
            patcher.start()
            self.addCleanup(patcher.stop)

    def sent(self, url, data):
        """The one request that Nova got from a form; None if none came."""
        del self.nova.actions[:]
        self.client.post(url, data)
        return self.nova.actions[0] if self.nova.actions else None

    def test_record(self):
        instance = reverse('horizon:admin:instances:live_migrate',
                           args=[SERVER])
        host = reverse('horizon:admin:hypervisors:compute:migrate_host',
                       args=['cmp1'])
        rows = []
        for newest in os.environ['XLOUD_NEWEST'].split():
            self.nova.newest = newest
            fields = self.client.get(instance).context['form'].fields
            # All that the form of any Horizon has and is not chosen in vain.
            rows.append({
                'newest': newest,
                'block_migration': [
                    value for value, _label in getattr(
                        fields['block_migration'], 'choices', ())],
                'disk_over_commit': 'disk_over_commit' in fields,
                'warns': 'too old' in str(fields['host'].help_text),
                'instance': self.sent(instance, {
                    'instance_id': SERVER, 'host': 'cmp2',
                    'disk_over_commit': 'on'}),
                'host': self.sent(host, {
                    'current_host': 'cmp1', 'migrate_type': 'live_migrate',
                    'disk_over_commit': 'on'}),
            })
        with open(os.environ['XLOUD_RECORD'], 'w') as record:
            json.dump(rows, record)
