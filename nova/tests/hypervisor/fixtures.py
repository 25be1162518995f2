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

import glob
import ipaddress
import lzma
import os
import re
import shutil
import subprocess
import time
import typing as ty

import fixtures
import libvirt
from oslo_utils import uuidutils

_QEMU = ('qemu-system-x86_64', 'qemu-kvm')
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

# A kernel changes its own code while it boots, and QEMU 7.2 without KVM may go
# on for ever with what was there before: one in some hundreds of guests with
# more than one vCPU hung. So this boots on one vCPU; _INIT starts the others.
COMMAND_LINE = 'console=ttyS0 quiet maxcpus=1'

# What Linux prints when it finds an inconsistency.
_LAST_WORDS = re.compile(
    r'(?:kernel BUG|BUG:|Oops:|Kernel panic|general protection fault|'
    r'list_\w+ corruption|rcu: INFO:).*')

# Words on the kernel's command line that make a guest behave differently.
NO_BALLOON = 'tiny.no_balloon'
KEEP_VCPUS = 'tiny.keep_vcpus'
KEEP_OFFLINE = 'tiny.keep_offline'
USE_128_MB = 'tiny.use_128_mb'

_INIT = """\
#!/bin/busybox sh
B=/bin/busybox
memory() { $B awk "/^Mem$1:/{print \\$2}" /proc/meminfo; }
# What it has in total stays what it is if its balloon may shrink by itself.
in_balloon() {
    $B awk '/^balloon_inflate/{n+=$2} /^balloon_deflate/{n-=$2}
        END{print 4*n}' /proc/vmstat
}
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
read -r boot </proc/sys/kernel/random/boot_id
read -r words </proc/cmdline
of=$(memory Total)
case "$words" in *tiny.keep_vcpus*)
    echo 0 >/sys/firmware/acpi/hotplug/processor/enabled
esac
case "$words" in *tiny.use_128_mb*)
    $B dd if=/dev/zero of=/used bs=1M count=128 2>/dev/null
esac
for m in button evdev virtio_ring virtio virtio_pci_legacy_dev \\
        virtio_pci_modern_dev virtio_pci virtio_balloon virtio_console; do
    case "$m $words" in virtio_balloon*tiny.no_balloon*) continue; esac
    [ -e /$m.ko ] && $B insmod /$m.ko
done
# Nobody types: it is the power button.
for event in /dev/input/event*; do
    $B dd if="$event" of=/dev/null bs=24 count=1 2>/dev/null &&
        $B poweroff -f &
done
# There is no udev that would give the port its name. The port comes late.
[ -x /qemu-ga ] && while :; do
    for port in /sys/class/virtio-ports/*; do
        [ "$($B cat $port/name)" = org.qemu.guest_agent.0 ] &&
            /qemu-ga -d -p /dev/${port##*/} -t / -f /qemu-ga.pid && exit
    done 2>/dev/null
    $B sleep 0.2
done &
while :; do
    for c in /sys/devices/system/cpu/cpu*/online; do
        case "$words" in *tiny.keep_offline*) continue; esac
        [ "$($B cat $c)" = 0 ] && echo 1 > $c
    done 2>/dev/null
    read -r up _ </proc/uptime
    echo "STATE boot=$boot up=$up" \\
         "cpus=$($B grep -c ^processor /proc/cpuinfo)" \\
         "kib=$((of - $(in_balloon))) of=$of free=$(memory Available)"
    $B sleep 0.5
done
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


class Missing(Exception):
    """What this machine lacks for the tests, and how to get it."""


def may_have_kvm():
    """Whether it is worth trying a guest without software emulation.

    A virtual machine can have a device that answers and still cannot run
    guests.
    """
    with open('/proc/cpuinfo') as lines:
        flags = re.search(r'^flags.* (vmx|svm)\b', lines.read(), re.M)
    return bool(flags) and os.access('/dev/kvm', os.R_OK | os.W_OK)


def _unpacked(module):
    """The content of a kernel module, as not every busybox can unpack it."""
    with open(module, 'rb') as packed:
        content = packed.read()
    if module.endswith('.xz'):
        return lzma.decompress(content)
    if module.endswith('.zst'):
        return subprocess.run(['zstd', '-dc'], input=content, check=True,
                              stdout=subprocess.PIPE).stdout
    return content


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError('%s: not within %d s' % (what, seconds))
        time.sleep(0.2)


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
                raise Missing(
                    'There is no %s on this machine. On Debian: apt-get '
                    'install %s' % (programs, package))
        if os.geteuid() != 0:
            raise Missing('A libvirtd of our own needs root.')
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


class Seen(ty.NamedTuple):
    """The last that a guest printed about itself."""

    # Different for each boot.
    boot: str
    uptime: float
    vcpus: int
    # What its kernel can use now, and could before the balloon took any. The
    # total does not show this, because it does not change.
    kib: int
    all_kib: int
    # What it could use at once.
    free_kib: int

    @property
    def memory_mb(self):
        return self.kib // 1024

    @property
    def taken_mb(self):
        """What the balloon took, in whole pages of the guest."""
        return (self.all_kib - self.kib) // 1024


class TinyGuest(fixtures.Fixture):
    """A kernel and an initial RAM disk that prints what the guest has.

    It obeys the power button.

    The kernel and its modules come from the root file system, or from the
    folder in the environment variable XLOUD_GUEST_ROOT, where the package of a
    kernel was unpacked.

    :param folder: where to make it
    :ivar kernel, ramdisk: the files
    :ivar ramdisk_with_agent: the same with a QEMU guest agent
    """

    # Whether one booted on the processor, once this process has tried it.
    _has_kvm: ty.Optional[bool] = None

    def __init__(self, folder=None):
        super().__init__()
        self._folder = folder

    def _setUp(self):
        root = os.environ.get('XLOUD_GUEST_ROOT', '/')
        # Where a kernel is not installed to be booted it has no copy in /boot
        kernels = [path for pattern in ('boot/vmlinuz-*[0-9]*',
                                        'lib/modules/*/vmlinuz')
                   for path in glob.glob(os.path.join(root, pattern))
                   if 'rescue' not in path]
        busybox = shutil.which('busybox')
        if not kernels or not busybox or not shutil.which('cpio'):
            raise Missing(
                'A guest needs a kernel in %s, busybox and cpio. On Debian: '
                'apt-get install busybox-static cpio; apt-get download '
                'linux-image-6.1.0-...-cloud-amd64; dpkg-deb -x *.deb FOLDER; '
                'export XLOUD_GUEST_ROOT=FOLDER' % os.path.join(root, 'boot'))
        self.kernel = max(kernels, key=os.path.getmtime)
        folder, name = os.path.split(self.kernel)
        release = name.partition('-')[2] or os.path.basename(folder)
        path = self.useFixture(fixtures.TempDir(rootdir=self._folder)).path
        content = os.path.join(path, 'content')
        for folder in ('bin', 'proc', 'sys', 'dev'):
            os.makedirs(os.path.join(content, folder))
        shutil.copy(busybox, os.path.join(content, 'bin', 'busybox'))
        for module in ('acpi/button', 'input/evdev', 'virtio/*'):
            for file in glob.glob(os.path.join(
                    root, 'lib', 'modules', release, 'kernel', 'drivers',
                    module + '.ko*')):
                name = os.path.basename(file).partition('.ko')[0]
                with open(os.path.join(content, name + '.ko'), 'wb') as output:
                    output.write(_unpacked(file))
        init = os.path.join(content, 'init')
        with open(init, 'w') as output:
            output.write(_INIT)
        os.chmod(init, 0o755)
        self.ramdisk = os.path.join(path, 'ramdisk')
        self._pack(content, self.ramdisk)
        self._path = path
        self._console_module = os.path.join(
            root, 'lib', 'modules', release, 'kernel', 'drivers', 'char',
            'virtio_console.ko')

    @property
    def ramdisk_with_agent(self):
        ramdisk = os.path.join(self._path, 'ramdisk_with_agent')
        if os.path.exists(ramdisk):
            return ramdisk
        agent = shutil.which('qemu-ga', path=_PATH)
        if agent is None:
            raise Missing('There is no qemu-ga on this machine. On Debian: '
                          'apt-get install qemu-guest-agent')
        content = os.path.join(self._path, 'agent')
        os.mkdir(content)
        shutil.copy(agent, os.path.join(content, 'qemu-ga'))
        needed = subprocess.run(['ldd', agent], check=True, text=True,
                                stdout=subprocess.PIPE).stdout
        for library in re.findall(r'(/\S+) \(0x', needed):
            os.makedirs(content + os.path.dirname(library), exist_ok=True)
            shutil.copy(library, content + library)
        for module in glob.glob(self._console_module + '*'):
            with open(os.path.join(content, 'virtio_console.ko'),
                      'wb') as output:
                output.write(_unpacked(module))
        # The kernel takes several archives in one file.
        shutil.copy(self.ramdisk, ramdisk)
        self._pack(content, ramdisk)
        return ramdisk

    @staticmethod
    def _pack(content, ramdisk):
        with open(ramdisk, 'ab') as output:
            subprocess.run(
                'find . | cpio --quiet -o -H newc', shell=True, check=True,
                cwd=content, stdout=output)

    def has_kvm(self):
        """Whether guests run here without software emulation."""
        if TinyGuest._has_kvm is None:
            TinyGuest._has_kvm = may_have_kvm() and self.boots_with_kvm()
        return TinyGuest._has_kvm

    def boots_with_kvm(self, seconds=60):
        path = self.useFixture(fixtures.TempDir(rootdir=self._folder)).path
        console = os.path.join(path, 'console')
        qemu = next(filter(None, (shutil.which(name, path=_PATH)
                                  for name in _QEMU)))
        process = subprocess.Popen(
            [qemu, '-accel', 'kvm', '-cpu', 'host', '-m', '256',
             '-nodefaults', '-display', 'none', '-no-reboot',
             '-serial', 'file:' + console, '-kernel', self.kernel,
             '-initrd', self.ramdisk, '-append', COMMAND_LINE],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + seconds
        try:
            while process.poll() is None and time.monotonic() < deadline:
                if os.path.exists(console):
                    with open(console, errors='replace') as said:
                        if self.seen(said.read()):
                            return True
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
        return False

    @staticmethod
    def seen(console):
        """The last that a guest printed, None if nothing.

        :param console: what it printed
        """
        states = re.findall(
            r'STATE boot=(\S+) up=(\S+) '
            r'cpus=(\d+) kib=(\d+) of=(\d+) free=(\d+)\s', console)
        if not states:
            return None
        boot, uptime, *numbers = states[-1]
        return Seen(boot, float(uptime), *map(int, numbers))

    @staticmethod
    def last_words(console):
        """Why the kernel of a guest died, None if it did not.

        :param console: what it printed
        """
        found = _LAST_WORDS.search(console)
        return found and found.group()
