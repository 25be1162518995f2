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

"""The hosts that elastic servers can run on.

With a trait for each dimension, a host reports that it can start a server with
less than the maximum of its flavor and change its size while it runs. Other
hosts would ignore the minimum, or never let the server grow. So an elastic
server must never run on them, not even during a rolling upgrade or when an
operator forces a host.
"""

import time
import typing as ty
import weakref

from keystoneauth1 import exceptions as ks_exc
from oslo_log import log as logging

from nova import exception
from nova.i18n import _
from nova import objects
from nova.objects import fields
from nova.scheduler.client import report
from nova.xloud import size

LOG = logging.getLogger(__name__)

ELASTIC_VCPU = 'CUSTOM_XLOUD_ELASTIC_VCPU'
ELASTIC_MEMORY = 'CUSTOM_XLOUD_ELASTIC_MEMORY'

# Where QEMU can plug vCPUs into a guest that runs, and take them out again. On
# s390x it can only plug them, so that a server would never shrink.
VCPU_HOTPLUG_ARCHITECTURES = (
    fields.Architecture.X86_64,
    fields.Architecture.PPC64LE,
)

_SECONDS_KNOWN = 60
# Of a cloud that is larger, hosts are asked for more often.
_MOST_KNOWN = 10000
# By the client of Placement, which is one in each process.
_known: ty.MutableMapping[
    ty.Any, ty.Dict[ty.Tuple[str, str], ty.Tuple[float, ty.FrozenSet[str]]]
] = weakref.WeakKeyDictionary()


def required(flavor) -> ty.Set[str]:
    """The traits of a host that can run servers of this flavor."""
    traits = set()
    if size.has_elastic_vcpus(flavor):
        traits.add(ELASTIC_VCPU)
    if size.has_elastic_memory(flavor):
        traits.add(ELASTIC_MEMORY)
    return traits


def require(context, request_spec) -> bool:
    """Require hosts that can run a server of this flavor.

    :returns: whether there was something to require
    :raises RequestFilterFailed: if there is no such host in the whole cloud.
        Placement would refuse the query if no host ever reported the trait,
        and return nothing otherwise. Neither shows the user why.
    """
    if not size.is_elastic(request_spec.flavor):
        return False
    traits = required(request_spec.flavor)
    missing = traits - _reported(context, traits)
    if missing:
        raise exception.RequestFilterFailed(
            reason=_('No host can run servers of an elastic flavor: none '
                     'reports the trait %s.') % ', '.join(sorted(missing)))
    request_spec.root_required.update(traits)
    return True


def of_host(context, reportclient, instance) -> ty.FrozenSet[str]:
    """Which of our traits the host of a server reports.

    A positive answer is kept for a minute, because a client that polls the
    status would otherwise ask Placement each time. A negative answer is not
    kept, so that an upgraded host is known at once.

    :raises: as get_provider_traits(), and ComputeHostNotFound
    """
    known = _known.setdefault(reportclient, {})
    key = (instance.host, instance.node)
    until, reported = known.get(key, (0, frozenset()))
    if time.monotonic() < until and required(instance.flavor) <= reported:
        return reported
    node = objects.ComputeNode.get_by_host_and_nodename(context, *key)
    reported = frozenset(reportclient.get_provider_traits(
        context, node.uuid).traits & {ELASTIC_VCPU, ELASTIC_MEMORY})
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[key] = (time.monotonic() + _SECONDS_KNOWN, reported)
    return reported


def check_forced_host(context, reportclient, instance, node) -> None:
    """Check the destination of a move that bypasses the scheduler.

    :raises NoValidHost: if it cannot run this server
    """
    traits = required(instance.flavor)
    if not traits:
        return
    missing = traits - reportclient.get_provider_traits(
        context, node.uuid).traits
    if missing:
        raise exception.NoValidHost(
            reason=_('Host %(host)s cannot run a server of an elastic '
                     'flavor: it does not report the trait %(traits)s.') %
            {'host': node.host, 'traits': ', '.join(sorted(missing))})


def _reported(context, traits):
    """The traits among these that any host reports."""
    try:
        response = report.report_client_singleton().get(
            '/traits?associated=true&name=in:' + ','.join(sorted(traits)),
            version='1.6', global_request_id=context.global_id)
        if response.status_code == 200:
            return set(response.json()['traits'])
        LOG.warning('Placement did not say whether there are elastic hosts: '
                    '%s', response.text)
    except (ks_exc.ClientException, LookupError, TypeError,
            ValueError) as error:
        # The last three if a proxy answers.
        LOG.warning('Could not ask Placement for elastic hosts: %s', error)
    # The scheduler asks Placement next, and reports what is wrong.
    return traits
