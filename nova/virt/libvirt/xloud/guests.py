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

"""The elastic guests of a libvirt host: what they hold, and how to change it.

One call of libvirt returns what all of them hold. Nova asks for the rest once
for each run of a guest, and keeps it: see nova.virt.libvirt.xloud.run.

libvirt answers a request before the guest follows. A vCPU leaves when the
guest gives it back: libvirt waits 5 seconds for it and then fails, though it
may leave later. A balloon moves when the guest moves it, and libvirt does not
even report the size that was asked for. So only the statistics show what was
done, here and in the next calls.
"""

import threading
import time
import typing as ty

from oslo_log import log as logging
from oslo_utils import units

import nova.conf
from nova import exception
from nova.i18n import _
from nova import utils
from nova.virt.libvirt import event as libvirtevent
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt.xloud import agent
from nova.virt.libvirt.xloud import events
from nova.virt.libvirt.xloud import patience
from nova.virt.libvirt.xloud import persistent
from nova.virt.libvirt.xloud import qemu
from nova.virt.libvirt.xloud import run as guest_run
from nova.xloud import guest as elastic_guest
from nova.xloud import size

try:
    from nova import thread_pool_factory as spawner
except ImportError:                       # before 34.0.0
    spawner = utils

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# In periods: a busy guest may skip one.
_FRESH = 3

# While a balloon moves, an event comes every second.
_CALM_SECONDS = 2

# libvirt waits 5 seconds for a vCPU to leave, and twice that on POWER.
_SECONDS_PER_VCPU = 10

# How long to wait for statistics that are younger than the last move of a
# balloon, and how often to look. They only name the second in which they were
# made, so the next second may have to begin first.
_RENEWAL_SECONDS = 2.5
_LOOK_SECONDS = 0.1


