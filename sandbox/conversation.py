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


"""Record what Nova answers to programs that know two of its addresses.

    build/sandbox/env/bin/python -m sandbox.conversation FILE

They send a size, look how the server is, and know no microversion. FILE gets
their requests to the sandbox that runs, with the answers.
"""

import json
from pathlib import Path
import sys
import time
import urllib.error
import urllib.request

from sandbox import client
from sandbox import compute
from sandbox import identity
from sandbox import image
from sandbox import layout
from sandbox import network

SERVER = 'SERVER'
_STATUS = ('GET', f'/servers/{SERVER}/xloud-status', None)
_PATIENCE = 300


def _adjust(body):
    return ('POST', f'/os-xloud-adjust/{SERVER}', body)


REQUESTS = (
    _STATUS,
    # A step of the vCPUs: both sizes are sent.
    _adjust('{"current_vcpus": 2, "current_memory_mb": 320, "persist": true}'),
    _STATUS,
    # The slider of the memory, until the next start.
    _adjust('{"current_vcpus": 2, "current_memory_mb": 640, '
            '"persist": false}'),
    _STATUS,
    # The values of a form are strings.
    _adjust('{"current_vcpus": "2", "current_memory_mb": "704", '
            '"persist": true}'),
    _STATUS,
    _adjust('{"current_memory_mb": 640}'),
    _STATUS,
    # Above the maximum, below the minimum, nothing.
    _adjust('{"current_vcpus": 3, "current_memory_mb": 640, "persist": true}'),
    _adjust('{"current_vcpus": 2, "current_memory_mb": 319, "persist": true}'),
    _adjust('{"persist": true}'),
    ('GET', f'/os-xloud-adjust/{SERVER}', None),
)


def record(site: layout.Layout) -> dict:
    cloud = client.connect(site, client.cloud(identity.PERSONS[0]))
    server = cloud.create_server(
        'conversation', image=image.IMAGE, flavor=compute.ELASTIC,
        network=network.NETWORK, wait=True, timeout=_PATIENCE, auto_ip=False)
    try:
        exchanges = []
        for method, path, body in REQUESTS:
            _settle(cloud, server.id)
            status, answer = _ask(site, cloud.auth_token, method,
                                  path.replace(SERVER, server.id), body)
            exchanges.append({
                'method': method, 'path': path, 'body': body,
                'status': status, 'answer': json.loads(
                    answer.replace(server.id, SERVER))})
    finally:
        cloud.delete_server(server.id, wait=True)
    return {'flavor': {'vcpus': 2, 'ram': 768, 'extra_specs': {
        'minimum_cpu': '1', 'minimum_memory': '320'}},
        'exchanges': exchanges}


def _ask(site, token, method, path, body):
    request = urllib.request.Request(
        site.url('nova', f'/v2.1{path}'), method=method,
        data=body and body.encode(),
        headers={'X-Auth-Token': token, 'Content-Type': 'application/json'})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _settle(cloud, server):
    """A person waits until a change is done before the next one."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        status = cloud.compute.get(f'/os-xloud-adjust/{server}').json()[
            'xloud_status']
        if status['condition'] == 'Settled' and (
                status['balloon_driver_active']):
            return
        if time.monotonic() > deadline:
            sys.exit(f'the server did not settle: {status}')
        time.sleep(1)


def main(path: str) -> None:
    site = layout.load()
    if site is None:
        sys.exit('There is no sandbox. First: tools/sandbox.sh up')
    Path(path).write_text(json.dumps(record(site), indent=1) + '\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
