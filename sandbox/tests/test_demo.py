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

"""How the demo shows what it is told."""

import contextlib
import io
import json
import math
from pathlib import Path
import threading
import time
import unittest

from sandbox.demo import __main__ as demo
from sandbox.demo import picture
from sandbox.demo import screen
from sandbox.demo import words

STATUS = {'xloud_status': {
    'condition': 'InProgress',
    'desired_vcpus': 3, 'desired_memory_mb': 768,
    'boot_vcpus': 1, 'boot_memory_mb': 256,
    'allocated_vcpus': 3, 'allocated_memory_mb': 768,
    'actual_vcpus': None, 'actual_memory_mb': None}}
SIZES = {'desired': [3, 768], 'charged': [3, 768], 'actual': [3, None],
         'guest': None}


class WordsTest(unittest.TestCase):
    def test_status(self):
        self.assertEqual(
            '< 202 Accepted  (1.5 s)\n'
            '    InProgress, desired 3 vCPUs 768 MiB, boot 1 vCPUs 256 MiB, '
            'charged 3 vCPUs\n    768 MiB, actual ?',
            words.response(202, STATUS, 1.46))

    def test_refusal(self):
        self.assertEqual(
            '< 409 Conflict  (0.1 s)\n    No room.',
            words.response(
                409, {'conflictingRequest': {'message': 'No room.'}}, 0.1))

    def test_response_without_a_status(self):
        for body in (None, {'flavor': {'id': '1'}}, {'adminPass': 'x'}):
            self.assertEqual('< 202 Accepted  (0.1 s)',
                             words.response(202, body, 0.1))

    def test_request(self):
        body = {'current_vcpus': 3, 'what': 'x ' * 60}
        first, *lines = words.request('POST', '/path', body).splitlines()
        self.assertEqual('> POST /path', first)
        self.assertEqual(json.dumps(body),
                         ' '.join(line.strip() for line in lines))
        self.assertLessEqual(max(map(len, lines)), words.WIDTH)
        self.assertEqual('> DELETE /path',
                         words.request('DELETE', '/path', None))

    def test_table(self):
        self.assertEqual(
            '= 0.3 s later\n'
            '              guest  Placement, host\n'
            '    vCPUs         ?                2\n'
            '    MiB           ?              512',
            words.table({'guest': None, 'Placement, host': [2, 512]}, 0.31))

    def test_progress(self):
        self.assertEqual(
            '... it boots 12 s  desired 3/768  charged 3/768  actual ?  '
            'guest ?', words.progress('it boots', SIZES, 12.3))
        self.assertEqual(words.WIDTH,
                         len(words.progress('x' * 90, None, 0)))


class Terminal(io.StringIO):
    def isatty(self):
        return True


class ScreenTest(unittest.TestCase):
    def test_file(self):
        output = io.StringIO()
        shown = screen.Screen(output)
        for seconds in (1, 9, 10, 11, 20):
            shown.progress(f'at {seconds}', seconds)
        shown.show('there')
        shown.progress('at 10 again', 10)
        self.assertEqual('at 10\nat 20\nthere\nat 10 again\n',
                         output.getvalue())

    def test_terminal(self):
        output = Terminal()
        shown = screen.Screen(output)
        shown.progress('not yet', 0.2)
        shown.show('there')
        self.assertEqual('\r\033[Knot yet\r\033[Kthere\n', output.getvalue())


class ShowTest(unittest.TestCase):
    def test_keeps_what_the_picture_needs(self):
        times = iter(range(10))
        show = demo.Show(screen.Screen(io.StringIO()), lambda: next(times))
        show.tell('sizes', [3, 768], [3, 768], [3, None], None)
        show.tell('step', 'grow', 'Grow it while it runs')
        self.assertEqual([picture.Sample(1, SIZES)], show.samples)
        self.assertEqual([(2, 'grow')], show.steps)


class ScratchTest(unittest.TestCase):
    def test_nothing_is_left_where_something_still_writes(self):
        ended = time.monotonic() + 0.5

        def write(folder):
            while time.monotonic() < ended:
                with contextlib.suppress(OSError):
                    (Path(folder) / str(time.monotonic())).touch()

        with self.assertRaises(KeyboardInterrupt):
            with demo._scratch() as folder:
                writer = threading.Thread(target=write, args=[folder])
                writer.start()
                raise KeyboardInterrupt()
        writer.join()
        self.assertFalse(Path(folder).exists())


class PictureTest(unittest.TestCase):
    def test_gaps(self):
        samples = [picture.Sample(0, SIZES),
                   picture.Sample(1, {**SIZES, 'guest': [2, 512]})]
        curves = picture.curves(samples, 1)
        self.assertEqual([768, 768], curves['desired'])
        self.assertTrue(all(map(math.isnan, curves['actual'])))
        self.assertTrue(math.isnan(curves['guest'][0]))
        self.assertEqual(512, curves['guest'][1])
        self.assertEqual([3, 3], picture.curves(samples, 0)['actual'])
