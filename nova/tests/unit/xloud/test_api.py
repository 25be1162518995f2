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
import fixtures
import hypothesis
from hypothesis import strategies as st
from keystoneauth1 import exceptions as ks_exc
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils

from nova.compute import api as compute_api
from nova.compute import vm_states
from nova import context
from nova import exception
from nova.network import model as network_model
from nova import objects
from nova import test
from nova.tests.unit.xloud import test_size
from nova.xloud import api
from nova.xloud import blockers
from nova.xloud import condition
from nova.xloud import rpcapi
from nova.xloud import size

MAXIMUM = test_size.MAXIMUM
STATE = {'actual_vcpus': 2, 'actual_memory_mb': 2048,
         'balloon_driver_active': True, 'memory_pinned': False,
         'used_memory_mb': 512, 'cannot_plug': False}
FLAVOR = test_size.fake_flavor(cpu=2, memory=2048)


def fake_instance(flavor=None, **kwargs):
    if flavor is None:
        flavor = test_size.fake_flavor(cpu=2, memory=2048)
    kwargs = dict({
        'uuid': uuids.instance, 'host': 'host1', 'node': 'node1',
        'vm_state': vm_states.ACTIVE, 'task_state': None, 'locked': False,
        'image_ref': '', 'project_id': 'owners', 'user_id': 'owner',
        'pci_requests': objects.InstancePCIRequests(requests=[]),
        'info_cache': objects.InstanceInfoCache(
            network_info=network_model.NetworkInfo()),
    }, **kwargs)
    return test_size.fake_instance(flavor, **kwargs)


@ddt.ddt
class BlockersTestCase(test.NoDBTestCase):

    def _codes(self, found):
        return [(blocker.code, blocker.dimension) for blocker in found]

    def test_of_flavor(self):
        for kwargs, dimensions in (({}, ['vcpus', 'memory_mb']),
                                   ({'cpu': 2}, ['memory_mb']),
                                   ({'memory': 2048}, ['vcpus']),
                                   ({'cpu': 2, 'memory': 2048}, [])):
            flavor = test_size.fake_flavor(**kwargs)
            self.assertEqual(
                [('not_elastic', dimension) for dimension in dimensions],
                self._codes(blockers.of_flavor(flavor)))

    def test_of_state(self):
        user = context.RequestContext('user', 'owners')
        for vm_state in (vm_states.ACTIVE, vm_states.STOPPED):
            self.assertEqual(
                [], blockers.of_state(user, fake_instance(vm_state=vm_state)))
        instance = fake_instance(
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
                    compute_api, mock.sentinel.context, fake_instance())))
        get_node.assert_called_with(mock.sentinel.context, 'host1', 'node1')
        for error in (exception.ResourceProviderTraitRetrievalFailed(uuid=''),
                      ks_exc.ConnectFailure()):
            get_traits.side_effect = error
            self.assertEqual(
                [('host_unknown', 'vcpus'), ('host_unknown', 'memory_mb')],
                self._codes(blockers.of_host(
                    compute_api, mock.sentinel.context, fake_instance())))

    def test_of_image(self):
        uefi = {'image_hw_firmware_type': 'uefi'}
        secure = dict(uefi, image_os_secure_boot='required')
        for metadata, vm_state, codes in (
                (uefi, vm_states.ACTIVE, []),
                (secure, vm_states.ACTIVE, [('secure_boot', 'vcpus')]),
                (secure, vm_states.STOPPED, [])):
            instance = fake_instance(vm_state=vm_state)
            instance.system_metadata.update(metadata)
            self.assertEqual(
                codes, self._codes(blockers.of_image(instance)))

    @ddt.data(({'hw:cpu_policy': 'dedicated'}, {}, 'NUMA topology'),
              ({'hw:mem_page_size': 'large'}, {}, 'NUMA topology'),
              ({}, {'image_hw_numa_nodes': '1'}, 'NUMA topology'),
              ({'resources:VCPU': '2'}, {}, 'resources:VCPU'))
    @ddt.unpack
    def test_of_a_server_older_than_the_series(
            self, extra_specs, metadata, text):
        """Nova would refuse to create it today."""
        for vm_state in (vm_states.ACTIVE, vm_states.STOPPED):
            instance = fake_instance(vm_state=vm_state)
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
        instance = fake_instance()
        self.assertEqual([], blockers.of_devices(instance))
        instance.flavor.extra_specs[key] = '1'
        self.assertEqual([('memory_pinned', 'memory_mb')],
                         self._codes(blockers.of_devices(instance)))

    @ddt.data('resources:CUSTOM_VGPU', 'trait:CUSTOM_VGPU', 'hw:cpu_threads')
    def test_of_no_devices_of_the_flavor(self, key):
        instance = fake_instance()
        instance.flavor.extra_specs[key] = '1'
        self.assertEqual([], blockers.of_devices(instance))

    def test_of_devices_of_ports(self):
        request = objects.InstancePCIRequest(count=1, spec=[{}])
        self.assertEqual(
            [('memory_pinned', 'memory_mb')],
            self._codes(blockers.of_devices(fake_instance(
                pci_requests=objects.InstancePCIRequests(
                    requests=[request])))))
        self.assertEqual(
            [], blockers.of_devices(fake_instance(pci_requests=None)))
        for vnic_type, pinned in (
                (network_model.VNIC_TYPE_NORMAL, False),
                (network_model.VNIC_TYPE_DIRECT, True),
                (network_model.VNIC_TYPE_DIRECT_PHYSICAL, True),
                (network_model.VNIC_TYPE_VDPA, True),
                (network_model.VNIC_TYPE_ACCELERATOR_DIRECT, True),
                (network_model.VNIC_TYPE_REMOTE_MANAGED, True)):
            found = blockers.of_devices(fake_instance(
                info_cache=objects.InstanceInfoCache(
                    network_info=network_model.NetworkInfo(
                        [network_model.VIF(vnic_type=vnic_type)]))))
            self.assertEqual(pinned, bool(found), vnic_type)

    def test_of_guest(self):
        self.assertEqual([], blockers.of_guest(STATE, FLAVOR))
        self.assertEqual(
            [('no_balloon_statistics', 'memory_mb')],
            self._codes(blockers.of_guest(
                dict(STATE, used_memory_mb=None), FLAVOR)))
        self.assertEqual(
            [('vcpus_left', 'vcpus'), ('memory_pinned', 'memory_mb')],
            self._codes(blockers.of_guest(
                dict(STATE, cannot_plug=True, memory_pinned=True), FLAVOR)))
        self.assertEqual(
            [('memory_pinned', 'memory_mb')],
            self._codes(blockers.of_guest(
                dict(STATE, memory_pinned=True), FLAVOR)))
        for fixed, codes in ((0, []), (2, []), (3, [('vcpus_fixed', 'vcpus')]),
                             (8, [('vcpus_fixed', 'vcpus')])):
            self.assertEqual(codes, self._codes(blockers.of_guest(
                dict(STATE, fixed_vcpus=fixed), FLAVOR)))

    def test_codes(self):
        names = [value for name, value in vars(blockers).items()
                 if name.isupper() and isinstance(value, str) and
                 name not in ('VCPUS', 'MEMORY')]
        self.assertCountEqual(blockers.CODES, names)


