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

from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils

from nova.compute import api
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from nova import context
from nova.image import glance
from nova import objects
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova import utils
from nova.xloud import size


class SnapshotTestCase(test.TestCase):
    """An image of a server has none of the server's sizes."""

    def setUp(self):
        super().setUp()
        self.context = context.RequestContext('a-user', 'a-project')
        self.glance = self.useFixture(nova_fixtures.GlanceFixture(self))
        self.cinder = self.useFixture(nova_fixtures.CinderFixture(self))
        self.api = api.API()

        self.flavor = objects.Flavor(
            id=1, flavorid='1', name='a-flavor', vcpus=8, memory_mb=16384,
            root_gb=10, ephemeral_gb=0, swap=0, rxtx_factor=1.0,
            vcpu_weight=0, disabled=False, is_public=True,
            extra_specs={'minimum_cpu': '2', 'minimum_memory': '4096'})
        self.instance = objects.Instance(
            self.context, uuid=uuids.instance, flavor=self.flavor,
            instance_type_id=1, vcpus=2, memory_mb=4096, root_gb=10,
            ephemeral_gb=0, image_ref=uuids.image, old_flavor=None,
            new_flavor=None, locked=False,
            system_metadata={'image_os_distro': 'a-distribution',
                             'image_min_ram': '1024'},
            user_id='a-user', project_id='a-project',
            vm_state=vm_states.STOPPED, launched_at=timeutils.utcnow(),
            host='a-host', display_name='a-server')
        self.instance.create()
        # Every key that can be there: those of a resize, too.
        size.record(self.instance, size.Size(6, 8192), size.Size(4, 8192))
        other_flavor = self.flavor.obj_clone()
        other_flavor.id = 2
        size.change_flavor(self.instance, other_flavor)
        size.record(self.instance, size.Size(6, 8192), size.Size(4, 8192))
        self.instance.save()
        self.assertIn('xloud', str(self.instance.system_metadata))

    def assert_inherits_nothing(self, properties):
        self.assertEqual('a-distribution', properties['os_distro'])
        self.assertEqual(
            [], [key for key in properties if 'xloud' in key])

    def test_image_meta(self):
        """The server's own view of its image, which its moves use."""
        image = utils.get_image_from_system_metadata(
            self.instance.system_metadata)
        self.assertEqual('1024', image['min_ram'])
        self.assertEqual({'os_distro': 'a-distribution'}, image['properties'])

    def test_snapshot(self):
        """Also of createBackup, shelve and a resize between cells."""
        for image_type in ('snapshot', 'backup'):
            image = compute_utils.create_image(
                self.context, self.instance, 'a-snapshot', image_type,
                glance.API())
            self.assert_inherits_nothing(
                self.glance.show(None, image['id'])['properties'])

    def test_snapshot_volume_backed(self):
        objects.BlockDeviceMapping(
            self.context, instance_uuid=self.instance.uuid, boot_index=0,
            source_type='volume', destination_type='volume',
            device_name='/dev/vda', volume_size=1, no_device=False,
            delete_on_termination=False, guest_format=None, disk_bus=None,
            device_type=None, connection_info='{}', tag=None,
            volume_id=self.cinder.IMAGE_BACKED_VOL).create()
        with mock.patch.multiple(
                'nova.volume.cinder.API',
                get=mock.Mock(return_value={
                    'id': uuids.volume, 'display_description': ''}),
                create_snapshot_force=mock.Mock(
                    return_value={'id': uuids.snapshot})):
            image = self.api.snapshot_volume_backed(
                self.context, self.instance, 'a-snapshot')
        self.assert_inherits_nothing(
            self.glance.show(None, image['id'])['properties'])

    def test_create_from_snapshot(self):
        """Not even from one that was made with the sizes."""
        system_metadata = utils.get_system_metadata_from_image(
            {'properties': dict(self.instance.system_metadata)}, self.flavor)
        server = objects.Instance(
            flavor=self.flavor, vcpus=2, memory_mb=4096, old_flavor=None,
            system_metadata=system_metadata)
        self.assertEqual((2, 4096), size.desired(server))
        self.assertEqual((2, 4096), size.boot(server))
        self.assertNotIn('xloud', str(
            utils.get_image_from_system_metadata(system_metadata)))
