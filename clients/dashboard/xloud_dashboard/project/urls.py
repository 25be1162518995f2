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
from django.urls import re_path
from django.views import generic

from xloud_dashboard import views

urlpatterns = [
    # Horizon goes here when the user changes the project beside the form.
    re_path(r'^$', generic.RedirectView.as_view(
        url=urls.reverse_lazy('horizon:project:instances:index')),
        name='index'),
    re_path(r'^(?P<instance_id>[^/]+)/$', views.AdjustView.as_view(),
            name='adjust'),
]
