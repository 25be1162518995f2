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

from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids

from nova import exception
from nova import objects
from nova import test
from nova.virt import driver
from nova.virt import event
from nova.xloud import guest
from nova.xloud import size


class TestGuestState(test.NoDBTestCase):

    def test_a_stopped_guest_holds_nothing(self):
        self.assertFalse(guest.NOT_RUNNING.running)
        self.assertEqual(size.Size(0, 0), guest.NOT_RUNNING.holds)
        self.assertIsNone(guest.NOT_RUNNING.used_memory_mb)

    def test_an_event_is_of_one_instance(self):
        changed = guest.GuestChangedEvent('a-uuid')
        self.assertIsInstance(changed, event.InstanceEvent)
        self.assertEqual('a-uuid', changed.get_instance_uuid())


class TestAsk(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.instance = objects.Instance(uuid=uuids.server)
        self.driver = mock.Mock()

    def ask(self, answer):
        self.driver.get_elastic_guests.side_effect = [answer]
        return guest.ask(self.driver, self.instance, wait=True)

    def assert_conflict(self, reason, answer):
        error = self.assertRaises(exception.ElasticConflict, self.ask, answer)
        self.assertIn(reason, error.format_message())

    def test_a_guest_that_answers(self):
        self.assertIs(guest.NOT_RUNNING,
                      self.ask({uuids.server: guest.NOT_RUNNING}))
        self.driver.get_elastic_guests.assert_called_once_with(
            [self.instance], True, False)

    def test_silence_is_a_conflict_for_now(self):
        self.assert_conflict('its guest does not answer', {})
        self.assert_conflict('its hypervisor does not answer',
                             RuntimeError('libvirtd is gone'))

    def test_a_driver_that_never_answers(self):
        self.assertRaises(NotImplementedError, self.ask,
                          NotImplementedError())


class TestComputeDriver(test.NoDBTestCase):
    """A hypervisor without elastic servers says so."""

    def setUp(self):
        super().setUp()
        self.driver = driver.ComputeDriver(virtapi=None)

    def test_get_elastic_guests(self):
        self.assertRaises(NotImplementedError,
                          self.driver.get_elastic_guests, [])

    def test_set_elastic_guest(self):
        self.assertRaises(NotImplementedError, self.driver.set_elastic_guest,
                          None, size.Size(1, 1), size.Size(1, 1))

    def test_a_refusal_tells_the_reason(self):
        refused = exception.ElasticGuestRefused(reason='no balloon')
        self.assertIn('no balloon', refused.format_message())
