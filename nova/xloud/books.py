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

"""Keep the books of elastic servers apart from other system_metadata.

Saving an instance replaces its whole system_metadata with what was there when
the instance was loaded. So a lock of a server, or a resize that began long
ago, would bring old sizes back, and a change of the size would lose the
password that the guest has just posted.

Every such save goes through the database layer, which calls :func:`merge`. The
stored books stay as they are unless the copy to save says that it changes
them, and that copy must have known the newest books.
"""

import re
import typing as ty

from sqlalchemy.orm import attributes

from nova.db.main import models
from nova import exception
from nova.xloud import entries
from nova.xloud import noted

_SIGNS = (entries.BOOKS_TOO, entries.ONLY_BOOKS, entries.NO_OLD_BOOKS)


def merge(context, row, metadata: ty.Dict[str, str]) -> ty.Dict[str, str]:
    """What to store for the system_metadata of an instance.

    Call it in the transaction that stores the result.

    :param row: the instance as the database has it
    :param metadata: all system_metadata of the copy that is being saved
    :returns: the same object if nothing is elastic
    :raises InstanceUpdateConflict: if the copy changes older books
    """
    stored = {entry['key']: entry['value']
              for entry in row['system_metadata']}
    if not any(map(entries.is_entry, stored)) and (
            entries.BOOKS not in metadata):
        return metadata
    base, sign = _split(stored.get(entries.BOOKS), metadata.get(entries.BOOKS))
    if sign is None:
        return {**_others(metadata), **_ours(stored)}
    if sign == entries.NO_OLD_BOOKS:
        merged = {**_others(metadata), **{
            key: value for key, value in _ours(stored).items()
            if not entries.is_old_size(key)}}
        base = stored.get(entries.BOOKS, entries.UNWRITTEN_BOOKS)
    elif sign == entries.ONLY_BOOKS:
        merged = {**_others(stored), **_ours(metadata)}
    else:
        merged = dict(metadata)
    noted.note(stored, merged)
    try:
        _turn_page(context, row, base, merged)
    except exception.InstanceUpdateConflict:
        if sign != entries.NO_OLD_BOOKS:
            raise
        # It is about whatever books are the newest. This has the database
        # layer read them again.
        raise exception.UnknownInstanceUpdateConflict(
            instance_uuid=row['uuid'])
    return merged


def save(instance, expected_task_state, **expected) -> None:
    """Store the books and the charge of a server, and nothing else of it.

    A flavor counts as changed after each RPC, and would be stored before it
    is known whether the task state is the expected one.

    :param expected: more of what Instance.save() expects
    :raises InstanceUpdateConflict: if the task state is another, or the books
        were changed meanwhile. Nothing was stored, then.
    """
    changes = instance.obj_what_changed() & {
        'system_metadata', 'vcpus', 'memory_mb', 'task_state'}
    only = type(instance)(
        context=instance._context, uuid=instance.uuid,
        system_metadata=dict(instance._orig_system_metadata))
    only.obj_reset_changes()
    for field in changes:
        setattr(only, field, getattr(instance, field))
    only.save(expected_task_state=expected_task_state, **expected)
    # Include what others have changed in it.
    for field in changes | {'system_metadata'}:
        setattr(instance, field, getattr(only, field))
    instance.obj_reset_changes(changes | {'system_metadata'})


def _split(stored, new):
    """The number of the books that a copy changes, and its sign, if any.

    An older nova-conductor may have stored a sign.
    """
    if new is None or new == stored or not new.endswith(_SIGNS):
        return None, None
    return new[:-1], new[-1]


def _turn_page(context, row, base, merged):
    """Make this change the next one, or refuse it."""
    entry = next((entry for entry in row['system_metadata']
                  if entry['key'] == entries.BOOKS), None)
    found = entries.UNWRITTEN_BOOKS if entry is None else entry['value']
    if found != base:
        raise _conflict(row, base, found)
    if not (_ours(merged).keys() - {entries.BOOKS}):
        # Its flavor is no longer elastic.
        del merged[entries.BOOKS]
        return
    merged[entries.BOOKS] = str(int(re.match('[0-9]*', base).group() or 0) + 1)
    if entry is None:
        return
    # Do not use the session: it would overwrite what another transaction has
    # done since this one began to read.
    count = context.session.query(models.InstanceSystemMetadata).filter_by(
        id=entry['id'], value=base).update(
            {'value': merged[entries.BOOKS]}, synchronize_session=False)
    if not count:
        raise _conflict(row, base, '?')
    attributes.set_committed_value(entry, 'value', merged[entries.BOOKS])


def _conflict(row, expected, actual):
    return exception.InstanceUpdateConflict(
        instance_uuid=row['uuid'], expected={entries.BOOKS: expected},
        actual={entries.BOOKS: actual})


def _ours(metadata):
    return {key: value for key, value in metadata.items()
            if entries.is_entry(key)}


def _others(metadata):
    return {key: value for key, value in metadata.items()
            if not entries.is_entry(key)}
