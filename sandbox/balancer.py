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

"""HAProxy in front of the two nova-api of a sandbox with stock Nova.

    python -m sandbox.balancer leave NAME
    python -m sandbox.balancer join NAME

One of them restarts while the other one serves, and nobody who asks sees it.
Whoever restarts one calls this before and after, as deploy's playbooks do:
``leave`` returns when no request is left in it, ``join`` when HAProxy has seen
that it answers.
"""

import csv
import socket
import sys
import time
import typing as ty

from sandbox import layout
from sandbox import machine
from sandbox import nodes
from sandbox import processes
from sandbox import wsgi

NAME = 'haproxy'
_PROXY = 'nova'
# As long as a request may take.
_PATIENCE = 120
# A connection to a server is for one request: none waits for a next one when
# the server ends.
_CONFIGURATION = """\
global
    stats socket {socket} mode 600 level admin
    log stdout format raw local0

defaults
    mode http
    log global
    option httplog
    option http-server-close
    option redispatch
    retries 3
    timeout connect 10s
    timeout client 300s
    timeout server 300s
    timeout check 10s

listen {proxy}
    bind 127.0.0.1:{port}
    option httpchk GET /
    default-server check inter 2s rise 2 fall 5
"""


def configure(site: layout.Layout) -> None:
    lines = [f'    server {name} 127.0.0.1:{site.ports[name]}'
             for name in nodes.APIS]
    layout.write_secret(_file(site), _CONFIGURATION.format(
        socket=_socket(site), proxy=_PROXY, port=site.ports[_PROXY]
    ) + '\n'.join(lines) + '\n')


def start(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    """Needs what is behind it."""
    supervisor.start(NAME, [machine.find(NAME), '-db', '-f', _file(site)])
    wsgi.wait(site, supervisor, NAME, at=_PROXY)


def leave(site: layout.Layout, name: str) -> None:
    """Let a server finish what it has, and give it nothing more."""
    _ask(site, f'set server {_PROXY}/{name} state drain')
    _wait(lambda: int(_server(site, name)['scur']) == 0,
          f'{name} still has requests')


def join(site: layout.Layout, name: str) -> None:
    """Give it requests again; it may have never left."""
    _ask(site, f'set server {_PROXY}/{name} state ready')
    _wait(lambda: _server(site, name)['status'] == 'UP',
          f'{name} does not answer')


def servers(text: str) -> ty.Dict[str, ty.Dict[str, str]]:
    """What HAProxy's statistics say of each server, by its name."""
    rows = csv.DictReader(text.lstrip('# ').splitlines())
    return {row['svname']: row for row in rows
            if row['svname'] not in ('FRONTEND', 'BACKEND')}


def _server(site, name):
    return servers(_ask(site, 'show stat'))[name]


def _ask(site, command):
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(str(_socket(site)))
        asked.sendall(command.encode() + b'\n')
        with asked.makefile() as answer:
            return answer.read()


def _wait(condition, what):
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise processes.Failed(f'{what} after {_PATIENCE} s')
        time.sleep(0.2)


def _file(site):
    return site.etc(NAME) / 'haproxy.cfg'


def _socket(site):
    return site.site / 'haproxy.sock'


def main(command: str, name: str) -> None:
    site = layout.load()
    if site is None or not site.stock:
        sys.exit('There is no sandbox with stock Nova.')
    try:
        {'leave': leave, 'join': join}[command](site, name)
    except processes.Failed as error:
        sys.exit(str(error))


if __name__ == '__main__':
    main(*sys.argv[1:])
