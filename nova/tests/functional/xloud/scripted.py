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

"""A hypervisor whose guests do what a test says."""

import contextlib
import itertools
import math

import fixtures
from oslo_utils import timeutils

from nova.compute import power_state
from nova import context
from nova import exception
from nova.tests.functional.xloud import base
from nova.xloud import guest as elastic_guest
from nova.xloud import notes
from nova.xloud import size

# How a guest can react to a request to change.
OBEDIENT = 'does it at once'
LATE = 'does it when the test says so'
LOST = 'takes the request and never does it'
REFUSING = 'says that it will not'
FAILING = 'the hypervisor fails'
BUSY = 'the hypervisor does something else with it'

_runs = itertools.count(1)


class Guest:
    """One guest, which survives its compute service."""

    def __init__(self, host, instance):
        self.host = host
        self.behaviour = OBEDIENT
        # None if its balloon driver does not report it.
        self.used_mb = 64
        # Whether its report is older than the last move of its balloon.
        self.is_outdated = False
        self.memory_pinned = False
        self.online_vcpus = None
        self.fixed_vcpus = 0
        # Whether it is paused, though not by Nova.
        self.is_still = False
        # Whether its hypervisor has no time for it
        self.is_busy = False
        # Whether it has nothing left, as far as it has reported
        self.is_squeezed = False
        # What the next soft reboot gives.
        self.config = size.boot(instance)
        # Whether an operation has overwritten that
        self.has_stale_config = False
        # Whether somebody has changed that, and it cannot have another size.
        self.is_config_edited = False
        self.maximum = size.maximum(instance.flavor)
        self.start(self.config)

    def start(self, boot, has_balloon=True):
        """A new run of the guest."""
        self.run = next(_runs)
        self.fixed_vcpus = 0
        self.config = self.target = boot
        self.has_balloon = has_balloon
        self.is_returning = False
        self.held = boot if has_balloon else size.Size(
            boot.vcpus, self.maximum.memory_mb)

    def reset(self):
        """The same run; its driver loads again and does not know the size."""
        self.is_returning = True
        self.held = size.Size(self.held.vcpus, self.maximum.memory_mb)

    def load_balloon(self):
        self.has_balloon = True
        self.is_returning = False
        self.held = size.Size(self.held.vcpus, self.target.memory_mb)

    def whole(self, target):
        """With the memory it was last asked for if that is left alone."""
        if target.memory_mb is None:
            return target._replace(memory_mb=self.target.memory_mb)
        return target

    def ask(self, target):
        if self.behaviour == FAILING:
            raise RuntimeError('internal error')
        if self.behaviour == BUSY:
            raise elastic_guest.GuestBusy(reason='It is dumped.')
        if self.behaviour == REFUSING and target != self.held:
            raise exception.ElasticGuestRefused(reason='I would rather not.')
        self.target = self.whole(target)
        if self.behaviour == OBEDIENT:
            self.follow()

    def follow(self):
        """Follow an earlier request."""
        memory_mb = (self.target if self.has_balloon else self.held).memory_mb
        self.held = size.Size(self.target.vcpus, memory_mb)

    @property
    def state(self):
        return elastic_guest.GuestState(
            running=True, vcpus=self.held.vcpus,
            memory_mb=math.ceil(self.held.memory_mb),
            balloon_active=self.has_balloon,
            used_memory_mb=self.used_mb
            if self.has_balloon and not self.is_outdated else None,
            memory_pinned=self.memory_pinned, run=str(self.run),
            missing_statistic='usable'
            if self.has_balloon and self.used_mb is None else None,
            is_returning=self.is_returning,
            online_vcpus=self.online_vcpus,
            fixed_vcpus=self.fixed_vcpus, is_still=self.is_still,
            is_busy=self.is_busy, has_stale_config=self.has_stale_config,
            is_squeezed=self.is_squeezed)


