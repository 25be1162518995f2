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

from nova.tests.functional.xloud import base
from nova.xloud import size
from nova.xloud import traits

NOTHING = size.Size(0, 0)


class CreateTestCase(base.ElasticServersTestCase):

    def test_starts_at_its_minimum(self):
        self.start_host('host1')
        server = self.create_server(self.create_elastic_flavor())
        self.assert_charged(server, base.MINIMUM, 'host1')
        self._delete_server(server)
        self.assert_nothing_left(server['id'])
        self.assert_used(host1=NOTHING)

    def test_a_dimension_without_its_key_is_fixed(self):
        self.start_host('host1')
        server = self.create_server(
            self.create_elastic_flavor(minimum=(3, None)))
        self.assert_charged(
            server, size.Size(3, base.MAXIMUM.memory_mb), 'host1')

    def test_several_at_once(self):
        """Together their maximum would not fit on the host."""
        self.start_host('host1')
        body = self._build_server(
            flavor_id=self.create_elastic_flavor(
                maximum=size.Size(8, 16384)), networks='none')
        body.update(min_count=3, max_count=3, return_reservation_id=True)
        reservation = self.api.post_server({'server': body})
        servers = self.api.get_servers(
            search_opts={'reservation_id': reservation['reservation_id']})
        self.assertEqual(3, len(servers))
        for server in servers:
            server = self._wait_for_state_change(server, 'ACTIVE')
            self.assert_charged(server, base.MINIMUM, 'host1')
        self.assert_used(host1=size.Size(6, 6144))

    def test_avoids_hosts_that_cannot(self):
        self.start_host('host1', elastic=False)
        self.start_host('host2')
        server = self.create_server(self.create_elastic_flavor())
        self.assert_charged(server, base.MINIMUM, 'host2')
        plain = self.create_server(self._create_flavor())
        self.assertEqual('host1', plain['OS-EXT-SRV-ATTR:host'])

    def test_hosts_for_elastic_servers_alone(self):
        """The aggregate and the flavor name the traits."""
        self.flags(enable_isolated_aggregate_filtering=True, group='scheduler')
        self.start_host('host1')
        required = {'trait:%s' % trait: 'required' for trait in (
            traits.ELASTIC_VCPU, traits.ELASTIC_MEMORY)}
        aggregate = self.admin_api.post_aggregate(
            {'aggregate': {'name': 'elastic'}})
        self.admin_api.add_host_to_aggregate(aggregate['id'], 'host1')
        self.admin_api.api_post(
            '/os-aggregates/%s/action' % aggregate['id'],
            {'set_metadata': {'metadata': required}})
        self.assert_charged(self.create_server(
            self.create_elastic_flavor(extra_specs=required)),
            base.MINIMUM, 'host1')
        self.create_server(self._create_flavor(), expected_state='ERROR')

    def test_hint_that_is_only_for_nova(self):
        """A user who sends it gets no server past Placement."""
        self.start_host('host1', elastic=False)
        self.start_host('host2')
        body = self._build_server(
            flavor_id=self.create_elastic_flavor(), networks='none')
        server = self.api.api_post('/servers', {
            'server': body,
            'os:scheduler_hints': {'_nova_check_type': ['rebuild']},
        }).body['server']
        server = self._wait_for_state_change(server, 'ACTIVE')
        self.assert_charged(server, base.MINIMUM, 'host2')
        # The hint is kept with the server.
        self.start_host('host3')
        self._migrate_server(server)
        self._confirm_resize(server)
        self.assert_charged(server, base.MINIMUM, 'host3')
        # And Nova's own is heard.
        self._rebuild_server(
            server, 'a2459075-d96c-40d5-893e-577ff92e721c')
        self.assert_charged(server, base.MINIMUM, 'host3')

    def test_no_host_can(self):
        """The fault says why, although Placement never saw the traits."""
        self.start_host('host1', elastic=False)
        server = self.create_server(
            self.create_elastic_flavor(minimum=(2, None)),
            expected_state='ERROR')
        self.assertIn('No valid host was found', server['fault']['message'])
        self.assertIn(traits.ELASTIC_VCPU, server['fault']['message'])
        self.assertNotIn(traits.ELASTIC_MEMORY, server['fault']['message'])
        self.assertNotIn('Failed to retrieve allocation candidates',
                         self.stdlog.logger.output)

    def test_no_host_has_room(self):
        self.start_host('host1')
        flavor = self.create_elastic_flavor(
            maximum=size.Size(8, 65536), minimum=size.Size(2, 20480))
        self.create_server(flavor)
        server = self.create_server(flavor, expected_state='ERROR')
        self.assertIn('No valid host was found', server['fault']['message'])


