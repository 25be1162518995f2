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

"""Many callers adjust few servers at once, on hosts that are nearly full."""

import random
import threading
import time

import fixtures

from nova import objects
from nova.scheduler.client import report
from nova.tests.functional.xloud import answers_base
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import scripted
from nova.xloud import notes
from nova.xloud import size

CALLERS = 20
REQUESTS = 2
# Memory that is left on each host, in MiB: some growth, never all of it.
ROOM_MB = 3072


class ConcurrencyTestCase(answers_base.AnswersBase):

    def setUp(self):
        super().setUp()
        self.start_host('host2')
        flavor = self.create_elastic_flavor()
        self.servers = [self.server] + [
            self.create_server(flavor, az='nova:' + host)
            for host in ('host1', 'host1', 'host2', 'host2')]
        self.others = []
        for host in ('host1', 'host2'):
            left = self.left_mb(host) - ROOM_MB
            self.others.append(self.create_server(
                self._create_flavor(vcpu=1, memory_mb=left),
                az='nova:' + host))
            self.assertEqual(ROOM_MB, self.left_mb(host))
        for server in self.servers[::2]:
            self.driver.guests[server['id']].behaviour = scripted.LATE
        # At most some of the callers can grow to what they ask for.
        self.flags(cores=24, group='quota')

    def left_mb(self, host):
        inventory = self._get_provider_inventory(
            self._get_provider_uuid_by_host(host))['MEMORY_MB']
        capacity = inventory['allocation_ratio'] * (
            inventory['total'] - inventory['reserved'])
        return int(capacity) - self.used(host).memory_mb

    def isolate(self):
        """Let Placement finish one request before it begins another.

        It reads in the middle of a transaction, where others go on. All of
        them share the one connection of its SQLite database, so that they
        would commit and roll back each other's halves.
        """
        one_at_a_time = threading.Lock()
        placement = self.placement.fixture._client
        request = placement.request

        def alone(*args, **kwargs):
            with one_at_a_time:
                return request(*args, **kwargs)

        self.useFixture(
            fixtures.MockPatchObject(placement, 'request', alone))

    def shuffle(self):
        """Let others go on wherever a service waits for another one."""
        pause = random.Random(4)

        def wait_before(owner, name):
            real = getattr(owner, name)

            def waiting(*args, **kwargs):
                time.sleep(pause.uniform(0, 0.01))
                return real(*args, **kwargs)

            self.useFixture(
                fixtures.MockPatchObject(owner, name, waiting))

        for owner, name in (
                (objects.Instance, 'save'), (objects.Instance, 'refresh'),
                (report.SchedulerReportClient, 'get'),
                (report.SchedulerReportClient, 'put'),
                (scripted.ScriptedFakeDriver, 'get_elastic_guests'),
                (scripted.ScriptedFakeDriver, 'set_elastic_guest')):
            wait_before(owner, name)

    def call(self, number, answers):
        choice = random.Random(number)
        for request in range(REQUESTS):
            server = self.servers[(number + request) % len(self.servers)]
            asked = size.Size(choice.randint(2, 8),
                              choice.randrange(2048, 5120, 512))
            if not request and number < len(self.servers):
                # There is no room for that, whatever the others do.
                asked = base.MAXIMUM
            response = self.owner.api_post(
                '/os-xloud-adjust/%s' % server['id'],
                {'current_vcpus': asked.vcpus,
                 'current_memory_mb': asked.memory_mb,
                 'persist': choice.random() < 0.5},
                check_response_status=[202, 403, 409])
            answers.append((server['id'], asked, response))
            self.get(server=server)

    def allocations_of_others(self):
        found = []
        for other in self.others:
            body = self.placement.get(
                '/allocations/%s' % other['id'], version='1.28').body
            for allocation in body['allocations'].values():
                # Of the provider, which others have allocations on.
                del allocation['generation']
            found.append(body)
        return found

    def reconcile_until(self, done):
        while not done.is_set():
            self.reconcile_all()
            time.sleep(0.1)

    def reconcile_all(self):
        with self.cell() as cell:
            for compute in self.computes.values():
                compute.manager._elastic.reconcile(cell)

    def test_twenty_callers_and_five_servers(self):
        others = self.allocations_of_others()
        self.isolate()
        self.shuffle()

        answers, done = [], threading.Event()
        callers = [
            threading.Thread(target=self.call, args=(number, answers))
            for number in range(CALLERS)]
        reconciler = threading.Thread(
            target=self.reconcile_until, args=(done,))
        for thread in [reconciler] + callers:
            thread.start()
        for caller in callers:
            caller.join()
        done.set()
        reconciler.join()

        # Nobody was left without an answer, or with another one.
        self.assertEqual(CALLERS * REQUESTS, len(answers))
        refusals = [response.body for _server_id, _asked, response in answers
                    if response.status != 202]
        self.assertIn('No room on the host', str(refusals))
        self.assertLess(len(refusals), len(answers))
        for host in self.computes:
            self.assertGreaterEqual(self.left_mb(host), 0)

        for guest in self.driver.guests.values():
            guest.follow()
        self.reconcile_all()
        for server in self.servers:
            self.check_server(server, answers)
        self.assertEqual(others, self.allocations_of_others())

    def check_server(self, server, answers):
        asked = [asked for server_id, asked, response in answers
                 if server_id == server['id'] and response.status == 202]
        instance = self.instance(server)
        desired, boot = size.desired(instance), size.boot(instance)
        self.assertIn(desired, asked or [base.MINIMUM])
        self.assertIn(boot, asked + [base.MINIMUM])
        # The last one that the host accepted.
        requests = [
            target for uuid, target, _boot in
            self.computes[instance.host].manager.driver.requests
            if uuid == instance.uuid]
        self.assertEqual([desired] if asked else [], requests[-1:])
        self.assertEqual(desired, self.driver.guests[instance.uuid].held)
        self.assertIsNone(instance.task_state)
        self.assertIsNone(notes.outcome(instance))
        self.assert_charged(
            server, size.largest(desired, boot), instance.host)
        self.assertEqual('Settled', self.get(server=server)['condition'])
