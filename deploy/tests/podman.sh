#!/usr/bin/env bash
# Prove that tools/deploy_to_containers.sh turns stock Nova in running
# containers into ours and back, killed or not. As root, with podman and runc:
#     deploy/tests/podman.sh
# Stock Nova 29.4.0 is installed by pip where kolla has it. What it requires
# comes from build/env-2024.1, and the programs of the distribution from this
# machine. A container runs a service that reports its version in its log.
set -euo pipefail

unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=packaging/tests/claims.sh
. packaging/tests/claims.sh
# shellcheck source=deploy/tests/stock.sh
. deploy/tests/stock.sh

image=localhost/xloud-nova-stock
unset TARGET_HOST NOVA_SITE_PACKAGES SOURCE_REPO BACKUP_DIR
services='nova_conductor nova_api nova_compute'
export CONTAINER_NAME=$services
python=$("$env/bin/python" -c 'import sys; print(sys.base_prefix)')
venv=/var/lib/kolla/venv
site=$venv/lib/$(basename "$(dirname "$("$env/bin/python" -c \
    'import sysconfig; print(sysconfig.get_path("purelib"))')")")/site-packages

[ "$(id -u)" = 0 ] || die "not root: it makes containers"
for name in $services; do
    ! podman container exists "$name" || die "there is a container $name"
