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

"""A libvirtd of our own, and a guest that reports what it sees.

Nothing here touches the libvirtd of the machine. Ours, with its virtlogd and
all guests, runs in mount, UTS and PID namespaces where /run/libvirt and the
like are folders of the test. It ends when the test closes a pipe, and so does
all that it started. If a test is killed, the kernel closes the pipe. It needs
root.
"""

import ctypes
import ipaddress
import logging
import os
import pathlib
import re
import shutil
import subprocess
import threading
import time
import typing as ty

import fixtures
import libvirt
from oslo_utils import uuidutils

from nova.tests.hypervisor import tiny_guest

_QEMU = ('qemu-system-x86_64', 'qemu-kvm')
# The number of the system call, on x86-64
_USERFAULTFD = 323
_PROGRAMS = {'libvirtd': 'libvirt-daemon-system',
             'virtlogd': 'libvirt-daemon-system',
             ' or '.join(_QEMU): 'qemu-system-x86',
             'qemu-img': 'qemu-utils', 'unshare': 'util-linux'}
# Where Fedora and its like have qemu-kvm, too
_PATH = '/usr/sbin:/usr/bin:/usr/libexec'
_FOLDERS = {'run': '/run/libvirt', 'lib': '/var/lib/libvirt',
            'etc': '/etc/libvirt', 'log': '/var/log/libvirt',
            'cache': '/var/cache/libvirt'}

_LIBVIRTD_CONF = """\
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
listen_tls = 0
listen_tcp = 1
listen_addr = "%(address)s"
auth_tcp = "none"
host_uuid = "%(host_uuid)s"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

_QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
migration_address = "%(address)s"
migration_host = "%(address)s"
"""

# The shell is the first process of the PID namespace. While libvirtd runs in
# its foreground it reaps the guests, and when it ends the kernel ends all.
_START = """\
set -e
%(mounts)shostname %(address)s
/usr/sbin/virtlogd -p /run/libvirt/virtlogd.pid &
exec 3<&0
(
    while read -r _; do
        kill -9 "$(cat /run/libvirt/libvirtd.pid)"
    done
    touch /run/libvirt/end
    kill -9 -1
) <&3 3<&- &
while [ ! -e /run/libvirt/end ]; do
    /usr/sbin/libvirtd --listen -p /run/libvirt/libvirtd.pid 3<&- || :
done
rm -rf "%(path)s"
"""


class Emulation(fixtures.MonkeyPatch):
    """Guests without KVM that accept vCPUs while they run.

    Since 2025, Linux accepts them only from hypervisors that it knows, and
    QEMU without KVM is not one of these. VMware is. If the CPU reports no
    hypervisor, Linux also recognizes VMware by a port, which QEMU has, and a
    serial number.
    """

    OPTIONS = {
        'virt_type': 'qemu', 'cpu_mode': 'custom', 'cpu_models': ['qemu64'],
        'cpu_model_extra_flags': ['-hypervisor'],
        'sysinfo_serial': 'hardware'}

    def __init__(self):
        super().__init__(
            'nova.virt.libvirt.driver.LibvirtDriver.'
            '_get_host_sysinfo_serial_hardware', lambda driver: 'VMware')


class TellingLog(fixtures.Fixture):
    """Has a failure show what Nova did about guests, and why it did nothing.

    Much of that is usual, so it is logged for those who debug.
    """

    _TELLING = ('nova.virt.driver', 'nova.virt.libvirt.xloud', 'nova.xloud')

    def _setUp(self):
        # The handler of Nova's fixture, which is made anew for each test
        handler = logging.getLogger().handlers[0]
        usual = handler.level
        handler.setLevel(logging.DEBUG)
        handler.addFilter(
            lambda record: record.levelno >= usual or
            record.name.startswith(self._TELLING))


def may_have_kvm():
    """Whether it is worth trying a guest without software emulation.

    A virtual machine can have a device that answers and still cannot run
    guests.
    """
    with open('/proc/cpuinfo') as lines:
        flags = re.search(r'^flags.* (vmx|svm)\b', lines.read(), re.M)
    return bool(flags) and os.access('/dev/kvm', os.R_OK | os.W_OK)


def may_have_post_copy():
    """Whether a guest can run while its memory is still on its way.

    A container may forbid that.
    """
    descriptor = ctypes.CDLL(None).syscall(_USERFAULTFD, os.O_CLOEXEC)
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError('%s: not within %d s' % (what, seconds))
        time.sleep(0.2)


