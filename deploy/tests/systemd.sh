#!/usr/bin/env bash
# Prove the playbooks on a host whose systemd runs the service from a virtual
# environment. As root, with systemd-nspawn:
#     deploy/tests/systemd.sh
# A container of its own boots the systemd of this machine, with the /usr of
# this machine, and Ansible deploys in it to itself.
set -euo pipefail

unset CDPATH
here=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..")
cd "$here"
# shellcheck source=packaging/tests/claims.sh
. packaging/tests/claims.sh
# shellcheck source=deploy/tests/stock.sh
. deploy/tests/stock.sh

python=$("$env/bin/python" -c 'import sys; print(sys.base_prefix)')

# What happens in it. Its log is a unit's, so that of a service is a file.
if [ "${1:-}" = inside ]; then
    work=/root
    site=$(echo /opt/nova/lib/python3*/site-packages)
    play() {
        ANSIBLE_CONFIG=deploy/ansible.cfg "$playbook" \
            -i /root/inventory.ini "deploy/$1.yml" "${@:2}" >$work/log 2>&1
    }
    plays() { play "$@" || { tail -n 60 $work/log; return 1; }; }
    fails() { ! play "$@"; }
    runs() {
        systemctl is-active --quiet nova-compute &&
            tail -n 1 /var/log/nova/nova-compute.log |
            grep -q "^INFO $1 runs as $(process)"
    }
    process() { systemctl show -P MainPID nova-compute; }
    is() { [ "$(process)" = "$1" ]; }
    content() {
        (cd "$site" && find . -type f ! -name '*.pyc' -print0 | sort -z |
            xargs -0 sha256sum)
    }
    claim 'systemd runs stock Nova' runs 29.4.0
    content >$work/stock
    before=$(process)
    claim 'with --check nothing changes' plays deploy --check
    claim '  and nothing is restarted' is "$before"
    claim 'it deploys' plays deploy
    claim '  systemd runs ours' runs $ours
    before=$(process)
    claim 'a second run does nothing' plays deploy
    claim '  and nothing is restarted' is "$before"
    claim 'it is whole' plays verify
    claim 'it rolls back' plays rollback
    claim '  systemd runs stock Nova' runs 29.4.0
    claim '  of the same bytes' cmp $work/stock <(content)
    touch /broken
    claim 'a service that logs errors is rolled back' fails deploy
    claim '  systemd runs stock Nova' runs 29.4.0
    claim '  of the same bytes' cmp $work/stock <(content)
    rm /broken
    plays deploy --tags connection,look,backup,place
    claim 'after a run that ended before the restart' plays deploy
    claim '  systemd runs ours' runs $ours
    echo PROVED
    exit
fi

[ "$(id -u)" = 0 ] || die "not root: it boots a container"
command -v systemd-nspawn >/dev/null || die "no systemd-nspawn here"
[ -x "$playbook" ] || die "no build/deploy-env: see deploy/requirements.txt"
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
stock=$(stock_wheel)
wheel=$(our_wheel)

say "a host whose systemd runs stock Nova"
root=$work/host
mkdir -p "$root"/{usr,etc/systemd/system,tmp,opt,run,proc,sys,dev} \
    "$root"/var/log/nova "$root/root"
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$root/$name"; done
cp -L /etc/os-release /etc/ld.so.cache "$root/etc/"
: >"$root/etc/machine-id"
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
make_stock_env "$root/opt/nova" "$stock"
cat >"$root/service" <<'PROGRAM'
import os, time
import nova.version
log = open('/var/log/nova/nova-compute.log', 'a', buffering=1)
version = nova.version.version_string()
if os.path.exists('/broken') and 'xloud' in version:
    log.write('ERROR %s does not work\n' % version)
log.write('INFO %s runs as %d\n' % (version, os.getpid()))
time.sleep(1e6)
PROGRAM
cat >"$root/etc/systemd/system/nova-compute.service" <<'UNIT'
[Service]
ExecStart=/opt/nova/bin/python3 -u /service
UNIT
cat >"$root/etc/systemd/system/proof.service" <<UNIT
[Unit]
Wants=nova-compute.service
After=nova-compute.service
[Service]
Type=oneshot
Environment=HOME=/root LC_ALL=C.UTF-8 USER=root
ExecStartPre=/bin/sleep 5
ExecStart=$here/deploy/tests/systemd.sh inside
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=append:/result
StandardError=append:/result
UNIT
cat >"$root/etc/systemd/system/default.target" <<'UNIT'
[Unit]
Requires=basic.target
Wants=proof.service
After=basic.target
UNIT
cat >"$root/root/inventory.ini" <<INVENTORY
[compute]
localhost
[compute:vars]
ansible_connection=local
ansible_python_interpreter={{ ansible_playbook_python }}
xloud_nova_become=false
xloud_nova_engine=venv
xloud_nova_site_packages=/opt/nova/$(cd "$root/opt/nova" &&
    echo lib/python3*/site-packages)
xloud_nova_wheel=$wheel
xloud_nova_backup_dir=/var/backups
xloud_nova_settle_seconds=2
INVENTORY
systemd-nspawn --quiet --directory "$root" --bind-ro=/usr \
    --bind-ro="$here" --bind-ro="$python" --register=no --keep-unit \
    --private-network --boot >"$work/boot" 2>&1 </dev/null || true
cat "$root/result" 2>/dev/null || tail -n 30 "$work/boot" >&2
[ "$(tail -n 1 "$root/result")" = PROVED ] || die "it is not proved"
