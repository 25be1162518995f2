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

"""The elastic servers of a cloud, from their books alone.

This asks neither the hosts nor Placement. The number of statements does not
depend on the number of servers: three for each cell and two for a marker. If
a page is short, because servers are left out, those of each cell are repeated.
"""

import heapq
import types
import typing as ty

from oslo_serialization import jsonutils
import sqlalchemy as sa

import nova.conf
from nova import context as nova_context
from nova.db.main import api as db
from nova.db.main import models
from nova import exception
from nova.i18n import _
from nova import objects
from nova.xloud import condition
from nova.xloud import entries
from nova.xloud import noted
from nova.xloud import notes
from nova.xloud import situation
from nova.xloud import size

CONF = nova.conf.CONF

# How many servers to read at least, after some that are left out
_MORE = 100
# How many to read at a time, if all are wanted
_PAGE = 1000

_Instance = models.Instance
_Entry = models.InstanceSystemMetadata


class Row(ty.NamedTuple):
    """What the table of servers has about one of them."""

    uuid: str
    created_at: ty.Any
    name: str
    project_id: str
    host: str
    vcpus: int
    memory_mb: int


class Filters(ty.NamedTuple):
    """Which servers are meant, None and nothing for all."""

    project_id: ty.Optional[str] = None
    host: ty.Optional[str] = None
    # Of noted.CONDITIONS
    conditions: ty.Sequence[str] = ()
    # Also servers that are not elastic and have books, such as one that was
    # and waits for the confirmation of a resize
    with_any_books: bool = False


def servers(
    context,
    filters: Filters = Filters(),
    limit: ty.Optional[int] = None,
    marker: ty.Optional[str] = None,
    silent: ty.Optional[ty.Set[str]] = None,
) -> ty.List[ty.Dict[str, ty.Any]]:
    """Elastic servers whose books are written, the newest first.

    Servers that were never given a host are not among them: they hold nothing
    and have no allocation.

    :param marker: the uuid of the last server that the caller has
    :param silent: as of :func:`answers`
    :returns: dicts with the sizes of each, its condition and since when. They
        are fewer than the limit only if there are no more.
    :raises: MarkerNotFound if no such server is or was there
    """
    after = None if marker is None else _place(
        context, marker, filters.project_id)
    views: ty.List[ty.Dict[str, ty.Any]] = []
    for page in _pages(context, filters, limit, after, silent):
        views += page
        if limit is not None and len(views) >= limit:
            break
    return views[:limit]


def every(
    context,
    filters: Filters = Filters(),
    silent: ty.Optional[ty.Set[str]] = None,
) -> ty.Iterator[ty.Dict[str, ty.Any]]:
    """The same, without a limit, and without all of them in memory.

    Where a page ends is remembered here and not looked up like a marker. The
    last server of a page may be deleted and archived before the next page is
    read, or its cell may stop to answer.
    """
    for page in _pages(context, filters, _PAGE, None, silent):
        yield from page


def _pages(context, filters, wanted, after, silent):
    """The servers after a place in the list, some at a time.

    :param wanted: how many to read at a time, None for all
    """
    while True:
        pages = answers(nova_context.scatter_gather_skip_cell0(
            context, _page, filters, wanted, after), silent)
        # In each cell they are in this order already.
        found = list(heapq.merge(*pages.values(), key=_order, reverse=True))
        found = found[:wanted]
        if found:
            details = _details_of(context, found, pages, silent)
            # What was deleted a moment ago has none.
            yield [
                _view(row, *details[row.uuid]) for row in found
                if row.uuid in details and (
                    filters.with_any_books or
                    size.is_elastic(details[row.uuid][0]))]
        if wanted is None or len(found) < max(wanted, 1):
            return
        # Some are left out, perhaps many in a row.
        wanted = max(wanted, _MORE)
        after = _order(found[-1])


