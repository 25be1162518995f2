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


"""What this machine must have, and whether it does."""

import functools
import glob
import os
from pathlib import Path
import shutil
import socket
import subprocess
import typing as ty

from sandbox.guest import tiny_guest
from sandbox import layout

PATH = os.pathsep.join(['/usr/lib/rabbitmq/bin', '/usr/sbin', '/sbin',
                        os.environ.get('PATH', os.defpath)])
_COMMANDS = ('mariadbd', 'mariadb', 'mariadb-install-db', 'rabbitmq-server',
             'epmd', 'libvirtd', 'virtlogd', 'virsh', 'qemu-img', 'unshare',
             'nsenter', 'mount', 'busybox', 'cpio', 'ip', 'ebtables',
             'dnsmasq', 'dhcp_release', 'ssh', 'scp', 'ssh-keygen', 'sshd')
_INTERFACES = """\
ip link add type veth
ip link add type bridge
ip link add type vxlan id 1 dstport 0
ip tuntap add mode tap
"""
_QEMU = ('qemu-system-x86_64', 'qemu-kvm')
_MEMORY_MIB = 4800
_DISK_MIB = 2000


def find(command: str) -> str:
    """The path of a command; Debian's own wrapper of the broker is not it."""
    path = shutil.which(command, path=PATH)
    if path is None:
        # Where Fedora has what its /usr/sbin/rabbitmq-server calls.
        path = next(iter(glob.glob(
            f'/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/{command}')), None)
    return path or command


def missing(needed_ports: ty.Dict[str, int],
            commands: ty.Iterable[str] = ()) -> ty.List[str]:
    """One line for each thing that the sandbox lacks here.

    :param commands: which are needed besides those of every sandbox
    """
    found = []
    if os.geteuid() != 0:
        found.append(
            'It needs root: libvirtd and QEMU get namespaces and a host name '
            'of their own.')
    absent = [name for name in (*_COMMANDS, *commands) if shutil.which(
        find(name), path=PATH) is None]
    if _qemu() is None:
        absent.append(_QEMU[0])
    if absent:
        found.append(f'These commands are missing: {", ".join(absent)}; '
                     'bindep.txt names their packages (profiles sandbox and '
                     'deployment).')
    elif os.geteuid() == 0 and subprocess.run(
            ['unshare', '--mount', '--uts', '--net', 'sh', '-ec', _INTERFACES],
            stderr=subprocess.DEVNULL).returncode:
        found.append(
            'It cannot make namespaces with interfaces in them: in a '
            'container, this needs --privileged; the kernel needs veth, '
            'bridge, vxlan and tun.')
    if tiny_guest.kernel() is None:
        found.append(
            'There is no kernel for the guests in /boot. Unpack the package '
            'of one, run depmod -b FOLDER VERSION and name the folder in '
            'XLOUD_GUEST_ROOT.')
    if len(str(layout.ROOT)) > layout.LONGEST_ROOT:
        found.append(
            f'The path {layout.ROOT} is too long for the sockets below it: '
            f'at most {layout.LONGEST_ROOT} characters.')
    for python in (layout.ENV, layout.nova_env()):
        if not (python / 'bin' / 'python').exists():
            found.append(f'There is no {python}: tools/sandbox.sh up makes '
                         'it.')
    found += _too_small() + _taken(needed_ports)
    return found


@functools.lru_cache(maxsize=None)
def has_kvm() -> bool:
    """Whether guests run on the processor; else QEMU emulates one.

    On some virtual machines /dev/kvm can be opened, answers, and no guest
    boots. So one has to.
    """
    flags = Path('/proc/cpuinfo').read_text()
    qemu = _qemu()
    return qemu is not None and os.access('/dev/kvm', os.R_OK | os.W_OK) and (
        ' vmx' in flags or ' svm' in flags) and tiny_guest.boots_with_kvm(qemu)


def _qemu() -> ty.Optional[str]:
    found = (shutil.which(name, path=PATH + ':/usr/libexec')
             for name in _QEMU)
    return next(filter(None, found), None)


def _too_small():
    found = []
    available = next(
        int(line.split()[1]) // 1024
        for line in Path('/proc/meminfo').read_text().splitlines()
        if line.startswith('MemAvailable:'))
    if available < _MEMORY_MIB:
        found.append(f'It needs {_MEMORY_MIB} MiB of memory, and {available} '
                     'MiB are available.')
    free = shutil.disk_usage(layout.ROOT).free // 1024 ** 2
    if free < _DISK_MIB:
        found.append(f'It needs {_DISK_MIB} MiB on the disk of '
                     f'{layout.ROOT}, and {free} MiB are free.')
    return found


def _taken(ports):
    taken = []
    for name, port in ports.items():
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(('127.0.0.1', port))
            except OSError:
                taken.append(f'{port} ({name})')
    if not taken:
        return []
    return [f'These ports are taken: {", ".join(taken)}; '
            'XLOUD_SANDBOX_PORT_SHIFT=20000 moves all of them.']
