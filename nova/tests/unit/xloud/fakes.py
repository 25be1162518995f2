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

"""Elastic flavors and servers for tests, some and any."""

from hypothesis import strategies as st
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import vm_states
from nova.network import model as network_model
from nova import objects
from nova.xloud import size

MAXIMUM = size.Size(8, 16384)
sizes = st.builds(size.Size, st.integers(1, 64), st.integers(1, 1 << 20))


def flavor(flavor_id=1, maximum=MAXIMUM, **minimum):
    return objects.Flavor(
        id=flavor_id, flavorid=str(flavor_id), vcpus=maximum.vcpus,
        memory_mb=maximum.memory_mb,
        extra_specs={'minimum_' + key: str(value)
                     for key, value in minimum.items()})


def instance(flavor, **kwargs):
    """A new server, as the API makes it."""
    charge = size.minimum(flavor)
    fake = objects.Instance(
        flavor=flavor, vcpus=charge.vcpus, memory_mb=charge.memory_mb,
        system_metadata={}, old_flavor=None, new_flavor=None, **kwargs)
    size.open_books(fake)
    fake.obj_reset_changes()
    return fake


def server(of_flavor=None, **kwargs):
    """An elastic server that runs on a host."""
    if of_flavor is None:
        of_flavor = flavor(cpu=2, memory=2048)
    kwargs = dict({
        'uuid': uuids.instance, 'host': 'host1', 'node': 'node1',
        'vm_state': vm_states.ACTIVE, 'task_state': None, 'locked': False,
        'image_ref': '', 'project_id': 'owners', 'user_id': 'owner',
        'pci_requests': objects.InstancePCIRequests(requests=[]),
        'info_cache': objects.InstanceInfoCache(
            network_info=network_model.NetworkInfo()),
    }, **kwargs)
    return instance(of_flavor, **kwargs)


@st.composite
def elastic_flavors(draw, flavor_id=1):
    maximum = draw(sizes)
    minimum = draw(st.fixed_dictionaries({}, optional={
        'cpu': st.integers(1, maximum.vcpus),
        'memory': st.integers(1, maximum.memory_mb)}))
    return flavor(flavor_id, maximum, **minimum)


@st.composite
def used_instances(draw):
    """A server that was asked for some sizes inside its range."""
    used = instance(draw(elastic_flavors()))
    if size.is_elastic(used.flavor):
        for _ in range(draw(st.integers(0, 2))):
            size.record(used, draw(sizes_of(used.flavor)),
                        draw(sizes_of(used.flavor)))
    return used


def sizes_of(flavor):
    low, high = size.minimum(flavor), size.maximum(flavor)
    return st.builds(size.Size, st.integers(low.vcpus, high.vcpus),
                     st.integers(low.memory_mb, high.memory_mb))
