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

"""``openstack server adjust`` and ``openstack server elastic ...``."""

import argparse
import contextlib

from cliff import columns as cliff_columns
from openstack import exceptions as sdk_exceptions
from osc_lib.command import command
from osc_lib import exceptions

from xloud_openstackclient import elastic

# What is shown first, in the order in which people read it.
_SIZES = ('current', 'desired', 'boot', 'actual', 'allocated', 'min', 'max')


def _count(text):
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(
            "'%s' is not a number of at least 1" % text)
    return value


@contextlib.contextmanager
def _errors_reported():
    """Report what went wrong in the words of the API."""
    try:
        yield
    except (elastic.NotSettled, elastic.NoElasticServers,
            elastic.AnswerLost, sdk_exceptions.DuplicateResource) as error:
        raise exceptions.CommandError(str(error))
    except sdk_exceptions.HttpException as error:
        # Its text would begin with the kind of the error and the address.
        raise exceptions.CommandError(error.details or str(error))


class _Blockers(cliff_columns.FormattableColumn):
    """For a machine the list of the API, for a person a line for each."""

    def human_readable(self):
        return '\n'.join('%(dimension)s: %(message)s (%(code)s)' % blocker
                         for blocker in self._value)


class _Change(cliff_columns.FormattableColumn):
    """For a machine null where nothing has changed, for a person no text."""

    def human_readable(self):
        return '' if self._value is None else str(self._value)


def _project_id(connection, project, domain):
    """The ID of a project that is named by its name or ID.

    Whoever may not look for projects has to give the ID of another one.
    """
    identity = connection.identity
    query = {}
    try:
        if domain:
            query['domain_id'] = identity.find_domain(
                domain, ignore_missing=False).id
        return identity.find_project(
            project, ignore_missing=False, **query).id
    except sdk_exceptions.ForbiddenException:
        own = connection.current_project
        return own.id if project == own.name and not domain else project


class _OfOneServer:
    """A command that is given a server, and shows what act() finds."""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('server', metavar='<server>',
                            help='Server (name or ID)')
        return parser

    def take_action(self, parsed_args):
        compute = self.app.client_manager.sdk_connection.compute
        with _errors_reported():
            server = compute.find_server(
                parsed_args.server, ignore_missing=False)
            return self.columns(self.act(compute, server.id, parsed_args))


class _ShowStatus(_OfOneServer, command.ShowOne):

    @staticmethod
    def columns(status):
        # Of another version of the API, some may be missing.
        rows = {key: status.get(key) for key in ('condition', 'reason')}
        for word in _SIZES:
            for dimension in ('vcpus', 'memory_mb'):
                key = '%s_%s' % (word, dimension)
                rows[key] = status.get(key)
        rest = {key: value for key, value in sorted(status.items())
                if key not in rows and key != 'blockers'}
        rows.update(rest)
        rows['blockers'] = _Blockers(status.get('blockers') or [])
        return zip(*rows.items())


