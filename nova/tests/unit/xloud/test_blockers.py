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

import ddt
from keystoneauth1 import exceptions as ks_exc

from nova.compute import vm_states
from nova import context
from nova import exception
from nova.network import model as network_model
from nova import objects
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import blockers
from nova.xloud import guest as elastic_guest

GUEST = elastic_guest.GuestState(
    running=True, vcpus=2, memory_mb=2048, balloon_active=True,
    used_memory_mb=512, memory_pinned=False)


@ddt.ddt
class BlockersTestCase(test.NoDBTestCase):

    def _codes(self, found):
        return [(blocker.code, blocker.dimension) for blocker in found]

    def test_of_flavor(self):
        for kwargs, dimensions in (({}, ['vcpus', 'memory_mb']),
                                   ({'cpu': 2}, ['memory_mb']),
                                   ({'memory': 2048}, ['vcpus']),
                                   ({'cpu': 2, 'memory': 2048}, [])):
            flavor = fakes.flavor(**kwargs)
            self.assertEqual(
                [('not_elastic', dimension) for dimension in dimensions],
                self._codes(blockers.of_flavor(flavor)))

    def test_of_state(self):
        user = context.RequestContext('user', 'owners')
        for vm_state in (vm_states.ACTIVE, vm_states.STOPPED):
            self.assertEqual(
                [], blockers.of_state(user, fakes.server(vm_state=vm_state)))
        instance = fakes.server(
            vm_state=vm_states.PAUSED, task_state='unpausing', locked=True)
        both = ('vcpus', 'memory_mb')
        expected = [(code, dimension)
                    for code in ('wrong_state', 'task_running', 'locked')
                    for dimension in both]
        self.assertEqual(
            expected, self._codes(blockers.of_state(user, instance)))
        # As for any operation, the lock does not stop an administrator.
        self.assertEqual(
            expected[:4],
            self._codes(blockers.of_state(context.get_admin_context(),
                                          instance)))

    @mock.patch('nova.xloud.traits._SECONDS_KNOWN', 0)
    @mock.patch('nova.objects.ComputeNode.get_by_host_and_nodename')
    def test_of_host(self, get_node):
        compute_api = mock.Mock()
        get_traits = compute_api.placementclient.get_provider_traits
        vcpu, memory = ('CUSTOM_XLOUD_ELASTIC_VCPU',
                        'CUSTOM_XLOUD_ELASTIC_MEMORY')
        for traits, dimensions in (({vcpu, memory, 'X'}, []),
                                   ({vcpu}, ['memory_mb']),
                                   ({memory}, ['vcpus']),
                                   ({'X'}, ['vcpus', 'memory_mb'])):
            get_traits.return_value.traits = traits
            self.assertEqual(
                [('host_cannot', dimension) for dimension in dimensions],
                self._codes(blockers.of_host(
                    compute_api, mock.sentinel.context, fakes.server())))
        get_node.assert_called_with(mock.sentinel.context, 'host1', 'node1')
        for error in (exception.ResourceProviderTraitRetrievalFailed(uuid=''),
                      ks_exc.ConnectFailure()):
            get_traits.side_effect = error
            self.assertEqual(
                [('host_unknown', 'vcpus'), ('host_unknown', 'memory_mb')],
                self._codes(blockers.of_host(
                    compute_api, mock.sentinel.context, fakes.server())))

    def test_of_image(self):
        uefi = {'image_hw_firmware_type': 'uefi'}
        secure = dict(uefi, image_os_secure_boot='required')
        for metadata, vm_state, codes in (
                (uefi, vm_states.ACTIVE, []),
                (secure, vm_states.ACTIVE, [('secure_boot', 'vcpus')]),
                (secure, vm_states.STOPPED, [])):
            instance = fakes.server(vm_state=vm_state)
            instance.system_metadata.update(metadata)
            self.assertEqual(
                codes, self._codes(blockers.of_image(instance)))

    @ddt.data(({'hw:cpu_policy': 'dedicated'}, {}, 'NUMA topology'),
              ({'hw:mem_page_size': 'large'}, {}, 'NUMA topology'),
              ({}, {'image_hw_numa_nodes': '1'}, 'NUMA topology'),
              ({'resources:VCPU': '2'}, {}, 'resources:VCPU'),
              # None of these two is an exception.Invalid.
              ({'hw:mem_encryption': 'true'}, {}, 'Memory encryption'),
              ({'hw:locked_memory': 'true'}, {}, 'locked_memory'))
    @ddt.unpack
    def test_of_a_server_older_than_the_series(
            self, extra_specs, metadata, text):
        """Nova would refuse to create it today."""
        for vm_state in (vm_states.ACTIVE, vm_states.STOPPED):
            instance = fakes.server(vm_state=vm_state)
            instance.flavor.name = 'elastic.large'
            instance.flavor.extra_specs.update(extra_specs)
            instance.system_metadata.update(metadata)
            found = blockers.of_image(instance)
            self.assertEqual(
                [('incompatible', 'vcpus'), ('incompatible', 'memory_mb')],
                self._codes(found))
            self.assertIn(text, found[0].message)

    @ddt.data('pci_passthrough:alias', 'accel:device_profile',
              'resources:VGPU', 'resources1:VGPU', 'resources_GPU:VGPU',
              'resources:PGPU', 'resources:VGPU_DISPLAY_HEAD')
    def test_of_devices_of_the_flavor(self, key):
        instance = fakes.server()
        self.assertEqual([], blockers.of_devices(instance))
        instance.flavor.extra_specs[key] = '1'
        self.assertEqual([('memory_pinned', 'memory_mb')],
                         self._codes(blockers.of_devices(instance)))

    @ddt.data('resources:CUSTOM_VGPU', 'trait:CUSTOM_VGPU', 'hw:cpu_threads')
    def test_of_no_devices_of_the_flavor(self, key):
        instance = fakes.server()
        instance.flavor.extra_specs[key] = '1'
        self.assertEqual([], blockers.of_devices(instance))

    def test_of_devices_of_ports(self):
        request = objects.InstancePCIRequest(count=1, spec=[{}])
        self.assertEqual(
            [('memory_pinned', 'memory_mb')],
            self._codes(blockers.of_devices(fakes.server(
                pci_requests=objects.InstancePCIRequests(
                    requests=[request])))))
        self.assertEqual(
            [], blockers.of_devices(fakes.server(pci_requests=None)))
        for vnic_type, pinned in (
                (network_model.VNIC_TYPE_NORMAL, False),
                (network_model.VNIC_TYPE_DIRECT, True),
                (network_model.VNIC_TYPE_DIRECT_PHYSICAL, True),
                (network_model.VNIC_TYPE_VDPA, True),
                (network_model.VNIC_TYPE_ACCELERATOR_DIRECT, True),
                (network_model.VNIC_TYPE_REMOTE_MANAGED, True)):
            found = blockers.of_devices(fakes.server(
                info_cache=objects.InstanceInfoCache(
                    network_info=network_model.NetworkInfo(
                        [network_model.VIF(vnic_type=vnic_type)]))))
            self.assertEqual(pinned, bool(found), vnic_type)

    def _of_guest(self, **changes):
        return blockers.of_guest(
            GUEST._replace(**changes), fakes.flavor(cpu=2, memory=2048))

    def test_of_guest(self):
        self.assertEqual([], self._of_guest())
        # Its balloon has moved since it reported last.
        self.assertEqual([], self._of_guest(used_memory_mb=None))
        for silent, text in (
                ({'balloon_active': False}, 'no statistics'),
                ({'missing_statistic': elastic_guest.UNNAMED},
                 'no statistics'),
                ({'missing_statistic': 'usable'}, 'usable')):
            found = self._of_guest(used_memory_mb=None, **silent)
            self.assertEqual([('no_balloon_statistics', 'memory_mb')],
                             self._codes(found))
            self.assertIn(text, found[0].message)
        self.assertEqual(
            [('vcpus_left', 'vcpus'), ('memory_pinned', 'memory_mb')],
            self._codes(self._of_guest(
                cannot_plug=True, memory_pinned=True)))
        self.assertEqual(
            [('memory_pinned', 'memory_mb')],
            self._codes(self._of_guest(memory_pinned=True)))
        for fixed, codes in ((0, []), (2, []), (3, [('vcpus_fixed', 'vcpus')]),
                             (8, [('vcpus_fixed', 'vcpus')])):
            self.assertEqual(
                codes, self._codes(self._of_guest(fixed_vcpus=fixed)))

    def test_codes(self):
        names = [value for name, value in vars(blockers).items()
                 if name.isupper() and isinstance(value, str) and
                 name not in ('VCPUS', 'MEMORY')]
        self.assertCountEqual(blockers.CODES, names)
