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

from nova import exception
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
