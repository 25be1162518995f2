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

import datetime
import io

import fixtures
from keystoneauth1 import exceptions as ks_exc
from oslo_db import exception as db_exc
from oslo_serialization import jsonutils
from oslo_utils import timeutils

from nova import context as nova_context
from nova import objects
from nova.scheduler.client import report
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import scripted
from nova.tests.unit import fake_requests
from nova.xloud import entries
from nova.xloud import leave
from nova.xloud import manage
from nova.xloud import size
from nova.xloud import traits


class LeaveTestCase(adjust_base.AdjustTestCase):
    """nova-manage xloud, with services that run"""

    def start_host(self, *args, **kwargs):
        # No host that counts as down reports, even on a slow machine.
        self.flags(initial_cpu_allocation_ratio=1.0, report_interval=55)
        return super().start_host(*args, **kwargs)

    def command(self, name, **kwargs):
        """:returns: the exit code and what was printed"""
        output = io.StringIO()
        with fixtures.MonkeyPatch('sys.stdout', output):
            code = getattr(manage.XloudCommands(), name)(**kwargs)
        return code, output.getvalue()

    def stop_host(self, host='host1'):
        self.computes[host].stop()
        self.report(host, hours=1)

    def report(self, host='host1', **ago):
        """When nova-compute of a host has reported last."""
        with self.cell(host) as cell:
            service = objects.Service.get_by_compute_host(cell, host)
            service.last_seen_up = timeutils.utcnow() - datetime.timedelta(
                **ago)
            service.save()

    def reported(self):
        return set(self._get_provider_traits(
            self._get_provider_uuid_by_host('host1'))) & {
                traits.ELASTIC_VCPU, traits.ELASTIC_MEMORY}

    def test_list(self):
        code, output = self.command('list')
        self.assertEqual(0, code)
        for text in (self.server['id'], 'host1', 'Settled', '2 of 2 to 8',
                     '2048 of 2048 to 8192'):
            self.assertIn(text, output)
        code, output = self.command(
            'list', as_json=True, conditions=['Settled'], host='host1')
        (server,) = jsonutils.loads(output)
        self.assertEqual(self.server['id'], server['id'])
        for filters in ({'conditions': ['Partial']}, {'host': 'host2'},
                        {'project_id': 'other'}):
            self.assertEqual(
                [], jsonutils.loads(self.command('list', as_json=True,
                                            **filters)[1]))

    def test_dry_run(self):
        before = self.books(self.server)
        code, output = self.command('leave', dry_run=True)
        self.assertEqual(1, code)
        self.assertIn('Charged 2 vCPUs, 2048 MiB. Unpatched Nova counts 8 '
                      'vCPUs, 8192 MiB', output)
        self.assertIn('will have 6 vCPUs, 6144 MiB more', output)
        self.assertNotIn('OVER', output)
        self.assertEqual(before, self.books(self.server))
        self.assertEqual(2, len(self.reported()))
        # A live migration keeps what the guest has.
        self.assertIn('hard reboot, start or cold migration', output)

    def test_leave(self):
        code, output = self.command('leave')
        self.assertEqual(1, code)
        self.assertIn('It has grown to 8 vCPUs, 8192 MiB.', output)
        self.assert_books(base.MAXIMUM, base.MAXIMUM)
        # Again changes nothing.
        code, output = self.command('leave')
        self.assertEqual(1, code)
        self.assertNotIn('grown', output)
        self.stop_host()
        code, output = self.command('leave')
        self.assertEqual(0, code, output)
        self.assert_left()
        self.assertEqual((0, 'Nothing'), (
            self.command('leave')[0], self.command('leave')[1][:7]))

    def assert_left(self):
        instance = self.instance(self.server)
        self.assertEqual([], [key for key in instance.system_metadata
                              if entries.is_entry(key)])
        self.assertEqual(base.MAXIMUM, size.charged(instance))
        self.assertEqual({'host1': base.MAXIMUM},
                         self.allocated(self.server['id']))
        self.assertEqual(set(), self.reported())

    def test_the_host_is_down_already(self):
        self.stop_host()
        code, output = self.command('leave')
        self.assertEqual(0, code, output)
        self.assert_left()
        self.assertEqual(
            ['desired 2 vCPUs, 2048 MiB -> 8 vCPUs, 8192 MiB; '
             'boot 2 vCPUs, 2048 MiB -> 8 vCPUs, 8192 MiB; '
             'charged 2 vCPUs, 2048 MiB -> 8 vCPUs, 8192 MiB'],
            [found['message'] for found in
             self.api.get_instance_actions(self.server['id'])
             if found['action'] == 'xloud_settle'])

    def test_a_part_of_its_allocation_was_lost(self):
        self.stop_host()
        url = '/allocations/%s' % self.server['id']
        body = self.placement.get(url, version='1.28').body
        for allocation in body['allocations'].values():
            allocation['resources'].update(VCPU=1, MEMORY_MB=1024)
        self.placement.put(url, body, version='1.28')
        code, output = self.command('leave')
        self.assertEqual(0, code, output)
        self.assert_left()

    def test_its_flavor_says_what_is_allocated(self):
        """No new server may have such a flavor, but an old one can."""
        self.stop_host()
        with self.cell():
            instance = self.instance(self.server)
            flavor = instance.flavor
            flavor.extra_specs = dict(
                flavor.extra_specs, **{'resources:VCPU': '2'})
            instance.flavor = flavor
            instance.save()
        code, output = self.command('leave')
        self.assertEqual(0, code, output)
        self.assertEqual({'host1': base.MINIMUM},
                         self.allocated(self.server['id']))

    def test_no_room_and_the_host_is_down_already(self):
        self.create_server(self.create_elastic_flavor(
            maximum=size.Size(2, 28672), minimum=size.Size(2, 28672)))
        before = self.books(self.server)
        self.stop_host()
        code, output = self.command('leave')
        self.assertEqual(1, code)
        self.assertIn('It stays as it is: No room on the host', output)
        self.assertEqual(before, self.books(self.server))

    def test_a_host_that_is_forced_down_and_runs(self):
        """It would write everything again."""
        before = self.books(self.server)
        self.admin_api.put_service_force_down(
            self.compute.service_ref.uuid, True)
        code, output = self.command('leave')
        self.assertEqual(1, code)
        self.assertIn('is forced down, and has reported', output)
        self.assertNotIn('removed.', output)
        self.assertEqual(before, self.books(self.server))
        self.assertEqual(2, len(self.reported()))

    def test_a_host_comes_up_meanwhile(self):
        """As when something starts what the operator has stopped."""
        self.report(hours=1)
        remove = leave.Departure._remove_traits

        def start_and_remove(departure, dry_run):
            remove(departure, dry_run)
            self.report()
            self.reconcile()

        with fixtures.MonkeyPatch(
                'nova.xloud.leave.Departure._remove_traits',
                start_and_remove):
            code, output = self.command('leave')
        self.assertEqual(1, code, output)
        self.assertIn('nova-compute of host1 has started meanwhile', output)
        self.assertIn('has records again', output)
        self.assertNotIn('Nothing is left', output)
        self.stop_host()
        self.assertEqual(0, self.command('leave')[0])
        self.assert_left()

    def test_the_database_of_a_cell_goes_away(self):
        """Its servers were listed before that."""
        def fail(*args, **kwargs):
            raise db_exc.DBConnectionError('Gone.')

        self.stop_host()
        with fixtures.MonkeyPatch(
                'nova.objects.ComputeNodeList.get_all', fail), (
                fixtures.MonkeyPatch(
                    'nova.objects.ComputeNodeList.get_all_by_host', fail)):
            code, output = self.command('leave')
        self.assertEqual(1, code)
        self.assertIn('host1: it is not known how much room', output)
        self.assertIn('The traits of cell', output)
        self.assertNotIn('Nothing is left', output)
        self.assertEqual(0, self.command('leave')[0])
        self.assert_left()

    def test_a_guest_that_is_late(self):
        self.guest.behaviour = scripted.LATE
        code, output = self.command('leave')
        self.assertEqual(1, code)
        self.assertNotIn('has grown', output)
        self.assertIn('and is InProgress: The server holds 2 vCPUs', output)

    def test_no_room(self):
        others = [self.create_server(self.create_elastic_flavor())
                  for _number in range(2)]
        code, output = self.command('leave')
        self.assertEqual(1, code)
        self.assertIn('OVER ITS CAPACITY', output)
        self.assertIn('It stays as it is: ', output)
        self.assertIn('no room', output)
        charges = [size.charged(self.instance(server))
                   for server in (self.server, *others)]
        self.assertEqual([base.MINIMUM, base.MAXIMUM], sorted(set(charges)))

    def test_a_cell_does_not_answer(self):
        self.stop_host()
        before = self.books(self.server)
        for name in ('leave', 'list'):
            errors = io.StringIO()
            with fixtures.MonkeyPatch(
                    'nova.context.scatter_gather_cells', lambda _context,
                    cells, *args, **kwargs: dict.fromkeys(
                        [cell.uuid for cell in cells],
                        nova_context.did_not_respond_sentinel)), (
                    fixtures.MonkeyPatch('sys.stderr', errors)):
                code, output = self.command(name)
            self.assertEqual(1, code)
            self.assertIn('does not answer', errors.getvalue())
            self.assertNotIn('Nothing is left', output)
        self.assertEqual(before, self.books(self.server))
        self.assertEqual(2, len(self.reported()))

    def test_placement_does_not_say_which_traits_there_are(self):
        real = report.SchedulerReportClient.get

        def get(client, url, *args, **kwargs):
            if not url.endswith('/traits'):
                return real(client, url, *args, **kwargs)
            answer = answers.pop()
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.stop_host()
        for answer in (fake_requests.FakeResponse(503, content='Busy.'),
                       ks_exc.ConnectFailure('Busy.')):
            answers = [answer]
            with fixtures.MonkeyPatch(
                    'nova.scheduler.client.report.SchedulerReportClient.get',
                    get):
                code, output = self.command('leave')
            self.assertEqual(1, code)
            self.assertIn('Busy.', output)
        self.assertEqual(2, len(self.reported()))
        self.assertEqual(0, self.command('leave')[0])
        self.assert_left()

    def test_a_resize_is_not_confirmed(self):
        """The server is no longer elastic, and is again if it is reverted."""
        self.start_host('host2')
        self._resize_server(self.server, self._create_flavor(disk=1))
        before = self.instance(self.server).system_metadata
        self.assertEqual('[]', self.command('list', as_json=True)[1].strip())
        for host in self.computes:
            self.stop_host(host)
        code, output = self.command('leave')
        self.assertEqual(1, code)
        self.assertIn('Cannot leave', output)
        self.assertEqual(before, self.instance(self.server).system_metadata)

    def test_a_server_that_is_no_longer_elastic(self):
        """As a host without the series leaves it."""
        plain = self.create_server(self._create_flavor(disk=1))
        instance = self.instance(plain)
        for word in ('desired', 'boot'):
            entries.write_size(instance, word, base.MINIMUM)
        instance.save()
        self.assertIn(entries.ELASTIC, self.instance(plain).system_metadata)
        self.assertNotIn(plain['id'], self.command('list')[1])
        self.command('leave')
        self.assertEqual({}, entries.of(self.instance(plain)))
