#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""What the demo does: run as a process in Nova's tree.

Each line on stdout is a JSON list of a kind and its fields:

========  ===============================================================
step      its name for the picture, title
request   method, path, body
response  status, body, seconds
wait      what for
sizes     desired, charged, actual, guest, each [vCPUs, MiB] or None
views     {who: [vCPUs, MiB]}, seconds until they agreed
note      text
missing   what this machine lacks; nothing follows
failed    what went wrong; nothing follows
========  ===============================================================

Exits with 0, with 1 after a failure, and with 2 if something is missing.
"""

import json
import os
import sys
import textwrap
import threading
import time
import traceback
import urllib.parse

sys.path[0] = ''  # nova of the working directory, tools of nobody
# Upstream's limit is for one test.
os.environ['OS_TEST_TIMEOUT'] = '0'
_OUTPUT, sys.stdout = sys.stdout, sys.stderr

from nova.tests.hypervisor import two_hosts  # noqa: E402,I100

import fixtures  # noqa: E402

import nova.conf  # noqa: E402
from nova.tests.functional.api import client  # noqa: E402
from nova.tests.hypervisor import base  # noqa: E402
from nova.tests.hypervisor import fixtures as hypervisor  # noqa: E402
from nova.tests.hypervisor import tiny_guest  # noqa: E402
from nova.xloud import size  # noqa: E402

CONF = nova.conf.CONF

MINIMUM = size.Size(1, 384)
GROWN = size.Size(3, 1024)
SHRUNK = size.Size(2, 640)
CORES = 3
RESERVE_MB = 256
_LONGEST = 240
_SECONDS = 60
_SECONDS_BETWEEN_SIZES = 0.5
_SECONDS_UNTIL_OLD = 1.5


def tell(kind, *fields):
    print(json.dumps([kind, *fields]), file=_OUTPUT, flush=True)


class _Cloud(two_hosts.TwoHostsTestCase):
    """Nova on two hosts as tests run it, with what a person can recognise.

    Guests that follow late are settled as in any cloud: by libvirt's events
    and a reconcile each minute, not by a test.
    """

    # Nova's tests delete all public names in the end.
    _error = None

    def runTest(self):
        self.addOnException(self._remember)
        self.flags(cores=CORES, group='quota')
        self.flags(guest_memory_reserve_mb=RESERVE_MB, group='xloud')
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.functional.api.client.TestOpenStackClient.request',
            _telling(client.TestOpenStackClient.request)))
        self._sizes = None
        self.addCleanup(self.stop_watching)
        Demo(self).play()

    def _remember(self, exc_info):
        # What cleans up may never end.
        traceback.print_exception(*exc_info)
        self._error = self._error or exc_info[1]

    @property
    def reason(self):
        """Why it failed."""
        return _sentence(self._error)

    def start_host(self, *args, **kwargs):
        # Tests have other values of these.
        self.flags(periodic_enable=True)
        CONF.clear_override('mem_stats_period_seconds', group='libvirt')
        return super().start_host(*args, **kwargs)

    # A person reads these names.

    def _create_flavor(self, **kwargs):
        return super()._create_flavor(id='elastic', name='elastic', **kwargs)

    def create_server(self, *args, **kwargs):
        return super().create_server(*args, name='demo', **kwargs)

    def wait_until_booted(self, server):
        tell('wait', 'the guest boots')
        if self._sizes is None:
            self._sizes = _Sizes(self, server)
        return super().wait_until_booted(server)

    def stop_watching(self):
        if self._sizes is not None:
            self._sizes.stop()

    def delete(self, server):
        self._delete_server(server)


class Demo:
    """The steps of the demo, in a cloud."""

    def __init__(self, cloud):
        self.cloud = cloud

    def play(self):
        cloud = self.cloud
        tell('note', 'Guests run %s.' % (
            'under software emulation: there is no KVM here'
            if cloud.is_emulated else 'with KVM'))

        tell('step', 'create',
             'Create an elastic flavor, and a server at its minimum')
        server = cloud.boot(tiny_guest.USE_128_MB, minimum=MINIMUM)
        self.show(server, MINIMUM)

        tell('step', 'grow', 'Grow it while it runs')
        cloud.adjust(server, *GROWN)
        self.show(server, GROWN)

        tell('step', 'shrink', 'Shrink it while it runs')
        self._wait_for_statistics(server)
        cloud.adjust(server, *SHRUNK)
        self.show(server, SHRUNK, stale_vcpus=GROWN.vcpus)
        if cloud.is_emulated:
            tell('note', 'libvirt still counts the vCPU that left, because '
                 'without KVM QEMU does not report that. Nova asks QEMU as '
                 'well, and the next start of the guest corrects libvirt. See '
                 '"Hosts without KVM" in doc/source/xloud/operators.rst.')

        tell('step', 'reboot', 'Reboot it: it keeps its size')
        cloud.restart(server, 'hard')
        self.show(server, SHRUNK)

        tell('step', 'migrate live', 'Migrate it live to the other host')
        cloud.migrate_live(server, cloud.other)
        self.show(server, SHRUNK)
        tell('note', 'The guest runs on, up %d s: it did not boot again.' %
             cloud.seen(server).uptime)

        tell('step', 'grow', 'Grow it there, until its next boot only')
        cloud.adjust(server, *GROWN, persist=False)
        self.show(server, GROWN, boot=SHRUNK)

        tell('step', 'refused', 'Ask for three things that must be refused')
        tell('note', 'More than its flavor has:')
        self.refuse(server, 400, current_vcpus=8)
        tell('note', 'More than the quota of its project has left:')
        self.refuse(server, 403, current_vcpus=CORES + 1)
        self._wait_for_statistics(server)
        tell('note', 'Less memory than its guest can do without, which keeps '
             'a file of 128 MiB there:')
        self.refuse(server, 409, current_memory_mb=MINIMUM.memory_mb)
        self.show(server, GROWN, boot=SHRUNK)

        tell('step', 'delete', 'Delete it')
        cloud.stop_watching()
        cloud.delete(server)
        cloud.assert_nothing_left(server['id'])
        tell('note', 'Placement charges nobody for it any more.')

    def show(self, server, held, boot=None, stale_vcpus=None):
        """Wait until all agree on the size of a server, and show it."""
        start = time.monotonic()
        tell('wait', 'all agree')
        try:
            self.cloud.assert_all_see(
                server, held, boot=boot, stale_vcpus=stale_vcpus)
        except self.cloud.failureException:
            self._tell_views(server, start)
            status = self.cloud.status(server)
            self.cloud.fail(
                'They do not all say %s, and the condition of the server is '
                '%s. %s' % (held, status['condition'], status['reason'] or ''))
        self._tell_views(server, start)

    def _tell_views(self, server, start):
        views = self.cloud.views(server)
        tell('views', {
            'guest': views.guest, 'QEMU': views.qemu,
            'libvirt': views.libvirt, 'database': views.row,
            **{'Placement, %s' % host: charge
               for host, charge in views.placement.items()},
        }, time.monotonic() - start)

    def _wait_for_statistics(self, server):
        what = 'the guest reports what memory it uses'
        tell('wait', what)
        hypervisor.wait_for(
            lambda: self.cloud.status(server)['balloon_driver_active'],
            _SECONDS, what)

    def refuse(self, server, status, **body):
        self.cloud.api.api_post(
            '/os-xloud-adjust/%s' % server['id'], body,
            check_response_status=[status])


class _Sizes:
    """Tells the sizes of a server again and again, for the picture."""

    def __init__(self, cloud, server):
        self._cloud, self._server = cloud, server
        self._actual = _Actual(lambda: cloud.status(server))
        self._watchers = [_Watcher(self._actual.look), _Watcher(self._look)]

    def stop(self):
        for watcher in self._watchers:
            watcher.stop()

    def _look(self):
        instance = self._cloud.instance(self._server)
        seen = self._cloud.seen(self._server)
        tell('sizes', size.desired(instance), size.charged(instance),
             self._actual.size,
             seen and [seen.vcpus, base.MAXIMUM.memory_mb - seen.taken_mb])


class _Watcher:
    """Looks again and again, in a thread that is green under eventlet."""

    def __init__(self, look):
        self._is_over = threading.Event()
        self._look = look
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._is_over.wait(_SECONDS_BETWEEN_SIZES):
            self._look()

    def stop(self):
        self._is_over.set()
        self._thread.join()


class _Actual:
    """What Nova says that the guest holds.

    That waits for the host, so it has a thread of its own. What is old is not
    told.
    """

    def __init__(self, status):
        self._status = status
        self._asked = time.monotonic()
        self._size = None

    @property
    def size(self):
        is_new = time.monotonic() - self._asked < _SECONDS_UNTIL_OLD
        return self._size if is_new else None

    def look(self):
        status = self._status()
        self._size = [status['actual_vcpus'], status['actual_memory_mb']]
        self._asked = time.monotonic()


def _telling(request):
    """Tell of each request to Nova that changes something."""
    def tell_of(self, url, method='GET', body=None, headers=None):
        if method == 'GET':
            return request(self, url, method, body, headers)
        path = urllib.parse.urlsplit(url).path.replace('//', '/')
        tell('request', method, path, json.loads(body) if body else None)
        start = time.monotonic()
        response = request(self, url, method, body, headers)
        tell('response', response.status_code,
             response.json() if response.content else None,
             time.monotonic() - start)
        return response

    return tell_of


def _cause(error):
    """A fixture that cannot be set up raises several, the first of them."""
    if isinstance(error, fixtures.MultipleExceptions):
        return error.args[0][1]
    return error


def _sentence(error):
    """As much of it as a person reads; the log has all."""
    text = textwrap.shorten(str(error), _LONGEST, placeholder=' ...')
    if isinstance(error, AssertionError):
        return text
    return '%s: %s' % (type(error).__name__, text)


def main():
    cloud = _Cloud()
    try:
        _Cloud.setUpClass()
        result = cloud.run()
    except Exception as raised:
        error = _cause(raised)
        if isinstance(error, tiny_guest.Missing):
            tell('missing', str(error))
            return 2
        traceback.print_exc()
        tell('failed', _sentence(error))
        return 1
    finally:
        _Cloud.doClassCleanups()
    for _, report in result.errors + result.failures:
        print(report, file=sys.stderr)
    if result.wasSuccessful():
        return 0
    tell('failed', cloud.reason)
    return 1


if __name__ == '__main__':
    sys.exit(main())
