#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.


"""nova-api as an application of WSGI, which every release of Nova has."""

import importlib
import importlib.util


def patch() -> None:
    """Have Nova choose between eventlet and threads, before all imports."""
    chosen = importlib.import_module('nova.monkey_patch')
    if hasattr(chosen, 'patch'):  # else the import has done it
        chosen.patch(backend='threading')


def application():
    # nova.wsgi itself must not be imported yet where it is a module: it takes
    # eventlet in before Nova has patched anything with it.
    found = importlib.util.find_spec('nova.wsgi')
    if found is not None and found.submodule_search_locations:
        return importlib.import_module('nova.wsgi.osapi_compute').application
    return importlib.import_module(
        'nova.api.openstack.compute.wsgi').init_application()
