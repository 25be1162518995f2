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

"""Nova's tree with our series on it, and an environment it can be tested in.

Both are made when they are missing and freshened when they are stale, so that
a lane starts with ``python3 -m tools.tree`` and asks nothing more.  One
environment serves every lane in the tree: a lane of its own each would
install the same 170 packages again.  Standard library only.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
import shutil
import subprocess
import sys
import typing as ty

from tools import pythons
from tools import releases
from xloud_series import workspace

ROOT = releases.ROOT
RELEASE = releases.RELEASE
LANES = releases.lanes()
# A git commit, PATH_OR_URL@COMMIT, to test the series on in place of the
# pinned release: upstream's branch with the fixes after it, say.
BASE = os.environ.get('XLOUD_BASE')
TREE = ROOT / 'build' / (f'nova-{RELEASE}-on-base' if BASE
                         else f'nova-{RELEASE}')
BASE_TREE = ROOT / 'build' / f'nova-{RELEASE}-base'
ENV = ROOT / 'build' / f'env-{RELEASE}'
CONSTRAINTS = os.environ.get('TOX_CONSTRAINTS_FILE') or str(
    LANES.constraints)

REFUSED = 5  # xloud_series: that would overwrite somebody's work, or the like

# What the releases and the sdists that they need are built with: an isolated
# build would take the newest setuptools and pbr, with which 2024.1 does not
# build.
# A pip before 21.3, as Python 3.9's often is, does not build with them either.
BUILT_WITH = ('pip', 'setuptools<80', 'wheel', 'pbr')
# What the tests use beyond what the tree itself says that it requires.
BESIDE_NOVA = ('stestr', 'hypothesis', 'libvirt-python', LANES.placement)
EXTRAS = ','.join(LANES.extras)
# A change in one of these changes what has to be installed; setup.cfg, and
# pyproject.toml since 33.0.0, has the entry points, which Nova finds its extra
# spec validators by.
INSTALLED_FROM = ('setup.cfg', 'pyproject.toml', 'requirements.txt',
                  'test-requirements.txt')


def git(*args: str, tree: Path = TREE) -> str:
    return subprocess.run(['git', '-C', str(tree), *args],
                          check=True, env=git_environ(),
                          stdout=subprocess.PIPE, text=True).stdout


def git_environ() -> ty.Dict[str, str]:
    """For a git that may work in any folder."""
    # A hook of git, or "rebase --exec", names its own repository in these.
    return {**{key: value for key, value in os.environ.items()
               if not key.startswith('GIT_')},
            'GIT_CONFIG_GLOBAL': str(ROOT / 'tools' / 'any-owner.gitconfig')}


def base(tree: Path = TREE) -> str:
    """The commit that is upstream's release."""
    return git('rev-parse', 'refs/xloud/base', tree=tree).strip()


def commit() -> ty.Optional[str]:
    """The commit of this repository; None in a source archive.

    That may have been unpacked inside of another repository, or be about to
    become one of its own.
    """
    if not (ROOT / '.git').exists():
        return None
    try:
        return git('rev-parse', '--verify', '--quiet', 'HEAD',
                   tree=ROOT).strip()
    except subprocess.CalledProcessError:
        return None


def touched(tree: Path = TREE) -> ty.List[str]:
    """The files that the series adds or changes, with what is not committed.

    A developer tests before the commit, so the work tree counts.
    """
    changed = git('diff', '--name-only', '-z', '--no-renames',
                  '--diff-filter=d', base(tree), tree=tree)
    new = git('ls-files', '-z', '--others', '--exclude-standard', tree=tree)
    return sorted({path for path in (changed + new).split('\0') if path})


def added(tree: Path = TREE) -> ty.List[str]:
    """Those of them that upstream does not have."""
    known = git('ls-tree', '-r', '--name-only', '-z', base(tree), tree=tree)
    return sorted(set(touched(tree)) - set(known.split('\0')))


def refresh_tree() -> None:
    on = ['--base', BASE] if BASE else []
    done = subprocess.run(
        [sys.executable, '-m', 'xloud_series', 'apply', RELEASE, *on],
        cwd=ROOT, env={**os.environ, workspace.WAIT: 'yes'})
    if done.returncode == REFUSED and TREE.exists() and _has_work():
        print(f'testing {_short(TREE)} as it stands', flush=True)
    elif done.returncode:
        sys.exit(done.returncode)


