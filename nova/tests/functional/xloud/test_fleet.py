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

from urllib import parse

import jsonschema

from nova.api.openstack.compute.schemas import xloud_fleet as schema
from nova import context
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.api import client
from nova.tests.functional.xloud import base
from nova.xloud import condition
from nova.xloud import entries
from nova.xloud import noted
from nova.xloud import notes
from nova.xloud import size

PROJECT = nova_fixtures.PROJECT_ID


class FleetTestCase(base.ElasticServersTestCase):
    """GET /os-xloud-adjust"""

    def setUp(self):
        super().setUp()
        self.start_host('host1')
        self.start_host('host2')
        self.flavor_id = self.create_elastic_flavor()
        self.member = self.api_fixture.api

    def list(self, query='', api=None, status=200):
        response = (api or self.member).api_get(
            '/os-xloud-adjust' + query, check_response_status=[status])
        if status >= 400:
            (fault,) = response.body.values()
            return fault['message']
        jsonschema.validate(response.body, schema.index_response)
        return response.body['xloud_servers']

    def ids(self, *args, **kwargs):
        return [server['id'] for server in self.list(*args, **kwargs)]

    def note(self, server, **noted):
        instance = self.instance(server)
        instance.system_metadata.update(noted)
        entries.sign(instance, entries.BOOKS_TOO)
        instance.save()

    def test_list(self):
        plain = self.create_server(self._create_flavor())
        server = self.create_server(self.flavor_id, host='host2')
        self.change_sizes(server, size.Size(4, 4096))
        (found,) = self.list(api=self.admin_api)
        self.assertEqual(server['id'], found['id'])
        self.assertEqual('host2', found['host'])
        for key, value in (
                ('name', server['name']), ('project_id', PROJECT),
                ('desired_vcpus', 4), ('desired_memory_mb', 4096),
                ('allocated_vcpus', 4), ('allocated_memory_mb', 4096),
                ('boot_vcpus', 4), ('min_vcpus', 2), ('min_memory_mb', 2048),
                ('max_vcpus', 8), ('max_memory_mb', 8192)):
            self.assertEqual(value, found[key], key)
        # Members get the same, except the host.
        del found['host']
        self.assertEqual([found], self.list())
        self._delete_server(server)
        self._delete_server(plain)
        self.assertEqual([], self.list())

    def test_every_microversion(self):
        server = self.create_server(self.flavor_id)
        for microversion in (None, '2.1', '2.47', 'latest'):
            self.member.microversion = microversion
            self.assertEqual([server['id']], self.ids())

    def test_a_condition_and_since_when(self):
        server = self.create_server(self.flavor_id)
        before = self.instance(server)
        self.assertEqual([server['id']], self.ids('?condition=Settled'))
        notes.set_outcome(before, condition.PARTIAL, 'It refused.')
        before.save()
        (found,) = self.list('?condition=Partial')
        self.assertEqual('It refused.', found['reason'])
        self.assertIsNotNone(found['since'])
        self.assertEqual([], self.ids('?condition=Settled'))
        self.assertEqual([server['id']], self.ids(
            '?condition=Overcommitted&condition=Partial'))
        # A write of something else keeps it.
        noted_since = noted.since(self.instance(server).system_metadata)
        self.api.put_server(server['id'], {'server': {'name': 'renamed'}})
        self.assertEqual(noted_since, noted.since(
            self.instance(server).system_metadata))

    def test_pages(self):
        made = [self.create_server(self.flavor_id)['id'] for _ in range(3)]
        path = '?condition=Settled&condition=InProgress&limit=2'
        found = []
        while path:
            body = self.api.api_get('/os-xloud-adjust' + path).body
            jsonschema.validate(body, schema.index_response)
            found += [server['id'] for server in body['xloud_servers']]
            links = body.get('xloud_servers_links', [])
            path = links and '?' + parse.urlsplit(links[0]['href']).query
        self.assertEqual(set(made), set(found))
        self.assertEqual(3, len(found))
        self.assertIn('/os-xloud-adjust?', self.api.api_get(
            '/os-xloud-adjust?limit=1').body['xloud_servers_links'][0][
                'href'])

    def test_other_projects(self):
        mine = self.create_server(self.flavor_id)['id']
        other = objects.Instance.get_by_uuid(
            context.get_admin_context(),
            self.create_server(self.flavor_id)['id'])
        other.project_id = 'other'
        other.save()
        admin = self.admin_api
        self.assertEqual([mine], self.ids())
        self.assertEqual([mine], self.ids(api=admin))
        self.assertEqual([mine], self.ids('?project_id=' + PROJECT))
        self.assertEqual({mine, other.uuid},
                         set(self.ids('?all_projects=1', api=admin)))
        for query in ('?project_id=other',
                      '?project_id=other&all_projects=True'):
            self.assertEqual([other.uuid], self.ids(query, api=admin))
        for query in ('?all_projects=1', '?project_id=other', '?host=host1'):
            self.assertIn('xloud:index', self.list(query, status=403))
        self.assertEqual([], self.ids('?host=host2', api=admin))
        self.assertEqual([mine], self.ids('?host=host1', api=admin))
        # The servers of others are no markers.
        self.assertIn('Marker', self.list(
            '?marker=' + other.uuid, status=400))

    def test_bad_queries(self):
        for query in ('?condition=Unknown', '?conditon=Partial', '?limit=-1',
                      '?all_projects=maybe', '?marker=nothing', '?host='):
            self.list(query, api=self.admin_api, status=400)
        self.assertRaises(client.OpenStackApiException, self.api.api_post,
                          '/os-xloud-adjust', {'current_vcpus': 4})
