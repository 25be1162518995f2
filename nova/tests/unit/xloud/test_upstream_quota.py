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

from oslo_limit import fixture as limit_fixture
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils

from nova.compute import api
from nova.compute import vm_states
from nova import context
from nova import exception
from nova.limit import utils as limit_utils
from nova import objects
from nova import test
from nova.xloud import size

INSTANCES = 3
CORES = 20
RAM = 40960


def fake_flavor(flavor_id, vcpus, memory_mb, **extra_specs):
    return objects.Flavor(
        id=flavor_id, flavorid=str(flavor_id), vcpus=vcpus,
        memory_mb=memory_mb, root_gb=0, ephemeral_gb=0, swap=0,
        extra_specs=extra_specs)


ELASTIC = fake_flavor(
    1, 16, 32768, minimum_cpu='2', minimum_memory='4096')
OTHER_ELASTIC = fake_flavor(
    2, 32, 65536, minimum_cpu='8', minimum_memory='16384')
FIXED = fake_flavor(3, 4, 8192)


class QuotaTestBase(test.TestCase):
    """A project that uses as much as each test says.

    Limits, deltas and their comparison are real; only the counting is not.
    """

    def setUp(self):
        super().setUp()
        self.context = context.RequestContext('a-user', 'a-project')
        self.api = api.API()

    def make_instance(self, flavor=ELASTIC, charged=None):
        charge = size.minimum(flavor)
        instance = objects.Instance(
            self.context, uuid=uuids.instance, flavor=flavor,
            old_flavor=None, new_flavor=None, vcpus=charge.vcpus,
            memory_mb=charge.memory_mb, system_metadata={}, host=None,
            user_id='a-user', project_id='a-project', task_state=None,
            vm_state=vm_states.ACTIVE, locked=False,
            launched_at=timeutils.utcnow(), deleted_at=None)
        if charged:
            size.record(instance, charged, charged)
        return instance

    def resize(self, instance, flavor, used):
        with self.project_uses(used):
            self.api._check_quota_for_upsize(
                self.context, instance, instance.flavor, flavor,
                is_bfv=True, is_revert=False)

    def revert(self, instance, used):
        with self.project_uses(used):
            self.api._check_quota_for_upsize(
                self.context, instance, instance.flavor, instance.old_flavor,
                is_bfv=True, is_revert=True)

    def restore(self, instance, used):
        instance.vm_state = vm_states.SOFT_DELETED
        with mock.patch(
                'nova.compute.utils.is_volume_backed_instance',
                return_value=True), mock.patch.object(
                    instance, 'save'), mock.patch.object(
                        self.api, '_record_action_start'), mock.patch.object(
                            self.api, '_update_queued_for_deletion'):
            with self.project_uses(used):
                self.api.restore(self.context, instance)

    def unshelve(self, instance, used):
        with self.project_uses(used):
            self.api._check_quota_unshelve_offloaded(
                self.context, instance, objects.RequestSpec(
                    is_bfv=True, flavor=instance.flavor))

    def assert_needs(self, cores, ram, function, *args):
        """It fits exactly, and not one less."""
        function(*args, size.Size(CORES - cores, RAM - ram))
        self.assertRaises(
            exception.OverQuota, function, *args,
            size.Size(CORES - cores + 1, RAM - ram))
        self.assertRaises(
            exception.OverQuota, function, *args,
            size.Size(CORES - cores, RAM - ram + 1))


