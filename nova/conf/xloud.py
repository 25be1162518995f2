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
Servers that grow and shrink inside the range of their flavor while they run.
""")

xloud_opts = [
    cfg.IntOpt(
        'reconcile_interval',
        default=60,
        help="""
How often a compute service compares what each elastic server was asked to
hold with what its guest holds, and settles the difference.

If a guest changes late or a change was interrupted, the next comparison
finishes it. A comparison without a difference makes one call to the hypervisor
and one to nova-conductor, for all servers of the host, and every ten minutes
one to Placement. While a server of the host is in ERROR, each comparison makes
one to Placement.

Possible values:

* 0: every 60 seconds, as other periodic tasks
* Any positive integer: the seconds between two comparisons
* Any negative integer: never. Nova then does not notice late changes of
  guests, and interrupted changes stay unfinished.
"""),
    cfg.IntOpt(
        'settle_timeout',
        default=300,
        min=1,
        help="""
How many seconds a guest may take to follow a change of its size, or to load
its balloon driver after a start. After that, what it holds becomes the desired
size, and the server is charged for it.

Use the same value for nova-api, which decides with it whether a change is
still in progress. The value must be longer than an image takes to boot, and at
least three times ``[libvirt] mem_stats_period_seconds``, because Nova
recognizes a balloon driver only by its statistics. With less, Nova treats
every start as one of a guest that did not follow.
"""),
    cfg.IntOpt(
        'guest_memory_reserve_mb',
        default=128,
        min=0,
        help="""
How many MiB of memory a guest must keep beyond what it needs when Nova takes
memory from it. A guest without free memory can stop working.
"""),
    cfg.IntOpt(
        'guest_memory_base_mb',
        default=128,
        help="""
How many MiB of memory the kernel of a guest needs to start, besides what
follows from the maximum of its flavor: 3/128 of the maximum, 1 MiB for each
vCPU of the maximum, and 104 MiB if the maximum is above 2048 MiB. Nova refuses
a server with elastic memory that would start with less than the sum, and
shrinks no running guest below it.

The default is the measured need of a Linux kernel with little else. Raise it
if your images need more to start. Use the same value for nova-api and
nova-compute.

Possible values:

* 0 or any positive integer: MiB
* Any negative integer: this rule refuses nothing
"""),
    cfg.IntOpt(
        'room_for_growth',
        default=0,
        min=0,
        max=100,
        help="""
How many percent of a host's vCPUs and memory new servers leave free, so that
elastic servers on that host can grow. Moves of existing servers, resizes and
grows may use all of the host.

The percentage is of what Placement lets the host be charged, with the
allocation ratios of the host. The metadata ``xloud_room_for_growth`` of an
aggregate overrides this option for the hosts of the aggregate. If a host is in
several aggregates that have it, the largest value is used.

nova-scheduler reads this option.

Possible values:

* 0: hosts are filled
* Any integer from 1 to 100

Related options:

* ``[filter_scheduler] enabled_filters`` must contain ``XloudGrowthFilter``.
"""),
]


def register_opts(conf):
    conf.register_group(xloud_group)
    conf.register_opts(xloud_opts, group=xloud_group)


def list_opts():
    return {xloud_group: xloud_opts}
