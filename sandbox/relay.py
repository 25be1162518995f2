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


"""Make the control services answer inside the namespaces of the hosts.

    python -m sandbox.relay PORTS NAMESPACE...

What listens on these ports of the machine's loopback can then be reached on
the loopback of each network namespace. A socket stays in the namespace that
it was made in, so one process can listen there and connect from here.
"""

import asyncio
import contextlib
import ctypes
import socket
import sys
import typing as ty

_HERE = '/proc/thread-self/ns/net'
_LOOPBACK = '127.0.0.1'
_CHUNK = 1 << 16


def listen(ports: ty.Iterable[int]) -> ty.List[socket.socket]:
    return [socket.create_server((_LOOPBACK, port)) for port in ports]


@contextlib.contextmanager
def inside(namespace: str) -> ty.Iterator[None]:
    with open(_HERE, 'rb') as here, open(namespace, 'rb') as there:
        _enter(there)
        try:
            yield
        finally:
            _enter(here)


async def serve(listeners: ty.Iterable[socket.socket]) -> None:
    """Relay what each of them accepts to its own port here."""
    servers = [await asyncio.start_server(_relay, sock=listener)
               for listener in listeners]
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def _relay(reader, writer):
    _, port = writer.get_extra_info('sockname')
    with contextlib.closing(writer), contextlib.suppress(OSError):
        there_reader, there_writer = await asyncio.open_connection(
            _LOOPBACK, port)
        with contextlib.closing(there_writer):
            await asyncio.gather(_copy(reader, there_writer),
                                 _copy(there_reader, writer))


async def _copy(reader, writer):
    while True:
        chunk = await reader.read(_CHUNK)
        if not chunk:
            break
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()  # the other direction may still have something


def _enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), 0):
        raise OSError(ctypes.get_errno(), f'cannot enter {namespace.name}')


def main(ports: str, *namespaces: str) -> None:
    listeners = []
    for namespace in namespaces:
        with inside(namespace):
            listeners += listen(map(int, ports.split(',')))
    asyncio.run(serve(listeners))


if __name__ == '__main__':
    main(*sys.argv[1:])
