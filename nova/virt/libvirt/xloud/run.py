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

"""What is known of one run of a guest, for as long as it runs.

A part is in the metadata of the running domain, which libvirt saves. So it
survives a restart of nova-compute or libvirtd, a live migration and a managed
save. It ends with the run, because a start copies the metadata of the
persistent configuration. The id of a domain does not identify a run: after its
own restart, libvirtd uses the same ids again.
"""

import math
import time
import typing as ty

from lxml import etree
from oslo_log import log as logging
from oslo_utils import uuidutils

import nova.conf
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt.xloud import agent

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

_NAMESPACE = 'urn:xloud:nova:run'
_PREFIX = 'xloud'
_TAG = '{%s}run' % _NAMESPACE

# virDomainState and virDomainRunningReason. Other states use the same numbers
# for other reasons: 1 of a paused domain means that somebody paused it.
_BOOTED = 1, 1

# How long a balloon driver may need after a reset to take what it had before,
# and how often Nova allows that time.
_RETURN_SECONDS = 60
_RESET_INTERVAL = 600

# QEMU reports at most one move of a balloon a second. For as long, and a
# little longer, libvirt may not know where it is.
_UNTOLD_SECONDS = 1.2

# The second of the guest's report, 0 if there was none
_REPORTED_AT = 'balloon.last-update'

# How long QEMU can have no time for a question and not hang.
_BUSY_SECONDS = 30

# For a guest without a period, on a host that gives none to new guests.
_PERIOD = 10

# What pins the memory of a guest: VFIO, and vDPA, which maps it for the
# hardware. An <interface> of a network can be one of these as well; the XML of
# a running domain says so. And a lock of all of it: the image of a rescue can
# ask for that, which Nova checks only when a server is created.
_PINNING = (
    './memoryBacking/locked',
    './devices/hostdev[@mode="subsystem"][@type="pci" or @type="mdev"]',
    './devices/interface[@type="hostdev" or @type="vdpa"]',
    './devices/disk[@type="vhostvdpa" or @type="nvme"]',
)


