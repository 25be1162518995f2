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

A module is that of the environment, never one of the repository, which has a
folder nova; but sandbox is the repository's.
"""

import importlib
from pathlib import Path
import sys
import typing as ty
import urllib.error
import urllib.request

from sandbox import layout
from sandbox import processes


def begin(site: layout.Layout, supervisor: processes.Supervisor, name: str,
          application: str, environ: ty.Dict[str, str],
          env: Path = layout.ENV, cwd: Path = layout.ROOT) -> None:
    supervisor.start(
        name, [env / 'bin' / 'python', '-m', __name__, application,
               site.ports[name]],
        {'PYTHONUNBUFFERED': '1', **environ}, cwd=cwd)


def start(site: layout.Layout, supervisor: processes.Supervisor, name: str,
          *arguments: ty.Any) -> None:
    begin(site, supervisor, name, *arguments)
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
    sys.path[:] = [path for path in sys.path if Path(path) != layout.ROOT]
    application = getattr(importlib.import_module(module), factory)()
    # After it: where Nova runs on eventlet, that first replaces what a server
    # is made of.
    importlib.import_module('sandbox.server').serve(application, int(port))


if __name__ == '__main__':
    main(*sys.argv[1:])
