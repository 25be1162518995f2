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

"""A guest that reports on its console what it sees.

The kernel of a distribution and an initial RAM disk with busybox: it boots in
a few seconds where the image of a distribution takes a minute under software
emulation. It obeys the power button.

The kernel and its modules come from the root file system, or from the folder
in the environment variable XLOUD_GUEST_ROOT, where the package of a kernel was
unpacked. Standard library only: the sandbox loads this file where there is no
Nova.
"""

import glob
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import typing as ty

# A kernel changes its own code while it boots, and QEMU 7.2 without KVM may go
# on for ever with what was there before: one in some hundreds of guests with
# more than one vCPU hung. So this boots on one vCPU; _INIT starts the others.
# Nor does it test its own ciphers, which is a tenth of its boot.
COMMAND_LINE = 'console=ttyS0 quiet maxcpus=1 cryptomgr.notests'

# Words on the kernel's command line that make a guest behave differently.
NO_BALLOON = 'tiny.no_balloon'
KEEP_VCPUS = 'tiny.keep_vcpus'
KEEP_OFFLINE = 'tiny.keep_offline'
MUTE_AGENT = 'tiny.mute_agent'
LIE = 'tiny.lie'
USE_128_MB = 'tiny.use_128_mb'
TOUCH_700_MB = 'tiny.touch_700_mb'
NETWORK = 'tiny.network'

_MODULES = ('button', 'evdev', 'virtio_pci', 'virtio_balloon',
            'virtio_console', 'virtio_net')

# What Linux prints when it finds an inconsistency.
_LAST_WORDS = re.compile(
    r'(?:kernel BUG|BUG:|Oops:|Kernel panic|general protection fault|'
    r'list_\w+ corruption|rcu: INFO:).*')

_INIT = """\
#!/bin/busybox sh
B=/bin/busybox
# What it has in total stays what it is if its balloon may shrink by itself.
state() {
    $B awk -v "first=STATE boot=$boot up=$up" -v of=$of -v "address=$address" '
        /^processor/{cpus++} /^MemAvailable:/{free=$2}
        /^balloon_inflate/{pages+=$2} /^balloon_deflate/{pages-=$2}
        END{printf "%s cpus=%d kib=%d of=%d free=%d address=%s\\n",
            first, cpus, of - 4 * pages, of, free, address}
        ' /proc/cpuinfo /proc/meminfo /proc/vmstat
}
has() { case " $words " in *" $1 "*) ;; *) false ;; esac; }
answer_sync() {
    while read -r line; do
        id=${line##*:}
        case "$line" in
        *guest-sync*) echo '{"return": '${id%%[!0-9]*}'}' >&0 ;;
        esac
    done <>$1
}
# Report for the balloon that it has taken 16 TiB. Only without a driver does
# the kernel let others write to a device.
lie() {
    for driven in /sys/bus/virtio/drivers/virtio_balloon/virtio*; do
        [ -e $driven ] || continue
        device=$($B readlink -f $driven/..)
        echo ${device##*/} >$device/driver/unbind
        bar=$($B awk 'NR==5{print $1}' $device/resource)
        $B devmem $((bar + 0x2004)) 32 0xffffffff
    done 2>/dev/null
}
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
read -r boot </proc/sys/kernel/random/boot_id
read -r words </proc/cmdline
of=$($B awk '/^MemTotal:/{print $2}' /proc/meminfo)
! has tiny.keep_vcpus || echo 0 >/sys/firmware/acpi/hotplug/processor/enabled
! has tiny.use_128_mb ||
    $B dd if=/dev/zero of=/used bs=1M count=128 2>/dev/null
! has tiny.touch_700_mb || {
    $B dd if=/dev/zero of=/touched bs=1M count=700 2>/dev/null
    $B rm /touched
}
for module in /modules/*.ko; do
    case "$module" in
    *balloon*) ! has tiny.no_balloon || continue ;;
    *net*) has tiny.network || continue ;;
    esac
    $B insmod $module
done
# Nobody types: it is the power button.
for event in /dev/input/event*; do
    $B dd if="$event" of=/dev/null bs=24 count=1 2>/dev/null &&
        $B poweroff -f &
done
# There is no udev that would give the port its name. The port comes late.
[ -x /qemu-ga ] && while :; do
    for port in /sys/class/virtio-ports/*; do
        [ "$($B cat $port/name)" = org.qemu.guest_agent.0 ] || continue
        port=/dev/${port##*/}
        if has tiny.mute_agent
        then answer_sync $port
        else /qemu-ga -d -p $port -t / -f /qemu-ga.pid && exit
        fi
    done 2>/dev/null
    $B sleep 0.2
done &
address=
if [ -e /sys/class/net/eth0 ]; then
    $B ip link set eth0 up
    $B udhcpc -i eth0 -s /leased -t 99 -q >/dev/null 2>&1 &
fi
while :; do
    has tiny.keep_offline || for online in /sys/devices/system/cpu/*/online; do
        read -r is_online <$online && [ "$is_online" = 1 ] || echo 1 >$online
    done 2>/dev/null
    read -r up _ </proc/uptime
    [ ! -e /address ] || read -r address </address
    state
    # A vCPU more is the sign to do so.
    ! has tiny.lie || [ ! -e /sys/devices/system/cpu/cpu1 ] || lie
    $B sleep 0.5
done
"""

