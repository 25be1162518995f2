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
from oslo_utils.fixture import uuidsentinel as uuids

from nova import exception
from nova import objects
from nova import test
from nova.tests.unit import fake_instance
from nova.xloud import compatibility
from nova.xloud import size

ELASTIC = {'minimum_cpu': '2', 'minimum_memory': '4096'}
PORT = objects.InstancePCIRequest(count=1, spec=[], requester_id='a-port')
ALIAS = objects.InstancePCIRequest(count=1, spec=[], alias_name='an-alias')


def fake_flavor(extra_specs):
    return objects.Flavor(
        id=1, flavorid='1', name='a-flavor', vcpus=8, memory_mb=16384,
        extra_specs=extra_specs)


def fake_image(min_ram=None, **properties):
    image = {'id': uuids.image, 'name': 'an-image', 'properties': properties}
    if min_ram is not None:
        image['min_ram'] = min_ram
    return image


class CompatibilityTestCase(test.NoDBTestCase):

    def check(self, extra_specs, image=None):
        compatibility.check(fake_flavor(extra_specs), image or fake_image())

    def ports(self, extra_specs, pci_requests=(), networks=None):
        compatibility.check_ports(
            fake_flavor(extra_specs),
            objects.InstancePCIRequests(requests=list(pci_requests)),
            networks and objects.NetworkRequestList(objects=networks))

    def resize(self, extra_specs, image=None, pci_requests=()):
        image = image or fake_image()
        system_metadata = {
            'image_' + key: str(value)
            for key, value in image['properties'].items()}
        if 'min_ram' in image:
            system_metadata['image_min_ram'] = str(image['min_ram'])
        instance = fake_instance.fake_instance_obj(
            None, system_metadata=system_metadata, expected_attrs=[
                'system_metadata'])
        instance.pci_requests = objects.InstancePCIRequests(
            requests=list(pci_requests))
        compatibility.check_resize(instance, fake_flavor(extra_specs))

    def assert_refused(self, words, extra_specs, image=None):
        """At create, rebuild and resize, with the same text."""
        for check in (self.check, self.resize):
            error = self.assertRaises(
                exception.InvalidRequest, check, extra_specs, image)
            for word in words:
                self.assertIn(word, str(error))

    def allow(self, extra_specs, image=None):
        for check in (self.check, self.resize):
            check(extra_specs, image)


class KernelTestCase(CompatibilityTestCase):
    """Of 16384 MiB and 8 vCPUs, by the default base of 128 MiB."""

    LEAST = 128 + 384 + 8 + 104

    def refusal(self, check, *args):
        error = self.assertRaises(exception.InvalidRequest, check, *args)
        for word in ('minimum_memory', '256', '8 vCPUs, 16384 MiB',
                     '%d MiB is the least' % self.LEAST):
            self.assertIn(word, str(error))

    def test_new(self):
        self.refusal(compatibility.check_new,
                     fake_flavor({'minimum_memory': '256'}))
        for minimum_memory in (self.LEAST, 16384):
            compatibility.check_new(
                fake_flavor({'minimum_memory': str(minimum_memory)}))
        compatibility.check_new(fake_flavor({'minimum_cpu': '2'}))
        compatibility.check_new(fake_flavor({}))

    def test_resize(self):
        self.refusal(self.resize, {'minimum_memory': '256'})
        self.resize({'minimum_memory': str(self.LEAST)})

    def test_rebuild(self):
        instance = fake_instance.fake_instance_obj(
            None, system_metadata={}, expected_attrs=['system_metadata'])
        instance.flavor = fake_flavor({'minimum_memory': '256'})
        self.refusal(compatibility.check_rebuild, instance, {})
        # It keeps its boot size.
        boot = size.Size(8, self.LEAST)
        size.record(instance, desired=boot, boot=boot)
        compatibility.check_rebuild(instance, {})

    def test_switched_off(self):
        self.flags(guest_memory_base_mb=-1, group='xloud')
        compatibility.check_new(fake_flavor({'minimum_memory': '1'}))


