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

"""The events of libvirt about elastic guests."""

from nova.virt.libvirt import event as libvirtevent
from nova.virt.libvirt import guest as libvirt_guest


class BalloonChangedEvent(libvirtevent.LibvirtEvent):
    """The balloon of a guest has moved."""


class DeviceAddedEvent(libvirtevent.DeviceEvent):
    """A running guest has got a device."""


class GuestResetEvent(libvirtevent.LibvirtEvent):
    """A guest has reset itself, in the same run."""


def register(connection, host) -> None:
    """Let a Host queue these events, as it does with the ones that it knows.

    This is not done where the Host registers those, because a host without
    elastic servers should receive no others.

    :raises: libvirtError if this connection receives no events
    """
    libvirt = libvirt_guest.libvirt
    connection.domainEventRegisterAny(
        None, libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, _balloon_changed,
        host)
    connection.domainEventRegisterAny(
        None, libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, _device_added, host)
    connection.domainEventRegisterAny(
        None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, _guest_reset, host)


def is_about_vcpu(event) -> bool:
    return (isinstance(event, libvirtevent.DeviceEvent) and
            event.dev.startswith('vcpu'))


def queue_of(host):
    """The object with the queue: since 33.0.0 not the host itself."""
    return getattr(host, '_event_handler', host)


# These run in libvirt's own thread, which must not log, and must use only
# libvirt and this queue.

def _balloon_changed(connection, domain, actual, host):
    queue_of(host)._queue_event(BalloonChangedEvent(domain.UUIDString()))


def _device_added(connection, domain, alias, host):
    queue_of(host)._queue_event(
        DeviceAddedEvent(domain.UUIDString(), alias))


def _guest_reset(connection, domain, host):
    queue_of(host)._queue_event(GuestResetEvent(domain.UUIDString()))
