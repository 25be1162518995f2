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

"""Everything that counts or reports servers tells what they are charged."""

import datetime
import io
from unittest import mock

import fixtures
from oslo_limit import fixture as limit_fixture
from oslo_utils import timeutils

from nova.cmd import manage
from nova import context
from nova import exception
from nova.limit import local as local_limit
from nova import quota
from nova.tests.functional.xloud import accounting_base
from nova.tests.functional.xloud import base
from nova.xloud import size

NOTHING = size.Size(0, 0)


class LegacyQuotaTestCase(accounting_base.AccountingTestCase):
    """Cores and RAM are counted in the cells' databases."""

    # What a move holds in two places is counted twice in Placement only.
    twice = False

    def setUp(self):
        super().setUp()
        # Without a limit on these Nova never creates fewer than asked for.
        self.limit(instances=10)

    def test_create(self):
        """What is allowed is less than the maximum of one server."""
        self.limit(cores=4, ram=5000)
        server = self.create_server(self.flavor)
        self.assertEqual(base.MINIMUM, self.get_used())
        self.create_server(self.flavor)
        self.assertEqual((4, 4096), self.get_used())
        self.refuse('cores', self.create_server, self.flavor)
        self.limit(cores=6)
        self.refuse('ram', self.create_server, self.flavor)
        self._delete_server(server)
        self.assertEqual(base.MINIMUM, self.get_used())

        # Of several, as many as there is quota for their minimum
        self.limit(cores=7, ram=10000)
        self.refuse('cores', self.create_several, 3, 4)
        servers = self.create_several(1, 4)
        self.assertEqual(2, len(servers))
        self.assertEqual((6, 6144), self.get_used())

        # A size that was changed counts as it is.
        self.limit(cores=10, ram=10239)
        charge = self.change_sizes(
            servers[0], size.Size(4, 3072), boot=size.Size(2, 4096))
        self.assertEqual((4, 4096), charge)
        self.assertEqual((8, 8192), self.get_used())
        self.refuse('ram', self.create_server, self.flavor)
        self.limit(cores=9, ram=10240)
        self.refuse('cores', self.create_server, self.flavor)
        self.limit(cores=10)
        self.create_server(self.flavor)
        self.assertEqual((10, 10240), self.get_used())

    def test_revert(self):
        """There may be no quota left for what the server was charged."""
        self.start_host('host2')
        server = self.create_server(self.flavor)
        charge = self.change_sizes(server, size.Size(5, 6144))
        server = self._resize_server(server, self.create_elastic_flavor(
            minimum=size.Size(1, 1024)))
        used = (6, 7168) if self.twice else (1, 1024)
        self.assertEqual(used, self.get_used())
        # The flavors are of one size, so this is not about those.
        needed = used[0] + 4, used[1] + 5120
        self.limit(cores=needed[0] - 1, ram=needed[1])
        self.refuse('cores', self.post, server, 'revertResize')
        self.limit(cores=needed[0], ram=needed[1] - 1)
        self.refuse('ram', self.post, server, 'revertResize')
        self.limit(ram=needed[1])
        server = self._revert_resize(server)
        self.assertEqual(charge, self.get_used())
        self.assert_charged(server, charge, 'host1')

    def test_restore_and_unshelve(self):
        self.flags(reclaim_instance_interval=3600)
        server = self.create_server(self.flavor)
        charge = self.change_sizes(server, size.Size(5, 6144))
        self.soft_delete(server)
        # Its allocation remains until it is reclaimed.
        used = charge if self.twice else NOTHING
        self.assertEqual(used, self.get_used())
        self.limit(cores=used.vcpus + 4, ram=used.memory_mb + 6144)
        self.refuse('cores', self.post, server, 'restore')
        self.limit(cores=used.vcpus + 5, ram=used.memory_mb + 6143)
        self.refuse('ram', self.post, server, 'restore')
        self.limit(ram=used.memory_mb + 6144)
        self.post(server, 'restore')
        server = self._wait_for_state_change(server, 'ACTIVE')
        self.assertEqual(charge, self.get_used())
        self.assert_charged(server, charge, 'host1')

        self.offload(server)
        if self.twice:
            self.assertEqual(NOTHING, self.get_used())
            self.limit(cores=4, ram=6144)
            self.refuse('cores', self.post, server, 'unshelve')
            self.limit(cores=5, ram=6143)
            self.refuse('ram', self.post, server, 'unshelve')
            self.limit(ram=6144)
        else:
            # The database has it all the time, so nothing is asked for.
            self.assertEqual(charge, self.get_used())
            self.limit(cores=5, ram=6144)
        server = self._unshelve_server(server)
        self.assertEqual(charge, self.get_used())
        self.assert_charged(server, charge, 'host1')

    def test_a_server_that_its_host_could_not_start(self):
        """Nothing is allocated, and the database counts its minimum."""
        with mock.patch.object(
                self.computes['host1'].manager.driver, 'spawn',
                side_effect=exception.NovaException('by the test')):
            server = self._create_server(
                flavor_id=self.flavor, networks='none',
                expected_state='ERROR')
        self.assertEqual({}, self.allocated(server['id']))
        self.assert_used(host1=NOTHING)
        self.assertEqual(
            NOTHING if self.twice else base.MINIMUM, self.get_used())
        (listed,) = self.admin_api.api_get(
            '/os-xloud-adjust').body['xloud_servers']
        self.assertEqual(
            (server['id'], None, *base.MINIMUM),
            (listed['id'], listed['host'], listed['allocated_vcpus'],
             listed['allocated_memory_mb']))
        self._delete_server(server)
        self.assertEqual(NOTHING, self.get_used())


