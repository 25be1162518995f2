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

from django import urls
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from horizon import tables
from horizon.utils import filters

from xloud_dashboard import actions


class Adjust(actions.AdminAdjustSize):

    def allowed(self, request, server):
        # Whether it can change now is not in the list.
        return server is not None


def _link(server):
    return urls.reverse('horizon:admin:instances:detail', args=[server.id])


def _since(at):
    return filters.timesince_or_never(at) if at else '-'


class ServersTable(tables.DataTable):
    project = tables.WrappingColumn('project_name', verbose_name=_('Project'))
    host = tables.WrappingColumn('host', verbose_name=_('Host'))
    name = tables.WrappingColumn('name', link=_link, verbose_name=_('Name'))
    vcpus = tables.Column('vcpus', verbose_name=_('vCPUs'))
    vcpus_range = tables.Column('vcpus_range', verbose_name=_('vCPU Range'))
    memory = tables.Column('memory', verbose_name=_('Memory (MiB)'))
    memory_range = tables.Column('memory_range',
                                 verbose_name=_('Memory Range'))
    condition = tables.Column('condition', verbose_name=_('Condition'))
    reason = tables.WrappingColumn('reason', verbose_name=_('Reason'))
    since = tables.Column(
        'since', verbose_name=_('Since'),
        filters=(filters.parse_isotime, _since))

    def __init__(self, request, *args, **kwargs):
        # What the page is filtered by; set by the view.
        self.chosen = {}
        super().__init__(request, *args, **kwargs)

    def get_pagination_string(self):
        return urlencode({**self.chosen, 'marker': self.get_marker()})

    class Meta(object):
        name = 'xloud_servers'
        verbose_name = _('Elastic Servers')
        multi_select = False
        row_actions = (Adjust,)
