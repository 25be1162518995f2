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

"""Horizon's tests with our series, and what it asks which Nova for.

``python3 -m tools.horizon test [RELEASE ...]`` runs Horizon's own tests of
what the series touches, on the oldest and the newest release if none is
named; ``env RELEASE`` makes what they run in.  ``matrix`` fills in Horizon's
forms against a Nova of each newest microversion, has Nova's own controller
take what was sent, and writes ``guide/live-migration.inc``; with ``--check``
it only compares.

Trees and environments are made when they are missing.  Nova's, which matrix
needs, are those of ``python3 -m tools.tree``.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tempfile
import typing as ty

from tools import pythons
from tools import tree

ROOT = tree.ROOT
BUILD = ROOT / 'build'
PROBE = ROOT / 'horizon' / 'probe'
PAGE = ROOT / 'guide' / 'live-migration.inc'
COMMAND = 'python3 -m tools.horizon matrix'
# By release: that whose environment runs it.  An environment is 250 MB, and
# for their forms these need little beside it.
ENVIRONMENTS = {'2024.1': '2024.1', '2025.1': '2024.1', '2025.2': '2024.1',
                '2026.1': '2024.1', '2026.1-26.0.0': '2026.2',
                '2026.2': '2026.2'}
BESIDE = ('qrcode',)
TESTED = ('2024.1', '2026.2')
# What is compared with what upstream has.
STOCK = ('2024.1', '2026.2')
SUITE = ('openstack_dashboard.test.unit.api.test_microversions',
         'openstack_dashboard.test.unit.api.test_nova',
         'openstack_dashboard.test.unit.api.test_nova_live_migrate',
         'openstack_dashboard.dashboards.admin.hypervisors',
         'openstack_dashboard.dashboards.admin.instances')
# On each side of what changed in live migration; the newest of 2024.1 and of
# 2026.2.
NEWEST = ('2.24', '2.29', '2.67', '2.96', '2.104')
RAN = re.compile(r'^Ran (\d+) tests? in ', re.MULTILINE)
SKIPPED = re.compile(r'skipped=(\d+)')
FAILED = re.compile(r'^(?:FAIL|ERROR): \w+ \((\S+)\)$', re.MULTILINE)


@dataclasses.dataclass
class Result:
    passed: int
    skipped: int
    failures: ty.List[str]


def make_tree(release: str) -> Path:
    subprocess.run([sys.executable, '-m', 'xloud_series', '--project',
                    'horizon', 'apply', release], cwd=ROOT, check=True)
    return BUILD / f'horizon-{release}'


def stock_tree(release: str) -> Path:
    """Horizon as upstream released it."""
    patched = make_tree(release)
    stock = BUILD / f'horizon-{release}-base'
    shutil.rmtree(stock, ignore_errors=True)
    tree.git('clone', '--quiet', '--shared', '--no-checkout',
             str(patched), str(stock), tree=ROOT)
    tree.git('checkout', '--quiet', tree.base(patched), tree=stock)
    return stock


def make_env(release: str) -> Path:
    """Its python; `release` has constraints of its own."""
    env = BUILD / f'env-horizon-{release}'
    lock = ROOT / 'horizon' / 'patches' / release / 'constraints.txt'
    stamp = env / 'installed'
    is_whole = pythons.has_packages(env)
    if is_whole and stamp.exists() and stamp.read_text() == lock.read_text():
        return env / 'bin' / 'python'
    folder = make_tree(release)
    print(f'installing what Horizon needs in build/{env.name} (the first '
          f'time: one minute)', flush=True)
    stamp.unlink(missing_ok=True)
    if not is_whole:
        shutil.rmtree(env, ignore_errors=True)
        subprocess.run([pythons.pick(), '-m', 'venv', str(env)], check=True)
    python = env / 'bin' / 'python'
    pip = [str(python), '-m', 'pip', 'install', '-qq',
           '--disable-pip-version-check']
    # The sdists of XStatic import pkg_resources, which newer ones lack.
    subprocess.run([*pip, 'setuptools<80', 'wheel<0.46', 'pbr'], check=True)
    subprocess.run([*pip, '--no-build-isolation', '-c', str(lock),
                    '-r', str(folder / 'requirements.txt'),
                    '-r', str(folder / 'test-requirements.txt'), *BESIDE],
                   check=True)
    stamp.write_text(lock.read_text())
    return python


def django(python: Path, folder: Path, *what: str,
           **environ: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(python), 'manage.py', 'test', '--exclude-tag', 'selenium',
         '--settings', 'openstack_dashboard.test.settings', *what],
        cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={
            **os.environ, 'PYTHONDONTWRITEBYTECODE': '1',
            'PYTHONWARNINGS': 'ignore', **environ})


def run_tests(release: str, what: ty.Sequence[str] = ()) -> Result:
    python = make_env(release)
    done = django(python, make_tree(release), *(what or SUITE))
    result = counted(release, done.stdout, done.returncode)
    if result.failures:
        print(done.stdout)
    return result


def counted(release: str, said: str, code: int) -> Result:
    """What became of the tests that Django says this of."""
    ran = RAN.search(said)
    failures = [f'{release}: {test}' for test in FAILED.findall(said)]
    if code and not failures or not ran or not int(ran[1]):
        failures.append(f'{release}: the tests did not run')
    skipped = sum(map(int, SKIPPED.findall(said)))
    total = int(ran[1]) if ran else 0
    return Result(max(0, total - skipped - len(failures)), skipped, failures)


def record(python: Path, folder: Path) -> ty.List[ty.Dict]:
    """What the forms in this tree show and send, by Nova's newest."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, 'record.json')
        done = django(python, folder, 'xloud_live_migration',
                      XLOUD_NEWEST=' '.join(NEWEST), XLOUD_RECORD=str(path),
                      PYTHONPATH=str(PROBE))
        if done.returncode or not path.exists():
            sys.exit(f'{done.stdout}\n{folder.name}: nothing was recorded')
        return json.loads(path.read_text())


