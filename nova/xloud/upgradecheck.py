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

from oslo_upgradecheck import upgradecheck

from nova.i18n import _
from nova.xloud import verify

# How many findings a table has room for.
SHOWN = 3


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
