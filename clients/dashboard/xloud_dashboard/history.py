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

"""The sizes of a server over time, from its instance actions."""

import datetime
import re
import typing as ty

from django.utils import dateparse
from django.utils import timezone

ADJUST = 'xloud_adjust'
SETTLE = 'xloud_settle'

# "charged 2 vCPUs, 1024 MiB -> 4 vCPUs, 4096 MiB", the words of Nova, which
# are not translated
_CHANGE = re.compile(
    r'\b(desired|boot|charged) (\d+) vCPUs, (\d+) MiB -> '
    r'(\d+) vCPUs, (\d+) MiB')


class Size(ty.NamedTuple):

    vcpus: int
    memory_mb: int


class Change(ty.NamedTuple):
    """An action about the sizes of a server."""

    at: datetime.datetime
    # ADJUST or SETTLE
    action: str
    is_refused: bool
    # By "desired", "boot" and "charged": before and after
    sizes: ty.Dict[str, ty.Tuple[Size, Size]]


class Step(ty.NamedTuple):
    """From when on a server has a size."""

    at: datetime.datetime
    size: Size


def changes(actions: ty.Iterable[ty.Mapping]) -> ty.List[Change]:
    """What the actions of a server say about its sizes, the oldest first.

    :param actions: as Nova gives them, the newest first
    """
    found = []
    for action in actions:
        at = _time(action.get('start_time'))
        if at is None or action.get('action') not in (ADJUST, SETTLE):
            continue
        message = action.get('message') or ''
        found.append(Change(
            at, action['action'], message.startswith('Error'),
            {word: (Size(int(vcpus), int(memory)),
                    Size(int(to_vcpus), int(to_memory)))
             for word, vcpus, memory, to_vcpus, to_memory
             in _CHANGE.findall(message)}))
    # A database can count in whole seconds.
    return sorted(reversed(found), key=lambda change: change.at)


def steps(
    word: str,
    found: ty.Sequence[Change],
    now: Size,
    created_at: ty.Optional[datetime.datetime],
    until: datetime.datetime,
) -> ty.List[Step]:
    """Which sizes a server had, and from when on.

    Other actions, such as a resize, change sizes and do not name them. What is
    known is what a change has found: so an unknown change between two is shown
    at the time of the later one.

    :param word: "desired" or "charged"
    :param now: what the server has today
    :param created_at: None if it is not known
    """
    known = [(change.at, *change.sizes[word]) for change in found
             if word in change.sizes]
    first = known[0][1] if known else now
    start = created_at or (known[0][0] if known else until)
    made = [Step(start, first)]
    for at, before, after in known:
        for size in (before, after):
            if made[-1].size != size:
                made.append(Step(at, size))
    if made[-1].size != now:
        made.append(Step(until, now))
    return made


def _time(text):
    try:
        parsed = dateparse.parse_datetime(text or '')
    except ValueError:
        return None
    if parsed and timezone.is_naive(parsed):
        parsed = parsed.replace(tzinfo=datetime.timezone.utc)
    return parsed
