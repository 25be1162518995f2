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

from nova import context
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.api import client as api_client
from nova.tests.functional import integrated_helpers
from nova.xloud import size

ELASTIC = {'minimum_cpu': '1', 'minimum_memory': '1024'}
# The extra specs of a flavor with 4 vCPUs and 4096 MiB, the properties and
# the min_ram of an image, and the words that the answer has to contain.
REFUSED = (
    ({'minimum_cpu': '5'}, {}, 0, ('minimum_cpu', '5', '4 vCPUs')),
    ({'minimum_memory': '4G'}, {}, 0, ('minimum_memory', '4G', 'integer')),
    ({'minimum_memory': '0'}, {}, 0, ('minimum_memory', 'at least 1')),
    ({'minimum_memory': '331'}, {}, 0,
     ('minimum_memory', '331', '4096 MiB', '332 MiB is the least')),
    (ELASTIC, {}, 1025, ('minimum_memory', '1024', 'min_ram', '1025')),
    (ELASTIC, {}, 4097, ('minimum_memory', '1024', 'min_ram', '4097')),
    ({'minimum_cpu': '1', 'hw:numa_nodes': '1'}, {}, 0,
     ('minimum_cpu', 'NUMA topology')),
    (ELASTIC, {'hw_numa_nodes': '1'}, 0,
     ('minimum_cpu', 'minimum_memory', 'NUMA topology')),
    ({'minimum_cpu': '1', 'hw:mem_encryption': 'true'},
     {'hw_firmware_type': 'uefi', 'hw_machine_type': 'q35'}, 0,
     ('minimum_cpu', 'memory encryption')),
    (ELASTIC,
     {'hw_firmware_type': 'uefi', 'hw_machine_type': 'q35',
      'hw_mem_encryption': 'true'}, 0,
     ('minimum_memory', 'memory encryption')),
    ({'minimum_cpu': '1'},
     {'hw_firmware_type': 'uefi', 'hw_machine_type': 'q35',
      'os_secure_boot': 'required'}, 0,
     ('minimum_cpu', 'os_secure_boot=required', 'freeze')),
    ({'minimum_cpu': '3', 'hw:cpu_threads': '2'}, {}, 0,
     ('minimum_cpu', '3', '2 threads', 'hw:cpu_threads')),
    ({'minimum_cpu': '1'}, {'hw_cpu_threads': '2'}, 0,
     ('minimum_cpu', 'hw_cpu_threads')),
    ({'minimum_cpu': '1', 'resources1:MEMORY_MB': '1'}, {}, 0,
     ('minimum_cpu', 'resources1:MEMORY_MB')),
    (dict(ELASTIC, **{'resources:VGPU': '1'}), {}, 0,
     ('minimum_memory', 'resources:VGPU')),
    (dict(ELASTIC, **{'pci_passthrough:alias': 'a-device:1'}), {}, 0,
     ('minimum_memory', 'pci_passthrough:alias')),
    (dict(ELASTIC, **{'xloud:charged_vcpus': '1'}), {}, 0,
     ('xloud:charged_vcpus', 'reserved')),
)


