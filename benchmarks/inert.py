#!/usr/bin/env python3
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

"""What the series costs a server that is not elastic: ratios to the base.

    tox -e bench -- inert [--total 1000]

Two processes, one in the tree and one in its untouched base, take turns in
small rounds, so that a change of the machine's speed meets both. Each round
makes scheduling requests (request filters, resource request, query string)
or guest configurations (domain XML) for a flavor without a minimum. What
counts is the CPU time of the fastest round of each side: whatever else the
machine does can only make a round slower. Where a process has its memory
makes it faster or slower by some percent for as long as it lives, so several
pairs of processes do this. Printed is the median of their ratios, with all of
them, and the fastest round of all pairs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

SUBJECTS = ('scheduling requests', 'guest configurations')


def measure(base, tree, total=1000, round_size=10, pairs=5):
    """Ratios patched / base for each subject.

    :param base: directory of the untouched base
    :param tree: directory of the tree
    :param total: how many of each subject each side makes
    :returns: {subject: {'ratio': float, 'ratios': [float], 'base_us': float,
        'patched_us': float}}, microseconds of CPU for one
    """
    fastest = {subject: [] for subject in SUBJECTS}
    for _ in range(pairs):
        for subject, both in _measure_pair(
                base, tree, total // pairs // round_size, round_size).items():
            fastest[subject].append(both)
    results = {}
    for subject, rounds in fastest.items():
        ratios = [patched / base for base, patched in rounds]
        base_us, patched_us = map(min, zip(*rounds))
        results[subject] = {
            'ratio': round(statistics.median(ratios), 4),
            'ratios': [round(ratio, 4) for ratio in sorted(ratios)],
            'base_us': round(base_us, 1), 'patched_us': round(patched_us, 1)}
    return results


def _measure_pair(base, tree, rounds, round_size):
    """{subject: (microseconds in the base, in the tree)}, fastest rounds."""
    fastest = {}
    workers = [_Worker(base), _Worker(tree)]
    try:
        for subject in SUBJECTS:
            for worker in workers:
                worker.run(subject, round_size)  # warm up
            seconds = {worker: [] for worker in workers}
            for number in range(rounds):
                # Who goes first alternates: the second finds a warm cache.
                for worker in workers if number % 2 else workers[::-1]:
                    seconds[worker].append(worker.run(subject, round_size))
            fastest[subject] = tuple(
                1e6 * min(seconds[worker]) / round_size for worker in workers)
    finally:
        for worker in workers:
            worker.stop()
    return fastest


class _Worker:
    """This file, run as a process of its own inside a tree."""

    def __init__(self, directory):
        self._process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), '--worker'],
            cwd=directory, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def run(self, subject, count):
        print(json.dumps([subject, count]), file=self._process.stdin,
              flush=True)
        return json.loads(self._process.stdout.readline())

    def stop(self):
        self._process.stdin.close()
        self._process.wait()


def _serve():
    """Answer each [subject, count] on stdin with seconds of CPU time."""
    sys.path[0] = ''  # nova of the working directory, tools of nobody
    answers, sys.stdout = sys.stdout, sys.stderr
    from nova import context
    from nova import objects
    from nova.objects import base as objects_base
    from nova.scheduler import request_filter
    from nova.scheduler import utils as scheduler_utils
    from nova.tests.unit.virt.libvirt import test_driver
    from nova.virt import fake
    from nova.virt.libvirt import blockinfo
    from nova.virt.libvirt import driver

    class Bench(test_driver.LibvirtConnTestCase):

        def runTest(self):
            ctxt = context.get_admin_context()
            flavor = objects.Flavor(
                id=1, flavorid='1', name='plain', memory_mb=4096, vcpus=4,
                root_gb=10, ephemeral_gb=0, swap=0,
                extra_specs={'hw:cpu_sockets': '1', 'hw_rng:allowed': 'true'})
            image_meta = objects.ImageMeta.from_dict(self.test_image_meta)
            drvr = driver.LibvirtDriver(fake.FakeVirtAPI(), True)
            instance = objects.Instance(**self.test_instance)
            instance.flavor = flavor
            disk_info = blockinfo.get_disk_info('kvm', instance, image_meta)
            network_info = test_driver._fake_network_info(self)

            def schedule():
                spec = objects.RequestSpec(
                    context=ctxt, flavor=flavor, image=image_meta,
                    project_id='p', user_id='u', num_instances=1,
                    is_bfv=False, pci_requests=None, numa_topology=None,
                    requested_resources=[], availability_zone=None,
                    requested_destination=None, force_hosts=None,
                    force_nodes=None, instance_group=None, limits=None,
                    scheduler_hints={}, retry=None, ignore_hosts=None,
                    instance_uuid=instance.uuid)
                spec.ensure_project_and_user_id(instance)
                request_filter.process_reqspec(ctxt, spec)
                scheduler_utils.ResourceRequest.from_request_spec(
                    spec).to_querystring()
                objects_base.obj_to_primitive(spec)

            def configure():
                drvr._get_guest_config(instance, network_info, image_meta,
                                       disk_info, context=ctxt).to_xml()

            work = dict(zip(SUBJECTS, (schedule, configure)))
            for line in sys.stdin:
                subject, count = json.loads(line)
                call, start = work[subject], time.process_time()
                for _ in range(count):
                    call()
                print(json.dumps(time.process_time() - start),
                      file=answers, flush=True)

    result = Bench().run()
    if not result.wasSuccessful():
        sys.exit(str(result.errors + result.failures))


def main():
    from tools import tree
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--total', type=int, default=1000)
    args = parser.parse_args()
    tree.make_base_tree()
    print(json.dumps(measure(tree.BASE_TREE, tree.TREE, args.total), indent=2))


if __name__ == '__main__':
    _serve() if sys.argv[1:] == ['--worker'] else main()
