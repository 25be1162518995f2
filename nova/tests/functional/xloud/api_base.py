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

"""The API of an elastic server, before a compute that a test scripts."""

import time

import fixtures
import jsonschema
import oslo_messaging as messaging
from oslo_utils import timeutils

from nova.api.openstack.compute.schemas import xloud_adjust as schema
from nova import context
from nova import exception
from nova import objects
from nova.tests.fixtures import xloud_patience
from nova.tests.fixtures import xloud_reuse
from nova.tests.functional import integrated_helpers
from nova.virt import fake
from nova.xloud import entries
from nova.xloud import notes
from nova.xloud import size
from nova.xloud import task
from nova.xloud import traits

MINIMUM = size.Size(2, 1024)
MAXIMUM = size.Size(8, 4096)
RANGE = {'minimum_cpu': '2', 'minimum_memory': '1024'}
TRAITS = (traits.ELASTIC_MEMORY, traits.ELASTIC_VCPU)


class Driver(fake.MediumFakeDriver):
    """Starts elastic servers. What happens to them later is scripted."""

    capabilities = dict(
        fake.MediumFakeDriver.capabilities,
        supports_xloud_elastic_vcpu=True, supports_xloud_elastic_memory=True)


class Endpoint:
    """The compute service's side of the RPC, which does as it is told."""

    target = messaging.Target(namespace='xloud', version='2.0')

    def __init__(self, actual):
        self.actual = actual
        self.balloon = True
        self.pinned = False
        self.error = None
        self.delay = 0
        self.adjusts = []
        self.questions = 0

    @messaging.expected_exceptions(exception.Invalid)
    def claim(self, context, instance_uuid, request):
        asked = size.Size(request['vcpus'] or 0, request['memory_mb'] or 0)
        return list(size.largest(asked, size.Size(*request['charged'])))

    @messaging.expected_exceptions(exception.Invalid)
    def release(self, context, instance_uuid, request):
        pass

    @messaging.expected_exceptions(exception.Invalid)
    def adjust(self, context, instance_uuid, request):
        vcpus, memory_mb = request['vcpus'], request['memory_mb']
        persist = request['persist']
        self.adjusts.append((vcpus, memory_mb, persist))
        time.sleep(self.delay)
        if self.error:
            raise self.error
        instance = objects.Instance.get_by_uuid(
            context, instance_uuid,
            expected_attrs=['flavor', 'system_metadata'])
        if task.of(instance) != task.Task(request['token'], task.OFFERED):
            raise exception.ElasticConflict(
                instance_uuid=instance_uuid, reason='nobody waits for')
        desired, boot = size.desired(instance), size.boot(instance)
        if vcpus is not None:
            desired = desired._replace(vcpus=vcpus)
        if memory_mb is not None:
            desired = desired._replace(memory_mb=memory_mb)
        size.record(instance, desired, desired if persist else boot)
        notes.mark_changed(instance, timeutils.utcnow())
        task.end(instance, request['token'])
        self.actual = desired
        return self._state()

    @messaging.expected_exceptions(exception.Invalid)
    def guest_state(self, context, instance):
        self.questions += 1
        if self.error:
            raise self.error
        return self._state()

    def _state(self):
        vcpus, memory_mb = self.actual or (None, None)
        return {'actual_vcpus': vcpus, 'actual_memory_mb': memory_mb,
                'balloon_driver_active': self.balloon,
                'memory_pinned': self.pinned, 'cannot_plug': False,
                'used_memory_mb': 256 if self.balloon else None}


class States:
    """The part that has another version."""

    target = messaging.Target(namespace='xloud', version='1.0')

    def __init__(self, endpoint):
        self.guest_state = endpoint.guest_state


class Answers:
    """What the API says of the size of a server."""

    def read(self, status, response):
        """The status of the server, or why it was refused."""
        self.assertEqual(status, response.status)
        if status >= 400:
            (fault,) = response.body.values()
            self.assertEqual(status, fault['code'])
            return fault['message']
        jsonschema.validate(response.body, schema.show_response)
        return response.body['xloud_status']


