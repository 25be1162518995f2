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

"""A libvirtd of our own and a guest that tells what it sees.

Nothing here touches the libvirtd of the machine. Ours, with its virtlogd,
runs in mount and UTS namespaces where /run/libvirt and the like are folders
of the test, and both end with it, by their process ids. It needs root.
"""

import glob
import os
import re
import shutil
import subprocess
import time

import fixtures
import libvirt

_DAEMONS = ('libvirtd', 'virtlogd')
_FOLDERS = {'run': '/run/libvirt', 'lib': '/var/lib/libvirt',
            'etc': '/etc/libvirt', 'log': '/var/log/libvirt',
            'cache': '/var/cache/libvirt'}

_LIBVIRTD_CONF = """\
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

_QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
"""

_INIT = """\
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev \
        virtio_pci virtio_balloon; do
    [ -e /$m.ko ] && $B insmod /$m.ko
done
while :; do
    for c in /sys/devices/system/cpu/cpu*/online; do
        [ "$($B cat $c)" = 0 ] && echo 1 > $c
    done 2>/dev/null
    echo "STATE cpus=$($B grep -c ^processor /proc/cpuinfo)" \
         "kib=$($B awk '/MemTotal/{print $2}' /proc/meminfo)"
    $B sleep 0.5
done
"""


class Missing(Exception):
    """What this machine lacks for the tests, and how to get it."""


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError('%s: not within %d s' % (what, seconds))
        time.sleep(0.2)


class OwnLibvirtd(fixtures.Fixture):
    """A libvirtd with no domains at first, and none when it ends.

    :ivar uri: how to connect to it
    """

    def _setUp(self):
        for daemon in _DAEMONS:
            if not shutil.which(daemon, path='/usr/sbin:/usr/bin'):
                raise Missing(
                    'There is no %s on this machine. On Debian: apt-get '
                    'install libvirt-daemon-system qemu-system-x86' % daemon)
        if os.geteuid() != 0:
            raise Missing('A libvirtd of our own needs root.')
        self.path = self.useFixture(fixtures.TempDir()).path
        # QEMU is not root everywhere
        os.chmod(self.path, 0o755)
        self.uri = 'qemu+unix:///system?socket=%s/run/libvirt-sock' % self.path
        self._start()

    def _start(self):
        for folder in _FOLDERS:
            os.mkdir(os.path.join(self.path, folder))
        self._write('etc/libvirtd.conf', _LIBVIRTD_CONF)
        self._write('etc/qemu.conf', _QEMU_CONF)
        self._write('etc/virtlogd.conf', '')
        mounts = ''.join(
            'mkdir -p %s; mount --bind %s/%s %s\n' % (
                target, self.path, folder, target)
            for folder, target in _FOLDERS.items())
        # The host name has a dot, so that libvirt does not ask DNS for it.
        self._write('start', (
            'set -e\nmount --make-rprivate /\n%s'
            'hostname hypervisor.test\n'
            '/usr/sbin/virtlogd -p /run/libvirt/virtlogd.pid &\n'
            'exec /usr/sbin/libvirtd -p /run/libvirt/libvirtd.pid\n' % mounts))
        with open(os.path.join(self.path, 'output'), 'wb') as output:
            self._libvirtd = subprocess.Popen(
                ['unshare', '--mount', '--uts', 'sh',
                 os.path.join(self.path, 'start')],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)
        self.addCleanup(self._stop)
        wait_for(self._answers, 30, 'libvirtd answers on %s' % self.uri)

    def _write(self, name, text):
        with open(os.path.join(self.path, name), 'w') as output:
            output.write(text)

    def _answers(self):
        if self._libvirtd.poll() is not None:
            with open(os.path.join(self.path, 'output')) as output:
                raise AssertionError('libvirtd ended: ' + output.read())
        try:
            libvirt.open(self.uri).close()
        except libvirt.libvirtError:
            return False
        return True

    def _stop(self):
        if self._libvirtd.poll() is None:
            connection = libvirt.open(self.uri)
            for domain in connection.listAllDomains():
                if domain.isActive():
                    domain.destroy()
            connection.close()
            self._libvirtd.terminate()
        self._libvirtd.wait(30)
        pid_file = os.path.join(self.path, 'run', 'virtlogd.pid')
        if os.path.exists(pid_file):
            with open(pid_file) as pid:
                os.kill(int(pid.read()), 15)


class TinyGuest(fixtures.Fixture):
    """A kernel and an initial RAM disk that prints what the guest has.

    The kernel, with its modules, is taken from the root file system, or from
    where the environment variable XLOUD_GUEST_ROOT says that the package of
    a kernel was unpacked to.

    :ivar kernel, ramdisk: the files
    """

    def _setUp(self):
        root = os.environ.get('XLOUD_GUEST_ROOT', '/')
        kernels = glob.glob(os.path.join(root, 'boot', 'vmlinuz-*'))
        busybox = shutil.which('busybox')
        if not kernels or not busybox or not shutil.which('cpio'):
            raise Missing(
                'A guest needs a kernel in %s, busybox and cpio. On Debian: '
                'apt-get install busybox-static cpio; apt-get download '
                'linux-image-6.1.0-...-cloud-amd64; dpkg-deb -x *.deb FOLDER; '
                'export XLOUD_GUEST_ROOT=FOLDER' % os.path.join(root, 'boot'))
        self.kernel = kernels[0]
        release = os.path.basename(self.kernel)[len('vmlinuz-'):]
        path = self.useFixture(fixtures.TempDir()).path
        content = os.path.join(path, 'content')
        for folder in ('bin', 'proc', 'sys', 'dev'):
            os.makedirs(os.path.join(content, folder))
        shutil.copy(busybox, os.path.join(content, 'bin', 'busybox'))
        for module in glob.glob(os.path.join(
                root, 'lib', 'modules', release, 'kernel', 'drivers',
                'virtio', '*.ko')):
            shutil.copy(module, content)
        init = os.path.join(content, 'init')
        with open(init, 'w') as output:
            output.write(_INIT)
        os.chmod(init, 0o755)
        self.ramdisk = os.path.join(path, 'ramdisk')
        with open(self.ramdisk, 'wb') as output:
            subprocess.run(
                'find . | cpio --quiet -o -H newc', shell=True, check=True,
                cwd=content, stdout=output)

    @staticmethod
    def seen(console):
        """The last that a guest said: how many vCPUs and MiB it has."""
        with open(console, errors='replace') as lines:
            states = re.findall(r'STATE cpus=(\d+) kib=(\d+)', lines.read())
        if not states:
            return None
        vcpus, kib = states[-1]
        return int(vcpus), int(kib) // 1024