class RebuildTestCase(CompatibilityTestCase):

    def test_another_topology(self):
        """The new image has threads, and its size of now is odd."""
        instance = fake_instance.fake_instance_obj(
            None, system_metadata={}, expected_attrs=['system_metadata'])
        instance.flavor = fake_flavor({'minimum_cpu': '2'})
        odd = size.Size(3, 16384)
        size.record(instance, desired=odd, boot=odd)
        threads = {'properties': {'hw_cpu_threads': '2'}}
        error = self.assertRaises(
            exception.InvalidRequest, compatibility.check_rebuild, instance,
            threads)
        self.assertIn('starts with 3 vCPUs', str(error))
        self.assertIn('2 threads of a core, set by hw_cpu_threads. Change its '
                      'current_vcpus', str(error))
        compatibility.check_rebuild(instance, {})
        # It has it already.
        instance.system_metadata['image_hw_cpu_threads'] = '2'
        compatibility.check_rebuild(instance, threads)
        even = odd._replace(vcpus=4)
        size.record(instance, desired=even, boot=even)
        del instance.system_metadata['image_hw_cpu_threads']
        compatibility.check_rebuild(instance, threads)


@ddt.ddt
class FlavorTestCase(CompatibilityTestCase):

    @ddt.data(ELASTIC,
              {'minimum_cpu': '8', 'minimum_memory': '16384'},
              {'minimum_cpu': '2', 'hw:cpu_threads': '2'},
              {'minimum_memory': '4096', 'hw:cpu_threads': '4'},
              {'minimum_cpu': '3', 'hw:cpu_threads': '3'},
              {'minimum_cpu': '1', 'hw:cpu_sockets': '2'},
              dict(ELASTIC, **{'resources:CUSTOM_LICENCE': '1'}),
              dict(ELASTIC, **{'resources:DISK_GB': '1'}),
              dict(ELASTIC, **{'trait:CUSTOM_VCPU': 'required'}),
              dict(ELASTIC, **{'hw:mem_encryption': 'false'}),
              dict(ELASTIC, **{'hw:cpu_policy': 'shared'}))
    def test_allowed(self, extra_specs):
        self.allow(extra_specs)

    @ddt.data(('minimum_cpu', '9', 'above the 8 vCPUs'),
              ('minimum_cpu', '0', 'at least 1'),
              ('minimum_cpu', 'two', 'not an integer'),
              ('minimum_memory', '16385', 'above the 16384 MiB'),
              ('minimum_memory', '-1', 'at least 1'),
              ('minimum_memory', '4G', 'not an integer'))
    @ddt.unpack
    def test_bad_value(self, key, value, reason):
        self.assert_refused((key, value, reason), {key: value})

    @ddt.data('resources:VCPU', 'resources:PCPU', 'resources:MEMORY_MB',
              'resources1:MEMORY_MB', 'resources_A-1:VCPU')
    def test_size_override(self, key):
        self.assert_refused(
            ('minimum_cpu', key, 'charged'), {'minimum_cpu': '2', key: '1'})

    def test_reserved_namespace(self):
        self.assert_refused(
            ('xloud:charged_vcpus', 'reserved'),
            dict(ELASTIC, **{'xloud:charged_vcpus': '1'}))

    @ddt.data({'hw:numa_nodes': '1'},
              {'hw:cpu_policy': 'dedicated'},
              {'hw:cpu_policy': 'mixed', 'hw:cpu_dedicated_mask': '0-3'},
              {'hw:mem_page_size': 'large'},
              {'hw:mem_page_size': 'small', 'hw:locked_memory': 'true'},
              {'hw:cpu_policy': 'dedicated', 'hw:cpu_realtime': 'true',
               'hw:cpu_realtime_mask': '^0'},
              {'hw:pmem': '4GB'})
    def test_numa_topology(self, extra_specs):
        self.assert_refused(
            ('minimum_cpu, minimum_memory', 'NUMA topology'),
            dict(ELASTIC, **extra_specs))

    @ddt.data(({'hw:cpu_policy': 'mixed', 'hw:cpu_dedicated_mask': 'all'},
               "expression 'all'"),
              ({'hw:numa_nodes': '1', 'hw:numa_cpus.0': '0-7',
                'hw:numa_mem.0': '16G'}, "'16G'"),
              ({'hw:cpu_policy': 'pinned'}, "'pinned'"))
    @ddt.unpack
    def test_a_value_that_nova_cannot_use(self, extra_specs, reason):
        """Nova raises something else for each."""
        self.assert_refused((reason,), dict(ELASTIC, **extra_specs))

    def test_locked_memory_needs_page_size(self):
        """So that refusing page sizes refuses all locked memory."""
        for check in (self.check, self.resize):
            self.assertRaises(
                exception.LockMemoryForbidden, check,
                dict(ELASTIC, **{'hw:locked_memory': 'true'}))

    def test_memory_encryption(self):
        self.assert_refused(
            ('minimum_cpu', 'memory encryption'),
            {'minimum_cpu': '2', 'hw:mem_encryption': 'true'},
            fake_image(hw_firmware_type='uefi', hw_machine_type='q35'))

    @ddt.data('pci_passthrough:alias', 'accel:device_profile',
              'resources:VGPU', 'resources2:VGPU', 'resources:PGPU',
              'resources:FPGA', 'resources:PCI_DEVICE',
              'resources:VGPU_DISPLAY_HEAD', 'resources_A:SRIOV_NET_VF')
    def test_device_locks_memory(self, key):
        self.assert_refused(
            ('minimum_memory', key, 'locks the memory'),
            dict(ELASTIC, **{key: '1'}))
        self.allow({'minimum_cpu': '2', key: '1'})

    @ddt.data(('3', {'hw:cpu_threads': '2'}, 'hw:cpu_threads'),
              ('2', {'hw:cpu_threads': '4'}, 'hw:cpu_threads'),
              ('1', {'hw:cpu_threads': '2', 'hw:cpu_cores': '2'},
               'hw:cpu_threads'),
              ('1', {'hw:cpu_sockets': '1', 'hw:cpu_cores': '4'},
               'hw:cpu_cores, hw:cpu_sockets'))
    @ddt.unpack
    def test_minimum_that_is_part_of_a_core(self, minimum, extra_specs, key):
        self.assert_refused(
            ('minimum_cpu', minimum, key),
            dict(extra_specs, minimum_cpu=minimum))

    @ddt.data('required', 'optional')
    def test_secure_boot(self, policy):
        uefi = fake_image(hw_firmware_type='uefi', hw_machine_type='q35')
        extra_specs = {'os:secure_boot': policy}
        self.assert_refused(
            ('minimum_cpu', 'os:secure_boot=' + policy, 'freeze'),
            dict(ELASTIC, **extra_specs), uefi)
        self.allow(dict(extra_specs, minimum_memory='4096'), uefi)
        # It is for UEFI alone.
        self.allow(dict(ELASTIC, **extra_specs))

    @ddt.data({}, {'xloud:charged_vcpus': '1', 'hw:numa_nodes': '2',
                   'resources:VGPU': '1', 'resources:VCPU': '8'})
    def test_not_elastic(self, extra_specs):
        self.allow(extra_specs, fake_image(min_ram=1 << 20))

    def test_not_elastic_asks_nothing(self):
        """Neither the image nor the database."""
        flavor = fake_flavor({})
        compatibility.check(flavor, None)
        compatibility.check_ports(flavor, None, None)
        compatibility.check_resize(None, flavor)


