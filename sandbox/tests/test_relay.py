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


"""With real sockets, which the relay finds on both sides of one namespace."""

import asyncio
import contextlib
import socket
import unittest

from sandbox import relay

MUCH = bytes(range(256)) * 4096
PATIENCE = 30


class RelayTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        # In another namespace it would have the server's address, too.
        self.listener = socket.create_server(('127.0.0.2', 0))
        self.port = self.listener.getsockname()[1]
        task = asyncio.create_task(relay.serve([self.listener]))

        async def stop():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self.addAsyncCleanup(stop)

    async def serve(self, answer):
        server = await asyncio.start_server(answer, '127.0.0.1', self.port)
        self.addCleanup(server.close)

    async def ask(self, question):
        reader, writer = await asyncio.open_connection(
            '127.0.0.2', self.port)
        self.addCleanup(writer.close)
        writer.write(question)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), PATIENCE)

    async def test_both_directions_to_their_ends(self):
        async def answer(reader, writer):
            writer.write((await reader.read())[::-1])
            writer.close()

        await self.serve(answer)
        answers = await asyncio.gather(self.ask(MUCH), self.ask(b'little'))
        self.assertEqual([MUCH[::-1], b'elttil'], answers)

    async def test_a_server_that_ends_first(self):
        async def answer(reader, writer):
            writer.write(b'bye')
            writer.close()

        await self.serve(answer)
        self.assertEqual(b'bye', await self.ask(b''))

    async def test_a_server_that_is_not_there_yet(self):
        self.assertEqual(b'', await self.ask(b''))

        async def answer(reader, writer):
            writer.write(b'here')
            writer.close()

        await self.serve(answer)
        self.assertEqual(b'here', await self.ask(b''))
