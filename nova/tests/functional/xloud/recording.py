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

"""What elastic servers leave in a cloud, as one release of Nova writes it.

A recording is a JSON file: rows of the databases, allocations, guests, and
messages as they are on their way. One release writes it, and every later one
reads it. Nothing here depends on the release.
"""

import contextlib
import datetime
import pathlib

from lxml import etree
import oslo_messaging as messaging
from oslo_serialization import jsonutils
import sqlalchemy

from nova import context
from nova.db.api import api as api_db
from nova.db.api import models as api_models
from nova.db.main import api as main_db
from nova.db.main import models as main_models
from nova import rpc

FOLDER = pathlib.Path(__file__).parent / 'recordings'

# By the column that names the server.
CELL_TABLES = {
    'instances': 'uuid',
    'instance_extra': 'instance_uuid',
    'instance_system_metadata': 'instance_uuid',
    'instance_info_caches': 'instance_uuid',
    'instance_actions': 'instance_uuid',
    'block_device_mapping': 'instance_uuid',
    'migrations': 'instance_uuid',
}
API_TABLES = {
    'instance_mappings': 'instance_uuid',
    'request_specs': 'instance_uuid',
}
# All rows of these.
FLAVOR_TABLES = ('flavors', 'flavor_extra_specs')


def load(release, cell_uuid):
    """What a release has recorded, with the cell of this cloud in it."""
    text = (FOLDER / (release + '.json')).read_text()
    return jsonutils.loads(
        text.replace(jsonutils.loads(text)['cell'], cell_uuid))


def save(path, recording):
    pathlib.Path(path).write_text(
        jsonutils.dumps(recording, indent=1, sort_keys=True) + '\n')


def read_rows(cell, uuids):
    """All that the databases know about these servers, by table."""
    with main_db.get_context_manager(cell).reader.using(cell) as session:
        rows = {name: _read(session, main_models, name, column, uuids)
                for name, column in CELL_TABLES.items()}
    with api_db.context_manager.reader.using(
            context.get_admin_context()) as session:
        for name, column in API_TABLES.items():
            rows[name] = _read(session, api_models, name, column, uuids)
        for name in FLAVOR_TABLES:
            rows[name] = _read(session, api_models, name)
    return rows


def write_rows(cell, rows):
    """Put rows into the databases of this release."""
    with main_db.get_context_manager(cell).writer.using(cell) as session:
        for name in CELL_TABLES:
            _write(session, main_models, name, rows[name])
    with api_db.context_manager.writer.using(
            context.get_admin_context()) as session:
        for name in FLAVOR_TABLES:
            # There are those of Nova's fixtures.
            session.execute(api_models.BASE.metadata.tables[name].delete())
        for name in FLAVOR_TABLES + tuple(API_TABLES):
            _write(session, api_models, name, rows[name])


def _read(session, models, name, column=None, values=()):
    table = models.BASE.metadata.tables[name]
    query = sqlalchemy.select(table)
    if column is not None:
        query = query.where(table.c[column].in_(values))
    return [{key: _plain(value) for key, value in row.items()}
            for row in session.execute(query.order_by(table.c.id)).mappings()]


def _plain(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return value


def _write(session, models, name, rows):
    table = models.BASE.metadata.tables[name]
    for row in rows:
        # A later release may have dropped a column, and adds others.
        session.execute(table.insert().values({
            key: _as(table.c[key].type, value)
            for key, value in row.items() if key in table.c}))


def _as(column_type, value):
    if value is not None and isinstance(column_type, sqlalchemy.DateTime):
        return datetime.datetime.fromisoformat(value)
    return value


@contextlib.contextmanager
def messages(wanted):
    """Record what is sent meanwhile, and what is answered.

    :param wanted: whether to record it, by namespace and method
    """
    recorded = []
    driver = rpc.TRANSPORT._driver
    send = driver.send

    def record(target, ctxt, message, *args, **kwargs):
        answer = send(target, ctxt, message, *args, **kwargs)
        if wanted(message.get('namespace'), message['method']):
            # A later change of either must not be seen here.
            recorded.append(jsonutils.loads(jsonutils.dumps({
                'topic': target.topic, 'server': target.server,
                'message': message, 'answer': answer})))
        return answer

    driver.send = record
    try:
        yield recorded
    finally:
        driver.send = send


def send(recorded, cell):
    """Send a recorded message to the services that run here.

    :returns: the answer
    """
    return rpc.TRANSPORT._driver.send(
        messaging.Target(topic=recorded['topic'], server=recorded['server']),
        rpc.RequestContextSerializer(None).serialize_context(cell),
        recorded['message'], wait_for_reply=True, timeout=60)


class Domain:
    """As much of a virDomain as the mark of a run needs.

    :ivar mark: what setMetadata() was given, None if nothing
    """

    _XML = """\
<domain type="qemu">
  <vcpu current="2">4</vcpu>
  <currentMemory>1048576</currentMemory>
  <metadata/>
  <devices>
    <memballoon model="virtio"><stats period="10"/></memballoon>
  </devices>
</domain>"""

    def __init__(self, mark=None):
        self.mark = mark
        self.writes = 0

    def XMLDesc(self, _flags):
        xml = etree.fromstring(self._XML)
        if self.mark:
            element = etree.fromstring(self.mark['element'])
            element.tag = '{%(uri)s}%(tag)s' % dict(
                self.mark, tag=element.tag)
            xml.find('metadata').append(element)
        return etree.tostring(xml, encoding='unicode')

    def memoryStats(self):
        return {}

    def setMetadata(self, _type, element, key, uri, _flags):
        self.writes += 1
        self.mark = {'element': element, 'key': key, 'uri': uri}
