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

import ddt
import fixtures
import jsonschema
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils
from webob import exc

from nova.api.openstack.compute.schemas import xloud_adjust as schema
from nova.api.openstack.compute import xloud_adjust
from nova.compute import vm_states
from nova import exception
from nova import test
from nova.tests.unit.api.openstack import fakes
from nova.tests.unit import fake_instance
from nova.tests.unit.xloud import fake_status

STATUS = fake_status.STATUS
VIEW = {
    'min_vcpus': 1, 'min_memory_mb': 1024,
    'max_vcpus': 8, 'max_memory_mb': 8192,
    'desired_vcpus': 4, 'desired_memory_mb': 4096,
    'boot_vcpus': 2, 'boot_memory_mb': 2048,
    'allocated_vcpus': 5, 'allocated_memory_mb': 5120,
    'actual_vcpus': 3, 'actual_memory_mb': 3072,
    'current_vcpus': 3, 'current_memory_mb': 3072,
    'online_vcpus': 2, 'vcpu_step': 1, 'balloon_driver_active': True,
    'attached_dimms_mb': 0, 'has_virtiomem': False,
    'condition': 'InProgress', 'reason': 'why',
    'blockers': [{'code': 'locked', 'dimension': 'vcpus',
                  'message': 'because'}]}


@ddt.ddt
class XloudAdjustControllerTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.controller = xloud_adjust.XloudAdjustController()
        self.req = fakes.HTTPRequest.blank('', use_admin_context=True)
        context = self.req.environ['nova.context']
        self.instance = fake_instance.fake_instance_obj(
            context, uuid=uuids.server, project_id=context.project_id,
            vm_state=vm_states.ACTIVE,
            task_state=None, launched_at=timeutils.utcnow())
        self.get = self.useFixture(fixtures.MockPatch(
            'nova.api.openstack.common.get_instance',
            return_value=self.instance)).mock
        self.adjust = self.useFixture(fixtures.MockPatch(
            'nova.compute.api.API.xloud_adjust', return_value=STATUS)).mock

    def _adjust(self, **body):
        return self.controller.adjust(self.req, uuids.server, body=body)

    def test_adjust(self):
        for body, expected in (
                ({'current_vcpus': 4}, (4, None, True)),
                ({'current_memory_mb': '4096'}, (None, 4096, True)),
                ({'current_vcpus': '04', 'current_memory_mb': 4096,
                  'persist': False}, (4, 4096, False)),
                ({'current_vcpus': 4, 'persist': 'false'}, (4, None, False)),
                ({'current_vcpus': 4, 'persist': 'No'}, (4, None, False)),
                ({'current_vcpus': 4, 'persist': 'ON'}, (4, None, True))):
            self.assertEqual({'xloud_status': VIEW}, self._adjust(**body))
            self.adjust.assert_called_with(
                self.req.environ['nova.context'], self.instance, *expected)
        adjust = self.controller.adjust
        # Since 31.0.0 it depends on the request.
        self.assertEqual(202, adjust.wsgi_codes(self.req) if hasattr(
            adjust, 'wsgi_codes') else adjust.wsgi_code)

    def test_malformed(self):
        for body in ({'current_vcpus': 0}, {'current_vcpus': '9' * 11},
                     {'current_vcpus': 2 ** 31},
                     {'current_vcpus': 4, 'persist': 'maybe'},
                     {'current_vcpus': 4, 'vcpus': 4}):
            self.assertRaises(exception.ValidationError, self._adjust, **body)
        for body in ({}, {'persist': False}):
            self.assertIn('or both are required', str(self.assertRaises(
                exc.HTTPBadRequest, self._adjust, **body)))
        self.get.assert_not_called()

    @ddt.data(
        (exception.InvalidRequest('why'), exc.HTTPBadRequest, 'why'),
        (exception.TooManyInstances('why'), exc.HTTPForbidden, 'why'),
        (exception.InstanceNotFound(instance_id='why'), exc.HTTPNotFound,
         'why'),
        (exception.ElasticConflict(instance_uuid='', reason='why'),
         exc.HTTPConflict, 'why'),
        (exception.ElasticNoRoom(instance_uuid='', reason='why'),
         exc.HTTPConflict, 'why'),
        (exception.InstanceIsLocked(instance_uuid=''), exc.HTTPConflict,
         'locked'),
        (exception.InstanceNotReady(instance_id='why'), exc.HTTPConflict,
         'why'),
        (exception.ServiceUnavailable(), exc.HTTPConflict, 'is down'),
        (exception.UnexpectedTaskStateError(
            instance_uuid='', expected='None', actual='why'),
         exc.HTTPConflict, 'why'),
        (exception.InstanceInvalidState(
            instance_uuid='', attr='vm_state', state='paused', method=''),
         exc.HTTPConflict, 'vm_state paused'))
    @ddt.unpack
    def test_refused(self, error, expected, text):
        self.adjust.side_effect = error
        answer = self.assertRaises(expected, self._adjust, current_vcpus=4)
        self.assertIn(text, answer.explanation)

    @mock.patch('nova.xloud.api.status', return_value=STATUS)
    def test_show(self, status):
        self.assertEqual({'xloud_status': VIEW},
                         self.controller.show(self.req, uuids.server))
        status.assert_called_once_with(
            self.controller.compute_api, self.req.environ['nova.context'],
            self.instance)

    @mock.patch('nova.xloud.api.status',
                return_value=STATUS._replace(guest=None))
    def test_show_without_an_answer_of_the_host(self, status):
        self.assertEqual(
            {'xloud_status': dict(
                VIEW, actual_vcpus=None, actual_memory_mb=None,
                online_vcpus=None, balloon_driver_active=False)},
            self.controller.show(self.req, uuids.server))

    def test_the_view_is_what_the_schema_says(self):
        jsonschema.validate({'xloud_status': VIEW}, schema.show_response)

    def test_schemas(self):
        for each in (schema.adjust, schema.show_query, schema.show_response,
                     schema.adjust_response):
            jsonschema.Draft4Validator.check_schema(each)
