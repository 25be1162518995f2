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

"""packaging/build.sh says what it can do, and refuses what it cannot."""

import contextlib
import gzip
import hashlib
import io
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
from unittest import mock

from tools import tree

# A folder of scripts, not a package: a package of this name is on PyPI.
sys.path.insert(0, str(tree.ROOT / 'packaging'))
import clients as _clients  # noqa: E402
import command as _command  # noqa: E402
import deb as _deb  # noqa: E402
import rpm as _rpm  # noqa: E402
import source as _source  # noqa: E402
import wheel as _wheel  # noqa: E402

# In place of python3: says what it was called with.
CALLED = '#!/bin/sh\necho called "$@"\n'


class BuildTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name, 'repo')
        (self.root / 'packaging').mkdir(parents=True)
        (self.root / 'tools').mkdir()
        for name in ('packaging/build.sh', 'tools/any-owner.gitconfig'):
            shutil.copy(tree.ROOT / name, self.root / name)
        (self.root / 'patches/2024.2').mkdir(parents=True)
        (self.root / 'patches/2024.2/upstream.txt').touch()
        called = Path(folder.name, 'bin/python3')
        called.parent.mkdir()
        called.write_text(CALLED)
        called.chmod(0o755)
        self.path = f'{called.parent}{os.pathsep}{os.environ["PATH"]}'

    def build(self, *words):
        return subprocess.run(
            [self.root / 'packaging/build.sh', *words], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, 'PATH': self.path})

    def test_help(self):
        for word in ('--help', '-h'):
            done = self.build(word)
            self.assertEqual((0, ''), (done.returncode, done.stderr))
            self.assertIn('packaging/build.sh patches [--release RELEASE]',
                          done.stdout)
            self.assertNotIn('called', done.stdout)

    def test_refuses_before_it_does_anything(self):
        for words, why in (
                ((), 'build what?'), (('patch',), 'unknown: patch'),
                (('patches', 'patches'), 'one thing at a time'),
                (('patches', '--release'), 'needs a name'),
                (('patches', '--release', '9.9'), 'no patches/9.9'),
                (('patches', '--relase', '2024.2'), 'unknown: --relase'),
                (('deb',), 'deb takes --dsc'),
                (('deb', '--dsc', 'nova.dsc'), 'no nova.dsc'),
                (('deb', '--dsc', '.'), 'deb needs --maintainer'),
                (('deb', '--dsc', '.', '--maintainer', 'a@b'),
                 "--maintainer is 'a@b'"),
                (('rpm', '--dsc', '.'), 'rpm takes --distgit'),
                (('rpm', '--distgit'), '--distgit needs a path'),
                (('wheel', '--dsc', '.'), 'wheel takes no --dsc'),
                (('wheel', '--maintainer', 'A'), 'takes no --maintainer'),
                (('clients', '--release', '2024.2'),
                 'clients takes no --release')):
            done = self.build(*words)
            self.assertEqual((2, ''), (done.returncode, done.stdout), words)
            self.assertIn(why, done.stderr)

    def test_patches(self):
        for words, wanted in (
                (('patches',), 'called -m xloud_series patches\n'),
                (('--release', '2024.2', 'patches'),
                 'called -m xloud_series patches 2024.2\n')):
            done = self.build(*words)
            self.assertEqual((0, wanted), (done.returncode, done.stdout))

    def commit_release(self, folder, *tags):
        """Commit our release 3 in a new repository, and give it tags."""
        release = self.root / 'nova/xloud/release.py'
        release.parent.mkdir(parents=True)
        release.write_text('NUMBER = 3\n')
        for words in (('init', '--quiet'), ('add', '--all'),
                      ('-c', 'user.name=A', '-c', 'user.email=a@example.org',
                       'commit', '--quiet', '--message', 'x'),
                      *(('tag', tag) for tag in tags)):
            _source.git(folder, *words)
        return release

    def test_a_tagged_commit_is_that_release(self):
        release = self.commit_release(
            self.root, 'another-tag', 'xloud-2')
        for words in (('deb', '--dsc', '.', '--maintainer', 'A <a@b>'),
                      ('patches',), ('wheel',), ('clients',)):
            done = self.build(*words)
            self.assertEqual((2, ''), (done.returncode, done.stdout), words)
            self.assertIn('tagged xloud-2', done.stderr)
        with mock.patch.dict(os.environ, GIT_TEST_ASSUME_DIFFERENT_OWNER='1'):
            done = self.build('deb', '--dsc', '.', '--maintainer', 'A <a@b>')
        self.assertIn('tagged xloud-2', done.stderr)
        release.write_text('NUMBER = 2\n')
        done = self.build('deb', '--dsc', '.', '--maintainer', 'A <a@b>')
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('called -m xloud_series apply 2024.2\n', done.stdout)
        self.assertIn('called packaging/deb.py --dsc', done.stdout)

    def test_the_tag_of_a_repository_around_it_is_of_something_else(self):
        """A source archive, unpacked in the repository of a packager."""
        self.commit_release(self.root.parent, 'xloud-nova-29.4.0-1')
        done = self.build('deb', '--dsc', '.', '--maintainer', 'A <a@b>')
        self.assertEqual(0, done.returncode, done.stderr)

    def test_what_it_calls_is_there(self):
        text = (tree.ROOT / 'packaging/build.sh').read_text()
        verbs = sorted(set(re.findall(r'-m xloud_series (\w+)', text)))
        self.assertEqual(['apply', 'patches'], verbs)
        for verb in verbs:
            subprocess.run([sys.executable, '-m', 'xloud_series', verb,
                            '--help'], cwd=tree.ROOT, check=True,
                           stdout=subprocess.DEVNULL)


