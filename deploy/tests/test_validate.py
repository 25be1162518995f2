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

"""What is asked of a cloud, by a cloud that is made up."""

import contextlib
import importlib.util
import io
import json
import os
from pathlib import Path
import signal
import sys
import tempfile
import types
import unittest
from unittest import mock

from tools import tree


def load(path):
    specification = importlib.util.spec_from_file_location(
        path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


validate = load(tree.ROOT / 'deploy/validate.py')
xloud_up = load(tree.ROOT / 'deploy/roles/xloud_nova/files/xloud_up.py')


class Answer:
    def __init__(self, code=200, **body):
        self.status_code = code
        self._body = body
        self.text = str(body)

    def json(self):
        return self._body


class ValidateTest(unittest.TestCase):
    def setUp(self):
        # In the background these may be ignored, and others end the tests.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            signal.signal(number, lambda *_: None)
        self.cloud = mock.MagicMock()
        self.size = (1, 512)
        self.condition = 'Settled'
        self.hosts = ['a', 'b']
        compute = self.cloud.compute
        compute.services.side_effect = lambda **_: [
            mock.Mock(host=host, state='up', status='enabled')
            for host in self.hosts]
        compute.get.side_effect = lambda path, **_: Answer(
            xloud_status=self.status(), hypervisors=[
                {'hypervisor_hostname': host, 'state': 'up',
                 'status': 'enabled'} for host in self.hosts])
        self.able = ['a', 'b']
        compute.post.side_effect = self.post
        compute.get_server.side_effect = lambda _: mock.Mock(
            status='ACTIVE', task_state=None, compute_host=self.hosts[0])
        compute.live_migrate_server.side_effect = (
            lambda *_, **__: self.hosts.reverse())
        compute.wait_for_server.return_value = mock.Mock(id='uuid')
        compute.server_actions.return_value = 3 * [
            mock.Mock(action='xloud_adjust')]
        self.cloud.image.images.return_value = [
            mock.Mock(min_ram=0, min_disk=0)]
        self.deleted = False
        compute.wait_for_delete.side_effect = self.delete
        self.cloud.placement.get.side_effect = self.placement
        errors = mock.patch.object(validate, '_errors', lambda: (OSError,))
        errors.start()
        self.addCleanup(errors.stop)
        connect = mock.patch.object(
            validate, 'connect', lambda name: self.cloud)
        connect.start()
        self.addCleanup(connect.stop)

    def delete(self, *_, **__):
        self.deleted = True

    def status(self):
        return {'condition': self.condition, 'reason': 'why', **{
            f'{word}_{what}': value
            for word in ('desired', 'boot', 'actual', 'allocated')
            for what, value in zip(('vcpus', 'memory_mb'), self.size)}}

    def post(self, path, json, **_):
        if 'extra_specs' in path:
            return Answer(400)
        vcpus = json.get('current_vcpus', self.size[0])
        memory_mb = json.get('current_memory_mb', self.size[1])
        if vcpus > 2 or memory_mb > 1024:
            return Answer(400)
        self.size = (vcpus, memory_mb)
        return Answer(202)

    def placement(self, path, **_):
        if 'allocations' in path:
            return Answer(allocations={} if self.deleted else {'host': {
                'resources': dict(zip(('VCPU', 'MEMORY_MB'), self.size))}})
        return Answer(resource_providers=[
            {'name': name} for name in self.able])

    def run_it(self, *words):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = validate.main(['cloud', '--json', '--seconds', '0',
                                  *words])
        said = json.loads(output.getvalue())
        return code, {row['step']: row for row in said['steps']}

    def test_all_is_well(self):
        code, rows = self.run_it()
        self.assertEqual(0, code, rows)
        self.assertEqual(len(validate.STEPS) + 1, len(rows))
        self.assertEqual('from a to b',
                         rows['a live migration keeps its size']['text'])
        self.cloud.compute.delete_flavor.assert_called_once()
        self.assertTrue(self.deleted)

    def test_one_host_leaves_the_migration_out(self):
        self.hosts = ['a']
        code, rows = self.run_it()
        self.assertEqual((0, 'left out'), (
            code, rows['a live migration keeps its size']['result']))

    def test_a_cloud_of_which_one_host_is_upgraded(self):
        """As the checklist has it: one compute, and then the others."""
        self.able = ['a']
        code, rows = self.run_it()
        row = rows['a live migration keeps its size']
        self.assertEqual((0, 'left out'), (code, row['result']), row)
        self.assertIn('only one compute', row['text'])
        self.cloud.compute.live_migrate_server.assert_not_called()

    def test_a_server_without_any_allocation(self):
        self.cloud.placement.get.side_effect = lambda path, **_: Answer(
            resource_providers=[{'name': 'a'}], allocations={})
        code, rows = self.run_it()
        self.assertEqual(1, code)
        self.assertIn('Placement has nothing of it',
                      rows['a server starts with its minimum']['text'])

    def test_an_answer_that_nobody_expects(self):
        """Such as that of an older nova-api, or of a proxy."""
        self.cloud.compute.get.side_effect = lambda *_, **__: Answer(
            xloud_status={'condition': 'Settled'})
        code, rows = self.run_it()
        self.assertEqual(1, code)
        self.assertIn('KeyError',
                      rows['a server starts with its minimum']['text'])
        self.assertTrue(self.deleted)

    def test_somebody_ends_it(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.deleted, self.size = False, (1, 512)
            self.cloud.compute.delete_flavor.reset_mock()
            self.cloud.compute.reboot_server.side_effect = (
                lambda *_: os.kill(os.getpid(), number))
            self._assert_ends_clean(number)

    def _assert_ends_clean(self, number):
        with self.assertRaises(SystemExit) as ended, \
                contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(io.StringIO()) as said:
            validate.main(['cloud', '--seconds', '0'])
        self.assertIn(f'ended by {number.name}', ended.exception.code)
        self.assertIn(f'{number.name}: what was made', said.getvalue())
        self.assertTrue(self.deleted)
        self.cloud.compute.delete_flavor.assert_called_once()

    def test_somebody_ends_it_twice(self):
        """Also the end: what was made is taken away all the same."""
        def kill(*_):
            os.kill(os.getpid(), signal.SIGHUP)

        self.cloud.compute.reboot_server.side_effect = lambda *_: os.kill(
            os.getpid(), signal.SIGTERM)
        self.cloud.compute.delete_server.side_effect = kill
        self._assert_ends_clean(signal.SIGTERM)
        self.assertNotIn(signal.SIG_IGN, map(signal.getsignal, (
            signal.SIGTERM, signal.SIGINT, signal.SIGHUP)))
        self.cloud.compute.reboot_server.side_effect = None
        self.deleted, self.size = False, (1, 512)
        self.assertEqual(0, self.run_it()[0])

    def test_somebody_ends_it_while_the_flavor_is_made(self):
        """Nobody knows whether it was."""
        self.cloud.compute.create_flavor.side_effect = lambda **_: os.kill(
            os.getpid(), signal.SIGINT)
        self.cloud.compute.find_server.return_value = None
        with self.assertRaises(SystemExit), \
                contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(io.StringIO()):
            validate.main(['cloud', '--seconds', '0'])
        self.cloud.compute.delete_flavor.assert_called_once_with(
            self.cloud.compute.create_flavor.call_args[1]['id'])

    def test_somebody_ends_it_while_the_server_is_made(self):
        """nova-api goes on with that, and has it a moment later."""
        self.cloud.compute.create_server.side_effect = lambda **_: os.kill(
            os.getpid(), signal.SIGINT)
        self.cloud.compute.find_server.side_effect = [
            None, mock.Mock(id='uuid')]
        with mock.patch.object(validate.time, 'sleep'):
            self._assert_ends_clean(signal.SIGINT)

    def test_a_terminal_that_nohup_makes_up_for(self):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.cloud.compute.reboot_server.side_effect = (
            lambda *_: os.kill(os.getpid(), signal.SIGHUP))
        self.assertEqual(0, self.run_it()[0])

    def test_a_server_in_error_says_why(self):
        compute = self.cloud.compute
        compute.wait_for_server.side_effect = OSError('it is in error')
        compute.get_server.side_effect = lambda _: mock.Mock(
            fault={'message': 'No valid host was found.'})
        _code, rows = self.run_it()
        self.assertEqual('it is in error: No valid host was found.',
                         rows['a server starts with its minimum']['text'])
        compute.get_server.side_effect = lambda _: mock.Mock(fault=None)
        _code, rows = self.run_it()
        self.assertEqual('it is in error',
                         rows['a server starts with its minimum']['text'])

    def test_a_member(self):
        """It can be told from a cloud on which elastic servers fail."""
        refused = (
            (self.cloud.compute, Answer(403, forbidden={
                'message': 'Not os-services'})),
            (self.cloud.placement, Answer(403, errors=[
                {'detail': 'Not resource_providers'}])))
        for service, answer in refused:
            with self.subTest(answer.text), mock.patch.object(
                    service, 'get', side_effect=lambda *_, **__: answer), \
                    contextlib.redirect_stderr(io.StringIO()) as said:
                self.assertEqual(2, validate.main(['cloud']))
                self.assertRegex(
                    said.getvalue(),
                    'cloud names no administrator: GET /(.*): Not \\1$')
        self.cloud.compute.create_flavor.assert_not_called()

    def test_a_service_that_cannot_be_reached(self):
        """No step has failed then, and nothing was made."""
        for service in (self.cloud.compute, self.cloud.placement):
            with mock.patch.object(
                    service, 'get', side_effect=OSError('gone')), \
                    contextlib.redirect_stderr(io.StringIO()) as said:
                self.assertEqual(2, validate.main(['cloud']))
            self.assertRegex(said.getvalue(), 'cloud: GET /.*: gone$')
        self.cloud.compute.create_flavor.assert_not_called()

    def test_libvirt_that_does_not_answer(self):
        """It would be taken for the libvirt of another host."""
        for command in ('false', '/nonexistent/virsh -c x'):
            with contextlib.redirect_stderr(io.StringIO()) as said:
                self.assertEqual(2, validate.main(
                    ['cloud', '--virsh', command]))
            self.assertIn('--virsh: ', said.getvalue())
        self.cloud.compute.create_flavor.assert_not_called()

    def test_what_no_step_could_use(self):
        for words, message in (
                (['--seconds', '-1'], '--seconds is -1'),
                (['--virsh', ' '], '--virsh is empty')):
            with contextlib.redirect_stderr(io.StringIO()) as said, \
                    self.assertRaises(SystemExit) as ended:
                validate.main(['cloud', *words])
            self.assertEqual(2, ended.exception.code)
            self.assertIn(message, said.getvalue())
        self.cloud.compute.create_flavor.assert_not_called()

    def test_a_folder_without_logs(self):
        with tempfile.TemporaryDirectory() as folder:
            for wrong in (folder, folder + '/none'):
                with contextlib.redirect_stderr(io.StringIO()) as said:
                    self.assertEqual(2, validate.main(
                        ['cloud', '--logs', wrong]))
                self.assertIn(f'no nova-*.log in {wrong}', said.getvalue())
            # A folder, which nobody can read as a log.
            Path(folder, 'nova-compute.log').mkdir()
            with contextlib.redirect_stderr(io.StringIO()) as said:
                self.assertEqual(2, validate.main(
                    ['cloud', '--logs', folder]))
            self.assertIn('nova-compute.log', said.getvalue())
        self.cloud.compute.create_flavor.assert_not_called()

    def _logs_say(self, text):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, 'nova-compute.log').write_text(
                f'2026-11-29 12:00:00 {text}\n')
            _code, rows = self.run_it('--logs', folder)
        return rows['the logs of Nova here have no error about the server'][
            'result']

    def test_logs(self):
        self.assertEqual('ok', self._logs_say('INFO uuid'))

    def test_logs_with_an_error(self):
        self.assertEqual('FAILED', self._logs_say('ERROR uuid'))

    def test_logs_of_another_host(self):
        """What they do not say proves nothing."""
        self.assertEqual('left out', self._logs_say('ERROR another'))

    def test_no_range(self):
        for words in (['--memory', '512'], ['--minimum-memory', '0'],
                      ['--memory', '256']):
            with self.assertRaises(SystemExit) as ended, \
                    contextlib.redirect_stderr(io.StringIO()) as said:
                validate.main(['cloud', *words])
            self.assertEqual(2, ended.exception.code)
            self.assertIn('--minimum-memory is', said.getvalue())

    def test_what_fails_ends_it_and_is_taken_away(self):
        self.condition = 'Partial'
        code, rows = self.run_it()
        self.assertEqual(1, code)
        self.assertEqual(
            ['ok', 'ok', 'ok', 'FAILED', 'ok'],
            [row['result'] for row in rows.values()])
        self.assertTrue(self.deleted)

    def test_a_server_that_does_not_go_keeps_no_flavor(self):
        self.cloud.compute.wait_for_delete.side_effect = OSError('too late')
        code, rows = self.run_it()
        self.assertEqual((1, 'too late'), (
            code, rows['what was made is taken away']['text']))
        self.cloud.compute.delete_flavor.assert_called_once()

    def test_placement_that_disagrees(self):
        self.cloud.placement.get.side_effect = lambda path, **_: (
            Answer(resource_providers=[{'name': 'a'}])
            if 'providers' in path else Answer(allocations={
                'host': {'resources': {'VCPU': 2, 'MEMORY_MB': 512}}}))
        code, rows = self.run_it()
        self.assertEqual(1, code)
        self.assertIn('Placement says 2 vCPUs',
                      rows['a server starts with its minimum']['text'])
        # And after its end, too.
        self.assertIn('allocation', rows['what was made is taken away'][
            'text'])

    def test_a_missing_entry_point(self):
        self.cloud.compute.post.side_effect = lambda *_, **__: Answer(200)
        _code, rows = self.run_it()
        self.assertIn('entry point',
                      rows['minimum_cpu=x is refused']['text'])

    def test_a_cloud_that_cannot_be_tried(self):
        def cannot(_name):
            raise validate.Cannot('no such cloud')

        with mock.patch.object(validate, 'connect', cannot), \
                contextlib.redirect_stderr(io.StringIO()) as said:
            self.assertEqual(2, validate.main(['cloud']))
        self.assertIn('no such cloud', said.getvalue())


class UpTest(unittest.TestCase):
    def wait(self, service, found):
        """What it ends with, if a service reports so, time after time."""
        cloud = mock.Mock()
        cloud.compute.services.side_effect = [
            [mock.Mock(id=known, host='a', state=state, updated_at=at)
             for known, (state, at) in enumerate(zip(said[::2], said[1::2]))]
            for said in found] + [OSError('gone')] * 9
        cloud.compute.get.side_effect = [
            OSError('refused'), mock.Mock(status_code=200)]
        sdk = types.ModuleType('openstack')
        sdk.connect = mock.Mock(return_value=cloud)
        clock = iter(range(99))
        with mock.patch.dict(sys.modules, openstack=sdk), \
                mock.patch.object(xloud_up.time, 'sleep'), \
                mock.patch.object(xloud_up.time, 'monotonic',
                                  lambda: next(clock)), \
                mock.patch.object(sys, 'argv', [
                    'up', 'cloud', service, 'a', '--seconds=5']), \
                contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(io.StringIO()):
            return xloud_up.main()

    def test_a_new_report_counts_and_an_old_one_does_not(self):
        self.assertEqual(0, self.wait('nova-compute', [
            ('up', '1'), ('up', '1'), ('up', '2')]))
        self.assertEqual(1, self.wait('nova-compute', 9 * [('up', '1')]))
        self.assertEqual(1, self.wait('nova-compute', [
            ('up', '1'), ('down', '2')]))

    def test_a_conductor_in_each_of_two_cells(self):
        self.assertEqual(1, self.wait('nova-conductor', [
            ('up', '1', 'up', '2'), ('up', '1', 'up', '3'),
            ('down', '1', 'up', '4')]))
        self.assertEqual(0, self.wait('nova-conductor', [
            ('up', '1', 'up', '2'), ('up', '1', 'up', '3'),
            ('up', '4', 'up', '3')]))
        # One that nobody has removed from the other cell.
        self.assertEqual(0, self.wait('nova-conductor', [
            ('down', '1', 'up', '2'), ('down', '1', 'up', '3')]))

    def test_look_asks_nobody(self):
        for error, expected in ((None, 0), (OSError('not found'), 1)):
            sdk = types.ModuleType('openstack')
            sdk.connect = mock.Mock(side_effect=error)
            with mock.patch.dict(sys.modules, openstack=sdk), \
                    mock.patch.object(sys, 'argv', [
                        'up', 'mistyped', 'nova-api', 'a', '--look']), \
                    contextlib.redirect_stderr(io.StringIO()) as said:
                self.assertEqual(expected, xloud_up.main())
            # The connection itself is not used.
            self.assertEqual([mock.call(cloud='mistyped')],
                             sdk.connect.mock_calls)
            self.assertEqual(bool(error), 'cannot be asked' in
                             said.getvalue())

    def test_the_api_answers(self):
        self.assertEqual(0, self.wait('nova-api', []))
