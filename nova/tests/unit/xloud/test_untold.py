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
from unittest import mock

import fixtures
from oslo_utils import timeutils

from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import untold


class RequestsTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.later = datetime.timedelta()
        self.useFixture(fixtures.MonkeyPatch(
            'nova.xloud.untold.timeutils', mock.Mock(
                utcnow=lambda: timeutils.utcnow() + self.later)))
        self.requests = untold.Requests()
        server = fakes.server()
        self.first = situation.sizes_of(server)
        self.second = self.first._replace(desired=size.Size(3, 1024))
        self.third = self.first._replace(desired=size.Size(4, 2048))

    def _pop_later(self):
        self.later += datetime.timedelta(seconds=61)
        return [(request_id, change.before, change.after)
                for request_id, change in self.requests.pop_untold()]

    def test_what_a_request_leaves_is_told_later_and_once(self):
        self.assertEqual(self.first, self.requests.begin('req-1', self.first))
        self.requests.end('req-1', self.second)
        self.assertEqual([], self.requests.pop_untold())
        self.assertEqual(
            [('req-1', self.first, self.second)], self._pop_later())
        self.assertEqual([], self._pop_later())

    def test_a_request_that_is_repeated_has_begun_once(self):
        self.requests.begin('req-1', self.first)
        self.assertEqual(self.first, self.requests.begin('req-1', self.second))
        self.assertEqual(self.third, self.requests.begin('req-2', self.third))

    def test_a_request_of_another_host_is_not_known(self):
        self.requests.end('req-0', self.second)
        self.requests.begin('req-1', self.first)
        self.requests.end('req-0', self.second)
        self.assertEqual([], self._pop_later())

    def test_a_request_that_goes_on_leaves_nothing_yet(self):
        self.requests.begin('req-1', self.first)
        self.requests.end('req-1', self.second)
        self.requests.forget_end('req-1')
        self.assertEqual([], self._pop_later())
