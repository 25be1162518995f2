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


"""How Nova copies between the hosts: an sshd on each, for the other alone.

Nova calls ``ssh`` and ``scp`` without a word about keys, so a host has an
``/etc/ssh`` of its own, bound over the machine's in its mount namespace, with
keys that are made for this sandbox. It listens on the wire, in the network
namespace of the host. Root's own ~/.ssh is not changed; what its config says
comes first there, as for any ssh.
"""

import subprocess

from sandbox import hosts
from sandbox import layout
from sandbox import machine
from sandbox import processes

NAME = 'sshd'
_KEY, _HOST_KEY = 'key', 'host_key'

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
# For sshd a root with "!" there, as some distributions have it, is locked.
_SHADOW = 'root:*:19000:0:99999:7:::\n'


def daemon(host: str) -> str:
    return hosts.daemon(host, NAME)


def configure(site: layout.Layout) -> None:
    """Keys are made once. All hosts have the same one, and trust it."""
    keys = site.site / 'ssh'
    keys.mkdir(mode=0o700, exist_ok=True)
    for name in (_KEY, *(f'{_HOST_KEY}-{host}' for host in layout.HOSTS)):
        if not (keys / name).exists():
            subprocess.run(
                ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', name,
                 '-f', str(keys / name)], check=True,
                stdin=subprocess.DEVNULL)
    known = ''.join(
        f'{layout.address(host)} '
        f'{(keys / f"{_HOST_KEY}-{host}.pub").read_text()}'
        for host in layout.HOSTS)
    for host in layout.HOSTS:
        folder = hosts.folder_of_ssh(site, host)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
                ('sshd_config', _SSHD.format(address=layout.address(host))),
                ('ssh_config', _SSH),
                ('known_hosts', known),
                ('authorized_keys', (keys / f'{_KEY}.pub').read_text()),
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


def _answers(supervisor, source, target):
    """As Nova asks."""
    return subprocess.run(
        hosts.inside(supervisor, source, [
            'ssh', '-o', 'BatchMode=yes', layout.address(target), 'true']),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode == 0
