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

"""Change the size of an elastic guest of libvirt.

libvirt answers a request before the guest follows. A vCPU leaves when the
guest gives it back: libvirt waits 5 seconds for it and then fails, though it
may leave later. A balloon moves when the guest moves it, and libvirt does not
even report the size that was asked for. So only the statistics show what was
done, here and in the next calls.
"""

import threading
import typing as ty

from oslo_log import log as logging
from oslo_utils import units

from nova import exception
from nova.i18n import _
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt.xloud import patience
from nova.virt.libvirt.xloud import persistent
from nova.virt.libvirt.xloud import qemu
from nova.xloud import guest as elastic_guest
from nova.xloud import size

LOG = logging.getLogger(__name__)

# libvirt waits 5 seconds for a vCPU to leave, and twice that on POWER.
_SECONDS_PER_VCPU = 10
# It waits as long for another job with the guest to end, such as a dump, and
# reports both with the same code.
_SECONDS_FOR_JOB = 30
# How long a change waits until fewer others are made. Requests for many guests
# of a host at once would take all threads of its compute service otherwise.
_SECONDS_FOR_TURN = 5


class Changer:

    def __init__(self, host, observer):
        """:param observer: nova.virt.libvirt.xloud.observer.Observer"""
        self._host = host
        self._observer = observer
        # Guests that have just refused to give back vCPUs, and those that are
        # asked now: the event of a refusal can come before libvirt's error
        self.refusing: ty.Set[str] = set()
        self._turns = threading.BoundedSemaphore(patience.MOST_CHANGES)

    def change(self, instance, target: size.Size, boot: size.Size) -> None:
        """As ComputeDriver.set_elastic_guest().

        :raises: GuestBusy if libvirt had no time for a part of it, or is not
            asked because other guests hang; HostBusy if nothing was asked,
            because other guests are changed
        """
        try:
            self._change(instance, target, boot)
        except libvirt_guest.libvirt.libvirtError as error:
            if _was_asked(error):
                raise
            LOG.warning('The hypervisor did not ask the guest: %s', error,
                        instance=instance)
            raise _busy()

    def _change(self, instance, target, boot):
        records = self._observer.records([instance.uuid])
        record = records.get(instance.uuid)
        domain = self._observer.domains.get(instance.uuid)
        if domain is None:
            # Its next start makes a new configuration.
            return
        vcpus = size.maximum(instance.flavor).vcpus
        guest = libvirt_guest.Guest(self._observer.patient(
            domain, patience.SECONDS + vcpus * _SECONDS_PER_VCPU,
            is_for_changes=True))
        if not self._turns.acquire(timeout=_SECONDS_FOR_TURN):
            raise elastic_guest.HostBusy(reason=_(
                'its host changes other servers. Try again in a few seconds.'))
        try:
            self._configure(guest, instance, boot)
            if record is not None:
                self._resize(guest, instance, record, target)
        finally:
            self._turns.release()
        if record is None and instance.uuid in records:
            # It runs and does not answer.
            raise _busy()

    def _resize(self, guest, instance, record, target):
        flavor = instance.flavor
        held = self._observer.state(record)
        if size.has_elastic_memory(flavor) and not record.run.has_balloon and (
                target.memory_mb not in (None, held.memory_mb)):
            raise _refused(_('it has no memory balloon.'))
        has_vcpus = size.has_elastic_vcpus(flavor)
        if has_vcpus and target.vcpus > held.vcpus:
            # Before asking for memory: if this failed later, the guest would
            # get the memory although the change is refused.
            self._check_plug(record)
        if has_vcpus and target.vcpus < held.vcpus:
            self._unplug(guest, instance, record, target.vcpus)
        if size.has_elastic_memory(flavor) and record.run.has_balloon and (
                target.memory_mb is not None):
            # Even if it holds this much: it may be on the way to another size.
            self._ask(
                instance, guest.set_memory, target.memory_mb * units.Ki,
                _('its hypervisor refuses to change the memory.'))
        if has_vcpus and target.vcpus > held.vcpus:
            self._plug(guest, instance, record, target.vcpus)

    @staticmethod
    def _configure(guest, instance, boot):
        try:
            persistent.set_boot_size(guest, instance, boot, _is_refusal)
        except libvirt_guest.libvirt.libvirtError as error:
            if not _is_refusal(error):
                raise
            LOG.warning('The hypervisor refuses the size of the next start: '
                        '%s', error, instance=instance)
            # Somebody has changed it, such as with virsh edit.
            raise elastic_guest.ConfigurationRefused(reason=_(
                'its configuration in the hypervisor cannot have the size of '
                'the next start. Reboot it hard first, which makes it anew.'))

    def _unplug(self, guest, instance, record, vcpus):
        self._check_count(record)
        before = record.run.unplug
        if record.run.is_emulated and not record.run.note_unplug(vcpus):
            record.run.unplug = before
            raise _refused(_(
                'libvirt cannot record that vCPUs are removed from it, so '
                'none could be added again safely.'))
        self.refusing.add(instance.uuid)
        try:
            guest.set_vcpus(vcpus, live=True)
        except libvirt_guest.libvirt.libvirtError as error:
            if not _was_asked(error):
                # Before anything else, which can fail for the same reason
                self.refusing.discard(instance.uuid)
            if not patience.was_made(error):
                record.run.note_unplug(before)
                raise
            # libvirt removes them one by one, so some may have left.
            is_late = _is_timeout(error) and (
                patience.lasted(error) < _SECONDS_FOR_JOB)
            if not is_late and not self._has_fewer(instance, record.vcpus):
                self._forget_unplug(record, before)
                raise _refusal(instance, error, _(
                    'its guest or its hypervisor refuses to remove vCPUs.'))
            self.refusing.discard(instance.uuid)
            LOG.info('Not all vCPUs are removed yet: %s', error,
                     instance=instance)
        else:
            self.refusing.discard(instance.uuid)
            self._check_reached(instance, vcpus)

    def _forget_unplug(self, record, before):
        """If no vCPU was removed, QEMU need not be asked each time."""
        if record.run.is_emulated and record.vcpus == qemu.count_vcpus(
                self._host, record.domain):
            record.run.note_unplug(before)

    def _check_plug(self, record):
        self._check_count(record, must_know=True)
        if record.has_lost_vcpu:
            raise _refused(_(
                'it was asked to give back vCPUs, and software emulation can '
                'fail if one is added again. Reboot it hard first.'))

    def _plug(self, guest, instance, record, vcpus):
        self._ask(instance, guest.set_vcpus, vcpus,
                  _('its hypervisor refuses to add vCPUs.'))
        self._check_reached(instance, vcpus)

    def _check_count(self, record, must_know=False):
        """Refuse a change while libvirt's count of vCPUs is wrong."""
        if record.run.unplug is None:
            return
        in_qemu = qemu.count_vcpus(self._host, record.domain)
        if in_qemu is None:
            if not must_know:
                return
            raise _refused(_(
                'its guest was asked to give back vCPUs, and its host cannot '
                'find out whether it did.'))
        if in_qemu != record.vcpus:
            LOG.warning('QEMU and libvirt count the vCPUs of %s differently. '
                        'Restart libvirtd or reboot the server hard to '
                        'correct that.', record.domain.UUIDString())
            raise _refused(_(
                'QEMU has %(qemu)d vCPUs where libvirt counts %(libvirt)d. '
                'Reboot it hard first.') %
                {'qemu': in_qemu, 'libvirt': record.vcpus})

    def _check_reached(self, instance, vcpus):
        record = self._observer.record(instance)
        if record is None or record.vcpus != vcpus:
            raise _refused(_(
                'libvirt accepted %(asked)d vCPUs for it, but counts '
                '%(counted)d now.') % {
                    'asked': vcpus, 'counted': record.vcpus if record else 0})

    def _has_fewer(self, instance, vcpus):
        record = self._observer.record(instance)
        return record is not None and record.vcpus < vcpus

    @staticmethod
    def _ask(instance, request, amount, refusal):
        try:
            request(amount, live=True)
        except libvirt_guest.libvirt.libvirtError as error:
            raise _refusal(instance, error, refusal)


def _busy():
    return elastic_guest.GuestBusy(reason=_(
        'its hypervisor does something else with it, such as a dump, or does '
        'not answer. Try again later.'))


def _was_asked(error):
    """Whether a call that failed has come as far as the guest."""
    return not _is_timeout(error) and patience.was_made(error)


def _is_timeout(error):
    libvirt = libvirt_guest.libvirt
    return error.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT


def _is_refusal(error):
    libvirt = libvirt_guest.libvirt
    return error.get_error_code() in (
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_INVALID_ARG,
        libvirt.VIR_ERR_OPERATION_FAILED,
        libvirt.VIR_ERR_OPERATION_INVALID,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED)


def _refusal(instance, error, reason) -> Exception:
    """What to raise for an error of libvirt.

    libvirt's text is for the operator: it can name the domain or a path.

    :param reason: for the user
    """
    if _is_refusal(error):
        LOG.warning('The hypervisor refuses to change the guest: %s',
                    error, instance=instance)
        return _refused(reason)
    return error


def _refused(reason):
    return exception.ElasticGuestRefused(reason=reason)
