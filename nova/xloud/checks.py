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

"""What nova-api refuses of an adjust, without asking the host.

It is refused before anything changes or is recorded.
"""

from nova.compute import vm_states
import nova.conf
from nova import exception
from nova.i18n import _
from nova.xloud import blockers
from nova.xloud import memory
from nova.xloud import size
from nova.xloud import topology

CONF = nova.conf.CONF


def check_request(instance, vcpus, memory_mb):
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
    step = topology.step(flavor, image_meta)
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


def check_now(compute_api, context, instance, vcpus, memory_mb, persist):
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
    desired, boot = size.desired(instance), size.boot(instance)
    # Clients send both sizes, including the one that stays.
    if memory_mb == desired.memory_mb == boot.memory_mb:
        changes.pop(blockers.MEMORY, None)
    elif memory_mb is not None and vcpus == desired.vcpus == boot.vcpus:
        changes.pop(blockers.VCPUS, None)
    by_host = blockers.of_host(compute_api, context, instance)
    by_server = blockers.of_image(instance) + blockers.of_devices(instance)
    for blocker in by_host + by_server:
        if changes.get(blocker.dimension) is not None:
            raise exception.ElasticConflict(
                instance_uuid=instance.uuid, reason=blocker.message)
    return by_host


def _check_boot(instance, memory_mb):
    least_mb = memory.kernel_mb(
        size.maximum(instance.flavor), CONF.xloud.guest_memory_base_mb)
    try:
        memory.check_boot(
            memory_mb, size.boot(instance).memory_mb, least_mb)
    except ValueError as error:
        raise exception.ElasticConflict(
            instance_uuid=instance.uuid, reason=error)
