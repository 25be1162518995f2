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

"""The form in which a server gets another size."""

from django import forms as django_forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from horizon import forms
from horizon import messages

from xloud_dashboard import api
from xloud_dashboard import sizes


class AdjustForm(forms.SelfHandlingForm):
    """Has a field for each dimension that can change.

    :param server: with id, name and status; the latter is None if Horizon
        could not find it out
    :param dimensions: as from sizes.dimensions()
    """

    def __init__(self, request, server, dimensions, *args, **kwargs):
        super().__init__(request, *args, **kwargs)
        self._server = server
        self.is_shut_off = server.status == 'SHUTOFF'
        self._keys = []
        for dimension in dimensions:
            if dimension.is_elastic:
                self._keys.append(dimension.key)
                self.fields[dimension.key] = self._size(dimension)
        # Who has ticked it means it, also if the server has shut off since.
        if not self.is_shut_off or self.data.get('until_next_boot'):
            self.fields['until_next_boot'] = django_forms.BooleanField(
                label=gettext_lazy('Only until the next start'),
                required=False)

    def _size(self, dimension):
        least, most = dimension.minimum, dimension.maximum
        shown = dimension.boot if self.is_shut_off else dimension.desired
        described_by = ['xloud-%s-facts' % dimension.key]
        if dimension.is_held:
            described_by.append('xloud-%s-blockers' % dimension.key)
        return django_forms.IntegerField(
            label=dimension.label, min_value=least, max_value=most,
            initial=shown,
            # So that only what this user has changed is sent.
            show_hidden_initial=True,
            widget=django_forms.NumberInput(attrs={
                'class': 'form-control', 'step': str(dimension.step),
                'data-xloud-other': 'xloud-%s-slider' % dimension.key,
                'aria-describedby': ' '.join(described_by)}))

    def handle(self, request, data):
        keys = [key for key in self._keys if key in self.changed_data]
        # Nothing else: then the size that it has shall last, or not.
        keys = keys or self._keys
        try:
            status = api.adjust(
                request, self._server.id,
                persist=not data.get('until_next_boot'),
                **{key: data[key] for key in keys})
        except api.Error as error:
            self.api_error(error.message)
            return False
        self._report(request, status)
        return True

    def _report(self, request, status):
        words = {'name': self._server.name, 'reason': status['reason'],
                 'size': sizes.text(status['desired_vcpus'],
                                    status['desired_memory_mb'])}
        if self.is_shut_off:
            words['size'] = sizes.text(status['boot_vcpus'],
                                       status['boot_memory_mb'])
            messages.success(request, _(
                '%(name)s will start with %(size)s.') % words)
        elif status['condition'] == 'Settled':
            messages.success(request, _('%(name)s has %(size)s.') % words)
        else:
            messages.info(request, _(
                '%(name)s gets %(size)s. %(reason)s') % words)