class LegacyQuotaTestCase(QuotaTestBase):
    """Counted from the database."""

    def setUp(self):
        super().setUp()
        self.flags(instances=INSTANCES, cores=CORES, ram=RAM, group='quota')

    def project_uses(self, used):
        count = {'instances': 1, 'cores': used.vcpus, 'ram': used.memory_mb}
        return mock.patch('nova.objects.Quotas.count_as_dict',
                          return_value={'project': count, 'user': count})

    def test_resize_to_elastic(self):
        """It needs the minimum of the new flavor more than was charged."""
        self.assert_needs(
            6, 12288, self.resize, self.make_instance(), OTHER_ELASTIC)
        self.assert_needs(
            4, 8192, self.resize, self.make_instance(FIXED), OTHER_ELASTIC)

    def test_resize_of_grown(self):
        grown = self.make_instance(charged=size.Size(6, 12288))
        self.assert_needs(2, 4096, self.resize, grown, OTHER_ELASTIC)

    def test_resize_to_less(self):
        """However large the flavor, one can go below what is charged."""
        over = size.Size(CORES + 1, RAM + 1)
        grown = self.make_instance(charged=size.Size(8, 16384))
        self.resize(grown, OTHER_ELASTIC, over)
        self.resize(grown, FIXED, over)

    def test_resize_to_fixed(self):
        self.assert_needs(2, 4096, self.resize, self.make_instance(), FIXED)

    def test_resize_between_fixed(self):
        self.assert_needs(
            4, 8192, self.resize, self.make_instance(FIXED),
            fake_flavor(4, 8, 16384))

    def test_revert(self):
        """It needs what was charged before the resize."""
        instance = self.make_instance(charged=size.Size(12, 24576))
        self.finish_resize(instance, OTHER_ELASTIC)
        self.assert_needs(4, 8192, self.revert, instance)

    def test_revert_of_grown(self):
        """What it grew by after the resize is given back."""
        instance = self.make_instance(charged=size.Size(12, 24576))
        self.finish_resize(instance, OTHER_ELASTIC)
        size.record(instance, size.Size(10, 20480), size.Size(10, 20480))
        self.assert_needs(2, 4096, self.revert, instance)

    def test_revert_from_fixed(self):
        instance = self.make_instance(charged=size.Size(12, 24576))
        self.finish_resize(instance, FIXED)
        self.assert_needs(8, 16384, self.revert, instance)

    def test_revert_of_migration(self):
        """It needs what it was charged more before the migration."""
        instance = self.make_instance(charged=size.Size(12, 24576))
        instance.old_flavor = instance.new_flavor = ELASTIC
        instance.vm_state = 'resized'
        size.keep_for_revert(instance)
        self.revert(instance, size.Size(CORES + 1, RAM + 1))
        size.settle(instance, size.Size(12, 24576))
        size.record(instance, size.minimum(ELASTIC), size.minimum(ELASTIC))
        size.settle(instance, size.minimum(ELASTIC))
        lowered = size.charged(instance)
        self.assert_needs(12 - lowered.vcpus, 24576 - lowered.memory_mb,
                          self.revert, instance)

    def finish_resize(self, instance, flavor):
        charge = size.change_flavor(instance, flavor)
        instance.old_flavor = instance.flavor
        instance.new_flavor = instance.flavor = flavor
        instance.vcpus, instance.memory_mb = charge

    def test_restore(self):
        self.assert_needs(2, 4096, self.restore, self.make_instance())
        self.assert_needs(
            6, 12288, self.restore,
            self.make_instance(charged=size.Size(6, 12288)))
        self.assert_needs(4, 8192, self.restore, self.make_instance(FIXED))

    def test_unshelve(self):
        """Its servers count while they are shelved."""
        self.unshelve(self.make_instance(), size.Size(CORES, RAM))


class PlacementQuotaTestCase(LegacyQuotaTestCase):
    """Counted from Placement, which does not know shelved servers."""

    def setUp(self):
        super().setUp()
        self.flags(count_usage_from_placement=True, group='quota')

    def test_unshelve(self):
        self.assert_needs(2, 4096, self.unshelve, self.make_instance())
        self.assert_needs(
            6, 12288, self.unshelve,
            self.make_instance(charged=size.Size(6, 12288)))
        self.assert_needs(4, 8192, self.unshelve, self.make_instance(FIXED))
        # It starts with boot, whatever it was charged.
        grown = self.make_instance()
        size.record(grown, size.Size(6, 12288), size.Size(3, 5120))
        self.assert_needs(3, 5120, self.unshelve, grown)


class UnifiedLimitsTestCase(QuotaTestBase):
    """A resize needs the new flavor next to the old, as in Placement."""

    def setUp(self):
        super().setUp()
        self.flags(driver=limit_utils.UNIFIED_LIMITS_DRIVER, group='quota')
        self.useFixture(limit_fixture.LimitFixture(
            {'servers': INSTANCES, 'class:VCPU': CORES,
             'class:MEMORY_MB': RAM}, {}))

    def project_uses(self, used):
        usage = {'servers': 1, 'class:VCPU': used.vcpus,
                 'class:MEMORY_MB': used.memory_mb}
        return mock.patch('nova.limit.placement._get_usage',
                          return_value=usage)

    def test_resize(self):
        grown = self.make_instance(charged=size.Size(6, 12288))
        self.assert_needs(8, 16384, self.resize, grown, OTHER_ELASTIC)
        self.assert_needs(4, 8192, self.resize, grown, FIXED)

    def test_revert(self):
        instance = self.make_instance()
        instance.old_flavor = FIXED
        self.revert(instance, size.Size(CORES + 1, RAM + 1))

    def test_restore(self):
        self.assert_needs(
            6, 12288, self.restore,
            self.make_instance(charged=size.Size(6, 12288)))

    def test_unshelve_does_not_fail(self):
        """Upstream asks for no server of this size, so for nothing."""
        self.unshelve(
            self.make_instance(charged=size.Size(6, 12288)),
            size.Size(CORES, RAM))
