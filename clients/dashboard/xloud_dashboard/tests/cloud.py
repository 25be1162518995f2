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

"""A cloud in one process: as much as Horizon asks when it shows servers.

Its Nova knows elastic servers, refuses what Nova refuses, and has a guest that
follows when the test says so.
"""

import datetime
from http import server
import json
import re
import threading
from urllib import parse

from xloud_dashboard.tests import nova

ELASTIC = nova.SERVER
FIXED = 'aaaaaaaa-2a5b-4a5c-9d5e-0d8b1a2c3d4e'
STOPPED = 'bbbbbbbb-2a5b-4a5c-9d5e-0d8b1a2c3d4e'
PROJECT = '11111111222233334444555555555555'
# What Nova says that has no room.
NO_ROOM = ('Server %s cannot change its size now: it has 2 vCPUs, 1024 MiB '
           'and there is no room for 8 vCPUs, 1024 MiB' % ELASTIC)

_SMALL, _LARGE = '2 vCPUs, 1024 MiB', '6 vCPUs, 3072 MiB'


class Cloud:
    """Served at an address of this machine from enter to exit."""

    def __init__(self):
        self.has_series = True
        # What Nova was asked: method, path and body.
        self.asked = []
        self.statuses = {
            ELASTIC: dict(nova.STATUS, allocated_vcpus=2,
                          allocated_memory_mb=1024),
            STOPPED: dict(nova.STATUS, allocated_vcpus=2,
                          allocated_memory_mb=1024, actual_vcpus=0,
                          actual_memory_mb=0),
            FIXED: {**nova.STATUS, **nova.FIXED},
        }
        # Of yesterday, so that a picture has room for all of them.
        self.actions = [
            {'action': action, 'start_time': _ago(hours), 'message': message}
            for hours, action, message in (
                (3, 'xloud_settle', _changes(_LARGE, _SMALL, 'charged')),
                (4, 'xloud_adjust', _changes(_LARGE, _SMALL, 'desired',
                                             'boot')),
                (8, 'xloud_adjust', 'Error'),
                (20, 'xloud_adjust', _changes(_SMALL, _LARGE, 'desired',
                                              'boot', 'charged')),
                (24, 'create', None))]
        self._server = server.ThreadingHTTPServer(
            ('127.0.0.1', 0), self._handler())
        self.url = 'http://127.0.0.1:%d' % self._server.server_port

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever,
                         daemon=True).start()
        return self

    def __exit__(self, *_exception):
        self._server.shutdown()
        self._server.server_close()

    def settle(self):
        """Have the guest follow."""
        status = self.statuses[ELASTIC]
        status.update(condition='Settled', reason=None)
        for key in ('vcpus', 'memory_mb'):
            desired = status['desired_' + key]
            status.update({'actual_' + key: desired, 'current_' + key: desired,
                           'allocated_' + key: desired})

    def _handler(self):
        cloud = self

        class Handler(server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self):
                length = int(self.headers.get('Content-Length') or 0)
                body = json.loads(self.rfile.read(length) or 'null')
                asked = parse.urlsplit(self.path)
                code, answer = cloud.answer(
                    self.command, asked.path.rstrip('/'),
                    dict(parse.parse_qsl(asked.query)), body, self.headers)
                content = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(content)))
                self.send_header('X-Subject-Token', _token_of(body))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *_arguments):
                pass

        return Handler

    def answer(self, method, path, query, body, headers):
        if path.startswith('/identity'):
            return self._identity(path, body, headers)
        match = re.match(r'/compute/v2.1(.*)', path)
        if match:
            return self._compute(method, match[1], query, body)
        # Any other service has nothing of anything.
        return 200, {_kind(path): []}

    def _identity(self, path, body, headers):
        if path == '/identity/v3/auth/tokens':
            who = _token_of(body) or headers.get('X-Auth-Token', '')
            return 201, {'token': self._token(who)}
        if path.endswith('/projects'):
            return 200, {'projects': [
                {'id': PROJECT, 'name': 'shop', 'domain_id': 'default',
                 'enabled': True}], 'links': {}}
        return 200, {'version': {
            'id': 'v3.14', 'status': 'stable', 'links': [
                {'rel': 'self', 'href': self.url + '/identity/v3/'}]}}

    def _token(self, who):
        now = datetime.datetime.now(datetime.timezone.utc)
        name = who.rpartition('-')[2]
        roles = ['admin', 'member', 'reader'] if name == 'admin' else [
            'member', 'reader']
        token = {
            'methods': ['password'], 'audit_ids': ['x'],
            'user': {'id': name, 'name': name,
                     'domain': {'id': 'default', 'name': 'Default'}},
            'issued_at': now.isoformat(),
            'expires_at': (now + datetime.timedelta(hours=1)).isoformat()}
        if who.startswith('scoped'):
            token.update(
                roles=[{'id': role, 'name': role} for role in roles],
                project={'id': PROJECT, 'name': 'shop',
                         'domain': {'id': 'default', 'name': 'Default'}},
                catalog=[{
                    'id': kind, 'type': kind, 'name': kind, 'endpoints': [
                        {'id': kind + interface, 'interface': interface,
                         'region': 'here', 'region_id': 'here',
                         'url': self.url + path}
                        for interface in ('public', 'internal', 'admin')]}
                    for kind, path in (
                        ('identity', '/identity/v3'),
                        ('compute', '/compute/v2.1'),
                        ('image', '/image'), ('network', '/network'))])
        return token

    def _compute(self, method, path, query, body):
        if not path:
            return 200, {'version': {
                'id': 'v2.1', 'status': 'CURRENT', 'version': '2.96',
                'min_version': '2.1', 'links': [
                    {'rel': 'self', 'href': self.url + '/compute/v2.1/'}]}}
        match = re.match(r'/os-xloud-adjust(?:/(.+))?$', path)
        if match:
            self.asked.append((method, path, query, body))
            return self._adjust(method, match[1], query, body)
        if path in ('/servers/detail', '/flavors/detail'):
            kind = path.split('/')[1]
            made = {'servers': [self._instance(uuid)
                                for uuid in self.statuses],
                    'flavors': [FLAVOR]}
            return 200, {kind: made[kind]}
        match = re.match(r'/servers/([^/]+)(/.*)?$', path)
        if match and match[2] == '/os-instance-actions':
            return 200, {'instanceActions': [
                dict(action, request_id='req-%d' % number, user_id='admin',
                     project_id=PROJECT, instance_uuid=match[1])
                for number, action in enumerate(self.actions)]}
        if match and match[2] == '/os-interface':
            return 200, {'interfaceAttachments': []}
        if match and match[2] == '/os-volume_attachments':
            return 200, {'volumeAttachments': []}
        if match and not match[2]:
            return 200, {'server': self._instance(match[1])}
        if path == '/limits':
            return 200, {'limits': {'absolute': {
                'maxTotalInstances': 9, 'totalInstancesUsed': 3,
                'maxTotalCores': 99, 'totalCoresUsed': 12,
                'maxTotalRAMSize': 99999, 'totalRAMUsed': 6144}, 'rate': []}}
        match = re.match(r'/flavors/([^/]+)/os-extra_specs$', path)
        if match:
            return 200, {'extra_specs': FLAVOR['extra_specs']}
        match = re.match(r'/flavors/([^/]+)$', path)
        if match:
            return 200, {'flavor': FLAVOR}
        return 200, {_kind(path): []}

    def _adjust(self, method, uuid, query, body):
        if not self.has_series:
            return _refused(404, 'The resource could not be found.')
        if uuid is None:
            found = [self._row(uuid) for uuid in (ELASTIC, STOPPED)]
            return 200, {'xloud_servers': [
                row for row in found
                if query.get('condition') in (None, row['condition']) and
                query.get('host') in (None, row['host'])]}
        status = self.statuses[uuid]
        if method == 'GET':
            return 200, {'xloud_status': status}
        if body.get('current_vcpus', 0) == status['max_vcpus']:
            return _refused(409, NO_ROOM)
        before = dict(status)
        for key in ('vcpus', 'memory_mb'):
            asked = body.get('current_' + key, status['desired_' + key])
            status['desired_' + key] = asked
            if body['persist']:
                status['boot_' + key] = asked
            status['allocated_' + key] = max(
                asked, status['allocated_' + key])
        status.update(condition='InProgress', reason='The server holds 2 '
                      'vCPUs, 1024 MiB instead of the desired %(desired_vcpus)'
                      'd vCPUs, %(desired_memory_mb)d MiB.' % status)
        self.actions.insert(0, {
            'action': 'xloud_adjust', 'start_time': _ago(0),
            'message': '; '.join(
                '%s %s -> %s' % (word, _size(before, key), _size(status, key))
                for word, key in (('desired', 'desired'), ('boot', 'boot'),
                                  ('charged', 'allocated'))
                if _size(before, key) != _size(status, key))})
        return 202, {'xloud_status': status}

    def _row(self, uuid):
        status = self.statuses[uuid]
        instance = self._instance(uuid)
        return dict(
            {key: status[key] for key in nova.ROW if key in status},
            id=uuid, name=instance['name'], project_id=PROJECT,
            host=instance['OS-EXT-SRV-ATTR:host'],
            since=_ago(2) + 'Z')

    def _instance(self, uuid):
        return {
            'id': uuid, 'tenant_id': PROJECT, 'user_id': 'member',
            'name': {ELASTIC: 'web1', FIXED: 'db1', STOPPED: 'spare'}[uuid],
            'status': 'SHUTOFF' if uuid == STOPPED else 'ACTIVE',
            'created': _ago(24) + 'Z', 'addresses': {}, 'metadata': {},
            'updated': '2026-01-01T00:00:00Z', 'image': '', 'links': [],
            'key_name': None, 'locked': False, 'description': None,
            # As from 2.47 on it shows that there is no range, as below 2.47
            # it shows nothing.
            'flavor': _FIXED_FLAVOR if uuid == FIXED else {'id': 'elastic'},
            'OS-EXT-STS:task_state': None, 'OS-EXT-STS:vm_state': 'active',
            'OS-EXT-STS:power_state': 4 if uuid == STOPPED else 1,
            'OS-EXT-AZ:availability_zone': 'nova',
            'OS-EXT-SRV-ATTR:host': 'cmp2' if uuid == STOPPED else 'cmp1',
            'os-extended-volumes:volumes_attached': [], 'security_groups': []}


