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
import os
from pathlib import Path
import py_compile
from unittest import mock

import ddt
import fixtures

from nova import test
from nova.xloud import verify

HOOKED = 'def start():\n    elastic()\n    return run()\n'
ENTRY_POINTS = ('[nova.api.extra_spec_validators]\n'
                'hw = nova.hw\n'
                'minimum = nova.minimum\n')


@ddt.ddt
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

    def test_bytecode_that_cannot_be_read(self):
        path = self.write('nova/__pycache__/driver.cpython-311.pyc', '')
        path.unlink()
        # Not even root can open it.
        path.symlink_to(path)
        self.assertEqual([('bytecode', str(path.relative_to(self.root)))],
                         self.found())
        # As if it was deleted since its name was read
        path.unlink()
        path.symlink_to(self.root / 'gone')
        self.assertEqual([], self.found())

    @ddt.data((PermissionError, ['nova/xloud/__pycache__']),
              (FileNotFoundError, []))
    @ddt.unpack
    def test_folder_that_cannot_be_read(self, error, expected):
        self.write('nova/tests/size.py', '')
        scandir = os.scandir

        def fail(path):
            if Path(path).name in ('__pycache__', 'tests'):
                raise error(13, 'Permission denied', str(path))
            return scandir(path)

        self.write('nova/xloud/__pycache__/size.cpython-311.pyc', '')
        self.useFixture(fixtures.MonkeyPatch('os.scandir', fail))
        self.assertEqual([('foreign', path) for path in expected],
                         self.found())

    @ddt.data(b'hw = nova.hw\n', b'[nova]\nno value\n', b'[\xff]\n')
    def test_entry_points_that_cannot_be_read(self, content):
        path = 'nova-1.0.dist-info/entry_points.txt'
        (self.root / path).write_bytes(content)
        self.assertEqual([('entry point', path)], self.found())
        (self.root / path).unlink()
        (self.root / path).mkdir()
        finding, = verify.verify(self.root, self.manifest)
        self.assertIn('cannot be read', finding.text)

    def test_entry_point(self):
        path = 'nova-1.0.dist-info/entry_points.txt'
        self.write(path, ENTRY_POINTS.replace('minimum =', 'other ='))
        self.assertEqual([('entry point', path)], self.found())
        (self.root / path).unlink()
        self.assertEqual([('entry point', 'nova')], self.found())

    def test_two_versions(self):
        self.write('nova-0.9.egg-info/entry_points.txt', ENTRY_POINTS)
        self.assertEqual(['version'], [kind for kind, _path in self.found()])

    def run_main(self, *arguments, inside=True):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), \
                contextlib.redirect_stderr(said), mock.patch.object(
                    verify, 'MANIFEST', self.manifest if inside else None):
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

    def write_beside(self, content):
        """The manifest of a wheel"""
        beside = self.write('nova/xloud/xloud-manifest.json', '')
        beside.write_bytes(content)
        self.useFixture(fixtures.MockPatchObject(
            verify, '__file__', str(beside.with_name('verify.py'))))

    def without(self, *keys):
        manifest = json.loads(json.dumps(self.manifest))  # noqa: N324
        part = manifest
        for key in keys[:-1]:
            part = part[key]
        del part[keys[-1]]
        return json.dumps(manifest).encode()  # noqa: N324

    def test_a_manifest_beside_this_file(self):
        self.write_beside(json.dumps(self.manifest).encode())  # noqa: N324
        code, said = self.run_main(inside=False)
        self.assertEqual(0, code, said)

    def assert_unusable(self, content=None):
        if content is not None:
            self.write_beside(content)
        code, said = self.run_main('--json', inside=False)
        self.assertEqual(2, code)
        said = json.loads(said)  # noqa: N324
        self.assertIsNone(said['whole'])
        self.assertIn('xloud-manifest.json cannot be used', said['reason'])
        self.assertEqual(2, self.run_main(inside=False)[0])

    @ddt.data(b'', b'{', b'\xff', b'[]', b'null', b'{}')
    def test_a_manifest_that_is_none(self, content):
        self.assert_unusable(content)

    def test_a_manifest_that_cannot_be_read(self):
        self.write_beside(b'')
        beside = self.root / 'nova/xloud/xloud-manifest.json'
        beside.unlink()
        beside.mkdir()
        self.assert_unusable()

    @ddt.data(['version'], ['distribution'], ['files'], ['entry_points'],
              ['files', 'nova/__init__.py', 'sha256'],
              ['files', 'nova/driver.py', 'added'],
              ['entry_points', 0, 2])
    def test_a_manifest_that_lacks_something(self, keys):
        self.assert_unusable(self.without(*keys))

    def test_a_manifest_of_no_files(self):
        """Nothing can be whole by it."""
        self.manifest['files'].clear()
        content = json.dumps(self.manifest)  # noqa: N324
        self.assert_unusable(content.encode())

    def test_no_manifest_in_a_tree(self):
        self.assertRaisesRegex(
            verify.Unverifiable, 'packaging/build.sh', verify.load_manifest)