class Background:
    """A call in a thread of its own, which is a green one under eventlet."""

    def __init__(self, function, *args, **kwargs):
        self._call = lambda: function(*args, **kwargs)
        self._answer = None
        self._error = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._answer = self._call()
        except BaseException as error:
            self._error = error

    def wait(self):
        """Return or raise what the call does."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._answer


class OwnLibvirtd(fixtures.Fixture):
    """A libvirtd that starts and ends without domains.

    :param number: 0 to 3, different for each libvirtd of a test
    :ivar uri: how to connect to it
    :ivar address: its own on the loopback interface, and its host name:
        Nova migrates to host names
    """

    def __init__(self, number=0):
        super().__init__()
        # Others may run the same tests at the same time. A process id has
        # at most 22 bits.
        self.address = str(ipaddress.IPv4Address(
            (127 << 24) + (os.getpid() << 2) + number))

    def _setUp(self):
        for programs, package in _PROGRAMS.items():
            if not any(shutil.which(program, path=_PATH)
                       for program in programs.split(' or ')):
                raise tiny_guest.Missing(
                    'There is no %s on this machine. On Debian: apt-get '
                    'install %s' % (programs, package))
        if os.geteuid() != 0:
            raise tiny_guest.Missing('A libvirtd of our own needs root.')
        self.path = self.useFixture(fixtures.TempDir()).path
        # QEMU is not root everywhere
        os.chmod(self.path, 0o755)
        self._socket = os.path.join(self.path, 'run', 'libvirt-sock')
        self.uri = 'qemu+unix:///system?socket=' + self._socket
        self._start()

    def _start(self):
        for folder in _FOLDERS:
            os.mkdir(os.path.join(self.path, folder))
        names = {'address': self.address, 'path': self.path,
                 'host_uuid': uuidutils.generate_uuid()}
        self._write('etc/libvirtd.conf', _LIBVIRTD_CONF % names)
        self._write('etc/qemu.conf', _QEMU_CONF % names)
        self._write('etc/virtlogd.conf', '')
        names['mounts'] = ''.join(
            'mkdir -p %s; mount --bind %s/%s %s\n' % (
                target, self.path, folder, target)
            for folder, target in _FOLDERS.items())
        self._write('start', _START % names)
        with open(os.path.join(self.path, 'output'), 'wb') as output:
            self._namespace = subprocess.Popen(
                ['unshare', '--mount', '--uts', '--pid', '--fork',
                 '--mount-proc', 'sh', os.path.join(self.path, 'start')],
                stdin=subprocess.PIPE, stdout=output, stderr=output,
                start_new_session=True)
        self.addCleanup(self._stop)
        self._wait_until_it_answers()

    def restart(self):
        """Kill libvirtd, and start it again. The guests run on."""
        pid = self._pid()
        self._namespace.stdin.write(b'\n')
        self._namespace.stdin.flush()
        wait_for(lambda: self._pid() not in ('', pid), 120,
                 'another libvirtd starts')
        self._wait_until_it_answers()

    def remove_domains(self):
        connection = libvirt.open(self.uri)
        for domain in connection.listAllDomains():
            if domain.isActive():
                domain.destroy()
            if domain.isPersistent():
                domain.undefine()
        connection.close()

    def _pid(self):
        with open(os.path.join(self.path, 'run', 'libvirtd.pid')) as pid:
            return pid.read()

    def _write(self, name, text):
        with open(os.path.join(self.path, name), 'w') as output:
            output.write(text)

    def _wait_until_it_answers(self):
        try:
            wait_for(self._answers, 120, 'libvirtd answers on %s' % self.uri)
        except AssertionError as error:
            raise AssertionError('%s: %s' % (error, self._last_words()))

    def _last_words(self):
        with open(os.path.join(self.path, 'output')) as output:
            return ''.join(output.readlines()[-1:])

    def _answers(self):
        if self._namespace.poll() is not None:
            raise AssertionError('libvirtd ended')
        if not os.path.exists(self._socket):
            return False
        try:
            libvirt.open(self.uri).close()
        except libvirt.libvirtError:
            return False
        return True

    def _stop(self):
        self._namespace.stdin.close()
        self._namespace.wait(120)


class TinyGuest(fixtures.Fixture):
    """What a guest is started from: see nova.tests.hypervisor.tiny_guest.

    :param folder: where to make it
    :ivar kernel, ramdisk: the files
    """

    # Whether one booted on the processor, once this process has tried it.
    _has_kvm: ty.Optional[bool] = None

    def __init__(self, folder=None):
        super().__init__()
        self._folder = folder
        self._with_agent = None

    def _setUp(self):
        path = self.useFixture(fixtures.TempDir(rootdir=self._folder)).path
        self.ramdisk = tiny_guest.make_ramdisk(pathlib.Path(path))
        self.kernel = tiny_guest.kernel()

    @property
    def ramdisk_with_agent(self):
        """The same with a QEMU guest agent."""
        if self._with_agent is None:
            agent = shutil.which('qemu-ga', path=_PATH)
            if agent is None:
                raise tiny_guest.Missing(
                    'There is no qemu-ga on this machine. On Debian: apt-get '
                    'install qemu-guest-agent')
            self._with_agent = tiny_guest.add_agent(self.ramdisk, agent)
        return self._with_agent

    @classmethod
    def has_kvm(cls):
        """Whether guests run here without software emulation."""
        if cls._has_kvm is None:
            qemu = next(filter(None, (shutil.which(name, path=_PATH)
                                      for name in _QEMU)))
            cls._has_kvm = may_have_kvm() and tiny_guest.boots_with_kvm(qemu)
        return cls._has_kvm