class MoveTestCase(base.ElasticServersTestCase):
    """Moves of a server whose sizes were changed before."""

    def setUp(self):
        super().setUp()
        self.start_host('host1')
        self.start_host('host2')
        self.flavor = self.create_elastic_flavor()
        self.server = self.create_server(self.flavor)
        self.assert_charged(self.server, base.MINIMUM, 'host1')
        self.charge = self.change_sizes(
            self.server, desired=size.Size(6, 4096), boot=size.Size(3, 6144))
        self.assertEqual((6, 6144), self.charge)
        self.before = self.books(self.server)

    def _resize(self, **kwargs):
        new = self.create_elastic_flavor(
            maximum=size.Size(16, 16384), **kwargs)
        self.server = self._resize_server(self.server, new)

    def test_resize_and_confirm(self):
        new = size.Size(4, 1024)
        self._resize(minimum=new)
        self.assert_charged(self.server, new, 'host2')
        self.assert_used(host1=self.charge, host2=new)

        self._confirm_resize(self.server)

        self.assert_charged(self.server, new, 'host2')
        self.assert_used(host1=NOTHING, host2=new)
        self._wait_for_assert(
            lambda: self.assertEqual(self.opened_books(new),
                                     self.books(self.server)))

        # The old flavor is a new one for it now.
        self.server = self._resize_server(self.server, self.flavor)
        self.assert_charged(self.server, base.MINIMUM, 'host1')

    def test_resize_and_revert(self):
        new = size.Size(4, 1024)
        self._resize(minimum=new)
        self.assert_charged(self.server, new, 'host2')

        self._revert_resize(self.server)

        self.assert_charged(self.server, self.charge, 'host1')
        self.assert_used(host1=self.charge, host2=NOTHING)
        self.assertEqual(self.before, self.books(self.server))
        # And the next move asks for that again.
        self.server = self._migrate_server(self.server)
        self.assert_charged(self.server, self.charge, 'host2')

    def test_resize_to_a_fixed_flavor_and_revert(self):
        self._resize(minimum=(None, None))
        self.assert_charged(self.server, size.Size(16, 16384), 'host2')
        self._revert_resize(self.server)
        self.assert_charged(self.server, self.charge, 'host1')
        self.assertEqual(self.before, self.books(self.server))

    def test_resize_on_the_same_host(self):
        self.flags(allow_resize_to_same_host=True)
        new = size.Size(4, 1024)
        self._resize(minimum=new)
        self.assert_charged(self.server, new, 'host1')
        self.assert_used(host1=size.Size(10, 7168), host2=NOTHING)
        self._revert_resize(self.server)
        self.assert_charged(self.server, self.charge, 'host1')
        self.assertEqual(self.before, self.books(self.server))

    def test_cold_migrate_and_confirm(self):
        self.server = self._migrate_server(self.server)
        self.assert_charged(self.server, self.charge, 'host2')
        self.assert_used(host1=self.charge, host2=self.charge)

        self._confirm_resize(self.server)

        self.assert_charged(self.server, self.charge, 'host2')
        self.assert_used(host1=NOTHING, host2=self.charge)
        self.assertEqual(self.before, self.books(self.server))

    def test_cold_migrate_and_revert(self):
        self.server = self._migrate_server(self.server)
        self.assert_charged(self.server, self.charge, 'host2')

        self._revert_resize(self.server)

        self.assert_charged(self.server, self.charge, 'host1')
        self.assert_used(host1=self.charge, host2=NOTHING)
        self.assertEqual(self.before, self.books(self.server))

    def test_each_move_asks_for_what_is_charged_then(self):
        """The saved request spec has the charge of the move before."""
        self.server = self._migrate_server(self.server)
        self.server = self._confirm_resize(self.server)
        self.assert_used(host1=NOTHING, host2=self.charge)
        charge = self.change_sizes(self.server, size.Size(2, 3072))
        self.server = self._migrate_server(self.server)
        self.assert_charged(self.server, charge, 'host1')
        self.server = self._confirm_resize(self.server)
        self.assert_used(host1=charge, host2=NOTHING)
        self._delete_server(self.server)
        self.assert_nothing_left(self.server['id'])

    def test_no_room_for_the_charge(self):
        """A host with room for the minimum only is not enough."""
        filler = self._create_flavor(vcpu=1, memory_mb=28672, disk=1)
        self.create_server(filler, host='host2')
        self.api.post_server_action(self.server['id'], {'migrate': None})
        self._assert_resize_migrate_action_fail(
            self.server, 'migrate', 'NoValidHost')
        self.assert_charged(self.server, self.charge, 'host1')
        self.assertEqual(self.before, self.books(self.server))
