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

"""The sizes of a server, a dimension at a time."""

import typing as ty

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

KEYS = ('minimum_cpu', 'minimum_memory')

CONDITIONS = {
    'Settled': _('Settled'),
    'InProgress': _('In progress'),
    'Partial': _('Partial'),
    'Overcommitted': _('Overcommitted'),
    'Unknown': _('Unknown'),
}
# By which Nova lists servers: it notes nothing of those it cannot ask.
LISTED = tuple(key for key in CONDITIONS if key != 'Unknown')
_LABELS = {'vcpus': _('vCPUs'), 'memory_mb': _('Memory (MiB)')}
_NAMES = {'vcpus': _('vCPUs'), 'memory_mb': _('Memory')}
_UNITS = {'vcpus': _('vCPUs'), 'memory_mb': _('MiB')}
# The largest step of the slider for memory.
_SLIDER_STEP = 256


class Dimension(ty.NamedTuple):
    """What the status of a server says about one of its dimensions."""

    key: str
    minimum: int
    maximum: int
    # None if nobody knows, 0 if the server does not run
    actual: ty.Optional[int]
    desired: int
    boot: int
    charged: int
    step: int
    blockers: ty.Sequence[str]

    @property
    def label(self):
        return _LABELS[self.key]

    @property
    def name(self):
        return _NAMES[self.key]

    @property
    def unit(self):
        return _UNITS[self.key]

    @property
    def now(self):
        """What the guest holds, for people."""
        return _('unknown') if self.actual is None else str(self.actual)

    @property
    def is_elastic(self):
        return self.minimum < self.maximum

    @property
    def is_held(self):
        """Whether something keeps it from changing."""
        return bool(self.blockers)

    @property
    def slider_step(self):
        """A step with which a slider reaches both ends."""
        if self.key == 'vcpus':
            return self.step
        step = _SLIDER_STEP
        while (self.maximum - self.minimum) % step:
            step //= 2
        return step


def dimensions(status) -> ty.List[Dimension]:
    """Both of a status, as the API gives it."""
    return [_dimension(status, 'vcpus', _vcpu_step(status)),
            _dimension(status, 'memory_mb', 1)]


def _dimension(status, key, step):
    actual = status['actual_' + key]
    if actual is None and status['condition'] != 'Unknown':
        # Nova does not ask about a server whose size is fixed.
        actual = status['current_' + key]
    return Dimension(
        key, status['min_' + key], status['max_' + key], actual,
        status['desired_' + key], status['boot_' + key],
        status['allocated_' + key], step,
        [blocker['message'] for blocker in status['blockers']
         if blocker['dimension'] == key])


def _vcpu_step(status):
    """What a browser may insist on; Nova itself checks in any case.

    A browser counts from the minimum, and does not know that the size which
    the server has is always accepted.
    """
    step = status['vcpu_step']
    fits = all(status[word + '_vcpus'] % step == 0
               for word in ('min', 'max', 'desired', 'boot'))
    return step if fits else 1


def is_certainly_fixed(instance) -> bool:
    """Whether a row of Horizon shows that a server has no range.

    A server keeps the flavor that it was created with. From microversion 2.47
    on the flavor is in the server, with its extra specs if the policy lets the
    user see them. Below that the row has its id, and nothing is certain: the
    flavor of this id may have been changed since.
    """
    flavor = getattr(instance, 'flavor', None)
    extra_specs = flavor.get('extra_specs') if isinstance(
        flavor, dict) else None
    if not isinstance(extra_specs, dict):
        return False
    return not any(key in extra_specs for key in KEYS)


def text(vcpus: int, memory_mb: int) -> str:
    """A size for people."""
    return ngettext(
        '%(vcpus)d vCPU, %(memory)d MiB', '%(vcpus)d vCPUs, %(memory)d MiB',
        vcpus) % {'vcpus': vcpus, 'memory': memory_mb}
