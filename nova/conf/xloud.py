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

from oslo_config import cfg

xloud_group = cfg.OptGroup(
    'xloud',
    title='Elastic servers',
    help="""
Servers that grow and shrink, inside the range of their flavor, while they run.
""")

xloud_opts = [
    cfg.IntOpt(
        'reconcile_interval',
        default=60,
        help="""
How often a compute service compares what each elastic server was asked to
hold with what its guest does hold, and settles the difference.

A change that a guest makes late, or that was interrupted, ends at the next
time. With no difference it is one call to the hypervisor and one to
nova-conductor, for all servers of the host.

Possible values:

* 0: every 60 seconds, as other periodic tasks
* Any positive integer: the seconds in between
* Any negative integer: never. What a guest does late is then not noticed and
  a change that was interrupted stays as it is.
"""),
    cfg.IntOpt(
        'settle_timeout',
        default=300,
        min=1,
        help="""
How many seconds a guest may take to follow a change of its size, or to load
its balloon driver after a start. Afterwards what it holds is what it gets:
the server is charged for that.

Use the same value for nova-api, which tells from it whether a change is still
in progress. It must be longer than an image takes to boot, and three times
``[libvirt] mem_stats_period_seconds`` at least: a balloon driver is only known
by its statistics. With less, every start ends as a guest that did not follow.
"""),
    cfg.IntOpt(
        'guest_memory_reserve_mb',
        default=128,
        min=0,
        help="""
How many MiB of memory a guest must keep above what it needs when memory is
taken from it. A guest without any may stop working.
"""),
    cfg.IntOpt(
        'guest_memory_base_mb',
        default=128,
        help="""
How many MiB of memory the kernel of a guest needs to start, besides what
follows from the maximum of its flavor: 3/128 of the maximum, 1 MiB for each
vCPU of the maximum, and 104 MiB if the maximum is above 2048 MiB. A server
with an elastic memory that would start with less than the sum is refused, and
no running guest is shrunk below it.

The default is what a Linux kernel with little else was measured to need. Raise
it if your images need more to start. Use the same value for nova-api and
nova-compute.

Possible values:

* 0 or any positive integer: MiB
* Any negative integer: nothing is refused by this rule
"""),
]


def register_opts(conf):
    conf.register_group(xloud_group)
    conf.register_opts(xloud_opts, group=xloud_group)


def list_opts():
    return {xloud_group: xloud_opts}
