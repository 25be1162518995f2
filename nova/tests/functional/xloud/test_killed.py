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

"""The compute service dies at every step of a change, and it heals.

A step is whatever leaves the process: a transaction of the database, a
request that changes Placement, a notification, each of the things that a
hypervisor is asked for in turn. The service is killed before the first,
before the second and so on, until it does all of them. A dead service does
nothing more: not what its except and finally clauses say either.

There is nothing between these deaths: right after a step is right before the
next one, and reading changes nothing.
"""

from unittest import mock

from nova import exception
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import killed_base
from nova.tests.functional.xloud import scripted
from nova.xloud import size

GROWN = killed_base.GROWN


class KilledInAdjustTestCase(killed_base.KilledTestCase):

    def check(self, start, target):
        self.check_each_step(
            lambda: self.adjust(*start), lambda: self.change(target),
            lambda: self.check_at_rest((start, start), (target, target)),
            least=9)
        self.check_at_rest((target, target))

    def test_grow(self):
        self.check(base.MINIMUM, GROWN)

    def test_shrink(self):
        self.check(GROWN, base.MINIMUM)

    def test_grow_and_shrink(self):
        self.check(size.Size(2, 6144), size.Size(6, 2048))

    def test_late(self):
        """The guest does it while there is no compute service."""
        def late():
            self.guest.behaviour = scripted.OBEDIENT
            self.guest.follow()

        def prepare():
            late()
            self.adjust(*GROWN)
            self.guest.behaviour = scripted.LATE

        def check():
            late()
            self.reconcile()
            self.check_at_rest(
                (GROWN, GROWN), (base.MINIMUM, base.MINIMUM))

        self.check_each_step(
            prepare, lambda: self.change(base.MINIMUM), check,
            meanwhile=late, least=6)

    def test_only_what_the_next_start_gives(self):
        """The guest has it already, the persistent configuration not yet."""
        for start, target in ((base.MINIMUM, GROWN), (GROWN, base.MINIMUM)):
            def prepare():
                self.adjust(*start)
                self.adjust(*target, persist=False)

            self.check_each_step(
                prepare, lambda: self.change(target),
                lambda: self.check_at_rest((target, start), (target, target)))
            self.check_at_rest((target, target))

    def test_shut_off(self):
        self._stop_server(self.server)
        for start, target in ((base.MINIMUM, GROWN), (GROWN, base.MINIMUM)):
            self.check_each_step(
                lambda: self.adjust(*start), lambda: self.change(target),
                lambda: self.check_shut_off(start, target), least=6)

    def check_shut_off(self, *outcomes):
        instance = self.instance(self.server)
        boot = size.boot(instance)
        self.assertIn(boot, outcomes)
        self.assertEqual(boot, size.desired(instance))
        self.assertEqual(boot, self.guest.config)
        self.assert_charged(self.server, boot, 'host1')

    def test_undo(self):
        """The guest takes the memory and then refuses the vCPUs."""
        start = size.Size(2, 4096)

        def refuse(guest, target, ask=scripted.Guest.ask):
            if target.vcpus > guest.held.vcpus:
                raise exception.ElasticGuestRefused(reason='by the test')
            ask(guest, target)

        def work():
            with mock.patch.object(scripted.Guest, 'ask', refuse):
                error = self.assertRaises(
                    exception.ElasticConflict, self.change, GROWN)
            self.assertIn('was undone', error.format_message())

        # Before it is undone it is what was asked for, and done later.
        self.check_each_step(
            lambda: self.adjust(*start), work,
            lambda: self.check_at_rest((start, start), (GROWN, GROWN)),
            least=13)
        self.check_at_rest((start, start))


class KilledInReconcileTestCase(killed_base.KilledTestCase):

    def check(self, prepare, *outcomes, condition=None, **kwargs):
        def check():
            self.check_at_rest(*outcomes, condition=condition)
            self.reconcile()
            self.check_at_rest(*outcomes, condition=condition)

        self.check_each_step(prepare, self.reconcile, check, **kwargs)

    def shrink(self, behaviour):
        self.guest.behaviour = scripted.OBEDIENT
        self.adjust(*GROWN)
        self.guest.behaviour = behaviour
        self.adjust(*base.MINIMUM)

    def test_release(self):
        def prepare():
            self.shrink(scripted.LATE)
            self.guest.behaviour = scripted.OBEDIENT
            self.guest.follow()

        self.check(prepare, (base.MINIMUM, base.MINIMUM))

    def test_drive(self):
        def prepare():
            self.shrink(scripted.LOST)
            self.guest.behaviour = scripted.OBEDIENT
            # The request is made again.
            self.guest.target = GROWN

        self.check(prepare, (base.MINIMUM, base.MINIMUM), least=5)

    def test_refused(self):
        def prepare():
            self.shrink(scripted.LOST)
            self.wait()

        def check():
            # One that has not judged it yet asks it again for that long.
            self.wait()
            self.reconcile()
            self.check_at_rest((GROWN, base.MINIMUM), condition='Partial')

        self.check_each_step(prepare, self.reconcile, check, least=1)

    def test_start(self):
        def prepare():
            self.adjust(*base.MINIMUM)
            self.adjust(*GROWN, persist=False)
            self.guest.start(base.MINIMUM)

        self.check(prepare, (base.MINIMUM, base.MINIMUM))
