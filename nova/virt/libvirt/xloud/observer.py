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

"""What the elastic guests of a libvirt host hold.

One call of libvirt returns what all of them hold. Nova asks for the rest once
for each run of a guest, and keeps it: see nova.virt.libvirt.xloud.run.
"""

import time
import typing as ty

from oslo_log import log as logging
from oslo_utils import units

from nova import utils
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt.xloud import agent
from nova.virt.libvirt.xloud import events
from nova.virt.libvirt.xloud import patience
from nova.virt.libvirt.xloud import qemu
from nova.virt.libvirt.xloud import run as guest_run
from nova.xloud import guest as elastic_guest

LOG = logging.getLogger(__name__)

# In periods: a busy guest may skip one.
_FRESH = 3
# A guest that could use no more than this has nothing left.
_SQUEEZED_MB = 16

# After how many looks at a guest that does not report
_LOOKS = frozenset(1 << number for number in range(32))

# A guest may report seldom. What it could use so many seconds ago is not taken
# from it, and a QEMU that has no time for so long hangs.
_RECENT_SECONDS = 60

# How long to wait for statistics that are recent and younger than the last
# move of a balloon, and how often to look. They only name the second in which
# they were made, so the next second may have to begin first.
_RENEWAL_SECONDS = 2.5
_LOOK_SECONDS = 0.1


class Record(ty.NamedTuple):
    """What a bulk call returns for one running domain."""

    domain: ty.Any
    statistics: ty.Dict[str, ty.Any]
    run: guest_run.Run

    @property
    def vcpus(self) -> int:
        return self.statistics['vcpu.current']

    @property
    def reported_at(self) -> int:
        """The second in which its guest reported statistics, 0 if never."""
        return self.statistics.get('balloon.last-update', 0)

    @property
    def has_lost_vcpu(self) -> bool:
        """Whether QEMU would crash if this guest were changed or saved.

        After an emulated vCPU was removed, QEMU 7.2 crashes if one is added
        again, if the state of the guest is saved or sent, and in most tries if
        a device is attached or detached.
        """
        return self.run.is_emulated and self.run.unplug is not None


# Unlike None, which stands for no answer
_GONE = object()


