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


"""Start processes, know them again, end them.

A process is known by its id, when it started and in which run of the machine,
so that an id which another process has by now is never taken for ours. What
it leaves is known by its session, whose number nobody else gets as long as
one member is left.
"""

import contextlib
import dataclasses
import json
import os
from pathlib import Path
import select
import signal
import subprocess
import time
import typing as ty

_BOOT = Path('/proc/sys/kernel/random/boot_id')
_GONE = ('Z', 'X')


class Failed(Exception):
    """A step of the sandbox did not succeed.

    :ivar log: what to look at, or None
    """

    def __init__(self, message: str, log: ty.Optional[Path] = None):
        super().__init__(message)
        self.log = log


@dataclasses.dataclass(frozen=True)
class Stat:
    """What /proc says of a process, as far as it is asked for here."""

    pid: int
    state: str
    session: int
    started: int  # in clock ticks since the machine was started


def stat(pid: int) -> ty.Optional[Stat]:
    try:
        line = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return None
    return parse_stat(line)


def parse_stat(line: str) -> Stat:
    # The name of the command is in brackets and may itself have brackets.
    before, _, after = line.rpartition(')')
    fields = after.split()
    return Stat(int(before.split()[0]), fields[0], int(fields[3]),
                int(fields[19]))


def all_stats() -> ty.Iterator[Stat]:
    for name in os.listdir('/proc'):
        found = stat(int(name)) if name.isdigit() else None
        if found and found.state not in _GONE:
            yield found


def end(process: Stat, seconds: float,
        first: signal.Signals = signal.SIGTERM) -> None:
    """End exactly this process: politely, and after some time not."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    with contextlib.closing(os.fdopen(handle, 'rb', buffering=0)):
        # The handle is of the process that has the id now. Only if that is
        # the one that was meant, it stays so.
        now = stat(process.pid)
        if now is None or now.started != process.started:
            return
        for number, patience in ((first, seconds), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                _reap(process.pid)
                now = stat(process.pid)
                if now is None or now.started != process.started or (
                        now.state in _GONE):
                    return
                # Readable when it ends, or as a zombie of another parent.
                select.select([handle], [], [], 0.1)


class Supervisor:
    """The processes of a sandbox, by name.

    :param folder: where the records are
    :param logs: where the output goes
    """

    def __init__(self, folder: Path, logs: Path):
        self._folder = folder
        self._logs = logs

    def start(self, name: str, command: ty.Sequence[ty.Any],
              environ: ty.Optional[ty.Dict[str, str]] = None,
              cwd: ty.Union[str, Path] = '/') -> None:
        """Start a process, unless it is running."""
        if self.running(name):
            return
        process = self._spawn(name, command, environ, cwd,
                              start_new_session=True)
        # It is to outlive this program, and that is no leak.
        process.returncode = 0

    def running(self, name: str) -> ty.Optional[Stat]:
        record = self._read(name)
        if record is None:
            return None
        _reap(record['pid'])
        found = stat(record['pid'])
        if (found is None or found.state in _GONE or
                found.started != record['started']):
            return None
        return found

    def since(self, name: str) -> float:
        """When a process was started, in seconds of the epoch."""
        record = self._read(name)
        return record['since'] if record else 0

    def stop(self, name: str, seconds: float = 30) -> None:
        """End a process, then what is left of its session."""
        record = self._read(name)
        if record is None:
            return
        process = self.running(name)
        if process:
            end(process, seconds)
        for left in self._session(record):
            end(left, 2)
        self._record(name).unlink(missing_ok=True)

    def kill(self, name: str) -> None:
        """End a process as a crash does: at once, with all that it forked."""
        record = self._read(name)
        process = self.running(name)
        if record is None or process is None:
            raise Failed(f'{name} does not run, so it cannot be killed')
        end(process, 10, signal.SIGKILL)
        for left in self._session(record):
            end(left, 10, signal.SIGKILL)

    def signal(self, name: str, number: signal.Signals) -> None:
        process = self.running(name)
        if process is None:
            raise Failed(f'{name} does not run')
        os.kill(process.pid, number)

    def wait(self, name: str, ready: ty.Callable[[], ty.Any],
             seconds: float, what: str = 'not ready') -> None:
        """Wait until a process that was started does what it is for."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running(name):
                raise Failed(f'{name} ended', self.log(name))
            if time.monotonic() > deadline:
                raise Failed(f'{name}: {what} within {seconds:.0f} s',
                             self.log(name))
            time.sleep(0.25)

    def run(self, name: str, command: ty.Sequence[ty.Any],
            environ: ty.Optional[ty.Dict[str, str]] = None) -> None:
        """Run a command to its end; its output is a log, too."""
        status = self._spawn(name, command, environ, '/').wait()
        self._record(name).unlink()
        if status:
            raise Failed(f'{name} failed (exit status {status})',
                         self.log(name))

    def names(self) -> ty.List[str]:
        """All that were started, the oldest first."""
        records = sorted(self._folder.glob('*.json'),
                         key=lambda path: path.stat().st_mtime)
        return [path.stem for path in records]

    def log(self, name: str) -> Path:
        return self._logs / f'{name}.log'

    def _spawn(self, name, command, environ, cwd, **options):
        self.stop(name, 0)  # what the one before it may have left
        with open(self.log(name), 'ab') as output:
            process = subprocess.Popen(
                [str(word) for word in command], cwd=cwd,
                env={**os.environ, **(environ or {})},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                **options)
        started = stat(process.pid)
        record = {'pid': process.pid, 'boot': _BOOT.read_text().strip(),
                  'started': started.started if started else 0,
                  'since': time.time()}
        aside = self._record(name).with_suffix('.new')
        aside.write_text(json.dumps(record))
        aside.rename(self._record(name))
        return process

    def _record(self, name):
        return self._folder / f'{name}.json'

    def _read(self, name):
        try:
            record = json.loads(self._record(name).read_text())
        except FileNotFoundError:
            return None
        if record['boot'] != _BOOT.read_text().strip():
            return None
        return record

    def _session(self, record):
        leader = stat(record['pid'])
        if leader and leader.started != record['started']:
            # No number is given away that still is the one of a session.
            return []
        return [process for process in all_stats()
                if process.session == record['pid'] and
                process.started >= record['started']]


def last_lines(path: Path, number: int) -> ty.List[str]:
    try:
        with open(path, 'rb') as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 64 * 1024))
            lines = log.read().decode(errors='replace').splitlines()
    except OSError:
        return []
    return lines[-number:]


def _reap(pid):
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