def nova_answers(requests: ty.Sequence[ty.Dict]) -> ty.List[ty.Dict]:
    done = subprocess.run(
        [str(tree.ENV / 'bin' / 'python'), str(PROBE / 'nova_answer.py')],
        input=json.dumps(requests), cwd=tree.TREE, text=True,
        stdout=subprocess.PIPE, env={**os.environ,
                                     'PYTHONDONTWRITEBYTECODE': '1',
                                     'PYTHONPATH': str(tree.TREE)})
    if done.returncode:
        sys.exit('Nova did not answer; python3 -m tools.tree makes its '
                 'environment')
    return json.loads(done.stdout)


def version_of(release: str) -> str:
    pin = ROOT / 'horizon' / 'patches' / release / 'upstream.txt'
    return pin.read_text().split()[0].partition('==')[2]


def matrix() -> str:
    rows: ty.List[ty.Tuple[str, ty.List[ty.Dict]]] = []
    for release, other in ENVIRONMENTS.items():
        python = make_env(other)
        name = version_of(release)
        if release in STOCK:
            rows.append((f'{name}, stock', record(
                python, stock_tree(release))))
        rows.append((name, record(python, make_tree(release))))
        print(f'recorded {name}', flush=True)
    asked = [cell[kind] for _name, cells in rows for cell in cells
             for kind in ('instance', 'host')]
    answers = iter(nova_answers(asked))
    for _name, cells in rows:
        for cell in cells:
            for kind in ('instance', 'host'):
                cell[f'{kind} answer'] = next(answers)
    return render(rows)