class RefusalTestCase(integrated_helpers._IntegratedTestBase):
    """What a user is refused.

    At the oldest microversion, where extra specs are not validated, so that
    bad ones can be stored.
    """

    VOLUME = nova_fixtures.CinderFixture.IMAGE_BACKED_VOL

    def setUp(self):
        super().setUp()
        self.flags(group='pci', alias=[
            '{"vendor_id": "8086", "product_id": "0443", "name": "a-device"}'])
        self.volume_image = {}
        self.useFixture(fixtures.MockPatch(
            'nova.volume.cinder.API.get', side_effect=self.get_volume,
            autospec=False))

    def get_volume(self, *args, **kwargs):
        volume = self.cinder.fake_get(*args, **kwargs)
        volume.setdefault('volume_image_metadata', {}).update(
            self.volume_image)
        return volume

    def make_flavor(self, extra_specs):
        return self._create_flavor(
            vcpu=4, memory_mb=4096, disk=20, ephemeral=0,
            extra_spec=extra_specs)

    def make_image(self, properties, min_ram):
        return self.glance.create(None, {
            'name': 'an-image', 'status': 'active', 'size': 1,
            'disk_format': 'raw', 'container_format': 'raw',
            'min_ram': min_ram, 'properties': dict(properties)})['id']

    def from_image(self, flavor_id, image_id=None, **kwargs):
        return dict(self._build_server(
            image_uuid=image_id or self.glance.image1['id'],
            flavor_id=flavor_id), **kwargs)

    def from_volume(self, flavor_id, properties=(), min_ram=0):
        """A server that boots from a volume with this image metadata."""
        self.volume_image = dict(properties, min_ram=str(min_ram))
        server = self.from_image(flavor_id, block_device_mapping_v2=[{
            'boot_index': 0, 'uuid': self.VOLUME, 'source_type': 'volume',
            'destination_type': 'volume'}])
        del server['imageRef']
        return server

    def create(self, server):
        """An active server, or an answer of 400."""
        return self._wait_for_state_change(
            self.api.post_server({'server': server}), 'ACTIVE')

    def resize(self, server, flavor_id):
        self.api.post_server_action(
            server['id'], {'resize': {'flavorRef': flavor_id}})

    def rebuild(self, server, image_id):
        self.api.post_server_action(
            server['id'], {'rebuild': {'imageRef': image_id}})

    def change(self, server, extra_specs=None, properties=(), min_ram=0):
        """Give a server a flavor or an image that no fake host would take.

        A flavor may also have had its extra specs before they were refused.
        """
        instance = objects.Instance.get_by_uuid(
            context.get_admin_context(), server['id'],
            expected_attrs=['flavor', 'system_metadata'])
        flavor = instance.flavor.obj_clone()
        flavor.vcpus, flavor.memory_mb = 4, 4096
        flavor.extra_specs = extra_specs or {}
        instance.flavor = flavor
        instance.vcpus, instance.memory_mb = size.minimum(flavor)
        for key in [key for key in instance.system_metadata
                    if key.startswith('image_hw_')]:
            del instance.system_metadata[key]
        for key, value in dict(properties, min_ram=min_ram).items():
            instance.system_metadata['image_' + key] = str(value)
        instance.save()

    def assert_refused(self, words, function, *args):
        error = self.assertRaises(
            api_client.OpenStackApiException, function, *args)
        self.assertEqual(400, error.response.status_code, str(error))
        for word in words:
            self.assertIn(word, error.response.json()['badRequest']['message'])

    def test_create_from_image(self):
        for extra_specs, properties, min_ram, words in REFUSED:
            server = self.from_image(
                self.make_flavor(extra_specs),
                self.make_image(properties, min_ram))
            self.assert_refused(words, self.create, server)
            self.assert_refused(
                words, self.create, dict(server, min_count=2, max_count=3))
        self.assertEqual([], self.api.get_servers())

    def test_create_from_volume(self):
        for extra_specs, properties, min_ram, words in REFUSED:
            self.assert_refused(words, self.create, self.from_volume(
                self.make_flavor(extra_specs), properties, min_ram))
        self.assertEqual([], self.api.get_servers())

    def test_create_with_microversion(self):
        """Whatever was validated, the answer is the same."""
        flavor_id = self.make_flavor({'minimum_cpu': '5'})
        server = self.from_image(flavor_id, networks='none')
        self.api.microversion = '2.96'
        self.assert_refused(('minimum_cpu',), self.create, server)

    def test_create_with_ports(self):
        flavor_id = self.make_flavor(ELASTIC)
        network = self.neutron.network_2
        self.neutron._networks[network['id']] = network
        for port in (self.neutron.sriov_port, self.neutron.sriov_pf_port,
                     self.neutron.macvtap_port):
            self.neutron._ports[port['id']] = port
            self.assert_refused(
                ('minimum_memory', port['id'], 'locks the memory'),
                self.create,
                self.from_image(flavor_id, networks=[{'port': port['id']}]))

    def test_create_with_port_device_profile(self):
        self.useFixture(nova_fixtures.CyborgFixture())
        port = self.neutron.ports_with_accelerator[0]
        self.neutron._ports[port['id']] = port
        # Before 2.72 upstream refuses any port that asks for a resource.
        self.api.microversion = '2.72'
        self.assert_refused(
            ('minimum_memory', port['device_profile']), self.create,
            self.from_image(self.make_flavor(ELASTIC),
                            networks=[{'port': port['id']}]))

    def assert_resize_refused(self, server):
        for extra_specs, properties, min_ram, words in REFUSED:
            self.change(server, None, properties, min_ram)
            self.assert_refused(
                words, self.resize, server, self.make_flavor(extra_specs))
            self.assert_unchanged(server)

    def assert_unchanged(self, server):
        server = self.api.get_server(server['id'])
        self.assertEqual('ACTIVE', server['status'])
        self.assertIsNone(server['OS-EXT-STS:task_state'])

    def test_resize_from_image(self):
        self.assert_resize_refused(self.create(self.from_image(
            self._create_flavor(disk=10, ephemeral=0))))

    def test_resize_from_volume(self):
        self.assert_resize_refused(self.create(self.from_volume(
            self._create_flavor(disk=10, ephemeral=0))))

    def test_resize_to_a_value_that_nova_cannot_read(self):
        """Upstream answers 500 to one, and blames the image for another."""
        server = self.create(self.from_image(
            self._create_flavor(disk=10, ephemeral=0)))
        for extra_specs, word in (
                ({'hw:numa_nodes': '1', 'hw:numa_cpus.0': '0-3',
                  'hw:numa_mem.0': '4G'}, "'4G'"),
                ({'hw:cpu_policy': 'mixed', 'hw:cpu_dedicated_mask': 'all'},
                 "'all'")):
            self.assert_refused((word,), self.resize, server,
                                self.make_flavor(dict(ELASTIC, **extra_specs)))
            self.assert_unchanged(server)

    def test_rebuild(self):
        """With another image and with the same."""
        image_id = self.make_image({}, 0)
        server = self.create(self.from_image(
            self._create_flavor(disk=10, ephemeral=0), image_id))
        for extra_specs, properties, min_ram, words in REFUSED:
            self.change(server, extra_specs)
            self.assert_refused(
                words, self.rebuild, server,
                self.make_image(properties, min_ram))
            self.glance.images[image_id].update(
                properties=dict(properties), min_ram=min_ram)
            self.assert_refused(words, self.rebuild, server, image_id)
            self.assert_unchanged(server)

    def test_rebuild_from_volume(self):
        image_id = self.make_image({}, 0)
        server = self.create(self.from_volume(
            self._create_flavor(disk=10, ephemeral=0),
            {'image_id': image_id}))
        for extra_specs, properties, min_ram, words in REFUSED:
            self.change(server, extra_specs)
            self.glance.images[image_id].update(
                properties=dict(properties), min_ram=min_ram)
            self.assert_refused(words, self.rebuild, server, image_id)
            self.assert_unchanged(server)

    def test_rebuild_at_minimum(self):
        """What an image needs may be as much as the minimum."""
        server = self.create(self.from_image(
            self._create_flavor(disk=10, ephemeral=0)))
        self.change(server, ELASTIC)
        self.rebuild(server, self.make_image({}, 1024))
