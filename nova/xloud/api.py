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

import typing as ty

import os_resource_classes as orc
from oslo_limit import exception as limit_exceptions
from oslo_log import log as logging
from oslo_utils import excutils
from oslo_utils import timeutils

from nova.compute import utils as compute_utils
from nova.compute import vm_states
import nova.conf
from nova import exception
from nova.i18n import _
from nova.limit import placement as placement_limits
from nova.limit import utils as limit_utils
from nova import objects
from nova.xloud import action
from nova.xloud import blockers
from nova.xloud import condition
from nova.xloud import memory
from nova.xloud import rpcapi
from nova.xloud import size
from nova.xloud import task
from nova.xloud import topology

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# A server in these states gets its boot size when it starts.
_AT_REST = (vm_states.STOPPED, vm_states.SHELVED, vm_states.SHELVED_OFFLOADED)

# What a server without a host holds, in the form of the RPC API.
_NO_GUEST = {
    'actual_vcpus': 0, 'actual_memory_mb': 0, 'balloon_driver_active': False,
    'memory_pinned': False, 'used_memory_mb': None, 'cannot_plug': False,
    'missing_statistic': None, 'fixed_vcpus': 0,
}


def adjust(compute_api, context, instance, vcpus, memory_mb, persist):
    """Change the size of a server inside the range of its flavor.

    :param compute_api: nova.compute.api.API, which has checked the lock, the
        state and that the host is up
    :param vcpus: int, or None to keep what is desired
    :param memory_mb: int, or None to keep what is desired
    :param persist: whether the next start gives this size too
    :returns: as :func:`status`
    :raises: InvalidRequest if this is never possible, ElasticConflict and
        ElasticNoRoom if it is not possible now, OverQuota
    """
    _check_request(instance, vcpus, memory_mb)
    blocked = _check_now(
        compute_api, context, instance, vcpus, memory_mb, persist)
    growth = _growth(instance, vcpus, memory_mb)
    _check_quota(context, instance, growth)
    before = condition.sizes_of(instance)
    request = rpcapi.Request.about(
        instance, context.request_id, vcpus, memory_mb, persist)

    task.take(context, instance, request.token)
    state = _carry_out(context, instance, request, growth)
    _refresh(context, instance)
    action.finish(context, instance, action.changes(
        before, condition.sizes_of(instance)))
    return _elastic_view(context, instance, state, blocked)


def _refresh(context, instance):
    """Read again what an adjust changes, and no more."""
    found = objects.Instance.get_by_uuid(
        context, instance.uuid, expected_attrs=['flavor', 'system_metadata'])
    for field in found.fields:
        if found.obj_attr_is_set(field):
            setattr(instance, field, getattr(found, field))
    instance.obj_reset_changes()


def _carry_out(context, instance, request, growth):
    """Let the host carry out a request.

    :returns: what the guest holds then, None if that is not known
    """
    try:
        action.start(context, instance)
        with action.event(
                context, instance.uuid, 'api_xloud_adjust', CONF.host):
            try:
                if max(growth) > 0 and CONF.quota.recheck_quota:
                    return _grow(context, instance, request, growth)
                return rpcapi.XloudAPI().adjust(context, instance, request)
            except NotImplementedError:
                raise exception.ElasticConflict(
                    instance_uuid=instance.uuid,
                    reason=_('its host cannot change its size.'))
    except Exception as error:
        if not task.give_back(context, instance, request.token):
            action.finish(context, instance, 'Error')
            raise
        LOG.warning('The host has accepted the change but did not report how '
                    'it ended: %s', error, instance=instance)


def _grow(context, instance, request, growth):
    """Charge the server for its growth first, and count that.

    Other servers that grow at the same time have passed the first check, too.
    """
    api = rpcapi.XloudAPI()
    charged = api.claim(context, instance, request)
    try:
        _check_quota(context, instance, growth, is_charged=True)
        return api.adjust(
            context, instance, request._replace(charged=list(charged)))
    except rpcapi.HostSilent:
        # Reconcile gives up a claim that is not used.
        raise
    except Exception:
        with excutils.save_and_reraise_exception():
            _release(api, context, instance, request)


def _release(api, context, instance, request):
    try:
        api.release(context, instance, request)
    except exception.ElasticConflict as error:
        # Its host has done so already, or has accepted the request.
        LOG.debug('Nothing is given up: %s', error, instance=instance)
    except Exception as error:
        LOG.warning('The claim for the server is given up later: %s',
                    error, instance=instance)


def status(compute_api, context, instance):
    """The sizes of a server, their condition and what blocks a change.

    For a server that is not elastic, only the instance is read.

    :returns: dict, which the response schema describes
    """
    if not size.is_elastic(instance.flavor):
        return _fixed_view(instance)
    state, blocked = _ask_guest(compute_api, context, instance)
    return _elastic_view(context, instance, state, blocked)