SETUP = """[metadata]
name = nova

[entry_points]
nova.validators =
    hw = nova.hw
"""
STOCK = {'PKG-INFO': 'Metadata-Version: 2.1\nName: nova\nVersion: 29.4.0\n',
         'setup.cfg': SETUP, 'nova/__init__.py': '',
         'nova/driver.py': 'def start():\n    return run()\n'}
OURS = {'setup.cfg': SETUP + '    minimum = nova.minimum:Minimum\n',
        'nova/driver.py': 'def start():\n    elastic()\n    return run()\n',
        'nova/xloud/release.py': '"""Which."""\nNUMBER = 7\n'}


class SourceTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Path(folder.name, 'tree')
        self.tree.mkdir()
        self.git('init', '--quiet')
        self.commit(STOCK)
        self.git('update-ref', _source.BASE, 'HEAD')
        verify = (tree.ROOT / _source.VERIFY).read_text()
        self.commit({**OURS, _source.VERIFY: verify})

    def git(self, *arguments):
        _source.git(self.tree, *arguments)

    def commit(self, files):
        for name, text in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git('add', '--all')
        self.git('-c', 'user.name=A', '-c', 'user.email=a@example.org',
                 'commit', '--quiet', '--message', 'x')

    def test_command_of_a_kind_of_packages(self):
        arguments = ['--tree', str(self.tree), '--patches', 'p', '--dsc', 'd',
                     '--maintainer', 'A <a@b>', '--output', 'o']
        kind = _command.Kind('What.', '--dsc', 'FILE', mock.Mock(
            return_value=Path('o', 'made')), 'take it')
        said, refused = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said):
            self.assertEqual(0, _command.run(kind, arguments))
        self.assertEqual('o/made: take it\n', said.getvalue())
        source, *others = kind.build.call_args.args
        self.assertEqual(7, source.number)
        self.assertEqual(
            [Path('p'), Path('d'), 'A <a@b>', Path('o')], others)

        kind.build.side_effect = _source.Refused('no')
        with contextlib.redirect_stderr(refused):
            self.assertEqual(1, _command.run(kind, arguments))
        self.assertEqual('build: no\n', refused.getvalue())

    def test_version_is_the_base_and_the_number(self):
        with _source.of_tree(self.tree) as source:
            self.assertEqual('29.4.0+xloud.7', source.version)
            self.assertEqual('29.4.0+xloud.7', source.environ['PBR_VERSION'])

    def test_manifest(self):
        with _source.of_tree(self.tree) as source:
            found = json.loads(
                (source.folder / _source.MANIFEST).read_text())
            self.assertEqual(_source.manifest(source), found)
        self.assertEqual(
            {'nova/__init__.py', 'nova/driver.py', 'nova/xloud/release.py',
             _source.VERIFY}, set(found['files']))
        self.assertEqual(
            ('M', ['    elastic()\n']),
            (found['files']['nova/driver.py']['status'],
             found['files']['nova/driver.py']['added']))
        self.assertEqual(
            hashlib.sha256(STOCK['nova/driver.py'].encode()).hexdigest(),
            found['files']['nova/driver.py']['stock'])
        self.assertEqual('A',
                         found['files']['nova/xloud/release.py']['status'])
        self.assertNotIn('status', found['files']['nova/__init__.py'])
        self.assertEqual([['nova.validators', 'minimum',
                           'nova.minimum:Minimum']], found['entry_points'])

    def test_the_same_commit_under_any_configuration(self):
        def head():
            with _source.of_tree(self.tree) as source:
                return _source.git(source.folder, 'rev-parse', 'HEAD')

        expected = head()
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        with mock.patch.dict(os.environ, {
                'GIT_AUTHOR_NAME': 'Somebody', 'TZ': 'Asia/Tokyo',
                'GIT_COMMITTER_DATE': '2001-01-01T00:00:00', 'LC_ALL': 'C'}):
            self.assertEqual(expected, head())
        self.assertEqual(0o077, os.umask(0o077))

    def test_the_tree_of_somebody_else(self):
        """Root builds what a person has applied; git trusts nobody else's
        folders, unless it is told so.
        """
        fixed = _source.fixed_environ
        with mock.patch.object(_source, 'fixed_environ', lambda: {
                **fixed(), 'GIT_TEST_ASSUME_DIFFERENT_OWNER': '1'}):
            with _source.of_tree(self.tree) as source:
                self.assertEqual(7, source.number)

    def test_work_that_is_not_committed_is_refused(self):
        (self.tree / 'nova/driver.py').write_text('')
        with self.assertRaisesRegex(_source.Refused, 'nova/driver.py'):
            with _source.of_tree(self.tree):
                self.fail('it was built')

    def test_verify_runs_alone(self):
        with _source.of_tree(self.tree) as source:
            text = _source.standalone_verify(
                source, _source.manifest(source))
        install = self.tree.parent / 'install'
        shutil.copytree(self.tree / 'nova', install / 'nova')
        metadata = install / 'nova-29.4.0.dist-info/entry_points.txt'
        metadata.parent.mkdir()
        metadata.write_text('[nova.validators]\nhw = nova.hw\n'
                            'minimum = nova.minimum:Minimum\n')

        def verify():
            # As into a container: the file comes over standard input.
            done = subprocess.run(
                [sys.executable, '-', '--site-packages', install, '--json'],
                input=text, text=True, stdout=subprocess.PIPE)
            return done.returncode, json.loads(done.stdout)

        code, said = verify()
        self.assertEqual((0, []), (code, said['findings']))
        (install / 'nova/driver.py').write_text(STOCK['nova/driver.py'])
        code, said = verify()
        self.assertEqual((1, ['nova/driver.py']), (
            code, [finding['path'] for finding in said['findings']]))

    def test_a_package_that_lacks_files_is_refused(self):
        with _source.of_tree(self.tree) as source:
            whole = set(_source.lines(source.folder, 'ls-files', '-z'))
            _wheel.check_names(source, whole)
            with self.assertRaisesRegex(
                    _source.Refused, '1 files .* nova/driver.py'):
                _wheel.check_names(source, whole - {'nova/driver.py'})
            with self.assertRaisesRegex(_source.Refused, 'nova/left.py'):
                _wheel.check_names(source, whole | {'nova/left.py'})


