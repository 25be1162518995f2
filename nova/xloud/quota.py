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

"""The quota of the project that owns a server which grows.

It is the owner's, whoever calls. Only what a server grows over its charge
counts, so a project that exceeds a limit in something else can shrink a
server and grow it again.
"""

from openstack import exceptions as sdk_exc
import os_resource_classes as orc
from oslo_limit import exception as limit_exceptions
from oslo_log import log as logging

from nova.compute import utils as compute_utils
from nova import exception
from nova.i18n import _
from nova.limit import placement as placement_limits
from nova.limit import utils as limit_utils
from nova import objects
from nova.xloud import allocation
from nova.xloud import size

LOG = logging.getLogger(__name__)

# Without an answer of Placement, which counts, or Keystone, which has limits
_SILENT = (*allocation.NO_ANSWER, exception.UsagesRetrievalFailed,
           limit_exceptions.SessionInitError, sdk_exc.SDKException)


def growth_of(instance, vcpus, memory_mb) -> size.Size:
    """What a change adds to the charge of a server, nothing if negative."""
    charged = size.charged(instance)
    return size.Size((vcpus or 0) - charged.vcpus,
                     (memory_mb or 0) - charged.memory_mb)


def check(context, instance, growth, is_charged=False):
    """Check that the project of the server may be charged for what it grows.

    Limits that the project exceeds already in something else do not matter.

    :param is_charged: whether the growth is counted already
    :raises OverQuota: if it may not
    :raises ElasticConflict: if that is not known now
    """
    if max(growth) <= 0:
        return
    try:
        if limit_utils.use_unified_limits():
            _check_unified_limits(
                context, instance.project_id, growth, is_charged)
        else:
            _check_legacy_quota(context, instance, growth, is_charged)
    except _SILENT as error:
        LOG.warning('The quota of project %(project)s cannot be checked: '
                    '%(error)s',
                    {'project': instance.project_id, 'error': error},
                    instance=instance)
        raise exception.ElasticConflict(
            instance_uuid=instance.uuid,
            reason=_('the quota of its project cannot be checked. Try again '
                     'later.'))


def _check_unified_limits(context, project_id, growth, is_charged):
    asked = _deltas('class:' + orc.VCPU, 'class:' + orc.MEMORY_MB, growth)
    deltas = dict.fromkeys(asked, 0) if is_charged else asked
    # Upstream's own check counts the whole flavor.
    enforcer = placement_limits._get_enforcer(context, project_id)
    try:
        enforcer.enforce(project_id, deltas)
    except limit_exceptions.ProjectOverLimit as error:
        # Since 31.0.0 a limit that nobody set may be ignored.
        should_enforce = getattr(limit_utils, 'should_enforce', None)
        if should_enforce is None or should_enforce(error):
            if is_charged:
                error = _without(error, asked)
            raise exception.TooManyInstances(str(error))


def _without(error, asked):
    """What was said of a usage that includes the growth, without it."""
    return limit_exceptions.ProjectOverLimit(error.project_id, [
        limit_exceptions.OverLimitInfo(
            info.resource_name, info.limit,
            info.current_usage - asked[info.resource_name],
            asked[info.resource_name])
        for info in error.over_limit_info_list])


def _check_legacy_quota(context, instance, growth, is_charged):
    asked = _deltas('cores', 'ram', growth)
    deltas = dict.fromkeys(asked, 0) if is_charged else asked
    project_id, user_id = instance.project_id, instance.user_id
    try:
        objects.Quotas.check_deltas(
            context, deltas, project_id, user_id=user_id,
            check_project_id=project_id, check_user_id=user_id)
    except exception.OverQuota as error:
        quotas, usages = error.kwargs['quotas'], error.kwargs['usages']
        if is_charged:
            # The usages include the growth.
            usages = dict(usages, **{
                key: usages[key] - asked[key] for key in asked})
        headroom = compute_utils.get_headroom(quotas, usages, asked)
        overs, requested, allowed, used = compute_utils.get_over_quota_detail(
            headroom, error.kwargs['overs'], quotas, asked)
        LOG.info('%(overs)s quota of project %(project)s exceeded while '
                 'adjusting a server.',
                 {'overs': overs, 'project': project_id}, instance=instance)
        raise exception.TooManyInstances(
            overs=overs, req=requested, used=used, allowed=allowed)


def _deltas(vcpus_key, memory_key, growth):
    return {key: delta for key, delta in
            ((vcpus_key, growth.vcpus), (memory_key, growth.memory_mb))
            if delta > 0}
