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

"""The base of functional tests of elastic servers."""

import functools

import fixtures

from nova import conf
from nova import context
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import xloud_fork
from nova.tests.fixtures import xloud_patience
from nova.tests.fixtures import xloud_reuse
from nova.tests.functional import integrated_helpers
from nova.virt import fake
from nova.xloud import entries
from nova.xloud import notes
from nova.xloud import size

CONF = conf.CONF

MAXIMUM = size.Size(8, 8192)
MINIMUM = size.Size(2, 2048)
BOOT = size.Size(3, 6144)


class ElasticFakeDriver(fake.FakeDriver):
    """A host that can run elastic servers, several but not many."""

    capabilities = dict(
        fake.FakeDriver.capabilities,
        supports_xloud_elastic_vcpu=True,
        supports_xloud_elastic_memory=True)

    vcpus = 16
    memory_mb = 32768
    local_gb = 1028


class ElasticServersTestCase(
        xloud_patience.Patience,
        integrated_helpers.ProviderUsageBaseTestCase):
    """Nova's services and Placement, without a compute.

    A test starts the hosts that it wants with :meth:`start_host`. The
    scheduler prefers host1 to host2, and host2 to host3.
    """

    run_tests_with = xloud_fork.ForkedRunTest
    compute_driver = 'fake.ElasticFakeDriver'
    plain_compute_driver = 'fake.MediumFakeDriver'

    def setUp(self):
        self.useFixture(nova_fixtures.HostNameWeigherFixture())
        self.useFixture(xloud_patience.PromptMessages())
        self.useFixture(xloud_reuse.Reuse())
        super().setUp()
        self._providers = {}
        wait = self.notifier.wait_for_versioned_notifications
        self.notifier.wait_for_versioned_notifications = functools.partial(
            wait, timeout=self.SECONDS)
        # Quota has tests of its own.
        self.flags(cores=-1, ram=-1, instances=-1, group='quota')
        # Nova looks for compute drivers below nova.virt.
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.fake.ElasticFakeDriver', ElasticFakeDriver))

    def start_host(self, host, elastic=True, **kwargs):
        """Start a compute, on request one without elastic servers."""
        self.flags(compute_driver=self.compute_driver if elastic
                   else self.plain_compute_driver)
        return self._start_compute(host, **kwargs)

    def create_elastic_flavor(
        self, maximum=MAXIMUM, minimum=MINIMUM, extra_specs=None,
    ):
        """Make a flavor; a dimension where minimum is None is fixed."""
        extra_specs = dict(extra_specs or {})
        for key, value in zip(size.MINIMUM_KEYS, minimum):
            if value is not None:
                extra_specs[key] = str(value)
        return self._create_flavor(
            vcpu=maximum.vcpus, memory_mb=maximum.memory_mb, disk=1,
            ephemeral=0, extra_spec=extra_specs)

    def create_server(self, flavor_id, **kwargs):
        kwargs.setdefault('networks', 'none')
        return self._create_server(flavor_id=flavor_id, **kwargs)

    def instance(self, server):
        """The row of a server, from the cell where it is now."""
        admin = context.get_admin_context()
        mapping = objects.InstanceMapping.get_by_instance_uuid(
            admin, server['id'])
        with context.target_cell(admin, mapping.cell_mapping) as cell:
            return objects.Instance.get_by_uuid(
                cell, server['id'],
                expected_attrs=['flavor', 'system_metadata'])

    def books(self, server):
        """All that is recorded about the sizes of a server."""
        instance = self.instance(server)
        return (instance.vcpus, instance.memory_mb, self.recorded(instance))

    def recorded(self, instance):
        """The entries of its books about sizes."""
        found = entries.of(instance)
        # Who made the last change, and when, is not a size.
        for key in (notes.TASK, notes.SINCE):
            found.pop(key, None)
        return found

    def hold(self, desired):
        """Let the guest hold this from now on, and start with BOOT."""
        self.charge = self.change_sizes(self.server, desired, boot=BOOT)
        self.before = self.books(self.server)

    def starts_anew(self):
        """From now on it has what its start gives."""
        self.charge = BOOT
        self.before = self.opened_books(BOOT)

    @staticmethod
    def opened_books(charge):
        """The books of a server that has its flavor's minimum, as books()."""
        return (*charge, {
            'xloud_%s_%s' % (word, dimension): str(value)
            for word in ('desired', 'boot')
            for dimension, value in charge._asdict().items()})

    def change_sizes(self, server, desired, boot=None):
        """Give a running server other sizes, as an adjust does.

        :param desired: what the guest holds from now on
        :param boot: what its next start gives, the same by default
        :returns: what the server is charged now
        """
        instance = self.instance(server)
        size.record(instance, desired, boot or desired)
        size.settle(instance, actual=desired)
        instance.save()
        charge = size.charged(instance)

        url = '/allocations/%s' % server['id']
        body = self.placement.get(url, version='1.28').body
        resources = body['allocations'][
            self._get_provider_uuid_by_host(instance.node)]['resources']
        resources['VCPU'], resources['MEMORY_MB'] = charge
        response = self.placement.put(url, body, version='1.28')
        self.assertEqual(204, response.status, response.body)

        self._run_periodics()
        self.assert_charged(server, charge, instance.host)
        return charge

    def _get_provider_uuid_by_host(self, host):
        # It stays, and one in five seconds of these tests went into asking.
        if host not in self._providers:
            self._providers[host] = super()._get_provider_uuid_by_host(host)
        return self._providers[host]

    def allocated(self, consumer_id):
        """What a consumer holds in Placement, by host."""
        hosts = {self._get_provider_uuid_by_host(host): host
                 for host in self.computes}
        return {hosts[provider]: size.Size(
                    allocation['resources'].get('VCPU', 0),
                    allocation['resources'].get('MEMORY_MB', 0))
                for provider, allocation in
                self._get_allocations_by_server_uuid(consumer_id).items()}

    def used(self, host):
        """What Placement counts on a host."""
        usages = self._get_provider_usages(
            self._get_provider_uuid_by_host(host))
        return size.Size(usages['VCPU'], usages['MEMORY_MB'])

    def tracked(self, host):
        """What the resource tracker has recorded of a host."""
        with context.target_cell(
                context.get_admin_context(),
                self.host_mappings[host].cell_mapping) as cell:
            (node,) = objects.ComputeNodeList.get_all_by_host(cell, host)
        return size.Size(
            node.vcpus_used - CONF.reserved_host_cpus,
            node.memory_mb_used - CONF.reserved_host_memory_mb)

    def assert_charged(self, server, charge, host):
        """Allocation, row and tracker agree on what a server is charged.

        The tracker reports only the sum of a host, so this compares it with
        what Placement counts there; an unfinished move counts in both. It
        checks now and after the periodic audit.
        """
        def check():
            instance = self.instance(server)
            self.assertEqual(host, instance.host)
            self.assertEqual(charge, size.charged(instance), 'row')
            self.assertEqual(charge, (instance.vcpus, instance.memory_mb))
            self.assertEqual({host: charge}, self.allocated(server['id']),
                             'allocation')
            self.assert_hosts_agree()

        self._wait_for_assert(check)
        self._run_periodics()
        check()

    def assert_used(self, **charges):
        """Hosts are charged these sums, in Placement and the tracker."""
        def check():
            for host, charge in charges.items():
                self.assertEqual(charge, self.used(host), host)
            self.assert_hosts_agree()

        self._wait_for_assert(check)
        self._run_periodics()
        check()

    def assert_hosts_agree(self):
        """On each host, the tracker has what is claimed in Placement."""
        for host in self.computes:
            self.assertEqual(self.used(host), self.tracked(host), host)

    def assert_nothing_left(self, server_id):
        """Nothing counts a deleted server."""
        def check():
            self.assertEqual({}, self.allocated(server_id))
            for host in self.computes:
                self.assertNotIn(
                    server_id, self._get_allocations_by_provider_uuid(
                        self._get_provider_uuid_by_host(host)))
            self.assert_hosts_agree()

        self._wait_for_assert(check)
        self._run_periodics()
        check()
