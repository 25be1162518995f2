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

"""What a balancer is asked, and when it is believed."""

from pathlib import Path
import socket
import tempfile
import threading
import unittest
from unittest import mock

from sandbox import balancer
from sandbox import compute
from sandbox import layout
from sandbox import nodes
from sandbox import processes
from sandbox import stack

# The columns that count, of many.
STATISTICS = """\
# pxname,svname,qcur,scur,status,weight,
nova,FRONTEND,,5,OPEN,,
nova,nova-api-1,0,{requests},{status},1,
nova,nova-api-2,0,3,UP,1,
nova,BACKEND,0,5,UP,2,

"""


class BalancerTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.site = layout.create(Path(temporary.name), stock=True)
        sleep = mock.patch.object(balancer.time, 'sleep')
        sleep.start()
        self.addCleanup(sleep.stop)
        self.asked = []

    def answer(self, *answers):
        """Stand in for HAProxy, which closes after each answer."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.site.site / 'haproxy.sock'))
        listener.listen()

        def serve():
            for text in answers:
                connection, _ = listener.accept()
                with connection, connection.makefile('rw') as stream:
                    self.asked.append(stream.readline().strip())
                    stream.write(text)
            listener.close()

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)

    def test_leave_waits_for_the_last_request(self):
        self.answer('\n', *(STATISTICS.format(requests=number, status='DRAIN')
                            for number in (2, 1, 0)))
        balancer.leave(self.site, 'nova-api-1')
        self.assertEqual(['set server nova/nova-api-1 state drain',
                          *['show stat'] * 3], self.asked)

    def test_join_waits_until_it_answers(self):
        self.answer('\n', *(STATISTICS.format(requests=0, status=status)
                            for status in ('DOWN', 'DOWN 1/2', 'UP')))
        balancer.join(self.site, 'nova-api-1')
        self.assertEqual(['set server nova/nova-api-1 state ready',
                          *['show stat'] * 3], self.asked)

    def test_neither_waits_for_ever(self):
        self.answer('\n', STATISTICS.format(requests=1, status='DRAIN'))
        with mock.patch.object(balancer, '_PATIENCE', -1), \
                self.assertRaisesRegex(processes.Failed, 'still has requests'):
            balancer.leave(self.site, 'nova-api-1')

    def test_it_stands_before_each_api(self):
        balancer.configure(self.site)
        compute.configure(self.site)
        written = (self.site.etc(balancer.NAME) / 'haproxy.cfg').read_text()
        self.assertIn(f'bind 127.0.0.1:{self.site.ports["nova"]}\n', written)
        for name in nodes.APIS:
            port = self.site.ports[name]
            self.assertIn(f'server {name} 127.0.0.1:{port}\n', written)
            supervisor = mock.Mock()
            compute.start_one(self.site, supervisor, name)
            (_, command, environ), _ = supervisor.start.call_args
            self.assertEqual(
                (nodes.program(self.site, nodes.APIS[name], 'python'), port),
                (command[0], command[-1]))
            self.assertIn(str(self.site.etc('nova') / f'{name}.conf'),
                          environ['OS_NOVA_CONFIG_FILES'].split(';'))
        self.assertLess({balancer.NAME, *nodes.APIS},
                        set(stack.names(self.site)))

    def test_a_sandbox_with_the_series_has_one_api(self):
        with tempfile.TemporaryDirectory() as folder:
            site = layout.create(Path(folder))
            compute.configure(site)
            self.assertEqual([compute.API], compute.apis(site))
            self.assertFalse({balancer.NAME, *nodes.APIS} &
                             set(stack.names(site)))
            self.assertEqual([], list(site.etc('nova').glob('nova-api-*')))
