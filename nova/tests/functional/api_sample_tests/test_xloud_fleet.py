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

import datetime

from nova.tests.functional.api_sample_tests import api_sample_base
from nova.tests.functional.xloud import api_base
from nova.xloud import notes
from nova.xloud import size


class XloudFleetSampleJsonTest(
    api_base.AdjustTestBase, api_sample_base.ApiSampleTestBaseV21,
):
    ADMIN_API = True
    microversion = None
    networks = []
    SUPPORTS_CELLS = True
    sample_dir = 'os-xloud-adjust'

    def setUp(self):
        super().setUp()
        first, second = self._create_elastic(), self._create_elastic()
        self.marker = second['id']
        instance = self._instance(second)
        instance.display_name = 'db1'
        # Of two servers of one second, either may be listed first.
        instance.created_at += datetime.timedelta(seconds=1)
        instance.save()
        instance = self._instance(first)
        instance.display_name = 'web1'
        size.record(instance, size.Size(4, 2048), size.Size(2, 1024))
        notes.set_outcome(
            instance, 'Partial',
            'The guest holds 4 vCPUs, 2048 MiB and not 2 vCPUs, 1024 MiB. It '
            'did not give back memory. It had 300 seconds.')
        instance.save()

    def test_index(self):
        response = self._do_get('os-xloud-adjust')
        self._verify_response(
            'xloud-servers-get-resp', {}, response, 200)

    def test_index_page(self):
        response = self._do_get(
            'os-xloud-adjust?condition=Partial&limit=1&marker=%s' %
            self.marker)
        self._verify_response(
            'xloud-servers-page-get-resp', {}, response, 200)
