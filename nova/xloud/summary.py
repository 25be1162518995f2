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

"""One line about the elastic servers of a host, for alerts.

A program that reads logs can count on its form: names and numbers, and the
numbers of one pass in one line.
"""

import collections
import typing as ty

from oslo_log import log as logging

from nova.xloud import condition
from nova.xloud import noted
from nova.xloud import size

LOG = logging.getLogger(__name__)


def log(instances, unknown: ty.Container[str]) -> None:
    """Say how many servers have which condition, unless all are Settled.

    :param instances: the servers of the host, as they are after a pass
    :param unknown: the uuids of those whose guests did not answer
    """
    counts = collections.Counter(
        condition.UNKNOWN if instance.uuid in unknown
        else noted.of(instance.system_metadata)[0]
        for instance in instances if size.is_elastic(instance.flavor))
    if set(counts) <= {condition.SETTLED}:
        return
    LOG.info('Elastic servers: %s, total=%d', ', '.join(
        '%s=%d' % (name, counts[name]) for name in condition.ALL
        if counts[name]), sum(counts.values()))
