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

"""Guarantee 1: the base is pinned, checked on each run, and cached."""

from __future__ import annotations

import io
import os
from pathlib import Path
import shutil
import tarfile

from xloud_series.tests import base


class TestPinned(base.Case):

    def setUp(self):
        super().setUp()
        self.sdist = self.root / 'build/.cache/sdist/nova-1.0.tar.gz'

    def test_one_byte_flipped(self):
        shutil.rmtree(self.root / 'build/.cache/store.git')
        data = bytearray(self.sdist.read_bytes())
        data[len(data) // 2] ^= 1
        self.sdist.write_bytes(data)
        said = self.expect(4, 'apply')
        self.assertIn('build/.cache/sdist/nova-1.0.tar.gz', said)
        self.assertRegex(said, 'sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}')
        self.assertIn('next: rm build/', said)
        self.assertFalse((self.root / 'build/.cache/store.git/refs/bases')
                         .exists())

    def test_every_run_checks(self):
        self.sdist.write_bytes(self.sdist.read_bytes()[:-9])
        for verb in ('apply', 'export', 'check'):
            self.assertIn('expected', self.expect(4, verb))

    def test_warm_cache_needs_no_pip(self):
        shutil.rmtree(self.root / 'build/nova-1.0')
        shutil.rmtree(self.root / 'build/.cache/store.git')
        self.ok('apply', PIP_NO_INDEX='1', PIP_CONFIG_FILE=os.devnull)

    def test_cold_cache_without_network(self):
        self.sdist.unlink()
        said = self.expect(4, 'apply', PIP_NO_INDEX='1')
        self.assertIn('cannot fetch nova 1.0', said)
        self.assertIn('put the sdist at build/.cache/sdist/nova-1.0.tar.gz',
                      said)

    def test_cold_cache_without_pip(self):
        self.sdist.unlink()
        python = self.folder / 'python'
        python.mkdir()
        (python / 'sitecustomize.py').write_text(
            'import sys\nsys.modules["pip"] = None\n')
        said = self.expect(4, 'apply', PYTHONPATH=os.pathsep.join(
            [str(python), str(base.PACKAGE)]))
        self.assertIn('has no pip', said)
        self.assertIn('next: install pip', said)

    def test_a_disk_that_is_full_while_pip_fetches(self):
        self.sdist.unlink()
        pip = self.folder / 'python/pip'
        pip.mkdir(parents=True)
        (pip / '__init__.py').touch()
        for text in ('No space left on device',
                     'OSError: [Errno 28] Auf dem Gerät ist kein '
                     'Speicherplatz mehr verfügbar',
                     'OSError: [Errno 122] Disk quota exceeded'):
            (pip / '__main__.py').write_text(
                f'import sys\nsys.exit({ascii(text)})\n')
            said = self.expect(4, 'apply', PYTHONPATH=os.pathsep.join(
                [str(pip.parent), str(base.PACKAGE)]))
            self.assertIn('next: make room', said)

    def test_pip_fetches(self):
        self.sdist.unlink()
        index = self.folder / 'index'
        index.mkdir()
        # A build backend of its own: pip asks it for metadata, offline.
        sha = base.sdist(index / 'nova-1.0.tar.gz', '1.0', {
            **base.UPSTREAM,
            'pyproject.toml': '[build-system]\nrequires = []\n'
            'build-backend = "backend"\nbackend-path = ["."]\n',
            'backend.py': 'import os\n\n\n'
            'def prepare_metadata_for_build_wheel(where, config=None):\n'
            '    os.mkdir(os.path.join(where, "nova-1.0.dist-info"))\n'
            '    with open(os.path.join(where, "nova-1.0.dist-info",\n'
            '                           "METADATA"), "w") as out:\n'
            '        out.write("Metadata-Version: 2.1\\nName: nova\\n"\n'
            '                  "Version: 1.0\\n"\n'
            '                  "Requires-Python: >=99\\n")\n'
            '    return "nova-1.0.dist-info"\n'})
        env = {'PIP_NO_INDEX': '1', 'PIP_FIND_LINKS': str(index)}
        said = self.expect(4, 'apply', **env)    # not what is pinned
        self.assertIn('cannot fetch', said)
        self.assertFalse(self.sdist.exists())
        (self.own / 'upstream.txt').write_text(
            f'nova==1.0 \\\n    --hash=sha256:{sha}\n')
        git = base.git
        git(self.tree, 'reset', '--hard', '--quiet', 'refs/xloud/applied')
        said = self.ok('apply', **env, PIP_REQUIRE_VIRTUALENV='1')
        self.assertIn('fetching nova 1.0 with pip', said)
        self.assertTrue(self.sdist.exists())
        said = self.ok('apply', PIP_NO_INDEX='1')
        self.assertNotIn('fetching', said)

    def test_bad_pin(self):
        for text in ('nova>=1.0\n', 'nova==1.0\n', '', 'nova==1.0 --hash=x'):
            (self.own / 'upstream.txt').write_text(text)
            self.assertIn('patches/1.0/upstream.txt', self.expect(4, 'apply'))


class TestImport(base.Case):

    def test_what_the_base_holds(self):
        names = base.git(self.tree, 'ls-tree', '-r', '--name-only',
                         'refs/xloud/base').split()
        self.assertIn('PKG-INFO', names)
        self.assertNotIn('nova.egg-info/SOURCES.txt', names)
        self.assertEqual('one\r\n', base.git(
            self.tree, 'show', 'refs/xloud/base:nova/dos.txt')[:4]
            .replace('\n', '\r\n')[:5])
        who = base.git(self.tree, 'log', '-1', '--format=%ae %at %ce %ct',
                       'refs/xloud/base').strip()
        self.assertEqual('series@xloud.invalid 1700000000 '
                         'series@xloud.invalid 1700000000', who)

    def refused(self, info: tarfile.TarInfo):
        path = self.root / 'build/.cache/sdist/nova-1.0.tar.gz'
        with tarfile.open(path, 'w:gz') as tar:
            tar.addfile(info, io.BytesIO(b''))
        from xloud_series import upstream
        sha = upstream.sha256_of(path)
        (self.own / 'upstream.txt').write_text(
            f'nova==1.0 --hash=sha256:{sha}\n')
        self.assertIn('which no sdist should', self.expect(4, 'apply'))

    def test_members_that_no_sdist_has(self):
        for name in ('/etc/passwd', 'nova-1.0/../../x', 'nova-1.0/.git/x'):
            self.refused(tarfile.TarInfo(name))
        device = tarfile.TarInfo('nova-1.0/dev')
        device.type = tarfile.CHRTYPE
        self.refused(device)
        link = tarfile.TarInfo('nova-1.0/link')
        link.type, link.linkname = tarfile.SYMTYPE, '../../out'
        self.refused(link)

    def test_tree_outlives_the_cache(self):
        shutil.rmtree(self.root / 'build/.cache')
        base.git(self.tree, 'fsck', '--full')
        self.assertTrue(Path(self.tree, 'nova/a.py').exists())
