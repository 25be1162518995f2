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

"""*Adjust Size* in the row of a server."""

from django import urls
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from horizon import tables

from openstack_dashboard import policy

from xloud_dashboard import sizes

POLICY_RULES = (('compute', 'os_compute_api:xloud:adjust'),)
STATES = ('ACTIVE', 'SHUTOFF')


class AdjustSize(policy.PolicyTargetMixin, tables.LinkAction):
    name = 'xloud_adjust'
    verbose_name = _('Adjust Size')
    url = 'horizon:project:xloud_adjust:adjust'
    classes = ('ajax-modal', 'btn-xloud-adjust')
    icon = 'sliders'
    policy_rules = POLICY_RULES

    def get_link_url(self, datum):
        return '%s?%s' % (
            urls.reverse(self.url, args=[datum.id]),
            urlencode({'next': self.table.get_full_url()}))

    def allowed(self, request, instance):
        """From the row alone: a call for each row would be one too many."""
        if instance is None:
            return False
        status = getattr(instance, 'status', None)
        task = getattr(instance, 'OS-EXT-STS:task_state', None)
        return (status in STATES and not task and
                not sizes.is_certainly_fixed(instance))


class AdminAdjustSize(AdjustSize):
    url = 'horizon:admin:xloud_servers:adjust'
