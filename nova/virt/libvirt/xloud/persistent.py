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

"""The size that the next start of an elastic server gives.

After a live migration and a volume swap the persistent configuration is made
from what libvirt says of the running domain. In there ``<currentMemory>`` is
what the balloon has come to and not what was defined, and the vCPUs are those
of now. Neither is what the next start should give.
"""

import typing as ty

from lxml import etree
from oslo_log import log as logging
from oslo_utils import units

from nova import exception
from nova.i18n import _
from nova import objects
from nova.virt.libvirt import guest as libvirt_guest
from nova.xloud import size

LOG = logging.getLogger(__name__)


def set_boot_size(guest, instance, boot: size.Size) -> None:
    """Make the next start of a guest from this configuration give a size.

    :param guest: nova.virt.libvirt.guest.Guest
    :raises: nova.exception.InternalError if libvirt said that it did and the
        configuration does not
    """
    wanted = _elastic(instance.flavor, boot)
    if _elastic(instance.flavor, _size_of(_configuration(guest))) == wanted:
        return
    if not guest.has_persistent_configuration():
        # A volume is being migrated, which may take hours. What ends that
        # makes a configuration and calls keep_boot_size().
        LOG.info('The boot size of %s is written when the migration of a '
                 'volume has ended.', boot, instance=instance)
        return
    if wanted.vcpus:
        guest.set_vcpus(boot.vcpus, persistent=True)
    if wanted.memory_mb:
        guest.set_memory(boot.memory_mb * units.Ki, persistent=True)
    written = _size_of(_configuration(guest))
    if _elastic(instance.flavor, written) != wanted:
        raise exception.InternalError(_(
            'libvirt took %(boot)s for the next start and has %(written)s.') %
            {'boot': boot, 'written': written})


def keep_boot_size(
    host, instance,
    then: ty.Optional[ty.Callable[[libvirt_guest.Guest], None]] = None,
) -> bool:
    """Put the boot size back in the persistent configuration of a guest.

    The operation that calls this has succeeded, so nothing is raised. The
    guest runs, and each start but that of a soft reboot makes a new
    configuration.

    :param then: what else to mend in it
    :returns: False if it has to be tried again
    """
    try:
        if _is_elastic(instance):
            guest = host.get_guest(instance)
            set_boot_size(guest, instance, size.boot(_as_of_now(instance)))
            if then is not None:
                then(guest)
        return True
    except exception.InstanceNotFound:
        # Of neither the server nor its guest a start is left.
        return True
    except Exception as error:
        LOG.warning('The next soft reboot may not give the boot size, or not '
                    'be noticed: %s', error, instance=instance)
        return False


def _as_of_now(instance):
    """A volume swap takes hours, in which the boot size may change."""
    return objects.Instance.get_by_uuid(
        instance._context, instance.uuid,
        expected_attrs=['flavor', 'system_metadata'])


def _configuration(guest):
    return etree.fromstring(guest.get_xml_desc(dump_inactive=True))


def _size_of(xml):
    vcpu = xml.find('./vcpu')
    memory = int(xml.findtext('./memory'))
    return size.Size(
        int(vcpu.get('current', vcpu.text)),
        int(xml.findtext('./currentMemory', memory)) // units.Ki)


def _elastic(flavor, amounts):
    """The same with 0 where the flavor is fixed."""
    return size.Size(
        amounts.vcpus if size.has_elastic_vcpus(flavor) else 0,
        amounts.memory_mb if size.has_elastic_memory(flavor) else 0)


def _is_elastic(instance):
    # The compute manager has notified about the operation before, and the
    # flavor is in the notification. It is not loaded just to be sure.
    return 'flavor' in instance and size.is_elastic(instance.flavor)
