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

"""What is interrupted ends well."""

from unittest import mock

from nova import context
from nova import objects
from nova.tests.hypervisor import base
from nova.tests.hypervisor import fixtures
from nova import utils
from nova.xloud import manager
from nova.xloud import size

GROWN = size.Size(2, 512)


class Killed(BaseException):
    """nova-compute is no more."""


class RecoveryTestCase(base.HypervisorTestCase):

    def test_nova_compute_is_killed(self):
        server = self.boot()
        # Before the guest changes
        self._adjust_and_die(server, GROWN, acts=False)
        self.assert_all_see(server, base.MINIMUM, charge=GROWN,
                            condition='InProgress', reconcile=False)
        self._start_again()
        self.assert_all_see(server, GROWN)

        # After it did
        smaller = size.Size(2, 384)
        self._adjust_and_die(server, smaller, acts=True)
        self.assert_all_see(server, smaller, charge=GROWN,
                            condition='InProgress', reconcile=False)
        self._start_again()
        self.assert_all_see(server, smaller)

    def _adjust_and_die(self, server, wanted, acts):
        """Adjust in this thread, which is nova-compute."""
        driver = self.compute.driver
        real = driver.set_elastic_guest

        def die(*args):
            if acts:
                real(*args)
            raise Killed()

        endpoint = self.compute.manager.additional_endpoints[-1]
        with context.target_cell(
                context.get_admin_context(),
                self.host_mappings[self.host].cell_mapping) as cell, \
                mock.patch.object(driver, 'set_elastic_guest', die), \
                mock.patch.object(manager.ElasticServers, '_give_back'):
            instance = objects.Instance.get_by_uuid(
                cell, server['id'],
                expected_attrs=['flavor', 'system_metadata'])
            objects.InstanceAction.action_start(
                cell, instance.uuid, 'xloud_adjust', want_result=False)
            self.assertRaises(
                Killed, endpoint.adjust, cell, instance, *wanted,
                persist=True)

    def _start_again(self):
        # The dead one hears nothing more.
        self.compute.driver._host._event_queue = None
        self.computes[self.host] = self.restart_compute_service(
            self.compute, keep_hypervisor_state=False)

    def test_libvirtd_restarts_in_mid_shrink(self):
        self.flags(settle_timeout=15, group='xloud')
        server = self.boot()
        self.adjust(server, *GROWN)
        self.assert_all_see(server, GROWN)
        before = self.seen(server)
        shrink = utils.spawn(self.adjust, server, *base.MINIMUM)
        # Under emulation libvirt now waits to be told that the vCPU left.
        fixtures.wait_for(lambda: self.seen(server).vcpus == 1, 30,
                          'the vCPU leaves')
        self.libvirtds[0].restart()
        refusal = shrink.wait()
        if self.is_emulated:
            # It is undone, but for the vCPU, which cannot safely come back.
            self.assertIn('undone', refusal)
            self.assert_all_see(server, GROWN._replace(vcpus=1),
                                charge=GROWN, condition='Partial')
            self.assertIn('vCPUs', self.status(server)['reason'])
        else:
            self.adjust(server, *base.MINIMUM)
            self.assert_all_see(server, base.MINIMUM)
        self.assertEqual(before.boot, self.seen(server).boot)
        self.restart(server, 'hard')
        self.assert_all_see(
            server, GROWN if self.is_emulated else base.MINIMUM)
