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

"""What can happen to servers on two hosts, and what must always hold."""

import contextlib
import sys
from unittest import mock

from hypothesis import stateful
from hypothesis import strategies as st

from nova.tests.functional.api import client as api_client
from nova.tests.functional.xloud import scripted
from nova.tests.functional.xloud import two_hosts
from nova.xloud import condition
from nova.xloud import guest as elastic_guest
from nova.xloud import noted
from nova.xloud import notes
from nova.xloud import size
from nova.xloud import task

HOSTS = two_hosts.HOSTS
LIMITS = two_hosts.LIMITS
MOMENTS = two_hosts.MOMENTS
NOTHING = two_hosts.NOTHING
READ = two_hosts.READ
SmallDriver = two_hosts.SmallDriver

# They fill both hosts when two have grown.
MOST_SERVERS = 5

# What a user or an operator asks for: the name of the action and its body.
ACTIONS = {
    'stop': ('os-stop', None),
    'start': ('os-start', None),
    'reboot softly': ('reboot', {'type': 'SOFT'}),
    'reboot hard': ('reboot', {'type': 'HARD'}),
    'migrate': ('migrate', None),
    'live-migrate': ('os-migrateLive', {
        'host': None, 'block_migration': 'auto'}),
    'confirm': ('confirmResize', None),
    'revert': ('revertResize', None),
    'shelve': ('shelve', None),
    'unshelve': ('unshelve', None),
    'rescue': ('rescue', None),
    'unrescue': ('unrescue', None),
    'pause': ('pause', None),
    'unpause': ('unpause', None),
    'suspend': ('suspend', None),
    'resume': ('resume', None),
    'image': ('createImage', {'name': 'an image'}),
    'restore': ('restore', None),
    'report active': ('os-resetState', {'state': 'active'}),
    'report an error': ('os-resetState', {'state': 'error'}),
}

# How what was begun ends that has one end only.
ENDS = {
    'shelved_offloaded': 'unshelve', 'rescued': 'unrescue',
    'stopped': 'start', 'paused': 'unpause', 'suspended': 'resume',
    'soft-delete': 'restore', 'error': 'report active',
}


