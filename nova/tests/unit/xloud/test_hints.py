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

from oslo_utils.fixture import uuidsentinel as uuids

from nova import objects
from nova.scheduler import utils
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import hints

REBUILD = {'_nova_check_type': ['rebuild']}


class HintsTestCase(test.NoDBTestCase):

    def _spec(self, scheduler_hints, flavor=None, **kwargs):
        return objects.RequestSpec(
            flavor=flavor or fakes.flavor(cpu=2),
            instance_uuid=uuids.server,
            scheduler_hints=scheduler_hints, **kwargs)

    def test_of_a_user(self):
        spec = self._spec(
            dict(REBUILD, _nova_other=['1'], same_host=[uuids.other]), id=1)
        hints.ignore_users(spec)
        self.assertEqual({'same_host': [uuids.other]}, spec.scheduler_hints)
        self.assertFalse(utils.request_is_rebuild(spec))
        self.assertIn('_nova_check_type, _nova_other', self.stdlog.logger
                      .output)

    def test_of_nova(self):
        """It takes the id away, so that the hint is never stored."""
        spec = self._spec(dict(REBUILD))
        hints.ignore_users(spec)
        self.assertTrue(utils.request_is_rebuild(spec))

    def test_not_elastic(self):
        spec = self._spec(dict(REBUILD), fakes.flavor(), id=1)
        hints.ignore_users(spec)
        self.assertEqual(REBUILD, spec.scheduler_hints)

    def test_nothing_to_ignore(self):
        hints.ignore_users(None)
        hints.ignore_users(objects.RequestSpec(id=1))
        for scheduler_hints in (None, {}, {'group': [uuids.group]}):
            spec = self._spec(scheduler_hints, id=1)
            hints.ignore_users(spec)
            self.assertEqual(scheduler_hints, spec.scheduler_hints)
        self.assertNotIn('only for Nova', self.stdlog.logger.output)
