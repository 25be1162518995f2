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

"""apply --base: the series on a git commit that somebody has."""

from __future__ import annotations

import configparser
import shutil

from xloud_series.tests import base

MESSAGES = ('log', '--format=%an %at %B', 'refs/xloud/base..')


class TestOtherBase(base.Case):

    def start(self):
        super().start()
        self.new = self.root / 'build/nova-1.0-on-base'
        self.theirs = self.folder / 'theirs'
        self.theirs.mkdir()
        base.git(self.theirs, 'init', '--quiet')
        for path, text in base.UPSTREAM.items():
            # As in upstream's git: these are made for the sdist alone.
            if path not in ('PKG-INFO', 'AUTHORS', 'ChangeLog'):
                (self.theirs / path).parent.mkdir(parents=True, exist_ok=True)
                (self.theirs / path).write_bytes(text.encode())
        self.commit_there('1.0')

    def commit_there(self, message: str, **files: str):
        for path, text in files.items():
            (self.theirs / path.replace('__', '/')).with_suffix(
                '.py').write_text(text)
        base.git(self.theirs, 'add', '-A')
        base.git(self.theirs, 'commit', '--quiet', '-m', message)

    def put(self, code: int = 0, commit: str = 'HEAD', **env: str) -> str:
        return self.expect(code, 'apply', '--base', f'{self.theirs}@{commit}',
                           **env)

    def test_a_fix_of_upstream_comes_with_its_base(self):
        before, head = self.snapshot(), self.head()
        fixed = base.A.replace('first = 9', 'first = 99')
        self.commit_there('A fix', nova__a=fixed)
        self.assertIn('build/nova-1.0-on-base: the series on', self.put())
        self.assertEqual(
            base.hook(base.hook(fixed, 2, 'hook = 2'), 6, 'hook = 6'),
            (self.new / 'nova/a.py').read_text())
        self.assertEqual('"""Ours."""\n',
                         (self.new / 'nova/xl/__init__.py').read_text())
        # What only an sdist has comes from the pinned one.
        self.assertIn('Version: 1.0', (self.new / 'PKG-INFO').read_text())
        self.assertEqual(base.git(self.tree, *MESSAGES),
                         base.git(self.new, *MESSAGES))
        self.assertEqual('', base.git(self.new, 'status', '--short'))
        self.assertEqual((before, head), (self.snapshot(), self.head()))
        self.ok('check')
        self.assertIn('only its own tree is exported',
                      self.expect(2, 'export', '1.0-on-base'))

    def test_a_commit_goes_to_the_own_tree(self):
        self.put()
        (self.new / 'nova/b.py').write_text(self.text('nova/b.py') + 'Y = 1\n')
        self.assertIn('run this again', self.put(5))
        base.git(self.new, 'commit', '--quiet', '--all', '-m', 'Y\n\nWhy.')
        said = self.put(5)
        self.assertNotIn('export', said.partition('next:')[2])
        for what in ('save', 'drop'):
            self.follow(said, f'{what}: (.*)')
        self.assertIn('wrote patches/y.patch', self.ok('export'))
        self.assertIn('the series on', self.put())

    def test_same_ids_everywhere(self):
        self.put()
        tip = base.git(self.new, 'rev-parse', 'HEAD')
        self.assertIn('(no change)', self.put())
        full = base.git(self.theirs, 'rev-parse', 'HEAD').strip()
        self.assertIn('(no change)', self.put(commit=full[:9]))
        shutil.rmtree(self.new)
        shutil.rmtree(self.root / 'build/.cache/store.git')
        clone = self.folder / 'clone'
        base.git(self.folder, 'clone', '--quiet', str(self.theirs),
                 str(clone))
        self.expect(0, 'apply', '1.0', '--base', f'file://{clone}@{full}',
                    TZ='Asia/Tokyo', GIT_DIR='/nonexistent')
        self.assertEqual(tip, base.git(self.new, 'rev-parse', 'HEAD'))

    def test_it_follows_series_and_base(self):
        self.put()
        self.change(self.root / 'nova/xl/one.py', 'ONE = 1', 'ONE = 2')
        self.put()
        self.assertEqual('ONE = 2\n',
                         (self.new / 'nova/xl/one.py').read_text())
        self.commit_there('A fix', nova__gone='def gone():\n    return 9\n')
        self.put()
        self.assertIn('return 9', (self.new / 'nova/gone.py').read_text())
        (self.new / 'nova/gone.py').write_text('mine = 1\n')
        self.assertIn('uncommitted work', self.put(5))

    def test_where_it_does_not_fit(self):
        self.commit_there('Theirs', nova__b=base.B.replace(
            'import re\n', 'import re\n\nX = 2', 1))
        said = self.put(3)
        self.assertIn('second-hook.patch conflicts at nova/b.py:', said)
        self.assertIn('rebase --continue 1.0-on-base', said)
        self.assertIn('is being made', self.expect(3, 'apply', '1.0-on-base'))
        self.assertIn('a rebase is not finished', self.put(5))
        path = self.new / 'nova/b.py'
        path.write_text('\n'.join(
            line for line in path.read_text().split('\n')
            if line[:3] not in ('<<<', '|||', '===', '>>>')))
        base.git(self.new, 'add', '-A')
        said = self.ok('rebase', '--continue')
        self.assertIn('resolved by hand: second-hook.patch', said)
        self.assertEqual([], self.status())
        self.assertIn('(no change)', self.put())

    def test_what_does_not_compile(self):
        self.commit_there('Broken', nova__a=base.A + 'def\n')
        said = self.put(4)
        self.assertIn('build/nova-1.0-on-base/nova/a.py does not compile',
                      said)
        self.ok('rebase', '--abort')
        self.assertFalse(self.new.exists())

    def test_setup_cfg_as_git_has_it(self):
        """setuptools writes tabs into that of an sdist."""
        blank = '[entry_points]\nx =\n    a = a:a\n    b = b:b\n'
        self.edit('setup.cfg', blank)
        sha = base.sdist(
            self.root / 'build/.cache/sdist/nova-1.0.tar.gz', '1.0',
            {**base.UPSTREAM, 'setup.cfg': blank.replace('    ', '\t')})
        (self.own / 'upstream.txt').write_text(
            f'nova==1.0 --hash=sha256:{sha}\n')
        base.git(self.tree, 'checkout', '--quiet', '.')
        self.ok('apply')
        self.edit('setup.cfg', blank.replace('    ', '\t').replace(
            '\ta = a:a\n', '\ta = a:a\n\tours = o:o\n'))
        self.commit('An entry point\n\nWhy.')
        self.ok('export')
        (self.theirs / 'setup.cfg').write_text(blank)
        self.commit_there('As git has it')
        self.put()
        found = configparser.ConfigParser()
        found.read(self.new / 'setup.cfg')
        self.assertEqual('\na = a:a\nours = o:o\nb = b:b',
                         found['entry_points']['x'])

    def test_refuses(self):
        for spec in ('x', '@HEAD', 'x@', 'x@--all'):
            self.assertIn('expected PATH_OR_URL@COMMIT',
                          self.expect(2, 'apply', '--base', spec))
        said = self.put(4, commit='0' * 40)
        self.assertIn('cannot fetch ' + '0' * 40, said)
        self.assertIn('cannot fetch', self.expect(
            4, 'apply', '--base', f'{self.folder}/nowhere@HEAD'))
        self.assertFalse(self.new.exists())
