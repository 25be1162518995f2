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

"""The row action in Horizon's own tables.

Horizon has a setting for tabs and panels, and none for row actions. So this
changes two tables, when Horizon starts, in the two attributes in which a table
keeps its actions. A test watches both.
"""

from openstack_dashboard.dashboards.admin.instances import tables as admin
from openstack_dashboard.dashboards.project.instances import tables as project

from xloud_dashboard import actions

# After which action ours stands.
_NEIGHBOUR = {'InstancesTable': 'resize', 'AdminInstancesTable': 'snapshot'}


def install():
    _add(project.InstancesTable, actions.AdjustSize)
    _add(admin.AdminInstancesTable, actions.AdminAdjustSize)


def _add(table, action):
    row_actions = list(table._meta.row_actions)
    if action in row_actions:
        return
    names = [known.name for known in row_actions]
    neighbour = _NEIGHBOUR[table.__name__]
    place = (names.index(neighbour) + 1 if neighbour in names
             else len(names))
    row_actions.insert(place, action)
    table._meta.row_actions = tuple(row_actions)
    table.base_actions[action.name] = action()
