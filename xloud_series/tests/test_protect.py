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

"""Guarantee 7: nothing of the developer's is lost, whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import io
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
from unittest import mock

from xloud_series import drift
from xloud_series import errors
from xloud_series import export
from xloud_series import git as _git
from xloud_series import scratch
from xloud_series.tests import base
from xloud_series import transaction
from xloud_series import workspace


class TestRefuse(base.Case):

    def refuse(self, *texts: str, verbs=('apply', 'export')):
        before = self.snapshot(), self.head(), base.git(
            self.tree, 'status', '--short')
        for verb in verbs:
            with self.subTest(verb):
                said = self.expect(5, verb)
                for text in texts:
                    self.assertIn(text, said)
                self.assertIn('next: ', said)
        self.assertEqual(before, (self.snapshot(), self.head(), base.git(
            self.tree, 'status', '--short')))

    def test_uncommitted(self):
        self.edit('nova/a.py', 'mine = 1\n')
        self.refuse('uncommitted work', ' M nova/a.py', 'git -C', 'commit',
                    'reset --hard (an untracked file')

    def test_uncommitted_work_is_dropped_alone(self):
        self.edit('nova/c.py', 'C = 1\n')
        self.commit('C\n\nWhy.')
        head = self.head()
        self.edit('nova/a.py', 'mine = 1\n')
        self.follow(self.expect(5, 'apply'), 'drop: (.*) \\(an untracked')
        self.assertEqual(head, self.head())
        self.ok('export')

    def test_staged_and_untracked(self):
        self.edit('nova/a.py', 'mine = 1\n')
        base.git(self.tree, 'add', '-A')
        self.edit('nova/new file.py', 'mine = 1\n')
        self.refuse('M  nova/a.py', '?? nova/new file.py')

    def test_what_a_test_run_leaves_is_no_work(self):
        for path in ('nova/x.pyc', '.stestr/0', 'instances/0/console.log',
                     'nova.egg-info/PKG-INFO', 'nova/__pycache__/x',
                     '.tox/x', 'doc/build/x'):
            self.edit(path, 'x')
        self.ok('apply')
        self.ok('export')

    def test_what_pbr_rewrites_is_no_work(self):
        """AUTHORS and ChangeLog, from our history; tracked, as upstream's
        sdist has them.
        """
        def build():
            self.edit('AUTHORS', 'XLoud Series\n')
            self.edit('ChangeLog', 'CHANGES\n\n50 of ours\n')
        build()
        self.ok('export')
        self.ok('apply')
        self.assertEqual('clean', self.json('status')[0]['tree'])
        self.edit('nova/a.py', self.text('nova/a.py') + 'X = 1\n')
        base.git(self.tree, 'commit', '--quiet', '--all', '-m', 'More')
        self.ok('export')
        self.assertEqual({'?? patches/more.patch', ' M patches/1.0/tree.txt',
                          ' M patches/series'}, set(self.status()))
        # The tree moves all the same, and other upstream files come.
        self.change(self.root / 'nova/xl/one.py', 'ONE = 1', 'ONE = 2')
        self.ok('apply')
        self.assertEqual('ONE = 2\n', self.text('nova/xl/one.py'))
        build()
        base.sdist(self.root / 'build/.cache/sdist/nova-2.0.tar.gz', '2.0',
                   base.NEXT)
        self.ok('rebase', '1.0', '--to', '2.0')
        self.assertEqual('Upstream 2\n', self.text('AUTHORS'))
        build()
        self.ok('apply')
        self.ok('check')

    def test_a_tree_of_an_older_tool(self):
        """It knows no upstream branch and looks at generated files."""
        git = base.git
        git(self.tree, 'update-index', '--no-skip-worktree', 'AUTHORS')
        for key in ('remote', 'merge'):
            git(self.tree, 'config', '--unset', f'branch.xloud/1.0.{key}')
        self.edit('AUTHORS', 'XLoud Series\n')
        self.ok('apply')
        self.assertEqual('', git(self.tree, 'status', '--short'))
        self.assertEqual(self.head('refs/xloud/base'),
                         self.head('@{upstream}'))
        # One that a developer has set stays.
        git(self.tree, 'branch', 'mine')
        git(self.tree, 'branch', '--quiet', '--set-upstream-to=mine')
        self.ok('apply')
        self.assertEqual(self.head('mine'), self.head('@{upstream}'))

    def test_of_another_user(self):
        """git trusts nobody else's folders, unless it is told so."""
        with mock.patch.object(_git, 'environment', functools.partial(
                _git.environment, GIT_TEST_ASSUME_DIFFERENT_OWNER='1')):
            self.edit('nova/a.py', self.text('nova/a.py') + 'X = 1\n')
            base.git(self.tree, 'commit', '--quiet', '--all', '-m', 'More')
            self.ok('export')
            shutil.rmtree(self.tree)
            self.ok('apply')

    def test_unexported(self):
        self.edit('nova/a.py', self.text('nova/a.py') + 'X = 1\n')
        self.commit('More\n\nWhy.')
        self.refuse('commits that are not exported', 'More',
                    'save: python3 -m xloud_series export 1.0',
                    verbs=('apply',))
        self.ok('export')
        self.ok('apply')

    def test_detached(self):
        base.git(self.tree, 'checkout', '--quiet', '--detach', 'HEAD~')
        self.refuse('not on the branch xloud/1.0', 'checkout xloud/1.0')

    def test_commits_beside_the_branch_are_taken_along(self):
        for start in ('--detach', '-bmine'):
            with self.subTest(start):
                base.git(self.tree, 'checkout', '--quiet', start)
                self.edit('nova/a.py', self.text('nova/a.py') + start[2:])
                self.commit(f'More: {start[2:]}\n\nWhy.')
                self.refuse('not on the branch', 'or leave them out: git -C')
                said = self.expect(5, 'export')
                self.assertIn(re.search('take its .*', said)[0],
                              self.ok('status'))
                self.follow(said, 'take its commits along: (.*)')
                self.assertIn(f'wrote patches/more-{start[2:]}.patch',
                              self.ok('export'))

    def test_branch_of_another_name(self):
        base.git(self.tree, 'branch', '--move', 'mine')
        self.follow(self.expect(5, 'export'), 'next: (.*)')
        self.ok('export')

    def test_operation_in_progress(self):
        self.edit('nova/a.py', 'x = 1\n')
        self.commit('Clash\n\nWhy.')
        with self.assertRaises(subprocess.CalledProcessError):
            base.git(self.tree, 'rebase', '--quiet', '--onto',
                     'refs/xloud/base', 'HEAD~')
        self.refuse('a git am or rebase is not finished'
                    if (self.tree / '.git/rebase-apply').exists() else
                    'a git rebase is not finished')

    def test_merge_and_empty_commits_and_empty_stack(self):
        git = base.git
        git(self.tree, 'commit', '--quiet', '--allow-empty', '-m', 'Nothing')
        self.assertIn('changes nothing', self.expect(1, 'export'))
        git(self.tree, 'reset', '--hard', '--quiet', 'HEAD~')
        git(self.tree, 'checkout', '--quiet', '-b', 'side', 'HEAD~')
        self.edit('nova/c.py', 'C = 1\n')
        self.commit('Side')
        git(self.tree, 'checkout', '--quiet', 'xloud/1.0')
        git(self.tree, 'merge', '--quiet', '-m', 'Merge', 'side')
        self.refuse('is a merge', verbs=('export',))
        git(self.tree, 'reset', '--hard', '--quiet', 'refs/xloud/base')
        self.refuse('would empty the series', verbs=('export',))
        git(self.tree, 'checkout', '--quiet', '--orphan', 'x')
        git(self.tree, 'commit', '--quiet', '-m', 'No base')
        git(self.tree, 'branch', '--quiet', '-M', 'xloud/1.0')
        self.refuse('does not stand on the base', verbs=('export',))

    def test_edited_in_the_repository(self):
        """export would overwrite it, and says what differs."""
        for path, old, new in (
                (self.root / 'nova/xl/one.py', 'ONE = 1', 'ONE = 2'),
                (self.patch('first-hook-call-one'), 'hook = 2', 'hook = 3'),
                (self.patch('second-hook'), '@@ -', '@@ broken -')):
            self.change(path, old, new)
            self.refuse(f'overwrite {path.relative_to(self.root)}',
                        f'git checkout -- {path.relative_to(self.root)}',
                        verbs=('export',))
            base.git(self.root, 'checkout', '--quiet', '.')
        self.ok('export')

    def test_repository_moved_under_a_clean_tree(self):
        self.change(self.root / 'nova/xl/one.py', 'ONE = 1', 'ONE = 2')
        self.assertEqual('repo moved', self.json('status')[0]['tree'])
        self.ok('apply')
        self.assertEqual('ONE = 2\n', self.text('nova/xl/one.py'))
        self.assertIn('nothing to write', self.ok('export'))

    def test_both_moved(self):
        """What is printed, typed in, brings both sides together."""
        self.change(self.root / 'nova/xl/one.py', 'ONE = 1', 'ONE = 2')
        self.edit('nova/xl/mine.py', 'MINE = 1\n')
        self.commit('Mine\n\nWhy.')
        self.assertEqual('diverged', self.json('status')[0]['tree'])
        for verb in ('export', 'apply'):
            said = self.expect(5, verb)
            self.assertIn('rebase --onto refs/xloud/incoming '
                          'refs/xloud/applied', said)
        base.git(self.tree, 'rebase', '--quiet', '--onto',
                 'refs/xloud/incoming', 'refs/xloud/applied')
        self.assertIn('update-ref refs/xloud/applied refs/xloud/incoming',
                      said)
        base.git(self.tree, 'update-ref', 'refs/xloud/applied',
                 'refs/xloud/incoming')
        self.ok('export')
        self.assertEqual('ONE = 2\n',
                         (self.root / 'nova/xl/one.py').read_text())
        self.assertEqual('MINE = 1\n',
                         (self.root / 'nova/xl/mine.py').read_text())

    def test_stranger_in_the_repository(self):
        (self.root / 'nova/xl/mine.py').write_text('draft = 1\n')
        self.edit('nova/xl/mine.py', 'MINE = 1\n')
        self.commit('Mine\n\nWhy.')
        self.refuse('nova/xl/mine.py is in the repository but in no series',
                    verbs=('export',))

    def test_a_later_commit_changes_an_overlay_file(self):
        """It names all that has to be typed, also for two owners and where
        another commit is above.
        """
        self.edit('nova/xl/two.py', 'TWO = 1\n')
        self.edit('nova/xl/three.py', ''.join(f'T{n} = 1\n' for n in range(9)))
        self.commit('Two\n\nWhy.')
        self.ok('export')
        for rest in (True, False):
            with self.subTest(rest=rest):
                base.git(self.tree, 'reset', '--hard', 'refs/xloud/applied')
                self.edit('nova/xl/one.py', f'ONE = {rest}\n')
                self.edit('nova/xl/two.py', f'TWO = {rest}\n')
                name = 'more' if rest else 'less'
                if rest:
                    self.edit('nova/c.py', 'C = 2\n')
                    base.git(self.tree, 'mv', 'nova/xl/three.py',
                             'nova/xl/four.py')
                self.commit('Change both\n\nWhy.')
                self.edit(f'nova/{name}.py', 'D = 1\n')
                self.commit(f'Add {name}\n\nWhy.')
                self.fold()
                for word in ('one', 'two'):
                    self.assertEqual(
                        f'{word.upper()} = {rest}\n',
                        (self.root / f'nova/xl/{word}.py').read_text())
        self.assertEqual(
            ['add-less', 'add-more', 'change-both', 'two'],
            sorted(path[:-6] for path in (self.files / 'series').read_text()
                   .split('\n')[3:-1]))
        self.assertFalse((self.root / 'nova/xl/three.py').exists())

    def fold(self):
        """Type what an export says, until it has no more to say."""
        before = self.snapshot()
        said = self.expect(1, 'export')
        self.assertEqual(before, self.snapshot())
        self.assertIn('nova/xl/one.py, which', said)
        self.assertIn('nova/xl/two.py, which', said)
        for line in re.findall('next: (.*)', said):
            command, *_ = line.split(': ')
            subprocess.run(command, shell=True, check=True, cwd=self.tree,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           env={**base.PERSON, 'GIT_SEQUENCE_EDITOR':
                                'sed -i 1s/^pick/edit/' if 'edit' in line
                                else 'true'})
        self.ok('export')

    def test_deleting_upstream_and_files_outside(self):
        base.git(self.tree, 'rm', '--quiet', 'nova/gone.py')
        self.edit('top.cfg', 'x\n')
        self.commit('Delete\n\nWhy.')
        said = self.expect(1, 'export')
        self.assertIn('deletes nova/gone.py', said)
        self.assertIn('export --carry top.cfg', said)

    def test_tree_that_is_no_tree(self):
        shutil.rmtree(self.tree)
        self.assertIn('did you run apply first?', self.expect(2, 'export'))
        self.edit('notes.txt', 'x')
        self.assertIn('is no git repository', self.expect(5, 'apply'))
        shutil.rmtree(self.tree)
        self.tree.symlink_to(self.folder / 'unplugged')
        self.assertIn('is no git repository', self.expect(5, 'apply'))