class ClientsTest(unittest.TestCase):
    """The lane packages builds them; this is how they are compared."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name, 'clients/dashboard')
        for name in ('a.py', 'locale/django.pot', 'locale/de/django.po'):
            path = self.folder / 'xloud_dashboard' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def build(self, kind, names):
        """With a package that has these files."""
        def package(folder, kind, environ, epoch, output, check):
            check({'README.rst', *(f'xloud_dashboard/{name}'
                                   for name in names)})

        with mock.patch.object(_wheel, 'package', package):
            _clients._build(self.folder, kind, None)

    def test_whole(self):
        self.build('wheel', ['a.py', 'locale/de/django.mo'])
        self.build('sdist', ['a.py', 'locale/django.pot',
                             'locale/de/django.po'])

    def test_without_translations(self):
        with self.assertRaisesRegex(
                _source.Refused, '1 files of clients/dashboard .*django.mo'):
            self.build('wheel', ['a.py'])

    def test_with_something_else(self):
        with self.assertRaisesRegex(_source.Refused, 'b.py'):
            self.build('wheel', ['a.py', 'b.py', 'locale/de/django.mo'])

    def test_what_is_built_from(self):
        """All clients; without what a build has left."""
        left = tree.ROOT / 'clients/dashboard/xloud_dashboard/__pycache__'
        left.mkdir(exist_ok=True)
        with _clients._clone_of_clients() as root:
            self.assertEqual(
                {path.parent.name for path in
                 (tree.ROOT / 'clients').glob('*/pyproject.toml')},
                {path.name for path in (root / 'clients').iterdir()})
            self.assertFalse(list(root.rglob('__pycache__')))
            self.assertEqual(_source.number_of(tree.ROOT),
                             _source.number_of(root))


CONTROL = """Source: nova
Maintainer: A Distribution <nova@example.org>
Build-Depends: debhelper

