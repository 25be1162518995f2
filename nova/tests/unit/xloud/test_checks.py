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
import hypothesis
from hypothesis import strategies as st

from nova import exception
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import checks
from nova.xloud import size
from nova.xloud import topology


@ddt.ddt
class RequestTestCase(test.NoDBTestCase):
    """What a server can never be."""

    def _check(self, instance, vcpus=None, memory_mb=None):
        checks.check_request(instance, vcpus, memory_mb)

    def _refuses(self, text, *args, **kwargs):
        error = self.assertRaises(
            exception.InvalidRequest, self._check, *args, **kwargs)
        self.assertIn(text, str(error))

    def test_range(self):
        instance = fakes.server()
        for vcpus in (2, 3, fakes.MAXIMUM.vcpus):
            self._check(instance, vcpus)
        for memory_mb in (2048, 2049, fakes.MAXIMUM.memory_mb):
            self._check(instance, None, memory_mb)
        self._refuses('current_vcpus is 1', instance, 1)
        self._refuses('current_vcpus is 9', instance, 9, 4096)
        self._refuses('current_memory_mb is 2047', instance, 2, 2047)
        self._refuses('current_memory_mb is 16385', instance, None, 16385)

    def test_fixed(self):
        instance = fakes.server(fakes.flavor())
        self._refuses('current_vcpus', instance, fakes.MAXIMUM.vcpus)
        self._refuses('current_memory_mb', instance, None, 4096)
        self._refuses('current_vcpus', instance, *fakes.MAXIMUM)

    def test_fixed_in_a_dimension(self):
        instance = fakes.server(fakes.flavor(cpu=2))
        self._check(instance, 4)
        self._check(instance, 4, fakes.MAXIMUM.memory_mb)
        self._refuses('current_memory_mb', instance, 4, 4096)
        self._refuses(
            'current_memory_mb', instance, None, fakes.MAXIMUM.memory_mb)

        instance = fakes.server(fakes.flavor(memory=2048))
        self._check(instance, None, 4096)
        self._check(instance, fakes.MAXIMUM.vcpus, 4096)
        self._refuses('current_vcpus', instance, 4, 4096)
        self._refuses('current_vcpus', instance, fakes.MAXIMUM.vcpus)

    def test_bad_minimum_makes_the_dimension_fixed(self):
        instance = fakes.server()
        instance.flavor.extra_specs['minimum_cpu'] = 'many'
        self._refuses('minimum of the server, 8', instance, 4)

    def test_min_ram(self):
        instance = fakes.server()
        instance.system_metadata['image_min_ram'] = '4096'
        self._check(instance, 4, 4096)
        self._check(instance, 4)
        self._refuses('min_ram', instance, None, 4095)

    @ddt.data((None, None, 1), ('2', None, 2), (None, '2', 2), ('4', '2', 2),
              ('0', None, 1), ('-2', None, 1), ('x', None, 1), ('3', None, 1),
              ('8', None, 8))
    @ddt.unpack
    def test_step(self, of_flavor, of_image, step):
        instance = fakes.server()
        if of_flavor:
            instance.flavor.extra_specs['hw:cpu_threads'] = of_flavor
        if of_image:
            instance.system_metadata['image_hw_cpu_threads'] = of_image
        self.assertEqual(step, topology.step(
            instance.flavor, instance.image_meta))
        for vcpus in range(2, 9):
            if vcpus % step and vcpus != size.desired(instance).vcpus:
                self._refuses('cpu_threads', instance, vcpus)
            else:
                self._check(instance, vcpus)

    def test_step_of_what_it_has(self):
        instance = fakes.server()
        size.record(instance, size.Size(5, 4096), size.Size(5, 4096))
        instance.flavor.extra_specs['hw:cpu_threads'] = '2'
        self._check(instance, 5, 8192)
        self._check(instance, 6)
        self._refuses('multiple of the 2 threads', instance, 3)

    @hypothesis.given(fakes.elastic_flavors(),
                      st.none() | st.integers(0, 1 << 31),
                      st.none() | st.integers(0, 1 << 31))
    def test_what_is_taken_is_in_the_range(self, flavor, vcpus, memory_mb):
        instance = fakes.server(flavor)
        try:
            self._check(instance, vcpus, memory_mb)
        except exception.InvalidRequest:
            return
        for value, low, high in zip(
                (vcpus, memory_mb), size.minimum(flavor),
                size.maximum(flavor)):
            if value is not None:
                self.assertTrue(low <= value <= high)
