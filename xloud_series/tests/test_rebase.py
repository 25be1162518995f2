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

"""Guarantee 10: drift tells without touching; rebase stops and resumes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from unittest import mock

from xloud_series import scratch
from xloud_series.tests import base
from xloud_series import tree

A2 = base.NEXT['nova/a.py']


class Next(base.Case):

    def next(self, **files: str):
        """An upstream 2.0 in the cache."""
        self.sha = base.sdist(
            self.root / 'build/.cache/sdist/nova-2.0.tar.gz', '2.0',
            {k: v for k, v in {**base.NEXT, **{
                name.replace('__', '/') + '.py': text
                for name, text in files.items()}}.items() if v is not None})

    def add(self, path: str, old: str, new: str, subject: str):
        text = self.text(path)
        self.assertIn(old, text)
        self.edit(path, text.replace(old, new, 1))
        self.commit(f'{subject}\n\nWhy.')

    def clash(self):
        """One more patch, which the imports of 2.0 conflict with."""
        self.add('nova/a.py', 'import sys\n', 'import sys\nimport xl\n',
                 'Import ours')
        self.add('nova/b.py', '    three = 3\n', '    three = 33\n', 'Last')
        self.ok('export')
        base.git(self.root, 'add', '-A')
        base.git(self.root, 'commit', '--quiet', '-m', 'more')


class TestDrift(Next):

    def rows(self, code: int = 1):
        before = self.snapshot(), self.head(), self.status()
        got = self.run_verb('drift', '--to', '2.0', '--json')
        self.assertEqual(code, got.code, got.err)
        self.assertEqual(before, (self.snapshot(), self.head(),
                                  self.status()))
        return json.loads(got.out)['rows']

    def test_each_kind(self):
        self.clash()
        self.add('nova/gone.py', 'x = 1', 'x = 2', 'Into gone')
        self.edit('nova/late.py', 'L = 1\n')
        self.commit('Late\n\nWhy.')
        self.ok('export')
        self.next(nova__gone=None, nova__late='L = 2\n',
                  nova__b=base.B.replace('three = 3\n', 'three = 33\n', 1))
        rows = {row['patch'].partition('.')[0] + str(n): row
                for n, row in enumerate(self.rows())}
        fates = {key[:-1]: row['fate'] for key, row in rows.items()}
        self.assertEqual({
            'first-hook-call-one': 'moved', 'second-hook': 'exact',
            'ghi-chu-notes': 'exact', 'import-ours': 'conflicts',
            'last': 'landed', 'into-gone': 'file gone', 'late': 'collides',
        }, fates)
        row = rows['first-hook-call-one0']
        self.assertEqual(('nova/a.py', 19, 2, 'Manager.method_2'), (
            row['file'], row['line'], row['moved'], row['scope']))
        said = self.expect(1, 'drift', '--to', '2.0')
        self.assertRegex(said, r'moved \+2 +first-hook-call-one.patch  '
                         r'nova/a.py:19  Manager.method_2')
        self.assertRegex(said, 'rows to nova 2.0: 3 need hands')

    def test_nothing_to_do(self):
        self.next(nova__a=base.A)
        self.assertEqual({'exact'}, {row['fate'] for row in self.rows(0)})
        self.next()
        self.assertIn(
            'expected', self.expect(4, 'drift', '--to', '2.0'))  # as seen

    def test_renamed(self):
        self.add('nova/gone.py', 'x = 1', 'x = 2', 'Into gone')
        self.ok('export')
        self.next(nova__gone=None, nova__new=base.UPSTREAM['nova/gone.py'])
        row = self.rows(0)[-1]
        self.assertEqual(('moved', 'nova/new.py', 'renamed to nova/new.py'),
                         (row['fate'], row['file'], row['note']))
        self.ok('rebase', '1.0', '--to', '2.0', '--as', '2.0')

    def test_rebase_stops_where_drift_says_so(self):
        """A patch on top of one that conflicts needs no hands itself."""
        self.clash()
        self.add('nova/a.py', 'import xl\n', 'import xl\nimport xm\n',
                 'On top of it')
        self.ok('export')
        self.next()
        conflicts = [row['patch'] for row in self.rows()
                     if row['fate'] == 'conflicts']
        self.assertEqual(['import-ours.patch'], conflicts)
        said = self.expect(3, 'rebase', '1.0', '--to', '2.0', '--as', '2.0')
        self.assertIn('import-ours.patch conflicts', said)
        new = self.root / 'build/nova-2.0'
        path = new / 'nova/a.py'
        path.write_text('\n'.join(
            line for line in path.read_text().split('\n')
            if line[:3] not in ('<<<', '|||', '===', '>>>')))
        base.git(new, 'add', '-A')
        self.ok('rebase', '--continue')

    def test_only_the_hunk_that_conflicts(self):
        text = self.text('nova/a.py').replace(
            'import sys\n', 'import sys\nimport xl\n')
        self.edit('nova/a.py', base.hook(text, 11, 'hook = 11'))
        self.commit('Two places\n\nWhy.')
        self.ok('export')
        self.next()
        self.assertEqual(
            [('conflicts', 3, ''), ('moved', 66, 'Manager.method_11')],
            [(row['fate'], row['line'], row['scope'])
             for row in self.rows() if row['patch'] == 'two-places.patch'])

    def test_scopes_are_where_the_added_lines_stand(self):
        self.add('nova/a.py', '    def method_3(self):\n',
                 '    def added(self):\n        return 1\n\n'
                 '    def method_3(self):\n', 'A method')
        self.add('nova/b.py', 'def twin_2():\n',
                 '@property\ndef ours():\n    return 1\n\n\n'
                 'def twin_2():\n', 'A function')
        self.add('nova/a.py', '        return second\n\n    def method_9',
                 '        second += 1\n        return second\n\n'
                 '    def method_9', 'At an end')
        self.ok('export')
        self.next()
        self.assertEqual(
            ['Manager.added', 'ours', 'Manager.method_8'],
            [row['scope'] for row in self.rows(0)][-3:])

    def test_a_file_that_upstream_took_as_it_is(self):
        self.next(nova__xl__one='ONE = 1\n')
        self.assertIn(('landed', 'nova/xl/one.py'),
                      [(row['fate'], row['file']) for row in self.rows(0)])

    def test_names_that_are_gone(self):
        old = ('class Host:\n    def _queue(self):\n        pass\n\n\n'
               'def spawn():\n    pass\n\n\ndef stay():\n    pass\n')
        sha = base.sdist(self.root / 'build/.cache/sdist/nova-1.0.tar.gz',
                         '1.0', {**base.UPSTREAM, 'nova/host.py': old})
        (self.own / 'upstream.txt').write_text(
            f'nova==1.0 --hash=sha256:{sha}\n')
        self.ok('apply')
        self.edit('nova/xl/user.py', (
            'from nova import gone\nfrom nova import host\n'
            'from nova.xl import one\n\n\ndef use(some):\n'
            '    some._queue()\n    host.spawn()\n    host.stay()\n'
            '    one.ONE\n    gone.gone()\n'))
        self.edit('nova/xl/careful.py', (
            'from nova import host\n\ntry:\n    from nova.host import spawn'
            '\nexcept ImportError:\n    spawn = None\n\n\n'
            'def use(some):\n    if hasattr(some, "_queue"):\n'
            '        some._queue()\n'))
        self.commit('Users\n\nWhy.')
        self.ok('export')
        self.next(nova__host=old.replace('class Host', 'class Handler')
                  .replace('spawn', 'spawn_thread'), nova__gone=None)
        rows = [row for row in self.rows() if row['fate'] == 'name gone']
        self.assertEqual([
            ('nova/xl/user.py', 1, '', 'nova.gone is gone'),
            ('nova/xl/user.py', 7, 'use', 'nova.host.Host._queue is now in '
             'nova.host.Handler'),
            ('nova/xl/user.py', 8, 'use', 'nova.host.spawn is gone'),
            ('nova/xl/user.py', 11, 'use', 'nova.gone.gone is gone, with all '
             'of nova.gone'),
        ], [(row['file'], row['line'], row['scope'], row['note'])
            for row in rows])
        self.assertEqual({'users.patch'}, {row['patch'] for row in rows})

    def test_unpinned_is_pinned_by_hand(self):
        self.next()
        sha = self.sha
        self.expect(4, 'drift', '--to', 'nova==2.0 --hash=sha256:' + '0' * 64)
        self.ok('drift', '--to', f'nova==2.0 --hash=sha256:{sha}')
        self.expect(4, 'drift', '--to', '3.0', PIP_NO_INDEX='1')


class TestRebase(Next):

    def rebase(self, code: int, *args: str) -> str:
        return self.expect(code, 'rebase', *args)

    def start(self):
        super().start()
        self.new = self.root / 'build/nova-2.0'

    def test_without_conflict(self):
        self.next()
        old = self.snapshot()
        said = self.rebase(0, '1.0', '--to', '2.0', '--as', '2.0')
        self.assertIn('constraints.txt has to be resolved', said)
        now = self.snapshot()
        for path, data in old.items():
            self.assertEqual(data, now[path])
        self.assertEqual(
            f'nova==2.0 --hash=sha256:{self.sha}\n'.encode(),
            now['patches/2.0/upstream.txt'])
        # What is shared serves: a hunk that only moved is no override.
        self.assertEqual(['patches/2.0/tree.txt', 'patches/2.0/upstream.txt'],
                         sorted(set(now) - set(old)))
        self.ok('check')
        self.assertIn('no change', self.ok('apply', '2.0'))
        self.assertIn('nothing to write', self.ok('export', '2.0'))
        self.assertIn('nothing to write', self.ok('export', '1.0'))
        # Without a name the oldest is meant, as by tools/apply_series.sh.
        self.assertIn('build/nova-1.0: ', self.ok('apply'))

    def test_same_release(self):
        self.next()
        self.rebase(0, '1.0', '--to', '2.0')
        self.assertIn('nova==2.0', (self.own / 'upstream.txt').read_text())
        self.assertIn('# the pinned base',
                      (self.own / 'upstream.txt').read_text())
        self.ok('check')
        self.assertIn('no change', self.ok('apply'))

    def test_conflict_continue(self):
        self.clash()
        self.next()
        before = self.snapshot()
        said = self.rebase(3, '1.0', '--to', '2.0', '--as', '2.0')
        for text in ('import-ours.patch conflicts at nova/a.py:',
                     'the patch:\n    @@ ', '\n    +import xl\n',
                     'upstream, there:\n    @@ ', '\n    +import vtpm\n',
                     'diff refs/xloud/rebase-old refs/xloud/rebase-onto -- '
                     'nova/a.py', 'add nova/a.py', 'rebase --continue 2.0',
                     'rebase --skip import-ours.patch 2.0',
                     'rebase --abort 2.0'):
            self.assertIn(text, said)
        self.assertEqual(before, self.snapshot())
        for args in (), ('2.0',):
            self.assertIn('rebase of 1.0 to nova==2.0 in progress at '
                          'import-ours.patch, 3 of 5 done',
                          self.ok('status', *args))
        for verb in ('apply', 'export', 'check', 'patches'):
            said = self.expect(3, verb, '2.0')
            self.assertIn('2.0 is being made', said)
            self.assertIn('next: python3 -m xloud_series rebase --continue',
                          said)
        self.assertIn('conflicts at', self.rebase(3, '--continue'))
        base.git(self.new, 'add', 'nova/a.py')
        self.assertIn('conflict markers', self.rebase(3, '--continue'))
        path = self.new / 'nova/a.py'
        lines = [line for line in path.read_text().split('\n')
                 if line[:3] not in ('<<<', '|||', '===', '>>>')]
        path.write_text('\n'.join(lines))
        self.assertIn('not staged', self.rebase(3, '--continue'))
        base.git(self.new, 'add', 'nova/a.py')
        self.rebase(0, '--continue', '2.0')
        self.ok('check')
        self.assertIn('nothing to write', self.ok('export', '2.0'))
        self.assertIn('import vtpm\nimport xl\n', path.read_text())
        names = [base.git(where, 'log', '--format=%an %at %B',
                          'refs/xloud/base..') for where in
                 (self.tree, self.new)]
        self.assertEqual(*names)
        self.assertIn('no rebase', self.rebase(2, '--continue'))

    def test_conflict_committed_by_hand(self):
        self.clash()
        self.next()
        self.rebase(3, '1.0', '--to', '2.0', '--as', '2.0')
        path = self.new / 'nova/a.py'
        path.write_text(base.hook(base.hook(
            A2, 2, 'hook = 2'), 6, 'hook = 6') + 'import xl\n')
        base.git(self.new, 'add', '-A')
        base.git(self.new, 'cherry-pick', '--continue')
        self.rebase(0, '--continue')
        self.ok('check')

    def stop(self):
        self.clash()
        self.next()
        self.rebase(3, '1.0', '--to', '2.0', '--as', '2.0')

    def resolve(self):
        path = self.new / 'nova/a.py'
        path.write_text('\n'.join(
            line for line in path.read_text().split('\n')
            if line[:3] not in ('<<<', '|||', '===', '>>>')))
        base.git(self.new, 'add', 'nova/a.py')

    def series(self) -> str:
        """What 2.0 has of it."""
        listed = base.git(self.new, 'log', '--format=%f', '--reverse',
                          'refs/xloud/base..')
        return listed.lower()

    def test_git_skips_and_no_patch_is_lost(self):
        """git's own advice at a stop: --skip, --abort; or a reset."""
        for command in (('cherry-pick', '--skip'), ('cherry-pick', '--abort'),
                        ('reset', '--quiet', '--hard'),
                        ('checkout', '--quiet', '--ours', 'nova/a.py')):
            with self.subTest(command):
                self.setUp()
                self.stop()
                base.git(self.new, *command)
                base.git(self.new, 'add', '-A')
                said = self.rebase(3, '--continue')
                self.assertIn('has nothing of import-ours.patch', said)
                self.assertIn('rebase --skip import-ours.patch 2.0', said)
                again, = re.findall(r'(cherry-pick \w{12}), and', said)
                with self.assertRaises(subprocess.CalledProcessError):
                    base.git(self.new, *again.split())
                self.resolve()
                said = self.rebase(0, '--continue')
                self.assertIn('resolved by hand: import-ours.patch', said)
                self.assertIn('import-ours', self.series())
                self.ok('check')

    def test_an_earlier_patch_is_not_lost(self):
        self.stop()
        base.git(self.new, 'reset', '--quiet', '--hard', 'HEAD~')
        said = self.rebase(3, '--continue')
        self.assertIn('has nothing of import-ours.patch', said)
        again, = re.findall(r'(cherry-pick \w{12}), and', said)
        with self.assertRaises(subprocess.CalledProcessError):
            base.git(self.new, *again.split())
        self.resolve()
        base.git(self.new, 'commit', '--quiet', '-C', again.split()[1])
        said = self.rebase(3, '--continue')
        self.assertIn('has nothing of ghi-chu-notes.patch', said)
        again, = re.findall(r'(cherry-pick \w{12}), and', said)
        base.git(self.new, *again.split())
        # One order is for all releases.
        said = self.rebase(5, '--continue')
        self.assertIn('have another order', said)
        todo = self.folder / 'todo'
        ids = base.git(self.new, 'log', '--format=%h', '--reverse',
                       'refs/xloud/rebase-onto..').split()
        todo.write_text(''.join(f'pick {ids[n]}\n' for n in (0, 1, 4, 2, 3)))
        base.git(self.new, 'rebase', '--quiet', '-i',
                 'refs/xloud/rebase-onto',
                 GIT_SEQUENCE_EDITOR=f'cp {todo}')
        self.rebase(0, '--continue')
        self.ok('check')

    def test_a_person_skips(self):
        self.stop()
        self.assertIn('is no patch of 1.0', self.rebase(2, '--skip', 'x'))
        self.assertIn('is in build/nova-2.0 already',
                      self.rebase(2, '--skip', 'second-hook'))
        # One that comes later, and then the one that is at work.
        self.assertIn('import-ours.patch conflicts',
                      self.rebase(3, '--skip', 'last.patch'))
        said = self.rebase(0, '--skip', 'import-ours.patch', '2.0')
        for name in ('last', 'import-ours'):
            self.assertIn(f'left out, as you said: {name}.patch', said)
            self.assertNotIn(name, self.series())
        self.ok('check')

    def test_a_resolution_outlives_an_abort(self):
        self.stop()
        self.resolve()
        self.rebase(0, '--abort')
        self.assertFalse(self.new.exists())
        said = self.rebase(3, '1.0', '--to', '2.0', '--as', '2.0')
        self.assertIn('import-ours.patch conflicts', said)
        self.assertIn('import vtpm\n+import xl\n', base.git(
            self.new, 'show', 'refs/xloud/rebase-offer').replace(' import v',
                                                                 'import v'))
        # Offered, not taken.
        self.assertIn('<<<<<<<', (self.new / 'nova/a.py').read_text())
        line, = re.findall('before .*: (git -C .*), and rebase --cont', said)
        subprocess.run(['bash', '-c', line], cwd=self.root, check=True, env={
            **os.environ, 'GIT_CONFIG_GLOBAL': os.devnull,
            'GIT_COMMITTER_NAME': 'D', 'GIT_COMMITTER_EMAIL': 'd@x.invalid'})
        self.assertIn('resolved by hand: import-ours.patch',
                      self.rebase(0, '--continue'))
        self.assertIn('import vtpm\nimport xl\n',
                      (self.new / 'nova/a.py').read_text())
        self.ok('check')

    def test_what_is_shown_of_a_long_change(self):
        """Upstream indents 125 lines around our two."""
        lines = [f'    {n},' for n in range(125)]
        table = 'T = (\n%s\n)\n'
        self.edit('nova/gone.py', table % '\n'.join(lines))
        old = self.text('nova/gone.py')
        self.root.joinpath('build/.cache/sdist/nova-1.0.tar.gz').unlink()
        sha = base.sdist(self.root / 'build/.cache/sdist/nova-1.0.tar.gz',
                         '1.0', {**base.UPSTREAM, 'nova/gone.py': old})
        (self.own / 'upstream.txt').write_text(
            f'nova==1.0 --hash=sha256:{sha}\n')
        base.git(self.tree, 'checkout', '--quiet', '.')
        self.ok('apply')
        self.add('nova/gone.py', '    60,\n', '    60,\n    "a",\n    "b",\n',
                 'Into a table')
        self.ok('export')
        self.next(nova__gone=table % '\n'.join(f'    {x}' for x in lines))
        said = self.rebase(3, '1.0', '--to', '2.0', '--as', '2.0')
        self.assertIn('    +    "a",\n    +    "b",\n', said)
        self.assertRegex(said, r'\n    \.\.\. \d+ more lines\n')
        self.assertLess(len(said.splitlines()), 60)

    def test_killed_in_a_pick(self):
        """Before the pick, and after it: nothing is lost or done twice."""
        self.clash()
        self.next()
        self.rebase(3, '1.0', '--to', '2.0', '--as', '2.0')
        path = self.new / '.git/xloud-rebase.json'
        base.git(self.new, 'cherry-pick', '--abort')
        state = json.loads(path.read_text())
        state['files'] = []
        path.write_text(json.dumps(state))
        self.assertIn('import-ours.patch conflicts',
                      self.rebase(3, '--continue'))
        base.git(self.new, 'checkout', '--quiet', '--theirs', 'nova/a.py')
        base.git(self.new, 'add', '-A')
        base.git(self.new, 'cherry-pick', '--continue')
        path.write_text(json.dumps(state))
        self.rebase(0, '--continue')
        self.assertIn('import-ours', self.series())

    def test_killed_before_the_tree_moved(self):
        self.clash()
        self.next()
        before = self.snapshot(), self.head(), self.status()
        with mock.patch.object(tree.Tree, 'restore_generated',
                               lambda tree: os._exit(9)):
            self.assertEqual(9, self.run_verb(
                'rebase', '1.0', '--to', '2.0').code)
        self.assertIn('was interrupted', self.rebase(5, '--skip', 'last'))
        said = self.rebase(3, '--continue')
        self.assertNotIn('dropped', said)
        self.assertIn('import-ours.patch conflicts', said)
        self.rebase(0, '--abort')
        self.assertEqual(before, (self.snapshot(), self.head(),
                                  self.status()))

    def test_somebody_works_where_it_was_killed(self):
        self.clash()
        self.next()
        with mock.patch.object(tree.Tree, 'restore_generated',
                               lambda tree: os._exit(9)):
            self.assertEqual(9, self.run_verb(
                'rebase', '1.0', '--to', '2.0').code)
        self.edit('nova/b.py', self.text('nova/b.py') + 'draft = 1\n')
        for commit in (lambda: None, lambda: self.commit('New\n\nWhy.')):
            commit()
            self.assertIn('somebody has worked there since',
                          self.rebase(5, '--continue'))
        self.edit('nova/a.py', self.text('nova/a.py') + 'draft = 2\n')
        self.rebase(0, '--abort')
        self.assertIn('draft = 1\n', self.text('nova/b.py'))
        self.assertIn('draft = 2\n', self.text('nova/a.py'))

    def test_somebody_works_where_it_was_killed_a_moment_later(self):
        """git has moved it already, so that to go back would lose that."""
        self.clash()
        self.next()
        with mock.patch.object(tree.Tree, 'prepare', lambda tree: (
                tree.on_branch or os._exit(9))):
            self.assertEqual(9, self.run_verb(
                'rebase', '1.0', '--to', '2.0').code)
        text = self.text('nova/b.py')
        self.edit('nova/b.py', text + 'draft = 1\n')
        for how in '--continue', '--abort':
            self.assertIn('nova/b.py', self.rebase(5, how))
        self.edit('nova/b.py', text)
        self.rebase(3, '--continue')

    def test_disk_full_as_the_tree_moves(self):
        """It has some files of the new base, and git knows nothing of it."""
        self.clash()
        self.next(nova__brand_new='N = 1\n', nova__gone=None)
        fake = self.folder / 'bin'
        fake.mkdir()
        real = shutil.which('git')
        (fake / 'git').write_text(
            '#!/bin/sh\ncase "$*" in *checkout*--detach*)\n'
            'for last; do :; done\n'
            f'for path in a brand_new; do {real} show "$last:nova/$path.py" '
            '>nova/$path.py; done; rm nova/gone.py\n'
            'echo "error: No space" >&2; exit 1;;\n'
            f'esac\nexec {real} "$@"\n')
        (fake / 'git').chmod(0o755)
        before = self.snapshot(), self.head(), self.status()
        self.assertIn('No space', self.expect(
            4, 'rebase', '1.0', '--to', '2.0',
            PATH=f'{fake}:{os.environ["PATH"]}'))
        self.assertEqual(before, (self.snapshot(), self.head(),
                                  self.status()))
        self.assertEqual('', base.git(self.tree, 'status', '--porcelain'))
        self.assertIn('no change', self.ok('apply'))
        self.rebase(3, '1.0', '--to', '2.0')

    def test_an_ignored_file_is_in_the_way(self):
        self.clash()
        self.next(dist__notes='theirs = 1\n')
        mine = self.tree / 'dist/notes.py'
        mine.parent.mkdir()
        mine.write_text('mine = 1\n')
        self.assertIn('dist/notes.py', self.rebase(5, '1.0', '--to', '2.0'))
        self.assertIn('no rebase is under way', self.rebase(2, '--continue'))
        self.assertEqual('mine = 1\n', mine.read_text())
        mine.unlink()
        self.rebase(3, '1.0', '--to', '2.0')

    def test_killed_as_an_earlier_answer_is_tried(self):
        """It is offered, and not taken."""
        self.stop()
        self.resolve()
        self.rebase(0, '--abort')
        pick = scratch.cherry_pick

        def die_aside(git, commit, *how):
            result = pick(git, commit, *how)
            if git.work_tree != self.new:
                os._exit(9)
            return result

        with mock.patch.object(scratch, 'cherry_pick', die_aside):
            self.assertEqual(9, self.run_verb(
                'rebase', '1.0', '--to', '2.0', '--as', '2.0').code)
        self.rebase(3, '--continue')
        self.assertIn('<<<<<<<', (self.new / 'nova/a.py').read_text())
        self.resolve()
        self.rebase(0, '--continue')

    def test_the_series_has_changed_since_it_stopped(self):
        """It is not written back to what it was."""
        self.stop()
        self.resolve()
        one = self.root / 'nova/xl/one.py'
        text = one.read_text()
        one.write_text('ONE = 11\n')
        self.assertIn('has changed since this rebase began',
                      self.rebase(5, '--continue'))
        self.assertEqual('ONE = 11\n', one.read_text())
        one.write_text(text)
        self.rebase(0, '--continue')

    def test_what_is_resolved_does_not_compile(self):
        self.stop()
        self.resolve()
        path = self.new / 'nova/a.py'
        text = path.read_text()
        path.write_text(text + '(\n')
        base.git(self.new, 'add', '-A')
        self.assertIn('nova/a.py does not compile',
                      self.rebase(4, '--continue'))
        path.write_text(text)
        base.git(self.new, 'commit', '--quiet', '--all', '--amend',
                 '--no-edit')
        self.rebase(0, '--continue')
        self.ok('check')

    def test_what_is_resolved_in_two_commits_is_offered_as_one(self):
        self.stop()
        self.resolve()
        base.git(self.new, 'cherry-pick', '--continue')
        self.new.joinpath('nova/b.py').write_text(base.B)
        base.git(self.new, 'commit', '--quiet', '--allow-empty', '--all',
                 '-m', 'Tidy')
        self.assertIn('Tidy', self.rebase(5, '--abort'))
        shutil.rmtree(self.new)
        self.rebase(3, '1.0', '--to', '2.0', '--as', '2.0')
        self.assertIn('import vtpm\n+import xl\n', base.git(
            self.new, 'show', 'refs/xloud/rebase-offer').replace(
                ' import v', 'import v'))

    def test_somebody_goes_back_to_the_branch(self):
        self.clash()
        self.next()
        before = self.head()
        self.rebase(3, '1.0', '--to', '2.0')
        base.git(self.tree, 'checkout', '--quiet', '--force', 'xloud/1.0')
        for how in (['--continue'], ['--skip', 'import-ours']):
            self.assertIn('HEAD is no longer where this rebase works',
                          self.rebase(5, *how))
        self.rebase(0, '--abort')
        self.assertEqual(before, self.head())

    def test_abort_new_tree(self):
        self.clash()
        self.next()
        before = self.snapshot(), self.head()
        self.rebase(3, '1.0', '--to', '2.0', '--as', '2.0')
        (self.new / 'notes.txt').write_text('mine')
        self.assertIn('notes.txt', self.rebase(5, '--abort'))
        (self.new / 'notes.txt').unlink()
        base.git(self.new, 'reset', '--quiet', '--hard')
        base.git(self.new, 'checkout', '--quiet', '-b', 'mine')
        base.git(self.new, 'commit', '--quiet', '--allow-empty', '-m', 'Idea')
        said = self.rebase(5, '--abort')
        self.assertIn(' Idea\n', said)
        self.assertIn('keep: mv build/nova-2.0 elsewhere', said)
        base.git(self.new, 'checkout', '--quiet', '--detach', 'HEAD~')
        self.assertIn(' Idea\n', self.rebase(5, '--abort'))
        base.git(self.new, 'branch', '-D', 'mine')
        (self.new / 'nova/b.py').write_text('mine = 1\n')
        base.git(self.new, 'stash')
        self.assertIn(' WIP on ', self.rebase(5, '--abort'))
        base.git(self.new, 'stash', 'drop')
        self.rebase(0, '--abort')
        self.assertEqual(before, (self.snapshot(), self.head()))
        self.assertFalse(self.new.exists())
        self.assertIn('no rebase', self.rebase(2, '--abort'))

    def test_abort_same_tree(self):
        self.clash()
        self.next()
        refs = base.git(self.tree, 'for-each-ref')
        before = self.snapshot(), self.head(), refs
        self.rebase(3, '1.0', '--to', '2.0')
        for verb in ('apply', 'export'):
            self.assertIn('a rebase is not finished', self.expect(5, verb))
        self.assertIn('a rebase is not finished',
                      self.rebase(5, '1.0', '--to', '2.0'))
        self.rebase(0, '--abort', '1.0')
        self.assertEqual(before, (self.snapshot(), self.head(),
                                  base.git(self.tree, 'for-each-ref')))
        self.assertEqual('', base.git(self.tree, 'status', '--porcelain'))
        self.assertIn('no change', self.ok('apply'))

    def test_landed(self):
        self.clash()
        self.next(nova__a=base.A, nova__b=base.B.replace(
            'three = 3\n', 'three = 33\n', 1))
        said = self.rebase(0, '1.0', '--to', '2.0', '--as', '2.0')
        self.assertIn('dropped last.patch', said)
        # An empty override: 2.0 is without it.
        self.assertEqual('', (self.root / 'patches/2.0/last.patch')
                         .read_text())
        self.assertIn('three = 33',
                      (self.root / 'patches/last.patch').read_text())
        self.ok('check')

    def test_deleted_upstream(self):
        self.add('nova/gone.py', 'x = 1', 'x = 2', 'Into gone')
        self.ok('export')
        self.next(nova__gone=None)
        said = self.rebase(3, '1.0', '--to', '2.0', '--as', '2.0')
        self.assertIn('nova/gone.py: upstream deleted it', said)
        base.git(self.new, 'rm', '--quiet', 'nova/gone.py')
        self.assertIn('has nothing of into-gone',
                      self.rebase(3, '--continue'))
        self.assertIn('left out, as you said: into-gone',
                      self.rebase(0, '--skip', 'into-gone.patch'))

    def test_overlay_collides(self):
        self.next(nova__xl__one='ONE = "upstream"\n')
        said = self.rebase(3, '1.0', '--to', '2.0', '--as', '2.0')
        self.assertIn('nova/xl/one.py: upstream has a file', said)
        self.rebase(0, '--abort')

    def test_refuses(self):
        self.next()
        self.edit('nova/a.py', 'mine = 1\n')
        self.assertIn('uncommitted', self.rebase(5, '1.0', '--to', '2.0'))
        base.git(self.tree, 'checkout', '--quiet', '.')
        self.rebase(0, '1.0', '--to', '2.0', '--as', '2.0')
        self.assertIn('is there already', self.rebase(
            5, '1.0', '--to', '2.0', '--as', '2.0'))
        self.rebase(2, '9.9', '--to', '2.0')
        for name in ('../x', '2.0..x', '2.0.', '2.0.lock'):
            self.assertIn('cannot name a release', self.rebase(
                2, '1.0', '--to', '2.0', '--as', name))