class ResizeQuotaTestCase(accounting_base.AccountingTestCase):

    def test_resize(self):
        """From what the server is charged to the minimum of the new flavor.

        Neither is the size of a flavor.
        """
        self.start_host('host2')
        server = self.create_server(self.flavor)
        charge = self.change_sizes(server, size.Size(4, 4096))
        more = size.Size(6, 5120)
        flavor = self.create_elastic_flavor(size.Size(16, 16384), more)
        self.limit(cores=5, ram=5120)
        self.refuse('cores', self.resize, server, flavor)
        self.limit(cores=6, ram=5119)
        self.refuse('ram', self.resize, server, flavor)
        self.assert_charged(server, charge, 'host1')
        self.limit(ram=5120)
        server = self._resize_server(server, flavor)
        self.assert_charged(server, more, 'host2')
        self.assertEqual(more, self.get_used())
        server = self._confirm_resize(server)
        self.assertEqual(more, self.get_used())

        # A flavor with a lower minimum is no upsize, whatever its maximum.
        self.limit(cores=1, ram=1024)
        less = size.Size(2, 1024)
        server = self._resize_server(server, self.create_elastic_flavor(
            size.Size(32, 16384), less))
        self.assert_charged(server, less, 'host1')
        server = self._confirm_resize(server)
        self.assertEqual(less, self.get_used())

        # A fixed flavor is charged all that it has.
        fixed = self._create_flavor(vcpu=5, memory_mb=3072, disk=1)
        self.limit(cores=4, ram=3072)
        self.refuse('cores', self.resize, server, fixed)
        self.limit(cores=5)
        server = self._resize_server(server, fixed)
        server = self._confirm_resize(server)
        self.assertEqual((5, 3072), self.get_used())
        self.limit(cores=1, ram=1024)
        server = self._resize_server(server, self.flavor)
        self._confirm_resize(server)
        self.assertEqual(base.MINIMUM, self.get_used())


class PlacementQuotaTestCase(LegacyQuotaTestCase):
    """Cores and RAM are counted in Placement."""

    twice = True

    def setUp(self):
        super().setUp()
        self.limit(count_usage_from_placement=True)
        # Another test may have used the same project.
        quota.UID_QFD_POPULATED_CACHE_BY_PROJECT.clear()


