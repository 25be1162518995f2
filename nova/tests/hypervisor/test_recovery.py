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

"""Interrupted changes end well."""

import time
from unittest import mock

from lxml import etree

import nova.conf
from nova import context
from nova import objects
from nova.tests.hypervisor import base
from nova.tests.hypervisor import fixtures
from nova.tests.hypervisor import tiny_guest
from nova.virt.libvirt.xloud import events
from nova.xloud import action
from nova.xloud import guest as elastic_guest
from nova.xloud import memory
from nova.xloud import rpcapi
from nova.xloud import size
from nova.xloud import task

CONF = nova.conf.CONF
GROWN = size.Size(2, 512)


class Killed(BaseException):
    """nova-compute was killed."""


class RecoveryTestCase(base.HypervisorTestCase):

    def test_nova_compute_is_killed(self):
        server = self.boot()
        # Before the guest changes
        self._adjust_and_die(server, GROWN)
        self.assert_all_see(
            server, base.MINIMUM, desired=GROWN, next_start=base.MINIMUM,
            condition='InProgress')
        self._start_again()
        self.assert_all_see(server, GROWN)

        # After it did
        smaller = size.Size(2, 384)
        self._adjust_and_die(server, smaller, when=smaller)
        self.assert_all_see(server, smaller, charge=GROWN,
                            condition='InProgress')
        self._start_again()
        self.assert_all_see(server, smaller)

        # And while libvirt waits for a vCPU, under emulation in vain
        smallest = size.Size(1, 384)
        self._adjust_and_die(server, smallest, when=smallest)
        self.assert_all_see(server, smallest, charge=smaller, stale_vcpus=2,
                            condition='InProgress')
        self._start_again()
        self.assert_all_see(server, smallest, stale_vcpus=2)

    def _adjust_and_die(self, server, wanted, when=None):
        """Adjust in this thread, which is nova-compute.

        :param when: what the guest holds at its end, None for what it held
            before libvirt was asked for anything
        """
        driver = self.compute.driver
        real = driver.set_elastic_guest

        def die(*args):
            if when:
                # libvirt goes on with what it was asked for.
                self.addCleanup(fixtures.Background(real, *args).wait)
                fixtures.wait_for(
                    lambda: self.views(server).guest == when, 120,
                    'the guest holds %s' % (when,))
            raise Killed()

        endpoint = self.compute.manager.additional_endpoints[-1]
        with context.target_cell(
                context.get_admin_context(),
                self.host_mappings[self.host].cell_mapping) as cell, \
                mock.patch.object(driver, 'set_elastic_guest', die):
            instance = objects.Instance.get_by_uuid(
                cell, server['id'],
                expected_attrs=['flavor', 'system_metadata'])
            # Nobody asks again, as self.adjust() does.
            fixtures.wait_for(
                lambda: not memory.is_unsure(
                    elastic_guest.ask(driver, instance), wanted.memory_mb),
                120, 'the guest reports what it needs')
            request = rpcapi.Request.about(
                instance, cell.request_id, *wanted, persist=True)
            task.take(cell, instance, request.token)
            action.start(cell, instance)
            self.assertRaises(
                Killed, endpoint.adjust, cell, instance.uuid,
                request._asdict())

    def _start_again(self):
        # The killed one receives no more events.
        queue = events.queue_of(self.compute.driver._host)
        queue._queue_event = lambda event: None
        self.computes[self.host] = self.restart_compute_service(
            self.compute, keep_hypervisor_state=False)
        # A periodic task that it begins with
        self.reconcile()

    def test_guest_resets_itself(self):
        """A reset is no start, and the way back is not charged."""
        self.flags(settle_timeout=5, group='xloud')
        server = self.boot()
        grown = size.Size(2, 384)
        self.adjust(server, *grown, persist=False)
        self.assert_all_see(server, grown, boot=base.MINIMUM, reconcile=True)
        time.sleep(CONF.xloud.settle_timeout + 1)
        self.flags(settle_timeout=120, group='xloud')
        bills = len(self._bills())
        conditions = set()

        def is_back():
            self.reconcile()
            status = self.status(server)
            conditions.add(status['condition'])
            self.assertEqual(grown, (status['desired_vcpus'],
                                     status['desired_memory_mb']))
            return (status['condition'] == 'Settled' and
                    self.seen(server).boot not in self._runs[server['id']])

        self.domain(server).reset()
        fixtures.wait_for(is_back, 120, 'the balloon driver comes back')
        self.wait_until_booted(server)
        self.assert_all_see(server, grown, boot=base.MINIMUM, reconcile=True)
        # A busy machine may not look while it is on its way down.
        self.assertLessEqual(conditions, {'InProgress', 'Settled'})
        self.assertEqual(bills, len(self._bills()))

    def _bills(self):
        return [told for told in self.notifier.notifications
                if told.event_type == 'compute.instance.exists']

    def test_libvirtd_restarts_before_a_vcpu_leaves(self):
        server = self.boot(tiny_guest.KEEP_VCPUS)
        self.adjust(server, *GROWN)
        self.assert_all_see(server, GROWN)
        shrink = fixtures.Background(self.adjust, server, 1, expect=409)
        fixtures.wait_for(lambda: self._is_marked(server), 120,
                          'a vCPU is asked for')
        self.libvirtds[0].restart()
        self.assertIn('undo', shrink.wait())
        self.assert_all_see(server, GROWN)

    def _is_marked(self, server):
        """Whether the driver has recorded that it removes a vCPU."""
        return etree.fromstring(
            self.domain(server).XMLDesc()).xpath('./metadata/*/@unplug')

    def test_libvirtd_restarts_after_a_vcpu_left(self):
        self.flags(settle_timeout=15, group='xloud')
        server = self.boot()
        self.adjust(server, *GROWN)
        self.assert_all_see(server, GROWN)
        shrink = fixtures.Background(
            self.adjust, server, *base.MINIMUM,
            expect=409 if self.is_emulated else 202)
        # Under emulation libvirt now waits to be told that the vCPU left.
        fixtures.wait_for(lambda: self.seen(server).vcpus == 1, 120,
                          'the vCPU leaves')
        self.libvirtds[0].restart()
        answer = shrink.wait()
        if self.is_emulated:
            # It is undone, except for the vCPU, which cannot return safely.
            self.assertIn('undo', answer)
            self.assert_all_see(server, GROWN._replace(vcpus=1), boot=GROWN,
                                condition='Partial', reconcile=True)
            self.assertIn('vCPUs', self.status(server)['reason'])
        else:
            self.assert_all_see(server, base.MINIMUM, reconcile=True)
        self.restart(server, 'hard')
        self.assert_all_see(
            server, GROWN if self.is_emulated else base.MINIMUM)
