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

"""Which tests a series asks for: those of every module that it touches."""

import os
import re
import typing as ty

# Upstream's tests that watch over a whole folder, so that no module's name
# leads to them: fingerprints, rule lists, signatures.
WATCHERS = {
    'nova/api/validation/extra_specs/': (
        'nova/tests/unit/api/validation/extra_specs/test_validators.py',),
    'nova/api/openstack/': (
        'nova/tests/unit/api/openstack/compute/test_schemas.py',),
    'nova/conf/': ('nova/tests/unit/test_conf.py',),
    'nova/notifications/': (
        'nova/tests/unit/notifications/objects/test_notification.py',),
    'nova/objects/': ('nova/tests/unit/objects/test_objects.py',),
    'nova/policies/': ('nova/tests/unit/test_policy.py',),
    'nova/tests/fixtures/libvirt.py': (
        'nova/tests/unit/virt/libvirt/test_fakelibvirt.py',
        'nova/tests/unit/virt/libvirt/test_guest.py',),
    'nova/virt/driver.py': (
        'nova/tests/unit/virt/libvirt/test_driver.py',
        'nova/tests/unit/virt/ironic/test_driver.py',
        'nova/tests/unit/virt/test_fake.py',
        'nova/tests/unit/virt/vmwareapi/test_driver_api.py',
        'nova/tests/unit/virt/zvm/test_driver.py',),
    'setup.cfg': (
        'nova/tests/unit/api/validation/extra_specs/test_validators.py',),
}

# They repeat other tests of their file with nested resource providers, which
# the series does nothing about, and are a sixth of the functional lane. The
# lane "upstream -- functional" has them.
REPETITIONS = r'\.ServerMovingTestsWithNested'


def for_suite(suite: str, tree: str, touched: ty.Iterable[str]) -> ty.List[
        str]:
    """The test files of a suite that the touched files ask for, sorted."""
    root = f'nova/tests/{suite}/'
    found = set()
    for path in touched:
        if path.startswith(root):
            if _is_test(path):
                found.add(path)
        elif suite == 'unit':
            found.update(_unit_tests_of(tree, path))
    return sorted(path for path in found
                  if os.path.exists(os.path.join(tree, path)))


def as_regex(test_files: ty.Iterable[str]) -> str:
    """A regular expression for stestr that picks these files' tests."""
    modules = (path[:-len('.py')].replace('/', '.') for path in test_files)
    return '^(%s)\\.' % '|'.join(re.escape(module) for module in modules)


def _unit_tests_of(tree, path):
    for prefix, watchers in WATCHERS.items():
        if path.startswith(prefix):
            yield from watchers
    if not (path.startswith('nova/') and path.endswith('.py')) or (
            path.startswith('nova/tests/')):
        return
    package, name = os.path.split(path[len('nova/'):-len('.py')])
    folder = os.path.join('nova/tests/unit', package)
    about = _mentions(package.replace('/', '.'), name)
    for test in _tests_in(tree, folder):
        if re.match(rf'test_{name}(_|\.py$)', os.path.basename(test)):
            yield test
        elif name != '__init__':
            with open(os.path.join(tree, test), encoding='utf-8') as source:
                if about.search(source.read()):
                    yield test
    # A module that outgrew one test file has a folder of them.
    yield from _tests_in(tree, os.path.join(folder, name))


def _mentions(package, name):
    parent = re.escape('.'.join(filter(None, ('nova', package))))
    return re.compile(rf'from {parent} import .*\b{name}\b|'
                      rf'\b{parent}\.{name}\b')


def _tests_in(tree, folder):
    try:
        names = os.listdir(os.path.join(tree, folder))
    except FileNotFoundError:
        return []
    return [os.path.join(folder, name) for name in sorted(names)
            if _is_test(name)]


def _is_test(path):
    return bool(re.fullmatch(r'test_.*\.py', os.path.basename(path)))
