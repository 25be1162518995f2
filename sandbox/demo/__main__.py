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

"""    python -m sandbox.demo

In the environment of Nova's tree, which tools/sandbox.sh makes ready.
"""

import contextlib
import json
import os
from pathlib import Path
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from sandbox.demo import picture
from sandbox.demo import screen
from sandbox.demo import words
from tools.lane import suites
from tools import tree

UNFIT, INTERRUPTED = 2, 130
_FOLDER = tree.ROOT / 'build' / 'demo'
_WAITS = 0.2
_SECONDS_UNTIL_ENDED = 10
_WHAT = """\
An elastic server on a real libvirt and QEMU. Nova's services and Placement
run in one process; Keystone, Glance, Neutron and the broker are not real.
> is asked of Nova's API, < is its answer, = is what each says of the size.
"""


class Show:
    """Puts on the screen what is told, and keeps what the picture needs."""

    def __init__(self, output, clock=time.monotonic):
        self.samples = []
        self.steps = []
        self._screen = output
        self._clock = clock
        self._started = self._shown = clock()
        self._waits_for = 'Nova, Placement and two libvirtds start'
        self._known = None

    @property
    def seconds(self):
        return self._clock() - self._started

    def tell(self, kind, *fields):
        getattr(self, '_' + kind)(*fields)

    def wait(self):
        waited = self._clock() - self._shown
        self._screen.progress(
            words.progress(self._waits_for, self._known, waited), waited)

    def _print(self, text):
        self._screen.show(text)
        self._shown = self._clock()

    def _step(self, name, title):
        self.steps.append((self.seconds, name))
        self._print(words.step(len(self.steps), title, self.seconds))

    def _request(self, *fields):
        self._waits_for = 'Nova answers'
        self._print(words.request(*fields))

    def _response(self, *fields):
        self._waits_for = 'Nova works'
        self._print(words.response(*fields))

    def _wait(self, what):
        self._waits_for = what

    def _sizes(self, *sizes):
        self._known = dict(zip(picture.SIZES, sizes))
        self.samples.append(picture.Sample(self.seconds, self._known))

    def _views(self, *fields):
        self._print(words.table(*fields))

    def _note(self, text):
        self._print(words.wrapped(text))

    def _missing(self, text):
        self._print(words.wrapped('This machine cannot run it. ' + text))

    def _failed(self, text):
        self._print(words.wrapped('FAILED: ' + text))


def run(show: Show, log: Path) -> int:
    """Have the story told, and show it.

    :returns: its exit code
    """
    lines = queue.Queue()
    with _scratch() as scratch, log.open('w') as errors:
        story = subprocess.Popen(
            [sys.executable, '-W', 'ignore',
             str(Path(__file__).with_name('story.py'))],
            cwd=tree.TREE, env={**os.environ, **_environ(), 'TMPDIR': scratch},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            text=True)

        def read():
            for line in story.stdout:
                lines.put(line)
            lines.put(None)

        try:
            threading.Thread(target=read, daemon=True).start()
            while True:
                try:
                    line = lines.get(timeout=_WAITS)
                except queue.Empty:
                    show.wait()
                    continue
                if line is None:
                    return story.wait()
                show.tell(*json.loads(line))
        finally:
            # What it started ends with it.
            story.kill()
            story.wait()


def _environ():
    """Have the services run as this release has them by default."""
    return {suites.CONCURRENCY_VARIABLE:
            suites.CONCURRENCY[tree.LANES.concurrency[0]]}


@contextlib.contextmanager
def _scratch():
    """A folder for all that the story makes: what is killed removes nothing.

    The path of a socket must be short, so it is not below the repository.
    """
    folder = tempfile.mkdtemp(prefix='xloud-demo-')
    try:
        # QEMU is not root everywhere.
        os.chmod(folder, 0o755)
        yield folder
    finally:
        # The libvirtds end a moment after the story, and write until then.
        deadline = time.monotonic() + _SECONDS_UNTIL_ENDED
        while os.path.exists(folder) and time.monotonic() < deadline:
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.1)


def _interrupt(_number, _frame):
    raise KeyboardInterrupt()


def main() -> int:
    # Whoever ends it gets the same clean end.
    signal.signal(signal.SIGTERM, _interrupt)
    _FOLDER.mkdir(parents=True, exist_ok=True)
    # Its cache of fonts
    os.environ.setdefault('MPLCONFIGDIR', str(_FOLDER / 'matplotlib'))
    output = screen.Screen()
    output.show(_WHAT)
    show = Show(output)
    log = _FOLDER / 'log'
    try:
        code = run(show, log)
    except KeyboardInterrupt:
        output.show('interrupted')
        return INTERRUPTED
    if code == UNFIT:
        return code
    if show.samples:
        written = picture.draw(show.samples, show.steps, _FOLDER)
        output.show('\nThe sizes over time: ' + ', '.join(
            str(_short(path)) for path in written))
    if code:
        output.show(f'The demo failed; {_short(log)} has more.')
    else:
        output.show(f'All of it in {show.seconds:.0f} s.')
    return code


def _short(path):
    return path.relative_to(tree.ROOT)


if __name__ == '__main__':
    sys.exit(main())
