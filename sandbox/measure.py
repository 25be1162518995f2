#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.


"""How long a user waits for another size, beside a resize with confirm.

    tools/sandbox.sh measure

Everything is asked of the real services over HTTP: of an adjust and of the
questions the time from the request to its answer; of a resize, which answers
before it begins, until the server waits for the confirmation, and from there
until it is active again.
"""

import statistics
import time
import typing as ty

from sandbox import compute
from sandbox import layout
from sandbox import probes
from sandbox.steps import sizes

ROUNDS = 50
# A resize takes so much longer that fewer say as much.
RESIZES = 10
_HEADER = ('\\', 'rounds', 'least', 'median', '95 %', 'most')
# Both between minimum and maximum of either flavor: each round changes it, and
# the first one lets it grow.
_MEMORY_MB = (640, 512)
_PAUSE = 0.02
_SECONDS = 300
# An emulated guest is busy for a while after it has started or shrunk.
_REST_SECONDS = 2


class Row(ty.NamedTuple):
    """Times in milliseconds."""

    title: str
    times: ty.List[float]

    def cells(self) -> ty.Tuple[str, ...]:
        ordered = sorted(self.times)
        late = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
        return (self.title, str(len(ordered)), *(
            f'{number:.0f}' for number in (
                ordered[0], statistics.median(ordered), late, ordered[-1])))


def run(site: layout.Layout, show: ty.Callable[[str], None],
        rounds: int = ROUNDS) -> int:
    checker = sizes.Sizes(site, show)
    checker.remove_servers()
    try:
        rows = _Measured(checker).rows(rounds, min(rounds, RESIZES))
    finally:
        checker.remove_servers()
    show(table(rows))
    return 0


def table(rows: ty.Sequence[Row]) -> str:
    """In the form of the manual, in milliseconds."""
    lines = [_HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines)
              for column in range(len(_HEADER))]
    rule = '  '.join('=' * width for width in widths)
    text = ['  '.join([line[0].ljust(widths[0]), *(
        cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))])
        for line in lines]
    return '\n'.join([rule, text[0], rule, *text[1:], rule])


class _Measured:
    def __init__(self, checker: sizes.Sizes):
        self._check = checker
        self._cloud = checker.owner.compute
        self._adjust = ''

    def rows(self, rounds: int, resizes: int) -> ty.List[Row]:
        self._check.create()
        server = self._check.servers['one']
        self._adjust = f'/os-xloud-adjust/{server}'
        adjusted = self._repeat(
            'adjust', rounds, lambda number: self._cloud.post(
                self._adjust, json={
                    'current_memory_mb': _MEMORY_MB[number % 2]}), (202,))
        found = [
            Row('adjust: growth', adjusted.times[::2]),
            Row('adjust: shrinking', adjusted.times[1::2]),
            adjusted,
            self._repeat('status', rounds, lambda _number: self._cloud.get(
                self._adjust), (200,)),
            self._repeat(
                'GET /servers/{id}', rounds, lambda _number: self._cloud.get(
                    f'/servers/{server}'), (200,))]
        resized, confirmed = [], []
        self._check.show(f'resize with confirm, {resizes} times')
        for number in range(resizes):
            flavor = (compute.LARGER, compute.ELASTIC)[number % 2]
            resized.append(self._time(
                lambda: self._resize(server, flavor)))
            confirmed.append(self._time(lambda: self._confirm(server)))
        return [*found, Row('resize', resized), Row('confirm', confirmed),
                Row('resize and confirm',
                    list(map(sum, zip(resized, confirmed))))]

    def _repeat(self, title, rounds, ask, expected):
        self._check.show(f'{title}, {rounds} times')
        times = []
        for number in range(rounds):
            # Not in the middle of what the one before it started.
            self._wait_until_settled()
            answers: ty.List[ty.Any] = []
            times.append(self._time(lambda: answers.append(ask(number))))
            if answers[0].status_code not in expected:
                raise probes.Mismatch(
                    f'the answer is {answers[0].status_code}: '
                    f'{answers[0].text}')
        return Row(title, times)

    def _wait_until_settled(self):
        def is_there():
            status = self._cloud.get(self._adjust).json()['xloud_status']
            return status['condition'] == 'Settled'

        self._wait(is_there, 'it is not settled')
        time.sleep(_REST_SECONDS)

    def _resize(self, server, flavor):
        flavor_id = self._cloud.find_flavor(flavor).id
        self._cloud.post(f'/servers/{server}/action', json={
            'resize': {'flavorRef': flavor_id}})
        self._wait_for_status(server, 'VERIFY_RESIZE')

    def _confirm(self, server):
        self._cloud.post(f'/servers/{server}/action',
                         json={'confirmResize': None})
        self._wait_for_status(server, 'ACTIVE')

    def _wait_for_status(self, server, status):
        def is_there():
            seen = self._cloud.get(f'/servers/{server}').json()['server']
            if seen['status'] == 'ERROR':
                raise probes.Mismatch(f'it is in ERROR: {seen.get("fault")}')
            return seen['status'] == status and (
                seen['OS-EXT-STS:task_state'] is None)

        self._wait(is_there, f'it is not {status}')

    @staticmethod
    def _wait(is_there, otherwise):
        deadline = time.monotonic() + _SECONDS
        while not is_there():
            if time.monotonic() > deadline:
                raise probes.Mismatch(f'{otherwise} after {_SECONDS} s')
            time.sleep(_PAUSE)

    @staticmethod
    def _time(action) -> float:
        started = time.perf_counter()
        action()
        return (time.perf_counter() - started) * 1000
