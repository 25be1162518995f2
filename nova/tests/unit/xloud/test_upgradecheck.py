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

import hashlib
from pathlib import Path
from unittest import mock

import ddt
import fixtures
from keystoneauth1 import exceptions as ks_exc
from openstack import exceptions as sdk_exc
from oslo_db import exception as db_exc
from oslo_upgradecheck import upgradecheck as oslo_upgradecheck
from oslo_utils.fixture import uuidsentinel as uuids

from nova.cmd import status
from nova import exception
from nova import objects
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import size
from nova.xloud import traits
from nova.xloud import upgradecheck
from nova.xloud import verify

SUCCESS = oslo_upgradecheck.Code.SUCCESS
WARNING = oslo_upgradecheck.Code.WARNING
FAILURE = oslo_upgradecheck.Code.FAILURE


class InstallationTestCase(test.NoDBTestCase):
    def setUp(self):
        super().setUp()
        root = Path(self.useFixture(fixtures.TempDir()).path)
        self.folder = root / 'nova'
        self.folder.mkdir()
        metadata = root / 'nova-1.0.dist-info'
        metadata.mkdir()
        metadata.joinpath('entry_points.txt').write_text('')
        self.manifest = {'version': '1.0+xloud.7', 'distribution': False,
                         'files': {}, 'entry_points': []}
        for name in ('__init__.py', 'a.py', 'b.py', 'c.py', 'd.py'):
            self.write(name, '')
            self.manifest['files'][f'nova/{name}'] = {
                'sha256': hashlib.sha256(b'').hexdigest()}
        self.useFixture(fixtures.MockPatchObject(
            verify, 'find_installation', return_value=root))

    def write(self, name, text):
        self.folder.joinpath(name).write_text(text)

    def check(self):
        with mock.patch.object(verify, 'MANIFEST', self.manifest):
            return upgradecheck.check_installation()

    def test_whole(self):
        self.assertEqual(SUCCESS, self.check().code)

    def test_damaged(self):
        for name in ('a.py', 'b.py', 'c.py', 'd.py'):
            self.write(name, 'edited')
        result = self.check()
        self.assertEqual(FAILURE, result.code)
        self.assertIn('4 findings', result.details)
        self.assertIn('- edited: nova/c.py\n', result.details)
        self.assertNotIn('nova/d.py', result.details)

    def test_a_package_with_the_patches_of_a_distribution(self):
        self.manifest['distribution'] = True
        self.write('a.py', 'patched')
        self.assertEqual(SUCCESS, self.check().code)

    def test_a_manifest_that_cannot_be_used(self):
        self.write('verify.py', '')
        self.write('xloud-manifest.json', '{"version": ')
        with mock.patch.object(
                verify, '__file__', str(self.folder / 'verify.py')):
            result = upgradecheck.check_installation()
        self.assertEqual(WARNING, result.code)
        self.assertIn('cannot be used: JSONDecodeError', result.details)

    def test_a_tree_has_nothing_to_compare_with(self):
        result = upgradecheck.check_installation()
        self.assertEqual(WARNING, result.code)
        self.assertIn('no manifest', result.details)

    def test_nova_status_has_the_check(self):
        checks = {str(name): check for name, check in
                  status.UpgradeCommands._upgrade_checks}
        result = checks['XLoud Nova installation'](status.UpgradeCommands())
        self.assertEqual(WARNING, result.code)


