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

"""A nova-compute that dies at each moment of a change."""

import contextlib
import traceback
from unittest import mock

import fixtures
import oslo_messaging as messaging
from testtools import content

from nova.compute import vm_states
from nova.db.main import api as db
from nova.scheduler.client import report
from nova.tests.fixtures import notifications
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import scripted
from nova.xloud import action
from nova.xloud import noted
from nova.xloud import size
from nova.xloud import task

GROWN = size.Size(6, 6144)


class Killed(BaseException):
    """The process is no more."""


class Process:
    """The compute service, as far as others see what it does."""

    def __init__(self):
        # None: for ever.
        self._lives_for = None
        self._is_inside = False
        # What it did.
        self.steps = []

    def run(self, lives_for, work):
        """Work until that many steps are done.

        :returns: the Killed that ended it, None if it did all
        """
        self.steps = []
        self._lives_for = lives_for
        try:
            work()
        except Killed as killed:
            return killed
        self._lives_for = None

    def is_replaced(self):
        self._lives_for = None

    @contextlib.contextmanager
    def step(self, name):
        """Something that happens wholly or not at all."""
        if self._is_inside:
            yield
            return
        if self._lives_for is not None and (
                len(self.steps) >= self._lives_for):
            raise Killed(name)
        self._is_inside = True
        try:
            yield
        finally:
            self._is_inside = False
            self.steps.append(name)

    @contextlib.contextmanager
    def elsewhere(self):
        """Something that another process does."""
        self._is_inside = True
        try:
            yield
        finally:
            self._is_inside = False


class MortalDriver(scripted.ScriptedFakeDriver):

    process = Process()

    def set_elastic_guest(self, instance, target, boot):
        """One thing after the other, in the order of the contract."""
        guest = self.guests[instance.uuid]
        target = guest.whole(target)
        if self._is_running(instance.uuid):
            fewer = min(guest.held.vcpus, target.vcpus)
            for step in (guest.held._replace(vcpus=fewer),
                         target._replace(vcpus=fewer), target):
                if step != guest.target:
                    with self.process.step('guest'):
                        guest.ask(step)
        if guest.config != boot:
            with self.process.step('config'):
                guest.config = boot


class KilledTestCase(adjust_base.AdjustTestCase):

    compute_driver = 'fake.MortalDriver'

    def setUp(self):
        self.process = Process()
        for name, value in (
                ('nova.virt.fake.MortalDriver', MortalDriver),
                (__name__ + '.MortalDriver.process', self.process)):
            self.useFixture(fixtures.MonkeyPatch(name, value))
        super().setUp()
        for owner, name in (
                (report.SchedulerReportClient, 'post'),
                (report.SchedulerReportClient, 'put'),
                (report.SchedulerReportClient, 'delete'),
                (notifications.FakeNotifier, '_notify')):
            self.make_mortal(owner, name)
        self.make_transactions_mortal()
        self.addCleanup(self.process.is_replaced)

    def make_mortal(self, owner, name):
        real = getattr(owner, name)

        def mortal(*args, **kwargs):
            with self.process.step(name):
                return real(*args, **kwargs)

        self.useFixture(fixtures.MockPatchObject(owner, name, mortal))

    def make_transactions_mortal(self):
        managers = type(db.context_manager)
        real = managers.writer.fget

        def writer(manager):
            made = real(manager)
            using = made.using

            @contextlib.contextmanager
            def mortal(ctxt):
                with self.process.step('transaction'), using(ctxt) as session:
                    yield session

            made.using = mortal
            return made

        self.useFixture(fixtures.MockPatchObject(
            managers, 'writer', property(writer)))

    def change(self, target, **kwargs):
        """Adjust in this thread, which is the compute service."""
        endpoint = self.compute.manager.additional_endpoints[-1]

        def call(context, instance, request):
            try:
                return endpoint.adjust(
                    context, instance.uuid, request._asdict())
            except messaging.ExpectedException as expected:
                raise expected.exc_info[1]

        self.adjust(*target, call=call, **kwargs)

    def carry_out(self, cell, instance, request, call):
        # Only the compute service dies.
        with self.process.elsewhere():
            task.take(cell, instance, request.token)
            action.start(cell, instance)
        try:
            return call(cell, instance, request)
        except Exception:
            with self.process.elsewhere():
                if not task.give_back(cell, instance, request.token):
                    raise

    def check_each_step(self, prepare, work, check, meanwhile=None, least=3):
        """Die before each step of some work.

        :param prepare: brings the server to where the work begins
        :param meanwhile: what the guest does while the service is dead
        :param check: of what has become of it, at rest
        :param least: of how many steps it must have died
        """
        number = 0
        while True:
            prepare()
            self.check_charged()
            killed = self.process.run(number, work)
            self.explain(number, killed)
            self.check_charged()
            if killed is None:
                break
            if meanwhile:
                meanwhile()
                self.check_charged()
            self.come_back()
            self.reconcile()
            check()
            number += 1
        check()
        self.assertGreaterEqual(number, least)

    def explain(self, number, killed):
        """Show with a failure when and where it died."""
        where = ''.join(traceback.format_exception(killed)) if killed else ''
        self.addDetail('killed', content.text_content(
            'after %d: %s\n%s' % (number, self.process.steps, where)))

    def come_back(self):
        # The dead one cannot even stop in order.
        with mock.patch.object(self.compute, 'stop'):
            dead = self.compute
            dead.rpcserver.stop()
            dead.rpcserver.wait()
            self.process.is_replaced()
            self.compute = self.restart_compute_service(dead)
        self.computes['host1'] = self.compute
        self.check_charged()
        self.assert_idle()

    def check_charged(self):
        """No less is charged than is held, nor than a start would give."""
        needed = self.guest.config
        if self.instance(self.server).vm_state == vm_states.ACTIVE:
            needed = size.largest(needed, self.guest.held)
        for charged in (size.charged(self.instance(self.server)),
                        self.allocated(self.server['id'])['host1']):
            self.assertEqual(charged, size.largest(charged, needed))

    def check_at_rest(self, *outcomes, condition=None):
        """All of the books have one of these (desired, boot)."""
        instance = self.instance(self.server)
        desired, boot = size.desired(instance), size.boot(instance)
        self.assertIn((desired, boot), outcomes)
        self.assert_books(desired, boot, condition=condition)
        self.assertEqual(condition or noted.SETTLED,
                         noted.of(instance.system_metadata)[0])
        self.assertEqual(boot, self.guest.config)
