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

from nova import test
from nova.xloud import answer
from nova.xloud import guest as elastic_guest
from nova.xloud import size

GUEST = elastic_guest.GuestState(
    running=True, vcpus=2, memory_mb=2048, balloon_active=True,
    used_memory_mb=512, memory_pinned=False, cannot_plug=True,
    is_returning=True, online_vcpus=1, missing_statistic='usable',
    fixed_vcpus=1, is_still=True, is_busy=True,
    has_stale_config=True)
# What a compute service of the first version sends.
FIRST = {'actual_vcpus': 2, 'actual_memory_mb': 2048,
         'balloon_driver_active': True, 'memory_pinned': False,
         'used_memory_mb': None, 'cannot_plug': False}

LEFT = answer.Left(size.Size(2, 2048), size.Size(1, 1024), size.Size(3, 4096))


class AnswerTestCase(test.NoDBTestCase):

    def test_both_ways(self):
        for sent in (answer.Answer(GUEST),
                     answer.Answer(GUEST._replace(
                         used_memory_mb=None, missing_statistic=None)),
                     answer.Answer(elastic_guest.NOT_RUNNING),
                     answer.Answer(is_missing=True), answer.Answer(),
                     answer.Answer(left=LEFT),
                     answer.Answer(GUEST, left=LEFT)):
            self.assertEqual(sent, answer.Answer.from_rpc(sent.to_rpc()))

    def test_the_run_is_not_sent(self):
        sent = answer.Answer(GUEST._replace(run='a-run'))
        self.assertIsNone(answer.Answer.from_rpc(sent.to_rpc()).guest.run)

    def test_no_key_of_the_first_version_is_gone(self):
        for sent in (answer.Answer(GUEST), answer.Answer()):
            self.assertLessEqual(FIRST.keys(), sent.to_rpc().keys())

    def test_of_the_first_version(self):
        self.assertEqual(
            answer.Answer(elastic_guest.GuestState(
                running=True, vcpus=2, memory_mb=2048, balloon_active=True,
                used_memory_mb=None, memory_pinned=False,
                missing_statistic=elastic_guest.UNNAMED)),
            answer.Answer.from_rpc(FIRST))
        silent = dict(FIRST, actual_vcpus=None, actual_memory_mb=None)
        self.assertEqual(answer.Answer(), answer.Answer.from_rpc(silent))
