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

"""What happens when Horizon starts."""

import os

from django import apps
from django.conf import settings

_POLICY = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'policy')


class XloudDashboard(apps.AppConfig):

    name = 'xloud_dashboard'

    def ready(self):
        # The tables import models, which are loaded only now.
        from xloud_dashboard import hooks
        hooks.install()
        _add_policy()


def _add_policy():
    """Have Horizon know the rules, before the files of the site.

    Horizon joins a folder with POLICY_FILES_PATH, and an absolute one stays
    what it is. A later folder overrides an earlier one.
    """
    folders = dict(getattr(settings, 'POLICY_DIRS', {}))
    folders['compute'] = [_POLICY] + [
        folder for folder in folders.get('compute', []) if folder != _POLICY]
    settings.POLICY_DIRS = folders