def vcpu_step(instance) -> int:
    """What the vCPUs of a server must be a multiple of."""
    return topology.step(instance.flavor, instance.image_meta)


def _check_request(instance, vcpus, memory_mb):
    """Refuse a size that this server can never have."""
    flavor = instance.flavor
    minimum, maximum = size.minimum(flavor), size.maximum(flavor)
    asked = (
        ('current_vcpus', vcpus, size.has_elastic_vcpus(flavor),
         minimum.vcpus, maximum.vcpus),
        ('current_memory_mb', memory_mb, size.has_elastic_memory(flavor),
         minimum.memory_mb, maximum.memory_mb))
    can_change = any(elastic and value is not None
                     for _key, value, elastic, _low, _high in asked)
    for key, value, elastic, low, high in asked:
        # Clients send both sizes. A fixed one may be sent as it is.
        if value is None or (not elastic and can_change and value == high):
            continue
        if not elastic:
            raise exception.InvalidRequest(
                _('%s cannot change: the flavor of the server has no range '
                  'for it.') % key)
        _check_range(key, value, low, high)
    image_meta = instance.image_meta
    step = vcpu_step(instance)
    # A number that is already desired is no change.
    if (vcpus or 0) % step and vcpus != size.desired(instance).vcpus:
        raise exception.InvalidRequest(
            _('current_vcpus is %(vcpus)d, which is not a multiple of the '
              '%(step)d threads of a core, set by %(topology)s.') %
            {'vcpus': vcpus, 'step': step,
             'topology': topology.key(flavor, image_meta)})
    min_ram = image_meta.min_ram if 'min_ram' in image_meta else None
    if memory_mb is not None and memory_mb < (min_ram or 0):
        raise exception.InvalidRequest(
            _('current_memory_mb is %(memory)d, below the min_ram of the '
              'image of the server, %(min_ram)d.') %
            {'memory': memory_mb, 'min_ram': min_ram})


def _check_range(key, value, minimum, maximum):
    if value < minimum:
        raise exception.InvalidRequest(
            _('%(key)s is %(value)d, below the minimum of the server, '
              '%(minimum)d.') %
            {'key': key, 'value': value, 'minimum': minimum})
    if value > maximum:
        raise exception.InvalidRequest(
            _('%(key)s is %(value)d, above the maximum of the server, '
              '%(maximum)d.') %
            {'key': key, 'value': value, 'maximum': maximum})


def _check_now(compute_api, context, instance, vcpus, memory_mb, persist):
    """Refuse what is not possible now, as far as nova-api knows.

    :returns: what the host blocks in the dimensions that were not asked for
    """
    if instance.vm_state == vm_states.STOPPED and not persist:
        raise exception.ElasticConflict(
            instance_uuid=instance.uuid,
            reason=_('it is shut off, so only the size of its next start can '
                     'change. Set persist to true.'))
    if instance.vm_state == vm_states.STOPPED and memory_mb is not None:
        _check_boot(instance, memory_mb)
    changes = {blockers.VCPUS: vcpus, blockers.MEMORY: memory_mb}
    for blocker in blockers.of_flavor(instance.flavor):
        del changes[blocker.dimension]
    if memory_mb == size.desired(instance).memory_mb == (
            size.boot(instance).memory_mb):
        # Clients send both sizes, including the one that stays.
        changes.pop(blockers.MEMORY, None)
    by_host = blockers.of_host(compute_api, context, instance)
    by_server = blockers.of_image(instance) + blockers.of_devices(instance)
    for blocker in by_host + by_server:
        if changes.get(blocker.dimension) is not None:
            raise exception.ElasticConflict(
                instance_uuid=instance.uuid, reason=blocker.message)
    return by_host


def _growth(instance, vcpus, memory_mb) -> size.Size:
    """What a change adds to the charge of a server, nothing if negative."""
    charged = size.charged(instance)
    return size.Size((vcpus or 0) - charged.vcpus,
                     (memory_mb or 0) - charged.memory_mb)


def _check_boot(instance, memory_mb):
    least_mb = memory.kernel_mb(
        size.maximum(instance.flavor), CONF.xloud.guest_memory_base_mb)
    try:
        memory.check_boot(
            memory_mb, size.boot(instance).memory_mb, least_mb)
    except ValueError as error:
        raise exception.ElasticConflict(
            instance_uuid=instance.uuid, reason=error)


def _check_quota(context, instance, growth, is_charged=False):
    """Check that the project of the server may be charged for what it grows.

    Limits that the project exceeds already in something else do not matter.

    :param is_charged: whether the growth is counted already
    """
    if max(growth) <= 0:
        return
    if limit_utils.use_unified_limits():
        _check_unified_limits(
            context, instance.project_id, growth, is_charged)
    else:
        _check_legacy_quota(context, instance, growth, is_charged)