class Servers(stateful.RuleBasedStateMachine):
    """What can happen to the servers of the world."""

    servers = stateful.Bundle('servers')
    hosts = st.sampled_from(HOSTS)
    flavors = st.sampled_from(two_hosts.FLAVORS)

    def __init__(self, world):
        super().__init__()
        self.world = world
        self.known = {}
        # How many the rules asked for.  What can be drawn next must not depend
        # on what became of them, or Hypothesis could not repeat it.
        self.asked = 0
        # What the next start of each gives: what was answered 202, ever.
        self.boots = {}
        # What others keep in its system_metadata.
        self.foreign = {}
        self.words = 0

    @stateful.initialize(target=servers)
    def begin(self):
        return self.create('elastic')

    @stateful.precondition(lambda self: self.asked < MOST_SERVERS)
    @stateful.rule(
        target=servers, flavor=flavors, host=st.none() | hosts)
    def create(self, flavor, host=None):
        """Where the scheduler likes, or where an administrator says."""
        world = self.world
        self.asked += 1
        request = {
            'name': 'a', 'flavorRef': world.flavors[flavor],
            'networks': 'none',
            'imageRef': '155d900f-4e14-4e4c-a73d-069cbf4541e6'}
        if host:
            request['availability_zone'] = 'nova:' + host
        with self.nobody_else(None):
            server = world.admin_api.post_server({'server': request})
        if world.instances([server['id']]):
            self.known[server['id']] = server
            self.foreign[server['id']] = {}
            self.learn(server['id'])
        else:
            # There was no host for it.
            world.api.delete_server(server['id'])
        return server['id']

    def learn(self, server):
        """Its flavor is another, perhaps, and so is its boot size."""
        self.boots[server] = size.boot(self.world.instance({'id': server}))

    @stateful.rule(server=servers, to=st.sampled_from([
        (6, 6144), (8, 8192), (4, 4096), (4, None), (None, 8192)]))
    def grow(self, server, to):
        self.adjust(server, *to, True)

    @stateful.rule(
        server=servers, to=st.sampled_from([(2, 2048), (1, None)]))
    def shrink(self, server, to):
        self.adjust(server, *to, True)

    @stateful.rule(
        server=servers,
        vcpus=st.none() | st.sampled_from([1, 2, 3, 4, 6, 8]),
        memory_mb=st.none() | st.sampled_from(
            [2048, 3072, 4096, 6144, 8192]),
        persist=st.booleans(),
        trouble=st.sampled_from(
            [None, None, 'busy', 'changed', 'unreachable', 'lost',
             'not told']),
        number=st.integers(1, 4))
    def adjust(self, server, vcpus, memory_mb, persist, trouble=None,
               number=1):
        if server not in self.known:
            return
        body = {'persist': persist}
        if vcpus:
            body['current_vcpus'] = vcpus
        if memory_mb:
            body['current_memory_mb'] = memory_mb
        before = self.world.instance({'id': server})
        boot = self.boots[server]
        is_told = trouble != 'not told'
        with self.nobody_else(server), self.world.placement_trouble(
                trouble if is_told else None, number), (
                self.world.lost_reply(0 if is_told else number)):
            response = self.world.api.api_post(
                '/os-xloud-adjust/%s' % server, body,
                check_response_status=[202, 400, 404, 409])
        if server not in self.known:
            # It was deleted meanwhile.
            return
        if response.status == 202:
            if persist:
                self.boots[server] = size.Size(
                    vcpus or self.boots[server].vcpus,
                    memory_mb or self.boots[server].memory_mb)
        elif boot == self.boots[server]:
            # Neither was anything else accepted meanwhile.
            self.check_refused(before, self.world.instance({'id': server}))

    def check_refused(self, before, after):
        """What was answered 409 has not happened."""
        held = self.world.held(after)
        for now, *known in zip(
                size.desired(after), size.desired(before),
                size.boot(before), held):
            self.world.assertIn(now, known)

    @stateful.rule(
        server=servers, to=st.sampled_from([
            (6, 6144), (4, 4096), (2, 2048), (8, None), (None, 8192)]),
        moment=st.sampled_from(MOMENTS),
        other=st.sampled_from(['password', 'lock', 'unlock', 'adjust']))
    def adjust_beside(self, server, to, moment, other):
        """Somebody writes the same row while it is changed."""
        with self.world.meanwhile(moment, lambda: self.do(server, other)):
            self.adjust(server, *to, True)

    @stateful.rule(
        server=servers, to=st.sampled_from([(6, 6144), (2, 2048)]),
        other=st.sampled_from(['stop', 'reboot hard', 'migrate', 'resize',
                               'live-migrate', 'shelve', 'delete']))
    def adjust_what_was(self, server, to, other):
        """nova-api has read a server to which something else happened."""
        with self.world.meanwhile(READ, lambda: self.do(server, other)):
            self.adjust(server, *to, True)

    @stateful.rule(
        server=servers, action=st.sampled_from([
            'lock', 'stop', 'resize', 'migrate', 'shelve', 'rescue']))
    def save_what_was(self, server, action):
        """The same the other way: nova-api saves what it had read."""
        with self.world.meanwhile(READ, lambda: self.do(server, 'adjust')):
            self.do(server, action)

    @stateful.rule(server=servers, what=st.sampled_from(
        ['password', 'lock', 'unlock']))
    def write(self, server, what):
        self.do(server, what)

    def do(self, server, what):
        if server not in self.known:
            return
        self.words += 1
        word = str(self.words)
        if what == 'password':
            self.world.post_password(server, word)
            self.foreign[server]['password_0'] = word
        elif what == 'lock':
            known = self.foreign[server]
            self.post(server, 'lock', {'locked_reason': word})
            # Upstream's, with what nova-api had read.
            written = self.world.instance({'id': server}).system_metadata
            # The owner locks only once.
            self.foreign[server] = {'locked_reason': word, **{
                key: value for key, value in known.items()
                if key in written}}
        elif what == 'unlock':
            self.post(server, 'unlock', None)
            self.foreign[server].pop('locked_reason', None)
        elif what == 'adjust':
            self.adjust(server, 4, 4096, True)
        elif what == 'resize':
            self.resize(server, 'narrow')
        elif what == 'delete':
            self.remove(server)
        else:
            self.post(server, *ACTIONS[what])

    @stateful.rule(server=servers, action=st.sampled_from(
        ['stop', 'reboot softly', 'reboot hard', 'rescue']))
    def power(self, server, action):
        self.post(server, *ACTIONS[action])

    @stateful.rule(server=servers, action=st.sampled_from(
        ['pause', 'suspend', 'image', 'report active', 'report an error']))
    def hold(self, server, action):
        if action.startswith('report') and server in self.known:
            instance = self.world.instance({'id': server})
            # Stock Nova forgets a resize then, and what its migration has in
            # Placement stays there for good. It answers 500 later if it
            # reports a server active that never got a host.
            if instance.vm_state == 'resized' or not instance.host:
                return
        self.post(server, *ACTIONS[action])

    @stateful.rule(server=servers, action=st.sampled_from(
        ['live-migrate', 'migrate', 'shelve']))
    def move(self, server, action):
        self.post(server, *ACTIONS[action])

    @stateful.rule(server=servers, is_liked=st.booleans())
    def finish(self, server, is_liked):
        """End what was begun, whatever that is."""
        if server not in self.known:
            return
        instance = self.world.instance(self.known[server])
        state = instance.vm_state
        if state == 'resized':
            action = 'confirm' if is_liked else 'revert'
            if not is_liked and self.is_another_host_limited(instance.host):
                # Placement may refuse what a revert asks for. Upstream goes
                # on, and the server has its allocation elsewhere for a while.
                return
        else:
            action = ENDS.get(state)
        if action:
            self.post(server, *ACTIONS[action])

    def is_another_host_limited(self, host):
        return any(self.world.driver_of(other).limit
                   for other in HOSTS if other != host)

    @stateful.rule(server=servers, flavor=flavors)
    def resize(self, server, flavor):
        self.post(server, 'resize', {
            'flavorRef': self.world.flavors[flavor]})

    @stateful.rule(server=stateful.consumes(servers))
    def delete(self, server):
        self.asked -= 1
        self.remove(server)

    @stateful.rule(server=servers)
    def delete_softly(self, server):
        if server not in self.known:
            return
        with self.nobody_else(server), self.world.soft_deletes():
            self.world.api.delete_server(server)
        if self.world.instance({'id': server}).deleted:
            # Nova keeps none that has no host.
            self.forget(server)

    def remove(self, server):
        if server not in self.known:
            return
        with self.nobody_else(server):
            self.world.api.delete_server(server)
        self.forget(server)
        self.world.assertNotIn(server, self.world.allocations())

    def forget(self, server):
        del self.known[server], self.boots[server], self.foreign[server]

    @stateful.rule(server=servers, behaviour=st.sampled_from([
        scripted.OBEDIENT, scripted.LATE, scripted.LOST, scripted.REFUSING,
        scripted.FAILING]))
    def behave(self, server, behaviour):
        if server in SmallDriver.guests:
            SmallDriver.guests[server].behaviour = behaviour

    @stateful.rule(server=servers, is_told=st.booleans())
    def follow(self, server, is_told):
        """The guest does what it was asked for, the event may get lost."""
        guest = SmallDriver.guests.get(server)
        if guest is None or guest.behaviour == scripted.LOST:
            return
        if not guest.has_balloon:
            guest.load_balloon()
        guest.follow()
        if is_told:
            self.world.computes[guest.host].manager.handle_events(
                elastic_guest.GuestChangedEvent(server))

    @stateful.rule(host=hosts, event=st.sampled_from([
        'hypervisor leaves', 'hypervisor is back', 'no balloon at starts',
        'balloons at starts', 'service restarts', 'power is lost']))
    def happen(self, host, event):
        driver = self.world.driver_of(host)
        if event.startswith('hypervisor'):
            driver.is_away = event == 'hypervisor leaves'
        elif event.endswith('at starts'):
            driver.starts_with_balloon = event == 'balloons at starts'
        else:
            if event == 'power is lost':
                driver.lose_power()
            with self.nobody_else(None):
                self.world.restart(host)

    @stateful.rule(server=servers)
    def evacuate(self, server):
        world = self.world
        host = server in self.known and world.instance(
            self.known[server]).host
        if not host:
            return
        world.computes[host].stop()
        world.set_forced_down(host, True)
        self.post(server, 'evacuate', {})
        world.restart(host)
        world.set_forced_down(host, False)

    @stateful.rule(host=hosts, limit=st.none() | st.sampled_from([*LIMITS]))
    def limit(self, host, limit):
        with self.nobody_else(None):
            self.world.limit(host, limit)

    @stateful.rule(is_over=st.booleans(), untold=st.integers(0, 3))
    def reconcile(self, is_over, untold):
        with self.world.lost_reply(untold):
            if is_over:
                self.wait()
            else:
                self.world.reconcile()

    def wait(self):
        """Time goes by, and the guests have had theirs."""
        self.world.reconcile()
        self.world.wait()
        self.world.reconcile()
        for instance in self.world.instances(self.known).values():
            guest = SmallDriver.guests.get(instance.uuid)
            if guest is not None and is_quiet(instance) and (
                    not self.world.driver_of(instance.host).is_away):
                guest.is_new = False

    @stateful.rule()
    def rest(self):
        """Nothing is broken, and time goes by: the books agree."""
        for host in HOSTS:
            self.world.driver_of(host).is_away = False
            self.world.limit(host, None)
        for guest in SmallDriver.guests.values():
            if guest.behaviour == scripted.FAILING:
                guest.behaviour = scripted.OBEDIENT
        for compute in self.world.computes.values():
            for memo in compute.manager._elastic.memos.values():
                memo.leisure.end()
        with mock.patch.object(task, 'PATIENCE', 0):
            self.wait()
            self.wait()
        self.world._run_periodics()
        # What the power sync found is no longer waited for.
        self.world.reconcile()
        allocations = self.world.allocations()
        for uuid, instance in self.world.instances(self.known).items():
            self.check_at_rest(instance, allocations.get(uuid, {}))
        self.world.assert_hosts_agree()

    def check_at_rest(self, instance, allocations):
        charged = size.charged(instance)
        if not instance.host:
            self.world.assertEqual({}, allocations)
            self.check_noted(instance, condition.SETTLED)
            return
        self.world.assertEqual({instance.host: charged}, allocations)
        if not size.is_elastic(instance.flavor):
            self.check_noted(instance, condition.SETTLED)
        if instance.vm_state == 'suspended':
            # What a resume leaves to do is so before it, too.
            self.check_noted(instance, self.world.condition_of(instance))
        if not is_quiet(instance):
            return
        self.world.assertIsNone(instance.task_state)
        held = self.world.held(instance)
        needed = size.largest(size.desired(instance), size.boot(instance))
        if not self.is_overcommitted(instance):
            needed = size.largest(needed, held)
        else:
            self.world.assertFalse(self.world.has_room(
                instance.host, [max(0, number - charge) for number, charge
                                in zip(held, charged)]))
        guest = SmallDriver.guests[instance.uuid]
        if held != NOTHING or instance.vm_state == 'stopped':
            self.check_noted(instance, self.world.condition_of(instance))
        if notes.is_config_current(instance):
            self.world.assertEqual(needed, charged)
            if instance.vm_state == 'active' and held != NOTHING:
                self.world.assertEqual(size.boot(instance), guest.config)
        else:
            # It is not asked again before that ends, or refuses.
            self.world.assertTrue(
                instance.vm_state in ('rescued', 'resized') or
                guest.behaviour == scripted.REFUSING)

    def check_noted(self, instance, expected):
        """The list of elastic servers says what is so."""
        self.world.assertEqual(
            expected, noted.of(instance.system_metadata)[0])

    @stateful.invariant()
    def charged_is_held(self):
        """Row and allocation have what the guest holds."""
        allocations = self.world.allocations()
        for instance in self.world.instances(self.known).values():
            held = self.world.held(instance)
            if held == NOTHING or not is_quiet(instance):
                continue
            for charged in (size.charged(instance),
                            allocations[instance.uuid][instance.host]):
                if size.largest(charged, held) != charged and not (
                        SmallDriver.guests[instance.uuid].is_new or
                        self.is_overcommitted(instance)):
                    self.world.fail(
                        '%s: holds %s and is charged %s' % (
                            instance.uuid, held, charged))

    @stateful.invariant()
    def nothing_is_lost(self):
        """Boot sizes are those that were accepted; others have their keys."""
        for uuid, instance in self.world.instances(self.known).items():
            self.world.assertEqual(self.boots[uuid], size.boot(instance))
            for key, value in self.foreign[uuid].items():
                self.world.assertEqual(
                    value, instance.system_metadata.get(key))

    @staticmethod
    def is_overcommitted(instance):
        outcome = notes.outcome(instance)
        return outcome is not None and outcome[0] == condition.OVERCOMMITTED

    def post(self, server, action, body):
        if server not in self.known:
            return
        with self.nobody_else(server), self.refusable():
            self.world.api.post_server_action(server, {action: body})
        if action.endswith('esize'):
            self.learn(server)

    @contextlib.contextmanager
    def refusable(self):
        try:
            yield
        except api_client.OpenStackApiException as error:
            self.world.assertLess(error.response.status_code, 500)

    @contextlib.contextmanager
    def nobody_else(self, server):
        """What other servers have allocated does not change."""
        others = [uuid for uuid in self.known if uuid != server]
        before = self.world.allocations()
        yield
        after = self.world.allocations()
        for uuid in others:
            self.world.assertEqual(before.get(uuid), after.get(uuid))

    def teardown(self):
        try:
            if sys.exc_info()[0] is None:
                self.rest()
        finally:
            self.clear()

    def clear(self):
        for host in HOSTS:
            driver = self.world.driver_of(host)
            driver.is_away, driver.starts_with_balloon = False, True
            self.world.limit(host, None)
        for server in [*self.known]:
            self.world.api.delete_server(server)
            self.forget(server)
        SmallDriver.guests.clear()
        # An evacuation ends for the resource tracker at its next audit.
        self.world._run_periodics()
        self.world._run_periodics()
        # Deleted servers leave nothing.
        self.world.assertEqual({}, self.world.allocations())
        for host in HOSTS:
            self.world.assertEqual(NOTHING, self.world.tracked(host))


def is_quiet(instance):
    """Whether what the guest holds is looked at."""
    return instance.host is not None and instance.vm_state in (
        'active', 'stopped', 'rescued', 'paused', 'resized')
