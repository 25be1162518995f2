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

import contextlib
import io
import subprocess
import unittest
from unittest import mock

from tools import newer

SAID = """\
nova (34.0.0)
Available versions: 34.0.0, 33.0.2, 33.0.1, 32.2.1, 29.4.0
"""
KNOWN = {'2024.1': '29.4.0', '2026.1': '33.0.2', '2026.2': '34.0.0'}


class NewerTestCase(unittest.TestCase):

    def test_what_pip_says(self):
        self.assertEqual(['34.0.0', '33.0.2', '33.0.1', '32.2.1', '29.4.0'],
                         newer.versions(SAID))

    def test_an_index_that_does_not_say(self):
        for said in ('', subprocess.CalledProcessError(1, 'pip')):
            with self.subTest(said), mock.patch.object(
                    newer, 'published', side_effect=[said]), mock.patch(
                    'sys.argv', ['newer']):
                self.assertEqual((2, 'the index does not say which versions '
                                  'of nova there are\n'), self.main())

    def test_a_drift_that_could_not_look(self):
        for code, text in ((0, 'the series fits'), (1, 'it needs hands'),
                           (4, 'nobody knows whether the series fits')):
            with self.subTest(code), mock.patch.object(
                    newer, 'published', return_value=SAID.replace(
                        'ons: ', 'ons: 99.0.0, ')), mock.patch.object(
                    newer.subprocess, 'run', return_value=mock.Mock(
                        returncode=code)), mock.patch('sys.argv', ['newer']):
                result, said = self.main()
                self.assertEqual(1, result)
                self.assertRegex(said, f'\nnova 99.0.0 .*: {text}')

    def main(self):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            return newer.main(), out.getvalue()

    def test_nothing(self):
        self.assertEqual([], newer.find(newer.versions(SAID), KNOWN))

    def test_a_point(self):
        """Numbers are compared, and only the newest counts."""
        self.assertEqual(
            [newer.Newer('33.0.10', '2026.1', is_point=True)],
            newer.find(['33.0.10', '33.0.9', '29.4.0'], KNOWN))

    def test_a_release(self):
        found = newer.find(['35.0.0', '34.0.0', '30.1.0', '36.0.0'], KNOWN)
        self.assertEqual(
            [newer.Newer('35.0.0', '2026.2', is_point=False),
             newer.Newer('36.0.0', '2026.2', is_point=False)], found)
        self.assertEqual('nova 35.0.0 is newer than the newest folder, 2026.2',
                         str(found[0]))

    def test_every_release_is_pinned(self):
        pinned = newer.pinned()
        self.assertEqual(newer.releases.known(), sorted(pinned))
        for version in pinned.values():
            self.assertRegex(version, r'^\d+\.\d+\.\d+$')