def _has_work() -> bool:
    """Whether the tree has what apply would overwrite."""
    folder = TREE / '.git'
    if not folder.is_dir() or (folder / 'xloud-rebase.json').exists():
        return False
    ours = f'refs/heads/xloud/{TREE.name[len("nova-"):]}'
    head = subprocess.run(
        ['git', '-C', str(TREE), 'symbolic-ref', '--quiet', 'HEAD'],
        env=git_environ(), stdout=subprocess.PIPE, text=True).stdout.strip()
    return (head != ours or
            bool(git('status', '--porcelain', '--untracked-files=all',
                     tree=TREE)) or
            git('rev-parse', 'HEAD', tree=TREE) != git(
                'rev-parse', 'refs/xloud/applied', tree=TREE))


def make_base_tree() -> None:
    """The untouched release, to compare with: a clone at the base commit."""
    shutil.rmtree(BASE_TREE, ignore_errors=True)
    git('clone', '--quiet', '--shared', '--no-checkout',
        str(TREE), str(BASE_TREE), tree=ROOT)
    git('checkout', '--quiet', base(), tree=BASE_TREE)
    # Its entry points come before those of the installed tree when it is the
    # working directory; without them it would load our validators.
    made = subprocess.run(
        [str(ENV / 'bin' / 'python'), 'setup.py', '-q', 'egg_info'],
        cwd=BASE_TREE, env=_pbr_environ(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode:  # else it only says that setup.py is out of fashion
        sys.exit(f'{made.stdout}\nno entry points for {_short(BASE_TREE)}')


def refresh_env() -> None:
    stamp = ENV / 'installed'
    wanted, is_whole = _fingerprint(), _is_whole(ENV)
    if is_whole and stamp.exists() and stamp.read_text() == wanted:
        return
    print(f'installing what the tests need in {_short(ENV)} '
          '(the first time: one to two minutes)', flush=True)
    stamp.unlink(missing_ok=True)
    if not is_whole:
        shutil.rmtree(ENV, ignore_errors=True)
        subprocess.run([pythons.pick(), '-m', 'venv', str(ENV)], check=True)
    _pip(*BUILT_WITH)
    # At once, or pip would look through all of it a second time.
    _pip('--use-pep517', '--no-build-isolation',
         '-r', str(TREE / 'test-requirements.txt'), *BESIDE_NOVA,
         '-e', f'{TREE}[{EXTRAS}]')
    stamp.write_text(wanted)


def _is_whole(env):
    """Whether its programs find their Python, and that its packages.

    A repository can be moved.
    """
    try:
        with (env / 'bin' / 'pip').open() as lines:
            is_here = os.path.exists(lines.readline()[2:].strip())
    except OSError:
        return False
    return is_here and pythons.has_packages(env)


def _pip(*args):
    done = subprocess.run(
        [str(ENV / 'bin' / 'python'), '-m', 'pip', 'install', '-qq',
         '--disable-pip-version-check', '-c', CONSTRAINTS, *args],
        env=_pbr_environ(), cwd=ROOT)
    if done.returncode:
        sys.exit(f'pip could not install {" ".join(args)}')


def _pbr_environ():
    # pbr would write AUTHORS and ChangeLog anew, from a history of ours only.
    return {**os.environ, 'SKIP_GENERATE_AUTHORS': '1',
            'SKIP_WRITE_GIT_CHANGELOG': '1'}


def _fingerprint():
    sources = [TREE / name for name in INSTALLED_FROM
               if (TREE / name).exists()]
    if os.path.exists(CONSTRAINTS):  # or it is an address
        sources.append(Path(CONSTRAINTS))
    contents = b'\0'.join(path.read_bytes() for path in sources)
    return '\n'.join([str(TREE), CONSTRAINTS, *BUILT_WITH, *BESIDE_NOVA,
                      hashlib.sha256(contents).hexdigest()])


def _short(path):
    return path.relative_to(ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python3 -m tools.tree', allow_abbrev=False,
        description=__doc__.splitlines()[0])
    parser.add_argument('--without-env', action='store_true',
                        help='make the tree alone')
    asked = parser.parse_args()
    with _one_at_a_time('tree'):
        refresh_tree()
    if not asked.without_env:
        # Others may go on with the tree meanwhile.
        with _one_at_a_time('env'):
            refresh_env()


@contextlib.contextmanager
def _one_at_a_time(what):
    """Lanes that start at the same time need the same of each."""
    build = ROOT / 'build'
    build.mkdir(exist_ok=True)
    with open(build / f'{RELEASE}-{what}.lock', 'a') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == '__main__':
    main()
