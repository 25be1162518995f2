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

"""A compute is drained before its restart, and given back whoever ended when.
"""

import contextlib
import io
import json
import sys
import types
import unittest
from unittest import mock

from tools import tree

sys.path.insert(0, str(tree.ROOT / 'deploy/roles/xloud_nova/files'))
import xloud_drain  # noqa: E402

OPERATOR = 'its disk is broken'


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


class Answer:
    def __init__(self, status_code, content=None):
        self.status_code = status_code
        self.text = json.dumps(content)

    def json(self):
        return json.loads(self.text)


class Nova:
    """One cloud's compute API, with the time that passes at each list."""

    def __init__(self):
        self.service = {'id': 'one', 'host': 'here', 'state': 'up',
                        'status': 'enabled', 'disabled_reason': None}
        self.found = {}
        self.moves = []
        self.written = []
        # What happens before each question, once.
        self.events = []

    def add(self, name, host='here', status='ACTIVE', task_state=None):
        self.found[name] = types.SimpleNamespace(
            id=name, compute_host=host, status=status, task_state=task_state)
        return self.found[name]

    def _tick(self):
        if self.events:
            self.events.pop(0)()

    def servers(self, all_projects, status=None, compute_host=None):
        assert all_projects
        self._tick()
        return [server for server in self.found.values()
                if status in (None, server.status) and
                compute_host in (None, server.compute_host)]

    def find_server(self, name, ignore_missing, all_projects):
        return self.found.get(name)

    def get(self, path, params, microversion):
        if path == '/os-services':
            return Answer(200, {'services': [self.service] if (
                params['host'] == self.service['host']) else []})
        return Answer(200, {'migrations': [
            {'instance_uuid': server} for server, status in self.moves
            if status == params['status']]})

    def put(self, path, json, microversion):
        assert path == '/os-services/one'
        self.written.append(json)
        self.service.update({'disabled_reason': None, **json})
        return Answer(200)


class Case(unittest.TestCase):
    def setUp(self):
        self.nova = Nova()
        self.time = 0
        for name, fake in (('sleep', self.sleep),
                           ('monotonic', lambda: self.time)):
            patched = mock.patch.object(xloud_drain.time, name, fake)
            patched.start()
            self.addCleanup(patched.stop)

    def sleep(self, seconds):
        self.time += seconds

    def run_it(self, command, *words):
        """:returns: exit code, what it says, and why it failed"""
        sdk = types.ModuleType('openstack')
        sdk.connect = lambda cloud: types.SimpleNamespace(compute=self.nova)
        output, errors = io.StringIO(), io.StringIO()
        with mock.patch.dict(sys.modules, openstack=sdk), \
                contextlib.redirect_stdout(output), \
                contextlib.redirect_stderr(errors):
            code = xloud_drain.main([command, 'cloud', 'here',
                                     '--seconds=5', *words])
        said = output.getvalue()
        return code, json.loads(said) if said else None, errors.getvalue()

    def assertDrained(self, seconds, disabled=True):
        code, said, why = self.run_it('drain', '--owner=me')
        self.assertEqual((0, ''), (code, why))
        self.assertEqual((disabled, [], seconds), (
            said['disabled'], said['left'], said['seconds']))


class DrainTest(Case):
    def test_nothing_is_at_work(self):
        self.nova.add('idle')
        self.nova.add('elsewhere', 'there', 'BUILD', 'spawning')
        self.assertDrained(0)
        self.assertEqual('disabled', self.nova.service['status'])
        self.assertEqual(
            'XLoud Nova is being deployed here (me); the next deploy or '
            'rollback enables it', self.nova.service['disabled_reason'])

    def test_a_build_and_a_task_are_waited_for(self):
        for state in ({'status': 'BUILD', 'task_state': 'spawning'},
                      {'status': 'BUILD'}, {'task_state': 'image_uploading'}):
            self.nova = Nova()
            server = self.nova.add('busy', **state)
            self.nova.events = [
                *3 * [lambda: None], lambda: server.__dict__.update(
                    status='ACTIVE', task_state=None)]
            with self.subTest(state):
                # At once there are two lists, and then one a second.
                self.assertDrained(2)

    def test_one_in_error_has_nothing_to_lose(self):
        self.nova.add('broken', status='ERROR', task_state='spawning')
        self.assertDrained(0)

    def test_a_build_that_may_be_on_its_way(self):
        server = self.nova.add('young', None, 'BUILD', 'scheduling')
        self.nova.events = [
            *3 * [lambda: None], lambda: server.__dict__.update(
                compute_host='there')]
        self.assertDrained(1)

    def test_it_arrives_between_two_lists(self):
        server = self.nova.add('young', None, 'BUILD', 'scheduling')
        arrives = [lambda: None, lambda: None,
                   lambda: server.__dict__.update(compute_host='here')]
        self.nova.events = arrives
        self.assertEqual(1, self.run_it('drain')[0])

    def test_a_build_that_begins_later_goes_elsewhere(self):
        server = self.nova.add('young', None, 'BUILD', 'scheduling')
        self.nova.events = [
            lambda: None,
            lambda: self.nova.add('late', None, 'BUILD', 'scheduling'),
            lambda: None, lambda: server.__dict__.update(
                compute_host='there')]
        self.assertDrained(1)

    def test_a_server_that_moves_here(self):
        server = self.nova.add('moving', 'there', task_state='migrating')
        self.nova.add('still', 'there')
        self.nova.moves = [('moving', 'running'), ('still', 'running'),
                           ('gone', 'pre-migrating'), ('old', 'completed')]
        self.nova.events = [*3 * [lambda: None], lambda: (
            server.__dict__.update(compute_host='here', task_state=None))]
        self.assertDrained(2)

    def test_what_waits_for_the_restart_is_not_waited_for(self):
        """A run before was killed while nova-compute did not run."""
        self.nova.add('waiting', task_state='rebooting')
        self.nova.service['state'] = 'down'
        self.assertDrained(0)

    def test_an_operator_has_disabled_it(self):
        self.nova.service.update(status='disabled', disabled_reason=OPERATOR)
        server = self.nova.add('busy', task_state='migrating')
        self.nova.events = [*2 * [lambda: None], lambda: (
            server.__dict__.update(task_state=None))]
        self.assertDrained(1, disabled=False)
        self.assertEqual([], self.nova.written)

    def test_without_a_reason_it_was_an_operator(self):
        self.nova.service.update(status='disabled', disabled_reason=None)
        self.assertDrained(0, disabled=False)
        self.assertEqual((0, {'enabled': False}, ''), self.run_it('enable'))
        self.assertEqual([], self.nova.written)


