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

"""Books that are older than Placement, or Placement older than the books.

A database is restored from a backup that is some minutes old, and nova-compute
goes on.
"""

from unittest import mock

import fixtures
from keystoneauth1 import exceptions as ks_exc

from nova.db.main import api as db
from nova.db.main import models
from nova import exception
from nova import objects
from nova.scheduler.client import report
from nova.tests.functional.xloud import adjust_base
from nova.tests.functional.xloud import base
from nova.tests.functional.xloud import capacity_base
from nova.tests.functional.xloud import scripted
from nova.xloud import allocation
from nova.xloud import guest as elastic_guest
from nova.xloud import memo
from nova.xloud import noted
from nova.xloud import notes
from nova.xloud import size

GROWN = adjust_base.GROWN


class RestoredTestCase(capacity_base.CapacityBase):

    def be_verified(self):
        """Nothing is left to do, and nova-compute knows that."""
        self.wait()
        for _ in range(3):
            self.reconcile()

    def backup(self):
        self.be_verified()
        with self.cell() as cell:
            return _read(cell, self.server['id'])

    def restore(self, saved):
        self.be_verified()
        with self.cell() as cell:
            _write(cell, self.server['id'], *saved)
        # The audit of the host counts what it finds.
        self._run_periodics()

    def assert_less_in_placement(self, allocated):
        """The status of the server says so, as the list does."""
        self.assertIn('has %s in Placement' % (allocated,), notes.outcome(
            self.instance(self.server))[1])
        status = self.status()
        self.assertEqual('Overcommitted', status['condition'])
        self.assertIn('has %s in Placement' % (allocated,), status['reason'])

    def test_the_next_start_gives_more(self):
        self.adjust(*GROWN)
        self.adjust(*base.MINIMUM, persist=False)
        saved = self.backup()
        self.adjust(*base.MINIMUM)
        self.restore(saved)
        self.reconcile()
        self.assert_books(base.MINIMUM, GROWN)

    def test_a_server_that_has_shrunk(self):
        """It grows again, and never before that is allocated."""
        self.adjust(*GROWN)
        saved = self.backup()
        self.adjust(*base.MINIMUM)
        self.restore(saved)
        self.reconcile()
        self.assert_books(GROWN, GROWN)

    def test_a_server_that_has_shrunk_on_a_host_that_is_full(self):
        self.adjust(*GROWN)
        saved = self.backup()
        self.adjust(*base.MINIMUM)
        other = self.fill(28672)
        self.restore(saved)
        for _ in range(3):
            self.reconcile()
        # The others have the room.
        self.assertEqual(base.MINIMUM, self.guest.held)
        self.assert_less_in_placement(size.Size(6, 3584))
        self._delete_server(other)
        self.reconcile()
        self.wait()
        self.reconcile()
        self.assert_charged(self.server, GROWN, 'host1')

    def test_placement_has_less_on_a_host_that_is_full(self):
        """Who holds more than is allocated can give it back."""
        self.adjust(*GROWN)
        self.be_verified()
        self.change_allocation(VCPU=2, MEMORY_MB=2048)
        self.fill(28672)
        self.assert_refused('is not what it is charged', 8)
        # Step by step, and for now
        self.adjust(5)
        self.reconcile()
        self.assert_less_in_placement(size.Size(5, 3584))
        self.adjust(memory_mb=4096, persist=False)
        self.adjust(*base.MINIMUM)
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_placement_has_less_than_a_guest_is_on_its_way_to(self):
        """To ask it for less than that is to let it grow."""
        self.guest.behaviour = scripted.LOST
        self.adjust(*GROWN)
        self.change_allocation(VCPU=2, MEMORY_MB=2048)
        self.fill(28672)
        self.guest.behaviour = scripted.OBEDIENT
        self.assert_refused('is not what it is charged', 5, 5120)
        self.adjust(*base.MINIMUM)
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_placement_has_nothing_on_a_host_that_is_full(self):
        """It gets what fits, and can give back the rest."""
        self.adjust(*GROWN)
        self.be_verified()
        self._delete_server_allocations(self.server['id'])
        self.fill(28672)
        self.assert_refused('is not what it is charged', *base.MINIMUM)
        for _ in range(2):
            self.reconcile()
        self.assertEqual({'host1': size.Size(6, 3584)},
                         self.allocated(self.server['id']))
        self.assert_less_in_placement(size.Size(6, 3584))
        self.adjust(*base.MINIMUM)
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_placement_has_less_of_a_server_that_is_shut_off(self):
        """Its next start would take what is not allocated."""
        self.adjust(*GROWN)
        self.be_verified()
        self._stop_server(self.server)
        self.change_allocation(VCPU=2, MEMORY_MB=2048)
        other = self.fill(28672)
        self.wait(memo.KNOWN_SECONDS)
        for _ in range(3):
            self.reconcile()
        self.assert_less_in_placement(size.Size(6, 3584))
        output = self.stdlog.logger.output
        self.assertNotIn('Not reconciled', output)
        self.assertEqual(1, output.count('has no room for more'))
        self._delete_server(other)
        for _ in range(2):
            self.wait()
            self.reconcile()
        self.assert_charged(self.server, GROWN, 'host1')
        self.assertIsNone(notes.outcome(self.instance(self.server)))
        self.assertEqual('Settled', self.status()['condition'])

    def lose_a_part(self):
        """Of its allocation, which others get; a pass has noticed that."""
        self.adjust(*GROWN)
        self.be_verified()
        self.change_allocation(VCPU=2, MEMORY_MB=2048)
        self.other = self.fill(28672)
        self.wait(memo.KNOWN_SECONDS)
        self.reconcile()
        self.assert_less_in_placement(size.Size(6, 3584))

    def look_at_it(self):
        """Not in a pass, which asks Placement about all servers."""
        self.compute.manager._elastic.handle_event(
            elastic_guest.GuestChangedEvent(self.server['id']))

    def test_placement_has_less_and_an_event_comes(self):
        """It says nothing about the allocation."""
        self.lose_a_part()
        for _ in range(3):
            self.look_at_it()
            self.assert_less_in_placement(size.Size(6, 3584))
            self.reconcile()
        # A guest can cause many of them.
        self.assertEqual(0, self.count_questions(3, self.look_at_it))
        self.wait()
        with fixtures.MonkeyPatch('nova.xloud.allocation.charges', mock.Mock(
                side_effect=ks_exc.ConnectFailure('by the test'))):
            self.look_at_it()
        self.assert_less_in_placement(size.Size(6, 3584))
        self.assertEqual(1, self.stdlog.logger.output.count(
            'has no room for more'))
        self._delete_server(self.other)
        self.wait(3600)
        self.look_at_it()
        self.assert_books(GROWN, GROWN)

    def test_placement_has_less_of_a_guest_that_moves_its_balloon(self):
        """That costs no more than where all of it is allocated."""
        self.lose_a_part()
        saved, save = [], objects.Instance.save

        def count(instance, *args, **kwargs):
            saved.append(instance)
            save(instance, *args, **kwargs)

        self.useFixture(fixtures.MockPatchObject(
            objects.Instance, 'save', count))
        for memory_mb in 20 * [3072, 6144]:
            self.guest.held = size.Size(6, memory_mb)
            self.look_at_it()
            self.wait(9)
        self.assertLessEqual(len(saved), 8)
        self.assert_less_in_placement(size.Size(6, 3584))

    def test_placement_has_still_less(self):
        """That is noted at once, also if its guest has made changes."""
        self.lose_a_part()
        for memory_mb in (3072, 6144, 3072, 6144):
            self.guest.held = size.Size(6, memory_mb)
            self.reconcile()
        for before, memory_mb in ((3584, 3000), (3000, 2500)):
            self.change_allocation(VCPU=6, MEMORY_MB=memory_mb)
            self.fill(before - memory_mb)
            self.reconcile()
            self.assert_less_in_placement(size.Size(6, memory_mb))

    def test_placement_has_less_and_does_not_say_what(self):
        """It has enough for what the server gives back to."""
        self.lose_a_part()
        with fixtures.MonkeyPatch('nova.xloud.allocation.charges', mock.Mock(
                side_effect=ks_exc.ConnectFailure('by the test'))):
            self.adjust(*base.MINIMUM)
            self.assert_books(base.MINIMUM, base.MINIMUM)
            self.assertEqual('Settled', self.status()['condition'])

    def test_placement_has_less_of_a_guest_that_also_holds_more(self):
        """What it holds does not hide what it lacks, nor the other way."""
        self.lose_a_part()
        self.guest.behaviour = scripted.LOST
        before = self.books(self.server)
        for memory_mb in (8192, 6144, 8192):
            self.guest.held = size.Size(6, memory_mb)
            self.look_at_it()
            self.assert_less_in_placement(size.Size(6, 3584))
            self.wait(9)
        self.compute = self.restart_compute_service(self.compute)
        for look in 2 * (self.look_at_it, self.reconcile):
            look()
            self.assert_less_in_placement(size.Size(6, 3584))
            self.wait(7200)
        self.assertNotIn('Not reconciled', self.stdlog.logger.output)
        books = self.books(self.server)
        # No look says something else than the one before.
        self.assertLessEqual(self.count_questions(9, self.look_at_it), 1)
        self.assertEqual(books, self.books(self.server))
        self.assertEqual(before[:2], books[:2])
        self._delete_server(self.other)
        self.wait(7200)
        self.look_at_it()
        self.assert_charged(self.server, size.Size(6, 8192), 'host1')
        self.assertNotEqual('Overcommitted', self.status()['condition'])

    def test_a_guest_that_moves_its_balloon_on_a_host_without_room(self):
        """Placement has its charge, and is not asked for that each time."""
        self.adjust(4, 4096)
        self.be_verified()
        self.fill(26624)
        self.guest.behaviour = scripted.LOST

        def move():
            self.guest.held = size.Size(4, next(amounts))
            self.look_at_it()
            self.wait(9)

        for times, amounts in ((6, (8192, 8192)), (40, (8192, 3072)),
                               (40, (3072, 3500))):
            amounts = iter(times * amounts)
            self.assertLessEqual(self.count_questions(times, move), 1)

    def test_placement_has_less_of_a_server_that_starts(self):
        """Until its balloon driver loads, it holds more than its charge."""
        self.lose_a_part()
        self.driver.starts_with_balloon = False
        self._reboot_server(self.server, hard=True)
        for look in self.look_at_it, self.look_at_it, self.reconcile:
            look()
            self.assert_less_in_placement(size.Size(6, 3584))
        self.assertNotIn('Not reconciled', self.stdlog.logger.output)
        self.guest.load_balloon()
        for look in self.look_at_it, self.reconcile:
            look()
            self.assert_less_in_placement(size.Size(6, 3584))

    def test_placement_has_less_of_a_server_in_error(self):
        self.lose_a_part()
        for state in ('error', 'active'):
            self.admin_api.post_server_action(
                self.server['id'], {'os-resetState': {'state': state}})
            for _ in range(2):
                self.reconcile()
                self.assert_less_in_placement(size.Size(6, 3584))

    def test_placement_has_less_of_a_guest_that_gives_back_late(self):
        """It is asked again for less than it has, and never for more."""
        self.lose_a_part()
        self.guest.behaviour = scripted.LOST
        self.adjust(memory_mb=4096, persist=False)
        self.guest.behaviour = scripted.OBEDIENT
        self.reconcile()
        self.assertEqual(size.Size(6, 4096), self.guest.held)
        self.assert_less_in_placement(size.Size(6, 3584))
        self.guest.held = size.Size(6, 3072)
        # Also by a look that does not ask Placement
        self.look_at_it()
        self.assertEqual(size.Size(6, 3072), self.guest.held)
        self.wait()
        self.reconcile()
        self.assertEqual(size.Size(6, 3072), self.guest.held)

    def test_placement_has_less_of_a_guest_that_gives_back_and_takes(self):
        """What it gives back does not wait for what it may not take."""
        self.lose_a_part()
        self.guest.behaviour = scripted.LOST
        self.adjust(4)
        self.guest.behaviour = scripted.OBEDIENT
        self.guest.held = size.Size(6, 3072)
        self.reconcile()
        self.assertEqual(size.Size(4, 3072), self.guest.held)

    def test_placement_has_less_of_a_guest_that_stopped_reporting(self):
        """Its memory is left alone, and vCPUs it gives back only."""
        self.lose_a_part()
        self.guest.behaviour = scripted.LOST
        self.adjust(4, 4096)
        self.guest.behaviour = scripted.OBEDIENT
        self.guest.has_balloon = False
        self.reconcile()
        self.assertEqual(size.Size(4, 6144), self.guest.held)
        self.guest.held = size.Size(3, 6144)
        self.reconcile()
        self.assertEqual(size.Size(3, 6144), self.guest.held)

    def test_placement_has_less_and_a_configuration_is_to_be_written(self):
        """That takes nothing, and until then all of it stays charged."""
        self.lose_a_part()
        self.guest.held = size.Size(6, 3072)
        self.check_configuration()
        self.assertEqual(size.Size(6, 3072), self.guest.held)
        self._stop_server(self.server)
        self.check_configuration()
        self.adjust(*base.MINIMUM)
        self.assert_charged(self.server, base.MINIMUM, 'host1')

    def check_configuration(self):
        """It is written after a change of it was undone in vain."""
        def fail(instance, target, boot):
            self.guest.config = base.MINIMUM
            raise exception.HypervisorUnavailable(host='host1')

        with fixtures.MockPatchObject(
                self.driver, 'set_elastic_guest', fail):
            error = self.assertRaises(
                exception.ElasticConflict, self.adjust, *base.MINIMUM)
        self.assertIn('will undo the change', error.format_message())
        self.assertEqual(base.MINIMUM, self.guest.config)
        self.look_at_it()
        self.assertEqual(GROWN, self.guest.config)
        self.assert_less_in_placement(size.Size(6, 3584))

    def test_placement_has_nothing_and_no_room(self):
        """That is more than a lack of a part."""
        self.adjust(*GROWN)
        self.be_verified()
        self._delete_server_allocations(self.server['id'])
        others = [self.fill(28672), self.fill(3584)]
        self.wait(memo.KNOWN_SECONDS)

        def start():
            self.driver.starts_with_balloon = False
            self._reboot_server(self.server, hard=True)
            self.look_at_it()
            self.guest.load_balloon()
            self.look_at_it()

        for look in (self.reconcile, self.reconcile, self.look_at_it, start):
            look()
            self.assertEqual({}, self.allocated(self.server['id']))
            status = self.status()
            self.assertEqual(
                ('Overcommitted', 'The server is charged 6 vCPUs, 6144 MiB '
                 'and has no allocation of vCPUs and memory on its host.'),
                (status['condition'], status['reason']))
            self.assertEqual(
                (status['condition'], status['reason']),
                noted.of(self.instance(self.server).system_metadata))
        for other in others:
            self._delete_server(other)
        for _ in range(2):
            self.reconcile()
        self.assert_books(GROWN, GROWN)

    def count_questions(self, looks, look=None):
        """How often these ask Placement what is allocated.

        :param look: a pass by default
        """
        asked = mock.Mock(side_effect=allocation.charges)
        with fixtures.MonkeyPatch('nova.xloud.allocation.charges', asked):
            for _ in range(looks):
                (look or self.reconcile)()
        return asked.call_count

    def test_somebody_changes_an_allocation(self):
        """That is noticed, although the server stays as it is."""
        self.adjust(*GROWN)
        self.be_verified()
        for resources in ({'VCPU': 2, 'MEMORY_MB': 2048}, {'VCPU': 8}):
            self.change_allocation(**resources)
            self.assertEqual(0, self.count_questions(3))
            self.wait(memo.KNOWN_SECONDS)
            self.assertEqual(1, self.count_questions(1))
            self.assert_books(GROWN, GROWN)
            self.be_verified()

    def test_somebody_deletes_the_allocations_of_a_host(self):
        servers = [self.server, self.fill(4096)]
        self.be_verified()
        for server in servers:
            self._delete_server_allocations(server['id'])
        self.assertEqual(0, self.count_questions(3))
        self.wait(memo.KNOWN_SECONDS)
        self.assertEqual(1, self.count_questions(1))
        self.assert_books(base.MINIMUM, base.MINIMUM)
        self.assert_charged(servers[1], size.Size(2, 4096), 'host1')

    def test_placement_is_away_when_it_is_asked_again(self):
        self.be_verified()
        self.change_allocation(VCPU=1)
        self.wait(memo.KNOWN_SECONDS)
        with fixtures.MonkeyPatch('nova.xloud.allocation.charges', mock.Mock(
                side_effect=ks_exc.ConnectFailure('by the test'))):
            self.reconcile()
        self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_a_server_that_has_grown(self):
        saved = self.backup()
        self.adjust(*GROWN)
        self.restore(saved)
        for _ in range(2):
            self.reconcile()
        self.assert_books(base.MINIMUM, base.MINIMUM)

    def test_an_answer_is_lost_while_a_pass_looks(self):
        """What Placement has said in the pass is no longer so."""
        charges = allocation.charges

        def late(*args):
            found = charges(*args)
            self.grow_in_vain()
            return found

        self.adjust(4, 4096)
        with fixtures.MonkeyPatch('nova.xloud.allocation.charges', late):
            self.reconcile()
        self.assertEqual({'host1': GROWN}, self.allocated(self.server['id']))
        self.reconcile()
        self.assert_books(size.Size(4, 4096), size.Size(4, 4096))

    def grow_in_vain(self):
        put = report.SchedulerReportClient.put

        def lossy(*args, **kwargs):
            put(*args, **kwargs)
            raise ks_exc.ConnectFailure('by the test')

        with fixtures.MonkeyPatch(
                'nova.scheduler.client.report.SchedulerReportClient.put',
                lossy):
            self.assertRaises(exception.ElasticConflict, self.adjust, *GROWN)


@db.pick_context_manager_reader
def _read(context, uuid):
    row = context.session.query(models.Instance).filter_by(uuid=uuid).one()
    entries = context.session.query(models.InstanceSystemMetadata).filter_by(
        instance_uuid=uuid, deleted=0)
    return ({name: row[name] for name in ('vcpus', 'memory_mb')},
            {entry.key: entry.value for entry in entries})


@db.pick_context_manager_writer
def _write(context, uuid, row, metadata):
    context.session.query(models.Instance).filter_by(uuid=uuid).update(row)
    context.session.query(models.InstanceSystemMetadata).filter_by(
        instance_uuid=uuid, deleted=0).delete()
    for key, value in metadata.items():
        entry = models.InstanceSystemMetadata()
        entry.update({'key': key, 'value': value, 'instance_uuid': uuid})
        entry.save(context.session)