# What DHCP says, udhcpc passes on to this.
_LEASED = """\
#!/bin/busybox sh
[ "$1" = bound ] || exit 0
/bin/busybox ip address add $ip/$mask dev $interface
echo $ip >/address
"""


class Missing(Exception):
    """What this machine lacks for a guest, and how to get it."""


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
    # Empty without a network.
    address: str

    @property
    def memory_mb(self):
        return self.kib // 1024

    @property
    def taken_mb(self):
        """What the balloon took, in whole pages of the guest."""
        return (self.all_kib - self.kib) // 1024


def seen(console: str) -> ty.Optional[Seen]:
    """What a guest reported last, None if nothing.

    :param console: what it printed. The last line may be on its way.
    """
    states = re.findall(
        r'STATE boot=(\S+) up=(\S+) cpus=(\d+) kib=(\d+) of=(\d+) '
        r'free=(\d+) address=(\S*)\r?\n', console)
    if not states:
        return None
    boot, uptime, *numbers, address = states[-1]
    return Seen(boot, float(uptime), *map(int, numbers), address)


def last_words(console: str) -> ty.Optional[str]:
    """Of what the kernel of a guest died, None if it did not."""
    found = _LAST_WORDS.search(console)
    return found and found.group()


def kernel() -> ty.Optional[pathlib.Path]:
    """The newest kernel here that guests can have."""
    root = os.environ.get('XLOUD_GUEST_ROOT', '/')
    # Where a kernel is not installed to be booted it has no copy in /boot.
    kernels = [path for pattern in ('boot/vmlinuz-*[0-9]*',
                                    'lib/modules/*/vmlinuz')
               for path in glob.glob(os.path.join(root, pattern))
               if 'rescue' not in path]
    return pathlib.Path(
        max(kernels, key=os.path.getmtime)) if kernels else None


def make_ramdisk(folder: pathlib.Path) -> pathlib.Path:
    """Write folder/ramdisk for the kernel() of this machine.

    :raises Missing: if there is none, or no busybox or cpio
    """
    image, busybox = kernel(), shutil.which('busybox')
    if not image or not busybox or not shutil.which('cpio'):
        raise Missing(
            'A guest needs a kernel in %s, busybox and cpio. On Debian: '
            'apt-get install busybox-static cpio; apt-get download '
            'linux-image-6.1.0-...-cloud-amd64; dpkg-deb -x *.deb FOLDER; '
            'depmod -b FOLDER 6.1.0-...; export XLOUD_GUEST_ROOT=FOLDER' %
            os.path.join(os.environ.get('XLOUD_GUEST_ROOT', '/'), 'boot'))
    content = folder / 'content'
    shutil.rmtree(content, ignore_errors=True)
    for name in ('bin', 'dev', 'modules', 'proc', 'sys'):
        (content / name).mkdir(parents=True)
    shutil.copy(busybox, content / 'bin' / 'busybox')
    _copy_modules(modules_of(image), content / 'modules')
    for name, script in (('init', _INIT), ('leased', _LEASED)):
        (content / name).write_text(script)
        (content / name).chmod(0o755)
    ramdisk = folder / 'ramdisk'
    ramdisk.unlink(missing_ok=True)
    _pack(content, ramdisk)
    return ramdisk


