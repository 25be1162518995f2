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

"""Which tests a series asks for: those that call what it changes."""

import collections
import os
import re
import typing as ty

from tools import hooks

# One test of a file.
SIGNATURES = ':test_public_api_signatures'
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
        'nova/tests/unit/virt/libvirt/test_driver.py' + SIGNATURES,
        'nova/tests/unit/virt/ironic/test_driver.py' + SIGNATURES,
        'nova/tests/unit/virt/test_fake.py',
        'nova/tests/unit/virt/vmwareapi/test_driver_api.py' + SIGNATURES,
        'nova/tests/unit/virt/zvm/test_driver.py',),
    'setup.cfg': (
        'nova/tests/unit/api/validation/extra_specs/test_validators.py',),
}

# They repeat other tests of their file with nested resource providers, which
# the series does nothing about, and are a sixth of the functional lane. The
# lane "upstream -- functional" has them.
REPETITIONS = r'\.ServerMovingTestsWithNested'


class Common(ty.NamedTuple):
    """When a hook is called by what tests set up, and who calls it then."""

    # If more tests than this call it
    callers: int
    # One test of so many classes has to call it, of each if None.
    classes: ty.Optional[int] = None


# A functional test sets up all of Nova, so nearly all of them call the hooks
# in the start of a server.
COMMON = {'unit': Common(10), 'functional': Common(4, 4)}


