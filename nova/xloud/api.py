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

"""Elastic servers in nova-api: adjust a server, and show its status.

nova-api refuses what it can without asking the host, before anything changes
or is recorded. Then it takes the server, and the host decides the rest. The
answer follows from the row of the server, not from what became of a message.
"""

from oslo_log import log as logging
from oslo_utils import excutils

import nova.conf
from nova.db.main import api as db
from nova.db.main import models
from nova import exception
from nova.i18n import _
from nova.xloud import action
from nova.xloud import answer
from nova.xloud import blockers
from nova.xloud import checks
from nova.xloud import failures
from nova.xloud import guest as elastic_guest
from nova.xloud import quota
from nova.xloud import rpcapi
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import status as xloud_status
from nova.xloud import task

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# What can have changed at the end of an adjust, beside the books.
_CHANGING = ('vcpus', 'memory_mb', 'task_state', 'vm_state', 'power_state',
             'locked')


def adjust(compute_api, context, instance, vcpus, memory_mb, persist):
    """Change the size of a server inside the range of its flavor.

    :param compute_api: nova.compute.api.API, which has checked the lock, the
        state and that the host is up
    :param vcpus: int, or None to keep what is desired
    :param memory_mb: int, or None to keep what is desired
    :param persist: whether the next start gives this size too
    :returns: nova.xloud.status.Status, after the change
    :raises: InvalidRequest if this is never possible, ElasticConflict and
        ElasticNoRoom if it is not possible now, OverQuota
    """
    checks.check_request(instance, vcpus, memory_mb)
    blocked = checks.check_now(
        compute_api, context, instance, vcpus, memory_mb, persist)
    growth = quota.growth_of(instance, vcpus, memory_mb)
    quota.check(context, instance, growth)
    request = rpcapi.Request.about(
        instance, context.request_id, vcpus, memory_mb, persist)

    # It can have changed since it was read.
    before = situation.sizes_of(task.take(context, instance, request.token))
    reply = _carry_out(compute_api.compute_rpcapi.xloud, context, instance,
                       request, growth, before)
    _refresh(context, instance)
    # What has changed since has a record of its own.
    action.finish(context, instance, action.changes(
        before, reply.left or situation.sizes_of(instance)))
    return xloud_status.of_elastic(
        context, instance, reply.guest, _unknown(reply) or blocked)


@db.pick_context_manager_reader
def _refresh(context, instance):
    """Read again what an adjust changes, and no more.

    A whole instance takes several times as long, and a user waits.
    """
    row = db.model_query(context, models.Instance, tuple(
        getattr(models.Instance, field) for field in _CHANGING)).filter_by(
            uuid=instance.uuid).first()
    if row is None:
        raise exception.InstanceNotFound(instance_id=instance.uuid)
    for field, value in zip(_CHANGING, row):
        setattr(instance, field, value)
    instance.system_metadata = db.instance_system_metadata_get(
        context, instance.uuid)
    instance.obj_reset_changes()


def _carry_out(compute, context, instance, request, growth, before):
    """Let the host carry out a request.

    :param compute: nova.xloud.rpcapi.XloudAPI
    :param before: nova.xloud.situation.Sizes when the server was taken
    :returns: Answer of the host, an empty one if it gave none
    """
    try:
        action.start(context, instance)
    except Exception:
        with excutils.save_and_reraise_exception():
            task.give_back(context, instance, request.token)
            _record_refusal(context, instance, before)
    try:
        with action.event(context, instance.uuid, 'api_xloud_adjust',
                          CONF.host) as details:
            try:
                return _ask(compute, context, instance, request, growth)
            except Exception as error:
                if not task.give_back(context, instance, request.token):
                    raise
                LOG.warning('The host has accepted the change but did not '
                            'report how it ended: %s', error,
                            instance=instance)
                details.append(_('The host has accepted the change but did '
                                 'not report how it ended.'))
                return answer.Answer()
    except Exception:
        with excutils.save_and_reraise_exception():
            _record_refusal(context, instance, before)


def _ask(compute, context, instance, request, growth):
    try:
        if max(growth) > 0 and CONF.quota.recheck_quota:
            return _grow(compute, context, instance, request, growth)
        return compute.adjust(context, instance, request)
    except NotImplementedError:
        raise exception.ElasticConflict(
            instance_uuid=instance.uuid,
            reason=_('its host cannot change its size.'))


def _record_refusal(context, instance, before):
    """End the action of a refused request.

    The server can be charged for it until reconcile gives its claim up.
    """
    left = ''
    with failures.warned(LOG, 'It is not known what is left of a refused '
                         'change: %s', instance=instance):
        _refresh(context, instance)
        if task.of(instance) is None:
            # Otherwise the next request has begun, and records what changes.
            left = action.changes(before, situation.sizes_of(instance))
    action.finish(context, instance, '; '.join(filter(None, [
        action.REFUSED, left])))


def _grow(compute, context, instance, request, growth):
    """Charge the server for its growth first, and count that.

    Other servers that grow at the same time have passed the first check, too.
    """
    charged = compute.claim(context, instance, request)
    try:
        quota.check(context, instance, growth, is_charged=True)
        return compute.adjust(
            context, instance, request._replace(charged=list(charged)))
    except rpcapi.HostSilent:
        # Reconcile gives up a claim that is not used.
        raise
    except Exception:
        with excutils.save_and_reraise_exception():
            _release(compute, context, instance, request)


def _release(compute, context, instance, request):
    with failures.warned(
            LOG, 'The claim for the server is given up later: %s',
            instance=instance):
        try:
            compute.release(context, instance, request)
        except exception.ElasticConflict as error:
            # Its host has done so already, or has accepted the request.
            LOG.debug('Nothing is given up: %s', error, instance=instance)


def status(compute_api, context, instance):
    """The sizes of a server, their condition and what blocks a change.

    For a server that is not elastic, only the instance is read.

    :returns: nova.xloud.status.Status
    """
    if not size.is_elastic(instance.flavor):
        return xloud_status.of_fixed(instance)
    guest, blocked = _ask_guest(compute_api, context, instance)
    return xloud_status.of_elastic(context, instance, guest, blocked)


def _ask_guest(compute_api, context, instance):
    """The GuestState, or None and why its host does not answer."""
    if not instance.host:
        return elastic_guest.NOT_RUNNING, []
    if not _host_is_up(compute_api, instance):
        return None, blockers.both(
            blockers.HOST_DOWN, _('The host of the server is down.'))
    try:
        reply = compute_api.compute_rpcapi.xloud.guest_state(
            context, instance)
    except rpcapi.HostNotUpgraded:
        return None, blockers.both(
            blockers.HOST_NOT_UPGRADED,
            _('The host of the server is not upgraded to elastic servers '
              'yet.'))
    except NotImplementedError:
        return None, blockers.both(
            blockers.HOST_CANNOT,
            _('The host of the server cannot change its size.'))
    except exception.Invalid:
        return None, _silent()
    unknown = _unknown(reply)
    if unknown:
        return None, unknown
    return reply.guest, blockers.of_host(compute_api, context, instance)


def _unknown(reply):
    """Why it is not known what a guest holds, as blockers."""
    if reply.is_missing:
        return blockers.missing()
    return _silent() if reply.guest is None else []


def _silent():
    return blockers.both(
        blockers.HOST_SILENT, _('The host of the server does not answer.'))


def _host_is_up(compute_api, instance):
    return any(compute_api.servicegroup_api.service_is_up(service)
               for service in instance.services
               if service.binary == 'nova-compute')
