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


"""How Nova copies between the hosts, and an operator gets in: an sshd on each.

Nova calls ``ssh`` and ``scp`` without a word about keys, so a host has an
``/etc/ssh`` of its own, bound over the machine's in its mount namespace, with
keys that are made for this sandbox. It listens on the wire, in the network
namespace of the host. Root's own ~/.ssh is not changed; what its config says
comes first there, as for any ssh.

Whoever deploys has a key of his own. From this machine no route leads to a
host, so the connection is made in the network namespace of the host.
"""

from pathlib import Path
import subprocess

from sandbox import hosts
from sandbox import layout
from sandbox import machine
from sandbox import processes

NAME = 'sshd'
_KEY, _HOST_KEY, _OPERATOR = 'key', 'host_key', 'operator'

_SSHD = """\
ListenAddress {address}
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
Subsystem sftp internal-sftp
"""
_SSH = """\
Host *
    User root
    IdentityFile /etc/ssh/key
    IdentitiesOnly yes
    GlobalKnownHostsFile /etc/ssh/known_hosts
    UserKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""
_OPERATOR_SSH = """\
Host {host}
    HostName {address}
    ProxyCommand nsenter --net=/proc/{pid}/ns/net busybox nc %h %p
"""
_OPERATOR_SSH_ALL = """\
Host *
    User root
    IdentityFile {keys}/operator
    IdentitiesOnly yes
    GlobalKnownHostsFile /dev/null
    UserKnownHostsFile {keys}/known_hosts
    StrictHostKeyChecking yes
"""
# For sshd a root with "!" there, as some distributions have it, is locked.
_SHADOW = 'root:*:19000:0:99999:7:::\n'


def daemon(host: str) -> str:
    return hosts.daemon(host, NAME)


def configure(site: layout.Layout) -> None:
    """Keys are made once.

    All hosts have the same one, and trust it and that of the operator.
    """
    keys = site.site / 'ssh'
    keys.mkdir(mode=0o700, exist_ok=True)
    for name in (_KEY, _OPERATOR,
                 *(f'{_HOST_KEY}-{host}' for host in layout.HOSTS)):
        if not (keys / name).exists():
            subprocess.run(
                ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', name,
                 '-f', str(keys / name)], check=True,
                stdin=subprocess.DEVNULL)
    known = ''.join(
        f'{layout.address(host)} '
        f'{(keys / f"{_HOST_KEY}-{host}.pub").read_text()}'
        for host in layout.HOSTS)
    trusted = ''.join((keys / f'{name}.pub').read_text()
                      for name in (_KEY, _OPERATOR))
    layout.write_secret(keys / 'known_hosts', known)
    for host in layout.HOSTS:
        folder = hosts.folder_of_ssh(site, host)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
                ('sshd_config', _SSHD.format(address=layout.address(host))),
                ('ssh_config', _SSH),
                ('known_hosts', known),
                ('authorized_keys', trusted),
                (_KEY, (keys / _KEY).read_text()),
                (_HOST_KEY, (keys / f'{_HOST_KEY}-{host}').read_text())):
            layout.write_secret(folder / name, text)
        layout.write_secret(site.host(host) / 'shadow', _SHADOW)


def start(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    """Needs the wire."""
    for host in layout.HOSTS:
        supervisor.start(daemon(host), hosts.inside(supervisor, host, [
            machine.find(NAME), '-D', '-e', '-f', '/etc/ssh/sshd_config']))
    here, there = layout.HOSTS
    for source, target in ((here, there), (there, here)):
        supervisor.wait(
            daemon(target), lambda: _answers(supervisor, source, target), 30,
            f'does not let {source} in')


def client_config(site: layout.Layout) -> Path:
    """What ``ssh -F`` reads, to call a host by its name."""
    return site.site / 'ssh' / 'config'


def let_in(site: layout.Layout, supervisor: processes.Supervisor) -> None:
    """Write that, for hosts that run."""
    layout.write_secret(client_config(site), ''.join(
        _OPERATOR_SSH.format(host=host, address=layout.address(host),
                             pid=hosts.pid(supervisor, host))
        for host in layout.HOSTS) + _OPERATOR_SSH_ALL.format(
            keys=site.site / 'ssh'))


def _answers(supervisor, source, target):
    """As Nova asks."""
    return subprocess.run(
        hosts.inside(supervisor, source, [
            'ssh', '-o', 'BatchMode=yes', layout.address(target), 'true']),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode == 0