class UnifiedLimitsTestCase(accounting_base.AccountingTestCase):

    def setUp(self):
        super().setUp()
        self.flags(driver='nova.quota.UnifiedLimitsDriver', group='quota')
        unlimited = {
            name: 1000 for name in (
                local_limit.SERVER_METADATA_ITEMS, local_limit.INJECTED_FILES,
                local_limit.INJECTED_FILES_CONTENT, local_limit.KEY_PAIRS,
                local_limit.INJECTED_FILES_PATH, local_limit.SERVER_GROUPS,
                local_limit.SERVER_GROUP_MEMBERS, 'servers')}
        self.limits = {}
        self.useFixture(limit_fixture.LimitFixture(
            dict(unlimited, **{
                'class:VCPU': 1000, 'class:MEMORY_MB': 100000,
                'class:DISK_GB': 1000}),
            {self.api.project_id: self.limits}))

    def limit(self, cores, ram):
        self.limits.update({'class:VCPU': cores, 'class:MEMORY_MB': ram})

    def test_create(self):
        self.limit(cores=4, ram=5000)
        self.create_server(self.flavor)
        self.assertEqual(base.MINIMUM, self.get_used())
        self.create_server(self.flavor)
        self.refuse('class:VCPU', self.create_server, self.flavor)
        self.limit(cores=8, ram=5000)
        self.refuse('class:MEMORY_MB', self.create_server, self.flavor)
        # Of several, as many as there is a limit for
        self.limit(cores=9, ram=100000)
        self.assertEqual(2, len(self.create_several(1, 5)))
        self.assertEqual((8, 8192), self.get_used())

    def test_resize_and_revert(self):
        """Both hosts count, so the whole new minimum has to fit."""
        self.start_host('host2')
        server = self.create_server(self.flavor)
        charge = self.change_sizes(server, size.Size(5, 6144))
        flavor = self.create_elastic_flavor(
            size.Size(16, 16384), size.Size(3, 1024))
        self.limit(cores=7, ram=7168)
        self.refuse('class:VCPU', self.resize, server, flavor)
        self.limit(cores=8, ram=7167)
        self.refuse('class:MEMORY_MB', self.resize, server, flavor)
        self.limit(cores=8, ram=7168)
        server = self._resize_server(server, flavor)
        self.assertEqual((8, 7168), self.get_used())
        server = self._revert_resize(server)
        self.assertEqual(charge, self.get_used())
        self.assert_charged(server, charge, 'host1')

    def test_restore_and_unshelve(self):
        self.flags(reclaim_instance_interval=3600)
        server = self.create_server(self.flavor)
        charge = self.change_sizes(server, size.Size(5, 6144))
        self.soft_delete(server)
        self.assertEqual(charge, self.get_used())
        self.limit(cores=9, ram=100000)
        self.refuse('class:VCPU', self.post, server, 'restore')
        self.limit(cores=10, ram=100000)
        self.post(server, 'restore')
        server = self._wait_for_state_change(server, 'ACTIVE')
        self.assertEqual(charge, self.get_used())

        # Nova asks for no more than not to be over the limits already.
        self.offload(server)
        self.assertEqual(NOTHING, self.get_used())
        self.limit(cores=5, ram=6144)
        self._unshelve_server(server)
        self.assertEqual(charge, self.get_used())
        self.refuse('class:VCPU', self.create_server, self.flavor)


