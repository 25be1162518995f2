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

"""The half of benchmarks.inert that runs in a tree, as a process there.

It answers each [subject, count] on standard input with seconds of CPU time.
"""

import json
import sys
import time

from nova import context
from nova import objects
from nova.objects import base as objects_base
from nova.scheduler import request_filter
from nova.scheduler import utils as scheduler_utils
from nova.tests.unit.virt.libvirt import test_driver
from nova.virt import fake
from nova.virt.libvirt import blockinfo
from nova.virt.libvirt import driver


class Bench(test_driver.LibvirtConnTestCase):

    _results = None

    def runTest(self):
        ctxt = context.get_admin_context()
        flavor = objects.Flavor(
            id=1, flavorid='1', name='plain', memory_mb=4096, vcpus=4,
            root_gb=10, ephemeral_gb=0, swap=0,
            extra_specs={'hw:cpu_sockets': '1', 'hw_rng:allowed': 'true'})
        image_meta = objects.ImageMeta.from_dict(self.test_image_meta)
        drvr = driver.LibvirtDriver(fake.FakeVirtAPI(), True)
        instance = objects.Instance(**self.test_instance)
        instance.flavor = flavor
        disk_info = blockinfo.get_disk_info('kvm', instance, image_meta)
        network_info = test_driver._fake_network_info(self)

        def schedule():
            spec = objects.RequestSpec(
                context=ctxt, flavor=flavor, image=image_meta,
                project_id='p', user_id='u', num_instances=1,
                is_bfv=False, pci_requests=None, numa_topology=None,
                requested_resources=[], availability_zone=None,
                requested_destination=None, force_hosts=None,
                force_nodes=None, instance_group=None, limits=None,
                scheduler_hints={}, retry=None, ignore_hosts=None,
                instance_uuid=instance.uuid)
            spec.ensure_project_and_user_id(instance)
            request_filter.process_reqspec(ctxt, spec)
            scheduler_utils.ResourceRequest.from_request_spec(
                spec).to_querystring()
            objects_base.obj_to_primitive(spec)

        def configure():
            drvr._get_guest_config(instance, network_info, image_meta,
                                   disk_info, context=ctxt).to_xml()

        work = {'scheduling requests': schedule,
                'guest configurations': configure}
        for line in sys.stdin:
            subject, count = json.loads(line)
            call, start = work[subject], time.process_time()
            for _ in range(count):
                call()
            print(json.dumps(time.process_time() - start),
                  file=sys.__stdout__, flush=True)
