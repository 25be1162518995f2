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

import hypothesis

from nova import objects
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import claim
from nova.xloud import size


class ClaimTestCase(test.NoDBTestCase):

    def test_not_elastic(self):
        bare = objects.Flavor(id=1, vcpus=8, memory_mb=16384)
        for flavor in (bare, fakes.flavor()):
            self.assertEqual(fakes.MAXIMUM, claim.of(flavor))
            self.assertIs(flavor, claim.carry_charge(flavor, None))

    @hypothesis.given(fakes.elastic_flavors())
    def test_a_new_server_asks_for_its_minimum(self, flavor):
        self.assertEqual(size.minimum(flavor), claim.of(flavor))

    def test_a_bad_minimum_never_asks_for_less(self):
        for value in ('two', '', '0', '9'):
            self.assertEqual(
                fakes.MAXIMUM, claim.of(fakes.flavor(cpu=value)))

    @hypothesis.given(fakes.used_instances())
    def test_claim_carries_the_charge_over_rpc(self, instance):
        flavor = instance.flavor
        before = dict(flavor.extra_specs)
        carried = claim.carry_charge(flavor, instance)
        self.assertEqual(size.charged(instance), claim.of(carried))
        self.assertEqual(before, flavor.extra_specs)
        # What a request spec of an earlier move carried is replaced.
        again = claim.carry_charge(carried, instance)
        self.assertEqual(carried.extra_specs, again.extra_specs)

    @hypothesis.given(fakes.used_instances(),
                      fakes.elastic_flavors(flavor_id=2))
    def test_a_resize_asks_for_the_new_minimum(self, instance, new):
        self.assertEqual(size.minimum(new),
                         claim.of(claim.carry_charge(new, instance)))
