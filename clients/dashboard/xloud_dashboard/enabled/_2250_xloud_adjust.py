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

"""Elastic servers: the form and the tab. Its own panel has no entry."""

PANEL = 'xloud_adjust'
PANEL_DASHBOARD = 'project'
PANEL_GROUP = 'compute'
ADD_PANEL = 'xloud_dashboard.project.panel.XloudAdjust'
ADD_INSTALLED_APPS = ['xloud_dashboard']
ADD_JS_FILES = ['xloud_dashboard/adjust.js', 'xloud_dashboard/launch.js']
ADD_ANGULAR_MODULES = ['xloud.launch']
EXTRA_TABS = {
    'openstack_dashboard.dashboards.project.instances.tabs.'
    'InstanceDetailTabs': ('xloud_dashboard.tabs.SizesTab',),
    'openstack_dashboard.dashboards.admin.instances.tabs.'
    'AdminInstanceDetailTabs': ('xloud_dashboard.tabs.AdminSizesTab',),
}
