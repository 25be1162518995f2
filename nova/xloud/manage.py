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

"""The commands ``nova-manage xloud``."""

import sys

from oslo_serialization import jsonutils
import prettytable

from nova.cmd import common as cmd_common
from nova import context as nova_context
from nova.i18n import _
from nova.xloud import fleet
from nova.xloud import leave
from nova.xloud import noted

args = cmd_common.args
action_description = cmd_common.action_description


class XloudCommands:
    """Look after elastic servers."""

    @action_description(
        _('List the elastic servers of all projects with their sizes, from '
          'what is recorded about them.'))
    @args('--condition', dest='conditions', action='append',
          choices=noted.CONDITIONS,
          help='Only servers of this condition. May be given several times.')
    @args('--host', metavar='<host>', help='Only servers of this host.')
    @args('--project-id', dest='project_id', metavar='<project_id>',
          help='Only servers of this project.')
    @args('--json', dest='as_json', action='store_true', default=False,
          help='Print a JSON list.')
    def list(self, conditions=(), host=None, project_id=None, as_json=False):
        silent = set()
        servers = fleet.every(
            nova_context.get_admin_context(),
            fleet.Filters(project_id, host, conditions), silent)
        if as_json:
            print(jsonutils.dumps([*servers], indent=2))
            return _tell_of(silent)
        table = prettytable.PrettyTable([
            _('Server'), _('Name'), _('Host'), _('Condition'), _('Since'),
            _('vCPUs'), _('Memory (MiB)'), _('Reason')])
        table.align = 'l'
        for server in servers:
            table.add_row([
                server['id'], server['name'], server['host'],
                server['condition'], server['since'] or '',
                *(_('%(allocated)d of %(min)d to %(max)d') % {
                    word: server['%s_%s' % (word, dimension)]
                    for word in ('allocated', 'min', 'max')}
                  for dimension in ('vcpus', 'memory_mb')),
                server['reason'] or ''])
        print(table)
        return _tell_of(silent)

    @action_description(
        _('Prepare to replace XLoud Nova by unpatched Nova: grow the elastic '
          'servers to the maximum that they will have, and remove what is '
          'recorded about them. Run it with the computes up, and again when '
          'they are stopped. Returns 0 when nothing is left, 1 otherwise.'))
    @args('--dry-run', dest='dry_run', action='store_true', default=False,
          help='Only print what unpatched Nova will do with each server.')
    def leave(self, dry_run=False):
        context = nova_context.get_admin_context()
        departure = leave.Departure(context, print)
        servers, code = _servers_with_books(context)
        if code:
            return code
        if departure.run(servers, dry_run):
            # With many servers that took hours.
            servers, code = _servers_with_books(context)
            if code:
                return code
            departure.look_again(servers)
        return departure.end()


def _servers_with_books(context):
    """All of them, and an exit code.

    With a part of the servers, nothing that is said would be true.
    """
    silent = set()
    servers = [*fleet.every(
        context, fleet.Filters(with_any_books=True), silent)]
    return servers, _tell_of(silent)


def _tell_of(silent):
    """Name the cells whose servers are not known.

    :returns: the exit code
    """
    for cell in sorted(silent):
        print(_('Cell %s does not answer, so its servers are not known.') %
              cell, file=sys.stderr)
    return 1 if silent else 0
