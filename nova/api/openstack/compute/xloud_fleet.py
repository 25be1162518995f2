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

"""List elastic servers with their sizes, from what is recorded about them."""

from urllib import parse

from oslo_utils import strutils
from webob import exc

from nova.api.openstack import common
from nova.api.openstack.compute.schemas import xloud_fleet as schema
from nova.api.openstack.compute import xloud_validation
from nova.api.openstack import wsgi
from nova.api import validation
from nova import exception
from nova.policies import xloud_fleet as policies
from nova.xloud import fleet


class _ViewBuilder(common.ViewBuilder):

    def links(self, req, servers):
        links = self._get_collection_links(req, servers, 'os-xloud-adjust')
        for link in links:
            # A filter may be given more than once; Nova keeps the last.
            link['href'] = '%s?%s' % (
                link['href'].split('?')[0], parse.urlencode(sorted(
                    [item for item in req.GET.items() if item[0] != 'marker'] +
                    [('marker', servers[-1]['id'])])))
        return links


@xloud_validation.validated
class XloudFleetController(wsgi.Controller):

    _view_builder_class = _ViewBuilder

    @wsgi.expected_errors(400)
    @validation.query_schema(schema.index_query)
    @xloud_validation.response_body_schema(schema.index_response)
    def index(self, req):
        """List elastic servers, the newest first."""
        context = req.environ['nova.context']
        context.can(policies.POLICY_ROOT % 'index')
        query = req.GET
        project_id = query.get('project_id', context.project_id)
        is_everywhere = strutils.bool_from_string(
            query.get('all_projects', False), strict=True)
        # A token need not have a project, and policies cannot require one.
        if (is_everywhere or project_id is None or
                project_id != context.project_id):
            context.can(policies.POLICY_ROOT % 'index:all_projects')
        shows_host = context.can(
            policies.POLICY_ROOT % 'index:host', fatal='host' in query)
        if is_everywhere and 'project_id' not in query:
            project_id = None
        limit, marker = common.get_limit_and_marker(req)
        try:
            servers = fleet.servers(
                context, fleet.Filters(project_id, query.get('host'),
                                       query.getall('condition')),
                limit, marker)
        except exception.MarkerNotFound as error:
            raise exc.HTTPBadRequest(explanation=error.format_message())
        answer = {'xloud_servers': servers}
        links = self._view_builder.links(req, servers)
        if links:
            answer['xloud_servers_links'] = links
        if not shows_host:
            for server in servers:
                del server['host']
        return answer