def unwritten(
    context, silent: ty.Optional[ty.Set[str]] = None,
) -> ty.List[str]:
    """The uuids of elastic servers whose books were never written.

    They are older than the series. Unlike the rest of this module, this reads
    the flavor of each server that has no books.

    :param silent: as of :func:`answers`
    """
    found = answers(nova_context.scatter_gather_skip_cell0(
        context, _unwritten), silent)
    return sorted(uuid for uuids in found.values() for uuid in uuids)


def answers(by_cell, silent: ty.Optional[ty.Set[str]] = None):
    """The answers of the cells that have answered.

    :param silent: a set to which the uuids of the others are added. Without
        it, others are treated as in Nova's own lists.
    """
    found = {}
    for cell_uuid, answer in by_cell.items():
        if not nova_context.is_cell_failure_sentinel(answer):
            found[cell_uuid] = answer
        elif silent is not None:
            silent.add(cell_uuid)
        elif not CONF.api.list_records_by_skipping_down_cells:
            raise exception.NovaException(
                _('Cell %s does not answer. So not all servers are known.') %
                cell_uuid)
    return found


@db.pick_context_manager_reader
def _unwritten(context):
    extra = models.InstanceExtra
    query = context.session.query(_Instance.uuid, extra.flavor).join(
        extra, extra.instance_uuid == _Instance.uuid).filter(
            _Instance.deleted == 0, sa.not_(_has(entries.ELASTIC)),
            sa.or_(*(extra.flavor.contains('"%s"' % key, autoescape=True)
                     for key in size.MINIMUM_KEYS)))
    # It may be the flavor before or after a resize.
    return [uuid for uuid, flavor in query
            if size.is_elastic(_flavor(flavor))]


def _order(row):
    return row.created_at, row.uuid


def _details_of(context, rows, pages, silent):
    """The flavors and the books of these servers."""
    uuids = {row.uuid for row in rows}
    cells = {cell: [row.uuid for row in page if row.uuid in uuids]
             for cell, page in pages.items()}
    details: ty.Dict[str, ty.Tuple] = {}
    nova_context.load_cells()
    for answer in answers(nova_context.scatter_gather_cells(
            context,
            [cell for cell in nova_context.CELLS if cells.get(cell.uuid)],
            nova_context.CELL_TIMEOUT, _details, cells), silent).values():
        details.update(answer)
    return details


def _place(context, marker, project_id):
    """Where in the list a server is or was, deleted or not."""
    try:
        mapping = objects.InstanceMapping.get_by_instance_uuid(
            context, marker)
    except exception.InstanceMappingNotFound:
        raise exception.MarkerNotFound(marker=marker)
    if mapping.cell_mapping is None:
        raise exception.MarkerNotFound(marker=marker)
    with nova_context.target_cell(context, mapping.cell_mapping) as cell:
        created_at = _created_at(cell, marker, project_id)
    if created_at is None:
        raise exception.MarkerNotFound(marker=marker)
    return created_at, marker


@db.pick_context_manager_reader
def _created_at(context, uuid, project_id):
    query = context.session.query(_Instance.created_at).filter(
        _Instance.uuid == uuid)
    if project_id is not None:
        query = query.filter(_Instance.project_id == project_id)
    return query.scalar()


@db.pick_context_manager_reader
def _page(context, filters, limit, after):
    query = context.session.query(
        _Instance.uuid, _Instance.created_at, _Instance.display_name,
        _Instance.project_id, _Instance.host, _Instance.vcpus,
        _Instance.memory_mb,
    ).filter(
        _Instance.deleted == 0,
        sa.or_(_Instance.hidden == sa.false(), _Instance.hidden.is_(None)),
        sa.or_(_has(entries.ELASTIC), _has(entries.OLD))
        if filters.with_any_books else _has(entries.ELASTIC))
    if filters.project_id is not None:
        query = query.filter(_Instance.project_id == filters.project_id)
    if filters.host is not None:
        query = query.filter(_Instance.host == filters.host)
    if filters.conditions:
        # A request can name each of them some hundred times.
        names = sorted(set(filters.conditions))
        query = query.filter(sa.or_(*map(_is_noted, names)))
    if after is not None:
        created_at, uuid = after
        query = query.filter(sa.or_(
            _Instance.created_at < created_at,
            sa.and_(_Instance.created_at == created_at,
                    _Instance.uuid < uuid)))
    query = query.order_by(
        _Instance.created_at.desc(), _Instance.uuid.desc())
    if limit is not None:
        query = query.limit(limit)
    return [Row(*row) for row in query]