def add_agent(ramdisk: pathlib.Path, agent: str) -> pathlib.Path:
    """Write the same RAM disk with a QEMU guest agent beside it.

    :param agent: the path of qemu-ga
    """
    content = ramdisk.parent / 'agent'
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir()
    shutil.copy(agent, content / 'qemu-ga')
    needed = subprocess.run(['ldd', agent], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    for library in re.findall(r'(/\S+) \(0x', needed):
        target = content / library[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    # The kernel takes several archives in one file.
    with_agent = ramdisk.with_name('ramdisk_with_agent')
    shutil.copy(ramdisk, with_agent)
    _pack(content, with_agent)
    return with_agent


def boots_with_kvm(qemu: str, seconds: float = 60) -> bool:
    """Whether a guest that runs on the processor reports anything."""
    with tempfile.TemporaryDirectory() as folder:
        console = pathlib.Path(folder, 'console')
        console.touch()
        with subprocess.Popen(
                [qemu, '-accel', 'kvm', '-cpu', 'host', '-m', '256',
                 '-nodefaults', '-display', 'none', '-no-reboot',
                 '-serial', 'file:%s' % console, '-kernel', str(kernel()),
                 '-initrd', str(make_ramdisk(pathlib.Path(folder))),
                 '-append', COMMAND_LINE],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + seconds
            try:
                while process.poll() is None and time.monotonic() < deadline:
                    if seen(console.read_text(errors='replace')):
                        return True
                    time.sleep(0.1)
            finally:
                process.kill()
    return False


def modules_of(image: pathlib.Path) -> pathlib.Path:
    """The folder of the modules of a kernel."""
    if image.name == 'vmlinuz':
        return image.parent
    return image.parent.parent / 'lib' / 'modules' / (
        image.name.partition('-')[2])


def in_order(dependencies: str, wanted: ty.Iterable[str]) -> ty.List[str]:
    """Paths of modules and of what they need, what is needed first.

    Those that are part of the kernel are left out.

    :param dependencies: what modules.dep says
    """
    paths: ty.List[str] = []
    known = {}
    for line in dependencies.splitlines():
        path, _, needs = line.partition(':')
        known[path.rpartition('/')[2].partition('.')[0]] = [
            *needs.split()[::-1], path]
    for name in wanted:
        paths += [path for path in known.get(name, ()) if path not in paths]
    return paths


def unpacked(module: pathlib.Path) -> bytes:
    """The content of a kernel module: not each busybox can unpack one."""
    content = module.read_bytes()
    if module.suffix == '.xz':
        return lzma.decompress(content)
    if module.suffix == '.zst':
        return subprocess.run(['zstd', '-dc'], input=content, check=True,
                              stdout=subprocess.PIPE).stdout
    return content


def _copy_modules(folder, target):
    """Numbered in their order."""
    paths = in_order((folder / 'modules.dep').read_text(), _MODULES)
    for number, path in enumerate(paths):
        name = path.rpartition('/')[2].partition('.')[0]
        (target / ('%02d-%s.ko' % (number, name))).write_bytes(
            unpacked(folder / path))


def _pack(content, ramdisk):
    with open(ramdisk, 'ab') as output:
        subprocess.run(
            ['sh', '-c', 'find . | cpio --quiet -o -H newc'], cwd=content,
            check=True, stdout=output)
