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

import hypothesis
from hypothesis import strategies as st

from nova import test
from nova.xloud import condition
from nova.xloud import decision as xloud_decision
from nova.xloud import guest as elastic_guest
from nova.xloud import memory
from nova.xloud import situation
from nova.xloud import size

NOW = datetime.datetime(2026, 1, 1, 12)
TIMEOUT = 300
RESERVE = 128
LONG_AGO = NOW - datetime.timedelta(seconds=TIMEOUT)
JUST_NOW = NOW - datetime.timedelta(seconds=TIMEOUT - 1)

MINIMUM = size.Size(1, 1024)
MAXIMUM = size.Size(8, 8192)


def fake_sizes(desired=MINIMUM, boot=MINIMUM, charged=None):
    return situation.Sizes(
        MINIMUM, MAXIMUM, desired, boot,
        charged or size.largest(desired, boot))


def fake_guest(held, used_mb=256, **kwargs):
    return elastic_guest.GuestState(**{
        'running': True, 'vcpus': held[0], 'memory_mb': held[1],
        'balloon_active': used_mb is not None, 'used_memory_mb': used_mb,
        'memory_pinned': False, **kwargs})


def decide(sizes, guest, changed_at=LONG_AGO, room=None, **kwargs):
    kwargs.setdefault('follows_start', changed_at == kwargs.get('started_at'))
    return xloud_decision.decide(situation.Situation(
        sizes, guest, NOW, TIMEOUT, RESERVE, changed_at, **kwargs), room)


@st.composite
def all_sizes(draw):
    """Books that are in order: desired and boot are charged."""
    def between(lowest, highest):
        return size.Size(*(draw(st.integers(low, high))
                           for low, high in zip(lowest, highest)))

    maximum = between((1, 1), (16, 1 << 16))
    minimum = between((1, 1), maximum)
    desired = between(minimum, maximum)
    boot = between(minimum, maximum)
    charged = between(size.largest(desired, boot), maximum)
    return situation.Sizes(minimum, maximum, desired, boot, charged)


@st.composite
def situations(draw):
    """Of servers that somebody has asked to change."""
    sizes = draw(all_sizes())
    if draw(st.booleans()):
        held = draw(st.sampled_from(
            [sizes.desired, sizes.boot, sizes.charged, sizes.maximum]))
    else:
        held = size.Size(draw(st.integers(1, sizes.maximum.vcpus)),
                         draw(st.integers(1, sizes.maximum.memory_mb)))
    guest = fake_guest(
        held, draw(st.none() | st.integers(0, held.memory_mb)),
        memory_pinned=draw(st.booleans()),
        online_vcpus=draw(st.none() | st.integers(1, held.vcpus)))
    if draw(st.integers(0, 9)) == 0:
        guest = elastic_guest.NOT_RUNNING
    # A start is a change, too.
    started_at, changed_at = draw(st.sampled_from([
        (None, None), (None, LONG_AGO), (None, JUST_NOW),
        (LONG_AGO, LONG_AGO), (LONG_AGO, JUST_NOW), (JUST_NOW, JUST_NOW)]))
    return situation.Situation(
        sizes, guest, NOW, TIMEOUT, RESERVE, changed_at, started_at,
        is_config_current=draw(st.booleans()), is_start=draw(st.booleans()),
        follows_start=changed_at == started_at,
        offline=draw(st.sampled_from([None, 'so'])),
        outcome=draw(st.sampled_from([
            None, (condition.PARTIAL, 'so'),
            (condition.OVERCOMMITTED, 'so')])))


def held_by(known):
    """What must be charged: fixed dimensions always are, in full."""
    sizes, guest = known.sizes, known.guest
    if not guest.running:
        return size.Size(0, 0)
    memory_mb = (sizes.maximum.memory_mb if guest.memory_pinned
                 else guest.memory_mb)
    return size.Size(guest.vcpus, memory_mb)


def covers(charge, held):
    return (charge.vcpus >= held.vcpus and
            charge.memory_mb + 1 >= held.memory_mb)


def is_start_window(known):
    outcome = known.outcome
    return known.is_start or (
        known.started_at == JUST_NOW and
        not (outcome and outcome[0] == condition.OVERCOMMITTED))