@ddt.ddt
class ElasticServersTestCase(test.NoDBTestCase):
    """Each finding, with what Nova and Placement would say."""

    def setUp(self):
        super().setUp()
        self.flavors = []
        self.nodes = [objects.ComputeNode(
            uuid=uuids.node, hypervisor_hostname='node1')]
        self.traits = mock.Mock(traits={
            traits.ELASTIC_VCPU, traits.ELASTIC_MEMORY})
        self.unwritten = []
        self.aggregates = []
        cells = [objects.CellMapping(uuid=objects.CellMapping.CELL0_UUID),
                 objects.CellMapping(uuid=uuids.cell1)]
        placement = mock.Mock()
        placement.get_provider_traits.side_effect = self.answer
        for name, value in (
                ('nova.objects.FlavorList.get_all', lambda *args, **kwargs:
                 self.flavors),
                ('nova.objects.ComputeNodeList.get_all', lambda *args:
                 self.nodes),
                ('nova.objects.AggregateList.get_by_metadata_key',
                 lambda *args: self.aggregates),
                ('nova.xloud.fleet.unwritten', lambda *args:
                 self.unwritten),
                ('nova.context.load_cells', lambda *args: None),
                ('nova.context.CELLS', cells),
                ('nova.context.target_cell', mock.MagicMock()),
                ('nova.scheduler.client.report.report_client_singleton',
                 lambda *args: placement)):
            self.useFixture(fixtures.MonkeyPatch(name, value))

    def answer(self, context, uuid):
        if isinstance(self.traits, Exception):
            raise self.traits
        return self.traits

    def check(self):
        return upgradecheck.check_elastic_servers()

    def assert_found(self, code, *texts):
        result = self.check()
        self.assertEqual(code, result.code)
        for text in texts:
            self.assertIn(text, result.details)

    def flavor(self, **minimum):
        flavor = fakes.flavor(
            maximum=size.Size(8, 8192), **minimum)
        flavor.name = 'elastic.large'
        self.flavors.append(flavor)

    def test_nothing_elastic(self):
        self.traits = mock.Mock(traits=set())
        result = self.check()
        self.assertEqual(SUCCESS, result.code)
        self.assertIn('the computes and the room for growth were not looked '
                      'at', result.details)

    def test_whole(self):
        self.flavor(cpu=2)
        result = self.check()
        self.assertEqual((SUCCESS, None), (result.code, result.details))

    def test_a_flavor_that_cannot_be(self):
        self.flavor(cpu='x')
        self.assert_found(WARNING, '1 elastic flavors', 'elastic.large: ',
                          'not an integer')

    @ddt.data(({'hw:mem_encryption': 'true'}, 'hw:mem_encryption'),
              ({'hw:emulator_threads_policy': 'isolate'}, 'dedicated CPU'),
              ({'hw:emulator_threads_policy': 'x'}, "'x'"),
              ({'hw:cpu_thread_policy': 'isolate'}, 'thread pinning'),
              ({'hw:cpu_policy': 'x'}, "'x'"),
              ({'hw:cpu_policy': 'mixed'}, 'hw:cpu_dedicated_mask'),
              ({'hw:cpu_policy': 'mixed', 'hw:cpu_dedicated_mask': 'x'},
               "'x'"),
              ({'hw:cpu_policy': 'dedicated', 'hw:cpu_realtime': 'true'},
               'realtime'),
              ({'hw:locked_memory': 'true'}, 'locked_memory'),
              ({'hw:numa_nodes': '1', 'hw:numa_cpus.0': '0-7',
                'hw:numa_mem.0': 'x'}, "'x'"))
    @ddt.unpack
    def test_a_flavor_that_nova_refuses(self, extra_specs, reason):
        """Each with another exception"""
        self.flavor(cpu=2)
        self.flavors[0].extra_specs.update(extra_specs)
        self.assert_found(WARNING, '- elastic.large: ', reason)

    def test_a_flavor_in_which_no_kernel_can_run(self):
        self.flavor(memory=128)
        self.assert_found(WARNING, '1 elastic flavors', 'elastic.large: ',
                          'minimum_memory', '432 MiB is the least')
        # Nobody knows what the kernel needs.
        self.flags(guest_memory_base_mb=-1, group='xloud')
        self.assertEqual(SUCCESS, self.check().code)

    def test_computes_without_traits(self):
        self.flavor(cpu=2)
        self.traits = mock.Mock(traits={traits.ELASTIC_VCPU})
        self.assert_found(WARNING, '1 computes',
                          'node1: CUSTOM_XLOUD_ELASTIC_MEMORY')
        for self.traits in (
                exception.ResourceProviderTraitRetrievalFailed(
                    uuid=uuids.node),
                # A proxy answers instead.
                ValueError(), KeyError('traits'), TypeError()):
            self.assert_found(WARNING, 'does not report the traits')

    @ddt.data(ks_exc.MissingAuthPlugin('no auth_url'),
              ks_exc.DiscoveryFailure('no auth_url'),
              sdk_exc.NotSupported('no auth_url'))
    def test_no_client_of_placement(self, error):
        """The other checks go on."""
        self.flavor(cpu='x')
        self.useFixture(fixtures.MockPatch(
            'nova.scheduler.client.report.report_client_singleton',
            side_effect=error))
        self.assert_found(WARNING, '1 elastic flavors',
                          'Placement cannot be asked', 'no auth_url')

    def test_a_cell_does_not_answer(self):
        """The other checks go on."""
        self.flavor(cpu='x')

        def get_all(*args):
            raise db_exc.DBConnectionError()

        self.useFixture(fixtures.MonkeyPatch(
            'nova.objects.ComputeNodeList.get_all', get_all))
        self.assert_found(WARNING, '1 elastic flavors',
                          '1 cells do not answer', uuids.cell1)

    def test_servers_without_books(self):
        self.unwritten = ['a', 'b', 'c', 'd']
        self.assert_found(WARNING, '4 elastic servers', '- c')
        self.assertNotIn('- d', self.check().details)

    def test_the_entry_point_is_missing(self):
        self.unwritten = ['a']
        with mock.patch.dict(upgradecheck.validators.VALIDATORS):
            del upgradecheck.validators.VALIDATORS['minimum_cpu']
            self.assert_found(FAILURE, 'minimum_cpu', '1 elastic servers')

    def test_room_without_the_filter(self):
        self.flavor(cpu=2)
        self.flags(room_for_growth=10, group='xloud')
        self.assert_found(WARNING, 'XloudGrowthFilter')
        self.flags(enabled_filters=['XloudGrowthFilter'],
                   group='filter_scheduler')
        self.assertEqual(SUCCESS, self.check().code)

    def room_of_aggregates(self, *values):
        self.aggregates = [
            objects.Aggregate(
                name='rack%d' % number,
                metadata={'xloud_room_for_growth': value})
            for number, value in enumerate(values)]

    def test_room_of_aggregates_without_the_filter(self):
        self.flavor(cpu=2)
        self.room_of_aggregates('20', '0')
        self.assert_found(WARNING, 'XloudGrowthFilter', '1 aggregates',
                          'rack0: xloud_room_for_growth=20')
        self.flags(enabled_filters=['XloudGrowthFilter'],
                   group='filter_scheduler')
        self.assertEqual(SUCCESS, self.check().code)
        # Without elastic servers, there is no growth.
        self.flavors.clear()
        self.flags(enabled_filters=[], group='filter_scheduler')
        self.assertEqual(SUCCESS, self.check().code)

    def test_room_of_aggregates_that_is_no_percentage(self):
        self.flavor(cpu=2)
        self.room_of_aggregates('much', '-1', '100', '101')
        self.flags(enabled_filters=['XloudGrowthFilter'],
                   group='filter_scheduler')
        self.assert_found(
            WARNING, '3 aggregates', *(
                '- rack%d: xloud_room_for_growth=%s' % found
                for found in ((0, 'much'), (1, '-1'), (3, '101'))))

    def test_nova_status_has_the_check(self):
        checks = {str(name): check for name, check in
                  status.UpgradeCommands._upgrade_checks}
        result = checks['XLoud Nova elastic servers'](
            status.UpgradeCommands())
        self.assertEqual(SUCCESS, result.code)
