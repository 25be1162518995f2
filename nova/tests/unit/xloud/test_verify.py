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


import contextlib
import hashlib
import io
import json
from pathlib import Path
import py_compile
from unittest import mock

import fixtures

from nova import test
from nova.xloud import verify

HOOKED = 'def start():\n    elastic()\n    return run()\n'
ENTRY_POINTS = ('[nova.api.extra_spec_validators]\n'
                'hw = nova.hw\n'
                'minimum = nova.minimum\n')


class VerifyTestCase(test.NoDBTestCase):
    """On a small installation, which is damaged in each way."""

    def setUp(self):
        super().setUp()
        self.root = Path(self.useFixture(fixtures.TempDir()).path)
        files = {'nova/__init__.py': '', 'nova/driver.py': HOOKED,
                 'nova/locale.po': 'msgid',
                 'nova/xloud/size.py': 'SIZE = 1\n'}
        for path, text in files.items():
            self.write(path, text)
        self.write('nova-1.0.dist-info/entry_points.txt', ENTRY_POINTS)
        self.manifest = {
            'version': '1.0+xloud.7', 'distribution': False,
            'files': {path: {'sha256': hashlib.sha256(
                text.encode()).hexdigest()} for path, text in files.items()},
            'entry_points': [['nova.api.extra_spec_validators', 'minimum',
                              'nova.minimum']]}
        self.manifest['files']['nova/tests/test_size.py'] = {'sha256': ''}
        self.manifest['files']['nova/driver.py'].update(
            status='M', added=['    elastic()\n'])
        self.manifest['files']['nova/xloud/size.py']['status'] = 'A'

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def found(self, **kwargs):
        return [(finding.kind, finding.path) for finding in verify.verify(
            self.root, self.manifest, **kwargs)]

    def test_whole(self):
        self.assertEqual([], self.found())
        self.assertEqual([], self.found(distribution=True))

    def test_tests_count_where_they_are_installed(self):
        self.assertEqual([('missing', 'nova/tests/test_size.py')],
                         self.found(tests=True))

    def test_edited(self):
        self.write('nova/driver.py', HOOKED + '# theirs\n')
        self.assertEqual([('edited', 'nova/driver.py')], self.found())
        # A distribution's own patch, beside our hook
        self.assertEqual([], self.found(distribution=True))

    def test_a_distribution_that_lost_a_hook(self):
        self.write('nova/driver.py', 'def start():\n    return run()\n')
        self.assertEqual([('edited', 'nova/driver.py')],
                         self.found(distribution=True))

    def test_a_distribution_has_our_own_files_as_they_are(self):
        self.write('nova/xloud/size.py', 'SIZE = 2\n')
        self.assertEqual([('edited', 'nova/xloud/size.py')],
                         self.found(distribution=True))

    def test_missing(self):
        (self.root / 'nova/xloud/size.py').unlink()
        (self.root / 'nova/locale.po').unlink()
        self.assertEqual([('missing', 'nova/locale.po'),
                          ('missing', 'nova/xloud/size.py')], self.found())
        # A distribution may leave out what is no code.
        self.assertEqual([('missing', 'nova/xloud/size.py')],
                         self.found(distribution=True))

    def test_foreign(self):
        self.write('nova/other.py', '')
        self.assertEqual([('foreign', 'nova/other.py')], self.found())
        self.assertEqual([], self.found(distribution=True))

    def test_bytecode_without_source(self):
        self.write('nova/__pycache__/gone.cpython-311.pyc', '')
        self.assertEqual(
            [('bytecode', 'nova/__pycache__/gone.cpython-311.pyc')],
            self.found())

    def test_bytecode_that_is_never_compared(self):
        source = self.root / 'nova/driver.py'
        compiled = py_compile.compile(
            str(source),
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        name = str(Path(compiled).relative_to(self.root))
        self.assertEqual([('bytecode', name)], self.found())
        py_compile.compile(
            str(source),
            invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        self.assertEqual([], self.found())

    def test_entry_point(self):
        path = 'nova-1.0.dist-info/entry_points.txt'
        self.write(path, ENTRY_POINTS.replace('minimum =', 'other ='))
        self.assertEqual([('entry point', path)], self.found())
        (self.root / path).unlink()
        self.assertEqual([('entry point', 'nova')], self.found())

    def test_two_versions(self):
        self.write('nova-0.9.egg-info/entry_points.txt', ENTRY_POINTS)
        self.assertEqual(['version'], [kind for kind, _path in self.found()])

    def run_main(self, *arguments):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), \
                contextlib.redirect_stderr(said), mock.patch.object(
                    verify, 'MANIFEST', self.manifest):
            code = verify.main(['--site-packages', str(self.root),
                                *arguments])
        return code, said.getvalue()

    def test_exit_codes(self):
        code, said = self.run_main()
        self.assertEqual(0, code, said)
        self.assertIn('whole, 4 files', said)
        self.write('nova/other.py', '')
        code, said = self.run_main('--json')
        self.assertEqual(1, code)
        self.assertEqual(
            [{'kind': 'foreign', 'path': 'nova/other.py',
              'text': 'it is not of this build'}],
            json.loads(said)['findings'])  # noqa: N324
        (self.root / 'nova/__init__.py').unlink()
        code, said = self.run_main()
        self.assertEqual(2, code)
        self.assertIn('no nova in', said)

    def test_a_package_knows_that_a_distribution_patched_it(self):
        self.write('nova/driver.py', HOOKED + '# theirs\n')
        self.assertEqual(1, self.run_main()[0])
        self.manifest['distribution'] = True
        code, said = self.run_main()
        self.assertEqual(0, code, said)
        self.assertIn('whole, 2 files have what the series adds', said)

    def test_no_manifest_in_a_tree(self):
        self.assertRaisesRegex(
            verify.Unverifiable, 'packaging/build.sh', verify.load_manifest)
