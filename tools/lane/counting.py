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

"""What became of the tests of a lane, counted as they end."""

import dataclasses
import time
import typing as ty

SECONDS_BETWEEN_SIGNS = 30
DIED = ('inprogress', 'unknown')
FAILED = ('fail', 'uxsuccess', *DIED)
SLOWEST = 10


@dataclasses.dataclass
class Outcome:
    """What became of the tests of a lane, or of its checks."""

    passed: int = 0
    skipped: int = 0
    failures: ty.List[str] = dataclasses.field(default_factory=list)
    passed_alone: ty.List[str] = dataclasses.field(default_factory=list)
    # By test: how it ended, and how long it took.
    ended: ty.Dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: ty.Dict[str, float] = dataclasses.field(default_factory=dict)

    def add(self, other: 'Outcome') -> None:
        """Count what became of more tests."""
        self.passed += other.passed
        self.skipped += other.skipped
        self.failures += other.failures
        self.passed_alone += other.passed_alone

    def closing_line(self, lane):
        return (f'{lane}: {self.passed} passed, {len(self.failures)} failed, '
                f'{self.skipped} skipped')

    def slowest(self):
        """Lines for people, the slowest test first."""
        slowest = sorted(self.seconds, key=self.seconds.get, reverse=True)
        return [f'{self.seconds[test]:6.1f} s  {test}'
                for test in slowest[:SLOWEST]]


class Collector:
    """Counts tests as they end; shows failures at once, progress at times."""

    def __init__(self, show=print, clock=time.monotonic):
        self.outcome = Outcome()
        self._show = show
        self._clock = clock
        self._signed = clock()
        self._text = b''

    def status(self, test_id=None, _status=None, _tags=None, _runnable=True,
               _file_name=None, file_bytes=None, **_kwargs):
        """Keep what comes between the tests: it says why there are none."""
        if test_id is None and file_bytes:
            self._text += bytes(file_bytes)

    def show_text(self):
        text = self._text.decode(errors='replace').strip()
        if text:
            self._show(text)

    def ended(self, test):
        outcome = self.outcome
        if test['status'] == 'exists':  # named before it runs
            return
        outcome.ended[test['id']] = test['status']
        began, stopped = test['timestamps']
        if began and stopped:
            outcome.seconds[test['id']] = (stopped - began).total_seconds()
        if test['status'] in FAILED:
            outcome.failures.append(test['id'])
            if test['status'] in DIED:
                # Nobody knows what else the worker had to run.
                outcome.failures.append(f'a worker died in {test["id"]}')
            self._show(f'\nFAILED {test["id"]}')
            for name, content in test['details'].items():
                text = content.as_text().rstrip() if (
                    content.content_type.type == 'text') else ''
                if text:
                    self._show(f'--- {name}\n{text}')
        elif test['status'] == 'skip':
            outcome.skipped += 1
        else:
            outcome.passed += 1
        if self._clock() - self._signed >= SECONDS_BETWEEN_SIGNS:
            self._signed = self._clock()
            ended = outcome.passed + outcome.skipped + len(outcome.failures)
            self._show(f'... {ended} tests, {len(outcome.failures)} failed')


def show(text):
    print(text, flush=True)
