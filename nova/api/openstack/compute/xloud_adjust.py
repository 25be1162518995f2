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

"""Grow or shrink a running server, and show how far the change has come."""

from oslo_utils import strutils
from webob import exc

from nova.api.openstack import common
from nova.api.openstack.compute.schemas import xloud_adjust as schema
from nova.api.openstack.compute.views import xloud_adjust as views
from nova.api.openstack.compute import xloud_validation
from nova.api.openstack import wsgi
from nova.api import validation
from nova.compute import api as compute
from nova import exception
from nova.i18n import _
from nova.policies import xloud_adjust as policies
from nova.xloud import api as xloud_api

# The views read these, so one query loads them with the server.
_EXPECTED_ATTRS = ('flavor', 'pci_requests', 'services')


@xloud_validation.validated
class XloudAdjustController(wsgi.Controller):

    _view_builder_class = views.ViewBuilder

    def __init__(self):
        super().__init__()
        self.compute_api = compute.API()

    @wsgi.expected_errors(404)
    @validation.query_schema(schema.show_query)
    @xloud_validation.response_body_schema(schema.show_response)
    def show(self, req, server_id):
        """Show the sizes of a server and what keeps them from changing."""
        context = req.environ['nova.context']
        instance = self._get_instance(context, server_id)
        context.can(policies.POLICY_ROOT % 'show',
                    target={'user_id': instance.user_id,
                            'project_id': instance.project_id})
        return {'xloud_status': self._view_builder.show(
            xloud_api.status(self.compute_api, context, instance))}

    @wsgi.response(202)
    @wsgi.expected_errors((400, 403, 404, 409))
    @validation.schema(schema.adjust)
    @xloud_validation.response_body_schema(schema.adjust_response)
    def adjust(self, req, server_id, body):
        """Change the size of a server inside the range of its flavor."""
        vcpus = body.get('current_vcpus')
        memory_mb = body.get('current_memory_mb')
        # Nobody understands what a schema says about this.
        if vcpus is None and memory_mb is None:
            raise exc.HTTPBadRequest(explanation=_(
                'current_vcpus, current_memory_mb or both are required.'))
        # For the JSON schema of 30.0.0 and later, 4.0 is an integer.
        if isinstance(vcpus, float) or isinstance(memory_mb, float):
            raise exc.HTTPBadRequest(explanation=_(
                'current_vcpus and current_memory_mb must be integers.'))
        context = req.environ['nova.context']
        instance = self._get_instance(context, server_id)
        context.can(policies.POLICY_ROOT % 'adjust',
                    target={'user_id': instance.user_id,
                            'project_id': instance.project_id})
        try:
            status = self.compute_api.xloud_adjust(
                context, instance,
                None if vcpus is None else int(vcpus),
                None if memory_mb is None else int(memory_mb),
                strutils.bool_from_string(
                    body.get('persist', True), strict=True))
        except exception.InvalidRequest as error:
            raise exc.HTTPBadRequest(explanation=error.format_message())
        except exception.OverQuota as error:
            raise exc.HTTPForbidden(explanation=error.format_message())
        except exception.InstanceNotFound as error:
            raise exc.HTTPNotFound(explanation=error.format_message())
        except exception.ServiceUnavailable:
            raise exc.HTTPConflict(explanation=_(
                'The host of server %s is down.') % server_id)
        except (exception.ElasticConflict, exception.ElasticNoRoom,
                exception.InstanceIsLocked, exception.InstanceNotReady,
                exception.InstanceUpdateConflict) as error:
            raise exc.HTTPConflict(explanation=error.format_message())
        except exception.InstanceInvalidState as error:
            common.raise_http_conflict_for_instance_invalid_state(
                error, 'xloud_adjust', server_id)
        return {'xloud_status': self._view_builder.show(status)}

    def _get_instance(self, context, server_id):
        return common.get_instance(
            self.compute_api, context, server_id,
            expected_attrs=list(_EXPECTED_ATTRS))
