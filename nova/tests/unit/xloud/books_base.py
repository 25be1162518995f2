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

"""An elastic server in the database."""

from nova import context
from nova import objects
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import books
from nova.xloud import entries
from nova.xloud import size

SMALL, LARGE = size.Size(2, 2048), size.Size(4, 4096)


class BooksTestBase(test.TestCase):
    """One server in the database."""

    def setUp(self):
        super().setUp()
        self.context = context.get_admin_context()
        self.made = self.make(fakes.flavor(
            maximum=size.Size(8, 8192), cpu=2, memory=2048))

    def make(self, flavor):
        instance = objects.Instance(
            self.context, project_id='p', user_id='u', flavor=flavor,
            old_flavor=None, new_flavor=None, vcpus=2, memory_mb=2048,
            system_metadata={'foreign': 'kept'})
        size.open_books(instance)
        instance.create()
        return instance

    def load(self):
        return objects.Instance.get_by_uuid(
            self.context, self.made.uuid,
            expected_attrs=['flavor', 'system_metadata'])

    def record(self, instance, desired):
        size.record(instance, desired, desired)
        size.settle(instance, desired)
        books.save(instance, expected_task_state=[None])

    def assert_stored(self, charge, **others):
        stored = self.load()
        self.assertEqual(charge, size.desired(stored))
        self.assertEqual(charge, size.boot(stored))
        self.assertEqual(charge, size.charged(stored))
        self.assertEqual(others, {
            key: value for key, value in stored.system_metadata.items()
            if not entries.is_entry(key)})
