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

"""What nova-status upgrade check says about XLoud Nova."""

import typing as ty

from oslo_upgradecheck import upgradecheck

from nova.api.validation.extra_specs import validators
import nova.conf
from nova import context as nova_context
from nova import exception
from nova.i18n import _
from nova import objects
from nova.scheduler.client import report
from nova.xloud import allocation
from nova.xloud import compatibility
from nova.xloud import fleet
from nova.xloud import growth
from nova.xloud import size
from nova.xloud import traits
from nova.xloud import verify

CONF = nova.conf.CONF

# How many findings a table has room for.
SHOWN = 3

_WARNING = upgradecheck.Code.WARNING
_FAILURE = upgradecheck.Code.FAILURE


class Finding(ty.NamedTuple):

    code: upgradecheck.Code
    text: str


def check_installation() -> upgradecheck.Result:
    """Whether the files of this installation are as they were built."""
    try:
        manifest = verify.load_manifest()
        findings = list(verify.verify(
            verify.find_installation(), manifest, manifest['distribution']))
    except verify.Unverifiable as reason:
        return upgradecheck.Result(upgradecheck.Code.WARNING, str(reason))
    if not findings:
        return upgradecheck.Result(upgradecheck.Code.SUCCESS)
    shown = ''.join(
        '\n- %s: %s' % (finding.kind, finding.path)
        for finding in findings[:SHOWN])
    return upgradecheck.Result(
        upgradecheck.Code.FAILURE,
        _('The installation is not what was built. %(count)d findings, the '
          'first ones are:%(shown)s\nRun xloud-nova-verify, or python3 -m '
          'nova.xloud.verify, for all of them, and install the package of '
          'this release again.') % {'count': len(findings), 'shown': shown})


def check_elastic_servers() -> upgradecheck.Result:
    """Whether this cloud can run the elastic servers that it offers."""
    context = nova_context.get_admin_context()
    elastic = [flavor for flavor in objects.FlavorList.get_all(
        context, filters={'is_public': None}) if size.is_elastic(flavor)]
    silent: ty.Set[str] = set()
    findings = [*_validator(), *_flavors(elastic), *_servers(context, silent)]
    if elastic:
        findings += [*_computes(context, silent), *_room(context)]
    findings += _cells(silent)
    if not findings:
        # Who reads that all is well should know what was not looked at.
        return upgradecheck.Result(
            upgradecheck.Code.SUCCESS, None if elastic else _(
                'There is no elastic flavor, so the computes and the room for '
                'growth were not looked at.'))
    return upgradecheck.Result(
        max((finding.code for finding in findings),
            key=lambda code: code.value),
        '\n'.join(finding.text for finding in findings))


def _validator():
    """Without its entry point, the API accepts minimum_cpu=x."""
    missing = [key for key in size.MINIMUM_KEYS
               if key not in validators.VALIDATORS]
    if missing:
        yield Finding(_FAILURE, _(
            'Any value of the extra specs %s is accepted: the entry point '
            '"minimum" of nova.api.extra_spec_validators is missing. Install '
            'the package of this release again.') % ', '.join(missing))


def _flavors(elastic):
    """No server can be created with these."""
    wrong = []
    for flavor in elastic:
        try:
            compatibility.check(flavor, {})
            compatibility.check_new(flavor)
        except exception.NovaException as error:
            wrong.append('%s: %s' % (flavor.name, error.format_message()))
    if wrong:
        yield Finding(_WARNING, _(
            '%(count)d elastic flavors cannot be used:%(shown)s') % {
                'count': len(wrong), 'shown': _shown(wrong)})


def _servers(context, silent):
    """Reconcile writes the books of a server at its first look."""
    unwritten = fleet.unwritten(context, silent)
    if unwritten:
        yield Finding(_WARNING, _(
            'The sizes of %(count)d elastic servers were never recorded. '
            'They keep what they are charged, and are not in the list of '
            'elastic servers. Their computes record the sizes when they run '
            'this release and the servers are active:%(shown)s') % {
                'count': len(unwritten), 'shown': _shown(unwritten)})


def _computes(context, silent):
    """Elastic servers go only where both the series and QEMU can do it."""
    without, unknown = [], []
    try:
        placement = report.report_client_singleton()
    # From keystoneauth, openstacksdk and oslo.config
    except Exception as error:
        yield Finding(_WARNING, _(
            'Placement cannot be asked which computes can run elastic '
            'servers. Look at [placement] in the configuration: %s') % error)
        return
    ours = {traits.ELASTIC_VCPU, traits.ELASTIC_MEMORY}
    for nodes in fleet.answers(nova_context.scatter_gather_skip_cell0(
            context, objects.ComputeNodeList.get_all), silent).values():
        for node in nodes:
            try:
                found = ours & placement.get_provider_traits(
                    context, node.uuid).traits
            except (*allocation.NO_ANSWER,
                    exception.ResourceProviderTraitRetrievalFailed):
                unknown.append(node.hypervisor_hostname)
            else:
                if found != ours:
                    without.append('%s: %s' % (
                        node.hypervisor_hostname,
                        ', '.join(sorted(ours - found))))
    if without:
        yield Finding(_WARNING, _(
            '%(count)d computes do not report a trait of elastic servers, so '
            'such servers do not go there. Either they run Nova without the '
            'series, or their hypervisor cannot do it:%(shown)s') % {
                'count': len(without), 'shown': _shown(without)})
    if unknown:
        yield Finding(_WARNING, _(
            'Placement does not report the traits of %(count)d '
            'computes:%(shown)s') % {
                'count': len(unknown), 'shown': _shown(unknown)})


def _cells(silent):
    if silent:
        yield Finding(_WARNING, _(
            '%(count)d cells do not answer, so nothing is known of their '
            'servers and computes:%(shown)s') % {
                'count': len(silent), 'shown': _shown(sorted(silent))})


def _room(context):
    """Neither the option nor an aggregate does anything alone."""
    asking, wrong = [], []
    for aggregate in objects.AggregateList.get_by_metadata_key(
            context, growth.AGGREGATE_KEY):
        value = aggregate.metadata[growth.AGGREGATE_KEY]
        found = '%s: %s=%s' % (aggregate.name, growth.AGGREGATE_KEY, value)
        try:
            if growth.parse_percent(value):
                asking.append(found)
        except ValueError:
            wrong.append(found)
    if wrong:
        yield Finding(_WARNING, _(
            '%(count)d aggregates have a room for growth that is not a number '
            'from 0 to 100, and is ignored:%(shown)s') % {
                'count': len(wrong), 'shown': _shown(wrong)})
    if 'XloudGrowthFilter' in CONF.filter_scheduler.enabled_filters:
        return
    if asking:
        yield Finding(_WARNING, _(
            '[filter_scheduler] enabled_filters does not contain '
            'XloudGrowthFilter, so the room for growth of %(count)d '
            'aggregates has no effect:%(shown)s') % {
                'count': len(asking), 'shown': _shown(asking)})
    if CONF.xloud.room_for_growth:
        yield Finding(_WARNING, _(
            '[xloud] room_for_growth is %d, and [filter_scheduler] '
            'enabled_filters does not contain XloudGrowthFilter, so it has no '
            'effect.') % CONF.xloud.room_for_growth)


def _shown(texts):
    return ''.join('\n- ' + text for text in texts[:SHOWN])