done
work=$(mktemp -d)
cleanup() {
    # shellcheck disable=SC2086
    podman rm --force --time 1 $services >/dev/null 2>&1 || true
    podman rmi --force "$image" >/dev/null 2>&1 || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

# No more than a container of containers has.
limits=(--ulimit "nofile=1024:$(ulimit -Hn)" --ulimit nproc=4096:4096)
start() {
    podman --runtime runc run --detach --name "$1" --network none \
        "${limits[@]}" -v /usr:/usr:ro -v "$python:$python:ro" \
        -v "$env:$env:ro" "$2" "${@:3}" >/dev/null
}
service() {
    start "$1" "$image" "$venv/bin/python3" -u /service "${1/_/-}"
}

say "an image with stock Nova in kolla's folders"
stock=$(stock_wheel)
mkdir -p "$work/root"/{usr,etc,tmp,var/lib/kolla,var/log/kolla/nova,root,run}
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$work/root/$name"; done
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$work/root/etc/passwd"
cp -L /etc/ld.so.cache "$work/root/etc/"
cp "$stock" "$work/root/tmp"
cat >"$work/root/service" <<'PROGRAM'
import os, signal, sys, time
import nova.version
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
log = open('/var/log/kolla/nova/%s.log' % sys.argv[1], 'a', buffering=1)
version = nova.version.version_string()
log.write('INFO %s runs\n' % version)
if os.path.exists('/broken') and 'xloud' in version:
    log.write('ERROR %s does not work\n' % version)
time.sleep(1e6)
PROGRAM
tar -c -C "$work/root" . | podman import -q - "$image" >/dev/null
start nova_api "$image" sleep 1000
podman exec nova_api "$python/bin/python3" -m venv --without-pip "$venv"
podman exec nova_api sh -c "echo '$env/lib/${site##*/lib/}' \
    >$site/requirements.pth"
podman exec nova_api "$env/bin/python" -m pip -q --python \
    "$venv/bin/python3" install --no-deps --no-index /tmp/"${stock##*/}"
podman commit -q nova_api "$image" >/dev/null
podman rm --force --time 1 nova_api >/dev/null

deploy() {
    BACKUP_DIR=$work/backups tools/deploy_to_containers.sh "$@" \
        >"$work/log" 2>&1 || { tail -n 60 "$work/log" >&2; return 1; }
}
deploy_fails() {
    ! BACKUP_DIR=$work/backups tools/deploy_to_containers.sh "$@" \
        >"$work/log" 2>&1
}
says() { grep -qF -- "$1" "$work/log"; }
runs() { # VERSION CONTAINER ...
    local container
    for container in "${@:2}"; do
        podman exec "$container" tail -n 1 \
            "/var/log/kolla/nova/${container/_/-}.log" |
            grep -q "^INFO $1 runs" || return 1
    done
}
# All files, without bytecode; and with what each service has of its own.
content() {
    podman exec "$1" sh -c "cd $site && find . -type f \
        ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum"
}
started() {
    # shellcheck disable=SC2086
    podman inspect -f '{{.State.StartedAt}}' $services
}
verify() {
    podman exec -i "$1" "$venv/bin/python3" - --tests \
        <build/dist/xloud-nova-verify
}

for name in $services; do service "$name"; done
content nova_api >"$work/stock"
packaging/build.sh verify >/dev/null
XLOUD_WHEEL=$(our_wheel)
export XLOUD_WHEEL

say "there and back"
started >"$work/before"
claim 'with --check nothing changes' deploy deploy -- --check
content nova_api | cmp - "$work/stock"
begun=$(date +%s)
claim 'it deploys to three containers' deploy deploy
echo "   $((($(date +%s) - begun))) s for three services"
# shellcheck disable=SC2086
claim 'each runs ours' runs $ours $services
claim 'xloud-nova-verify finds nothing' verify nova_api
content nova_api >"$work/ours"
started >"$work/before"
claim 'a second run changes nothing' deploy deploy
claim 'and restarts nothing' cmp "$work/before" <(started)
claim 'the status names version and backup' deploy status
claim '  version' says '"version": "29.4.0+xloud.1"'
claim '  backup' says '"number": 1'
claim 'a copy of the backup is on the host' test -s \
    "$work/backups/nova_api/0001.tgz"
claim 'it rolls back' deploy rollback
# shellcheck disable=SC2086
claim 'each runs stock Nova' runs 29.4.0 $services
claim 'to the same bytes' cmp "$work/stock" <(content nova_api)

say "what must not be"
podman exec nova_api sh -c "echo '# fix' >>$site/nova/utils.py; \
    touch $site/nova/api/extra.py"
claim 'files of others are refused' deploy_fails deploy
claim '  listed' says 'nova/utils.py: changed'
claim '  listed' says 'nova/api/extra.py: foreign'
# shellcheck disable=SC2086
claim '  before any container changes' runs 29.4.0 $services
podman rm --force --time 1 nova_api >/dev/null
service nova_api
podman exec nova_api touch /broken
claim 'a service that logs errors is rolled back' deploy_fails deploy
claim '  it runs stock Nova' runs 29.4.0 nova_api
claim '  to the same bytes' cmp "$work/stock" <(content nova_api)
claim '  the one after it is as it was' runs 29.4.0 nova_compute
claim '  the one before it is done' runs 29.4.0+xloud.1 nova_conductor
podman exec nova_api rm /broken

say "stopped after each step, in one container"
export CONTAINER_NAME=nova_compute
tags=connection,look,backup
for step in place restart; do
    tags=$tags,$step
    deploy deploy -- --tags "$tags"
    claim "after $step, the next run ends in ours" deploy deploy
    runs 29.4.0+xloud.1 nova_compute
    cmp "$work/ours" <(content nova_compute)
    deploy rollback
    deploy deploy -- --tags "$tags"
    claim "after $step, rollback ends in stock" deploy rollback
    cmp "$work/stock" <(content nova_compute)
    runs 29.4.0 nova_compute
done

say "killed with SIGKILL while it places"
node() {
    podman exec -i nova_compute "$venv/bin/python3" -I - "$@" --owner proof \
        <deploy/roles/xloud_nova/files/xloud_node.py
}
# Kill once so many files are new.
cat >"$work/kill.py" <<'PROGRAM'
import os, subprocess, sys, time
site, wanted, begun = sys.argv[1], int(sys.argv[2]), time.time()
child = subprocess.Popen([sys.executable, '-I', '/tmp/xloud_node.py',
                          *sys.argv[3:]], stdout=subprocess.DEVNULL)
while child.poll() is None:
    new = sum(os.lstat(os.path.join(folder, name)).st_ctime > begun
              for folder, _, names in os.walk(os.path.join(site, 'nova'))
              for name in names if name.endswith(('.py', '.json', '.tpl')))
    if new >= wanted:
        child.kill()
        child.wait()
        sys.exit(0)
sys.exit('it ended before')
PROGRAM
podman cp "$XLOUD_WHEEL" nova_compute:/tmp/ours.whl
podman cp "$work/kill.py" nova_compute:/tmp/
podman cp deploy/roles/xloud_nova/files/xloud_node.py nova_compute:/tmp/
half() {
    podman exec nova_compute "$venv/bin/python3" /tmp/kill.py "$site" "$1" \
        place --wheel /tmp/ours.whl --owner proof &&
        node status | grep -q '"journal": "placing"'
}
node rollback >/dev/null
for files in 1 40 80 120; do
    claim "after $files files: half of it is there" half "$files"
    node place --wheel /tmp/ours.whl >/dev/null
    claim '  on, to ours' cmp "$work/ours" <(content nova_compute)
    node rollback >/dev/null
    half "$files"
    node rollback >/dev/null
    claim '  back, to stock' cmp "$work/stock" <(content nova_compute)
done
node unlock >/dev/null

say "made anew"
podman rm --force --time 1 nova_compute >/dev/null
service nova_compute
claim 'the status says that nothing is deployed' deploy status
claim '  nothing' says '"journal": "none"'
claim 'it deploys again' deploy deploy
runs 29.4.0+xloud.1 nova_compute
