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

"""In place of openstacksdk: os-services and servers of a folder of files.

It has what the programs of the role ask, for a proof without a cloud. A
service is a file HOST.json, and servers.json lists the servers.
"""

import json
import os
from pathlib import Path
import time
import types

_FOLDER = Path(os.environ['XLOUD_FAKE_CLOUD'])


class _Answer:
    def __init__(self, content):
        self.status_code = 200
        self.text = json.dumps(content)

    def json(self):
        return json.loads(self.text)


class _Compute:
    def _service(self, host):
        found = json.loads((_FOLDER / f'{host}.json').read_text())
        return {'id': host, 'host': host, 'state': 'up',
                'updated_at': str(time.time()), **found}

    def services(self, binary):
        return [types.SimpleNamespace(**self._service(path.stem))
                for path in _FOLDER.glob('node-*.json')]

    def servers(self, all_projects, status=None, compute_host=None):
        return [types.SimpleNamespace(**server) for server in json.loads(
            (_FOLDER / 'servers.json').read_text())
            if status in (None, server['status']) and
            compute_host in (None, server['compute_host'])]

    def get(self, path, params, microversion):
        return _Answer({'services': [self._service(params['host'])]
                        } if path == '/os-services' else {'migrations': []})

    def put(self, path, json, microversion):
        host = path.rpartition('/')[2]
        write(host, {'disabled_reason': None, **json})
        return _Answer({})


def write(host, service):
    aside = _FOLDER / f'{host}.new'
    aside.write_text(json.dumps(service))
    aside.rename(_FOLDER / f'{host}.json')


def connect(cloud):
    if cloud != 'fake':
        raise LookupError(f'Cloud {cloud} was not found.')
    return types.SimpleNamespace(compute=_Compute())
