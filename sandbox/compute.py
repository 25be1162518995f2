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


"""Nova, from the tree with our series: API, scheduler, conductor, computes."""

import datetime
from pathlib import Path
import typing as ty

from sandbox import balancer
from sandbox import configuration
from sandbox import hosts
from sandbox import layout
from sandbox import machine
from sandbox import nodes
from sandbox import processes
from sandbox import schemas
from sandbox import watched
from sandbox import wsgi

API = 'nova'
# Flavors
ELASTIC, LARGER = 'elastic', 'elastic-larger'
CONTROL = ('nova-scheduler', 'nova-conductor')
# For nova.conf to fill in: the cells are kept without a password.
_SERVER = '{scheme}://{username}:{password}@{hostname}:{port}'
_PRIVSEP_CONTEXTS = (
    'nova_sys_admin', 'vif_plug_linux_bridge_privileged',
    'vif_plug_ovs_privileged', 'privsep_osbrick')


def service(host: str) -> str:
    return f'nova-{host}'


def configure(site: layout.Layout) -> None:
    data = site.site / 'nova'
    (data / 'instances').mkdir(parents=True, exist_ok=True)
    path = site.etc('nova') / 'nova.conf'
    # Its default is sudo, which not every machine has, and it is root.
    # By Python, as the environment of a node has no script of it.
    python = nodes.program(site, nodes.CONTROL, 'python3')
    privsep = {'helper_command': f"{python} -c 'from oslo_privsep import "
               f"daemon; daemon.helper_main()' --config-file {path}"}
    configuration.write(path, {
        'DEFAULT': {
            'use_stderr': True,
            'host': 'control',
            'my_ip': '127.0.0.1',
            'transport_url': site.broker_url,
            'state_path': data,
            'instances_path': data / 'instances',
            # So that what happens is seen within seconds.
            'report_interval': 5,
            'service_down_time': 40,
            'periodic_fuzzy_delay': 5,
            'rpc_response_timeout': 30,
            # The guest has nobody who would shut it down.
            'shutdown_timeout': 1,
            'reserved_host_memory_mb': 512,
            'cpu_allocation_ratio': '16.0',
            'ram_allocation_ratio': '1.5',
        },
        'api': {'auth_strategy': 'keystone'},
        'keystone_authtoken': configuration.token_check(site, 'nova'),
        'service_user': {'send_service_user_token': True,
                         **configuration.account(site, 'nova')},
        'placement': configuration.account(site, 'placement'),
        'neutron': configuration.account(site, 'neutron'),
        'glance': {'region_name': layout.REGION},
        'scheduler': {'workers': 1, 'discover_hosts_in_cells_interval': 5},
        'conductor': {'workers': 1},
        # Its computes have nothing to report to a scheduler that restarts.
        'filter_scheduler': {'track_instance_changes': False},
        'vnc': {'enabled': False},
        'spice': {'enabled': False},
        'oslo_concurrency': {'lock_path': data / 'locks'},
        'xloud': {'reconcile_interval': 5, 'settle_timeout': 60},
        **{context: privsep for context in _PRIVSEP_CONTEXTS},
    })
    # A host has no way to the database, and must not try.
    configuration.write(site.etc('nova') / 'control.conf', {
        'api_database': {'connection': site.database_url('nova_api')},
        'database': {'connection': site.database_url('nova')},
    })
    if site.stock:
        for name, node in nodes.APIS.items():
            configuration.write(site.etc('nova') / f'{name}.conf', {
                'DEFAULT': {'host': node}})
    for host in layout.HOSTS:
        _configure_host(site, host)


def apis(site: layout.Layout) -> ty.List[str]:
    """The processes of nova-api: two for a deployment, else one."""
    return list(nodes.APIS) if site.stock else [API]


def manage(site: layout.Layout, *words: str) -> ty.List[str]:
    """The command of nova-manage."""
    return [str(word) for word in (
        nodes.program(site, nodes.CONTROL, 'nova-manage'),
        *_configured(site, nodes.CONTROL), *words)]


