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

from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids

from nova.api.openstack.compute import servers
from nova import exception
from nova import test
from nova.tests.unit.api.openstack import fakes
from nova.tests.unit import fake_instance


class RevertTestCase(test.TestCase):
    """The revert of a resize is answered as the resize itself is."""

    def test_without_quota(self):
        controller = servers.ServersController()
        request = fakes.HTTPRequest.blank('')
        context = request.environ['nova.context']
        self.stub_out('nova.api.openstack.common.get_instance',
                      lambda *args, **kwargs: fake_instance.fake_instance_obj(
                          context, uuid=uuids.server))
        # Its name is another one since 33.0.0.
        revert = getattr(controller, '_revert_resize', None) or (
            controller._action_revert_resize)
        with mock.patch(
                'nova.compute.api.API.revert_resize',
                side_effect=exception.TooManyInstances(
                    overs='cores', req=6, used=2, allowed=4)):
            error = self.assertRaises(exception.Forbidden, revert, request,
                                      uuids.server,
                                      body={'revertResize': None})
        self.assertEqual(403, error.code)
        self.assertIn('Requested 6, but already used 2 of 4',
                      error.format_message())
