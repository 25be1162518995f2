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

"""What can be known of .zuul.yaml and its like without a Zuul."""

import configparser
import itertools
import os
import re
import shutil
import tempfile
import unittest

import yaml

from tools.lane import projects
from tools import releases
from tools import tree

# Parents from opendev.org's base-jobs and openstack-zuul-jobs.
WELL_KNOWN = {'base', 'openstack-tox'}
PIPELINES = {'check', 'gate', 'experimental', 'periodic'}
NEVER_IRRELEVANT = (
    'bindep.txt', 'nova/xloud/size.py', 'patches/2024.1/constraints.txt',
    'patches/series', 'patches/a-hook.patch', 'tools/lane/command.py',
    'tox.ini', 'xloud_series/apply.py', '.zuul.yaml')


def text_of(path):
    return (tree.ROOT / path).read_text(encoding='utf-8')


def tox_envs():
    """The environments of tox.ini, with {a,b} written out."""
    config = configparser.RawConfigParser(strict=True)
    config.read_string(text_of('tox.ini'))
    envs = set()
    for section in config.sections():
        if section.startswith('testenv:'):
            parts = re.split(r'\{([^}]*)\}', section[len('testenv:'):])
            envs.update(map(''.join, itertools.product(
                *(part.split(',') for part in parts))))
    return envs


def lanes():
    """What tools/run_tests.sh runs."""
    (named,) = re.findall(
        r'^LANES=\((.*)\)$', text_of('tools/lanes.sh'), re.MULTILINE)
    return set(named.split())


class ZuulTest(unittest.TestCase):
    def setUp(self):
        self.entries = yaml.safe_load(text_of('.zuul.yaml'))
        self.jobs = {entry['job']['name']: entry['job']
                     for entry in self.entries if 'job' in entry}

    def test_entries_are_of_kinds_that_zuul_knows(self):
        for entry in self.entries:
            self.assertEqual(1, len(entry))
            self.assertIn(next(iter(entry)), {'job', 'project'})
        self.assertEqual(len(self.jobs), sum(
            'job' in entry for entry in self.entries), 'a name twice')

    def test_every_job_has_a_parent_that_exists(self):
        for job in self.jobs.values():
            self.assertIn(job['parent'], WELL_KNOWN | set(self.jobs))

    def test_the_project_runs_jobs_that_exist_and_can_run(self):
        project, = (entry['project'] for entry in self.entries
                    if 'project' in entry)
        self.assertLessEqual(set(project), PIPELINES)
        used = {job for pipeline in project.values()
                for job in pipeline['jobs']}
        concrete = {name for name, job in self.jobs.items()
                    if not job.get('abstract')}
        self.assertEqual(concrete, used)

    def playbook(self, job):
        """What a job runs in place of tox, as its parent may say."""
        while job and 'run' not in job:
            job = self.jobs.get(job['parent'])
        return job and job['run']

    def test_jobs_name_environments_and_lanes_that_exist(self):
        envs = tox_envs()
        for name, job in self.jobs.items():
            if 'lane' in job.get('vars', {}):
                self.assertIn(job['vars']['lane'], envs, name)
            if not job.get('abstract') and not self.playbook(job):
                self.assertIn(job['vars']['tox_envlist'], envs, name)

    def test_each_change_runs_every_lane(self):
        project, = (entry['project'] for entry in self.entries
                    if 'project' in entry)
        used = [self.jobs[name] for name in project['check']['jobs']]
        run = {job['vars']['tox_envlist'] for job in used if 'run' not in job}
        for job in used:
            if 'run' in job:
                run.update(re.findall(r'tools/run_tests\.sh (\S+)',
                                      text_of(job['run'])))
        self.assertEqual(lanes(), run)

    def test_each_other_release_has_a_job(self):
        parent = 'xloud-nova-release'
        others = [release for release in releases.known()
                  if release != releases.OLDEST]
        self.assertEqual(
            {f'{parent}-{release}': release for release in others},
            {name: job['vars']['release'] for name, job in self.jobs.items()
             if job['parent'] == parent})

    def test_playbooks_have_tasks(self):
        for job in self.jobs.values():
            for phase in ('pre-run', 'run', 'post-run'):
                named = job.get(phase, [])
                for path in [named] if isinstance(named, str) else named:
                    for play in yaml.safe_load(text_of(path)):
                        self.assertEqual('all', play['hosts'])
                        self.assertTrue(play['tasks'], path)

    def test_only_a_job_that_keeps_root_asks_for_it(self):
        for job in self.jobs.values():
            if 'run' in job and 'become' in text_of(job['run']):
                self.assertEqual('base', job['parent'])

    def test_upstreams_branches_have_the_name_that_they_have_now(self):
        for job in self.jobs.values():
            for project in job.get('required-projects', []):
                self.assertEqual('unmaintained/2024.1',
                                 project['override-checkout'])

    def test_no_job_is_skipped_for_a_change_of_the_series(self):
        for job in self.jobs.values():
            for pattern in job.get('irrelevant-files', []):
                for path in NEVER_IRRELEVANT:
                    self.assertNotRegex(path, pattern)


class ToolTest(unittest.TestCase):
    """Files that are read by tools which the other lanes do not run."""

    def test_pre_commit_leaves_patches_alone(self):
        config = yaml.safe_load(text_of('.pre-commit-config.yaml'))
        for path in ('patches/a-hook.patch', 'LICENSE'):
            self.assertRegex(path, config['exclude'])
        self.assertNotRegex('tools/lane/command.py', config['exclude'])

    def test_git_changes_no_byte_on_checkout(self):
        # Not here, which may be a source archive.
        with tempfile.TemporaryDirectory() as folder:
            tree.git('init', '--quiet', tree=folder)
            shutil.copy(tree.ROOT / '.gitattributes', folder)
            asked = tree.git('check-attr', 'text', '--', 'nova/x.py',
                             'a.patch', tree=folder).splitlines()
        self.assertEqual(2, len(asked))
        for line in asked:
            self.assertTrue(line.endswith(': text: unset'), line)

    def test_tox_runs_every_lane(self):
        config = configparser.RawConfigParser()
        config.read_string(text_of('tox.ini'))
        self.assertEqual(lanes(), set(config['tox']['envlist'].split(',')))

    def test_scripts_are_executable(self):
        for path in ('.ci/run', 'packaging/build.sh',
                     *(f'packaging/tests/{name}.sh'
                       for name in projects.PROOFS),
                     'tools/apply_series.sh',
                     'tools/bare.sh', 'tools/run_tests.sh',
                     'tools/sandbox.sh'):
            self.assertTrue(os.access(tree.ROOT / path, os.X_OK), path)

    def test_what_the_lanes_install_is_locked(self):
        lock = text_of('patches/2024.1/constraints.txt')
        pinned = set(re.findall(r'^([a-z0-9-]+)==', lock, re.MULTILINE))
        config = configparser.RawConfigParser()
        config.read_string(text_of('tox.ini'))
        # An environment that installs in its own way is not held to the lock.
        wanted = {dep for section in config.sections()
                  if section == 'testenv' or
                  not config.has_option(section, 'install_command')
                  for dep in config.get(section, 'deps', fallback='').split()}
        wanted.update(re.split('[<=]', name)[0]
                      for name in tree.BUILT_WITH + tree.BESIDE_NOVA)
        self.assertLessEqual(wanted, pinned)
