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

import fixtures
from keystoneauth1 import exceptions as ks_exc
from oslo_utils.fixture import uuidsentinel as uuids

from nova import exception
from nova import objects
from nova.scheduler import request_filter
from nova import test
from nova.tests.unit import fake_requests
from nova.tests.unit.xloud import fakes
from nova.virt import driver
from nova.xloud import traits

BOTH = {traits.ELASTIC_VCPU, traits.ELASTIC_MEMORY}


class RequiredTraitsTestCase(test.NoDBTestCase):

    def test_each_dimension_has_its_trait(self):
        for flavor, expected in (
                (fakes.flavor(), set()),
                (fakes.flavor(cpu=2), {traits.ELASTIC_VCPU}),
                (fakes.flavor(memory=1), {traits.ELASTIC_MEMORY}),
                (fakes.flavor(cpu=2, memory=1), BOTH)):
            self.assertEqual(expected, traits.required(flavor))

    def test_a_host_reports_what_its_driver_can_do(self):
        virt = driver.ComputeDriver(None)
        reported = virt.capabilities_as_traits()
        self.assertEqual({False}, {reported[trait] for trait in BOTH})
        virt.capabilities = dict(virt.capabilities,
                                 supports_xloud_elastic_vcpu=True)
        reported = virt.capabilities_as_traits()
        self.assertTrue(reported[traits.ELASTIC_VCPU])
        self.assertFalse(reported[traits.ELASTIC_MEMORY])


class RequestFilterTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.client = self.useFixture(fixtures.MockPatch(
            'nova.scheduler.client.report.report_client_singleton')
        ).mock.return_value
        self._answer(BOTH)

    def _answer(self, reported):
        self.client.get.return_value = fake_requests.FakeResponse(
            200, content='{"traits": ["%s"]}' % '", "'.join(reported))

    def _filter(self, flavor):
        spec = objects.RequestSpec(flavor=flavor)
        context = mock.Mock(global_id='req-1')
        return request_filter.elastic_server_filter(context, spec), spec

    def test_is_run(self):
        self.assertIn(request_filter.elastic_server_filter,
                      request_filter.ALL_REQUEST_FILTERS)

    def test_requires_the_traits(self):
        ran, spec = self._filter(fakes.flavor(cpu=2, memory=1))
        self.assertTrue(ran)
        self.assertEqual(BOTH, spec.root_required)

    def test_inert_if_not_elastic(self):
        ran, spec = self._filter(fakes.flavor())
        self.assertFalse(ran)
        self.assertEqual(set(), spec.root_required)
        self.client.get.assert_not_called()

    def test_says_why_if_no_host_can(self):
        self._answer({traits.ELASTIC_VCPU})
        ex = self.assertRaises(
            exception.RequestFilterFailed, self._filter,
            fakes.flavor(cpu=2, memory=1))
        self.assertIn('No host can run servers of an elastic flavor: none '
                      'reports the trait CUSTOM_XLOUD_ELASTIC_MEMORY.',
                      str(ex))

    def test_placement_out_of_order(self):
        for failure in (
                {'side_effect': ks_exc.ConnectFailure},
                {'return_value': fake_requests.FakeResponse(503)},
                *({'return_value': fake_requests.FakeResponse(
                    200, content=page)} for page in (
                        '<html>Maintenance</html>', '["Maintenance"]',
                        'null', '{"traits": null}'))):
            self.client.get.configure_mock(
                **{'side_effect': None, **failure})
            _, spec = self._filter(fakes.flavor(cpu=2))
            self.assertEqual({traits.ELASTIC_VCPU}, spec.root_required)


class HostTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.client = mock.Mock()
        self.get_node = self.useFixture(fixtures.MockPatch(
            'nova.objects.ComputeNode.get_by_host_and_nodename')).mock
        self.clock = self.useFixture(fixtures.MockPatch(
            'time.monotonic', return_value=1000.0)).mock
        self._reports(BOTH | {'HW_CPU_X86_VMX'})

    def _reports(self, reported):
        self.client.get_provider_traits.return_value.traits = set(reported)

    def _of_host(self, host='host1', **minimum):
        flavor = fakes.flavor(**(minimum or {'cpu': 2, 'memory': 1}))
        return traits.of_host(None, self.client, fakes.instance(
            flavor, host=host, node=host))

    def _questions(self):
        self.assertEqual(self.get_node.call_count,
                         self.client.get_provider_traits.call_count)
        return self.get_node.call_count

    def test_asked_once_a_minute(self):
        for _time in range(100):
            self.assertEqual(BOTH, self._of_host())
        self.assertEqual(1, self._questions())
        self._reports([])
        self.clock.return_value += 59
        self.assertEqual(BOTH, self._of_host())
        self.clock.return_value += 2
        self.assertEqual(set(), self._of_host())

    def test_each_host_and_each_client(self):
        self._of_host()
        self._reports([traits.ELASTIC_MEMORY])
        self.assertEqual({traits.ELASTIC_MEMORY}, self._of_host('host2'))
        self.assertEqual(BOTH, self._of_host())
        other = mock.Mock()
        other.get_provider_traits.return_value.traits = set()
        self.client = other
        self.assertEqual(set(), self._of_host())

    def test_a_host_that_can_not_is_asked_again(self):
        self._reports([traits.ELASTIC_MEMORY])
        self.assertEqual({traits.ELASTIC_MEMORY}, self._of_host())
        # What another server does not need does not matter.
        self.assertEqual({traits.ELASTIC_MEMORY}, self._of_host(memory=1))
        self.assertEqual(1, self._questions())
        self._reports(BOTH)
        self.assertEqual(BOTH, self._of_host())

    def test_failure_is_not_kept(self):
        self.client.get_provider_traits.side_effect = ks_exc.ConnectFailure
        self.assertRaises(ks_exc.ConnectFailure, self._of_host)
        self.client.get_provider_traits.side_effect = None
        self.assertEqual(BOTH, self._of_host())

    def test_bounded(self):
        with mock.patch.object(traits, '_MOST_KNOWN', 10):
            for number in range(100):
                self._of_host('host%d' % number)
                self.assertLessEqual(len(traits._known[self.client]), 10)


class ForcedHostTestCase(test.NoDBTestCase):

    def _check(self, flavor, reported=()):
        client = mock.Mock()
        client.get_provider_traits.return_value.traits = set(reported)
        traits.check_forced_host(
            None, client, fakes.instance(flavor),
            objects.ComputeNode(uuid=uuids.node, host='host1'))
        return client

    def test_able_host(self):
        self._check(fakes.flavor(cpu=2, memory=1), BOTH)

    def test_other_host(self):
        ex = self.assertRaises(
            exception.NoValidHost, self._check,
            fakes.flavor(cpu=2, memory=1), {traits.ELASTIC_VCPU})
        self.assertIn('Host host1', str(ex))
        self.assertIn(traits.ELASTIC_MEMORY, str(ex))
        self.assertNotIn(traits.ELASTIC_VCPU, str(ex))

    def test_inert_if_not_elastic(self):
        client = self._check(fakes.flavor())
        client.get_provider_traits.assert_not_called()
