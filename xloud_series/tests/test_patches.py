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

"""Complete patches are what git am, quilt and patch make the tree of."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess

from xloud_series.tests import base


class TestPatches(base.Case):

    def start(self):
        super().start()
        # GNU patch takes no ends of lines but those of the file.
        self.edit('nova/b.py', self.text('nova/b.py').replace('twin_3', 't'))
        self.edit('nova/xl/run.sh', '#!/bin/sh\n')
        (self.tree / 'nova/xl/run.sh').chmod(0o755)
        self.edit('nova/variant.py', 'V = 1\n')
        self.commit('Fourth hook\n\nWhy.')
        self.ok('export', '--carry', 'nova/variant.py')
        self.made = self.root / 'build/dist/patches-1.0'

    def write(self, **env: str):
        said = self.ok('patches', **env)
        self.assertIn('build/dist/patches-1.0: 4 complete patches', said)
        return {path.name: path.read_bytes()
                for path in self.made.iterdir()}

    def base_files(self) -> Path:
        """Upstream's untouched files, without git."""
        place = self.folder / 'unpacked'
        base.git(self.tree, 'worktree', 'add', '--quiet', '--detach',
                 str(place), 'refs/xloud/base')
        (place / '.git').unlink()
        return place

    def assert_is_the_tree(self, place: Path):
        wanted = base.git(self.tree, 'ls-tree', '-r', '--name-only', '-z',
                          'HEAD').split('\0')[:-1]
        found = sorted(str(path.relative_to(place))
                       for path in place.rglob('*') if path.is_file() and
                       not {'.pc', 'patches'} & set(path.parts))
        self.assertEqual(sorted(wanted), found)
        for path in wanted:
            self.assertEqual((self.tree / path).read_bytes(),
                             (place / path).read_bytes(), path)
            self.assertEqual(os.access(self.tree / path, os.X_OK),
                             os.access(place / path, os.X_OK), path)

    def test_what_is_written(self):
        found = self.write()
        names = ['0001-first-hook-call-one.patch', '0002-second-hook.patch',
                 '0003-ghi-chu-notes.patch', '0004-fourth-hook.patch']
        self.assertEqual({*names, 'series'}, set(found))
        self.assertEqual('\n'.join(names) + '\n', found['series'].decode())
        first = found[names[0]].decode()
        self.assertNotIn('\nOverlay: ', first)
        self.assertNotIn('\nindex ', first)
        self.assertIn('+ONE = 1\n', first)
        self.assertIn('\nChange-Id: I' + '1' * 40, first)

    def test_same_bytes_twice(self):
        """Elsewhere, by another person, at another time; nothing stale."""
        first = self.write()
        (self.made / '0005-gone.patch').write_text('x')
        moved = self.root.with_name('elsewhere')
        self.root.rename(moved)
        self.root = moved
        self.made = moved / 'build/dist/patches-1.0'
        old = os.umask(0o077)
        try:
            self.assertEqual(first, self.write(
                TZ='Asia/Tokyo', LC_ALL='vi_VN.UTF-8',
                GIT_DIFF_OPTS='-u9', GIT_EXTERNAL_DIFF='/bin/false'))
        finally:
            os.umask(old)
        self.assertEqual({0o644}, {path.stat().st_mode & 0o777
                                   for path in self.made.iterdir()})

    def test_git_am(self):
        self.write()
        clone = self.folder / 'clone'
        base.git(self.folder, 'clone', '--quiet', str(self.tree), str(clone))
        base.git(clone, 'checkout', '--quiet', '--detach',
                 self.head('refs/xloud/base'))
        base.git(clone, 'am', '--quiet', '--keep-cr',
                 *sorted(map(str, self.made.glob('*.patch'))))
        log = ('log', '--format=%T %an %ae %ad%n%B')
        self.assertEqual(base.git(self.tree, *log), base.git(clone, *log))

    def test_patch(self):
        """As dpkg-source and rpmbuild do it."""
        self.write()
        place = self.base_files()
        for name in (self.made / 'series').read_text().split():
            done = subprocess.run(
                ['patch', '--batch', '-p1', '-F0', '-E', '--binary', '-i',
                 str(self.made / name)], cwd=place, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(0, done.returncode, done.stdout)
            self.assertNotIn('fuzz', done.stdout)
            self.assertNotIn('offset', done.stdout)
        self.assert_is_the_tree(place)

    def test_quilt(self):
        self.write()
        place = self.base_files()
        shutil.copytree(self.made, place / 'patches')
        done = subprocess.run(
            ['quilt', '--quiltrc', '-', 'push', '-a', '--fuzz=0'], cwd=place,
            env={**os.environ, 'QUILT_PATCHES': 'patches',
                 'QUILT_PATCH_OPTS': '-E --binary'},
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(0, done.returncode, done.stdout)
        self.assert_is_the_tree(place)

    def test_refuses_what_patch_cannot_make(self):
        self.edit('nova/gone.py', '')
        self.commit('Empty it\n\nWhy.')
        self.ok('export')
        self.assertIn('empty-it.patch: nova/gone.py is empty',
                      self.expect(1, 'patches'))
        self.assertFalse(self.made.exists())
        self.expect(2, 'patches', '9.9')
