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

"""What the QEMU guest agent of a guest reports about its vCPUs.

QEMU and libvirt know which vCPUs are plugged. Only the guest knows whether it
uses them, and its agent, if it has one, reports that. An agent can be absent,
old or hang, and it belongs to the guest. So Nova never waits long for one, and
not often.
"""

import math
import threading
import time
import typing as ty

from oslo_log import log as logging

from nova.virt.libvirt.xloud import patience
from nova.virt.libvirt.xloud import qemu

LOG = logging.getLogger(__name__)

NAME = 'org.qemu.guest_agent.0'

# For one answer, and for all agents that are asked together.
SECONDS = 2
# Until an agent that did not answer is asked again.
_SILENCE_SECONDS = 300
# The share of the time in which a slow agent may be asked.
_SLOW_SHARE = 0.1

# libvirt serves few calls of a client at once, and all agents of a host may be
# one member's.
_turn = threading.Lock()


class Agent:
    """The agent of one run of a guest.

    :ivar online: the number of online vCPUs that it last reported, None if it
        does not answer
    :ivar asked_at: when it was last asked, by the monotonic clock
    """

    def __init__(self):
        self._silent_until = 0.0
        self._is_asked = False
        self.online: ty.Optional[int] = None
        self.asked_at = -math.inf

    def ask(self, host, domain) -> None:
        """Ask it how many vCPUs are online.

        If that has to wait, its last answer stays.

        :param domain: a virDomain, not wrapped
        """
        if self._is_asked or time.monotonic() < self._silent_until:
            return
        self._is_asked = True
        try:
            self._ask(host, domain)
        finally:
            self._is_asked = False

    def _ask(self, host, domain):
        begin, failure = time.monotonic(), None

        def count():
            nonlocal begin
            begin = self.asked_at = time.monotonic()
            return qemu.count_online_vcpus(host, domain, SECONDS)

        try:
            self.online = patience.call(count, seconds=SECONDS, turn=_turn)
        except Exception as error:
            if not patience.was_made(error):
                return
            self.online, failure = None, error
        end = time.monotonic()
        if end - begin < SECONDS / 4:
            # An absent agent costs no time, too, and can appear at any moment.
            return
        if failure is None:
            self._silent_until = end + (end - begin) / _SLOW_SHARE
        else:
            self._silent_until = end + _SILENCE_SECONDS
            LOG.info('The agent of %(domain)s is not asked for a while: '
                     '%(error)s',
                     {'domain': domain.UUIDString(), 'error': failure})

    def forget(self) -> None:
        """Forget that it was slow: the guest and its agent start again."""
        self._silent_until = 0.0
