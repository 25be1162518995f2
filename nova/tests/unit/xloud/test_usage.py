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

from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils

from nova.api.openstack.compute import simple_tenant_usage
from nova.compute import vm_states
from nova import context
from nova.notifications import base as notifications
from nova.notifications.objects import flavor as flavor_payload
from nova import objects
from nova import test
from nova.xloud import size

ELASTIC = {'minimum_cpu': '2', 'minimum_memory': '4096'}


class UsageTestCase(test.TestCase):
    """What a bill is made from."""

    def setUp(self):
        super().setUp()
        self.context = context.RequestContext('a-user', 'a-project')

    def make_instance(self, extra_specs, charged=None):
        """A server that was launched an hour ago, as the database has it."""
        flavor = objects.Flavor(
            id=1, flavorid='1', name='a-flavor', vcpus=8, memory_mb=16384,
            root_gb=10, ephemeral_gb=0, swap=0, rxtx_factor=1.0,
            vcpu_weight=0, disabled=False, is_public=True,
            extra_specs=extra_specs)
        minimum = size.minimum(flavor)
        instance = objects.Instance(
            self.context, uuid=uuids.instance, flavor=flavor,
            instance_type_id=flavor.id, vcpus=minimum.vcpus,
            memory_mb=minimum.memory_mb, root_gb=10, ephemeral_gb=0,
            system_metadata={}, user_id='a-user', project_id='a-project',
            vm_state=vm_states.ACTIVE, display_name='a-server',
            launched_at=timeutils.utcnow() - datetime.timedelta(hours=1))
        instance.create()
        if charged:
            size.record(instance, charged, charged)
            instance.save()
        return instance

    def tenant_usage(self):
        controller = simple_tenant_usage.SimpleTenantUsageController()
        launched_at = objects.Instance.get_by_uuid(
            self.context, uuids.instance).launched_at
        (summary,), (server,) = controller._tenant_usages_for_period(
            self.context.elevated(),
            launched_at - datetime.timedelta(hours=1),
            launched_at + datetime.timedelta(hours=1))
        # One hour.
        self.assertEqual(server['vcpus'], summary['total_vcpus_usage'])
        self.assertEqual(server['memory_mb'], summary['total_memory_mb_usage'])
        return server['vcpus'], server['memory_mb']

    def legacy_notification(self):
        info = notifications.info_from_instance(
            self.context, objects.Instance.get_by_uuid(
                self.context, uuids.instance), network_info=None)
        return info['vcpus'], info['memory_mb']

    def assert_usage(self, vcpus, memory_mb):
        self.assertEqual((vcpus, memory_mb), self.tenant_usage())
        self.assertEqual((vcpus, memory_mb), self.legacy_notification())

    def test_new(self):
        self.make_instance(ELASTIC)
        self.assert_usage(2, 4096)

    def test_grown(self):
        self.make_instance(ELASTIC, size.Size(6, 8192))
        self.assert_usage(6, 8192)

    def test_one_dimension(self):
        self.make_instance({'minimum_memory': '4096'})
        self.assert_usage(8, 4096)

    def test_not_elastic(self):
        instance = self.make_instance({})
        # As an old deployment may have it.
        instance.vcpus = 1
        instance.save()
        self.assert_usage(8, 16384)

    def test_versioned_notification_tells_the_flavor(self):
        instance = self.make_instance(ELASTIC)
        payload = flavor_payload.FlavorPayload(instance.flavor)
        self.assertEqual(8, payload.vcpus)
        self.assertEqual(16384, payload.memory_mb)
        self.assertEqual(ELASTIC, payload.extra_specs)
