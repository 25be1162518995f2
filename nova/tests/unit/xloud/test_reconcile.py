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

import fixtures

from nova import test
from nova.xloud import reconcile


class PassTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.reconciler = reconcile.Reconciler(
            mock.Mock(), mock.Mock(), mock.Mock())
        self.passes = self.useFixture(
            fixtures.MockPatchObject(self.reconciler, 'reconcile')).mock
        self.threads = self.useFixture(
            fixtures.MockPatchObject(reconcile.threading, 'Thread')).mock

    def start(self):
        self.reconciler.reconcile_soon('a context')

    def end(self):
        self.threads.call_args.kwargs['target']()

    def test_one_at_a_time(self):
        self.start()
        self.start()
        self.threads.assert_called_once()
        self.end()
        self.passes.assert_called_once_with('a context')
        self.start()
        self.assertEqual(2, self.threads.call_count)

    def test_that_fails(self):
        self.passes.side_effect = ValueError
        self.start()
        self.end()
        self.start()
        self.assertEqual(2, self.threads.call_count)

    def test_the_machine_has_no_thread_left(self):
        self.threads.return_value.start.side_effect = [RuntimeError, None]
        self.assertRaises(RuntimeError, self.start)
        self.start()
        self.end()
        self.passes.assert_called_once_with('a context')
