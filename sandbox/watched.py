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

    python -m sandbox.watched RECORD NEWEST [ARGUMENT OF nova-api ...]

RECORD gets a line of JSON for each request; no token is in it. NEWEST is the
newest microversion that this Nova has, or empty for its own.
"""

import importlib
import io
import json
from pathlib import Path
import sys
import typing as ty

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


def main(record: str, newest: str, *arguments: str) -> None:
    # Patches what all others import, and so comes before them.
    importlib.import_module('nova.cmd')
    from nova.api.openstack import api_version_request

    if newest:
        # Before those are imported that take it into what they show.
        api_version_request._MAX_API_VERSION = newest
    from nova.api import wsgi
    from nova.cmd import api

    load = wsgi.Loader.load_app

    def load_app(loader, name):
        return Recorder(load(loader, name), Path(record))

    wsgi.Loader.load_app = load_app
    sys.argv[1:] = arguments
    api.main()


if __name__ == '__main__':
    main(*sys.argv[1:])
