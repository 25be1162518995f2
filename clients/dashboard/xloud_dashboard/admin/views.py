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

"""The elastic servers of all projects."""

import types

from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from horizon import exceptions
from horizon import tables
from horizon.utils import functions

from openstack_dashboard import api as horizon_api

from xloud_dashboard.admin import tables as xloud_tables
from xloud_dashboard import api
from xloud_dashboard import sizes

_FILTERS = ('condition', 'host', 'project')


class IndexView(tables.DataTableView):
    """One request to Nova for a page, and one to Keystone for the names.

    The filters are in the address, so that a view of the cloud can be kept and
    sent to others.
    """

    table_class = xloud_tables.ServersTable
    template_name = 'xloud_dashboard/servers.html'
    page_title = gettext_lazy('Elastic Servers')

    problem = None
    _more = False

    @cached_property
    def chosen(self):
        """What the page is filtered by."""
        asked = ((key, self.request.GET.get(key, '').strip())
                 for key in _FILTERS)
        return {key: value for key, value in asked if value}

    @cached_property
    def _projects(self):
        """The names of projects by their ids."""
        try:
            return {project.id: project.name for project in
                    horizon_api.keystone.tenant_list(self.request)[0]}
        except Exception:
            exceptions.handle(self.request, ignore=True)
            return {}

    def get_data(self):
        condition = self.chosen.get('condition')
        try:
            found, self._more = api.fleet(
                self.request,
                condition=condition if condition in sizes.LISTED else None,
                host=self.chosen.get('host'),
                project_id=self._project_id(),
                marker=self.request.GET.get('marker'),
                limit=functions.get_page_size(self.request))
        except api.Error as error:
            self.problem = error.message
            return []
        return [self._row(server) for server in found]

    def _project_id(self):
        asked = self.chosen.get('project')
        if not asked or asked in self._projects:
            return asked
        named = [project_id for project_id, name in self._projects.items()
                 if name == asked]
        if len(named) > 1:
            raise api.Error(_('More than one project is named %s. Filter by '
                              'the ID of one.') % asked)
        # Without one, Nova says that it has no servers.
        return named[0] if named else asked

    def _row(self, server):
        row = types.SimpleNamespace(**server)
        row.name = server['name'] or server['id']
        row.host = server.get('host')
        row.project_name = self._projects.get(
            server['project_id'], server['project_id'])
        row.condition = sizes.CONDITIONS.get(
            server['condition'], server['condition'])
        for column, key in (('vcpus', 'vcpus'), ('memory', 'memory_mb')):
            setattr(row, column, _amount(server, key))
            setattr(row, column + '_range', '%d\N{EN DASH}%d' % (
                server['min_' + key], server['max_' + key]))
        return row

    def get_table(self):
        table = super().get_table()
        table.chosen = self.chosen
        return table

    def has_more_data(self, table):
        return self._more

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        context.update(
            problem=self.problem, chosen=self.chosen,
            conditions=[(key, sizes.CONDITIONS[key]) for key in sizes.LISTED],
            has_filter=bool(self.chosen or self.request.GET.get('marker')))
        return context


def _amount(server, key):
    desired, charged = server['desired_' + key], server['allocated_' + key]
    if desired == charged:
        return str(desired)
    return _('%(desired)d, charged %(charged)d') % {
        'desired': desired, 'charged': charged}
