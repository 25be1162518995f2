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

"""The condition of a server by its books, without asking its host.

It is what the last reconcile or the running request has noted. Only the status
of a server asks the host, so it can be newer, and only it can be Unknown.

The books have no entry for the condition itself. It follows from their other
entries, so the two cannot differ. Since when it holds is an entry of its own.
The function through which every change of the books goes writes that with the
change that causes it, so it costs no write of its own.
"""

import datetime
import typing as ty

from oslo_utils import timeutils

from nova.i18n import _
from nova.xloud import entries
from nova.xloud import notes

SETTLED = 'Settled'
IN_PROGRESS = 'InProgress'
PARTIAL = 'Partial'
OVERCOMMITTED = 'Overcommitted'
# Those that the books can give. nova.xloud.condition says what they mean.
CONDITIONS = (SETTLED, IN_PROGRESS, PARTIAL, OVERCOMMITTED)


def of(books: ty.Mapping[str, str]) -> ty.Tuple[str, ty.Optional[str]]:
    """The condition of a server by its books, and its reason.

    :param books: the system_metadata of the server, or its books alone
    """
    if _is_changing(books):
        return IN_PROGRESS, _(
            'Request %s changes the server.') % (
                books[notes.TASK].split(' ')[0])
    return _of_quiet(books)


def _is_changing(books):
    """Whether a request changes the server now."""
    return not books.get(notes.TASK, notes.TASK_DONE).endswith(
        notes.TASK_DONE)


def _of_quiet(books):
    """The condition without the request that may change the server."""
    found = books.get(notes.OUTCOME)
    if found is not None:
        return found, books.get(notes.REASON, '')
    if notes.OFFLINE in books:
        return PARTIAL, books[notes.OFFLINE]
    if any(key in books for key in notes.UNFINISHED):
        return IN_PROGRESS, books.get(notes.PENDING) or _(
            'The last change or start of the server is not finished.')
    return SETTLED, None


def since(books: ty.Mapping[str, str]) -> ty.Optional[datetime.datetime]:
    """Since when this condition is noted, naive UTC.

    :returns: None if the condition has not changed since the server was
        created, or since a release that does not note this
    """
    when = books.get(notes.SINCE)
    if _is_changing(books):
        when = books.get(notes.BEGUN, '').split(' ')[0]
    return datetime.datetime.fromisoformat(when) if when else None


def note(stored: ty.Mapping[str, str], new: ty.Dict[str, str]) -> None:
    """Note the time in new books if their condition is another one.

    A request that leaves it as it was does not make it look new.
    """
    new.pop(notes.BEGUN, None)
    if entries.ELASTIC not in new:
        new.pop(notes.SINCE, None)
        return
    now = timeutils.utcnow().replace(microsecond=0).isoformat()
    begun = stored.get(notes.BEGUN) if _is_changing(stored) else None
    before = begun.split(' ')[1] if begun else _of_quiet(stored)[0]
    if _is_changing(new):
        new[notes.BEGUN] = begun or ' '.join((now, before))
    elif entries.ELASTIC not in stored or before != _of_quiet(new)[0]:
        new[notes.SINCE] = now
