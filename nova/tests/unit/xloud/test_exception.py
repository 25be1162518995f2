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

import ddt
from oslo_utils.fixture import uuidsentinel as uuids

from nova import exception
from nova import test
from nova.tests.unit.xloud import broker


@ddt.ddt
class ElasticExceptionsTestCase(test.NoDBTestCase):

    @ddt.data(exception.ElasticNoRoom, exception.ElasticConflict)
    def test_crosses_a_broker_as_itself(self, kind):
        error = broker.as_received(
            kind(instance_uuid=uuids.server, reason='the reason'))
        self.assertIsInstance(error, kind)
        self.assertIsInstance(error, exception.Invalid)
        self.assertEqual(409, error.code)
        self.assertIn('the reason', error.format_message())
        self.assertIn(uuids.server, error.format_message())
