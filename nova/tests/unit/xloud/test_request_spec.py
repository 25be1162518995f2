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

import fixtures
from oslo_utils.fixture import uuidsentinel as uuids

from nova import objects
from nova.scheduler import host_manager
from nova.scheduler import utils
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import size


def request_spec(flavor, **kwargs):
    return objects.RequestSpec(flavor=flavor, is_bfv=True, **kwargs)


def over_rpc(spec):
    return objects.RequestSpec.obj_from_primitive(spec.obj_to_primitive())


class RequestSpecTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.flavor = fakes.flavor(cpu=2, memory=4096)
        self.flavor.update(
            {'root_gb': 1, 'ephemeral_gb': 0, 'swap': 0})
        self.instance = fakes.instance(
            self.flavor, project_id='project', user_id='user')

    def _asks_for(self, spec):
        """What the scheduler reads, which gets the spec over RPC."""
        spec = over_rpc(spec)
        asked = utils.ResourceRequest.from_request_spec(
            spec).merged_resources()
        legacy = spec.to_legacy_request_spec_dict()['instance_properties']
        self.assertEqual((asked['VCPU'], asked['MEMORY_MB']),
                         (spec.vcpus, spec.memory_mb))
        self.assertEqual((spec.vcpus, spec.memory_mb),
                         (legacy['vcpus'], legacy['memory_mb']))
        return size.Size(spec.vcpus, spec.memory_mb)

    def test_new_server_asks_for_its_minimum(self):
        self.assertEqual((2, 4096), self._asks_for(request_spec(self.flavor)))

    def test_only_a_flavor_is_needed(self):
        spec = objects.RequestSpec(flavor=self.flavor)
        self.assertEqual((2, 4096), (spec.vcpus, spec.memory_mb))

    def test_move_asks_for_the_charge(self):
        spec = request_spec(self.flavor)
        for charge in (size.Size(5, 8192), size.Size(6, 4097)):
            # The second time the spec still says what the first move asked
            # for, since it is saved after a cold migration.
            size.record(self.instance, charge, size.Size(2, 4096))
            size.settle(self.instance, charge)
            spec.ensure_project_and_user_id(self.instance)
            self.assertEqual(charge, self._asks_for(spec))
        self.assertEqual('project', spec.project_id)
        self.assertEqual(
            {'minimum_cpu': '2', 'minimum_memory': '4096'},
            self.flavor.extra_specs, 'the flavor of the server is changed')

    def test_resize_asks_for_the_new_minimum(self):
        size.record(self.instance, size.Size(5, 8192), size.Size(5, 8192))
        spec = request_spec(self.flavor)
        spec.ensure_project_and_user_id(self.instance)

        # The conductor replaces the flavor, and again for a reschedule.
        new = fakes.flavor(2, cpu=3)
        new.update({'root_gb': 1, 'ephemeral_gb': 0, 'swap': 0})
        for _ in range(2):
            spec.flavor = new
            spec.ensure_project_and_user_id(self.instance)
            self.assertEqual((3, 16384), self._asks_for(spec))

    def test_move_after_a_failed_resize_asks_for_the_charge(self):
        """The spec has the flavor that the server did not get."""
        charge, boot = size.Size(5, 8192), size.Size(3, 4096)
        size.record(self.instance, charge, boot)
        plain = fakes.flavor(2)
        for flavor in (fakes.flavor(3, cpu=3), plain):
            flavor.update({'root_gb': 1, 'ephemeral_gb': 0, 'swap': 0})
            for task, asked in (('migrating', charge), ('rebuilding', boot),
                                ('unshelving', boot)):
                spec = request_spec(flavor)
                self.instance.task_state = task
                spec.ensure_project_and_user_id(self.instance)
                self.assertEqual(asked, self._asks_for(spec))
                self.assertEqual(self.flavor.id, spec.flavor.id)
        # Of a server that is not elastic, too
        instance = fakes.instance(
            plain, project_id='project', user_id='user',
            task_state='migrating')
        spec = request_spec(self.flavor)
        spec.ensure_project_and_user_id(instance)
        self.assertEqual((8, 16384), self._asks_for(spec))

    def test_rescheduled_build_asks_for_its_minimum(self):
        legacy = request_spec(
            self.flavor, instance_uuid=uuids.instance, numa_topology=None,
            pci_requests=None, user_id='user', project_id='project',
            availability_zone=None).to_legacy_request_spec_dict()
        spec = objects.RequestSpec.from_primitives(None, legacy, {})
        self.assertEqual((2, 4096), (spec.vcpus, spec.memory_mb))

    def test_host_state_consumes_what_is_asked(self):
        self.useFixture(fixtures.MockPatch(
            'nova.virt.hardware.numa_usage_from_instance_numa'))
        host = host_manager.HostState('host', 'node', None)
        host.free_ram_mb, host.free_disk_mb = 32768, 1024
        spec = request_spec(
            self.flavor, numa_topology=None, pci_requests=None)
        host.consume_from_request(spec)
        self.assertEqual((2, 28672), (host.vcpus_used, host.free_ram_mb))

    def test_inert_if_not_elastic(self):
        flavor = fakes.flavor()
        instance = fakes.instance(
            flavor, project_id='project', user_id='user')
        spec = request_spec(flavor, project_id='project', user_id='user')
        spec.obj_reset_changes(recursive=True)
        spec.ensure_project_and_user_id(instance)
        self.assertIs(flavor, spec.flavor)
        self.assertEqual(set(), spec.obj_what_changed())
        self.assertEqual((8, 16384), (spec.vcpus, spec.memory_mb))

        spec = objects.RequestSpec()
        spec.ensure_project_and_user_id(instance)
        self.assertNotIn('flavor', spec)