class AdjustTestBase(Answers, integrated_helpers._IntegratedTestBase):

    CAST_AS_CALL = False
    microversion = 'latest'
    networks = 'none'

    def setUp(self):
        self.useFixture(xloud_patience.PromptMessages())
        self.useFixture(xloud_reuse.Reuse())
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            'nova.xloud.rpcapi._ROUTER', None))
        self.ctxt = context.get_admin_context()
        self.endpoint = Endpoint(MINIMUM)
        # Before those of the service itself, so that they are not reached.
        self.endpoints = self.compute.rpcserver.dispatcher.endpoints
        self.endpoints[:0] = [self.endpoint, States(self.endpoint)]

    def _setup_compute_service(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.fake.ElasticDriver', Driver))
        self.flags(compute_driver='fake.ElasticDriver')
        return super()._setup_compute_service()

    def _create(self, **extra_specs):
        flavor_id = self._create_flavor(
            vcpu=MAXIMUM.vcpus, memory_mb=MAXIMUM.memory_mb, disk=1,
            ephemeral=0, extra_spec=extra_specs)
        server = self._create_server(
            flavor_id=flavor_id, networks=self.networks, api=self.api)
        return server

    def _create_elastic(self, **extra_specs):
        server = self._create(**RANGE, **extra_specs)
        self._charge(server, MINIMUM)
        return server

    def _report(self, *names):
        """Make the host report these of our traits."""
        (provider,) = self._get_all_providers()
        rp_uuid = provider['uuid']
        others = set(self._get_provider_traits(rp_uuid)) - set(TRAITS)
        self._set_provider_traits(rp_uuid, sorted(others | set(names)))

    def _instance(self, server):
        return objects.Instance.get_by_uuid(
            self.ctxt, server['id'],
            expected_attrs=['flavor', 'system_metadata', 'pci_requests'])

    def _charge(self, server, charge):
        instance = self._instance(server)
        instance.vcpus, instance.memory_mb = charge
        instance.save()
        consumer = '/allocations/%s' % server['id']
        allocation = self.placement.get(consumer, version='1.28').body
        for provider in allocation['allocations'].values():
            provider['resources'].update(
                VCPU=charge.vcpus, MEMORY_MB=charge.memory_mb)
            del provider['generation']
        self.placement.put(consumer, allocation, version='1.28')

    def _adjust(self, server, status=202, api=None, **body):
        return self._post(server, body, status, api)

    def _post(self, server, body, status, api=None):
        response = (api or self.api).api_post(
            '/os-xloud-adjust/%s' % server['id'], body,
            check_response_status=[status])
        return self.read(status, response)

    def _status(self, server, url='/os-xloud-adjust/%s', status=200,
                api=None):
        response = (api or self.api).api_get(
            url % server['id'], check_response_status=[status])
        return self.read(status, response)

    def _refuse(self, status, server, text, api=None, body=None):
        """Check that an adjust is refused and changes nothing."""
        before = self._instance(server)
        body = body or {'current_vcpus': 4}
        asked = len(self.endpoint.adjusts)
        message = self._post(server, body, status, api)
        self.assertIn(text, message)
        after = self._instance(server)
        self.assertEqual(
            (before.vcpus, before.memory_mb, self._metadata(before)),
            (after.vcpus, after.memory_mb, self._metadata(after)))
        self.assertEqual(before.task_state, after.task_state)
        if self.endpoint.error is None and not self.endpoint.delay:
            self.assertEqual(asked, len(self.endpoint.adjusts))
        return message

    @staticmethod
    def _metadata(instance):
        # Each look into the books for a change counts, the end of an earlier
        # request is forgotten, and a request that took the task was in
        # progress for a moment.
        return {key: value for key, value in instance.system_metadata.items()
                if key not in (entries.BOOKS, notes.TASK, notes.SINCE)}