def _changes(before, after, *words):
    return '; '.join('%s %s -> %s' % (word, before, after) for word in words)


def _ago(hours):
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(
        hours=hours)
    return then.strftime('%Y-%m-%dT%H:%M:%S')


def _size(status, word):
    return '%d vCPUs, %d MiB' % (status[word + '_vcpus'],
                                 status[word + '_memory_mb'])


# As the list of flavors has it
FLAVOR = {
    'id': 'elastic', 'name': 'elastic', 'vcpus': 8, 'ram': 4096, 'disk': 1,
    'swap': 0, 'OS-FLV-EXT-DATA:ephemeral': 0, 'links': [], 'extra_specs': {
        'minimum_cpu': '2', 'minimum_memory': '1024'}}
# As a server shows it from 2.47 on
_FIXED_FLAVOR = {
    'vcpus': 8, 'ram': 4096, 'disk': 1, 'swap': 0, 'original_name': 'fixed',
    'ephemeral': 0, 'extra_specs': {}}


def _refused(code, message):
    refusal = nova.refusal(code, message)
    return refusal['status_code'], refusal['json']


def _kind(path):
    """What a list is called in an answer: as its place in the address."""
    words = [word for word in path.split('/') if word != 'detail']
    return words[-1].replace('-', '_')


def _token_of(body):
    """A token says who has it, and whether for a project."""
    try:
        identity = body['auth']['identity']
    except (KeyError, TypeError):
        return ''
    if 'password' in identity:
        name = identity['password']['user']['name']
    else:
        name = identity['token']['id'].rpartition('-')[2]
    kind = 'scoped' if 'scope' in body['auth'] and isinstance(
        body['auth']['scope'], dict) else 'unscoped'
    return '%s-%s' % (kind, name)
