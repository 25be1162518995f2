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

"""What a hypervisor reports of the guest of an elastic server."""

import typing as ty

from oslo_log import log as logging

from nova.compute import power_state
from nova.compute import vm_states
from nova import exception
from nova.i18n import _
from nova.virt import event
from nova.xloud import size

LOG = logging.getLogger(__name__)

_RUNNING = (vm_states.ACTIVE, vm_states.PAUSED, vm_states.RESCUED)


class GuestState(ty.NamedTuple):
    """What one guest holds now."""

    # False: it holds nothing and vcpus and memory_mb are 0.
    running: bool
    vcpus: int
    # Rounded up from KiB.
    memory_mb: int
    # Whether the guest's balloon driver reports fresh statistics.
    balloon_active: bool
    # What the guest needs of its memory, including its kernel: what it holds
    # less what it could use at once. None without recent statistics, or if
    # they are older than the last move of its balloon.
    used_memory_mb: ty.Optional[int]
    # A passed-through device pins all memory on the host, or all of it is
    # locked there: a balloon frees nothing.
    memory_pinned: bool
    # No vCPU can be added before its next start.
    cannot_plug: bool = False
    # A name that is new after each start of the guest, whoever started it. It
    # stays the same while the guest runs, even over a restart of nova-compute
    # or the hypervisor's daemon, and over a live migration. No two guests have
    # the same. None if it is not known.
    run: ty.Optional[str] = None
    # Its balloon driver has just loaded again after a reset by the guest, and
    # takes back the memory that it had before.
    is_returning: bool = False
    # How many vCPUs the guest itself reports as online. None if no agent
    # answers.
    online_vcpus: ty.Optional[int] = None
    # The name of a statistic that its balloon driver does not report, though
    # it reports others. Without it, what the guest needs is not known.
    # UNNAMED if it is not known whether one is missing.
    missing_statistic: ty.Optional[str] = None
    # How many of its vCPUs cannot be removed before its next start. 0 if it
    # is not known.
    fixed_vcpus: int = 0
    # Whether it can do nothing now, whatever Nova calls its state: it is
    # paused, for example because its storage is full, or it hangs.
    is_still: bool = False
    # Whether its hypervisor had no time to ask it, so that a part of this is
    # older. It may hang, which is only known after some time.
    is_busy: bool = False
    # Whether an operation has overwritten the size of its next start in the
    # hypervisor, and that is not corrected yet.
    has_stale_config: bool = False
    # Whether its last report, however old, says that it could use next to
    # nothing more.
    is_squeezed: bool = False

    @property
    def holds(self) -> size.Size:
        return size.Size(self.vcpus, self.memory_mb)

    @property
    def has_offline_vcpus(self) -> bool:
        """Whether its agent reports vCPUs that it does not use."""
        return (self.online_vcpus is not None and
                self.online_vcpus < self.vcpus)


class ConfigurationRefused(exception.ElasticGuestRefused):
    """Its configuration cannot have the size of its next start."""


class GuestBusy(exception.NovaException):
    """The hypervisor does something else with a guest and did not ask it."""

    msg_fmt = _("The guest cannot be asked now: %(reason)s")


class HostBusy(GuestBusy):
    """The hypervisor changes other guests, and nothing of this one."""


# As an older compute service answers.
UNNAMED = ''
NOT_RUNNING = GuestState(
    running=False, vcpus=0, memory_mb=0, balloon_active=False,
    used_memory_mb=None, memory_pinned=False)


def ask(driver, instance, wait: bool = False, renew: bool = False):
    """The GuestState of one server, for a request that needs it.

    :param wait: as of the driver's get_elastic_guests()
    :param renew: as there
    :raises ElasticConflict: if nobody reports it now
    :raises NotImplementedError: if the driver never does. nova-api
        distinguishes the two.
    """
    try:
        guest = driver.get_elastic_guests(
            [instance], wait, renew).get(instance.uuid)
    except NotImplementedError:
        raise
    except Exception as error:
        LOG.warning('The hypervisor does not report what the server holds: '
                    '%s', error, instance=instance)
        raise exception.ElasticConflict(
            instance_uuid=instance.uuid,
            reason=_('its hypervisor does not answer.'))
    if guest is None:
        raise exception.ElasticConflict(
            instance_uuid=instance.uuid,
            reason=_('its guest does not answer.'))
    return guest


def is_missing(instance, is_running: bool) -> bool:
    """Whether no guest runs although the instance says that one does.

    It runs on another host and Nova does not know that yet, or it has stopped
    and Nova's power sync will notice. Until then nobody knows what it holds.
    """
    return not is_running and (
        instance.vm_state in _RUNNING or
        instance.vm_state == vm_states.RESIZED and
        instance.power_state == power_state.RUNNING)


class GuestChangedEvent(event.InstanceEvent):
    """A driver reports that a guest has changed, or that it will not change.

    The event does not contain what it holds now; the manager asks for that.
    """
