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
from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import uuidutils
import sqlalchemy as sa

from nova import context
from nova.db.main import api as db
from nova.db.main import models
from nova import exception
from nova import objects
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import condition
from nova.xloud import entries
from nova.xloud import fleet
from nova.xloud import noted
from nova.xloud import notes
from nova.xloud import size

_PAGE = fleet._page
FIRST = datetime.datetime(2026, 11, 26, 12)


@db.pick_context_manager_writer
def _set_created_at(cctxt, uuid, when):
    cctxt.session.query(models.Instance).filter_by(uuid=uuid).update(
        {'created_at': when})


class FleetTestCase(test.TestCase):

    NUMBER_OF_CELLS = 2

    def setUp(self):
        super().setUp()
        self.context = context.get_admin_context()
        context.load_cells()
        self.cells = [cell for cell in context.CELLS if not cell.is_cell0()]
        self.made = 0
        self.flavor = fakes.flavor(
            maximum=size.Size(8, 8192), cpu=2, memory=2048)
        self.plain = fakes.flavor(maximum=size.Size(4, 4096))

    def make(self, cell=0, note=None, flavor=None, **values):
        """A server that is a minute younger than the last one."""
        values = {'project_id': 'p', 'host': 'host1', **values}
        with context.target_cell(self.context, self.cells[cell]) as cctxt:
            instance = objects.Instance(
                cctxt, user_id='u', flavor=flavor or self.flavor,
                old_flavor=None, new_flavor=None, vcpus=2, memory_mb=2048,
                uuid=uuidutils.generate_uuid(),
                system_metadata={'image_name': 'x', 'xloudy': 'y'}, **values)
            size.open_books(instance)
            if note:
                note(instance)
            instance.create()
            made = FIRST + datetime.timedelta(minutes=self.made)
            self.made += 1
            _set_created_at(cctxt, instance.uuid, made)
        objects.InstanceMapping(
            self.context, instance_uuid=instance.uuid,
            project_id=values['project_id'],
            cell_mapping=self.cells[cell]).create()
        return instance.uuid

    def list(self, limit=None, marker=None, **filters):
        return [server['id'] for server in fleet.servers(
            self.context, fleet.Filters(**filters), limit, marker)]

    def test_view(self):
        def note(instance):
            size.record(instance, size.Size(4, 4096), size.Size(2, 2048))
            notes.set_outcome(instance, condition.PARTIAL, 'It refused.')
            instance.system_metadata[notes.SINCE] = '2026-11-26T12:00:00'
            instance.display_name = 'web1'

        uuid = self.make(note=note)
        self.assertEqual([{
            'id': uuid, 'name': 'web1', 'project_id': 'p', 'host': 'host1',
            'condition': 'Partial', 'reason': 'It refused.',
            'since': '2026-11-26T12:00:00Z',
            'desired_vcpus': 4, 'desired_memory_mb': 4096,
            'boot_vcpus': 2, 'boot_memory_mb': 2048,
            'allocated_vcpus': 4, 'allocated_memory_mb': 4096,
            'min_vcpus': 2, 'min_memory_mb': 2048,
            'max_vcpus': 8, 'max_memory_mb': 8192,
        }], fleet.servers(self.context))

    def test_only_elastic_servers(self):
        self.make(flavor=self.plain)
        uuid = self.make()
        gone = self.make()
        with context.target_cell(self.context, self.cells[0]) as cctxt:
            objects.Instance.get_by_uuid(cctxt, gone).destroy()
        hidden = self.make(hidden=True)
        self.assertEqual([uuid], self.list())
        self.assertNotIn(hidden, self.list())

    def test_pages_across_cells(self):
        made = [self.make(cell=number % 2) for number in range(7)]
        expected = made[::-1]
        self.assertEqual(expected, self.list())
        found, marker = [], None
        while True:
            page = self.list(limit=3, marker=marker)
            if not page:
                break
            found.append(page)
            marker = page[-1]
        self.assertEqual(
            [expected[:3], expected[3:6], expected[6:]], found)

    def test_the_same_second(self):
        """The order is still the same for each page."""
        made = []
        for _number in range(4):
            self.made = 0
            made.append(self.make())
        found = self.list(limit=2)
        found += self.list(limit=2, marker=found[-1])
        self.assertEqual(sorted(made, reverse=True), found)

    def test_marker(self):
        old, new = self.make(), self.make(cell=1)
        self.assertEqual([old], self.list(marker=new))
        # Paging goes on when the last server of a page is deleted.
        with context.target_cell(self.context, self.cells[1]) as cctxt:
            objects.Instance.get_by_uuid(cctxt, new).destroy()
        self.assertEqual([old], self.list(marker=new))
        for marker, project_id in ((uuids.other, None), (old, 'q')):
            self.assertRaises(exception.MarkerNotFound, self.list,
                              marker=marker, project_id=project_id)
        objects.InstanceMapping(
            self.context, instance_uuid=uuids.unscheduled, project_id='p',
            cell_mapping=None).create()
        self.assertRaises(exception.MarkerNotFound, self.list,
                          marker=uuids.unscheduled)

    def test_filters(self):
        one = self.make(project_id='p', host='host1')
        two = self.make(project_id='q', host='host1')
        three = self.make(project_id='q', host='host2', cell=1)
        self.assertEqual([one], self.list(project_id='p'))
        self.assertEqual([three, two], self.list(project_id='q'))
        self.assertEqual([two, one], self.list(host='host1'))
        self.assertEqual([two], self.list(project_id='q', host='host1'))

    def test_conditions(self):
        """The database finds the condition that the books tell."""
        changes = [
            lambda server: None,
            lambda server: notes.note_settling(server, True),
            lambda server: notes.set_pending(server, 'full'),
            lambda server: notes.await_guest(server, 'req-1'),
            lambda server: notes.note_config(server, False),
            lambda server: notes.set_outcome(server, 'Partial', 'why'),
            lambda server: notes.set_outcome(server, 'Overcommitted', 'why'),
            lambda server: notes.set_offline(server, 'why'),
            lambda server: notes.note_task(server, 'req-1 done'),
            lambda server: notes.note_task(server, 'req-1 offered'),
        ]

        def both(one, other):
            def note(server):
                one(server)
                other(server)
            return note

        for one in changes:
            for other in changes:
                self.make(note=both(one, other))
        by_condition = {}
        for server in fleet.servers(self.context):
            by_condition.setdefault(server['condition'], []).append(
                server['id'])
        self.assertEqual(set(noted.CONDITIONS), set(by_condition))
        for name, expected in by_condition.items():
            self.assertEqual(expected, self.list(conditions=[name]), name)
        self.assertEqual(
            len(by_condition['Partial']) + len(by_condition['Overcommitted']),
            len(self.list(conditions=['Partial', 'Overcommitted'])))

    def page_of_cell_0(self, cctxt, *args):
        """What fleet._page() finds while the other cell does not answer."""
        if cctxt.cell_uuid == self.cells[1].uuid:
            raise exception.CellTimeout()
        return _PAGE(cctxt, *args)

    def test_a_cell_does_not_answer(self):
        one = self.make()
        self.make(cell=1)
        with mock.patch.object(fleet, '_page', self.page_of_cell_0):
            self.assertEqual([one], self.list())
            self.flags(list_records_by_skipping_down_cells=False,
                       group='api')
            self.assertRaises(exception.NovaException, self.list)
            silent = set()
            fleet.servers(self.context, silent=silent)
            self.assertEqual({self.cells[1].uuid}, silent)

    def test_a_cell_does_not_answer_any_more(self):
        """Its servers so far are given, and those of the others."""
        others, last = [self.make(), self.make()], self.make(cell=1)
        silent = set()
        self.flags(list_records_by_skipping_down_cells=False, group='api')
        with mock.patch.object(fleet, '_PAGE', 1), (
                mock.patch.object(fleet, '_MORE', 1)):
            servers = fleet.every(self.context, silent=silent)
            self.assertEqual(last, next(servers)['id'])
            self.assertEqual(set(), silent)
            with mock.patch.object(fleet, '_page', self.page_of_cell_0), (
                    mock.patch.object(fleet, '_created_at',
                                      side_effect=exception.CellTimeout)):
                found = [server['id'] for server in servers]
        self.assertEqual(others[::-1], found)
        self.assertEqual({self.cells[1].uuid}, silent)

    def test_the_last_server_of_a_page_is_archived(self):
        older, newer = self.make(), self.make()
        with mock.patch.object(fleet, '_PAGE', 1):
            servers = fleet.every(self.context)
            self.assertEqual(newer, next(servers)['id'])
            objects.InstanceMapping.get_by_instance_uuid(
                self.context, newer).destroy()
            self.assertEqual(
                [older], [server['id'] for server in servers])

    def test_a_server_is_deleted_while_they_are_read(self):
        """No page is shorter for that, or it would seem to be the last."""
        uuids = [self.make() for _number in range(4)][::-1]
        newest = uuids.pop(0)
        original = fleet._details

        def details(cctxt, *args):
            found = original(cctxt, *args)
            found.pop(newest, None)
            return found

        with mock.patch.object(fleet, '_details', details):
            self.assertEqual([], self.list(limit=0))
            self.assertEqual(uuids[:2], self.list(limit=2))
            self.assertEqual(uuids, self.list(limit=3))
            self.assertEqual(uuids, self.list(limit=4))
            self.assertEqual(uuids, self.list())

    def test_a_server_that_is_no_longer_elastic(self):
        """A host without the series has changed its flavor."""
        def note(instance):
            entries.write_size(instance, 'desired', size.Size(4, 4096))
            entries.write_size(instance, 'boot', size.Size(4, 4096))

        def keep_old(instance):
            entries.write_size(instance, 'old_charged', size.Size(4, 4096))

        elastic = self.make()
        others = [self.make(flavor=self.plain, note=function)
                  for function in (note, keep_old)]
        self.make(flavor=self.plain)
        self.assertEqual([elastic], self.list(limit=1))
        self.assertEqual([elastic], self.list())
        self.assertEqual(
            {elastic, *others}, set(self.list(with_any_books=True)))

    def test_many_servers_that_are_no_longer_elastic(self):
        def note(instance):
            entries.write_size(instance, 'desired', size.Size(4, 4096))

        elastic = self.make()
        for _number in range(20):
            self.make(flavor=self.plain, note=note)
        with mock.patch.object(fleet, '_page', wraps=fleet._page) as page:
            self.assertEqual([elastic], self.list(limit=1))
        # Twice, each time in both cells
        self.assertEqual(4, page.call_count)

    def test_unwritten(self):
        def forget(instance):
            instance.system_metadata = {'image_name': 'x'}

        self.make()
        self.make(flavor=self.plain)
        older = [self.make(cell=cell, note=forget) for cell in (0, 1)]
        self.make(flavor=self.plain, note=forget)
        self.assertEqual(sorted(older), fleet.unwritten(self.context))
        self.assertEqual(1, len(self.list()))

    def test_statements(self):
        """Their number does not grow with the number of servers."""
        statements = []

        def note(conn, cursor, statement, *args):
            statements.append(statement)

        sa.event.listen(sa.engine.Engine, 'before_cursor_execute', note)
        self.addCleanup(sa.event.remove, sa.engine.Engine,
                        'before_cursor_execute', note)

        def count(**kwargs):
            statements.clear()
            found = self.list(**kwargs)
            return len(found), len([
                each for each in statements if '\nFROM inst' in each])

        marker = self.make(cell=1)
        for cell in (0, 1):
            self.make(cell=cell, note=lambda server: notes.note_settling(
                server, True))
        few = count()
        for _number in range(20):
            for cell in (0, 1):
                self.make(cell=cell)
        self.assertEqual((3, 6), few)
        self.assertEqual((43, 6), count())
        self.assertEqual((10, 6), count(limit=10))
        self.assertEqual((2, 6), count(conditions=['InProgress']))
        # The cell of the marker, and when it was made.
        self.assertEqual(8, count(marker=self.list()[0])[1])
        self.assertEqual((0, 4), count(marker=marker))

        def length(conditions):
            statements.clear()
            self.list(conditions=conditions)
            return max(map(len, statements))

        names = list(noted.CONDITIONS)
        self.assertEqual(length(names), length(names[::-1] * 99))
