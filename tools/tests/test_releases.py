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
"""Each release says how it is tested, and its lock is what it asks for."""

import contextlib
import http.client
import io
from pathlib import Path
import re
import subprocess
import tempfile
import unittest
from unittest import mock

from tools import constraints
from tools.lane import suites
from tools import releases


class ReleasesTest(unittest.TestCase):

    def setUp(self):
        self.lanes = [releases.lanes(name) for name in releases.known()]

    def test_every_release_of_the_series_says_how(self):
        self.assertEqual(
            sorted(path.parent.name for path in
                   releases.ROOT.glob('patches/*/upstream.txt')),
            [one.release for one in self.lanes])

    def test_modes_are_those_that_the_lanes_know(self):
        for one in self.lanes:
            self.assertLessEqual(set(one.concurrency), set(suites.CONCURRENCY))
            self.assertTrue(one.concurrency)
        # Native threads are the default of the newest.
        self.assertEqual({'threading', 'eventlet'},
                         set(self.lanes[-1].concurrency))

    def test_the_newest_is_the_newest(self):
        text = (releases.ROOT / 'tox.ini').read_text()
        lane = re.search(r'(?ms)^\[testenv:newest\]$(.*?)^\[', text).group(1)
        self.assertEqual({self.lanes[-1].release},
                         set(re.findall(r'\b20\d\d\.\d\b', lane)))

    def test_what_is_asked_for_is_locked(self):
        for one in self.lanes:
            lock = dict(re.findall(r'^([a-z0-9-]+)==(\S+)',
                                   one.constraints.read_text(), re.MULTILINE))
            name, _, version = one.placement.partition('==')
            self.assertEqual(version, lock[name])
            for name in ('stestr', 'hypothesis', 'libvirt-python', 'pbr',
                         'setuptools', 'wheel', 'pip', 'oslo-vmware'):
                self.assertIn(name, lock, one.release)

    def test_the_base_is_what_the_lock_was_made_for(self):
        for one in self.lanes:
            pinned = re.search(r'^nova==(\S+)', (
                one.folder / 'upstream.txt').read_text(), re.MULTILINE)
            self.assertIn('==%s\n' % pinned.group(1), (
                one.folder / 'constraints.in').read_text())


class ConstraintsTest(unittest.TestCase):

    WANTED = ('# keystoneauth1>=9\nnova[vmware,zvm]==34.0.0\nhypothesis\n'
              'keystoneauth1>=5.16.0\nOslo_Thing < 3\n')

    def test_what_has_a_version_of_its_own(self):
        self.assertEqual({'nova', 'keystoneauth1', 'oslo-thing'},
                         constraints.own(self.WANTED))

    def test_free(self):
        upper = ('keystoneauth1===5.15.0\nkeystoneauth===1\n# a comment\n'
                 'oslo.thing===4;python_version>="3.11"\nsix===1\n')
        self.assertEqual(
            'keystoneauth===1\n# a comment\nsix===1\n',
            constraints.free(upper, constraints.own(self.WANTED)))

    def test_the_head_of_the_file_stays(self):
        self.assertEqual('# a\n#\n', constraints.comment(
            '# a\n#\nb==1\n# not at the head\n'))

    def refusal(self, upper):
        said = io.StringIO()
        lock = releases.lanes('2024.1').constraints
        before = lock.read_bytes()
        with contextlib.redirect_stderr(said):
            self.assertEqual(2, constraints.main(
                ['2024.1', '--upper', str(upper)]))
        self.assertEqual(before, lock.read_bytes())
        return said.getvalue()

    def test_what_cannot_be_the_published_versions(self):
        """It is found out before anything is made."""
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(
                subprocess, 'run', side_effect=AssertionError):
            page = Path(folder, 'page.html')
            page.write_text('<html>pbr===6.0.0</html>')
            self.assertIn('NAME===VERSION', self.refusal(page))
            page.write_bytes(b'\xff')
            self.assertIn('decode', self.refusal(page))
            for place in (folder, f'{folder}/none', f'file://{folder}/none'):
                self.assertIn(f'{place}: ', self.refusal(place))
            with mock.patch.object(
                    constraints.urllib.request, 'urlopen',
                    side_effect=http.client.IncompleteRead(b'pbr===6')):
                self.assertIn('IncompleteRead', self.refusal('http://here'))

    def test_a_tree_that_cannot_be_made(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(
                subprocess, 'run', side_effect=subprocess.CalledProcessError(
                    5, ['python3', '-m', 'xloud_series', 'apply', '2024.1'])):
            upper = Path(folder, 'upper-constraints.txt')
            upper.write_text('pbr===6.0.0\n')
            self.assertIn('xloud_series apply 2024.1 ... failed',
                          self.refusal(upper))