class AdjustServer(_ShowStatus):
    """Grow or shrink an elastic server inside the range of its flavor"""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--vcpus', type=_count, metavar='<vcpus>',
            help='Number of vCPUs (default: those it was last asked for)')
        parser.add_argument(
            '--memory', type=_count, metavar='<size-mb>',
            help='Memory in MiB (default: what it was last asked for)')
        parser.add_argument(
            '--until-next-boot', action='store_true',
            help='Leave the size of the next start as it is')
        parser.add_argument(
            '--wait', action='store_true',
            help='Wait until the guest has the size, for %d seconds at most. '
            'If it does not follow, the reason is shown and the exit code '
            'is 1' % elastic.TIMEOUT)
        return parser

    def take_action(self, parsed_args):
        if parsed_args.vcpus is None and parsed_args.memory is None:
            raise exceptions.CommandError(
                'Give --vcpus, --memory or both: nothing would change.')
        return super().take_action(parsed_args)

    def act(self, compute, server_id, parsed_args):
        size = parsed_args.vcpus, parsed_args.memory
        persist = not parsed_args.until_next_boot
        try:
            status = elastic.adjust(compute, server_id, *size, persist=persist)
        except elastic.AnswerLost as error:
            if not parsed_args.wait:
                raise
            self.app.stderr.write('%s\n' % error)
            status = elastic.accepted(compute, server_id, *size,
                                      persist=persist)
            if status is None:
                raise exceptions.CommandError(
                    'The change was not accepted. Ask for it again.')
        if parsed_args.wait:
            return self._wait(compute, server_id, parsed_args, status)
        return status

    def _wait(self, compute, server_id, asked, status):
        # Null if its host does not answer
        held = [status.get('actual_vcpus')]

        def show(status):
            held.append(status['actual_vcpus'])
            self.app.stderr.write('%s: %s\n' % (
                status['condition'], status['reason']))

        status = elastic.wait(
            compute, server_id, callback=show, vcpus=asked.vcpus,
            memory_mb=asked.memory, persist=not asked.until_next_boot)
        if any(held) and status['actual_vcpus'] == 0:
            raise exceptions.CommandError(
                'The server does not run any more, so its guest has not got '
                'the size.')
        return status


class ShowElasticServer(_ShowStatus):
    """Show the sizes of a server, and what keeps them from changing"""

    def act(self, compute, server_id, parsed_args):
        return elastic.show(compute, server_id)


class ListElasticServers(command.Lister):
    """List elastic servers with their sizes, as last noted by the cloud"""

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--condition', action='append', metavar='<condition>',
            choices=elastic.CONDITIONS, default=[],
            help='Only servers of this condition: %s. May be given several '
            'times' % ', '.join(elastic.CONDITIONS))
        parser.add_argument(
            '--host', metavar='<host>',
            help='Only servers of this host (administrators only)')
        parser.add_argument(
            '--project', metavar='<project>',
            help='Servers of this project, by name or ID (of another one '
            'than yours: administrators only)')
        parser.add_argument(
            '--project-domain', metavar='<project-domain>',
            help='Domain of the project (name or ID), for a name that '
            'several domains have')
        parser.add_argument(
            '--all-projects', action='store_true',
            help='Servers of all projects (administrators only)')
        parser.add_argument(
            '--long', action='store_true',
            help='Show boot sizes, project, host and reason, too')
        return parser

    def take_action(self, parsed_args):
        connection = self.app.client_manager.sdk_connection
        with _errors_reported():
            project = parsed_args.project and _project_id(
                connection, parsed_args.project, parsed_args.project_domain)
            servers = list(elastic.list_servers(
                connection.compute, parsed_args.condition, parsed_args.host,
                project, parsed_args.all_projects))
        keys = ['id', 'name', 'condition', 'since']
        keys += ['%s_%s' % (word, dimension)
                 for dimension in ('vcpus', 'memory_mb')
                 for word in ('desired', 'allocated', 'min', 'max')]
        if parsed_args.long:
            keys += ['boot_vcpus', 'boot_memory_mb', 'project_id']
            # Only administrators see it.
            keys += ['host'] if any('host' in one for one in servers) else []
            keys += ['reason']
        return keys, [[server[key] for key in keys] for server in servers]


class ListElasticHistory(_OfOneServer, command.Lister):
    """Show how the sizes of a server have changed, the oldest first"""

    def act(self, compute, server_id, parsed_args):
        return elastic.history(compute, server_id)

    @staticmethod
    def columns(changes):
        about = ['when', 'action']
        sizes = ['%s_%s' % (word, dimension)
                 for dimension in ('vcpus', 'memory_mb')
                 for word in ('desired', 'boot', 'charged')]
        by = ['request_id', 'user_id']
        return about + sizes + by, [
            [*(change[key] for key in about),
             *(_Change(change.get(key)) for key in sizes),
             *(change[key] for key in by)] for change in changes]