class Callers(ty.NamedTuple):
    """What a recorded run said: which tests call a hook."""

    hooks: ty.FrozenSet[str] = frozenset()
    tests: ty.FrozenSet[str] = frozenset()

    @classmethod
    def load(cls, path: str) -> 'Callers':
        try:
            with open(path, encoding='utf-8') as lines:
                words = [line.split(maxsplit=1) for line in lines]
        except FileNotFoundError:
            return cls()
        return cls(*(frozenset(word[1].rstrip('\n') for word in words
                               if word[:1] == [kind])
                     for kind in ('hook', 'test')))

    def save(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as output:
            output.write(
                '# Written by "tools/run_tests.sh record"; do not edit.\n'
                "# Upstream's functions that the series changes, and the "
                'tests that call them.\n')
            for kind, names in (('hook', self.hooks), ('test', self.tests)):
                output.writelines(f'{kind} {name}\n'
                                  for name in sorted(names))

    def add(self, hooks_met: ty.Dict[str, ty.Iterable[str]],
            recorded: ty.Iterable[str], common: Common) -> 'Callers':
        """With what a run says, in which a test calls some hooks.

        :param hooks_met: by test
        :param recorded: the hooks of which the run knows all callers
        :param common: as in COMMON, of the suite
        """
        callers = collections.defaultdict(list)
        for test, met in sorted(hooks_met.items()):
            for hook in met:
                callers[hook].append(test)
        chosen = set(self.tests)
        for hook in sorted(callers, key=lambda hook: len(callers[hook])):
            if len(callers[hook]) <= common.callers:
                chosen.update(callers[hook])
                continue
            classes = collections.defaultdict(list)
            for test in callers[hook]:
                classes[_class_of(test)].append(test)
            others = [tests for tests in classes.values()
                      if chosen.isdisjoint(tests)]
            wanted = len(classes) if common.classes is None else common.classes
            missing = wanted - (len(classes) - len(others))
            chosen.update(tests[0] for tests in others[:max(missing, 0)])
        return Callers(self.hooks | set(recorded), frozenset(chosen))

    def without(self, others_than: ty.AbstractSet[str]) -> 'Callers':
        """Without the hooks that are no more."""
        return Callers(self.hooks & others_than, self.tests)


class Picked(ty.NamedTuple):
    """What a lane runs."""

    # All tests of these.
    files: ty.List[str]
    # Single tests of other files, as in WATCHERS.
    watching: ty.List[str]
    # And by their ids.
    tests: ty.List[str]
    # Hooks of which it is not known who calls them, and instead of that all
    # tests run that have to do with their module.
    unknown: ty.List[str]

    def regexes(self) -> ty.List[str]:
        """A regular expression for stestr on each line."""
        by_class = collections.defaultdict(list)
        for test in self.tests:
            by_class[_class_of(test)].append(test)
        watching = [watcher.split(':') for watcher in self.watching]
        return [as_regex([path]) for path in self.files] + [
            rf'{as_regex([path])}.*\.{name}$' for path, name in watching] + [
            '^%s\\.(%s)(\\(|$)' % (re.escape(name), '|'.join(
                re.escape(test[len(name) + 1:]).replace(r'\#', '.')
                for test in tests))
            for name, tests in sorted(by_class.items())]


def pick(suite: str, tree: str, base: str, touched: ty.Iterable[str],
         callers: Callers) -> Picked:
    """The tests of a suite that the series asks for.

    All tests of ours, those of upstream's that the series changes or that call
    a hook, and those that watch over what the series touches.
    """
    touched = list(touched)
    if not callers.hooks:
        return Picked(for_suite(suite, tree, touched), [], [], [])
    root = f'nova/tests/{suite}/'
    files, tests = set(), set(callers.tests)
    changed_tests = hooks.changed_lines(tree, base, tests=True)
    changed = hooks.changed_lines(tree, base)
    unknown = set()
    for path in touched:
        if path in changed_tests:
            if path.startswith(root) and _is_test(path):
                found = _changed_tests(tree, path, changed_tests[path])
                if found is None:
                    files.add(path)
                else:
                    tests |= found
        elif path.startswith(root):
            if _is_test(path):
                files.add(path)
        elif suite == 'unit':
            files.update(_watchers(path))
        if path in changed:
            source = _read(tree, path)
            new = hooks.find(path, source, changed[path]) - callers.hooks
            unknown |= new
            if suite == 'unit' and new:
                files.update(_unit_tests_of(tree, path))
            elif suite == 'unit' and hooks.has_more(source, changed[path]):
                files.update(_named_tests_of(tree, path))
            elif new:
                files.update(path for path in changed_tests
                             if path.startswith(root) and _is_test(path))
    watching = sorted(path for path in files if ':' in path)
    files = sorted(path for path in files
                   if os.path.exists(os.path.join(tree, path)))
    whole = re.compile(as_regex(files))
    return Picked(files, watching, sorted(
        test for test in tests if not whole.match(test)), sorted(unknown))


def callers_of(suite: str, tree: str, hooks_of: ty.Iterable[str],
               touched: ty.Iterable[str]) -> ty.List[str]:
    """The files of upstream's tests that may call these hooks."""
    paths = {hook.partition(':')[0] for hook in hooks_of}
    if suite == 'unit':
        return for_suite(suite, tree, paths)
    return for_suite(suite, tree, touched)


def _changed_tests(tree, path, lines):
    """The tests at these lines, None if others may have changed, too."""
    module = path[:-len('.py')].replace('/', '.')
    found = set()
    for name, node in hooks.changed_names(_read(tree, path), lines).items():
        function = name.rpartition('.')[2]
        if function.startswith('test'):
            found.add(f'{module}.{name}')
        elif not (function.startswith('_') and node.lineno in lines):
            return None
        # Else it is a new helper, which nothing but these tests can call.
    return found


def _class_of(test):
    # What follows the name of a test in brackets may hold dots.
    return test.partition('(')[0].rpartition('.')[0]


def _read(tree, path):
    with open(os.path.join(tree, path), encoding='utf-8') as source:
        return source.read()


def for_suite(suite: str, tree: str, touched: ty.Iterable[str]) -> ty.List[
        str]:
    """The test files of a suite that may call what is touched, sorted."""
    root = f'nova/tests/{suite}/'
    found = set()
    for path in touched:
        if path.startswith(root):
            if _is_test(path):
                found.add(path)
        elif suite == 'unit':
            found.update(test.partition(':')[0]
                         for test in _unit_tests_of(tree, path))
    return sorted(path for path in found
                  if os.path.exists(os.path.join(tree, path)))


def as_regex(test_files: ty.Iterable[str]) -> str:
    """A regular expression for stestr that picks these files' tests."""
    modules = (path[:-len('.py')].replace('/', '.') for path in test_files)
    return '^(%s)\\.' % '|'.join(re.escape(module) for module in modules)


def _watchers(path):
    for prefix, watchers in WATCHERS.items():
        if path.startswith(prefix):
            yield from watchers


def _named_tests_of(tree, path):
    folder, name = _tests_of(path)
    return [test for test in _tests_in(tree, folder)
            if re.match(rf'test_{name}(_|\.py$)', os.path.basename(test))]


def _unit_tests_of(tree, path):
    yield from _watchers(path)
    if not (path.startswith('nova/') and path.endswith('.py')) or (
            path.startswith('nova/tests/')):
        return
    folder, name = _tests_of(path)
    yield from _named_tests_of(tree, path)
    if name != '__init__':
        package = os.path.dirname(path[len('nova/'):]).replace('/', '.')
        about = _mentions(package, name)
        for test in _tests_in(tree, folder):
            if about.search(_read(tree, test)):
                yield test
    # A module that outgrew one test file has a folder of them.
    yield from _tests_in(tree, os.path.join(folder, name))


def _tests_of(path):
    """The folder of a module's unit tests, and the module's name."""
    package, name = os.path.split(path[len('nova/'):-len('.py')])
    return os.path.join('nova/tests/unit', package), name


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
