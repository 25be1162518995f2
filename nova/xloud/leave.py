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

"""Leave a cloud's elastic servers to unpatched Nova.

Unpatched Nova ignores the minimum of a flavor. It counts each server with the
flavor, and its next start gives the maximum, whether the host has room or not.
So the servers grow to that before, while Nova can still refuse it.

A compute service with the series writes books and traits again. So these are
removed of hosts only whose nova-compute is down. Everything can be repeated.
"""

import collections

from oslo_log import log as logging

from nova.compute import api as compute
from nova.compute import vm_states
from nova import context as nova_context
from nova import exception
from nova.i18n import _
from nova import objects
from nova.scheduler.client import report
from nova.xloud import action
from nova.xloud import allocation
from nova.xloud import books
from nova.xloud import situation
from nova.xloud import size
from nova.xloud import traits

LOG = logging.getLogger(__name__)

_TRAITS_VERSION = '1.6'
_EXPECTED_ATTRS = ['flavor', 'pci_requests', 'services', 'system_metadata']


class Departure:

    def __init__(self, context, tell):
        """:param tell: prints a line"""
        self._context = context
        self._tell = tell
        self._compute_api = compute.API()
        self._placement = report.report_client_singleton()
        # Whether nova-compute of a host is up
        self._is_up = {}
        # Those hosts where it is not, with a context of their cell
        self._down = {}
        # What is left to do
        self._left = 0

    def run(self, servers, dry_run) -> bool:
        """Let all go.

        :param servers: as of nova.xloud.fleet
        :returns: whether nothing is left, as far as this has seen
        """
        self._tell_of_hosts(servers)
        for server in servers:
            self._tell_of(server)
            if dry_run:
                self._left += 1
                continue
            try:
                self._let_go(self._instance(server))
            except exception.InstanceNotFound:
                self._tell(_('  It is deleted.'))
            except Exception as error:
                LOG.debug('It stays as it is.', exc_info=True)
                self._left += 1
                self._tell(_('  It stays as it is: %s') % error)
        self._remove_traits(dry_run)
        return not self._left

    def look_again(self, servers) -> None:
        """Find what others have done meanwhile.

        :param servers: those that there are now
        """
        for server in servers:
            self._left += 1
            self._tell(_('%(name)s (%(id)s) has records again.') % server)
        for host, context in sorted(self._down.items()):
            try:
                if not self._ask_for_host(context, host):
                    continue
                text = _('nova-compute of %s has started meanwhile. Stop it, '
                         'because it writes records and traits again.') % host
            except Exception as error:
                text = _('It is not known whether nova-compute of %(host)s '
                         'is still stopped: %(error)s') % {
                             'host': host, 'error': error}
            self._left += 1
            self._tell(text)

    def end(self) -> int:
        """Say what is left.

        :returns: the exit code
        """
        if self._left:
            self._tell(_('Left to do: %d.') % self._left)
            return 1
        self._tell(_('Nothing is left. Flavors keep their extra specs '
                     'minimum_cpu and minimum_memory: remove them if '
                     'AggregateInstanceExtraSpecsFilter is enabled.'))
        return 0

    def _instance(self, server):
        """A server in the context of its cell, as nova-api has it."""
        mapping = objects.InstanceMapping.get_by_instance_uuid(
            self._context, server['id'])
        cell = self._context.elevated()
        nova_context.set_target_cell(cell, mapping.cell_mapping)
        return objects.Instance.get_by_uuid(
            cell, server['id'], expected_attrs=_EXPECTED_ATTRS)

    def _tell_of(self, server):
        held, most = _size(server, 'allocated'), _size(server, 'max')
        self._tell('%s (%s), %s' % (
            server['name'], server['id'],
            server['host'] or _('without a host')))
        if held == most:
            self._tell(_('  Charged its maximum, %s. Nothing changes.') %
                       (most,))
            return
        self._tell(_(
            '  Charged %(held)s. Unpatched Nova counts %(most)s at its next '
            'audit, and gives that at the next hard reboot, start or cold '
            'migration. What Placement has stays %(held)s.') % {
                'held': held, 'most': most})

    def _tell_of_hosts(self, servers):
        """How far each host will be above what it can be charged."""
        growth = collections.Counter()
        for server in servers:
            for dimension in ('vcpus', 'memory_mb'):
                growth[server['host'], dimension] += (
                    server['max_' + dimension] -
                    server['allocated_' + dimension])
        for host in sorted({server['host'] for server in servers
                            if server['host']}):
            wanted = size.Size(growth[host, 'vcpus'],
                               growth[host, 'memory_mb'])
            try:
                nodes = self._nodes(host)
                free = [allocation.free(self._context, self._placement,
                                        node.uuid) for node in nodes]
            except Exception as error:
                self._tell(_('%(host)s: it is not known how much room it '
                             'has: %(error)s') % {
                                 'host': host, 'error': error})
                continue
            free = size.Size(*map(sum, zip(*free)))
            text = _('%(host)s: its elastic servers will have %(more)s more, '
                     'and it has %(free)s free.') % {
                         'host': host, 'more': wanted, 'free': free}
            if size.largest(free, wanted) != free:
                text += _(' It will be OVER ITS CAPACITY: move servers away, '
                          'or resize them to smaller flavors.')
            self._tell(text)

    def _let_go(self, instance):
        if instance.vm_state == vm_states.RESIZED:
            # A revert gives it back what it had, in Placement too.
            raise exception.InstanceInvalidState(
                instance_uuid=instance.uuid, attr='vm_state',
                state=instance.vm_state, method='leave')
        most = size.maximum(instance.flavor)
        context = instance._context
        is_charged = instance.host and size.is_elastic(instance.flavor)
        is_up = is_charged and self._is_host_up(context, instance.host)
        if is_up and _sizes(instance) != (most, most, most):
            status = self._compute_api.xloud_adjust(
                context, instance,
                most.vcpus if size.has_elastic_vcpus(instance.flavor)
                else None,
                most.memory_mb if size.has_elastic_memory(instance.flavor)
                else None, True)
            if status.reason:
                self._tell(_('  It was asked to grow to %(most)s and is '
                             '%(condition)s: %(reason)s') % {
                                 'most': most, 'condition': status.condition,
                                 'reason': status.reason})
            else:
                self._tell(_('  It has grown to %s.') % (most,))
        if is_up:
            self._left += 1
            self._tell(_('  Its records are removed when nova-compute of '
                         '%s is stopped.') % instance.host)
            return
        if instance.task_state is not None:
            raise exception.InstanceInvalidState(
                instance_uuid=instance.uuid, attr='task_state',
                state=instance.task_state, method='leave')
        if is_charged and not size.charges_by_extra_specs(instance.flavor):
            node = objects.ComputeNode.get_by_host_and_nodename(
                context, instance.host, instance.node)
            allocation.Account(
                context, self._placement, instance, node.uuid,
            # It may have lost a part of what it is charged.
            ).allocate(size.Size(0, 0), most)
        before = situation.sizes_of(instance)
        size.close_books(instance, most)
        books.save(instance, expected_task_state=[None])
        action.settled(instance, before, before._replace(
            desired=most, boot=most, charged=most))
        self._tell(_('  It is charged %s and its records are removed.') %
                   (most,))

    def _is_host_up(self, context, host):
        if host not in self._is_up:
            self._is_up[host] = self._ask_for_host(context, host)
            if not self._is_up[host]:
                self._down[host] = context
        return self._is_up[host]

    def _ask_for_host(self, context, host):
        """Whether nova-compute of a host runs, also if it is forced down."""
        service = objects.Service.get_by_compute_host(context, host)
        is_forced_down = service.forced_down
        service.forced_down = False
        is_up = self._compute_api.servicegroup_api.service_is_up(service)
        if is_up and is_forced_down:
            self._tell(_('nova-compute of %s is forced down, and has reported '
                         'a short time ago. Stop it, and wait until it counts '
                         'as down without that.') % host)
        return is_up

    def _nodes(self, host):
        mapping = objects.HostMapping.get_by_host(self._context, host)
        with nova_context.target_cell(
                self._context, mapping.cell_mapping) as cell:
            return objects.ComputeNodeList.get_all_by_host(cell, host)

    def _remove_traits(self, dry_run):
        """Remove our traits from the hosts whose nova-compute is down."""
        nova_context.load_cells()
        for cell in nova_context.CELLS:
            if cell.is_cell0():
                continue
            with nova_context.target_cell(self._context, cell) as cctxt:
                try:
                    nodes = objects.ComputeNodeList.get_all(cctxt)
                except Exception as error:
                    self._not_removed(_('cell %s') % cell.uuid, error)
                    continue
                for node in nodes:
                    try:
                        self._remove_traits_of(cctxt, node, dry_run)
                    except Exception as error:
                        self._not_removed(node.hypervisor_hostname, error)

    def _not_removed(self, where, error):
        self._left += 1
        self._tell(_('The traits of %(where)s are not removed: %(error)s') % {
            'where': where, 'error': error})

    def _remove_traits_of(self, context, node, dry_run):
        url = '/resource_providers/%s/traits' % node.uuid
        response = self._placement.get(url, version=_TRAITS_VERSION)
        if response.status_code == 404:
            return
        body = _body_of(response)
        kept = set(body['traits']) - {
            traits.ELASTIC_VCPU, traits.ELASTIC_MEMORY}
        if len(kept) == len(body['traits']):
            return
        host = node.hypervisor_hostname
        if dry_run or self._is_host_up(context, node.host):
            self._left += 1
            self._tell(_('The traits of %s are removed when its nova-compute '
                         'is stopped.') % host)
            return
        response = self._placement.put(
            url, {'traits': sorted(kept), 'resource_provider_generation':
                  body['resource_provider_generation']},
            version=_TRAITS_VERSION)
        _body_of(response)
        self._tell(_('The traits of %s are removed.') % host)


def _body_of(response):
    if response.status_code != 200:
        raise exception.NovaException(
            _('Placement answers %(code)d: %(text)s') % {
                'code': response.status_code, 'text': response.text})
    return response.json()


def _size(server, word):
    return size.Size(server[word + '_vcpus'], server[word + '_memory_mb'])


def _sizes(instance):
    return (size.desired(instance), size.boot(instance),
            size.charged(instance))
