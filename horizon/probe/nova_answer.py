#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Say what Nova makes of requests: JSON on stdin, and JSON on stdout.

Runs in Nova's tree, with Nova's own controller.  Its decorators choose the
schema by the microversion and validate the request; then it calls the compute
API, which is a mock here that keeps what it is called with.
"""

import json
import sys
from unittest import mock

from nova.api.openstack import common
from nova.api.openstack.compute import migrate_server
from nova import context
from nova import exception
from nova.tests.unit.api.openstack import fakes


def answer(request):
    with mock.patch.object(migrate_server.compute, 'API'), \
            mock.patch.object(common, 'get_instance'), \
            mock.patch.object(context.RequestContext, 'can'):
        controller = migrate_server.MigrateServerController()
        req = fakes.HTTPRequest.blank('', version=request['version'],
                                      use_admin_context=True)
        try:
            controller._migrate_live(req, 'server', body=request['body'])
        except exception.ValidationError as refused:
            return {'refused': str(refused)}
        called, = controller.compute_api.live_migrate.call_args_list
    names = ('block_migration', 'disk_over_commit', 'host', 'force', 'async')
    return dict(zip(names, called[0][2:]))


if __name__ == '__main__':
    json.dump([answer(one) for one in json.load(sys.stdin)], sys.stdout)
