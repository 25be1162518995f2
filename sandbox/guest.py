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


"""A guest that tells on its console what it sees.

The distribution's kernel and an initial RAM disk with nothing but busybox: it
is there in a second or two where an image of a distribution takes a minute
under software emulation.
"""

import glob
import lzma
import os
from pathlib import Path
import re
import shutil
import subprocess
import tempfile
import time
import typing as ty

# A kernel changes its own code while it boots, and QEMU 7.2 without KVM may
# miss that on another vCPU, which hangs for ever. So the guest starts the
# others when it has booted.
COMMAND_LINE = 'console=ttyS0 quiet maxcpus=1'

_MODULES = ('virtio_pci', 'virtio_balloon', 'virtio_net')
_PREFIX = 'GUEST'

_INIT = f"""\
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do
    $bb insmod $module
done
if [ -e /sys/class/net/eth0 ]; then
    $bb ip link set eth0 up
    $bb udhcpc -i eth0 -s /leased -t 99 -q >/dev/null &
fi
while true; do
    # The kernel leaves a vCPU that was plugged for somebody to switch on.
    for state in /sys/devices/system/cpu/cpu[0-9]*/online; do
        [ -f $state ] && [ "$($bb cat $state)" = 0 ] && echo 1 >$state
    done
    vcpus=$($bb grep -c ^processor /proc/cpuinfo)
    # What it has in total stays the same; its balloon counts in pages.
    kib=$($bb awk '$1 == "MemTotal:" {{kib += $2}}
        $1 == "balloon_inflate" {{kib -= 4 * $2}}
        $1 == "balloon_deflate" {{kib += 4 * $2}}
        END {{print kib}}' /proc/meminfo /proc/vmstat)
    up=$($bb awk '{{print int($1)}}' /proc/uptime)
    address=$($bb cat /address)
    echo "{_PREFIX} vcpus=$vcpus kib=$kib up=$up address=$address"
    $bb sleep 1
done 2>/dev/null
"""

# What DHCP says, udhcpc passes on to this.
_LEASED = """\
#!/bin/busybox sh
[ "$1" = bound ] || exit 0
/bin/busybox ip address add $ip/$mask dev $interface
echo $ip >/address
"""


class Seen(ty.NamedTuple):
    """What a guest said last."""

    vcpus: int
    memory_mb: int
    uptime: int
    address: str  # empty without a network


def seen(console: str) -> ty.Optional[Seen]:
    """What a guest said last on its console, if anything."""
    # Only whole lines: the last may be on its way.
    said = re.findall(
        rf'^{_PREFIX} vcpus=(\d+) kib=(\d+) up=(\d+) address=(\S*)\r?\n',
        console, re.MULTILINE)
    if not said:
        return None
    vcpus, kib, uptime = map(int, said[-1][:3])
    return Seen(vcpus, kib // 1024, uptime, said[-1][3])


def kernel() -> ty.Optional[Path]:
    """The newest kernel here that guests can have."""
    root = os.environ.get('XLOUD_GUEST_ROOT', '/')
    # Where a kernel is not installed to be booted it has no copy in /boot.
    kernels = [path for pattern in ('boot/vmlinuz-*[0-9]*',
                                    'lib/modules/*/vmlinuz')
               for path in glob.glob(os.path.join(root, pattern))
               if 'rescue' not in path]
    return Path(max(kernels, key=os.path.getmtime)) if kernels else None


def make_ramdisk(folder: Path) -> Path:
    """Write folder/ramdisk for the kernel() of this machine."""
    content = folder / 'content'
    shutil.rmtree(content, ignore_errors=True)
    for name in ('bin', 'dev', 'modules', 'proc', 'sys'):
        (content / name).mkdir(parents=True)
    busybox = shutil.which('busybox')
    assert busybox is not None
    shutil.copy(busybox, content / 'bin' / 'busybox')
    _copy_modules(content / 'modules')
    for name, script in (('init', _INIT), ('leased', _LEASED)):
        (content / name).write_text(script)
        (content / name).chmod(0o755)
    ramdisk = folder / 'ramdisk'
    with open(ramdisk, 'wb') as output:
        subprocess.run(
            ['sh', '-c', 'find . | cpio --quiet -o -H newc'], cwd=content,
            check=True, stdout=output)
    return ramdisk


def boots_with_kvm(qemu: str, seconds: float = 60) -> bool:
    """Whether a guest that runs on the processor comes to say anything."""
    with tempfile.TemporaryDirectory() as folder:
        console = Path(folder, 'console')
        console.touch()
        with subprocess.Popen(
                [qemu, '-accel', 'kvm', '-cpu', 'host', '-m', '256',
                 '-nodefaults', '-display', 'none', '-no-reboot',
                 '-serial', f'file:{console}', '-kernel', str(kernel()),
                 '-initrd', str(make_ramdisk(Path(folder))),
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


def modules_of(image: Path) -> Path:
    """The folder of the modules of a kernel."""
    if image.name == 'vmlinuz':
        return image.parent
    return image.parent.parent / 'lib' / 'modules' / (
        image.name.partition('-')[2])


def _copy_modules(target):
    """Those that are not part of the kernel, numbered in their order."""
    image = kernel()
    assert image is not None
    folder = modules_of(image)
    paths = in_order((folder / 'modules.dep').read_text(), _MODULES)
    for number, path in enumerate(paths):
        name = path.rpartition('/')[2].partition('.')[0]
        (target / f'{number:02d}-{name}.ko').write_bytes(
            unpacked(folder / path))


def unpacked(module: Path) -> bytes:
    """The content of a kernel module: not each busybox can unpack one."""
    content = module.read_bytes()
    if module.suffix == '.xz':
        return lzma.decompress(content)
    if module.suffix == '.zst':
        return subprocess.run(['zstd', '-dc'], input=content, check=True,
                              stdout=subprocess.PIPE).stdout
    return content


def in_order(dependencies: str, wanted: ty.Iterable[str]) -> ty.List[str]:
    """Paths of modules and of what they need, what is needed first.

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
