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

"""The form, for a project and for an administrator."""

import types

from django import urls
from django.utils.functional import cached_property
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from horizon import exceptions
from horizon import forms

from openstack_dashboard import api as horizon_api

from xloud_dashboard import api
from xloud_dashboard import forms as xloud_forms
from xloud_dashboard import sizes


class AdjustView(forms.ModalFormView):
    """Shows the form, or why there is none.

    A redirect would do nothing: where Horizon opens a form in the page, it
    does not follow one.
    """

    form_class = xloud_forms.AdjustForm
    template_name = 'xloud_dashboard/adjust.html'
    form_id = 'xloud-adjust-form'
    modal_id = 'xloud-adjust-modal'
    page_title = gettext_lazy('Adjust Size')
    submit_label = gettext_lazy('Adjust Size')
    url = 'horizon:project:xloud_adjust:adjust'
    index_url = 'horizon:project:instances:index'

    @cached_property
    def server(self):
        """What Horizon knows of it; to adjust it, its id is enough."""
        server_id = self.kwargs['instance_id']
        try:
            found = horizon_api.nova.server_get(self.request, server_id)
        except Exception:
            exceptions.handle(self.request, ignore=True)
            return types.SimpleNamespace(
                id=server_id, name=server_id, status=None)
        return types.SimpleNamespace(
            id=server_id, name=found.name or server_id, status=found.status)

    @cached_property
    def _asked(self):
        """The status of the server and no problem, or None and a problem."""
        try:
            return api.show(self.request, self.kwargs['instance_id']), None
        except api.Error as error:
            return None, error.message

    @cached_property
    def dimensions(self):
        status = self._asked[0]
        return sizes.dimensions(status) if status else []

    @property
    def problem(self):
        status, problem = self._asked
        if status and not any(dimension.is_elastic
                              for dimension in self.dimensions):
            return _('The size of this server is fixed: its flavor has no '
                     'range. To change it, resize the server to an elastic '
                     'flavor.')
        return problem

    def get_form_kwargs(self):
        return {**super().get_form_kwargs(), 'server': self.server,
                'dimensions': self.dimensions}

    def post(self, request, *args, **kwargs):
        if self.problem:
            return self.get(request, *args, **kwargs)
        return super().post(request, *args, **kwargs)

    def get(self, request, *args, **kwargs):
        # What was sent to a form that is none is not looked at.
        return self.render_to_response(self.get_context_data(
            form=self.form_class(request, self.server, self.dimensions)))

    def _next(self):
        """Where the user was, if that is here."""
        asked = self.request.GET.get('next', '')
        if url_has_allowed_host_and_scheme(
                asked, allowed_hosts={self.request.get_host()},
                require_https=self.request.is_secure()):
            return asked
        return None

    def get_success_url(self):
        return self._next() or urls.reverse(self.index_url)

    def get_cancel_url(self):
        return self.get_success_url()

    @property
    def submit_url(self):
        url = urls.reverse(self.url, args=[self.kwargs['instance_id']])
        if self._next():
            url += '?' + urlencode({'next': self._next()})
        return url

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        status = self._asked[0]
        context.update(
            dimensions=self.dimensions, problem=self.problem, status=status,
            server=self.server,
            condition=status and sizes.CONDITIONS.get(
                status['condition'], status['condition']))
        return context


class AdminAdjustView(AdjustView):
    url = 'horizon:admin:xloud_servers:adjust'
    index_url = 'horizon:admin:instances:index'
