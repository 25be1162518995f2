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


"""nova-api as it is served, with the Nova of each release."""

import json
import os
from pathlib import Path
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from sandbox import layout
from sandbox import watched

_SECONDS = 20
# What the server is made of must come after Nova, which replaces it.
_APPLICATION = """
import sys

assert 'socketserver' not in sys.modules
from nova.api.openstack import api_version_request
SHOWN = api_version_request._MAX_API_VERSION

def application(environ, start_response):
    start_response('200 OK', [])
    return [SHOWN.encode()]
"""
_VERSIONS = {
    'nova/api/__init__.py': '', 'nova/api/openstack/__init__.py': '',
    'nova/api/openstack/api_version_request.py': '_MAX_API_VERSION = "2.96"'}
OLD = {
    'nova/__init__.py': '', 'nova/monkey_patch.py': '', **_VERSIONS,
    'nova/wsgi.py': 'raise RuntimeError("too early")',
    'nova/api/openstack/compute/__init__.py': '',
    'nova/api/openstack/compute/wsgi.py':
        _APPLICATION + 'def init_application():\n    return application\n'}
NEW = {
    'nova/__init__.py': '', **_VERSIONS,
    'nova/monkey_patch.py': 'def patch(backend):\n    pass\n',
    'nova/wsgi/__init__.py': '',
    'nova/wsgi/osapi_compute.py': _APPLICATION}


class ServedTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def serve(self, files, application='sandbox.api:application', **environ):
        """What it answers, with this for Nova."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        with subprocess.Popen(
                [sys.executable, '-m', 'sandbox.wsgi', application, str(port)],
                # As the repository has a folder nova, too.
                cwd=layout.ROOT, stderr=subprocess.PIPE, text=True,
                env={**os.environ, 'PYTHONPATH': str(self.folder), **environ}
        ) as server:
            try:
                return self._ask(server, port)
            finally:
                server.kill()

    def _ask(self, server, port):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + _SECONDS
        while server.poll() is None and time.monotonic() < deadline:
            try:
                with opener.open(f'http://127.0.0.1:{port}/') as answer:
                    return answer.read().decode()
            except OSError:
                time.sleep(0.1)
        server.kill()
        self.fail(server.stderr.read())

    def test_before_nova_was_an_application_itself(self):
        self.assertEqual('2.96', self.serve(OLD))

    def test_since_then(self):
        self.assertEqual('2.96', self.serve(NEW))

    def test_one_that_is_watched(self):
        record = self.folder / 'record'
        for files in (OLD, NEW):
            self.assertEqual('2.24', self.serve(
                files, 'sandbox.watched:application',
                **{watched.RECORD: str(record), watched.NEWEST: '2.24'}))
            self.assertEqual(
                ('GET', '2.24'), tuple(map(
                    json.loads(record.read_text()).get, ('method', 'answer'))))
            record.unlink()
            (self.folder / 'nova/wsgi.py').unlink(missing_ok=True)
