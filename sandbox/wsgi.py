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


"""Serve one of the applications that have no server of their own.

    python -m sandbox.wsgi MODULE:FACTORY PORT
"""

import importlib
from pathlib import Path
import socketserver
import sys
import typing as ty
import urllib.error
import urllib.request
from wsgiref import simple_server

from sandbox import layout
from sandbox import processes


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 64

    def server_bind(self):
        # Its own asks the name servers for the name of 127.0.0.1.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]
        self.setup_environ()


class _Handler(simple_server.WSGIRequestHandler):
    def address_string(self):
        return self.client_address[0]


def start(site: layout.Layout, supervisor: processes.Supervisor, name: str,
          application: str, environ: ty.Dict[str, str],
          env: Path = layout.ENV, cwd: Path = layout.ROOT) -> None:
    supervisor.start(
        name, [env / 'bin' / 'python', '-m', __name__, application,
               site.ports[name]],
        {'PYTHONUNBUFFERED': '1', **environ}, cwd=cwd)
    wait(site, supervisor, name)


def wait(site: layout.Layout, supervisor: processes.Supervisor,
         name: str, seconds: float = 120, at: str = '') -> None:
    """Wait until a service answers HTTP, whatever it says.

    :param at: the name of its port, if that is not its own
    """
    url = site.url(at or name)
    supervisor.wait(name, lambda: _answers(f'{url}/'), seconds,
                    f'does not answer on {url}')


def _answers(url):
    try:
        # Not by a proxy that the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True


def main(specification: str, port: str) -> None:
    module, _, factory = specification.partition(':')
    del sys.argv[1:]  # the applications read it as theirs
    application = getattr(importlib.import_module(module), factory)()
    simple_server.make_server(
        '127.0.0.1', int(port), application, _Server, _Handler
    ).serve_forever()


if __name__ == '__main__':
    main(*sys.argv[1:])
