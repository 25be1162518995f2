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

"""Settings of Horizon, with this package among its enabled files."""

from openstack_dashboard import enabled
from openstack_dashboard.utils import settings as settings_utils
from xloud_dashboard import enabled as ours


def enable(horizon_config, installed_apps):
    """The applications that are installed then.

    The panels of all files are set by one call, so Horizon's is undone.
    """
    known = horizon_config.pop('plugins')
    installed_apps = [app for app in installed_apps if app not in known]
    for key in ('dashboards', 'default_dashboard'):
        horizon_config.pop(key, None)
    settings_utils.update_dashboards(
        [enabled, ours], horizon_config, installed_apps)
    return installed_apps
