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

"""What must be true at every moment, not only at the end."""

import contextlib
import time

from nova.tests.hypervisor import base
from nova.tests.hypervisor import fixtures
from nova.xloud import size


@contextlib.contextmanager
def charge(test, server):
    """A server is never charged less in Placement than its guest holds.

    :param test: the HypervisorTestCase
    :returns: what the guest held, a set of Size that grows
    """
    host = test.instance(server).host
    domain = test.domain(server)
    held = set()
    is_over = False
    # It does not stop other green threads.
    in_qemu = test.compute.driver._host._wrap_libvirt_proxy(base.in_qemu)

    def charged():
        return test.allocated(server['id'])[host]

    def watch():
        before = charged()
        while not is_over:
            # While libvirt changes the guest it does not answer.
            now = in_qemu(domain)
            after = charged()
            # It may have been any of both at that moment.
            limit = size.largest(before, after)
            test.assertEqual(limit, size.largest(limit, now), now)
            held.add(now)
            before = after
            time.sleep(0.1)

    watcher = fixtures.Background(watch)
    try:
        fixtures.wait_for(lambda: held, 120, 'the first look')
        yield held
    finally:
        is_over = True
        watcher.wait()