class UsageTestCase(accounting_base.AccountingTestCase):

    def get_usage(self):
        """vCPUs and memory by server, and of the hour all told."""
        now = timeutils.utcnow()
        usage = self.api.api_get(
            '/os-simple-tenant-usage/%s?start=%s&end=%s' % (
                self.api.project_id,
                (now - datetime.timedelta(hours=1)).isoformat(),
                (now + datetime.timedelta(hours=1)).isoformat())
        ).body['tenant_usage']
        # Without a server it is empty.
        servers = usage.get('server_usages', [])
        for usages, total in (('vcpus', 'total_vcpus_usage'),
                              ('memory_mb', 'total_memory_mb_usage')):
            self.assertAlmostEqual(
                sum(server[usages] * server['hours'] for server in servers),
                usage.get(total, 0))
        return {server['instance_id']:
                    size.Size(server['vcpus'], server['memory_mb'])
                for server in servers}

    def assert_usage(self, *charges):
        """The report has these servers with these charges.

        It leaves out what was launched within the present second.
        """
        expected = {server['id']: charge for server, charge in charges}
        self._wait_for_assert(lambda: self.assertEqual(
            expected, {server: usage for server, usage in
                       self.get_usage().items() if server in expected}))

    def test_simple_tenant_usage(self):
        self.start_host('host2')
        server = self.create_server(self.flavor)
        plain = self.create_server(
            self._create_flavor(vcpu=3, memory_mb=1536, disk=1))
        fixed = size.Size(3, 1536)
        self.assert_usage((server, base.MINIMUM), (plain, fixed))
        charge = self.change_sizes(
            server, size.Size(5, 3072), boot=size.Size(2, 6144))
        self.assert_usage((server, charge), (plain, fixed))

        new = size.Size(1, 512)
        server = self._resize_server(
            server, self.create_elastic_flavor(minimum=new))
        self.assert_usage((server, new))
        server = self._revert_resize(server)
        self.assert_usage((server, charge))
        # Also of a server that is no more
        self._delete_server(server)
        self.assert_usage((server, charge), (plain, fixed))

    def get_notified(self, server, event_type):
        """The last size that a legacy notification told of a server."""
        payloads = [
            notification.payload for notification in
            self.notifier.notifications
            if notification.event_type == 'compute.instance.' + event_type and
            notification.payload['instance_id'] == server['id']]
        self.assertNotEqual([], payloads, event_type)
        return size.Size(payloads[-1]['vcpus'], payloads[-1]['memory_mb'])

    def audit(self):
        """Report the usage of the hour that has passed."""
        compute = self.computes['host1'].manager
        self.flags(instance_usage_audit=True,
                   instance_usage_audit_period='hour')
        now = timeutils.utcnow()
        hour = datetime.timedelta(hours=1)
        with fixtures.MonkeyPatch(
                'nova.utils.last_completed_audit_period',
                lambda *args, **kwargs: (now - hour, now + hour)):
            compute._instance_usage_audit(context.get_admin_context())

    def test_notifications(self):
        self.start_host('host2')
        server = self.create_server(self.flavor)
        self.assertEqual(
            base.MINIMUM, self.get_notified(server, 'create.start'))
        self.assertEqual(base.MINIMUM, self.get_notified(server, 'create.end'))
        charge = self.change_sizes(
            server, size.Size(5, 3072), boot=size.Size(2, 6144))
        self.audit()
        self.assertEqual(charge, self.get_notified(server, 'exists'))

        new = size.Size(1, 512)
        server = self._resize_server(
            server, self.create_elastic_flavor(minimum=new))
        self.assertEqual(charge, self.get_notified(server, 'resize.prep.end'))
        self.assertEqual(charge, self.get_notified(server, 'resize.start'))
        # The period that ends has what was charged in it.
        self.assertEqual(charge, self.get_notified(server, 'exists'))
        self.assertEqual(new, self.get_notified(server, 'finish_resize.end'))
        server = self._revert_resize(server)
        self.assertEqual(new, self.get_notified(server, 'exists'))
        self.assertEqual(
            charge, self.get_notified(server, 'resize.revert.end'))

        self._delete_server(server)
        self.assertEqual(charge, self.get_notified(server, 'delete.end'))

        plain = self.create_server(
            self._create_flavor(vcpu=3, memory_mb=1536, disk=1))
        self.assertEqual((3, 1536), self.get_notified(plain, 'create.end'))
        self.audit()
        self.assertEqual((3, 1536), self.get_notified(plain, 'exists'))

    def test_the_period_ends_when_a_resize_changes_the_charge(self):
        """Its disks may take hours from the host that it begins on."""
        self.start_host('host2')
        server = self.create_server(self.flavor)
        charge = self.change_sizes(server, size.Size(5, 6144))
        new = size.Size(1, 512)
        # All hosts of this test have one configuration.
        self.flags(host='sender')

        def told(after, before):
            types = [notification.event_type.split('.', 2)[-1]
                     for notification in self.notifier.notifications]
            self.assertIn('exists', types[
                types.index(after):types.index(before)])
            found = self.get_notified(server, 'exists')
            # Not the host that the server is about to leave.
            self.assertIn(
                ('compute.instance.exists', 'compute.sender'),
                [(notification.event_type, notification.publisher_id)
                 for notification in self.notifier.notifications])
            self.notifier.notifications.clear()
            return found

        server = self._resize_server(
            server, self.create_elastic_flavor(minimum=new))
        self.assertEqual(charge, told('resize.end', 'finish_resize.start'))
        server = self._revert_resize(server)
        self.assertEqual(new, told('resize.revert.start', 'resize.revert.end'))