def migrate(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    def run(*words):
        supervisor.run('nova-schema', manage(site, *words))

    def migrations():
        run('api_db', 'sync')
        run('cell_v2', 'map_cell0',
            '--database_connection', f'{_SERVER}/nova_cell0?{{query}}')
        cell = site.site / 'done' / 'cell1'
        if not cell.exists():  # a second one of this name would be refused
            run('cell_v2', 'create_cell', '--name', 'cell1',
                '--database_connection', f'{_SERVER}/nova?{{query}}',
                '--transport-url', f'{_SERVER}/{{path}}')
            cell.touch()
        run('db', 'sync')

    schemas.fill(site, ['nova_api', 'nova', 'nova_cell0'], migrations)


def start_control(site: layout.Layout,
                  supervisor: processes.Supervisor) -> None:
    for name in (*apis(site), *CONTROL):
        start_one(site, supervisor, name)
    for name in apis(site):
        wsgi.wait(site, supervisor, name)
    if site.stock:
        balancer.start(site, supervisor)


def start_watched(site: layout.Layout, supervisor: processes.Supervisor,
                  record: Path, newest: str) -> None:
    """Start the API so that it notes what it is asked.

    :param newest: the newest microversion that it has, if not its own
    """
    _begin_api(site, supervisor, API, 'sandbox.watched:application',
               {watched.RECORD: str(record), watched.NEWEST: newest})
    wsgi.wait(site, supervisor, API)


def start_one(site: layout.Layout, supervisor: processes.Supervisor,
              name: str) -> None:
    """Start one process of Nova, and wait for nothing."""
    for host in layout.HOSTS:
        if name == service(host):
            start_service(site, supervisor, host)
            return
    if name in apis(site):
        _begin_api(site, supervisor, name, 'sandbox.api:application')
        return
    supervisor.start(name, [nodes.program(site, nodes.CONTROL, name),
                            *_configured(site, nodes.CONTROL)],
                     {'PYTHONUNBUFFERED': '1'})


def start_host(site: layout.Layout, supervisor: processes.Supervisor, cloud,
               host: str) -> None:
    start_service(site, supervisor, host)
    wait_for_host(supervisor, cloud, host)


def start_service(site: layout.Layout, supervisor: processes.Supervisor,
                  host: str) -> None:
    supervisor.start(service(host), hosts.inside(supervisor, host, [
        nodes.program(site, host, 'nova-compute'),
        *_configured(site, host)]),
        {'PYTHONUNBUFFERED': '1'})


def wait_for_host(supervisor: processes.Supervisor, cloud, host: str,
                  seconds: float = 180) -> None:
    """Wait until a compute service has reported since its last start.

    That includes its traits: without them, no elastic server runs there.
    """
    supervisor.wait(
        service(host),
        lambda: _has_reported(cloud, 'nova-compute', host,
                              supervisor.since(service(host))) and
        _has_traits(cloud, host),
        seconds, 'has not reported itself to Nova and its traits to Placement')


def wait_for_control(supervisor: processes.Supervisor, cloud,
                     seconds: float = 180) -> None:
    for name in CONTROL:
        supervisor.wait(
            name, lambda: _has_reported(
                cloud, name, 'control', supervisor.since(name)),
            seconds, 'has not reported to Nova')


def fill(cloud) -> None:
    """Flavors: two that are elastic, and one as ever."""
    for name, memory_mb, minimum_mb in (
            (ELASTIC, 768, 320), (LARGER, 896, 384), ('fixed', 768, None)):
        if cloud.compute.find_flavor(name):
            continue
        # Placement gives one server no more vCPUs than its host has.
        flavor = cloud.compute.create_flavor(
            name=name, vcpus=2, ram=memory_mb, disk=1)
        cloud.compute.create_flavor_extra_specs(flavor, minimum_mb and {
            'minimum_cpu': '1', 'minimum_memory': str(minimum_mb)} or {})


def reported_since(updated_at: str, since: float) -> bool:
    """Whether Nova's time of a heartbeat, UTC in seconds, is after a start.

    That a service is "up" is known from its last heartbeat, which may be from
    the process before this one; a process needs seconds for its first one.
    """
    start = datetime.datetime.fromtimestamp(since, datetime.timezone.utc)
    return updated_at > start.replace(tzinfo=None).isoformat()


def _has_reported(cloud, binary, host, since):
    return any(
        found.host == host and found.state == 'up' and found.updated_at and
        reported_since(found.updated_at, since)
        for found in cloud.compute.services(binary=binary))


def _has_traits(cloud, host):
    """Whether Placement knows a host, with traits, as stock Nova also has."""
    return any(
        cloud.placement.get(
            f'/resource_providers/{provider.id}/traits').json()['traits']
        for provider in cloud.placement.resource_providers(
            name=hosts.hostname(host)))


def is_emulated(site: layout.Layout) -> bool:
    """Whether there was no KVM when the hosts were configured."""
    return any('virt_type = qemu' in
               (site.etc('nova') / f'{host}.conf').read_text()
               for host in layout.HOSTS)


def _configure_host(site, host):
    data = site.site / service(host)
    data.mkdir(exist_ok=True)
    virt = {'virt_type': 'kvm'} if machine.has_kvm() else {
        # One model for both hosts, so that a server can always move.
        'virt_type': 'qemu', 'cpu_mode': 'custom', 'cpu_models': 'qemu64'}
    configuration.write(site.etc('nova') / f'{host}.conf', {
        'DEFAULT': {
            'host': host,
            'my_ip': layout.address(host),
            'state_path': data,
            'compute_driver': 'libvirt.LibvirtDriver',
            'force_config_drive': False,
            'heal_instance_info_cache_interval': 0,
        },
        'libvirt': {
            **virt,
            'connection_uri': hosts.uri(site, host),
            # Host to host over the socket: libvirt's TCP port would be open,
            # without a password, to everybody on this machine.
            'live_migration_uri': hosts.uri(site, '%s'),
            # So that little is copied when a server moves.
            'images_type': 'qcow2',
            'inject_partition': -2,
            'mem_stats_period_seconds': 2,
        },
        'image_cache': {'manager_interval': -1},
        # A kernel has the signature of a boot sector: when a server moves,
        # a newer Nova takes it for a disk that is not safe.
        'workarounds': {'disable_deep_image_inspection': True},
        'oslo_concurrency': {'lock_path': data / 'locks'},
    })


def _begin_api(site, supervisor, name, application, environ=None):
    own = [name] if name in nodes.APIS else []
    files = [site.nova_tree / 'etc/nova/api-paste.ini',
             *_files(site, nodes.CONTROL, *own)]
    wsgi.begin(site, supervisor, name, application, {
        'OS_NOVA_CONFIG_FILES': ';'.join(map(str, files)), **(environ or {})},
        nodes.env(site, nodes.APIS.get(name, nodes.CONTROL)))


def _configured(site, *names):
    return [word for path in _files(site, *names)
            for word in ('--config-file', path)]


def _files(site, *names):
    return [site.etc('nova') / f'{name}.conf' for name in ('nova', *names)]
