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

"""The tab of a server that shows its sizes, now and over time."""

from django import urls
from django.utils import dateparse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from horizon import tabs

from openstack_dashboard import policy

from xloud_dashboard import actions
from xloud_dashboard import api
from xloud_dashboard import history
from xloud_dashboard import picture
from xloud_dashboard import sizes

# How many changes the table shows.
_SHOWN = 50


class SizesTab(policy.PolicyTargetMixin, tabs.Tab):
    name = _('Sizes')
    slug = 'xloud_sizes'
    template_name = 'xloud_dashboard/_sizes.html'
    # It asks the host of the server, so only when somebody looks.
    preload = False
    policy_rules = (('compute', 'os_compute_api:xloud:show'),)
    adjust_url = 'horizon:project:xloud_adjust:adjust'

    def allowed(self, request):
        return not sizes.is_certainly_fixed(self.tab_group.kwargs['instance'])

    def get_context_data(self, request, **kwargs):
        instance = self.tab_group.kwargs['instance']
        context = {'instance': instance}
        try:
            status = api.show(request, instance.id)
        except api.Error as error:
            context['problem'] = error.message
            return context
        dimensions = sizes.dimensions(status)
        context.update(
            status=status, dimensions=dimensions,
            condition=sizes.CONDITIONS.get(
                status['condition'], status['condition']),
            now=picture.now(dimensions),
            adjust_url=self._adjust_url(request, instance, dimensions))
        try:
            found = history.changes(api.actions(request, instance.id))
        except api.Error as error:
            context['no_history'] = error.message
        else:
            context.update(self._over_time(instance, status, dimensions,
                                           found))
        return context

    def _adjust_url(self, request, instance, dimensions):
        if instance.status not in actions.STATES or not any(
                dimension.is_elastic for dimension in dimensions):
            return None
        if not policy.check(actions.POLICY_RULES, request,
                            self.get_policy_target(request, instance)):
            return None
        return urls.reverse(self.adjust_url, args=[instance.id])

    @staticmethod
    def _over_time(instance, status, dimensions, found):
        until = timezone.now()
        created_at = dateparse.parse_datetime(
            getattr(instance, 'created', None) or '')
        lines = {
            word: history.steps(
                word, found, history.Size(status[field + '_vcpus'],
                                          status[field + '_memory_mb']),
                created_at, until)
            for word, field in (('charged', 'allocated'),
                                ('desired', 'desired'))}
        return {
            'pictures': [
                picture.over_time(dimension.key, str(dimension.label),
                                  dimension.maximum, lines['charged'],
                                  lines['desired'], until)
                for dimension in dimensions],
            'changes': [_row(change) for change in found[::-1][:_SHOWN]],
            'left_out': max(len(found) - _SHOWN, 0)}


class AdminSizesTab(SizesTab):
    adjust_url = 'horizon:admin:xloud_servers:adjust'


def _row(change):
    def after(word):
        size = change.sizes.get(word)
        return sizes.text(*size[1]) if size else None

    return {'at': change.at, 'is_request': change.action == history.ADJUST,
            'is_refused': change.is_refused, 'desired': after('desired'),
            'boot': after('boot'), 'charged': after('charged')}