class TestKilled(base.Case):
    """kill -9 before every single step of an export."""

    def setUp(self):
        super().setUp()
        self.edit('nova/a.py', self.text('nova/a.py').replace(
            'hook = 6', 'hook = 66'))
        self.edit('nova/xl/two.py', 'TWO = 2\n')
        self.commit('Two\n\nWhy.')
        base.git(self.tree, 'rebase', '--quiet', '--onto', 'HEAD~2', 'HEAD~')
        self.old = self.snapshot()
        self.start_head = self.head()
        shutil.copytree(self.root, self.folder / 'start', symlinks=True)
        self.ok('export')
        self.new, self.tip = self.snapshot(), self.head()

    def killed(self, at: int) -> bool:
        """Export in a child that dies before its step `at`."""
        shutil.rmtree(self.root)
        shutil.copytree(self.folder / 'start', self.root, symlinks=True)
        child = os.fork()
        if not child:
            self.child(at)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    def child(self, at: int):
        os.close(2)
        left = [at]

        def step(event, args):
            if event not in ('open', 'os.rename', 'os.remove', 'os.rmdir',
                             'os.mkdir', 'os.chmod', 'subprocess.Popen'):
                return
            if event == 'open' and args[1] in ('r', 'rb', None):
                return
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        try:
            with self.work() as work:
                real = transaction.commit

                def commit(*args):
                    sys.addaudithook(step)
                    real(*args)
                transaction.commit = commit
                export.export(work, self.release())
        finally:
            os._exit(0)

    def every(self, part: int):
        at = part
        seen = set()
        while self.killed(at):
            with contextlib.redirect_stderr(io.StringIO()), \
                    self.work():          # any verb begins like this
                pass
            now = self.snapshot()
            self.assertIn(now, (self.old, self.new), f'step {at}')
            done = now == self.new
            seen.add(done)
            self.assertEqual(self.tip if done else self.start_head,
                             self.head(), f'step {at}')
            self.assertEqual(self.tip if done else self.head(
                'refs/xloud/applied'), self.head('refs/xloud/applied'))
            if not done:
                with self.work() as work:
                    export.export(work, self.release())
            self.assertEqual((self.new, self.tip),
                             (self.snapshot(), self.head()), f'step {at}')
            self.assertFalse(
                (self.root / 'build/.cache/export.journal').exists())
            at += 3
        self.assertEqual({True, False}, seen)
        self.assertGreater(at, 20)

    def test_steps_1(self):
        self.every(0)

    def test_steps_2(self):
        self.every(1)

    def test_steps_3(self):
        self.every(2)

    def test_edited_after_the_kill(self):
        at = 0
        path = self.root / 'nova/xl/two.py'
        while not (self.root / 'build/.cache/export.journal').exists():
            self.killed(at)
            at += 1
        path.write_text('draft = 1\n')
        said = self.expect(5, 'status')
        self.assertIn('nova/xl/two.py was edited after', said)
        self.assertEqual('draft = 1\n', path.read_text())