def _check_unified_limits(context, project_id, growth, is_charged):
    deltas = _deltas('class:' + orc.VCPU, 'class:' + orc.MEMORY_MB, growth)
    if is_charged:
        deltas = dict.fromkeys(deltas, 0)
    # Upstream's own check counts the whole flavor.
    enforcer = placement_limits._get_enforcer(context, project_id)
    try:
        enforcer.enforce(project_id, deltas)
    except limit_exceptions.ProjectOverLimit as error:
        # Since 31.0.0 a limit that nobody set may be ignored.
        should_enforce = getattr(limit_utils, 'should_enforce', None)
        if should_enforce is None or should_enforce(error):
            raise exception.TooManyInstances(str(error))


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


def _ask_guest(compute_api, context, instance):
    """What the guest holds, or None and why its host does not answer."""
    if not instance.host:
        return _NO_GUEST, []
    if not _host_is_up(compute_api, instance):
        return None, blockers.both(
            blockers.HOST_DOWN, _('The host of the server is down.'))
    try:
        state = rpcapi.XloudAPI().guest_state(context, instance)
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
    if state.get('is_missing'):
        return None, blockers.both(
            blockers.GUEST_MISSING,
            _('The server should run, but its host has no running guest of '
              'it.'))
    if _actual(state) is None:
        return None, _silent()
    return state, blockers.of_host(compute_api, context, instance)


def _silent():
    return blockers.both(
        blockers.HOST_SILENT, _('The host of the server does not answer.'))


def _host_is_up(compute_api, instance):
    return any(compute_api.servicegroup_api.service_is_up(service)
               for service in instance.services
               if service.binary == 'nova-compute')


def _elastic_view(context, instance, state, by_host):
    actual = _actual(state)
    blocked = (blockers.of_state(context, instance) + by_host +
               blockers.of_image(instance))
    if actual not in (None, condition.NOTHING):
        blocked += blockers.of_guest(state, instance.flavor)
    if not any(blocker.code == blockers.MEMORY_PINNED for blocker in blocked):
        blocked += blockers.of_devices(instance)
    fixed = blockers.of_flavor(instance.flavor)
    fixed_dimensions = [blocker.dimension for blocker in fixed]
    blocked = fixed + [blocker for blocker in blocked
                       if blocker.dimension not in fixed_dimensions]

    # An older host does not report it.
    online = (state or {}).get('online_vcpus')
    sizes = condition.sizes_of(instance)
    desired, boot = sizes.desired, sizes.boot
    found, reason = condition.evaluate(
        sizes, size.outcome(instance), size.changed_at(instance),
        size.started_at(instance), timeutils.utcnow(),
        CONF.xloud.settle_timeout, actual,
        state is not None and state['memory_pinned'],
        size.pending(instance),
        size.is_settling(instance), (state or {}).get('is_returning', False),
        online, instance.vm_state == vm_states.PAUSED)
    return _view(
        instance, blocked, current=_current(instance, desired, boot, actual),
        desired=desired, boot=boot, allocated=sizes.charged, actual=actual,
        found=found, reason=reason, online=online,
        balloon=state is not None and state['balloon_driver_active'])


def _actual(state) -> ty.Optional[size.Size]:
    if state is None:
        return None
    held = size.Size(state['actual_vcpus'], state['actual_memory_mb'])
    return None if None in held else held


def _current(instance, desired, boot, actual):
    """The size for clients that show only one.

    It is what the guest holds. If it does not run, it is what it will start
    with; if the host does not answer, the desired size.
    """
    if actual not in (None, condition.NOTHING):
        return actual
    if actual == condition.NOTHING or instance.vm_state in _AT_REST:
        return boot
    return desired


def _fixed_view(instance):
    only = size.maximum(instance.flavor)
    return _view(
        instance, blockers.of_flavor(instance.flavor), current=only,
        desired=only, boot=only, allocated=only, actual=None,
        found=condition.SETTLED)


def _view(instance, blocked, *, current, desired, boot, allocated, actual,
          found, reason=None, balloon=False, online=None):
    view = {
        'online_vcpus': online,
        'balloon_driver_active': balloon,
        # Only the balloon changes memory. Clients expect these two fields.
        'attached_dimms_mb': 0,
        'has_virtiomem': False,
        'vcpu_step': vcpu_step(instance),
        'condition': found,
        'reason': reason,
        'blockers': [blocker._asdict() for blocker in blocked],
    }
    for word, held in (('current', current),
                       ('min', size.minimum(instance.flavor)),
                       ('max', size.maximum(instance.flavor)),
                       ('desired', desired),
                       ('boot', boot),
                       ('allocated', allocated),
                       ('actual', actual or size.Size(None, None))):
        view[word + '_vcpus'] = held.vcpus
        view[word + '_memory_mb'] = held.memory_mb
    return view