Package: python3-nova
Architecture: all
"""
CHANGELOG = """nova (2:29.4.0-1) stable; urgency=high

  * Something.

 -- A Distribution <nova@example.org>  Mon, 01 Sep 2025 12:00:00 +0000
"""
ME = 'A Packager <packager@example.org>'


class DebTest(unittest.TestCase):
    """The lane deb builds whole packages; this is what it cannot see."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Path(folder.name)
        self.source = _source.Source(self.tree, '29.4.0', 7, 'tip', 1000)
        self.tree.joinpath('series').write_text('0001-a.patch\n')
        (self.tree / 'debian').mkdir()
        self.changelog = self.tree / 'debian/changelog'

    def write_changelog(self, text=CHANGELOG):
        self.changelog.write_text(text)
        return _deb._write_changelog(self.source, self.tree, self.tree, ME)

    def test_an_entry_on_top_that_is_not_older(self):
        # Monday, the first of September, when the distribution wrote its own
        self.assertEqual(('29.4.0', 1756728000), self.write_changelog())
        text = self.changelog.read_text()
        self.assertTrue(text.startswith(
            'nova (2:29.4.0-1+xloud7) stable; urgency=medium\n'), text)
        self.assertTrue(text.endswith('\n\n' + CHANGELOG), text)
        self.assertIn(f' -- {ME}  Mon, 01 Sep 2025 12:00:00 -0000\n', text)

    def test_another_release_is_refused(self):
        with self.assertRaisesRegex(_source.Refused, 'another release'):
            self.write_changelog(CHANGELOG.replace('29.4.0', '31.0.0'))

    def test_a_patched_package_is_refused(self):
        self.write_changelog()
        with self.assertRaisesRegex(_source.Refused, 'has the series'):
            self.write_changelog(self.changelog.read_text())

    def test_who_answers_for_the_package(self):
        path = self.tree / 'debian/control'
        path.write_text(CONTROL)
        _deb._write_control(path, ME)
        text = path.read_text()
        self.assertIn(f'Source: nova\nMaintainer: {ME}\n'
                      'XSBC-Original-Maintainer: A Distribution '
                      '<nova@example.org>\nBuild-Depends:', text)
        self.assertIn('Architecture: all\n\nPackage: xloud-nova\n', text)
        for wrong in ('A Packager', 'A <b>', '<a@b>', 'A\nB <a@b>'):
            with self.assertRaises(_source.Refused, msg=wrong):
                _source.check_person(wrong)

    def test_a_source_from_git_has_no_tabs_in_setup_cfg(self):
        patch = ('diff --git a/Makefile b/Makefile\n+\tcc\n'
                 'diff --git a/setup.cfg b/setup.cfg\n \ta = b\n+\tc = d\n')
        self.assertEqual(
            'diff --git a/Makefile b/Makefile\n+\tcc\n'
            'diff --git a/setup.cfg b/setup.cfg\n     a = b\n+    c = d\n',
            _deb._for_git(patch))

    def test_what_is_no_source_package_of_nova(self):
        dsc = self.tree / 'a.dsc'
        for text in ('', 'Source: nova\nFormat: 1.0\n',
                     'Source: glance\nFormat: 3.0 (quilt)\n'):
            dsc.write_text(text)
            with self.assertRaisesRegex(_source.Refused, 'no source package'):
                _deb._check_format(dsc)


SPEC = """Name: openstack-nova
Version: 29.4.0
Release: 1%{?dist}
Source0: nova.tar.gz
Patch1: theirs.patch
%if 0%{?signed}
Source2: nova.tar.gz.asc
%endif
BuildArch: noarch

%description
Nova.

%prep
%autosetup -S git

%install
python3 setup.py install

%files
/usr/bin/nova-api

%changelog
* Mon Sep 01 2025 A Distribution <nova@example.org> - 29.4.0-1
- Something
"""