def render(rows: ty.Sequence[ty.Tuple[str, ty.List[ty.Dict]]]) -> str:
    shown = {json.dumps([{key: cell[key] for key in (
        'newest', 'block_migration', 'disk_over_commit', 'warns')}
        for cell in cells]) for name, cells in rows if 'stock' not in name}
    if len(shown) != 1:
        sys.exit('the forms differ between the releases of Horizon')
    form = json.loads(shown.pop())
    return '\n'.join([
        f'.. Written by "{COMMAND}": do not edit.', '',
        *table('One instance, to a host that was chosen', [
            (name, [told(cell, 'instance') for cell in cells])
            for name, cells in rows]),
        *table('All instances of a host', [
            (name, [told(cell, 'host') for cell in cells])
            for name, cells in rows]),
        *table('What the form shows, with the series', [
            ('Block Migration', [[', '.join(
                word.title().replace('Auto', 'Automatic')
                for word in cell['block_migration'])] for cell in form]),
            ('Disk Over Commit', [['a box' if cell['disk_over_commit']
                                   else 'no box'] for cell in form]),
            ('New Host', [['says that Nova does not check it'
                           if cell['warns'] else 'says nothing'] for cell
                          in form])])])


def told(cell: ty.Dict, kind: str) -> ty.List[str]:
    """What was sent, and what Nova made of it; a line each."""
    answer = cell[f'{kind} answer']
    if 'refused' in answer:
        return [f'{cell[kind]["version"]}', f'**refused**: '
                f'{answer["refused"]}']
    disks = {None: 'as Nova finds', True: 'copied', False: 'not copied'}
    lines = [cell[kind]['version'],
             f'disks {disks[answer["block_migration"]]}']
    if answer['disk_over_commit']:
        lines.append('over commit')
    if answer['force']:
        lines.append('**force**')
    if answer['host']:
        # nova/compute/api.py: only then the scheduler is given the host.
        lines.append('host checked' if answer['force'] is False
                     else 'host not checked')
    return lines


def table(title: str, rows: ty.Sequence[
        ty.Tuple[str, ty.List[ty.List[str]]]]) -> ty.List[str]:
    lines = [f'.. list-table:: {title}', '   :header-rows: 1',
             '   :stub-columns: 1', '']
    head = [[f'Nova up to {newest}'] for newest in NEWEST]
    for name, cells in [('Horizon', head), *rows]:
        lines.append(f'   * - {name}')
        for cell in cells:
            marks = ['     - | ', *['       | '] * (len(cell) - 1)]
            lines += [mark + line for mark, line in zip(marks, cell)]
    return [*lines, '']


def main() -> int:
    parser = argparse.ArgumentParser(
        prog='python3 -m tools.horizon', allow_abbrev=False,
        description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest='verb', required=True)
    one = verbs.add_parser('test', allow_abbrev=False)
    one.add_argument('releases', nargs='*', metavar='RELEASE')
    one = verbs.add_parser('env', allow_abbrev=False)
    one.add_argument('release', choices=TESTED)
    one = verbs.add_parser('matrix', allow_abbrev=False)
    one.add_argument('--check', action='store_true',
                     help='write nothing; exit 1 if it would')
    asked = parser.parse_args()
    if asked.verb == 'env':
        make_env(asked.release)
        return 0
    if asked.verb == 'test':
        unknown = set(asked.releases) - set(TESTED)
        if unknown:
            parser.error(f'no environment for {", ".join(sorted(unknown))}; '
                         f'there are {", ".join(TESTED)}')
        results = [run_tests(release) for release in asked.releases or TESTED]
        for result in results:
            print(f'{result.passed} passed, {len(result.failures)} failed')
        return any(result.failures for result in results)
    text = matrix()
    same = PAGE.exists() and PAGE.read_text() == text
    if not asked.check:
        PAGE.write_text(text)
    shown = PAGE.relative_to(ROOT)
    print(f'{shown}: ' + ('as it was' if same else 'differs' if asked.check
                          else 'written'))
    return asked.check and not same


if __name__ == '__main__':
    sys.exit(main())
