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

"""Elastic servers for Python programs: functions over a compute proxy.

``compute`` is ``openstack.connect(...).compute``. All of them raise
``openstack.exceptions.HttpException`` with the words of the API, and
:class:`NoElasticServers` where the cloud does not have them. The statuses
they return are dicts with the fields that the API documents, sizes in vCPUs
and MiB.
"""

import re
import time
import typing as ty
from urllib import parse

from keystoneauth1 import exceptions as keystone_exceptions
from openstack import exceptions

_LIST = '/os-xloud-adjust'
_PATH = _LIST + '/%s'

SETTLED = 'Settled'
PARTIAL = 'Partial'
# By which servers can be listed.
CONDITIONS = (SETTLED, 'InProgress', PARTIAL, 'Overcommitted')

# A guest has five minutes by default, then its compute service gives it up.
TIMEOUT = 600
_INTERVAL = 2
# How long an API can be at work on a request whose answer was lost.
LOST = 60


class NoElasticServers(exceptions.SDKException):
    """This cloud has no elastic servers."""


class NotSettled(exceptions.SDKException):
    """The guest has not got the size.

    :ivar status: the last status of the server
    """

    def __init__(self, message: str, status: ty.Dict[str, ty.Any]):
        super().__init__(message)
        self.status = status


class AnswerLost(exceptions.SDKException):
    """Nobody can say whether the change was accepted."""


def show(compute, server_id: str) -> ty.Dict[str, ty.Any]:
    """The sizes of a server, their condition and what blocks a change."""
    return _status(compute.get(_PATH % server_id))


def adjust(
    compute,
    server_id: str,
    vcpus: ty.Optional[int] = None,
    memory_mb: ty.Optional[int] = None,
    persist: bool = True,
) -> ty.Dict[str, ty.Any]:
    """Ask for another size.

    :param vcpus: None to keep what is desired
    :param memory_mb: None to keep what is desired
    :param persist: whether the next start gives this size too
    :returns: the status at once, which may still be InProgress
    :raises: AnswerLost if the connection broke or a proxy gave up; then
        :func:`accepted` knows
    """
    body: ty.Dict[str, ty.Any] = {'persist': persist}
    if vcpus is not None:
        body['current_vcpus'] = vcpus
    if memory_mb is not None:
        body['current_memory_mb'] = memory_mb
    try:
        return _status(compute.post(_PATH % server_id, json=body))
    except _UNANSWERED as error:
        if getattr(error, 'status_code', None) not in (None, 502, 504):
            raise
        raise AnswerLost(
            'The answer was lost: %s. The change may have been accepted all '
            'the same: look at the status before you repeat it.' % (
                getattr(error, 'details', None) or error))


def accepted(
    compute,
    server_id: str,
    vcpus: ty.Optional[int] = None,
    memory_mb: ty.Optional[int] = None,
    timeout: float = LOST,
    persist: bool = True,
) -> ty.Optional[ty.Dict[str, ty.Any]]:
    """See whether a server is to have this size, after :class:`AnswerLost`.

    If its hypervisor refuses, that is over again a little later, and
    :func:`wait` says so.

    :param persist: whether the next start is to give it, too
    :param timeout: seconds; the API may still be at work on the request
    :returns: the status of the server, or None if the change was not accepted
    """
    deadline = time.monotonic() + timeout
    while True:
        status = _answered(compute, server_id, deadline)
        if is_to_have(status, vcpus, memory_mb, persist):
            return status
        if time.monotonic() >= deadline:
            return None
        time.sleep(_INTERVAL)


def is_to_have(
    status: ty.Dict[str, ty.Any],
    vcpus: ty.Optional[int] = None,
    memory_mb: ty.Optional[int] = None,
    persist: bool = True,
) -> bool:
    """Whether a server is to have this size, by its status."""
    asked = {'vcpus': vcpus, 'memory_mb': memory_mb}
    kinds = ('desired', 'boot') if persist else ('desired',)
    return all(size in (None, status[f'{kind}_{name}'])
               for name, size in asked.items() for kind in kinds)


def wait(
    compute,
    server_id: str,
    timeout: float = TIMEOUT,
    callback: ty.Callable[[ty.Dict[str, ty.Any]], None] = lambda status: None,
    vcpus: ty.Optional[int] = None,
    memory_mb: ty.Optional[int] = None,
    persist: bool = True,
) -> ty.Dict[str, ty.Any]:
    """Wait until a server is settled, at the size that was asked for.

    :param timeout: seconds
    :param callback: is given each status that is not the last one
    :param vcpus, memory_mb, persist: what was asked for, as of
        :func:`adjust`. Without them, any size will do
    :returns: the status, which is Settled. A server that does not run gets
        the size when it starts
    :raises: NotSettled if the guest did not follow, or not in time, or if the
        server is to have another size now. An API that does not answer is
        asked again until then
    """
    deadline = time.monotonic() + timeout
    while True:
        status = _answered(compute, server_id, deadline)
        if status['condition'] == SETTLED:
            if is_to_have(status, vcpus, memory_mb, persist):
                return status
            raise NotSettled(_OTHER_SIZE, status)
        if status['condition'] == PARTIAL:
            raise NotSettled(status['reason'], status)
        if time.monotonic() >= deadline:
            raise NotSettled(
                'The server is still %s after %d seconds: %s' % (
                    status['condition'], timeout, status['reason']), status)
        callback(status)
        time.sleep(_INTERVAL)


