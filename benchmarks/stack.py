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

"""How long the stack tool takes, beside plain git on the same patches.

    tox -e bench -- stack [--rounds 5]

In a copy of the repository with a warm cache, by turns: ``apply`` that makes
the tree, and ``git clone`` of the base with ``git am`` of the same commits.
Then ``export`` with nothing to write, and ``apply`` of the first 25 patches
alone, for which there is a goal. Wall clock, medians; and the size of a clone
of the repository.
"""

import os
from pathlib import Path
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import report
from tools import tree

COPIED = ('xloud_series', 'patches', 'nova', 'doc', 'releasenotes')


def measure(rounds=5):
    """Medians in seconds, the ratio of apply to git, and KiB of a clone."""
    with tempfile.TemporaryDirectory() as scratch:
        repo = Path(scratch, 'repo')
        for name in COPIED:
            shutil.copytree(tree.ROOT / name, repo / name,
                            ignore=shutil.ignore_patterns('__pycache__'))
        sdists = tree.ROOT / 'build' / '.cache' / 'sdist'
        if sdists.exists():
            shutil.copytree(sdists, repo / 'build' / '.cache' / 'sdist')
        copy, base = repo / 'build' / tree.TREE.name, Path(scratch, 'base')
        _series(repo, 'apply')  # warms the cache
        count = int(_git(copy, 'rev-list', '--count', 'refs/xloud/base..HEAD'))
        mail = Path(scratch, 'mail')
        _git(copy, 'format-patch', '-q', '--binary', '-o', str(mail),
             'refs/xloud/base')
        _git(tree.ROOT, 'init', '-q', '--bare', str(base))
        _git(copy, 'push', '-q', str(base),
             'refs/xloud/base:refs/heads/master')

        def by_git():
            clone = Path(scratch, 'clone')
            shutil.rmtree(clone, ignore_errors=True)
            return _timed(
                _git, tree.ROOT, 'clone', '-q', '-b', 'master', str(base),
                str(clone)) + _timed(
                _git, clone, '-c', 'user.name=b', '-c', 'user.email=b@b',
                'am', '-q', '--whitespace=nowarn',
                *sorted(map(str, mail.iterdir())))

        def by_us():
            shutil.rmtree(copy)
            return _timed(_series, repo, 'apply')

        pairs = [(by_us(), by_git()) for _ in range(rounds)]
        export = [_timed(_series, repo, 'export') for _ in range(rounds)]
        _git(copy, 'reset', '-q', '--hard', f'HEAD~{count - 25}')
        _series(repo, 'export')
        fewer = [by_us() for _ in range(rounds)]
        return {
            'patches': count,
            'apply_s': _median(us for us, _ in pairs),
            'clone_and_am_s': _median(git for _, git in pairs),
            'apply_by_clone_and_am': _median(us / git for us, git in pairs),
            'export_s': _median(export),
            'apply_25_s': _median(fewer),
            'clone_of_repository_KiB': _clone_size(scratch),
            'machine': {'git': _git(tree.ROOT, 'version').split()[2]}}


def rows(results):
    for what, figure, goal in (
            ('apply of {patches} patches', '{apply_s:.1f} s', ''),
            ('git clone and git am of the same', '{clone_and_am_s:.1f} s', ''),
            ('apply / git clone and git am', '{apply_by_clone_and_am:.2f}',
             ''),
            ('apply of 25 patches', '{apply_25_s:.1f} s',
             report.at_most(results['apply_25_s'], 5, ' s')),
            ('export with nothing to write', '{export_s:.1f} s', ''),
            ('clone of the repository', '{clone_of_repository_KiB} KiB', '')):
        yield report.Row(what.format(**results), figure.format(**results),
                         goal)


def _clone_size(scratch):
    clone = Path(scratch, 'repository.git')
    _git(tree.ROOT, 'clone', '-q', '--bare', tree.ROOT.as_uri(), str(clone))
    return int(subprocess.run(['du', '-sk', str(clone)], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.split()[0])


def _series(repo, verb):
    subprocess.run([sys.executable, '-m', 'xloud_series', verb, tree.RELEASE],
                   cwd=repo, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def _git(directory, *args):
    # The user's configuration is not what is measured.
    quiet = {**os.environ, 'GIT_CONFIG_GLOBAL': os.devnull,
             'GIT_CONFIG_NOSYSTEM': '1'}
    return subprocess.run(['git', '-C', str(directory), *args], check=True,
                          env=quiet, text=True, stdout=subprocess.PIPE).stdout


def _timed(call, *args):
    start = time.perf_counter()
    call(*args)
    return time.perf_counter() - start


def _median(values):
    return round(statistics.median(values), 3)
