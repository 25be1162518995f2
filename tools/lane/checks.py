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

"""Style, documents and what else a command checks."""

from concurrent import futures
import os
from pathlib import Path
import shutil
import subprocess
import sys
import typing as ty

from tools.lane import counting
from tools.lane import running
from tools import reference
from tools import releases
from tools import tree

# What else has a series, each in a folder of its name.
PROJECTS = ('horizon',)
PAGES = ('README.rst', 'CHANGES.rst', 'CONTRIBUTING.rst', 'HACKING.rst',
         'patches/README.rst', 'deploy/README.rst', 'horizon/README.rst')


class Check(ty.NamedTuple):
    """A command that says what is wrong, and fails then."""

    name: str
    command: ty.Sequence[str]
    cwd: Path = tree.ROOT


def pep8(_arguments):
    touched = tree.touched()
    python = [path for path in touched if path.endswith('.py')]
    prose = [*PAGES, 'doc', 'guide']
    flake8 = [sys.executable, '-m', 'flake8']
    checks = [Check('flake8: the repository', flake8)]
    if python:
        # In the tree, with the tree's configuration: Nova's own N checks.
        checks.append(Check(f'flake8: {len(python)} files of the series',
                            [*flake8, *python], cwd=tree.TREE))
    checks.append(Check('doc8', [sys.executable, '-m', 'doc8', '--quiet',
                                 *existing(prose)]))
    series = [sys.executable, '-m', 'xloud_series']
    return check_all(checks, [
        Check('the series', [*series, 'check', tree.RELEASE]),
        *(Check(f'the series on {project}',
                [*series, '--project', project, 'check', releases.OLDEST])
          for project in PROJECTS)])


def docs(_arguments):
    site, checks = [], []
    if existing(['guide/index.rst']):
        # The theme asks git for a commit, which a source archive has not.
        site.append(Check('the guide and the manual', [
            'env', f'GIT_DIR={tree.TREE}/.git', sys.executable, '-m',
            'sphinx', '-q', '-W', '--keep-going', '-c', 'tools/docs', '-d',
            'build/docs/.doctrees', str(_make_site()), 'build/docs/html']))
    for page in PAGES:
        # What a forge does to show it, but a warning is an error.
        checks.append(Check(page, [sys.executable, '-m', 'docutils',
                                   '--strict', page, os.devnull]))
    if existing(['releasenotes/notes']):
        checks.append(Check('release notes', [sys.executable, '-m',
                                              'reno.main', 'lint']))
    checks.append(Check('CHANGES.rst', [sys.executable, '-m', 'tools.changes',
                                        '--check']))
    return check_all(site, checks)


def _make_site():
    """Put the guide and the manual together, as in Nova's folder doc."""
    doc = tree.ROOT / 'build' / 'docs' / 'doc'
    shutil.rmtree(doc, ignore_errors=True)
    (doc / 'source').mkdir(parents=True)
    for page in (tree.ROOT / 'guide').iterdir():
        (doc / 'source' / page.name).symlink_to(page)
    for folder in ('api_samples', 'source/xloud'):
        (doc / folder).symlink_to(tree.ROOT / 'doc' / folder)
    reference.write(reference.Series(tree.TREE), doc / 'source',
                    tree.commit())
    return doc / 'source'


def check_all(*chains: ty.Sequence[Check]) -> counting.Outcome:
    """Run chains of checks at the same time; show all in order."""
    outcome = counting.Outcome()
    with futures.ThreadPoolExecutor(int(running.WORKERS)) as pool:
        said = pool.map(lambda chain: list(map(_run_check, chain)), chains)
        for check, done in zip(sum(map(list, chains), []),
                               (done for chain in said for done in chain)):
            if done.stdout.strip():
                counting.show(done.stdout.rstrip('\n'))
            if done.returncode:
                outcome.failures.append(check.name)
                counting.show(f'FAILED {check.name}')
            else:
                outcome.passed += 1
                counting.show(f'ok {check.name}')
    return outcome


def _run_check(check):
    return subprocess.run(
        check.command, cwd=check.cwd, encoding='utf-8', errors='replace',
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def existing(paths):
    return [path for path in paths if (tree.ROOT / path).exists()]
