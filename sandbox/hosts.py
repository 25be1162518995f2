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


"""Two hosts on one machine, each with a libvirtd of its own.

A host is a mount, a UTS and a network namespace. /run and libvirt's folders
in it are those of the host, and so are Nova's instances, at one path on both:
Nova then sees two disks, as it should, and migrates with the disk. The first
process of the namespaces only sleeps, so that all others can come and go.
"""

import os
from pathlib import Path
import shlex
import subprocess
import typing as ty
import uuid

from sandbox import layout
from sandbox import machine
from sandbox import processes

_BOUND = {'run': '/run', 'lib': '/var/lib/libvirt', 'etc': '/etc/libvirt',
          'log': '/var/log/libvirt', 'cache': '/var/cache/libvirt',
          'ssh': '/etc/ssh'}
_DAEMONS = ('virtlogd', 'libvirtd')
_NAMESPACES = ('--mount', '--uts', '--net')

_LIBVIRTD = """\
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{uuid}"
log_outputs = "3:stderr"
"""
_QEMU = """\
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
migration_address = "{address}"
migration_host = "{address}"
"""


def hostname(host: str) -> str:
    """With a dot, so that libvirt asks no name server for the rest of it."""
    return f'{host}.sandbox'


def uri(site: layout.Layout, host: str) -> str:
    return ('qemu+unix:///system?socket='
            f'{site.host(host)}/run/libvirt/libvirt-sock')


def daemon(host: str, name: str) -> str:
    return f'{name}-{host}'


def daemons(host: str) -> ty.List[str]:
    return [daemon(host, name) for name in _DAEMONS]


def folder_of_ssh(site: layout.Layout, host: str) -> Path:
    """What is /etc/ssh there."""
    return site.host(host) / 'ssh'


def configure(site: layout.Layout) -> None:
    for host in layout.HOSTS:
        folder = site.host(host)
        for name in ('instances', *_BOUND):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / 'run' / 'libvirt').mkdir(exist_ok=True)
        libvirtd = folder / 'etc' / 'libvirtd.conf'
        if not libvirtd.exists():
            libvirtd.write_text(_LIBVIRTD.format(uuid=uuid.uuid4()))
        (folder / 'etc' / 'qemu.conf').write_text(
            _QEMU.format(address=layout.address(host)))
        (folder / 'etc' / 'virtlogd.conf').write_text(
            'log_outputs = "3:stderr"\n')
        (folder / 'boot').write_text(_boot(site, host))


def start(site: layout.Layout, supervisor: processes.Supervisor,
          host: str) -> None:
    booted = site.host(host) / 'booted'
    if not supervisor.running(host):
        _end_all_inside(site, host)  # in namespaces that none can enter
        booted.unlink(missing_ok=True)
    supervisor.start(host, ['unshare', *_NAMESPACES, 'sh',
                            site.host(host) / 'boot'])
    supervisor.wait(host, booted.exists, 20)
    for name in _DAEMONS:
        start_daemon(site, supervisor, host, name)


def start_daemon(site: layout.Layout, supervisor: processes.Supervisor,
                 host: str, name: str) -> None:
    started = daemon(host, name)
    supervisor.start(started, inside(supervisor, host, [machine.find(name)]))
    ready: ty.Callable[[], bool]
    if name == 'libvirtd':
        def ready():
            return ask(site, host, 'uri') is not None
    else:
        ready = (site.host(host) / 'run/libvirt/virtlogd-sock').exists
    supervisor.wait(started, ready, 60)


def inside(supervisor: processes.Supervisor, host: str,
           command: ty.Sequence[ty.Any]) -> ty.List[ty.Any]:
    """The command as it runs on a host, under the same process id."""
    return ['nsenter', *_NAMESPACES, '--wd=/',
            f'--target={pid(supervisor, host)}', *command]


def pid(supervisor: processes.Supervisor, host: str) -> int:
    """Of the process whose namespaces are the host."""
    process = supervisor.running(host)
    if process is None:
        raise processes.Failed(f'{host} does not run', supervisor.log(host))
    return process.pid


def ask(site: layout.Layout, host: str, *words: str) -> ty.Optional[str]:
    """What virsh says, or None."""
    try:
        done = subprocess.run(
            ['virsh', '--connect', uri(site, host), *words], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30)
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode else done.stdout.strip()


def end_all_inside(site: layout.Layout) -> None:
    """End what still runs on the hosts: guests, helpers, daemons."""
    for host in layout.HOSTS:
        _end_all_inside(site, host)


def is_inside(site: layout.Layout, host: str, pid: int) -> bool:
    """Whether a process has the /run of a host of this sandbox.

    The number of a namespace would not tell: the kernel gives it away again.
    """
    try:
        return os.path.samefile(f'/proc/{pid}/root/run',
                                site.host(host) / 'run')
    except OSError:
        return False


def _end_all_inside(site, host):
    for process in processes.all_stats():
        if is_inside(site, host, process.pid):
            processes.end(process, 5)


def _boot(site, host):
    folder = site.host(host)
    lines = ['set -e', 'mount --make-rprivate /']
    bound = [(folder / 'instances', site.site / 'nova' / 'instances')]
    bound += [(folder / name, target) for name, target in _BOUND.items()]
    for source, target in bound:
        lines += [f'mkdir -p {shlex.quote(str(target))}',
                  f'mount --bind {shlex.quote(str(source))} '
                  f'{shlex.quote(str(target))}']
    lines.append(f'mount --bind {shlex.quote(str(folder / "shadow"))} '
                 '/etc/shadow')
    # Names of network namespaces are gone with those, as after any boot; the
    # /sys that is there shows the machine's interfaces.
    lines += ['rm -rf /run/netns', 'mkdir -p /run/sshd',
              'mount -t sysfs sysfs /sys',
              'ip link set lo up',
              f'hostname {hostname(host)}',
              f'touch {shlex.quote(str(folder / "booted"))}',
              'exec sleep infinity']
    return '\n'.join(lines) + '\n'
