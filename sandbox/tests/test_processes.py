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


"""With real processes."""

import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from sandbox import processes


class StatTest(unittest.TestCase):
    def test_a_name_may_have_brackets_and_blanks(self):
        fields = ' '.join(str(number) for number in range(4, 53))
        found = processes.parse_stat(f'77 (a (b) c) S 1 {fields}')
        self.assertEqual(77, found.pid)
        self.assertEqual('S', found.state)
        self.assertEqual(5, found.session)
        self.assertEqual(21, found.started)

    def test_own(self):
        found = processes.stat(os.getpid())
        self.assertEqual(os.getsid(0), found.session)
        self.assertIn(found.pid, [
            other.pid for other in processes.all_stats()])


class SupervisorTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.supervisor = processes.Supervisor(self.folder, self.folder)
        self.addCleanup(self.supervisor.stop, 'one')

    def start(self, script):
        self.supervisor.start('one', ['sh', '-c', script])
        return self.supervisor.running('one')

    def wait_until(self, condition):
        deadline = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def is_there(self, process):
        found = processes.stat(process.pid)
        return found is not None and found.state not in 'ZX' and (
            found.started == process.started)

    def test_start_twice_is_start_once(self):
        first = self.start('exec sleep 60')
        self.assertEqual(first.pid, self.start('exec sleep 60').pid)
        self.assertEqual(['one'], self.supervisor.names())

    def test_stop_ends_it_and_what_it_left(self):
        session = self.start('sleep 61 & sleep 62; true').pid

        def members():
            return [process for process in processes.all_stats()
                    if process.session == session]

        self.wait_until(lambda: len(members()) == 3)
        left = members()
        self.supervisor.stop('one')
        self.wait_until(lambda: not any(map(self.is_there, left)))
        self.assertEqual([], self.supervisor.names())

    def test_one_that_does_not_want_to_end(self):
        process = self.start('trap "" TERM; echo ready; sleep 60')
        self.wait_until(
            lambda: self.supervisor.log('one').read_text() == 'ready\n')
        self.supervisor.stop('one', 0.2)
        self.assertFalse(self.is_there(process))

    def test_an_id_that_another_process_has_is_left_alone(self):
        process = self.start('exec sleep 60')
        record = self.folder / 'one.json'
        known = json.loads(record.read_text())
        record.write_text(json.dumps({**known,
                                      'started': known['started'] + 1}))
        self.assertIsNone(self.supervisor.running('one'))
        self.supervisor.stop('one')
        self.assertTrue(self.is_there(process))
        processes.end(processes.Stat(process.pid, 'S', 0, 0), 1)
        self.assertTrue(self.is_there(process))
        processes.end(process, 1)
        self.assertFalse(self.is_there(process))

    def test_a_record_of_before_the_machine_was_started_again(self):
        process = self.start('exec sleep 60')
        record = self.folder / 'one.json'
        known = json.loads(record.read_text())
        record.write_text(json.dumps({**known, 'boot': 'another'}))
        self.supervisor.stop('one')
        self.assertTrue(self.is_there(process))
        processes.end(process, 1)

    def test_kill_gives_no_time(self):
        process = self.start('trap "echo asked" TERM; sleep 60')
        self.supervisor.kill('one')
        self.assertFalse(self.is_there(process))
        self.assertEqual('', self.supervisor.log('one').read_text())
        with self.assertRaises(processes.Failed):
            self.supervisor.signal('one', signal.SIGTERM)

    def test_one_that_ends_is_told_with_its_log(self):
        self.start('echo the reason; exit 3')
        with self.assertRaises(processes.Failed) as caught:
            self.supervisor.wait('one', lambda: False, 30)
        self.assertEqual(
            ['the reason'], processes.last_lines(caught.exception.log, 5))

    def test_one_that_is_never_ready(self):
        self.start('exec sleep 60')
        with self.assertRaisesRegex(processes.Failed, 'no answer within'):
            self.supervisor.wait('one', lambda: False, 0, 'no answer')

    def test_command_that_fails(self):
        with self.assertRaisesRegex(processes.Failed, 'exit status 4'):
            self.supervisor.run('two', ['sh', '-c', 'exit 4'])
        self.assertEqual([], processes.last_lines(Path('/none'), 5))
        self.assertEqual([], self.supervisor.names())

    def test_command_of_one_that_was_killed(self):
        folder = str(self.folder)
        killed = subprocess.Popen([sys.executable, '-c', f"""
from pathlib import Path
from sandbox import processes
folder = Path({folder!r})
processes.Supervisor(folder, folder).run('one', ['sleep', '60'])
"""], cwd=Path(__file__).parents[2])
        self.wait_until(lambda: self.supervisor.names() == ['one'])
        killed.kill()
        killed.wait()
        left = self.supervisor.running('one')
        self.assertTrue(self.is_there(left))
        self.supervisor.stop('one')
        self.assertFalse(self.is_there(left))