class ScriptedFakeDriver(base.ElasticFakeDriver):

    # By uuid, for all hosts, because guests move between them.
    guests: dict = {}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # For a test to look at.
        self.observations = []
        self.requests = []
        # Whether a balloon driver is there as soon as a guest starts.
        self.starts_with_balloon = True
        self.is_away = False

    def get_elastic_guests(self, instances, wait=False, renew=False):
        if self.is_away:
            raise exception.HypervisorUnavailable(host=self._host)
        self.observations.append([instance.uuid for instance in instances])
        if renew:
            for instance in instances:
                self.guests[instance.uuid].is_outdated = False
        return {
            instance.uuid: self.guests[instance.uuid].state
            if self._is_running(instance.uuid) else elastic_guest.NOT_RUNNING
            for instance in instances}

    def set_elastic_guest(self, instance, target, boot):
        if self.is_away:
            raise exception.HypervisorUnavailable(host=self._host)
        self.requests.append((instance.uuid, target, boot))
        guest = self.guests[instance.uuid]
        if guest.is_config_edited:
            raise elastic_guest.ConfigurationRefused(reason='It was edited.')
        guest.config = boot
        if self._is_running(instance.uuid):
            guest.ask(target)

    def _is_running(self, uuid):
        known = self.instances.get(uuid)
        return (known is not None and known.state == power_state.RUNNING and
                self.guests[uuid].host == self._host)

    def _start(self, instance, boot=None):
        guest = self.guests.get(instance.uuid)
        if guest is None or guest.host != self._host:
            guest = Guest(self._host, instance)
            self.guests[instance.uuid] = guest
        guest.maximum = size.maximum(instance.flavor)
        guest.start(boot or size.boot(instance), self.starts_with_balloon)

    def spawn(self, context, instance, *args, **kwargs):
        super().spawn(context, instance, *args, **kwargs)
        self._start(instance)

    def power_on(self, context, instance, *args, **kwargs):
        super().power_on(context, instance, *args, **kwargs)
        self._start(instance)

    def suspend(self, context, instance):
        self.instances[instance.uuid].state = power_state.SHUTDOWN

    def resume(self, context, instance, *args, **kwargs):
        # The same run of the guest goes on.
        self.instances[instance.uuid].state = power_state.RUNNING

    def soft_delete(self, instance):
        # As libvirt: Nova stops the guest, and starts it again.
        raise NotImplementedError()

    restore = soft_delete

    def rescue(self, context, instance, *args, **kwargs):
        # Nova has stopped the guest; another one runs in its place.
        self.power_on(context, instance, None)

    unrescue = rescue

    def reboot(self, context, instance, network_info, reboot_type,
               *args, **kwargs):
        # None of a guest that was destroyed, which only a hard reboot starts.
        guest = self.guests.get(instance.uuid)
        config = guest and guest.config
        super().reboot(context, instance, network_info, reboot_type,
                       *args, **kwargs)
        if reboot_type == 'SOFT':
            self._start(instance, config)

    def finish_migration(self, context, migration, instance, *args, **kwargs):
        super().finish_migration(
            context, migration, instance, *args, **kwargs)
        self._start(instance)

    def finish_revert_migration(self, context, instance, *args, **kwargs):
        super().finish_revert_migration(context, instance, *args, **kwargs)
        self._start(instance)

    def post_live_migration_at_destination(self, context, instance,
                                           *args, **kwargs):
        guest = self.guests[instance.uuid]
        super().post_live_migration_at_destination(
            context, instance, *args, **kwargs)
        # It is the same guest, on another host.
        self.guests[instance.uuid] = guest
        guest.host = self._host

    def destroy(self, context, instance, *args, **kwargs):
        super().destroy(context, instance, *args, **kwargs)
        guest = self.guests.get(instance.uuid)
        if guest is not None and guest.host == self._host:
            del self.guests[instance.uuid]


class GuestsTestCase(base.ElasticServersTestCase):
    """Hosts that have guests."""

    compute_driver = 'fake.ScriptedFakeDriver'

    def setUp(self):
        # Another base may start hosts.
        for name, value in (
                ('nova.virt.fake.ScriptedFakeDriver', ScriptedFakeDriver),
                (__name__ + '.ScriptedFakeDriver.guests', {})):
            self.useFixture(fixtures.MonkeyPatch(name, value))
        super().setUp()

    @property
    def guests(self):
        return ScriptedFakeDriver.guests

    @contextlib.contextmanager
    def cell(self, host='host1'):
        with context.target_cell(
                context.get_admin_context(),
                self.host_mappings[host].cell_mapping) as cell:
            yield cell


class ReconciledTestCase(GuestsTestCase):
    """The same, where reconcile runs with the audit of each host."""

    def _run_periodics(self, *args, **kwargs):
        super()._run_periodics(*args, **kwargs)
        self.reconcile_all()

    def reconcile_all(self):
        for host, compute in self.computes.items():
            with self.cell(host) as cell:
                compute.manager._elastic.reconcile(cell)

    def recorded(self, instance):
        # Each start and each move of a guest leaves a note as well.
        return {key: value for key, value in super().recorded(instance).items()
                if key.startswith(('xloud_desired_', 'xloud_boot_'))}

    def change_sizes(self, server, desired, boot=None):
        # What its start leaves to do is done before that.
        self.reconcile_all()
        # What was asked for does not wait for what nobody did.
        instance = self.instance(server)
        notes.mark_changed(instance, timeutils.utcnow())
        instance.save()
        guest = self.guests[server['id']]
        guest.held = guest.target = desired
        guest.config = boot or desired
        return super().change_sizes(server, desired, boot)