class LateTest(Case):
    def setUp(self):
        super().setUp()
        self.nova.add('stuck', task_state='deleting')

    def test_it_stops_and_gives_it_back(self):
        code, said, why = self.run_it('drain')
        self.assertEqual((1, ['stuck (deleting)']), (code, said['left']))
        self.assertIn('stuck (deleting)', why)
        self.assertIn('Nothing was restarted', why)
        self.assertEqual('enabled', self.nova.service['status'])
        self.assertGreater(self.time, 5)

    def test_what_an_operator_has_disabled_stays_so(self):
        self.nova.service.update(status='disabled', disabled_reason=OPERATOR)
        self.assertEqual(1, self.run_it('drain')[0])
        self.assertEqual([], self.nova.written)

    def test_it_is_restarted_all_the_same(self):
        code, said, why = self.run_it('drain', '--late=restart')
        self.assertEqual((0, ['stuck (deleting)'], ''),
                         (code, said['left'], why))
        self.assertEqual('disabled', self.nova.service['status'])


class EnableTest(Case):
    def test_what_it_disabled(self):
        self.run_it('drain')
        self.assertEqual((0, {'enabled': True}, ''), self.run_it('enable'))
        self.assertEqual(('enabled', None), (
            self.nova.service['status'],
            self.nova.service['disabled_reason']))
        # Twice is once.
        self.assertEqual((0, {'enabled': False}, ''), self.run_it('enable'))

    def test_what_a_killed_run_disabled(self):
        def kill():
            raise Killed()

        self.nova.events = [kill]
        with self.assertRaises(Killed):
            self.run_it('drain', '--owner=first')
        self.assertDrained(0, disabled=False)
        self.assertEqual({'enabled': True}, self.run_it('enable')[1])

    def test_what_an_operator_took_over_meanwhile(self):
        self.run_it('drain')
        self.nova.service['disabled_reason'] = OPERATOR
        self.assertEqual({'enabled': False}, self.run_it('enable')[1])
        self.assertEqual('disabled', self.nova.service['status'])

    def test_the_api_comes_back(self):
        self.run_it('drain')
        with mock.patch.object(self.nova, 'put', side_effect=[
                OSError('refused'), Answer(503, 'busy'), Answer(200)]) as put:
            self.assertEqual({'enabled': True}, self.run_it('enable')[1])
        self.assertEqual(3, put.call_count)

    def test_the_api_stays_away(self):
        with mock.patch.object(self.nova, 'get', return_value=Answer(
                503, 'busy')):
            for command in ('drain', 'enable', 'show'):
                code, _said, why = self.run_it(command)
                self.assertEqual(1, code)
                self.assertIn('503', why)

    def test_a_host_that_nobody_knows(self):
        self.nova.service['host'] = 'there'
        code, _said, why = self.run_it('enable')
        self.assertEqual(1, code)
        self.assertIn('knows no nova-compute on here', why)

    def test_show(self):
        self.run_it('drain', '--owner=me')
        shown = self.run_it('show')[1]
        self.assertEqual(('up', 'disabled'),
                         (shown['state'], shown['status']))
        self.assertIn('(me)', shown['disabled_reason'])

    def test_a_long_name_of_the_owner(self):
        self.run_it('drain', '--owner=' + 300 * 'x')
        self.assertEqual(255, len(self.nova.service['disabled_reason']))
        self.assertEqual({'enabled': True}, self.run_it('enable')[1])
