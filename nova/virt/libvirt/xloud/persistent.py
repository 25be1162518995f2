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

After a live migration and a volume swap, Nova makes the persistent
configuration from the running domain. There, ``<currentMemory>`` is the
present size of the balloon and not what was defined, and the vCPUs are the
present ones. Neither is what the next start should give.
"""

import threading
import time
import typing as ty

from lxml import etree
from oslo_log import log as logging
from oslo_utils import excutils
from oslo_utils import units

from nova import exception
from nova.i18n import _
from nova import objects
from nova.virt.libvirt import guest as libvirt_guest
from nova.xloud import size

LOG = logging.getLogger(__name__)

# What takes longer has waited for a guest.
_LONG_SECONDS = 1


def set_boot_size(
    guest, instance, boot: size.Size,
    is_refusal: ty.Callable[[Exception], bool] = lambda error: False,
) -> None:
    """Write the size of the next start into the configuration of a guest.

    :param guest: nova.virt.libvirt.guest.Guest
    :param is_refusal: whether libvirt refuses the memory with such an error,
        and the vCPUs are to be as before then
    :raises: nova.exception.InternalError if libvirt reported success and the
        configuration has another size
    """
    wanted = _elastic(instance.flavor, boot)
    before = _size_of(_configuration(guest))
    if _elastic(instance.flavor, before) == wanted:
        return
    if not guest.has_persistent_configuration():
        # A volume is being migrated, which can take hours. The end of that
        # operation makes a configuration and calls keep_boot_size().
        LOG.info('The boot size of %s is written when the migration of a '
                 'volume has ended.', boot, instance=instance)
        return
    if wanted.vcpus:
        guest.set_vcpus(boot.vcpus, persistent=True)
    if wanted.memory_mb:
        try:
            guest.set_memory(boot.memory_mb * units.Ki, persistent=True)
        except libvirt_guest.libvirt.libvirtError as error:
            with excutils.save_and_reraise_exception():
                if wanted.vcpus and is_refusal(error):
                    guest.set_vcpus(before.vcpus, persistent=True)
    written = _size_of(_configuration(guest))
    if _elastic(instance.flavor, written) != wanted:
        raise exception.InternalError(_(
            'libvirt accepted %(boot)s for the next start, but its '
            'configuration has %(written)s.') %
            {'boot': boot, 'written': written})


class BootSizes:
    """Keeps the boot size where an operation overwrites it."""

    def __init__(self, host):
        # nova.virt.libvirt.host.Host
        self._host = host
        # What else to correct in the configuration of a guest
        self.then: ty.Optional[ty.Callable[[libvirt_guest.Guest], None]] = None
        # Whose configuration could not be given their boot size, those that
        # were tried last at the end
        self._to_mend: ty.Dict[str, None] = {}
        self._mending = threading.Lock()
        # By the monotonic clock
        self._mend_after = 0.0

    def keep(self, instance) -> None:
        """Correct a configuration that was made from a running domain.

        The operation before this has ended, so nothing is raised. If this
        fails, :func:`mend` tries it again.
        """
        is_done = keep_boot_size(self._host, instance, self.then)
        self._to_mend.pop(instance.uuid, None)
        if not is_done:
            self._to_mend[instance.uuid] = None

    def is_to_mend(self, uuid: str) -> bool:
        """Whether that has failed until now."""
        return uuid in self._to_mend

    def mend(self, instances) -> None:
        """Try again what has failed for some of these servers.

        While a guest hangs or is dumped, libvirt waits half a minute each
        time, and serves only a few calls. So only one caller does this, and
        not again and again.
        """
        known = {instance.uuid: instance for instance in instances}
        to_mend = [known[uuid] for uuid in list(self._to_mend)
                   if uuid in known]
        if not to_mend or not self._mending.acquire(blocking=False):
            return
        try:
            for instance in to_mend:
                begin = time.monotonic()
                if begin < self._mend_after:
                    break
                self.keep(instance)
                end = time.monotonic()
                if end - begin > _LONG_SECONDS:
                    self._mend_after = end + 2 * (end - begin)
        finally:
            self._mending.release()


def keep_boot_size(
    host, instance,
    then: ty.Optional[ty.Callable[[libvirt_guest.Guest], None]] = None,
) -> bool:
    """Put the boot size back in the persistent configuration of a guest.

    The operation that calls this has succeeded, so nothing is raised. The
    guest runs, and every start except a soft reboot makes a new configuration.

    :param then: what else to correct in it
    :returns: False if the caller has to try again
    """
    try:
        if _is_elastic(instance):
            guest = host.get_guest(instance)
            set_boot_size(guest, instance, size.boot(_as_of_now(instance)))
            if then is not None:
                then(guest)
        return True
    except exception.InstanceNotFound:
        # The server or its guest is gone and will not start again.
        return True
    except Exception as error:
        LOG.warning('The next soft reboot may not give the boot size, or Nova '
                    'may not notice it: %s', error, instance=instance)
        return False


def _as_of_now(instance):
    """Reload: during a volume swap of hours, the boot size can change."""
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
    # The notification of the operation contains the flavor, so the compute
    # manager has loaded it. Do not load it only for this check.
    return 'flavor' in instance and size.is_elastic(instance.flavor)