class _Record(ty.NamedTuple):
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
        again, and if the state of the guest is saved or sent.
        """
        return self.run.is_emulated and self.run.unplug is not None


# Unlike None, which stands for no answer
_GONE = object()


class ElasticGuests:

    def __init__(self, host, emit_event):
        """Ask libvirt nothing before it is asked about an elastic server.

        :param host: nova.virt.libvirt.host.Host
        :param emit_event: takes an event for the compute manager
        """
        self._host = host
        self._emit_event = emit_event
        self._connection = None
        self._hears_devices = False
        # By uuid. The domains of all servers, the runs of elastic ones.
        self._domains: ty.Dict[str, ty.Any] = {}
        self._runs: ty.Dict[str, guest_run.Run] = {}
        # Runs whose devices have to be looked at again
        self._unsure: ty.Set[str] = set()
        # When to emit an event of a guest, the soonest first.
        self._to_emit: ty.Dict[str, float] = {}
        self._to_emit_lock = threading.Lock()
        # Whose configuration could not be given their boot size
        self._to_mend: ty.Set[str] = set()
        # Guests that have just refused to give back vCPUs
        self._refusing: ty.Set[str] = set()

    def states(self, instances, wait=False, renew=False) -> ty.Dict[
            str, elastic_guest.GuestState]:
        """As ComputeDriver.get_elastic_guests()."""
        for instance in instances:
            if instance.uuid in self._to_mend:
                self.keep_boot_size(instance)
        uuids = [instance.uuid for instance in instances]
        records = self._records(uuids, wait)
        if renew:
            records = self._renew(uuids, records)
        self._ask_agents(records)
        states = {}
        for instance in instances:
            record = records.get(instance.uuid, _GONE)
            if record is _GONE:
                states[instance.uuid] = elastic_guest.NOT_RUNNING
            elif record is not None:
                states[instance.uuid] = self._state(record)
        return states

    def _ask_agents(self, records):
        """Ask the agents that can report something new about vCPUs.

        If there are many guests, ask only those with vCPUs offline.
        """
        deadline = time.monotonic() + agent.SECONDS
        for record in records.values():
            if record is None or record.run.agent is None:
                continue
            is_known = len(records) > 1 and (
                record.run.agent.online == record.vcpus)
            if not is_known and time.monotonic() < deadline:
                record.run.agent.ask()

    def change(self, instance, target: size.Size, boot: size.Size) -> None:
        """As ComputeDriver.set_elastic_guest()."""
        record = self._records([instance.uuid]).get(instance.uuid)
        domain = self._domains.get(instance.uuid)
        if domain is None:
            # Its next start makes a new configuration.
            return
        vcpus = size.maximum(instance.flavor).vcpus
        guest = libvirt_guest.Guest(self._patient(
            domain, patience.SECONDS + vcpus * _SECONDS_PER_VCPU))
        persistent.set_boot_size(guest, instance, boot)
        if record is None:
            return
        flavor = instance.flavor
        held = self._state(record)
        if size.has_elastic_memory(flavor) and not record.run.has_balloon and (
                target.memory_mb != held.memory_mb):
            raise _refused(_('it has no memory balloon.'))
        has_vcpus = size.has_elastic_vcpus(flavor)
        if has_vcpus and target.vcpus > held.vcpus:
            # Before asking for memory: if this failed later, the guest would
            # get the memory although the change is refused.
            self._check_plug(record)
        if has_vcpus and target.vcpus < held.vcpus:
            self._unplug(guest, instance, record, target.vcpus)
        if size.has_elastic_memory(flavor) and record.run.has_balloon:
            # Even if it holds this much: it may be on the way to another size.
            self._ask(
                instance, guest.set_memory, target.memory_mb * units.Ki,
                _('its hypervisor refuses to change the memory.'))
        if has_vcpus and target.vcpus > held.vcpus:
            self._plug(guest, instance, record, target.vcpus)

    def check_live_migration(self, instance) -> None:
        """Check that the state of a guest can be sent to another host.

        :raises: MigrationPreCheckError
        """
        reason = self._reason_to_stay(instance)
        if reason:
            raise exception.MigrationPreCheckError(reason=reason)

    def check_suspend(self, instance) -> None:
        """Check that the state of a guest can be saved.

        :raises: InstanceFaultRollback, so that the server keeps its state
        """
        reason = self._reason_to_stay(instance)
        if reason:
            raise exception.InstanceFaultRollback(
                inner_exception=exception.InstanceSuspendFailure(
                    reason=reason))

    def keep_boot_size(self, instance) -> None:
        """Correct a configuration that was made from a running domain.

        The operation before this has succeeded, so nothing is raised. If this
        fails, the next look at the guest tries it again.
        """
        if persistent.keep_boot_size(
                self._host, instance, guest_run.forget_in_configuration):
            self._to_mend.discard(instance.uuid)
        else:
            self._to_mend.add(instance.uuid)

    def take_event(self, event) -> bool:
        """Handle an event of the host.

        :returns: whether no other handler needs it
        """
        if not isinstance(event, libvirtevent.LibvirtEvent):
            return False
        is_ours = isinstance(
            event, (events.BalloonChangedEvent, events.DeviceAddedEvent,
                    events.GuestResetEvent))
        uuid = event.get_instance_uuid()
        if uuid not in self._domains:
            return is_ours
        if isinstance(event, events.GuestResetEvent):
            if uuid in self._runs:
                self._runs[uuid].note_reset()
            return True
        if events.is_about_vcpu(event):
            is_known = uuid in self._refusing and isinstance(
                event, libvirtevent.DeviceRemovalFailedEvent)
            if not is_known:
                self._emit_soon(uuid)
            return True
        if isinstance(event, libvirtevent.DeviceEvent):
            self._unsure.add(uuid)
        elif uuid in self._runs and is_ours:
            self._runs[uuid].note_move()
        self._emit_soon(uuid)
        return is_ours

    def _emit_soon(self, uuid):
        with self._to_emit_lock:
            if uuid not in self._runs or uuid in self._to_emit:
                return
            self._to_emit[uuid] = time.monotonic() + _CALM_SECONDS
            if len(self._to_emit) > 1:
                return
        # One waits for all guests, as there are few threads.
        spawner.spawn(self._emit_each)

    def _emit_each(self):
        is_last = False
        while not is_last:
            uuid, when = next(iter(self._to_emit.items()))
            time.sleep(max(0, when - time.monotonic()))
            with self._to_emit_lock:
                del self._to_emit[uuid]
                is_last = not self._to_emit
            # Handling it can take seconds, and must not delay the events of
            # other guests.
            spawner.spawn(self._emit_event,
                          elastic_guest.GuestChangedEvent(uuid))

    # What guests hold

    def _records(self, uuids, wait=True) -> ty.Dict[
            str, ty.Optional[_Record]]:
        """Ask for the statistics of these servers, as far as they run.

        :param wait: for guests that are busy with something else. Otherwise
            the last statistics of their balloon are returned.
        :returns: None for a guest that does not answer
        """
        connection = self._connect()
        if not self._domains.keys() >= set(uuids):
            self._list_domains(connection)
        domains = [self._domains[uuid] for uuid in uuids
                   if uuid in self._domains]
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
        records: ty.Dict[str, ty.Optional[_Record]] = {}
        known = set()
        for domain, statistics in answers:
            uuid = domain.UUIDString()
            known.add(uuid)
            if domain.ID() == -1:
                self._runs.pop(uuid, None)
                continue
            try:
                run = self._run(uuid, domain, statistics)
                statistics = run.complete(statistics)
                records[uuid] = _Record(domain, statistics, run)
            except libvirt.libvirtError as error:
                self._unsure.add(uuid)
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    LOG.warning('The guest of %(uuid)s does not answer: '
                                '%(error)s', {'uuid': uuid, 'error': error})
                    records[uuid] = None
        for uuid in set(uuids) - known:
            self._domains.pop(uuid, None)
            self._runs.pop(uuid, None)
        return records

    def _renew(self, uuids, records):
        """Records with statistics younger than the last move of a balloon.

        If a guest does not report in time, or its balloon keeps moving, its
        record stays as it is.
        """
        deadline = time.time() + _RENEWAL_SECONDS
        while time.time() < deadline:
            old = [record.run for record in records.values()
                   if record is not None and self._is_outdated(record)]
            if not old:
                break
            # Statistics from the second of the move do not count.
            second = int(max(run.moved_at for run in old)) + 1
            time.sleep(max(_LOOK_SECONDS, min(second, deadline) - time.time()))
            for run in old:
                self._ask_for_statistics(run)
            for _look in range(int(1 / _LOOK_SECONDS)):
                time.sleep(_LOOK_SECONDS)
                records = self._records(uuids)
                if time.time() > deadline or not any(
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
            self._runs.pop(uuid, None)

    def _connect(self):
        connection = self._host.get_connection()
        if connection is not self._connection:
            # Ids and events belong to a connection, too.
            self._connection = connection
            self._domains, self._runs = {}, {}
            self._hears_devices = False
            try:
                events.register(connection, self._host)
                self._hears_devices = True
            except libvirt_guest.libvirt.libvirtError as error:
                LOG.warning('libvirt does not report when devices of elastic '
                            'servers change, so Nova looks at each server '
                            'every time: %s', error)
        return connection

    def _list_domains(self, connection):
        libvirt = libvirt_guest.libvirt
        self._domains = {
            domain.UUIDString(): domain
            for domain in connection.listAllDomains(
                libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE |
                libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE)}
        self._runs = {uuid: run for uuid, run in self._runs.items()
                      if uuid in self._domains}
        self._unsure.intersection_update(self._domains)

    def _run(self, uuid, domain, statistics):
        """The run that a domain is in.

        :raises: libvirtError if its guest cannot be looked at
        """
        def is_known(run):
            # A run that could not be named can perhaps be named now.
            return run is not None and run.id == domain.ID() and (
                run.name is not None)

        def is_sure():
            return self._hears_devices and uuid not in self._unsure

        run = self._runs.get(uuid)
        if is_known(run) and is_sure():
            return run

        # Two threads that see a new run must give it the same name.
        @utils.synchronized('xloud-run-%s' % uuid)
        def look():
            run = self._runs.get(uuid)
            was_sure = is_sure()
            # Not afterwards: something can change during the look.
            self._unsure.discard(uuid)
            if not is_known(run):
                run = self._runs[uuid] = guest_run.Run(
                    self._patient(domain), domain.ID(),
                    (statistics['state.state'], statistics['state.reason']),
                    statistics['balloon.current'])
            elif not was_sure:
                run.look_at_devices()
            return run

        return look()

    def _patient(self, domain, seconds=None):
        return patience.Patient(
            self._host._wrap_libvirt_proxy(domain), seconds)

    def _state(self, record) -> elastic_guest.GuestState:
        statistics, run = record.statistics, record.run
        memory = statistics['balloon.current']
        is_fresh = self._is_fresh(record)
        usable = statistics.get('balloon.usable')
        used = None
        if is_fresh and usable is not None and not self._is_outdated(record):
            used = _mib(max(memory - usable, 0))
        return elastic_guest.GuestState(
            running=True,
            vcpus=self._count_vcpus(record),
            memory_mb=_mib(memory),
            balloon_active=is_fresh,
            used_memory_mb=used,
            memory_pinned=run.is_pinned,
            cannot_plug=record.has_lost_vcpu,
            run=run.name,
            is_returning=run.is_returning,
            online_vcpus=run.agent and run.agent.online,
            missing_statistic='usable' if is_fresh and usable is None
            else None,
            fixed_vcpus=run.fixed_vcpus)

    @staticmethod
    def _is_fresh(record):
        """Whether a guest reports statistics."""
        period = record.run.period
        return period > 0 and (
            abs(time.time() - record.reported_at) <= _FRESH * period)

    def _is_outdated(self, record):
        """Whether its balloon has moved since the guest last reported.

        What a guest could use only makes sense with what it held then.
        """
        return self._is_fresh(record) and (
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

    # Changing them

    def _unplug(self, guest, instance, record, vcpus):
        self._check_count(record)
        before = record.run.unplug
        if record.run.is_emulated and not record.run.note_unplug(vcpus):
            record.run.unplug = before
            raise _refused(_(
                'libvirt cannot record that vCPUs are removed from it, so '
                'none could be added again safely.'))
        self._refusing.discard(instance.uuid)
        libvirt = libvirt_guest.libvirt
        try:
            guest.set_vcpus(vcpus, live=True)
        except libvirt.libvirtError as error:
            # libvirt removes them one by one, so some may have left.
            is_late = (
                error.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT)
            if not is_late and not self._has_fewer(instance, record.vcpus):
                self._refusing.add(instance.uuid)
                self._forget_unplug(record, before)
                raise _refusal(instance, error, _(
                    'its guest or its hypervisor refuses to remove vCPUs.'))
            LOG.info('Not all vCPUs are removed yet: %s', error,
                     instance=instance)
        else:
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
                'vCPUs were removed from it, and software emulation can fail '
                'if one is added again. Reboot it hard first.'))

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
        record = self._records([instance.uuid]).get(instance.uuid)
        if record is None or record.vcpus != vcpus:
            raise _refused(_(
                'libvirt accepted %(asked)d vCPUs for it, but counts '
                '%(counted)d now.') % {
                    'asked': vcpus, 'counted': record.vcpus if record else 0})

    def _reason_to_stay(self, instance) -> ty.Optional[str]:
        """Why the state of a guest must not be saved or sent."""
        if not size.has_elastic_vcpus(instance.flavor):
            return None
        try:
            record = self._records([instance.uuid]).get(instance.uuid)
        except Exception as error:
            # The operation itself asks the same libvirt next, and reports
            # what is wrong.
            LOG.warning('It is not known whether vCPUs were removed: %s',
                        error, instance=instance)
            return None
        if record is None or not record.has_lost_vcpu:
            return None
        return _('vCPUs were removed from the server, and software emulation '
                 'fails when it saves or sends the state of such a guest. '
                 'Reboot the server hard first.')

    def _has_fewer(self, instance, vcpus):
        record = self._records([instance.uuid]).get(instance.uuid)
        return record is not None and record.vcpus < vcpus

    @staticmethod
    def _ask(instance, request, amount, refusal):
        try:
            request(amount, live=True)
        except libvirt_guest.libvirt.libvirtError as error:
            raise _refusal(instance, error, refusal)


def _refusal(instance, error, reason) -> Exception:
    """What to raise for an error of libvirt.

    libvirt's text is for the operator: it can name the domain or a path.

    :param reason: for the user
    """
    libvirt = libvirt_guest.libvirt
    if error.get_error_code() in (
            libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
            libvirt.VIR_ERR_INTERNAL_ERROR,
            libvirt.VIR_ERR_INVALID_ARG,
            libvirt.VIR_ERR_OPERATION_FAILED,
            libvirt.VIR_ERR_OPERATION_INVALID,
            libvirt.VIR_ERR_OPERATION_UNSUPPORTED):
        LOG.warning('The hypervisor refuses to change the guest: %s',
                    error, instance=instance)
        return _refused(reason)
    return error


def _refused(reason):
    return exception.ElasticGuestRefused(reason=reason)


def _mib(kib):
    return -(-kib // units.Ki)