class TestTrouble(base.Case):

    def test_edited_while_it_ran(self):
        """An editor saves, or a colleague's patch is pulled, meanwhile."""
        self.edit('nova/xl/two.py', 'TWO = 2\n')
        self.commit('More\n\nWhy.')
        self.ok('export')
        self.edit('nova/xl/two.py', 'TWO = 3\n')
        base.git(self.tree, 'commit', '--quiet', '--all', '--amend',
                 '-m', 'Other words\n\nWhy.')
        before = self.status()
        for path in (self.root / 'nova/xl/two.py', self.files / 'series'):
            text = path.read_bytes()
            with mock.patch.object(export, 'prove', lambda *args: (
                    path.write_bytes(text + b'# mine\n'))):
                said = self.expect(5, 'export')
            self.assertIn(f'{path.relative_to(self.root)} was edited while',
                          said)
            self.assertEqual(text + b'# mine\n', path.read_bytes())
            path.write_bytes(text)
            self.assertEqual(before, self.status())
        self.ok('export')

    def test_two_at_once(self):
        with (self.root / 'build/.cache/lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for verb in ('apply', 'export', 'check', 'status'):
                self.assertIn('another xloud_series is at work',
                              self.expect(5, verb))
            with subprocess.Popen(
                    [sys.executable, '-m', 'xloud_series', '--repo',
                     str(self.root), 'status'], stdout=subprocess.DEVNULL,
                    env={**os.environ, 'PYTHONPATH': str(base.PACKAGE),
                         workspace.WAIT: 'yes'}) as waits:
                with self.assertRaises(subprocess.TimeoutExpired):
                    waits.wait(1)
                fcntl.flock(lock, fcntl.LOCK_UN)
                self.assertEqual(0, waits.wait(60))
        self.ok('status')

    def test_git_too_old_or_missing(self):
        fake = self.folder / 'bin'
        fake.mkdir()
        path = os.environ['PATH']
        (fake / 'git').write_text('#!/bin/sh\necho git version 2.33.8\n')
        (fake / 'git').chmod(0o755)
        self.assertIn('git 2.33 is too old',
                      self.expect(2, 'apply', PATH=f'{fake}:{path}'))
        (fake / 'git').unlink()
        self.assertIn('git is not there',
                      self.expect(2, 'apply', PATH=str(fake)))

    def test_unknown_release(self):
        for verb in ('apply', 'export', 'check', 'status'):
            said = self.expect(2, verb, '9.9')
            self.assertIn("unknown release '9.9'; known are: 1.0", said)
        self.expect(2, 'apply', '../x')

    def test_wrong_repository(self):
        self.root = self.folder
        self.assertIn('has no patches/', self.expect(2, 'apply'))

    def test_disk_full(self):
        """No space at any write of the export: old or new, and one line."""
        self.edit('nova/xl/two.py', 'TWO = 2\n')
        self.commit('Two\n\nWhy.')
        before = self.snapshot()
        shutil.copytree(PACKAGE_DIR, self.folder / 'lib/xloud_series',
                        ignore=shutil.ignore_patterns('__pycache__'))
        module = self.folder / 'lib/xloud_series/transaction.py'
        text = module.read_text()
        write = '        stream.write(data)\n'
        for number in (1, 2, 4):
            module.write_text(text.replace(
                write, f'        full(path, {number})\n{write}') +
                '\n\nCOUNT = [0]\n\n\ndef full(path, number):\n'
                '    COUNT[0] += 1\n    if COUNT[0] == number:\n'
                '        raise OSError(28, "No space left on device", '
                'str(path))\n')
            said = self.expect(4, 'export',
                               PYTHONPATH=str(self.folder / 'lib'))
            self.assertIn('No space left on device', said)
            self.assertEqual(before, self.snapshot())
        self.ok('export')

    def test_disk_full_for_git(self):
        """git fails as it does then; its own words are shown."""
        (self.root / 'nova/xl/one.py').write_text('ONE = 5\n')
        fake = self.folder / 'bin'
        fake.mkdir()
        real = shutil.which('git')
        (fake / 'git').write_text(
            f'#!/bin/sh\ncase "$*" in *commit-tree*) echo "fatal: No space '
            f'left on device" >&2; exit 128;; esac\nexec {real} "$@"\n')
        (fake / 'git').chmod(0o755)
        head = self.head()
        said = self.expect(4, 'apply',
                           PATH=f'{fake}:{os.environ["PATH"]}')
        self.assertIn('git commit-tree failed (128): fatal: No space left',
                      said)
        self.assertEqual(head, self.head())
        self.ok('apply')

    def test_disk_full_while_the_tree_is_written(self):
        """git has replaced and made some files, and lists each one that it
        could not write.
        """
        (self.root / 'nova/xl/two.py').write_text('TWO = 2\n')
        self.change(self.patch('first-hook-call-one'), 'nova/xl/one.py',
                    'nova/xl/one.py\nOverlay: nova/xl/two.py')
        fake = self.folder / 'bin'
        fake.mkdir()
        (fake / 'git').write_text(
            '#!/bin/sh\ncase "$*" in *checkout*-B*) rm -f nova/a.py\n'
            'mkdir -p nova/xl; echo "TWO = 2" > nova/xl/two.py\n'
            'for i in $(seq 900); do echo "error: unable to write file $i" '
            '>&2; done; exit 1;; esac\n'
            f'exec {shutil.which("git")} "$@"\n')
        (fake / 'git').chmod(0o755)
        path = f'{fake}:{os.environ["PATH"]}'
        head = self.head()
        said = self.expect(4, 'apply', PATH=path)
        self.assertIn('make room', said)
        self.assertIn('... and 892 lines more', said)
        self.assertEqual(head, self.head())
        # As it says.
        base.git(self.tree, 'reset', '--quiet', '--hard',
                 re.findall('reset --hard ([0-9a-f]{40}):', said)[0])
        self.ok('apply')
        shutil.rmtree(self.tree)
        said = self.expect(4, 'apply', PATH=path)
        self.assertIn('nova-1.0 cannot be made: error: unable to write file 1',
                      said)
        self.assertNotIn('git -C', said)
        self.assertEqual([], list(self.tree.parent.glob('.nova*')))
        self.change(fake / 'git', '*checkout*-B*', '*init*')
        said = self.expect(4, 'apply', PATH=path)
        self.assertIn('make room', said)
        self.assertNotIn('git -C', said)
        self.assertEqual([], list(self.tree.parent.glob('.nova*')))
        self.ok('apply')

    def test_a_tree_of_a_damaged_cache(self):
        """It is not for want of room."""
        shutil.rmtree(self.tree)
        store = self.root / 'build/.cache/store.git'
        one = base.git(self.root, 'hash-object', 'nova/xl/one.py').strip()
        for pack in [*store.glob('objects/pack/*.pack')]:
            packed = pack.read_bytes()
            for path in pack.parent.glob(f'{pack.stem}.*'):
                path.unlink()
            subprocess.run(['git', '-C', store, 'unpack-objects', '-q'],
                           input=packed, env=base.PERSON, check=True)
        (store / 'objects' / one[:2] / one[2:]).unlink()
        said = self.expect(4, 'apply')
        self.assertIn('unable to read', said)
        self.assertIn(f'damaged: mv {store} elsewhere', said)
        store.rename(self.folder / 'elsewhere')
        self.ok('apply')

    def test_what_to_do_when_git_fails(self):
        """In a tree it is not the cache; and nobody is told to delete what
        was resolved, which is in it.
        """
        self.change(self.root / 'nova/xl/one.py', 'ONE = 1', 'ONE = 2')
        lock = self.tree / '.git/index.lock'
        lock.touch()
        said = self.expect(4, 'apply')
        self.assertIn(f'{lock}\': File exists', said)
        self.assertIn(f'git -C {self.tree} status\n', said)
        self.assertNotIn('cache', said)
        lock.unlink()
        self.ok('apply')
        store = self.root / 'build/.cache/store.git'
        shutil.rmtree(store / 'objects')
        said = self.expect(4, 'apply')
        self.assertIn(f'if the cache is damaged: mv {store} elsewhere', said)
        self.assertNotIn('rm ', said)
        store.rename(self.folder / 'elsewhere')
        self.ok('apply')
        self.ok('check')

    def test_half_made_tree(self):
        shutil.rmtree(self.tree)
        half = self.root / 'build/.nova-1.0.new'
        half.mkdir()
        (half / 'x').write_text('x')
        self.ok('apply')
        self.assertFalse(half.exists())

    def test_what_a_killed_run_leaves(self):
        """A whole tree of upstream's, beside the store."""
        scratch = self.root / 'build/.cache/scratch'
        with mock.patch.object(drift.Replay, 'step',
                               lambda *args: os._exit(9)):
            self.assertEqual(9, self.run_verb('drift', '--to', '1.0').code)
        self.assertEqual(1, len(list(scratch.glob('*/tree/nova'))))
        self.ok('status')
        self.assertEqual([], list(scratch.iterdir()))

    def test_errors_as_json(self):
        got = self.run_verb('apply', '9.9', '--json')
        self.assertIn('"code": 2', got.out)

    def test_manual(self):
        said = self.ok('--help')
        for verb in ('apply', 'export', 'check', 'drift', 'rebase', 'patches',
                     'status'):
            self.assertIn(f'\n    {verb}', said)
            self.assertIn('exit codes:', self.ok(verb, '--help'))

    def test_interrupt(self):
        with self.assertRaises(KeyboardInterrupt):
            with self.work():
                raise KeyboardInterrupt
        with self.work():                 # the lock is free again
            pass
        with self.assertRaises(errors.SeriesError), self.work():
            with workspace.Workspace(self.work().repo):
                pass

    def test_interrupted_in_a_rebase(self):
        """To run it again is refused, so that is not the advice."""
        base.sdist(self.root / 'build/.cache/sdist/nova-2.0.tar.gz', '2.0',
                   base.NEXT)
        start = 'rebase', '1.0', '--to', '2.0', '--as', '2.0'
        with mock.patch.object(scratch, 'cherry_pick',
                               side_effect=KeyboardInterrupt):
            said = self.expect(130, *start)
        self.assertIn('interrupted; nothing is lost', said)
        self.assertIn('or go on as "python3 -m xloud_series status" says',
                      said)
        self.assertIn('a rebase is not finished', self.expect(5, *start))
        self.assertIn('next: python3 -m xloud_series rebase --continue 2.0',
                      self.ok('status'))
        self.ok('rebase', '--continue', '2.0')


class TestOutput(base.Case):
    """Nobody reads what the tool prints, or nothing can take it."""

    def shell(self, line: str, *args: str) -> base.Done:
        done = subprocess.run(
            ['bash', '-c', f'set -o pipefail; "$@" {line}', 'bash',
             sys.executable, '-m', 'xloud_series', '--repo', str(self.root),
             *args], cwd='/', text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, 'PYTHONPATH': str(base.PACKAGE)})
        self.assertNotIn('Traceback', done.stderr)
        self.assertNotIn('Exception ignored', done.stderr)
        return base.Done(done.returncode, done.stdout, done.stderr)

    def test_a_reader_that_has_gone(self):
        for line in ('| true', '2>&1 | true', '>&-', '2>&-', '>&- 2>&-'):
            with self.subTest(line):
                self.edit('nova/a.py', self.text('nova/a.py') + 'X = 1\n')
                self.commit(f'More {len(line)} {line.count("2")}')
                got = self.shell(line, 'export')
                self.assertEqual((0, ''), (got.code, got.err.strip()))
                self.ok('check')
                self.assertEqual('clean', self.json('status')[0]['tree'])

    def test_no_room_for_the_answer(self):
        got = self.shell('>/dev/full', 'status')
        self.assertEqual(4, got.code)
        self.assertIn('what was asked for is done', got.err)
        self.assertIn('1.0: 3 patches on nova==1.0; tree: clean', got.err)


PACKAGE_DIR = Path(__file__).resolve().parent.parent
