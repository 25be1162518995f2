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


"""Horizon, with our series on it and the package of elastic servers in it.

It is installed as the package's README.rst says. There is no memcached: one
process serves all, so its own memory is the cache.
"""

import importlib
from pathlib import Path
import re
import shutil

from sandbox import layout
from sandbox import nodes
from sandbox import processes
from sandbox import wsgi

NAME = 'horizon'
RELEASE = '2024.1'
_TREE = layout.ROOT / 'build' / f'horizon-{RELEASE}'
_REQUIREMENTS = layout.ROOT / 'build' / f'env-horizon-{RELEASE}'
_SETTINGS = """\
# Passwords and sessions are for its owner only.
ALLOWED_HOSTS = ['127.0.0.1']
SECRET_KEY = {key!r}
OPENSTACK_KEYSTONE_URL = {identity!r}
OPENSTACK_KEYSTONE_DEFAULT_ROLE = 'member'
# Neutron has no service plugins here.
OPENSTACK_NEUTRON_NETWORK = {{'enable_router': False}}
CACHES = {{'default': {{
    'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}}}}
# That cache drops what it has too much of, and sessions with it.
SESSION_ENGINE = 'django.contrib.sessions.backends.file'
SESSION_FILE_PATH = {sessions!r}
COMPRESS_OFFLINE = True
STATIC_ROOT = {static!r}
"""


def configure(site: layout.Layout) -> None:
    if not site.dashboard.exists():
        return
    sessions = site.dashboard / 'sessions'
    sessions.mkdir(exist_ok=True)
    layout.write_secret(
        _horizon(site) / 'openstack_dashboard/local/local_settings.py',
        _SETTINGS.format(
            key=site.passwords[NAME], identity=site.identity_url,
            sessions=str(sessions), static=str(site.dashboard / 'static')))


def install(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    """Horizon with our series, and the package as pip installs it."""
    horizon = _horizon(site)
    shutil.copytree(_TREE, horizon, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns('.git', '__pycache__'))
    nodes.install(_env(site), _REQUIREMENTS, _wheel())
    enabled = nodes.site_packages(_env(site)) / 'xloud_dashboard/enabled'
    for path in enabled.glob('_225*.py'):
        shutil.copy(path, horizon / 'openstack_dashboard/local/enabled')
    for words in (('collectstatic', '--noinput', '--verbosity', '0'),
                  ('compress', '--force')):
        supervisor.run(f'{NAME}-{words[0]}', [
            _env(site) / 'bin/python', horizon / 'manage.py', *words])


def start(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    wsgi.start(site, supervisor, NAME, 'sandbox.dashboard:application',
               {'PYTHONPATH': str(layout.ROOT)}, _env(site), _horizon(site))


def application():
    """Horizon and its static files, which a web server gives out elsewhere."""
    django = importlib.import_module('openstack_dashboard.wsgi')
    handlers = importlib.import_module('django.contrib.staticfiles.handlers')
    static = importlib.import_module('django.views.static')
    settings = importlib.import_module('django.conf').settings

    class Static(handlers.StaticFilesHandler):
        def serve(self, request):
            return static.serve(request, self.file_path(request.path),
                                document_root=settings.STATIC_ROOT)

    return Static(django.application)


def _horizon(site):
    return site.dashboard / NAME


def _env(site):
    return site.dashboard / 'env'


def _wheel() -> Path:
    text = (layout.ROOT / 'nova/xloud/release.py').read_text()
    (number,) = re.findall(r'^NUMBER = (\d+)$', text, re.MULTILINE)
    return (layout.ROOT / 'build/dist' /
            f'xloud_dashboard-{number}-py3-none-any.whl')