class HealTestCase(accounting_base.AccountingTestCase):
    """nova-manage placement heal_allocations"""

    def setUp(self):
        super().setUp()
        self.server = self.create_server(self.flavor)
        self.charge = self.change_sizes(
            self.server, size.Size(5, 3072), boot=size.Size(2, 6144))
        self.before = self.books(self.server)

    def heal(self, **kwargs):
        with fixtures.MonkeyPatch('sys.stdout', io.StringIO()):
            return manage.PlacementCommands().heal_allocations(
                verbose=True, **kwargs)

    def assert_healed(self):
        self.assert_charged(self.server, self.charge, 'host1')
        self.assert_used(host1=self.charge)
        self.assertEqual(self.before, self.books(self.server))

    def test_running(self):
        self.assertEqual(4, self.heal())
        self.assert_healed()
        self.assertEqual(0, self.heal(
            force=True, instance_uuid=self.server['id']))
        self.assert_healed()

        self._delete_server_allocations(self.server['id'])
        self.assertEqual(4, self.heal(dry_run=True))
        self.assertEqual({}, self.allocated(self.server['id']))
        self.assertEqual(0, self.heal())
        self.assert_healed()

        # What Nova itself would have written: the maximum
        url = '/allocations/%s' % self.server['id']
        body = self.placement.get(url, version='1.28').body
        for allocation in body['allocations'].values():
            allocation['resources'].update(VCPU=8, MEMORY_MB=8192)
        self.assertEqual(
            204, self.placement.put(url, body, version='1.28').status)
        self.assertEqual(
            {'host1': base.MAXIMUM}, self.allocated(self.server['id']))
        self.assertEqual(4, self.heal())
        self.assertEqual(0, self.heal(
            force=True, instance_uuid=self.server['id']))
        self.assert_healed()

        # For one that never had another size it is the minimum.
        server = self.create_server(self.flavor)
        self._delete_server_allocations(server['id'])
        self.assertEqual(0, self.heal())
        self.assert_charged(server, base.MINIMUM, 'host1')

    def test_resized(self):
        self.start_host('host2')
        new = size.Size(3, 1024)
        self.server = self._resize_server(
            self.server, self.create_elastic_flavor(minimum=new))
        self.heal(force=True, instance_uuid=self.server['id'])
        self.assert_charged(self.server, new, 'host2')
        self.assert_used(host1=self.charge, host2=new)
        self.server = self._revert_resize(self.server)
        # Its guest has started again.
        self._run_periodics()
        self.charge = size.Size(2, 6144)
        self.before = self.opened_books(self.charge)
        self.assert_healed()


