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

"""The elastic guests of a libvirt host, as its driver asks for them."""

import typing as ty

from oslo_log import log as logging

from nova import exception
from nova.i18n import _
from nova.virt.libvirt.xloud import changer
from nova.virt.libvirt.xloud import listener
from nova.virt.libvirt.xloud import observer
from nova.virt.libvirt.xloud import run as guest_run
from nova.xloud import guest as elastic_guest
from nova.xloud import size

LOG = logging.getLogger(__name__)


class ElasticGuests:

    def __init__(self, host, boot_sizes, emit_event):
        """Ask libvirt nothing before it is asked about an elastic server.

        :param host: nova.virt.libvirt.host.Host
        :param boot_sizes: nova.virt.libvirt.xloud.persistent.BootSizes
        :param emit_event: takes an event for the compute manager
        """
        self._boot_sizes = boot_sizes
        boot_sizes.then = guest_run.forget_in_configuration
        self._observer = observer.Observer(host)
        self._changer = changer.Changer(host, self._observer)
        self._listener = listener.Listener(
            self._observer, self._changer, emit_event)

    def states(self, instances, wait=False, renew=False) -> ty.Dict[
            str, elastic_guest.GuestState]:
        """As ComputeDriver.get_elastic_guests()."""
        states = self._observer.states(instances, wait, renew)
        # Not before that: it would wait for a libvirtd that hangs.
        self._boot_sizes.mend(instances)
        # This process may end before it is mended, and only what is noted of
        # the server outlasts it.
        return {
            uuid: state._replace(has_stale_config=state.running and (
                self._boot_sizes.is_to_mend(uuid)))
            for uuid, state in states.items()}

    def change(self, instance, target: size.Size, boot: size.Size) -> None:
        """As ComputeDriver.set_elastic_guest()."""
        self._changer.change(instance, target, boot)

    def take_event(self, event) -> bool:
        """Handle an event of the host.

        :returns: whether no other handler needs it
        """
        return self._listener.take_event(event)

    def check_live_migration(self, instance) -> None:
        """Check that the state of a guest can be sent to another host.

        :raises: MigrationPreCheckError
        """
        reason = self._reason_to_refuse(instance)
        if reason:
            raise exception.MigrationPreCheckError(reason=reason)

    def check_suspend(self, instance) -> None:
        """Check that the state of a guest can be saved.

        :raises: InstanceFaultRollback, so that the server keeps its state
        """
        reason = self._reason_to_refuse(instance)
        if reason:
            raise exception.InstanceFaultRollback(
                inner_exception=exception.InstanceSuspendFailure(
                    reason=reason))

    def check_devices(self, instance) -> None:
        """Check that a device can be attached to or detached from a guest.

        :raises: Invalid
        """
        reason = self._reason_to_refuse(instance)
        if reason:
            raise exception.Invalid(reason)

    def _reason_to_refuse(self, instance) -> ty.Optional[str]:
        """Why QEMU would not survive any of these operations."""
        if not size.has_elastic_vcpus(instance.flavor):
            return None
        try:
            record = self._observer.record(instance)
        except Exception as error:
            # The operation itself asks the same libvirt next, and reports
            # what is wrong.
            LOG.warning('It is not known whether vCPUs were removed: %s',
                        error, instance=instance)
            return None
        if record is None or not record.has_lost_vcpu:
            return None
        return _('The server was asked to give back vCPUs. Software emulation '
                 'can then fail if the server is suspended or migrated live, '
                 'or if a device is attached or detached. Reboot the server '
                 'hard first.')
