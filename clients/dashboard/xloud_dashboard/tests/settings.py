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

"""Horizon's own test settings, with this package among its enabled files."""

from openstack_dashboard.test.settings import *  # noqa: F403,H303

from openstack_dashboard import enabled
from openstack_dashboard.utils import settings as settings_utils
from xloud_dashboard import enabled as ours

# The panels of all files are set by one call, so Horizon's is undone.
_known = HORIZON_CONFIG.pop('plugins')  # noqa: F405
INSTALLED_APPS = [app for app in INSTALLED_APPS  # noqa: F405
                  if app not in _known]
for _key in ('dashboards', 'default_dashboard'):
    HORIZON_CONFIG.pop(_key, None)  # noqa: F405
settings_utils.update_dashboards(
    [enabled, ours], HORIZON_CONFIG, INSTALLED_APPS)  # noqa: F405
