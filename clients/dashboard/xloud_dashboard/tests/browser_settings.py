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

"""Horizon's real settings, with this package, for a browser."""

import atexit
import os
import shutil
import tempfile

from openstack_dashboard.settings import *  # noqa: F403,H303

from xloud_dashboard.tests import enable

INSTALLED_APPS = enable.enable(
    HORIZON_CONFIG, INSTALLED_APPS)  # noqa: F405

_folder = tempfile.mkdtemp(prefix='xloud-dashboard-')
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
STATIC_ROOT = COMPRESS_ROOT = os.path.join(_folder, 'static')
COMPRESS_OFFLINE = False
CACHES = {'default': {
    'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}}
# That cache drops what it has too much of, and sessions with it.
SESSION_ENGINE = 'django.contrib.sessions.backends.file'
SESSION_FILE_PATH = _folder
DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3',
                         'NAME': ':memory:'}}
SECRET_KEY = 'only of this test'
