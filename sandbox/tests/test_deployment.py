#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

import unittest
from unittest import mock

from sandbox import deployment


class ClientsTest(unittest.TestCase):
    def boot(self, *lists):
        """One server, and what each list says of its status.

        An exception is raised; without a status the server is not there.
        """
        clients, cloud = deployment.Clients(None), mock.Mock()
        cloud.compute.create_server.return_value = mock.Mock(
            id='one', status='BUILD')
        cloud.compute.servers.side_effect = [
            found if isinstance(found, Exception) else
            [mock.Mock(id='one', status=found)] if found else []
            for found in lists]
        with mock.patch.object(deployment.time, 'sleep'):
            clients._one(cloud)
        cloud.compute.delete_server.assert_called_once()
        return clients

    def test_it_boots(self):
        clients = self.boot('BUILD', 'ACTIVE')
        self.assertEqual((1, [], []),
                         (clients.booted, clients.lost, clients.failed))

    def test_a_request_that_fails_says_nothing_of_the_server(self):
        clients = self.boot(OSError('refused'), 'BUILD', 'ERROR')
        self.assertEqual((0, ['one: ERROR'], ['refused']),
                         (clients.booted, clients.lost, clients.failed))

    def test_one_that_is_gone_is_lost(self):
        self.assertEqual(['one: None'], self.boot('BUILD', None).lost)

    def test_what_is_left_of_a_lost_answer(self):
        clients, cloud = deployment.Clients(None), mock.Mock()
        cloud.compute.servers.return_value = [
            mock.Mock(id='one', status='ERROR'),
            mock.Mock(id='two', status='ACTIVE')]
        clients._remove_old(cloud)
        self.assertEqual(['one: ERROR'], clients.lost)
        self.assertEqual(2, cloud.compute.delete_server.call_count)


class KindTest(unittest.TestCase):
    def test_what_differs_each_time_is_left_out(self):
        self.assertEqual(
            'GET http://127.0.0.1:18774/servers/#: <object at #> #',
            deployment.kind(
                'GET http://127.0.0.1:18774/servers/'
                '4a7c0a9e-7f8d-4d3a-9a77-2f7d6b1c0c51: <object at '
                '0x7f12ab> req-4a7c0a9e-7f8d-4d3a-9a77-2f7d6b1c0c51'))