class Run:
    """One run of one guest.

    :ivar domain: a virDomain, in a wrapper that makes its calls end
    :ivar id: the id of the domain, as long as this libvirtd lives
    :ivar name: unique for each run, None if none could be recorded
    :ivar unplug: the number of vCPUs to which an emulated guest was asked to
        shrink, since QEMU does not report that to libvirt; otherwise None
    :ivar period: seconds between two statistics of the balloon, 0 for none
    :ivar silent_looks: how many looks in a row found no fresh ones
    :ivar agent: of the guest, None if it can have none
    :ivar moved_at: when its balloon moved last, by the clock of this host
    :ivar is_emulated: whether QEMU emulates its processors in software
    :ivar fixed_vcpus: how many vCPUs libvirt cannot remove from it
    """

    def __init__(self, domain, id: int, state: ty.Tuple[int, int],
                 memory: int):
        """Look at a run for the first time, and put its mark on it.

        :param state: of the domain and its reason, from bulk statistics
        :param memory: what it has according to them, in KiB
        """
        self.domain = domain
        self.id = id
        self.name: ty.Optional[str] = None
        self.unplug: ty.Optional[int] = None
        self.is_pinned = False
        self.has_balloon = False
        self.fixed_vcpus = 0
        self.agent: ty.Optional[agent.Agent] = None
        self.period = 0
        self.silent_looks = 0
        # When it moved before this first look is not known.
        self.moved_at = time.time()
        self._memory: ty.Optional[int] = None
        self._wrong_memory: ty.Optional[int] = None
        self._balloon: ty.Dict[str, int] = {}
        # The second of a report that the guest made by another clock
        self._undated_report: ty.Optional[int] = None
        # Since when its QEMU has had no time for a bulk call
        self._busy_since: ty.Optional[float] = None
        # What it had before a reset from which it has not returned yet
        self._memory_at_reset: ty.Optional[int] = None
        self._reset_at = self._returned_at = -math.inf
        xml = self.look_at_devices()
        # The option does not decide this: an image can ask for an architecture
        # that has to be emulated.
        self.is_emulated = xml.get('type') == 'qemu'
        self._recognise(xml, state)
        if self.has_balloon:
            self._check_memory(memory)

    def look_at_devices(self):
        """:returns: the root of the XML of the running domain"""
        xml = etree.fromstring(self.domain.XMLDesc(0))
        self.is_pinned = any(map(xml.xpath, _PINNING))
        balloon = xml.find('./devices/memballoon')
        self.has_balloon = (
            balloon is not None and balloon.get('model') != 'none')
        self.fixed_vcpus = _fixed_vcpus(xml)
        has_agent = bool(xml.xpath(
            './devices/channel/target[@name="%s"]' % agent.NAME))
        if has_agent != (self.agent is not None):
            self.agent = agent.Agent() if has_agent else None
        if self.has_balloon:
            self._have_statistics(balloon)
        return xml

    def complete(self, statistics) -> ty.Dict[str, ty.Any]:
        """Bulk statistics, with what libvirt left out or got wrong."""
        told = statistics['balloon.current']
        if told == self._wrong_memory:
            told = self.domain.memoryStats().get('actual', told)
        else:
            self._wrong_memory = None
        # The driver of a guest writes this number, and can write any.
        told = min(told, statistics['balloon.maximum'])
        # Those of a busy guest include the time of the report, so the previous
        # ones can be used.
        if _REPORTED_AT in statistics:
            self._busy_since = None
            self._balloon = {key: value for key, value in statistics.items()
                             if key.startswith('balloon.')}
        elif self.has_balloon and self._busy_since is None:
            # Only QEMU knows them.
            self._busy_since = time.monotonic()
        if self._memory not in (None, told):
            self.note_move()
        self._memory = told
        if self._memory_at_reset is not None and told > self._memory_at_reset:
            self._returned_at = time.monotonic()
            self._memory_at_reset = None
        return {**self._balloon, **statistics, 'balloon.current': told}

    @property
    def is_busy(self) -> bool:
        """Whether QEMU had no time for the last bulk call."""
        return self._busy_since is not None

    @property
    def is_busy_for_long(self) -> bool:
        """Whether QEMU had no time for the bulk calls of this time."""
        return self.is_busy and (
            time.monotonic() - self._busy_since >= _BUSY_SECONDS)

    def note_reset(self) -> None:
        """The guest has reset itself.

        QEMU repeats what the balloon driver reported before, until the driver
        loads again and reports that it has taken nothing yet.
        """
        if self.agent is not None:
            self.agent.online = None
        now = time.monotonic()
        if now - self._reset_at > _RESET_INTERVAL:
            self._reset_at = now
            if self.agent is not None:
                self.agent.forget()
            self._memory_at_reset = self._memory

    @property
    def is_returning(self) -> bool:
        """Whether a balloon driver takes back what it had before a reset."""
        return time.monotonic() - self._returned_at < _RETURN_SECONDS

    def note_move(self) -> None:
        self.moved_at = time.time()

    def is_calm_since(self, when: int) -> bool:
        """Whether the balloon has not moved since the start of a second."""
        now = time.time()
        # The clock may have been set back.
        self.moved_at = min(self.moved_at, now)
        if when > now + 1:
            # The clock was set back since. It may be older than the move, and
            # stays the last one until the guest reports again.
            self._undated_report = when
        return (when > self.moved_at and when != self._undated_report and
                now - self.moved_at >= _UNTOLD_SECONDS)

    def renew_statistics(self) -> None:
        """Ask the guest to report now, which it does a moment later.

        QEMU asks at once when a period of 0 is replaced.

        :raises: libvirtError
        """
        flags = libvirt_guest.libvirt.VIR_DOMAIN_AFFECT_LIVE
        self.domain.setMemoryStatsPeriod(0, flags)
        self.domain.setMemoryStatsPeriod(self.period, flags)

    def note_unplug(self, vcpus: ty.Optional[int]) -> bool:
        """Record to how many vCPUs the guest was asked to shrink.

        :param vcpus: None if that is over
        :returns: False if the record is lost when this process ends
        """
        if vcpus == self.unplug:
            return True
        self.unplug = vcpus
        return self._write()

    def _recognise(self, xml, state):
        mark = xml.find('./metadata/' + _TAG)
        # A mark with another id belongs to this run if the guest came from
        # another host or from disk. It does not if the domain was booted with
        # it: then the live XML had become persistent.
        if mark is not None and (
                mark.get('id') == str(self.id) or state != _BOOTED):
            self.name = mark.get('name')
            unplug = mark.get('unplug')
            # Only under software emulation libvirt's count can be wrong.
            self.unplug = int(unplug) if unplug and self.is_emulated else None
            if mark.get('id') == str(self.id):
                return
        else:
            self.name = uuidutils.generate_uuid(dashed=False)
        if not self._write():
            # The next look would give it another name.
            self.name = None

    def _write(self):
        mark = etree.Element('run', id=str(self.id), name=self.name or '')
        if self.unplug is not None:
            mark.set('unplug', str(self.unplug))
        libvirt = libvirt_guest.libvirt
        try:
            self.domain.setMetadata(
                libvirt.VIR_DOMAIN_METADATA_ELEMENT,
                etree.tostring(mark, encoding='unicode'), _PREFIX, _NAMESPACE,
                libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except libvirt.libvirtError as error:
            LOG.warning('libvirt cannot record which run of %(domain)s this '
                        'is: %(error)s',
                        {'domain': self.domain.UUIDString(), 'error': error})
            return False
        return True

    def _check_memory(self, told):
        # After a live migration during which the balloon moved, bulk
        # statistics contain what the guest had when it left, until the balloon
        # moves again. For a single domain, libvirt asks QEMU.
        if self.domain.memoryStats().get('actual', told) != told:
            self._wrong_memory = told

    def _have_statistics(self, balloon):
        self.period = int(balloon.xpath('string(./stats/@period)') or 0)
        if self.period > 0:
            return
        period = CONF.libvirt.mem_stats_period_seconds
        period = period if period > 0 else _PERIOD
        libvirt = libvirt_guest.libvirt
        try:
            self.domain.setMemoryStatsPeriod(
                period, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            self.period = period
        except libvirt.libvirtError as error:
            LOG.warning('No statistics from the balloon of %(domain)s: '
                        '%(error)s',
                        {'domain': self.domain.UUIDString(), 'error': error})


def _fixed_vcpus(xml):
    """How many vCPUs of a running domain cannot be removed.

    Without a list, all of them are a fixed part of the machine.
    """
    if xml.find('./vcpus') is None:
        vcpu = xml.find('./vcpu')
        return int(vcpu.get('current', vcpu.text))
    return len(xml.xpath(
        './vcpus/vcpu[@enabled="yes"][not(@hotpluggable="yes")]'))


def forget_in_configuration(guest) -> None:
    """Remove the mark of a run from a configuration made from live XML.

    :param guest: nova.virt.libvirt.guest.Guest
    """
    xml = etree.fromstring(guest.get_xml_desc(dump_inactive=True))
    if xml.find('./metadata/' + _TAG) is None:
        return
    libvirt = libvirt_guest.libvirt
    guest._domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT, None, _PREFIX, _NAMESPACE,
        libvirt.VIR_DOMAIN_AFFECT_CONFIG)