def do(known, decision):
    """The situation after a decision was carried out."""
    if known.is_start:
        known = known._replace(changed_at=NOW, started_at=NOW)
    return known._replace(
        sizes=known.sizes._replace(
            desired=decision.desired, charged=decision.charge),
        outcome=decision.outcome, offline=decision.offline, is_start=False,
        follows_start=known.follows_start and not decision.ends_start(known))


class PropertyTestCase(test.NoDBTestCase):

    @hypothesis.given(situations(), st.booleans())
    def test_books_stay_in_order(self, known, has_room):
        sizes = known.sizes
        decision = xloud_decision.decide(
            known, None if has_room else sizes.charged)
        self.assertEqual(
            size.largest(decision.charge, decision.desired, sizes.boot),
            decision.charge)
        self.assertEqual(
            decision.desired,
            size.largest(sizes.minimum, decision.desired))
        self.assertEqual(
            sizes.maximum, size.largest(sizes.maximum, decision.desired))

    @hypothesis.given(situations())
    def test_charged_covers_what_is_held(self, known):
        hypothesis.assume(not is_start_window(known))
        decision = xloud_decision.decide(known)
        self.assertTrue(covers(decision.charge, held_by(known)))

    @hypothesis.given(situations())
    def test_nothing_held_is_released(self, known):
        """Whatever is borne or has no room: what is charged of it stays."""
        decision = xloud_decision.decide(known)
        held = held_by(known)
        kept = size.Size(*map(min, zip(held, known.sizes.charged)))
        self.assertTrue(covers(decision.charge, kept))

    @hypothesis.given(situations())
    def test_nothing_is_claimed_while_a_guest_starts(self, known):
        hypothesis.assume(is_start_window(known))
        decision = xloud_decision.decide(known)
        charged = known.sizes.charged
        self.assertEqual(charged, size.largest(charged, decision.charge))

    @hypothesis.given(situations())
    def test_without_room_nothing_is_claimed(self, known):
        hypothesis.assume(known.guest.running)
        charged = known.sizes.charged
        decision = xloud_decision.decide(known, charged)
        self.assertEqual(charged, size.largest(charged, decision.charge))
        self.assertEqual(condition.OVERCOMMITTED, decision.outcome[0])

    @hypothesis.given(situations())
    def test_again_is_nothing_new(self, known):
        guest, sizes = known.guest, known.sizes
        # What it says of a guest below its minimum changes once more.
        hypothesis.assume(
            not guest.running or covers(guest.holds, sizes.minimum))
        decision = xloud_decision.decide(known)
        again = xloud_decision.decide(do(known, decision))
        self.assertEqual(decision[:2], again[:2])
        self.assertEqual(decision.outcome, again.outcome)
        self.assertEqual(decision.offline, again.offline)

    @hypothesis.given(situations())
    def test_what_was_carried_out_changes_nothing(self, known):
        """Once the guest has what it was asked for."""
        guest, sizes = known.guest, known.sizes
        decision = xloud_decision.decide(known)
        hypothesis.assume(
            not guest.running or covers(guest.holds, sizes.minimum))
        hypothesis.assume(decision.has_ended)
        after = do(known, decision)._replace(is_settling=False)
        again = xloud_decision.decide(after)
        self.assertEqual(again.drive is not None, again.changes(after))

    @hypothesis.given(situations())
    def test_a_settled_server_is_left_alone(self, known):
        sizes = known.sizes
        held = size.Size(*(
            high if low == high else number for number, low, high in zip(
                sizes.desired, sizes.minimum, sizes.maximum)))
        guest = fake_guest(held)
        sizes = sizes._replace(
            desired=held, charged=size.largest(held, sizes.boot))
        known = known._replace(
            sizes=sizes, guest=guest, is_start=False, outcome=None,
            offline=None, is_config_current=True)
        decision = xloud_decision.decide(known)
        self.assertEqual(
            (held, sizes.charged, None, None, True, None), decision)
        self.assertFalse(
            decision.changes(known._replace(is_settling=False)))
        self.assertTrue(decision.changes(known))

    @hypothesis.given(situations())
    def test_no_memory_in_use_is_taken(self, known):
        guest = known.guest
        # A start gives what it gives, and goes to its boot size without a
        # reserve.
        hypothesis.assume(
            not known.is_start and known.started_at != JUST_NOW)
        decision = xloud_decision.decide(known)
        if decision.drive is None or decision.drive.memory_mb is None:
            return
        # What it holds is rounded up from KiB.
        taken = decision.drive.memory_mb + memory.ROUNDING_MB < (
            guest.memory_mb)
        if guest.used_memory_mb is None:
            self.assertFalse(taken)
            return
        if taken:
            # What it uses is never quite the same.
            self.assertGreaterEqual(
                decision.drive.memory_mb,
                guest.used_memory_mb + RESERVE // 2)

    @hypothesis.given(situations())
    def test_a_guest_is_only_driven_in_its_time(self, known):
        decision = xloud_decision.decide(
            known._replace(is_config_current=True))
        desired = known.sizes.desired
        if decision.drive is None:
            return
        self.assertFalse(known.is_start)
        if decision.ends_start(known):
            self.assertGreaterEqual(
                decision.drive.memory_mb, held_by(known).memory_mb)
        elif known.changed_at != JUST_NOW:
            # It is given up.
            self.assertNotEqual(desired.memory_mb, decision.desired.memory_mb)
            self.assertEqual(decision.desired.vcpus, decision.drive.vcpus)

    @hypothesis.given(situations())
    def test_a_guest_that_is_given_up_is_asked_for_what_it_holds(
            self, known):
        """Nothing goes on asking it for what it did not do."""
        known = known._replace(
            changed_at=LONG_AGO, started_at=None, is_start=False,
            follows_start=False)
        if not known.guest.running:
            return
        decision = xloud_decision.decide(known)
        if decision.desired.memory_mb != known.sizes.desired.memory_mb:
            self.assertEqual(
                max(decision.desired.memory_mb,
                    held_by(known).memory_mb),
                decision.drive.memory_mb)

    @hypothesis.given(situations())
    def test_what_a_start_may_give_is_charged(self, known):
        """Until the hypervisor's configuration has the boot size."""
        decision = xloud_decision.decide(
            known._replace(is_config_current=False))
        self.assertEqual(decision.charge, size.largest(
            decision.charge, known.sizes.charged))
        if not known.is_start:
            self.assertIsNotNone(decision.drive)

    @hypothesis.given(situations())
    def test_users_are_told_what_was_decided(self, known):
        # A start is noted, and then is no longer one.
        hypothesis.assume(not known.is_start)
        hypothesis.assume(known.is_config_current)
        decision = xloud_decision.decide(known)
        found, _reason = condition.evaluate(known._replace(
            sizes=known.sizes._replace(
                desired=decision.desired, charged=decision.charge),
            outcome=decision.outcome, offline=decision.offline))
        if decision.outcome:
            self.assertIn(found, (decision.outcome[0], condition.IN_PROGRESS))
        elif decision.offline:
            self.assertIn(found, (condition.PARTIAL, condition.IN_PROGRESS))
        else:
            self.assertIn(found, (condition.SETTLED, condition.IN_PROGRESS))
        if known.changed_at != JUST_NOW:
            self.assertNotEqual(condition.IN_PROGRESS, found)


class DecideTestCase(test.NoDBTestCase):

    def test_a_stopped_server_is_charged_its_boot_size(self):
        sizes = fake_sizes(desired=size.Size(4, 4096), boot=size.Size(2, 2048))
        decision = decide(sizes, elastic_guest.NOT_RUNNING, outcome=(
            condition.PARTIAL, 'earlier'))
        self.assertEqual(
            (sizes.boot, sizes.boot, None, None, True, None), decision)

    def test_a_start_forgets_what_did_not_persist(self):
        sizes = fake_sizes(desired=size.Size(4, 4096), boot=size.Size(2, 2048))
        decision = decide(sizes, fake_guest(sizes.boot), is_start=True)
        self.assertEqual(
            (sizes.boot, sizes.boot, None, None, True, None), decision)

    def test_a_start_holds_the_maximum_for_a_while(self):
        starting = fake_guest((1, 8192), used_mb=None)
        for kwargs in ({'is_start': True},
                       {'changed_at': JUST_NOW, 'started_at': JUST_NOW}):
            self.assertEqual((MINIMUM, MINIMUM, None, None, False, None),
                             decide(fake_sizes(), starting, **kwargs))

    def test_a_change_gives_a_start_no_more_time(self):
        """Nobody holds the maximum for free by changing a server often."""
        held = size.Size(1, 8192)
        decision = decide(
            fake_sizes(), fake_guest(held, used_mb=None),
            changed_at=JUST_NOW, started_at=LONG_AGO)
        self.assertEqual((MINIMUM, held), decision[:2])

    def test_no_balloon_driver_comes(self):
        held = size.Size(1, 8192)
        decision = decide(fake_sizes(), fake_guest(held, used_mb=None),
                          started_at=LONG_AGO)
        # One that comes later does what it was asked for at the start.
        self.assertEqual((held, held, None), decision[:3])
        noted, reason = decision.outcome
        self.assertEqual(condition.PARTIAL, noted)
        self.assertIn('balloon driver', reason)

    def test_the_balloon_driver_comes_late(self):
        sizes = fake_sizes(desired=size.Size(1, 8192))
        decision = decide(sizes, fake_guest(MINIMUM),
                          outcome=(condition.PARTIAL, 'no driver'))
        self.assertEqual(
            (MINIMUM, MINIMUM, MINIMUM, None, True, None), decision)

    def test_a_late_balloon_driver_takes_nothing_that_is_needed(self):
        """Its guest has worked with all of the maximum until then."""
        sizes, held = fake_sizes(desired=size.Size(1, 8192)), (1, 6400)
        for room in (None, MINIMUM):
            # It goes on to the boot size, if it can live there.
            self.assertIsNone(decide(
                sizes, fake_guest(held, MINIMUM.memory_mb), room=room,
                started_at=LONG_AGO).drive)
            # Also if it has been looked at there before.
            for desired in (size.Size(1, 8192), size.Size(1, 6400)):
                decision = decide(
                    sizes._replace(desired=desired), fake_guest(held, 6300),
                    room=room, started_at=LONG_AGO)
                self.assertEqual(6400, decision.drive.memory_mb)
        # With room for a part of it, and for no vCPU.
        self.assertEqual((2, 6400), decide(
            fake_sizes(desired=size.Size(2, 4096)),
            fake_guest((2, 6400), 6300), room=size.Size(1, 4096),
            started_at=LONG_AGO).drive)

    def test_a_late_balloon_driver_has_time_again(self):
        """There was room for a part of the maximum only."""
        overcommitted = condition.OVERCOMMITTED, 'no room'
        sizes = fake_sizes(desired=size.Size(1, 4096))
        for held, drive in ((MINIMUM, None), ((1, 3072), MINIMUM)):
            decision = decide(
                sizes, fake_guest(held), changed_at=JUST_NOW,
                started_at=LONG_AGO, outcome=overcommitted,
                follows_start=True)
            self.assertEqual((MINIMUM, size.Size(*held)), decision[:2])
            self.assertEqual(drive, decision.drive)

    def test_no_room_for_what_is_held(self):
        guest = fake_guest((1, 8192), used_mb=None)
        decision = decide(fake_sizes(), guest, room=MINIMUM)
        self.assertEqual((MINIMUM, MINIMUM, None), decision[:3])
        self.assertEqual(condition.OVERCOMMITTED, decision.outcome[0])
        # Another change does not buy more time.
        again = decide(fake_sizes(), guest, changed_at=JUST_NOW,
                       outcome=decision.outcome)
        self.assertEqual(size.Size(1, 8192), again.charge)

    def test_a_late_vcpu_is_charged_until_it_leaves(self):
        asked = fake_sizes(desired=size.Size(1, 1024),
                           charged=size.Size(4, 1024))
        decision = decide(asked, fake_guest((4, 1024)), changed_at=JUST_NOW)
        self.assertEqual((size.Size(1, 1024), size.Size(4, 1024)),
                         decision[:2])
        self.assertEqual(size.Size(1, 1024), decision.drive)
        left = decide(asked, fake_guest((3, 1024)), changed_at=JUST_NOW)
        self.assertEqual(size.Size(3, 1024), left.charge)
        self.assertFalse(left.is_reached)
        followed = decide(asked, fake_guest((1, 1024)), changed_at=JUST_NOW)
        self.assertTrue(followed.is_reached)

    def test_a_guest_refuses_to_shrink(self):
        asked = fake_sizes(desired=size.Size(1, 1024),
                           charged=size.Size(4, 1024))
        decision = decide(asked, fake_guest((4, 1024)))
        self.assertEqual((size.Size(4, 1024), size.Size(4, 1024), None),
                         decision[:3])
        self.assertIn('did not give back vCPUs', decision.outcome[1])

    def test_a_guest_refuses_to_grow(self):
        asked = fake_sizes(desired=size.Size(4, 4096))
        decision = decide(asked, fake_guest(MINIMUM))
        # Nor does it get it later, when nobody expects it any more.
        self.assertEqual((MINIMUM, MINIMUM, MINIMUM), decision[:3])
        self.assertIn('did not take vCPUs', decision.outcome[1])
        # The reason stays although nothing is asked for any more.
        self.assertEqual(
            decision.outcome,
            decide(fake_sizes(), fake_guest(MINIMUM),
                   outcome=decision.outcome).outcome)

    def test_a_vcpu_leaves_after_it_was_given_up(self):
        before, left = size.Size(3, 1024), size.Size(2, 1024)
        decision = decide(
            fake_sizes(desired=before), fake_guest(left),
            outcome=(condition.PARTIAL, 'It did not give back vCPUs.'))
        found, reason = decision.outcome
        self.assertEqual((left, condition.PARTIAL), (decision.desired, found))
        self.assertIn('had %s' % (before,), reason)
        self.assertNotIn('did not take', reason)

    def test_one_mib_of_rounding_is_reached(self):
        for memory_mb in (1023, 1025):
            self.assertEqual(
                (MINIMUM, MINIMUM, None, None, True, None),
                decide(fake_sizes(), fake_guest((1, memory_mb))))

    def test_vcpus_that_are_not_online(self):
        sizes = fake_sizes(desired=size.Size(4, 1024))
        guest = fake_guest(sizes.desired, online_vcpus=2)

        def offline(guest=guest, **kwargs):
            decision = decide(sizes, guest, **kwargs)
            return decision.offline, decision.is_reached

        self.assertEqual((None, False), offline(changed_at=JUST_NOW))
        reason, is_reached = offline()
        self.assertIn('has 4 vCPUs and uses 2', reason)
        self.assertTrue(is_reached)
        # A guest that is paused can do nothing about it, and is no better.
        self.assertEqual((reason, True), offline(
            is_held_up=True, offline=reason))
        self.assertEqual((None, False), offline(is_held_up=True))
        for online in 4, None:
            self.assertEqual((None, True), offline(
                guest._replace(online_vcpus=online), offline=reason))

    def test_memory_of_a_passed_through_device_is_held(self):
        guest = fake_guest(MINIMUM, memory_pinned=True)
        decision = decide(fake_sizes(), guest)
        self.assertEqual(size.Size(1, 8192), decision.charge)
        self.assertIn('passed-through', decision.outcome[1])

    def test_a_clock_that_is_ahead(self):
        ahead = NOW + datetime.timedelta(days=1)
        held = fake_guest((4, 1024))
        self.assertEqual(
            4, decide(fake_sizes(), held, changed_at=ahead).charge.vcpus)

    def test_what_is_needed_is_not_taken(self):
        """QEMU would go on taking it until it is asked for something else."""
        asked = fake_sizes(charged=size.Size(1, 4096))
        held = size.Size(1, 3000)
        busy = fake_guest(held, used_mb=2000)
        decision = decide(asked, busy, changed_at=JUST_NOW)
        self.assertEqual((MINIMUM, held), (decision.desired, decision.drive))

        given_up = decide(asked, busy)
        self.assertEqual((held, held, held), given_up[:3])
        self.assertIn('It needs 2128 MiB', given_up.outcome[1])
        # Once that is recorded nothing is left to do.
        self.assertIsNone(decide(
            fake_sizes(desired=held), busy, outcome=given_up.outcome).drive)

    def test_a_guest_that_boots_gets_what_it_needs(self):
        """It boots with less than it needs for that."""
        def drive(held_mb, used_mb):
            return decide(
                fake_sizes(), fake_guest((1, held_mb), used_mb=used_mb),
                changed_at=JUST_NOW, started_at=JUST_NOW)

        squeezed = drive(1500, 1490)
        self.assertEqual((MINIMUM, MINIMUM, size.Size(1, 1618)),
                         squeezed[:3])
        self.assertEqual(MINIMUM, drive(1618, 400).drive)

        # What it did not give back by then it has, and the reason says so.
        later = decide(fake_sizes(), fake_guest((1, 1618), used_mb=1490))
        self.assertEqual((size.Size(1, 1618),) * 3, later[:3])
        self.assertIn('It needs 1618 MiB', later.outcome[1])