@ddt.ddt
class RequestTestCase(test.NoDBTestCase):
    """What a server can never be."""

    def _check(self, instance, vcpus=None, memory_mb=None):
        api._check_request(instance, vcpus, memory_mb)

    def _refuses(self, text, *args, **kwargs):
        error = self.assertRaises(
            exception.InvalidRequest, self._check, *args, **kwargs)
        self.assertIn(text, str(error))

    def test_range(self):
        instance = fake_instance()
        for vcpus in (2, 3, MAXIMUM.vcpus):
            self._check(instance, vcpus)
        for memory_mb in (2048, 2049, MAXIMUM.memory_mb):
            self._check(instance, None, memory_mb)
        self._refuses('current_vcpus is 1', instance, 1)
        self._refuses('current_vcpus is 9', instance, 9, 4096)
        self._refuses('current_memory_mb is 2047', instance, 2, 2047)
        self._refuses('current_memory_mb is 16385', instance, None, 16385)

    def test_fixed(self):
        instance = fake_instance(test_size.fake_flavor())
        self._refuses('current_vcpus', instance, MAXIMUM.vcpus)
        self._refuses('current_memory_mb', instance, None, 4096)
        self._refuses('current_vcpus', instance, *MAXIMUM)

    def test_fixed_in_a_dimension(self):
        instance = fake_instance(test_size.fake_flavor(cpu=2))
        self._check(instance, 4)
        self._check(instance, 4, MAXIMUM.memory_mb)
        self._refuses('current_memory_mb', instance, 4, 4096)
        self._refuses('current_memory_mb', instance, None, MAXIMUM.memory_mb)

        instance = fake_instance(test_size.fake_flavor(memory=2048))
        self._check(instance, None, 4096)
        self._check(instance, MAXIMUM.vcpus, 4096)
        self._refuses('current_vcpus', instance, 4, 4096)
        self._refuses('current_vcpus', instance, MAXIMUM.vcpus)

    def test_bad_minimum_makes_the_dimension_fixed(self):
        instance = fake_instance()
        instance.flavor.extra_specs['minimum_cpu'] = 'many'
        self._refuses('minimum of the server, 8', instance, 4)

    def test_min_ram(self):
        instance = fake_instance()
        instance.system_metadata['image_min_ram'] = '4096'
        self._check(instance, 4, 4096)
        self._check(instance, 4)
        self._refuses('min_ram', instance, None, 4095)

    @ddt.data((None, None, 1), ('2', None, 2), (None, '2', 2), ('4', '2', 2),
              ('0', None, 1), ('-2', None, 1), ('x', None, 1), ('3', None, 1),
              ('8', None, 8))
    @ddt.unpack
    def test_step(self, of_flavor, of_image, step):
        instance = fake_instance()
        if of_flavor:
            instance.flavor.extra_specs['hw:cpu_threads'] = of_flavor
        if of_image:
            instance.system_metadata['image_hw_cpu_threads'] = of_image
        self.assertEqual(step, api.vcpu_step(instance))
        for vcpus in range(2, 9):
            if vcpus % step and vcpus != size.desired(instance).vcpus:
                self._refuses('cpu_threads', instance, vcpus)
            else:
                self._check(instance, vcpus)

    def test_step_of_what_it_has(self):
        instance = fake_instance()
        size.record(instance, size.Size(5, 4096), size.Size(5, 4096))
        instance.flavor.extra_specs['hw:cpu_threads'] = '2'
        self._check(instance, 5, 8192)
        self._check(instance, 6)
        self._refuses('multiple of the 2 threads', instance, 3)

    @hypothesis.given(test_size.elastic_flavors(),
                      st.none() | st.integers(0, 1 << 31),
                      st.none() | st.integers(0, 1 << 31))
    def test_what_is_taken_is_in_the_range(self, flavor, vcpus, memory_mb):
        instance = fake_instance(flavor)
        try:
            self._check(instance, vcpus, memory_mb)
        except exception.InvalidRequest:
            return
        for value, low, high in zip(
                (vcpus, memory_mb), size.minimum(flavor),
                size.maximum(flavor)):
            if value is not None:
                self.assertTrue(low <= value <= high)


class QuotaTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.admin = context.RequestContext(
            'admin', 'admins', is_admin=True)
        self.instance = fake_instance()

    def _check(self, vcpus, memory_mb, **kwargs):
        api._check_quota(
            self.admin, self.instance,
            api._growth(self.instance, vcpus, memory_mb), **kwargs)

    @mock.patch('nova.objects.Quotas.check_deltas')
    def test_only_growth_over_the_charge(self, check):
        for asked, deltas in (((3, None), {'cores': 1}),
                              ((2, 2049), {'ram': 1}),
                              ((8, 4096), {'cores': 6, 'ram': 2048}),
                              ((2, 2048), None), ((None, 2048), None)):
            check.reset_mock()
            self._check(*asked)
            if deltas is None:
                check.assert_not_called()
            else:
                # The owner's, whoever calls.
                check.assert_called_once_with(
                    self.admin, deltas, 'owners', user_id='owner',
                    check_project_id='owners', check_user_id='owner')
        # What it is charged already it may have again.
        size.record(self.instance, size.Size(4, 4096), size.Size(2, 2048))
        check.reset_mock()
        self._check(4, 4096)
        check.assert_not_called()

    @mock.patch('nova.limit.placement._get_usage',
                return_value={'class:VCPU': 4})
    @mock.patch('oslo_limit.limit.Enforcer')
    def test_unified_limits(self, enforcer, usage):
        self.flags(driver='nova.quota.UnifiedLimitsDriver', group='quota')
        self._check(4, 2048)
        enforcer.return_value.enforce.assert_called_once_with(
            'owners', {'class:VCPU': 2})
        # What is counted already is not counted again.
        self._check(4, 2048, is_charged=True)
        enforcer.return_value.enforce.assert_called_with(
            'owners', {'class:VCPU': 0})


class StatusTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.ctxt = context.RequestContext('user', 'owners')
        self.compute_api = mock.Mock()
        self.compute_api.servicegroup_api.service_is_up.return_value = True
        self.of_host = self.useFixture(fixtures.MockPatch(
            'nova.xloud.blockers.of_host', return_value=[])).mock
        self.ask = self.useFixture(fixtures.MockPatch(
            'nova.xloud.rpcapi.XloudAPI.guest_state',
            return_value=STATE)).mock
        self.services = objects.ServiceList(
            objects=[objects.Service(binary='nova-compute')])

    def _status(self, instance=None, **kwargs):
        if instance is None:
            instance = fake_instance(services=self.services, **kwargs)
        return api.status(self.compute_api, self.ctxt, instance)

    def test_asks_nobody_about_a_fixed_server(self):
        status = self._status(fake_instance(test_size.fake_flavor()))
        self.ask.assert_not_called()
        self.of_host.assert_not_called()
        self.assertEqual([], self.compute_api.mock_calls)
        self.assertEqual(8, status['min_vcpus'])

    def test_current(self):
        # The one size that old clients see.
        nothing = dict(STATE, actual_vcpus=0, actual_memory_mb=0)
        silent = rpcapi.HostSilent(instance_uuid='', reason='')
        for answer, vm_state, current in (
                (STATE, vm_states.ACTIVE, (2, 2048)),
                (nothing, vm_states.ACTIVE, (3, 3072)),
                (nothing, vm_states.STOPPED, (3, 3072)),
                (silent, vm_states.ACTIVE, (4, 4096)),
                (silent, vm_states.STOPPED, (3, 3072))):
            instance = fake_instance(
                services=self.services, vm_state=vm_state)
            size.record(instance, size.Size(4, 4096), size.Size(3, 3072))
            self.ask.side_effect = [answer]
            status = self._status(instance)
            self.assertEqual(current, (status['current_vcpus'],
                                       status['current_memory_mb']))

    def test_blockers_of_a_stopped_guest(self):
        # A guest that does not run has no balloon to miss.
        self.ask.return_value = dict(
            STATE, actual_vcpus=0, actual_memory_mb=0,
            balloon_driver_active=False)
        self.assertEqual([], self._status()['blockers'])

    def test_memory_pinned_is_said_once(self):
        self.ask.return_value = dict(STATE, memory_pinned=True)
        instance = fake_instance(services=self.services)
        instance.flavor.extra_specs['resources:VGPU'] = '1'
        self.assertEqual(
            ['memory_pinned'],
            [blocker['code'] for blocker in self._status(instance)['blockers']
             ])

    def test_host_down_is_not_asked(self):
        self.compute_api.servicegroup_api.service_is_up.return_value = False
        status = self._status()
        self.ask.assert_not_called()
        self.of_host.assert_not_called()
        self.assertEqual(condition.UNKNOWN, status['condition'])

    def test_no_service(self):
        self.services.objects.clear()
        self.assertEqual(condition.UNKNOWN, self._status()['condition'])


