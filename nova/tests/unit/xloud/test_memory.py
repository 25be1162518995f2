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

import types

import ddt

from nova import test
from nova.xloud import memory
from nova.xloud import size

RESERVE = 128


def fake_guest(**kwargs):
    return types.SimpleNamespace(**{
        'running': True, 'memory_mb': 4096, 'balloon_active': True,
        'used_memory_mb': 1000, 'memory_pinned': False,
        'missing_statistic': None, **kwargs})


@ddt.ddt
class KernelTestCase(test.NoDBTestCase):

    # By maximum and vCPUs: what an idle Debian 12 needed, as the manual has
    # it with the command that measures it.
    MEASURED = (
        (256, 4, 60), (512, 4, 70), (1024, 4, 151), (1024, 64, 187),
        (1024, 240, 277), (2048, 4, 174), (3072, 4, 302), (4096, 4, 325),
        (8192, 4, 417), (16384, 4, 592), (65536, 4, 1732), (131072, 4, 3140))

    @ddt.data(*MEASURED)
    @ddt.unpack
    def test_covers_what_was_measured(self, memory_mb, vcpus, needed_mb):
        named = memory.kernel_mb(size.Size(vcpus, memory_mb), 128)
        self.assertGreaterEqual(named, needed_mb)
        # And does not refuse much more than that.
        self.assertLess(named, needed_mb + 200)

    def test_never_above_the_maximum(self):
        self.assertEqual(100, memory.kernel_mb(size.Size(4, 100), 128))

    def test_base(self):
        maximum = size.Size(4, 8192)
        self.assertEqual(428, memory.kernel_mb(maximum, 128))
        self.assertEqual(300, memory.kernel_mb(maximum, 0))
        self.assertEqual(0, memory.kernel_mb(maximum, -1))

    def test_boot(self):
        memory.check_boot(428, 1024, 428)
        # A value that is held passes, and so does more.
        memory.check_boot(256, 256, 428)
        memory.check_boot(300, 256, 428)
        error = self.assertRaises(
            ValueError, memory.check_boot, 427, 1024, 428)
        self.assertIn('428 MiB is the least', str(error))
        self.assertRaises(ValueError, memory.check_boot, 255, 256, 428)


class CheckTestCase(test.NoDBTestCase):

    def check(self, wanted_mb, least_mb=0, **kwargs):
        memory.check(fake_guest(**kwargs), wanted_mb, RESERVE, least_mb)

    def refusal(self, wanted_mb, **kwargs):
        return str(self.assertRaises(
            ValueError, self.check, wanted_mb, **kwargs))

    def test_floor(self):
        self.check(1128)
        self.assertIn('so 1128 MiB is the least now', self.refusal(1127))

    def test_floor_of_the_kernel(self):
        self.check(1200, least_mb=1200)
        self.assertIn('so 1200 MiB is the least now',
                      self.refusal(1199, least_mb=1200))

    def test_the_least_is_never_more_than_it_holds(self):
        self.assertIn('so 4096 MiB is the least now',
                      self.refusal(2000, used_memory_mb=4000))
        self.check(4096, used_memory_mb=4000)

    def test_rounding(self):
        self.check(4095, used_memory_mb=4000)

    def test_growth_needs_no_statistics(self):
        for wanted_mb in (4096, 8192):
            self.check(wanted_mb, used_memory_mb=None)

    def test_unknown(self):
        self.assertIn('no memory statistics. Check', self.refusal(
            4000, used_memory_mb=None, balloon_active=False))
        self.assertIn('has just moved', self.refusal(
            4000, used_memory_mb=None))
        self.assertIn('the statistic usable', self.refusal(
            4000, used_memory_mb=None, missing_statistic='usable'))

    def test_pinned(self):
        for wanted_mb in (1024, 4096, 8192):
            self.assertIn('passed-through',
                          self.refusal(wanted_mb, memory_pinned=True))

    def test_unsure(self):
        unsure = fake_guest(used_memory_mb=None)
        self.assertTrue(memory.is_unsure(unsure, 4000))
        self.assertFalse(memory.is_unsure(unsure, 4095))
        for kwargs in ({'used_memory_mb': 1000}, {'balloon_active': False},
                       {'memory_pinned': True}, {'running': False},
                       {'missing_statistic': 'usable'}):
            self.assertFalse(memory.is_unsure(
                fake_guest(**{'used_memory_mb': None, **kwargs}), 4000))


class TargetTestCase(test.NoDBTestCase):

    def target(self, desired_mb, tolerance_mb=0, **kwargs):
        return memory.target(
            fake_guest(**kwargs), size.Size(1, desired_mb), RESERVE,
            tolerance_mb).memory_mb

    def test_what_is_desired(self):
        self.assertEqual(1128, self.target(1128))
        self.assertEqual(8192, self.target(8192))
        self.assertEqual(1024, self.target(1024, used_memory_mb=None))

    def test_a_guest_that_needs_more_keeps_what_it_holds(self):
        self.assertEqual(4096, self.target(1127))
        self.assertEqual(4096, self.target(1024, used_memory_mb=4096))
        self.assertEqual(4096, self.target(1024, memory_pinned=True))

    def test_tolerance(self):
        self.assertEqual(1064, self.target(1064, tolerance_mb=64))
        self.assertEqual(4096, self.target(1063, tolerance_mb=64))

    def test_a_guest_that_starts_gets_what_it_needs(self):
        def target(maximum_mb=8192, **kwargs):
            return memory.start_target(
                fake_guest(**kwargs), size.Size(1, 1024), RESERVE,
                maximum_mb).memory_mb

        self.assertEqual(1024, target(used_memory_mb=None))
        # Its boot size need not leave it any reserve.
        self.assertEqual(1024, target(used_memory_mb=1152))
        self.assertEqual(4096, target(used_memory_mb=1153))
        self.assertEqual(4208, target(used_memory_mb=4080))
        self.assertEqual(4100, target(4100, used_memory_mb=4080))
        self.assertEqual(
            1178, target(memory_mb=1060, used_memory_mb=1050))
        self.assertEqual(4096, target(memory_pinned=True))
        # It has come down to its boot size, and that is what it gets.
        self.assertEqual(1024, target(memory_mb=1024, used_memory_mb=1020))
