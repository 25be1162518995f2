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


"""nova-api that notes what it is asked, and can be of an older release.

The file that the variable RECORD names gets a line of JSON for each request;
no token is in it. NEWEST is the newest microversion that this Nova has, or
empty for its own.
"""

import importlib
import io
import json
import os
from pathlib import Path
import typing as ty

from sandbox import api

RECORD, NEWEST = 'SANDBOX_RECORD', 'SANDBOX_NEWEST'

_VERSION = 'HTTP_OPENSTACK_API_VERSION'
# What novaclient sends below 2.27.
_OLD_VERSION = 'HTTP_X_OPENSTACK_NOVA_API_VERSION'


class Recorder:
    """Stands in front of an application."""

    def __init__(self, application, record: Path):
        self._application = application
        self._record = record

    def __call__(self, environ, start_response):
        body = environ['wsgi.input'].read(
            int(environ.get('CONTENT_LENGTH') or 0))
        environ['wsgi.input'] = io.BytesIO(body)
        status = []

        def start(line, headers, *rest):
            status.append(int(line.split()[0]))
            return start_response(line, headers, *rest)

        answer = b''.join(self._application(environ, start))
        request = {
            'method': environ['REQUEST_METHOD'],
            'path': environ.get('SCRIPT_NAME', '') + environ['PATH_INFO'],
            'version': version(environ), 'body': body.decode(),
            'status': status[-1], 'answer': answer.decode(errors='replace')}
        with open(self._record, 'a') as record:
            record.write(json.dumps(request) + '\n')
        return [answer]


def version(environ: ty.Dict[str, str]) -> str:
    """The microversion that is asked for; 2.1 is that of who names none."""
    return environ.get(_VERSION, '').replace('compute', '').strip() or (
        environ.get(_OLD_VERSION, '2.1'))


def application() -> Recorder:
    newest = os.environ[NEWEST]
    if newest:
        api.patch()
        # Before those are imported that take it into what they show.
        versions = importlib.import_module(
            'nova.api.openstack.api_version_request')
        setattr(versions, '_MAX_API_VERSION', newest)
    return Recorder(api.application(), Path(os.environ[RECORD]))
