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

"""The requests to Nova, with keystoneauth alone.

Neither novaclient nor openstacksdk knows them, and Horizon moves from the one
to the other.
"""

import logging
import typing as ty

from django.conf import settings
from django.utils.translation import gettext as _
from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import session
from keystoneauth1 import token_endpoint

from horizon import exceptions as horizon_exceptions

from openstack_dashboard.api import base

LOG = logging.getLogger(__name__)

_COLLECTION = '/os-xloud-adjust'


class Error(Exception):
    """Nova did not do what it was asked.

    :ivar message: in the words of Nova, if it has any
    """

    def __init__(self, message):
        super().__init__(message)
        self.message = message


class Unanswered(Error):
    """Nobody knows whether Nova does what it was asked."""


class NoElasticServers(Error):
    """The Nova of this cloud does not have the series."""

    def __init__(self):
        super().__init__(_(
            'This cloud has no elastic servers: its compute service does not '
            'know os-xloud-adjust. Ask its operator for XLoud Nova.'))


def show(request, server_id: str) -> ty.Dict[str, ty.Any]:
    """The status of a server."""
    return _call(request, 'xloud_status', 'GET',
                 '%s/%s' % (_COLLECTION, server_id))['xloud_status']


def adjust(
    request,
    server_id: str,
    persist: bool = True,
    **current: int,
) -> ty.Dict[str, ty.Any]:
    """Ask for another size.

    :param current: vcpus, memory_mb or both
    :returns: the status at once, which may still be InProgress
    """
    body: ty.Dict[str, ty.Any] = {'persist': persist}
    body.update(('current_' + key, value) for key, value in current.items())
    try:
        answer = _call(request, 'xloud_status', 'POST',
                       '%s/%s' % (_COLLECTION, server_id), body)
    except Unanswered:
        # A proxy may have given up while Nova waits for the guest.
        raise Unanswered(_(
            'The compute service did not answer in time. The change may have '
            'been accepted all the same: look at the sizes of the server '
            'before you ask for it again.'))
    return answer['xloud_status']


def actions(request, server_id: str) -> ty.List[ty.Dict[str, ty.Any]]:
    """The instance actions of a server, the newest first."""
    return _call(
        request, 'instanceActions', 'GET',
        '/servers/%s/os-instance-actions' % server_id)['instanceActions']


def fleet(request, **filters) -> ty.Tuple[
        ty.List[ty.Dict[str, ty.Any]], bool]:
    """Elastic servers of all projects, and whether there are more.

    :param filters: condition, host, project_id, limit, marker
    """
    answer = _call(request, 'xloud_servers', 'GET', _COLLECTION, params={
        'all_projects': 'true',
        **{key: value for key, value in filters.items() if value}})
    return answer['xloud_servers'], bool(answer.get('xloud_servers_links'))


def _call(request, wanted, method, path, body=None, params=None):
    """The body of an answer, which has the key that is wanted."""
    verify = (False if settings.OPENSTACK_SSL_NO_VERIFY
              else settings.OPENSTACK_SSL_CACERT or True)
    try:
        url = base.url_for(request, 'compute')
        made = session.Session(
            auth=token_endpoint.Token(url, request.user.token.id),
            verify=verify, user_agent='xloud-dashboard')
        response = made.request(
            path, method, json=body, params=params or {}, raise_exc=False,
            endpoint_override=url, headers={'Accept': 'application/json'})
    except horizon_exceptions.ServiceCatalogException:
        raise Error(_('This cloud has no compute service.'))
    except keystone_exceptions.ClientException as error:
        # Its text has addresses that are no business of users.
        LOG.warning('Nova does not answer: %s', error)
        raise Unanswered(_('The compute service does not answer. Please try '
                           'again.'))
    if response.status_code == 401:
        raise Error(_('Your session has expired. Please log in again.'))
    if response.status_code >= 400:
        message = _message(response)
        # A server that is missing is named.
        if response.status_code == 404 and 'Instance' not in message:
            raise NoElasticServers()
        raise (Unanswered if response.status_code in (502, 504) else Error)(
            message)
    try:
        answer = response.json()
        answer[wanted]
    except (ValueError, KeyError, TypeError):
        # Perhaps of a proxy
        raise Error(_('The compute service gave an unknown answer (%s).') %
                    response.status_code)
    return answer


def _message(response):
    """As Nova wraps it: {"conflictingRequest": {"message": ...}}."""
    try:
        (wrapped,) = response.json().values()
        return str(wrapped['message'])
    except (AttributeError, KeyError, TypeError, ValueError):
        return '%s %s' % (response.status_code, response.reason)
