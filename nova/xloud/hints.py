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

"""Scheduler hints that are Nova's own.

Nova marks its own request for the host on which it rebuilds a server with a
hint, ``_nova_check_type``. With it, the scheduler asks Placement for nothing,
requires no trait and runs only some filters. A user can send the same hint,
which Nova stores with the server. The result is a server without an
allocation, on any host: upstream's bug 2151252.
"""

from oslo_log import log as logging

from nova.xloud import size

LOG = logging.getLogger(__name__)

_PREFIX = '_nova'


def ignore_users(request_spec) -> None:
    """Remove Nova's own hints from a request if a user sent them.

    The hints of a user are stored with the request spec, which then has an id.
    Nova removes the id from a spec that it marks, so that it is never stored.

    :param request_spec: RequestSpec, as the scheduler got it, or None
    """
    if (not request_spec or 'id' not in request_spec or
            'flavor' not in request_spec or
            not size.is_elastic(request_spec.flavor)):
        return
    hints = ('scheduler_hints' in request_spec and
             request_spec.scheduler_hints or {})
    ours = sorted(hint for hint in hints if hint.startswith(_PREFIX))
    if ours:
        LOG.warning('Scheduler hints of the user that are only for Nova have '
                    'no effect on server %(uuid)s: %(hints)s',
                    {'uuid': request_spec.instance_uuid,
                     'hints': ', '.join(ours)})
        request_spec.scheduler_hints = {
            hint: values for hint, values in hints.items()
            if hint not in ours}
