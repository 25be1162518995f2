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

"""An elastic server as the libvirt driver sees it."""

from oslo_utils.fixture import uuidsentinel as uuids

from nova import context
from nova import objects
from nova.tests.unit import fake_instance
from nova.xloud import size


def server(minimum=None, boot=None, extra_specs=None):
    """A server of a flavor with 4 vCPUs and 2048 MiB."""
    flavor = objects.Flavor(
        id=1, flavorid='1', name='m1.elastic', vcpus=4, memory_mb=2048,
        root_gb=0, ephemeral_gb=0, swap=0, rxtx_factor=1.0, vcpu_weight=None,
        extra_specs=dict(minimum or {}, **(extra_specs or {})))
    instance = fake_instance.fake_instance_obj(
        context.get_admin_context(), uuid=uuids.instance, flavor=flavor,
        system_metadata={},
        expected_attrs=['system_metadata', 'numa_topology', 'pci_devices',
                        'resources'])
    instance.vcpu_model = None
    # As it is made: a server without books keeps what it is charged.
    instance.vcpus, instance.memory_mb = size.minimum(flavor)
    if boot:
        size.record(instance, desired=boot, boot=boot)
    return instance


ELASTIC = {'minimum_cpu': '2', 'minimum_memory': '512'}