class RpmTest(unittest.TestCase):
    source = _source.Source(Path(), '29.4.0', 7, 'tip', 1756728000)

    def patch(self, text=SPEC):
        return _rpm.patch_spec(text, ['0001-a.patch', '0002-b.patch'],
                               self.source, ME, '29.4.0')

    def test_the_spec_and_nothing_of_it_lost(self):
        text = self.patch()
        self.assertIn('Release: 1.xloud7%{?dist}\n', text)
        # After theirs, and outside of the condition
        self.assertIn('%endif\nSource9001: xloud-nova-verify\n', text)
        self.assertIn('Patch9001: 0001-a.patch\nPatch9002: 0002-b.patch\n'
                      'BuildArch', text)
        self.assertIn('%prep\nexport GIT_AUTHOR_DATE=\'1756728000 +0000\'',
                      text)
        self.assertIn('%install\ninstall -D -m 755 %{SOURCE9001} ', text)
        self.assertIn(f'%changelog\n* Mon Sep 01 2025 {ME} - '
                      '29.4.0-1.xloud7\n', text)
        self.assertIn('%files -n xloud-nova\n', text)
        lines = iter(text.splitlines())
        for line in SPEC.replace('1%{?dist}', '1.xloud7%{?dist}').splitlines():
            self.assertIn(line, lines)

    def test_what_is_refused(self):
        for text, why in (
                (self.patch(), 'has the series already'),
                (SPEC.replace('%autosetup', '%setup'), 'no %autosetup'),
                (SPEC.replace('Patch1:', 'Patch9001:'), 'from 9001 on'),
                (SPEC.replace('%install', '# none'), 'no %install'),
                (SPEC.replace('Release:', 'Rel:'), 'no Release')):
            with self.assertRaisesRegex(_source.Refused, why):
                self.patch(text)


class OutputTest(unittest.TestCase):
    def test_what_it_was_made_from_is_not_replaced(self):
        with tempfile.TemporaryDirectory() as folder:
            made, output = Path(folder, 'made'), Path(folder, 'output')
            for where in (made, output / 'input'):
                where.mkdir(parents=True)
            (made / 'new').touch()
            spec = output / 'input' / 'nova.spec'
            spec.touch()
            for taken in (output, spec.parent, spec):
                with self.assertRaisesRegex(_source.Refused, 'copy it'):
                    _source.replace_output(made, output, taken)
            self.assertTrue(spec.exists())
            _source.replace_output(made, output, Path(folder, 'elsewhere'))
            self.assertEqual(['new'], os.listdir(output))

    def test_a_refusal_leaves_the_last_package(self):
        with tempfile.TemporaryDirectory() as folder:
            distgit, output, patches = (
                Path(folder, name) for name in ('in', 'out', 'patches'))
            for where in (distgit, output, patches):
                where.mkdir()
            (patches / 'series').touch()
            (distgit / 'nova.spec').write_text(SPEC)
            (output / 'last.src.rpm').touch()
            with mock.patch.object(_rpm, 'query', lambda spec, what: '28.0.0'):
                with self.assertRaisesRegex(_source.Refused, 'of 28.0.0'):
                    _rpm.build(RpmTest.source, patches, distgit, ME, output)
            self.assertEqual(['last.src.rpm'], os.listdir(output))


class RepackTest(unittest.TestCase):
    def sdist(self, folder, name, mtime, names, mode):
        path = Path(folder, name)
        with tarfile.open(path, 'w:gz') as archive:
            for member in names:
                info = tarfile.TarInfo(member)
                info.mtime, info.mode, info.uname = mtime, mode, name
                info.size = len(member)
                archive.addfile(info, io.BytesIO(member.encode()))
        return path

    def test_time_order_and_builder_leave_no_trace(self):
        with tempfile.TemporaryDirectory() as folder:
            one = self.sdist(folder, 'one', 1000, ['n/a', 'n/b'], 0o600)
            two = self.sdist(folder, 'two', 2000, ['n/b', 'n/a'], 0o664)
            for path in (one, two):
                _wheel.repack(path, epoch=5)
            self.assertEqual(one.read_bytes(), two.read_bytes())
            with tarfile.open(one) as archive:
                self.assertEqual(
                    [('n/a', 5, 0o644), ('n/b', 5, 0o644)],
                    [(member.name, member.mtime, member.mode)
                     for member in archive])
            with gzip.open(one) as opened:
                opened.read()
                self.assertEqual(5, opened.mtime)