class AuditTestCase(accounting_base.AccountingTestCase):
    """The resource tracker's audit, and a compute that starts again."""

    def test_repeated(self):
        self.start_host('host2')
        server = self.create_server(self.flavor)
        other = self.create_server(self.flavor)
        charge = self.change_sizes(server, size.Size(5, 6144))
        before = self.books(server)
        for _ in range(3):
            self.assert_used(host1=size.Size(7, 8192), host2=NOTHING)
        new = size.Size(3, 1024)
        server = self._resize_server(
            server, self.create_elastic_flavor(minimum=new))
        for _ in range(3):
            self.assert_used(host1=size.Size(7, 8192), host2=new)
        self.assert_charged(other, base.MINIMUM, 'host1')
        server = self._revert_resize(server)
        for _ in range(3):
            self.assert_used(host1=size.Size(7, 8192), host2=NOTHING)
        self.assert_charged(server, charge, 'host1')
        self.assertEqual(before, self.books(server))

    def test_restart(self):
        """A tracker that knows nothing finds the same, moves included."""
        self.start_host('host2')
        server = self.create_server(self.flavor)
        boot = size.Size(2, 6144)
        charge = self.change_sizes(server, size.Size(5, 3072), boot=boot)
        before = self.books(server)
        self.restart('host1')
        self.assert_charged(server, charge, 'host1')
        self.assertEqual(before, self.books(server))

        new = size.Size(3, 1024)
        server = self._resize_server(
            server, self.create_elastic_flavor(minimum=new))
        self.restart('host1', 'host2')
        self.assert_charged(server, new, 'host2')
        self.assert_used(host1=charge, host2=new)
        server = self._revert_resize(server)
        # Its guest has started again.
        self._run_periodics()
        self.assert_charged(server, boot, 'host1')
        self.assert_used(host1=boot, host2=NOTHING)
        self.assertEqual(self.opened_books(boot), self.books(server))
        self.restart('host1', 'host2')
        self.assert_used(host1=boot, host2=NOTHING)

    def restart(self, *hosts):
        for host in hosts:
            self.computes[host] = self.restart_compute_service(
                self.computes[host])

    def test_the_flavor_is_changed_or_deleted(self):
        """A server keeps the range that it was created with."""
        server = self.create_server(self.flavor)
        charge = self.change_sizes(server, size.Size(5, 6144))
        self.admin_api.post_extra_spec(self.flavor, {
            'extra_specs': {'minimum_cpu': '8', 'minimum_memory': '1'}})
        self.restart('host1')
        self.assert_charged(server, charge, 'host1')
        self.admin_api.delete_flavor(self.flavor)
        self.restart('host1')
        self.assert_charged(server, charge, 'host1')


class SnapshotTestCase(accounting_base.AccountingTestCase):

    def test_nothing_is_inherited(self):
        server = self.create_server(self.flavor)
        charge = self.change_sizes(server, size.Size(5, 6144))
        before = self.books(server)
        self._snapshot_server(server, 'a-snapshot')
        self.notifier.wait_for_versioned_notifications('instance.snapshot.end')
        self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None})
        self.assert_charged(server, charge, 'host1')
        self.assertEqual(before, self.books(server))

        image = [image for image in self.glance.images.values()
                 if image['name'] == 'a-snapshot'][0]
        self.assertEqual(
            [], [key for key in image['properties'] if 'xloud' in key])
        created = self.create_server(self.flavor, image_uuid=image['id'])
        self.assert_charged(created, base.MINIMUM, 'host1')
        self.assertEqual(self.opened_books(base.MINIMUM), self.books(created))
        plain = self.create_server(
            self._create_flavor(vcpu=3, memory_mb=1536, disk=1),
            image_uuid=image['id'])
        self.assertEqual((3, 1536, {}), self.books(plain))

        # Nor does a server that has sizes of its own when it is rebuilt.
        self._rebuild_server(server, image['id'])
        self.assert_charged(server, charge, 'host1')
        self.assertEqual(before, self.books(server))