class AdjustTestCase(test.NoDBTestCase):
    """The hook in the compute API and the order of what it leads to."""

    def setUp(self):
        super().setUp()
        self.ctxt = context.RequestContext('user', 'owners')
        self.compute_api = compute_api.API()
        self.instance = fake_instance(
            launched_at=timeutils.utcnow(),
            services=objects.ServiceList(
                objects=[objects.Service(binary='nova-compute')]))
        self.is_up = self.useFixture(fixtures.MockPatchObject(
            self.compute_api.servicegroup_api, 'service_is_up',
            return_value=True)).mock
        self.calls = mock.Mock()
        for name, target in (
                ('of_host', 'nova.xloud.blockers.of_host'),
                ('quota', 'nova.xloud.api._check_quota'),
                ('take', 'nova.xloud.task.take'),
                ('start', 'nova.xloud.action.start'),
                ('claim', 'nova.xloud.rpcapi.XloudAPI.claim'),
                ('rpc', 'nova.xloud.rpcapi.XloudAPI.adjust'),
                ('release', 'nova.xloud.rpcapi.XloudAPI.release'),
                ('event', 'nova.objects.InstanceActionEvent.create'),
                ('give_back', 'nova.xloud.task.give_back'),
                ('refresh', 'nova.xloud.api._refresh'),
                ('finish', 'nova.xloud.action.finish')):
            patch = self.useFixture(fixtures.MockPatch(target))
            self.calls.attach_mock(patch.mock, name)
        self.calls.of_host.return_value = []
        self.calls.rpc.return_value = STATE
        self.calls.claim.return_value = size.Size(4, 2048)
        self.calls.give_back.return_value = False

    def _adjust(self, vcpus=4, memory_mb=None, persist=True):
        return self.compute_api.xloud_adjust(
            self.ctxt, self.instance, vcpus, memory_mb, persist)

    def _order(self):
        return [call[0] for call in self.calls.mock_calls]

    def test_order(self):
        self._adjust()
        self.assertEqual(
            ['of_host', 'quota', 'take', 'start', 'claim', 'quota', 'rpc',
             'event', 'refresh', 'finish'], self._order())
        self.calls.take.assert_called_once_with(
            self.ctxt, self.instance, self.ctxt.request_id)
        request = rpcapi.Request(
            self.ctxt.request_id, 4, None, True,
            [self.instance.flavor.id, 2, 2048, *MAXIMUM], [2, 2048])
        self.calls.claim.assert_called_once_with(
            self.ctxt, self.instance, request)
        self.calls.rpc.assert_called_once_with(
            self.ctxt, self.instance, request._replace(charged=[4, 2048]))

    def test_order_without_growth(self):
        size.record(self.instance, size.Size(4, 4096), size.Size(4, 4096))
        self._adjust(2, 2048)
        self.assertEqual(
            ['of_host', 'quota', 'take', 'start', 'rpc', 'event', 'refresh',
             'finish'], self._order())

    def test_order_without_second_check(self):
        self.flags(recheck_quota=False, group='quota')
        self._adjust()
        self.assertNotIn('claim', self._order())

    def _refuses(self, error, *args, **kwargs):
        self.assertRaises(error, self._adjust, *args, **kwargs)
        self.calls.rpc.assert_not_called()

    def test_refusal_leaves_no_trace(self):
        self._refuses(exception.InvalidRequest, 9)
        self.assertEqual([], self._order())

    def test_refused_by_the_second_check(self):
        self.calls.quota.side_effect = [None, exception.TooManyInstances('no')]
        self._refuses(exception.TooManyInstances)
        self.assertEqual(
            ['of_host', 'quota', 'take', 'start', 'claim', 'quota',
             'release', 'event', 'give_back', 'finish'], self._order())

    def test_refused_by_the_host(self):
        for error in (exception.ElasticConflict, exception.ElasticNoRoom,
                      rpcapi.HostSilent):
            self.calls.rpc.side_effect = error(instance_uuid='', reason='')
            self.assertRaises(error, self._adjust)
            self.calls.give_back.assert_called_with(
                self.ctxt, self.instance, self.ctxt.request_id)
            self.calls.finish.assert_called_with(
                self.ctxt, self.instance, 'Error')

    def test_accepted_and_no_answer(self):
        self.calls.rpc.side_effect = rpcapi.HostSilent(
            instance_uuid='', reason='')
        self.calls.give_back.return_value = True
        self.assertEqual('Unknown', self._adjust()['condition'])

    def test_lock(self):
        self.instance.locked = True
        self._refuses(exception.InstanceIsLocked)
        self.assertEqual([], self._order())

    def test_state(self):
        for vm_state, task_state in (('paused', None), ('error', None),
                                     ('active', 'resize_prep')):
            self.instance.vm_state = vm_state
            self.instance.task_state = task_state
            self._refuses(exception.InstanceInvalidState)
        self.assertEqual([], self._order())

    def test_host_down(self):
        self.is_up.return_value = False
        self._refuses(exception.ServiceUnavailable)

    def test_stopped(self):
        self.instance.vm_state = 'stopped'
        self._refuses(exception.ElasticConflict, persist=False)
        self._adjust(persist=True)

    def test_host_cannot(self):
        self.calls.of_host.return_value = [
            blockers.Blocker('host_cannot', 'vcpus', 'why')]
        self._refuses(exception.ElasticConflict)
        # Only what is asked for matters.
        status = self._adjust(None, 4096)
        self.assertEqual(['host_cannot'], [
            blocker['code'] for blocker in status['blockers']])

    def test_memory_pinned(self):
        self.instance.flavor.extra_specs['resources:VGPU'] = '1'
        self._refuses(exception.ElasticConflict, None, 4096)
        self._refuses(exception.ElasticConflict, 4, 4096)
        self._adjust(4)
        self._adjust(4, 2048)

    def test_driver_without_it(self):
        self.calls.rpc.side_effect = NotImplementedError
        self.assertRaises(exception.ElasticConflict, self._adjust)
