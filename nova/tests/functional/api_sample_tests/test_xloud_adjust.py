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

from oslo_utils import timeutils

from nova.tests.functional.api_sample_tests import api_sample_base
from nova.tests.functional.xloud import api_base
from nova.xloud import notes


class XloudAdjustSampleJsonTest(
    api_base.AdjustTestBase, api_sample_base.ApiSampleTestBaseV21,
):
    microversion = None
    networks = []
    SUPPORTS_CELLS = True
    sample_dir = 'os-xloud-adjust'

    def setUp(self):
        super().setUp()
        self.server = self._create_elastic()

    def test_adjust(self):
        response = self._do_post(
            'os-xloud-adjust/%s' % self.server['id'],
            'xloud-adjust-post-req', {})
        self._verify_response('xloud-adjust-post-resp', {}, response, 202)

    def test_show(self):
        response = self._do_get('os-xloud-adjust/%s' % self.server['id'])
        self._verify_response('xloud-adjust-get-resp', {}, response, 200)

    def test_show_after_a_start(self):
        # The balloon driver of the guest is not loaded yet.
        instance = self._instance(self.server)
        notes.mark_changed(instance, timeutils.utcnow())
        instance.save()
        self.endpoint.actual = api_base.MINIMUM._replace(
            memory_mb=api_base.MAXIMUM.memory_mb)
        self.endpoint.balloon = False
        response = self._do_get('servers/%s/xloud-status' % self.server['id'])
        self._verify_response('xloud-status-get-resp', {}, response, 200)