class Observer:

    def __init__(self, host):
        """Ask libvirt nothing before it is asked about an elastic server.

        :param host: nova.virt.libvirt.host.Host
        """
        self._host = host
        self._connection = None
        self._hears_devices = False
        # The servers that were asked about, which are the elastic ones
        self.elastic: ty.Set[str] = set()
        # By uuid. The domains of all servers, the runs of elastic ones.
        self.domains: ty.Dict[str, ty.Any] = {}
        self.runs: ty.Dict[str, guest_run.Run] = {}
        # Runs whose devices have to be looked at again
        self.unsure: ty.Set[str] = set()

    def states(self, instances, wait=False, renew=False) -> ty.Dict[
            str, elastic_guest.GuestState]:
        """As ComputeDriver.get_elastic_guests()."""
        uuids = [instance.uuid for instance in instances]
        records = self.records(uuids, wait)
        if renew:
            records = self._renew(uuids, records)
        self._ask_agents(records)
        states = {}
        for instance in instances:
            record = records.get(instance.uuid, _GONE)
            if record is _GONE:
                states[instance.uuid] = elastic_guest.NOT_RUNNING
            elif record is not None:
                states[instance.uuid] = self.state(record)
        return states

    def records(self, uuids, wait=True) -> ty.Dict[
            str, ty.Optional[Record]]:
        """Ask for the statistics of these servers, as far as they run.

        :param wait: for guests that are busy with something else. Otherwise
            the last statistics of their balloon are returned.
        :returns: None for a guest that does not answer
        """
        connection = self._connect()
        if not self.domains.keys() >= set(uuids):
            self._list_domains(connection)
        # Before a guest is looked at, as it can change during that.
        self.elastic.update(uuids)
        domains = [self.domains[uuid] for uuid in uuids
                   if uuid in self.domains]
        if not domains:
            return {}
        libvirt = libvirt_guest.libvirt
        flags = 0 if wait else (
            libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
        # A QEMU that hangs blocks the first call that reaches it. Later calls
        # skip it.
        answers = patience.call(
            connection.domainListGetStats, domains,
            libvirt.VIR_DOMAIN_STATS_STATE |
            libvirt.VIR_DOMAIN_STATS_VCPU |
            libvirt.VIR_DOMAIN_STATS_BALLOON, flags)
        records: ty.Dict[str, ty.Optional[Record]] = {}
        known = set()
        for domain, statistics in answers:
            uuid = domain.UUIDString()
            known.add(uuid)
            if domain.ID() == -1:
                self.runs.pop(uuid, None)
                continue
            try:
                run = self._run(uuid, domain, statistics)
                record = records[uuid] = Record(
                    domain, run.complete(statistics), run)
                self._note_reports(uuid, record)
            except libvirt.libvirtError as error:
                self.unsure.add(uuid)
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    LOG.warning('The guest of %(uuid)s does not answer: '
                                '%(error)s', {'uuid': uuid, 'error': error})
                    records[uuid] = None
        for uuid in set(uuids) - known:
            self.domains.pop(uuid, None)
            self.runs.pop(uuid, None)
        return records

    def record(self, instance) -> ty.Optional[Record]:
        """The same for one server, None also if it does not run."""
        return self.records([instance.uuid]).get(instance.uuid)

    def _ask_agents(self, records):
        """Ask the agents that can report something new about vCPUs.

        If there are many guests, ask only those with vCPUs offline. The agent
        of a guest that can do nothing would be taken for one that hangs. Those
        for whom no time is left come first the next time, as an agent that
        takes all of it can belong to another user.
        """
        deadline = time.monotonic() + agent.SECONDS
        in_doubt = [
            record for record in records.values()
            if record is not None and record.run.agent is not None and
            not self._is_still(record) and (
                len(records) == 1 or
                record.run.agent.online != record.vcpus)]
        for record in sorted(
                in_doubt, key=lambda record: record.run.agent.asked_at):
            if time.monotonic() < deadline:
                record.run.agent.ask(self._host, record.domain)

    def _renew(self, uuids, records):
        """Records with recent statistics, younger than a balloon's last move.

        If a guest does not report in time, or its balloon keeps moving, its
        record stays as it is.
        """
        # By the clock that nobody sets: the caller holds the server.
        deadline = time.monotonic() + _RENEWAL_SECONDS
        while time.monotonic() < deadline:
            old = [record.run for record in records.values()
                   if record is not None and self._is_outdated(record)]
            if not old:
                break
            # Statistics from the second of the move do not count.
            second = int(max(run.moved_at for run in old)) + 1
            time.sleep(max(_LOOK_SECONDS, min(
                second - time.time(), deadline - time.monotonic())))
            for run in old:
                self._ask_for_statistics(run)
            for _look in range(int(1 / _LOOK_SECONDS)):
                time.sleep(_LOOK_SECONDS)
                records = self.records(uuids)
                if time.monotonic() > deadline or not any(
                        record is not None and self._is_outdated(record)
                        for record in records.values()):
                    break
        return records

    def _ask_for_statistics(self, run):
        try:
            run.renew_statistics()
        except libvirt_guest.libvirt.libvirtError as error:
            uuid = run.domain.UUIDString()
            LOG.warning('No new statistics from the balloon of %(domain)s: '
                        '%(error)s', {'domain': uuid, 'error': error})
            # It may have lost its period. A new look at it sets one.
            self.runs.pop(uuid, None)

    def _connect(self):
        # Nova tries the connection each time, and a libvirtd that hangs never
        # answers that.
        connection = patience.call(self._host.get_connection)
        if connection is not self._connection:
            # Ids and events belong to a connection, too.
            self._connection = connection
            self.domains, self.runs = {}, {}
            self._hears_devices = False
            try:
                patience.call(events.register, connection, self._host)
                self._hears_devices = True
            except libvirt_guest.libvirt.libvirtError as error:
                if not patience.was_made(error):
                    # The next look tries it again.
                    self._connection = None
                    raise
                LOG.warning('libvirt does not report when devices of elastic '
                            'servers change, so Nova looks at each server '
                            'every time: %s', error)
        return connection

    def _list_domains(self, connection):
        libvirt = libvirt_guest.libvirt
        self.domains = {
            domain.UUIDString(): domain
            for domain in patience.call(
                connection.listAllDomains,
                libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE |
                libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE)}
        # Another thread may add a run meanwhile.
        for uuid in set(self.runs) - self.domains.keys():
            self.runs.pop(uuid, None)
        self.unsure.intersection_update(self.domains)
        self.elastic.intersection_update(self.domains)

    def _run(self, uuid, domain, statistics):
        """The run that a domain is in.

        :raises: libvirtError if its guest cannot be looked at
        """
        def is_known(run):
            # A run that could not be named can perhaps be named now.
            return run is not None and run.id == domain.ID() and (
                run.name is not None)

        def is_sure():
            return self._hears_devices and uuid not in self.unsure

        run = self.runs.get(uuid)
        if is_known(run) and is_sure():
            return run

        # Two threads that see a new run must give it the same name.
        @utils.synchronized('xloud-run-%s' % uuid)
        def look():
            run = self.runs.get(uuid)
            was_sure = is_sure()
            # Not afterwards: something can change during the look.
            self.unsure.discard(uuid)
            if not is_known(run):
                run = self.runs[uuid] = guest_run.Run(
                    self.patient(domain), domain.ID(),
                    (statistics['state.state'], statistics['state.reason']),
                    statistics['balloon.current'])
            elif not was_sure:
                run.look_at_devices()
            return run

        return look()

    def patient(self, domain, seconds=None, is_for_changes=False):
        return patience.Patient(self._host._wrap_libvirt_proxy(domain),
                                seconds, is_for_changes)

    def state(self, record) -> elastic_guest.GuestState:
        statistics, run = record.statistics, record.run
        memory = statistics['balloon.current']
        is_fresh = self._is_fresh(record)
        usable = statistics.get('balloon.usable')
        used = None
        if is_fresh and usable is not None and not self._is_outdated(record):
            used = _mib(max(memory - usable, 0))
        vcpus, online = self._count_vcpus(record), None
        said = run.agent and run.agent.online
        if said is not None:
            # An agent can report any number, and its guest can use no more.
            online = min(said, vcpus)
            if online < said == run.agent.online:
                # Of vCPUs that come later it has said nothing.
                run.agent.online = online
        return elastic_guest.GuestState(
            running=True,
            vcpus=vcpus,
            memory_mb=_mib(memory),
            balloon_active=is_fresh,
            used_memory_mb=used,
            memory_pinned=run.is_pinned,
            cannot_plug=record.has_lost_vcpu,
            run=run.name,
            is_returning=run.is_returning,
            online_vcpus=online,
            missing_statistic='usable' if is_fresh and usable is None
            else None,
            fixed_vcpus=run.fixed_vcpus,
            is_still=self._is_still(record),
            is_busy=record.run.is_busy,
            # Such a guest may have no time to report again.
            is_squeezed=usable is not None and _mib(usable) <= _SQUEEZED_MB)

    @staticmethod
    def _is_fresh(record):
        """Whether a guest reports statistics."""
        period = record.run.period
        return period > 0 and (
            abs(time.time() - record.reported_at) <= _FRESH * period)

    def _is_recent(self, record):
        """Whether a guest has reported statistics just now."""
        return self._is_fresh(record) and (
            time.time() - record.reported_at <= _RECENT_SECONDS)

    def _note_reports(self, uuid, record):
        """Look at a guest again that does not report statistics.

        Somebody may have changed how often it is asked for them. The longer it
        does not report, the less often: it may have no balloon driver.
        """
        run = record.run
        run.silent_looks = 0 if self._is_fresh(record) else (
            run.silent_looks + 1)
        if run.silent_looks in _LOOKS:
            self.unsure.add(uuid)

    def _is_still(self, record):
        """Whether a guest is paused, or its QEMU hangs.

        One that has reported recently is only busy.
        """
        state = record.statistics['state.state']
        return state != libvirt_guest.libvirt.VIR_DOMAIN_RUNNING or (
            record.run.is_busy_for_long and not self._is_recent(record))

    def _is_outdated(self, record):
        """Whether a guest that reports should be asked what it could use.

        That only makes sense with what it held then, so not if its balloon has
        moved since, and it changes.
        """
        return self._is_fresh(record) and (
            not self._is_recent(record) or
            not record.run.is_calm_since(record.reported_at))

    def _count_vcpus(self, record):
        """How many vCPUs the guest has.

        This is libvirt's count unless vCPUs were removed and libvirt still
        counts them. If QEMU does not answer then, libvirt's count is used,
        which is never too low.
        """
        run = record.run
        if run.unplug is None or record.vcpus <= run.unplug:
            return record.vcpus
        return qemu.count_vcpus(self._host, record.domain) or record.vcpus


def _mib(kib):
    return -(-kib // units.Ki)
