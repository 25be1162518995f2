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

"""Something happens between the request for a change and its end."""

import contextlib
from unittest import mock

import fixtures

from nova.tests.functional.xloud import answers_base
from nova.xloud import rpcapi
from nova.xloud import task


class TaskBase(answers_base.AnswersBase):

    def setUp(self):
        super().setUp()
        # Nobody waits that long here.
        self.useFixture(fixtures.MonkeyPatch('nova.xloud.task.LOCK_WAIT', 1))

    @contextlib.contextmanager
    def before(self, name, work, owner=rpcapi.XloudAPI):
        """Do something right before the first call of a function."""
        real = getattr(owner, name)
        done = []

        def late(*args, **kwargs):
            if not done:
                done.append(name)
                work()
            return real(*args, **kwargs)

        with mock.patch.object(owner, name, late):
            yield
        self.assertEqual([name], done)

    @contextlib.contextmanager
    def after(self, name, error, owner=rpcapi.XloudAPI):
        """The first call does its work and its answer is lost."""
        real = getattr(owner, name)
        done = []

        def lossy(*args, **kwargs):
            answer = real(*args, **kwargs)
            if not done:
                done.append(name)
                raise error
            return answer

        with mock.patch.object(owner, name, lossy):
            yield
        self.assertEqual([name], done)

    def take(self, token='req-of-somebody', state=task.OFFERED):
        """The task is taken by a request of which no more comes."""
        with self.cell() as cell:
            instance = self.instance(self.server)
            task.take(cell, instance, token)
            if state != task.OFFERED:
                instance = self.instance(self.server)
                task.note(instance, token, state)
                instance.save()

    def assert_no_task(self):
        instance = self.instance(self.server)
        self.assertIsNone(instance.task_state)
        known = task.of(instance)
        self.assertIn(known.state if known else task.DONE, [task.DONE])
