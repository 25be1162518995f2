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
from nova.xloud import notes
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import task

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

    def fail_to_grow(self):
        """The guest takes the memory and then refuses the vCPUs."""
        def refuse(guest, target, ask=scripted.Guest.ask):
            if target.vcpus > guest.held.vcpus:
                raise exception.ElasticGuestRefused(reason='by the test')
            ask(guest, target)

        with mock.patch.object(scripted.Guest, 'ask', refuse):
            error = self.assertRaises(
                exception.ElasticConflict, self.change, GROWN)
        self.assertIn('was undone', error.format_message())

    def become_partial(self, start=base.MINIMUM):
        """It has given up an earlier change."""
        self.guest.behaviour = scripted.OBEDIENT
        self.adjust(*start)
        self.guest.behaviour = scripted.LOST
        self.adjust(*GROWN, persist=False)
        self.wait()
        self.reconcile()
        self.guest.behaviour = scripted.OBEDIENT
        self.assert_books(start, start, condition='Partial')

    def test_it_is_away_for_longer_than_a_guest_has(self):
        """The guest has its time when somebody can ask it."""
        grown = base.MINIMUM._replace(vcpus=GROWN.vcpus)

        def stray():
            self.adjust(*base.MINIMUM)
            self.guest.behaviour = scripted.LOST
            self.guest.held = base.MINIMUM._replace(memory_mb=1024)
            self.reconcile()
            self.guest.behaviour = scripted.OBEDIENT
            self.assertTrue(notes.is_settling(self.instance(self.server)))

        def check():
            self.reconcile()
            sizes = situation.sizes_of(self.instance(self.server))
            self.assertIn(sizes.boot, (base.MINIMUM, grown))
            self.assertEqual(sizes.boot, sizes.desired)
            self.assert_charged(self.server, sizes.boot, 'host1')
            if sizes.boot == grown:
                # It was accepted.
                self.assertEqual(grown, self.guest.held)

        for prepare in (self.become_partial, stray):
            self.check_each_step(
                prepare, lambda: self.change((grown.vcpus,)), check,
                meanwhile=self.wait)
            self.check_at_rest((grown, grown))

    def test_undo_and_it_is_away_for_longer_than_a_guest_has(self):
        """What was refused does not happen."""
        start = size.Size(2, 4096)
        self.is_refused = True

        def look():
            known = task.of(self.instance(self.server))
            self.is_refused = known is not None and (
                known.state == task.REFUSED)
            self.wait()

        def check():
            self.reconcile()
            if self.is_refused:
                self.assertEqual(start, self.guest.held)
                self.assert_charged(self.server, start, 'host1')
            self.is_refused = True

        self.check_each_step(
            lambda: self.become_partial(start), self.fail_to_grow, check,
            meanwhile=look)

    def test_undo(self):
        start = size.Size(2, 4096)
        # Before it is undone it is what was asked for, and done later.
        self.check_each_step(
            lambda: self.adjust(*start), self.fail_to_grow,
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
