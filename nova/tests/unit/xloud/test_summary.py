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

from oslo_utils import uuidutils

from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import condition
from nova.xloud import notes
from nova.xloud import summary


@mock.patch.object(summary.LOG, 'info')
class SummaryTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        flavor = fakes.flavor(cpu=2)
        self.servers = [
            fakes.instance(flavor, uuid=uuidutils.generate_uuid())
            for _number in range(5)]
        # It is not counted.
        self.servers.append(fakes.instance(
            fakes.flavor(), uuid=uuidutils.generate_uuid()))

    def test_all_are_settled(self, info):
        summary.log(self.servers, set())
        summary.log([], set())
        info.assert_not_called()

    def test_some_are_not(self, info):
        notes.set_outcome(self.servers[0], condition.PARTIAL, 'why')
        notes.set_outcome(self.servers[1], condition.PARTIAL, 'why')
        notes.note_settling(self.servers[2], True)
        summary.log(self.servers, {self.servers[3].uuid})
        info.assert_called_once()
        text, *values = info.call_args.args
        self.assertEqual(
            'Elastic servers: Settled=1, InProgress=1, Partial=2, Unknown=1, '
            'total=5', text % tuple(values))