@ddt.ddt
class ImageTestCase(CompatibilityTestCase):

    @ddt.data({'hw_numa_nodes': '1'},
              {'hw_cpu_policy': 'dedicated'})
    def test_numa_topology(self, properties):
        self.assert_refused(
            ('minimum_cpu', 'NUMA topology'), {'minimum_cpu': '2'},
            fake_image(**properties))

    def test_memory_encryption(self):
        self.assert_refused(
            ('minimum_memory', 'memory encryption'),
            {'minimum_memory': '4096'},
            fake_image(hw_mem_encryption='true', hw_firmware_type='uefi',
                       hw_machine_type='q35'))

    def test_emulated_architecture(self):
        self.assert_refused(
            ('minimum_cpu', 'hw_emulation_architecture=aarch64'),
            {'minimum_cpu': '2'},
            fake_image(hw_emulation_architecture='aarch64'))
        self.allow({'minimum_memory': '4096'},
                   fake_image(hw_emulation_architecture='aarch64'))
        self.allow(ELASTIC, fake_image(hw_emulation_architecture='ppc64le'))
        # It can only grow.
        self.assert_refused(
            ('minimum_cpu', 'hw_emulation_architecture=s390x'),
            {'minimum_cpu': '2'},
            fake_image(hw_emulation_architecture='s390x'))

    def test_threads(self):
        self.assert_refused(
            ('minimum_cpu', 'hw_cpu_threads'), {'minimum_cpu': '3'},
            fake_image(hw_cpu_threads='2'))
        self.allow({'minimum_cpu': '4'}, fake_image(hw_cpu_threads='2'))

    @ddt.data('required', 'optional')
    def test_secure_boot(self, policy):
        self.assert_refused(
            ('minimum_cpu', 'os_secure_boot=' + policy, 'freeze'),
            {'minimum_cpu': '2'},
            fake_image(hw_firmware_type='uefi', os_secure_boot=policy))

    def test_uefi_without_secure_boot(self):
        self.allow(ELASTIC, fake_image(hw_firmware_type='uefi'))
        self.allow(ELASTIC, fake_image(
            hw_firmware_type='uefi', os_secure_boot='disabled'))
        self.allow(ELASTIC, fake_image(
            hw_firmware_type='bios', os_secure_boot='optional'))

    def test_min_ram(self):
        self.allow(ELASTIC, fake_image(min_ram=4096))
        for min_ram in (4097, 16385):
            self.assert_refused(
                ('minimum_memory', '4096', 'min_ram', str(min_ram)), ELASTIC,
                fake_image(min_ram=min_ram))

    def test_min_ram_of_fixed_memory_is_left_to_upstream(self):
        self.allow({'minimum_cpu': '2'}, fake_image(min_ram=1 << 20))

    def test_invalid_metadata(self):
        self.assertRaises(
            exception.InvalidRequest, self.check, ELASTIC,
            fake_image(hw_disk_bus='no-such-bus'))

    def test_no_image(self):
        """A volume without image metadata."""
        compatibility.check(fake_flavor(ELASTIC), {})


class PortTestCase(CompatibilityTestCase):

    def assert_refused(self, word, check, *args, **kwargs):
        error = self.assertRaises(
            exception.InvalidRequest, check, *args, **kwargs)
        self.assertIn('minimum_memory', str(error))
        self.assertIn(word, str(error))

    def test_pci_device(self):
        for check in (self.ports, self.resize):
            self.assert_refused(
                'port a-port', check, ELASTIC, pci_requests=[PORT])
            check({'minimum_cpu': '2'}, pci_requests=[PORT])
            check({}, pci_requests=[PORT])

    def test_resize_leaves_devices_of_old_flavor(self):
        self.resize(ELASTIC, pci_requests=[ALIAS])

    def test_device_profile(self):
        port = objects.NetworkRequest(device_profile='a-profile')
        self.assert_refused('a-profile', self.ports, ELASTIC, networks=[port])
        self.ports({'minimum_cpu': '2'}, networks=[port])

    def test_other_ports(self):
        self.ports(ELASTIC, networks=[objects.NetworkRequest()])