def _is_noted(name):
    """As nova.xloud.noted.of(), for the database."""
    is_changing = _has(
        notes.TASK, sa.not_(_Entry.value.endswith(notes.TASK_DONE)))
    has_outcome, is_offline = _has(notes.OUTCOME), _has(notes.OFFLINE)
    is_unfinished = sa.or_(*map(_has, notes.UNFINISHED))
    if name == condition.IN_PROGRESS:
        return sa.or_(is_changing, sa.and_(
            sa.not_(sa.or_(has_outcome, is_offline)), is_unfinished))
    if name == condition.SETTLED:
        return sa.not_(sa.or_(
            is_changing, has_outcome, is_offline, is_unfinished))
    is_found = _has(notes.OUTCOME, _Entry.value == name)
    if name == condition.PARTIAL:
        is_found = sa.or_(
            is_found, sa.and_(sa.not_(has_outcome), is_offline))
    return sa.and_(sa.not_(is_changing), is_found)


def _has(key, *more):
    """Whether an entry is in the books of a server.

    The database looks each server up by its uuid, for which there is an
    index, and stops when the page is full.
    """
    return sa.exists().where(
        _Entry.instance_uuid == _Instance.uuid, _Entry.key == key,
        _Entry.deleted == 0, *more).correlate(_Instance.__table__)


@db.pick_context_manager_reader
def _details(context, uuids_by_cell):
    """The flavors and the books of servers of one cell."""
    uuids = uuids_by_cell[context.cell_uuid]
    books: ty.Dict[str, ty.Dict[str, str]] = {uuid: {} for uuid in uuids}
    for uuid, key, value in context.session.query(
            _Entry.instance_uuid, _Entry.key, _Entry.value).filter(
                _Entry.instance_uuid.in_(uuids), _Entry.deleted == 0,
                _Entry.key.startswith(entries.PREFIX, autoescape=True)):
        books[uuid][key] = value
    extra = models.InstanceExtra
    return {uuid: (_flavor(flavor), books[uuid])
            for uuid, flavor in context.session.query(
                extra.instance_uuid, extra.flavor).filter(
                    extra.instance_uuid.in_(uuids), extra.deleted == 0)}


def _flavor(stored):
    """As much of a stored flavor as nova.xloud.size reads of one.

    To make the object would take longer than all the rest.
    """
    return types.SimpleNamespace(
        **{'extra_specs': {},
           **jsonutils.loads(stored)['cur']['nova_object.data']})


def _view(row, flavor, books):
    server = types.SimpleNamespace(
        flavor=flavor, vcpus=row.vcpus, memory_mb=row.memory_mb,
        system_metadata=books)
    sizes = situation.sizes_of(server)
    found, reason = noted.of(books)
    when = noted.since(books)
    view = {
        'id': row.uuid, 'name': row.name, 'project_id': row.project_id,
        'host': row.host, 'condition': found, 'reason': reason,
        'since': when and when.isoformat() + 'Z',
    }
    for word, value in (('desired', sizes.desired), ('boot', sizes.boot),
                        ('allocated', sizes.charged), ('min', sizes.minimum),
                        ('max', sizes.maximum)):
        view[word + '_vcpus'], view[word + '_memory_mb'] = value
    return view
