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

"""The half of benchmarks.fleet that runs in the tree, as a process there."""

import datetime
import statistics
import time

from nova.tests.functional.xloud import api_base  # noqa: I100

from oslo_utils import uuidutils
import sqlalchemy

from nova import context
from nova.db.main import api as db
from nova.db.main import models
from nova.xloud import notes

FIRST = datetime.datetime(2026, 11, 26)
PAGES = (('a page of 1000', ''),
         ('a page of 100', '&limit=100'),
         ('those that are Partial', '&condition=Partial'))


@db.pick_context_manager_writer
def _copy(cctxt, template, first, count):
    """Rows like those of a server that was adjusted once."""
    def table(model, uuid_column):
        return cctxt.session.query(model).filter(
            uuid_column == template).all()

    instance, = table(models.Instance, models.Instance.uuid)
    extra, = table(models.InstanceExtra, models.InstanceExtra.instance_uuid)
    entries = table(models.InstanceSystemMetadata,
                    models.InstanceSystemMetadata.instance_uuid)

    def values(row, **changed):
        kept = {column.name: getattr(row, column.name)
                for column in row.__table__.columns if column.name != 'id'}
        return {**kept, **changed}

    instances, extras, metadata = [], [], []
    for number in range(first, first + count):
        uuid = uuidutils.generate_uuid()
        instances.append(values(
            instance, uuid=uuid, display_name='server-%d' % number,
            host='host%d' % (number % 50),
            created_at=FIRST + datetime.timedelta(seconds=number)))
        extras.append(values(extra, instance_uuid=uuid))
        metadata += [values(entry, instance_uuid=uuid) for entry in entries]
        if number % 100 == 0:
            for key, value in ((notes.OUTCOME, 'Partial'),
                               (notes.REASON, 'It refused.')):
                metadata.append(values(
                    entries[0], instance_uuid=uuid, key=key, value=value))
    for model, rows in ((models.Instance, instances),
                        (models.InstanceExtra, extras),
                        (models.InstanceSystemMetadata, metadata)):
        cctxt.session.execute(model.__table__.insert(), rows)


class Bench(api_base.AdjustTestBase):

    ADMIN_API = True

    def __init__(self, counts, rounds):
        super().__init__()
        self.counts, self.rounds = counts, rounds
        self._results = {'pages': []}

    def runTest(self):
        server = self._create_elastic()
        instance = self._instance(server)
        notes.mark_started(instance, 'run', FIRST)
        notes.mark_changed(instance, FIRST)
        notes.note_task(instance, 'req-%s done' % server['id'])
        instance.save()
        self.statements = 0

        @sqlalchemy.event.listens_for(
            sqlalchemy.engine.Engine, 'before_cursor_execute')
        def count(connection, cursor, statement, *args):
            self.statements += '\nFROM ' in statement

        context.load_cells()
        cell, = [one for one in context.CELLS if not one.is_cell0()]
        made = 1
        for servers in self.counts:
            with context.target_cell(
                    context.get_admin_context(), cell) as cctxt:
                _copy(cctxt, server['id'], made, servers - made)
            made = servers
            for what, query in PAGES:
                self.bench(what, servers, query)

    def bench(self, what, servers, query):
        times, cpu_times, counts = [], [], []
        for _ in range(self.rounds + 1):
            self.statements = 0
            start, cpu_start = time.perf_counter(), time.process_time()
            body = self.api.api_get(
                '/os-xloud-adjust?all_projects=1' + query).body
            times.append((time.perf_counter() - start) * 1000)
            cpu_times.append((time.process_time() - cpu_start) * 1000)
            counts.append(self.statements)
        # The first one compiles the statements.
        del times[0], cpu_times[0]
        self._results['pages'].append({
            'what': what, 'servers': servers,
            'found': len(body['xloud_servers']),
            'median_ms': round(statistics.median(times), 1),
            'cpu_ms': round(statistics.median(cpu_times), 1),
            # Other services of the process may ask something meanwhile.
            'statements': min(counts)})
