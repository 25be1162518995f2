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

"""Forks of one set-up report what tests that set up themselves report."""

from multiprocessing import connection
import os
import pathlib
import signal
import sys
from unittest import mock

import fixtures
import testtools
from testtools import content

from nova import test
from nova.tests.fixtures import xloud_fork


class Sample(testtools.TestCase):
    """Run by the tests below, and not by itself."""

    run_tests_with = xloud_fork.ForkedRunTest
    folder = None

    def setUp(self):
        super().setUp()
        self.note('set up')
        self.made = self.useFixture(fixtures.TempDir(self.folder)).path
        self.seen = []
        self.set_up_for = self.id()
        self.addCleanup(self.note, 'cleaned up')

        self.addCleanup(lambda: self.assertNotIn('a leak', self.seen))

    def note(self, what):
        with open(os.path.join(self.folder, 'notes'), 'a') as notes:
            notes.write('%s by %d\n' % (what, os.getpid()))

    def first(self):
        pass

    def starts_from_the_set_up(self):
        self.note('run')
        self.assertTrue(os.path.isdir(self.made))
        self.assertEqual([], self.seen)
        self.assertEqual(self.set_up_for, self.id())
        self.seen.append(1)

    def starts_there_as_well(self):
        self.starts_from_the_set_up()

    def has_a_cleanup(self):
        self.addCleanup(self.note, 'its own cleanup')

    def leaves_what_the_set_up_looks_for(self):
        self.seen.append('a leak')

    def succeeds_unexpectedly(self):
        self.expectFailure('not yet', lambda: None)

    def dies_while_it_answers(self):
        def send_half(pipe, what):
            os.write(pipe.fileno(), (1000).to_bytes(4, 'big') + b'half')
            os.kill(os.getpid(), signal.SIGKILL)

        connection.Connection.send = send_half

    def fails(self):
        self.addDetail('told', content.text_content('all that it said'))
        self.fail('as it should')

    def raises(self):
        raise KeyError('this')

    def is_skipped(self):
        self.skipTest('no need')

    def ends_its_process(self):
        os._exit(7)

    def is_killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def leaves_by_force(self):
        raise KeyboardInterrupt

    def fails_as_expected(self):
        self.expectFailure('not yet', self.fail, 'as expected')


class Other(Sample):
    """Has a set-up of its own."""


class Broken(Sample):
    """Only the first test can be set up."""

    def setUp(self):
        super().setUp()
        if self._testMethodName != 'first':
            raise KeyError('not again')


class ForkedRunTestTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.useFixture(fixtures.MonkeyPatch(
            '%s.Sample.folder' % __name__, self.folder))
        self.useFixture(fixtures.EnvironmentVariable(xloud_fork.VARIABLE, '1'))
        # What runs the tests of a release may have threads.
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.fixtures.xloud_fork._is_whole', lambda: True))
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.fixtures.xloud_fork.ForkedRunTest._class', None))
        self.addCleanup(xloud_fork.ForkedRunTest.end)

    def run_samples(self, *names, cls=Sample):
        """By name, what became of tests, and their details."""
        outcomes = {}

        def keep(test, status, details, **kwargs):
            outcomes[test._testMethodName] = status, {
                name: detail.as_text()
                for name, detail in (details or {}).items()}

        for name in names:
            cls(name).run(xloud_fork.Result(keep))
        return outcomes

    def notes(self, what):
        """The processes that noted this."""
        notes = pathlib.Path(self.folder, 'notes').read_text().splitlines()
        return [int(note.rpartition(' ')[2]) for note in notes
                if note.startswith(what + ' by ')]

    def test_one_set_up(self):
        outcomes = self.run_samples(
            'first', 'starts_from_the_set_up', 'starts_there_as_well')
        self.assertEqual(
            ['success'] * 3, [status for status, _ in outcomes.values()])
        first, ready = self.notes('set up')
        self.assertEqual(os.getpid(), first)
        runs = self.notes('run')
        self.assertEqual(2, len(set(runs)))
        self.assertNotIn(ready, runs)

    def test_it_is_cleaned_up_once(self):
        self.run_samples('first', 'starts_from_the_set_up', 'has_a_cleanup')
        self.assertEqual(3, len(self.notes('cleaned up')))
        self.assertEqual(1, len(self.notes('its own cleanup')))
        self.assertEqual(2, len(os.listdir(self.folder)))
        xloud_fork.ForkedRunTest.end()
        _first, ready = self.notes('set up')
        self.assertEqual(ready, self.notes('cleaned up')[-1])
        self.assertEqual(['notes'], os.listdir(self.folder))

    def test_another_class(self):
        self.run_samples('first', 'starts_from_the_set_up')
        self.run_samples('first', 'starts_from_the_set_up', cls=Other)
        self.assertEqual(4, len(self.notes('set up')))
        # Those of the second class still have theirs.
        self.assertEqual(2, len(os.listdir(self.folder)))

    def test_one_that_has_waited_long(self):
        self.run_samples('first', 'starts_from_the_set_up')
        with mock.patch.object(xloud_fork, '_SECONDS', 0):
            self.run_samples('starts_there_as_well')
        self.assertEqual(3, len(self.notes('set up')))

    def test_what_is_reported(self):
        outcomes = self.run_samples(
            'first', 'fails', 'raises', 'is_skipped', 'fails_as_expected',
            'succeeds_unexpectedly', 'leaves_what_the_set_up_looks_for',
            'starts_from_the_set_up')
        self.assertEqual(2, len(self.notes('set up')))
        self.assertEqual({
            'first': 'success', 'fails': 'failure', 'raises': 'error',
            'is_skipped': 'skip', 'fails_as_expected': 'xfail',
            'succeeds_unexpectedly': 'xsuccess',
            'leaves_what_the_set_up_looks_for': 'failure',
            'starts_from_the_set_up': 'success'},
            {name: status for name, (status, _) in outcomes.items()})
        _status, details = outcomes['fails']
        self.assertEqual('all that it said', details['told'])
        self.assertIn('AssertionError: as it should', details['traceback'])
        self.assertIn("KeyError: 'this'", outcomes['raises'][1]['traceback'])
        self.assertEqual('no need', outcomes['is_skipped'][1]['reason'])

    def test_a_process_that_does_not_return(self):
        outcomes = self.run_samples(
            'first', 'ends_its_process', 'is_killed', 'leaves_by_force',
            'dies_while_it_answers', 'starts_from_the_set_up')
        self.assertEqual(2, len(self.notes('set up')))
        self.assertEqual({
            'first': 'success', 'ends_its_process': 'error',
            'is_killed': 'error', 'leaves_by_force': 'error',
            'dies_while_it_answers': 'error',
            'starts_from_the_set_up': 'success'},
            {name: status for name, (status, _) in outcomes.items()})
        for name, ended in ('ends_its_process', 7), ('is_killed', 9):
            self.assertEqual('The process of the test ended with %d.' % ended,
                             outcomes[name][1]['reason'])

    def test_the_one_that_is_ready_has_died(self):
        self.run_samples('first', 'starts_from_the_set_up')
        _first, ready = self.notes('set up')
        os.kill(ready, signal.SIGKILL)
        outcomes = self.run_samples('has_a_cleanup', 'starts_there_as_well')
        self.assertEqual(
            ('error', {'reason': 'The process that was set up ended before '
                                 'the test.'}), outcomes['has_a_cleanup'])
        self.assertEqual('success', outcomes['starts_there_as_well'][0])
        self.assertEqual(3, len(self.notes('set up')))

    def test_a_set_up_that_fails(self):
        outcomes = self.run_samples(
            'first', 'fails', 'starts_from_the_set_up', cls=Broken)
        for name in 'fails', 'starts_from_the_set_up':
            status, details = outcomes[name]
            self.assertEqual('error', status)
            self.assertIn("KeyError: 'not again'", details['traceback'])
        # One was tried beside those that are reported.
        self.assertEqual(4, len(self.notes('set up')))
        self.assertEqual(['notes'], os.listdir(self.folder))

    def test_it_has_threads(self):
        for whole in ([False], [True, False]):
            self.useFixture(fixtures.MonkeyPatch(
                'nova.tests.fixtures.xloud_fork._is_whole',
                mock.Mock(side_effect=whole)))
            outcomes = self.run_samples('first', 'starts_from_the_set_up')
            self.assertEqual(
                ['success'] * 2, [status for status, _ in outcomes.values()])
            self.assertEqual(
                {os.getpid()}, set(self.notes('run')))
            self.assertEqual(['notes'], os.listdir(self.folder))

    def test_idle_threads_of_a_pool(self):
        pool = mock.Mock(threads=[1])
        pool.killall.side_effect = pool.threads.clear
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.fixtures.xloud_fork._is_whole',
            lambda: not pool.threads))
        with mock.patch.dict(sys.modules, {'eventlet.tpool': pool}):
            self.run_samples('first', 'starts_from_the_set_up')
        self.assertNotIn(os.getpid(), self.notes('run'))

    def test_nobody_asks_for_forks(self):
        self.useFixture(fixtures.EnvironmentVariable(xloud_fork.VARIABLE))
        self.run_samples('first', 'starts_from_the_set_up')
        self.assertEqual([os.getpid()] * 2, self.notes('set up'))