def list_servers(
    compute,
    conditions: ty.Iterable[str] = (),
    host: ty.Optional[str] = None,
    project_id: ty.Optional[str] = None,
    all_projects: bool = False,
    page_size: ty.Optional[int] = None,
) -> ty.Iterator[ty.Dict[str, ty.Any]]:
    """The elastic servers with their sizes, the newest first.

    The cloud answers from its own records, without asking the hosts.

    :param conditions: only servers of one of these
    :param host: only servers of this host; for administrators
    :param project_id: for another project than one's own; for administrators
    :param all_projects: for administrators
    :param page_size: how many to ask for at a time
    """
    query = [('condition', condition) for condition in conditions]
    query += [(key, value) for key, value in (
        ('host', host), ('project_id', project_id),
        ('all_projects', 'true' if all_projects else None),
        ('limit', page_size)) if value is not None]
    marker: ty.List[ty.Tuple[str, ty.Any]] = []
    while True:
        asked = parse.urlencode(query + marker)
        response = compute.get(_LIST + ('?' + asked if asked else ''))
        try:
            exceptions.raise_from_response(response)
        except exceptions.NotFoundException:
            raise NoElasticServers(_NONE_HERE)
        body = _of_nova(response, 'xloud_servers')
        yield from body['xloud_servers']
        if not body.get('xloud_servers_links'):
            return
        marker = [('marker', body['xloud_servers'][-1]['id'])]


def history(compute, server_id: str) -> ty.List[ty.Dict[str, ty.Any]]:
    """How the sizes of a server have changed, the oldest first.

    It comes from the instance actions of the server. Each dict has ``when``,
    ``action``, ``request_id``, ``user_id``, the ``message`` of the action,
    and for each size that has changed its new value, such as
    ``desired_vcpus``; the others are missing.
    """
    # From 2.58 on, Nova gives a page of them.
    response = compute.get('/servers/%s/os-instance-actions' % server_id,
                           microversion='2.1')
    exceptions.raise_from_response(response)
    changes = []
    for action in _of_nova(response, 'instanceActions')['instanceActions']:
        if action['action'] not in _ACTIONS:
            continue
        change = {'when': action['start_time'],
                  **{key: action.get(key) for key in (
                      'action', 'request_id', 'user_id', 'message')}}
        for word, vcpus, memory_mb in _CHANGE.findall(
                action.get('message') or ''):
            change[word + '_vcpus'] = int(vcpus)
            change[word + '_memory_mb'] = int(memory_mb)
        changes.append(change)
    if not changes:
        # Instance actions are there without elastic servers, too.
        show(compute, server_id)
    # The newest comes first, and a database can count in whole seconds.
    return sorted(reversed(changes), key=lambda change: change['when'])


# What the history consists of, and the sizes after a change in its message.
_ACTIONS = ('xloud_adjust', 'xloud_settle')
_CHANGE = re.compile(
    r'(desired|boot|charged) [^;]* -> (\d+) vCPUs, (\d+) MiB')

_NONE_HERE = (
    'This cloud has no elastic servers: its compute API does not know '
    '/os-xloud-adjust. Ask its operator for XLoud Nova.')

_OTHER_SIZE = (
    'The server is to have another size now: it was started again, its host '
    'has undone the change, or somebody else has asked for another size.')

_UNANSWERED = (exceptions.HttpException, keystone_exceptions.ConnectionError)


def _answered(compute, server_id, deadline):
    """The status, asked for again while the API is away or busy."""
    while True:
        try:
            return show(compute, server_id)
        except _UNANSWERED as error:
            # An API that restarts says nothing about the guest.
            code = getattr(error, 'status_code', None) or 500
            if (code < 500 and code != 429) or time.monotonic() >= deadline:
                raise
        time.sleep(_INTERVAL)


def _status(response):
    try:
        exceptions.raise_from_response(response)
    except exceptions.NotFoundException as error:
        # The server was found by its name or id just before, unless the
        # cloud says which one it misses.
        if 'Instance' in str(error):
            raise
        raise NoElasticServers(_NONE_HERE)
    return _of_nova(response, 'xloud_status')['xloud_status']


def _of_nova(response, key):
    """The body of an answer, which has this key."""
    try:
        body = response.json()
        if body[key] is None:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise exceptions.SDKException(
            'What answered at %s is not the API of Nova. Is there a proxy '
            'between?' % response.url)
    return body
