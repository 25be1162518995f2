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

"""What tests reuse is theirs alone where it has to be."""

from unittest import mock

from oslo_db.sqlalchemy import engines
import sqlalchemy as sa

from nova.api.openstack.compute import routes
from nova.api.openstack import urlmap
from nova import test
from nova.tests.fixtures import xloud_reuse


class CompiledStatementsTestCase(test.NoDBTestCase):

    def test_each_engine_has_its_own_rows(self):
        fixture = self.useFixture(xloud_reuse.CompiledStatements())
        table = sa.Table('number', sa.MetaData(), sa.Column('n', sa.Integer))
        compiled = []
        for number in (1, 2):
            engine = engines.create_engine('sqlite://')
            with engine.connect() as connection, connection.begin():
                table.create(connection)
                connection.execute(table.insert().values(n=number))
                self.assertEqual(
                    [(number,)],
                    connection.execute(sa.select(table.c.n)).fetchall())
            compiled.append(set(fixture._compiled))
        first, second = compiled
        self.assertTrue(first)
        self.assertEqual(first, second)


class OneRouterTestCase(test.NoDBTestCase):

    def test_one_for_each_api(self):
        self.useFixture(xloud_reuse.OneRouter())

        def apps():
            loader = mock.Mock()
            loader.get_app.side_effect = (
                lambda name, global_conf: routes.APIRouterV21.factory({}))
            made = urlmap.urlmap_factory(
                loader, {'not_found_app': None},
                **{'/v2': 'old', '/v2.1': 'new'})
            return [app for _path, app in made.applications]

        first, second = apps(), apps()
        self.assertEqual([2, 2], [len(first), len(second)])
        self.assertIs(first[0], first[1])
        self.assertIs(second[0], second[1])
        self.assertIsNot(first[0], second[0])
