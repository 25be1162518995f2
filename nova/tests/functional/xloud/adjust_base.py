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

"""An elastic server whose host is asked to adjust it, as nova-api asks."""

import datetime
import time
from unittest import mock

import fixtures
from oslo_utils import timeutils

from nova import exception
from nova import objects
from nova.tests.functional.xloud import scripted
from nova.xloud import action
from nova.xloud import notes
from nova.xloud import rpcapi
from nova.xloud import size
from nova.xloud import task

GROWN = size.Size(6, 6144)


class AdjustTestCase(scripted.GuestsTestCase):

    SETTLE_TIMEOUT = 300

    def setUp(self):
        super().setUp()
        self.later = datetime.timedelta()
        self.passed = 0
        clock = mock.Mock(utcnow=lambda: timeutils.utcnow() + self.later)
        for user in ('change', 'limits', 'memo', 'reconcile', 'status',
                     'untold'):
            self.useFixture(fixtures.MonkeyPatch(
                'nova.xloud.%s.timeutils' % user, clock))
        self.useFixture(fixtures.MonkeyPatch('nova.xloud.memo.time', mock.Mock(
            monotonic=lambda: time.monotonic() + self.passed)))
        self.flags(settle_timeout=self.SETTLE_TIMEOUT, group='xloud')
        self.compute = self.start_host('host1')
        self.server = self.create_server(self.create_elastic_flavor())
        self.reconcile()

    @property
    def driver(self):
        return self.compute.manager.driver

    @property
    def guest(self):
        return self.guests[self.server['id']]

    def reconcile(self):
        with self.cell() as cell:
            self.compute.manager._elastic.reconcile(cell)

    def adjust(self, vcpus=None, memory_mb=None, persist=True, server=None,
               call=None):
        """As nova-api calls it."""
        server = server or self.server
        with self.cell() as cell:
            instance = objects.Instance.get_by_uuid(
                cell, server['id'],
                expected_attrs=['flavor', 'system_metadata'])
            request = rpcapi.Request.about(
                instance, cell.request_id, vcpus, memory_mb, persist)
            return self.carry_out(
                cell, instance, request, call or rpcapi.XloudAPI().adjust)

    def carry_out(self, cell, instance, request, call):
        task.take(cell, instance, request.token)
        action.start(cell, instance)
        try:
            return call(cell, instance, request)
        except Exception:
            if not task.give_back(cell, instance, request.token):
                raise

    def status(self):
        return self.api.api_get(
            '/os-xloud-adjust/' + self.server['id']).body['xloud_status']

    def assert_refused(self, text, *args, **kwargs):
        before = self.books(self.server)
        charged = self.allocated(self.server['id'])
        error = self.assertRaises(
            (exception.ElasticConflict, exception.ElasticNoRoom),
            self.adjust, *args, **kwargs)
        self.assertIn(text, error.format_message())
        self.assertEqual(before, self.books(self.server))
        self.assertEqual(charged, self.allocated(self.server['id']))
        self.assert_idle()

    def assert_idle(self):
        self.assertIsNone(self.instance(self.server).task_state)

    def assert_books(self, desired, boot, charge=None, held=None,
                     condition=None, host='host1'):
        """What is known, charged and held; at rest what follows is charged."""
        instance = self.instance(self.server)
        held = held or desired
        self.assertEqual(desired, size.desired(instance), 'desired')
        self.assertEqual(boot, size.boot(instance), 'boot')
        self.assertEqual(held, self.guest.held, 'held')
        self.assertEqual(condition, (notes.outcome(instance) or (None,))[0])
        self.assert_charged(
            self.server, charge or size.largest(desired, boot, held), host)
        self.assert_idle()

    def wait(self, seconds=SETTLE_TIMEOUT):
        """Let time pass for elastic servers, and for nothing else."""
        self.passed += seconds
        self.set_clock(seconds)

    def set_clock(self, seconds):
        """Set it forward, or back."""
        self.later += datetime.timedelta(seconds=seconds)
