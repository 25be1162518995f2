#!/usr/bin/env bash
# Prove what the playbooks do on three computes: batches, --limit, a compute
# that is busy, one that an operator has disabled, and one that fails. And on
# two nova-api behind a balancer:
#     deploy/tests/batches.sh
# A node is an environment of stock Nova. Its service is a log, and os-services
# is a folder of files, so it needs neither root nor a cloud.
set -euo pipefail

unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=packaging/tests/claims.sh
. packaging/tests/claims.sh
# shellcheck source=deploy/tests/stock.sh
. deploy/tests/stock.sh

nodes='node-a node-b node-c'
[ -x "$playbook" ] || die "no build/deploy-env: see deploy/requirements.txt"
work=$(mktemp -d)
background=
cleanup() {
    # What ends a build waits for a run that may have failed.
    [ -z "$background" ] || kill "$background" || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
export XLOUD_FAKE_CLOUD=$work/cloud ANSIBLE_CONFIG=$PWD/deploy/ansible.cfg
export XLOUD_OWNER=proof

say "three nodes with stock Nova"
stock=$(stock_wheel)
XLOUD_WHEEL=$(our_wheel)
# Also a path from where the run starts.
export XLOUD_WHEEL=${XLOUD_WHEEL#"$PWD/"}
mkdir "$work/cloud" "$work/logs"
echo '[]' >"$work/cloud/servers.json"
site() { echo "$work"/"$1"/lib/python3*/site-packages; }
for node in $nodes; do
    make_stock_env "$work/$node" "$stock"
    echo '{"status": "enabled", "disabled_reason": null}' \
        >"$work/cloud/$node.json"
    echo 'INFO 29.4.0 runs' >"$work/logs/$node.log"
done

# Log what runs now, and how os-services has the host meanwhile.
cat >"$work/restart" <<PROGRAM
#!/bin/sh
"$work/\$1/bin/python3" -I - "\$1" >>"$work/logs/\$1.log" <<'PYTHON'
import json, os, sys
import nova.version
version = nova.version.version_string()
service = json.load(open('$work/cloud/%s.json' % sys.argv[1]))
print('INFO %s runs, %s' % (version, service['status']))
if os.path.exists('$work/broken-' + sys.argv[1]) and 'xloud' in version:
    print('ERROR %s does not work' % version)
PYTHON
echo "\$1" >>"$work/restarts"
PROGRAM
cat >"$work/python" <<PROGRAM
#!/bin/sh
PYTHONPATH=$PWD/deploy/tests/cloud exec "$env/bin/python" "\$@"
PROGRAM
chmod +x "$work/restart" "$work/python"
cat >"$work/inventory.yml" <<INVENTORY
all:
  children: {compute: {hosts: {node-a: {}, node-b: {}, node-c: {}}}}
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    xloud_nova_become: false
    xloud_nova_engine: venv
    xloud_nova_site_packages: "$work/{{ inventory_hostname }}/lib/\
$(basename "$(dirname "$(site node-a)")")/site-packages"
    xloud_nova_host: "{{ inventory_hostname }}"
    xloud_nova_cloud: fake
    xloud_nova_sdk_python: $work/python
    xloud_nova_backup_dir: $work/backups/{{ inventory_hostname }}
    xloud_nova_log: $work/logs/{{ inventory_hostname }}.log
    xloud_nova_restart_command: [$work/restart, "{{ inventory_hostname }}"]
    xloud_nova_settle_seconds: 1
    xloud_nova_drain_seconds: 60
    xloud_nova_batch: [1, 2]
INVENTORY

inventory=$work/inventory.yml
play() { # PLAYBOOK OPTION ...
    "$playbook" -i "$inventory" "deploy/$1.yml" "${@:2}" \
        >"$work/log" 2>&1
}
plays() { play "$@" || { tail -n 60 "$work/log" >&2; return 1; }; }
fails() { ! play "$@"; }
says() { grep -qF -- "$1" "$work/log"; }
runs() { # VERSION STATUS NODE ...: in this state since its last restart
    local node
    for node in "${@:3}"; do
        tail -n 1 "$work/logs/$node.log" | grep -qx "INFO $1 runs, $2" ||
            return 1
    done
}
enabled() {
    local node
    for node in "$@"; do
        grep -q '"status": "enabled"' "$work/cloud/$node.json" || return 1
    done
}
# Without RECORD, which knows the path of the environment.
content() {
    (cd "$(site "$1")" && find nova nova-* -type f ! -name '*.pyc' \
        ! -name RECORD -print0 | sort -z | xargs -0 sha256sum)
}
is() { cmp -s "$work/$1" <(content "$2"); }
whole() { is stock "$1" || is ours "$1"; }
restarted() { # NODE ...: these, in this order, since the last call
    local found
    found=$(tr '\n' ' ' <"$work/restarts")
    : >"$work/restarts"
    [ "${found% }" = "$*" ]
}
: >"$work/restarts"
content node-a >"$work/stock"

say "batches, and what an operator has disabled"
echo '{"status": "disabled", "disabled_reason": "its disk is broken"}' \
    >"$work/cloud/node-c.json"
claim 'with --check nothing changes' plays deploy --check
is stock node-a
enabled node-a
ln -s "$work/logs" "$work/link"
mode=$(stat -c %a "$work/logs")
claim 'a link in place of its folder for the wheel is refused' \
    fails deploy --check -e "xloud_nova_work_dir=$work/link"
says 'already exists as a link'
test "$mode" = "$(stat -c %a "$work/logs")"
claim 'a cloud that is not known is refused before anything changes' \
    fails deploy -e xloud_nova_cloud=mistyped
says 'mistyped cannot be asked: Cloud mistyped was not found.'
is stock node-a
enabled node-a
echo 'computes: {hosts: {node-a: {}}}' >"$work/other.yml"
for each in deploy verify; do
    inventory=$work/other.yml claim \
        "groups of other names are refused by $each" fails "$each"
    says 'None of these hosts is in a group'
done
# One of these builds ends, and nothing is restarted before.
cat >"$work/cloud/servers.json" <<'SERVERS'
[{"id": "1", "compute_host": "node-b", "status": "BUILD", "task_state": null}]
SERVERS
plays deploy --limit node-a
claim '--limit deploys to one of them, disabled meanwhile' restarted node-a
runs $ours disabled node-a
enabled node-a
is stock node-b
content node-a >"$work/ours"
(
    until grep -q '"disabled"' "$work/cloud/node-b.json"; do sleep 1; done
    sleep 5
    cp "$work/restarts" "$work/restarts-before"
    echo '[]' >"$work/cloud/servers.json"
) &
# Not $! later: what <() starts is there, too.
background=$!
claim 'it deploys to the others' plays deploy
wait
background=
claim '  each is restarted once, disabled' runs $ours disabled node-b node-c
sort -o "$work/restarts" "$work/restarts"
claim '  the one that runs it already is not' restarted node-b node-c
claim '  not before its build ended' \
    sh -c "! grep node-b '$work/restarts-before'"
claim '  what was enabled is' enabled node-a node-b
claim '  what an operator has disabled is not' \
    grep -q 'its disk is broken' "$work/cloud/node-c.json"
cp -a "$work/cloud" "$work/before"
claim 'a second run does nothing' plays deploy
claim '  it restarts none' restarted
claim '  it disables none' diff -r "$work/before" "$work/cloud"
claim 'it says what a rollback would do' plays rollback --check
claim '  for each host' grep -q '^node-a .* changed=1 ' "$work/log"
claim '  and does nothing' diff -r "$work/before" "$work/cloud"
restarted
is ours node-a
XLOUD_OWNER='' claim 'it rolls back, the first one alone' plays rollback
claim '  each host under a number of this run' test 3 = "$(
    grep -lE '@[^"]*/[0-9]+", "result": "rolled back"' \
        "$work"/node-?/xloud-nova/history.jsonl | wc -l)"
claim '  to the same bytes' is stock node-c
runs 29.4.0 disabled node-a node-b node-c
enabled node-a node-b
claim '  what an operator has disabled stays so' \
    grep -q 'its disk is broken' "$work/cloud/node-c.json"
echo '{"status": "enabled", "disabled_reason": null}' \
    >"$work/cloud/node-c.json"

say "one of a batch fails"
touch "$work/broken-node-b"
claim 'errors in its log end the run' fails deploy --skip-tags verify
claim '  it runs stock Nova again' runs 29.4.0 disabled node-b
is stock node-b
claim '  the one of the batch before is done' runs $ours disabled node-a
claim '  the other one of its batch is as before' is stock node-c
claim '  all are enabled' enabled $nodes
rm "$work/broken-node-b"
claim 'the next run ends in ours' plays deploy
is ours node-b
is ours node-c
runs $ours disabled $nodes

say "one stays busy"
cat >"$work/cloud/servers.json" <<'SERVERS'
[{"id": "1", "compute_host": "node-b", "status": "ACTIVE",
  "task_state": "deleting"}]
SERVERS
: >"$work/restarts"
claim 'the run ends' fails rollback -e xloud_nova_drain_seconds=3
claim '  it says which server' says '1 (deleting)'
claim '  it is not restarted' sh -c "! grep node-b '$work/restarts'"
claim '  nothing of it is changed' is ours node-b
claim '  the other one of its batch is whole' whole node-c
claim '  all are enabled' enabled $nodes
claim 'it is restarted if that is asked for' plays rollback \
    -e xloud_nova_drain_seconds=3 -e xloud_nova_drain_late=restart
is stock node-b
is stock node-c
enabled $nodes

say "no log"
: >"$work/restarts"
missing=xloud_nova_log=$work/logs/missing.log
one() { "$1" "$2" --limit node-a "${@:3}"; }
claim 'without a log nothing is changed' one fails deploy -e "$missing"
says 'missing.log cannot be read'
claim '  with --check it says so, too' one fails deploy --check -e "$missing"
says 'missing.log cannot be read'
claim '  nor by a single step' one fails deploy --tags place -e "$missing"
says 'missing.log cannot be read'
claim '  nor if its name is empty' one fails deploy -e xloud_nova_log=
says 'xloud_nova_log is empty'
is stock node-a
restarted
claim 'who says that there is none hears it' \
    one plays deploy -e xloud_nova_log=none
says 'xloud_nova_log is none.'
is ours node-a
restarted node-a
claim 'a rollback is refused before it begins' \
    one fails rollback -e "$missing"
says 'missing.log cannot be read'
is ours node-a
: >"$work/logs/silent.log"
claim 'of a log that has nothing new that is said' \
    one plays rollback -e "xloud_nova_log=$work/logs/silent.log"
says 'silent.log since the restart'
is stock node-a
touch "$work/broken-node-a"
claim 'errors that do not count are shown' \
    one plays deploy -e xloud_nova_fail_on_errors=false
says "ERROR $ours does not work"
rm "$work/broken-node-a"
claim '  but what ends like them is no error of a log' \
    one fails deploy --tags wait -e xloud_nova_fail_on_errors=false \
    -e xloud_nova_cloud= -e xloud_nova_python=/bin/false
one plays rollback
enabled $nodes

say "a host with two services"
sed 's/{compute: .*/{nova-conductor: \&one {hosts: {node-a: {}}}, \
compute: *one}/' "$work/inventory.yml" >"$work/two.yml"
cat >"$work/cloud/servers.json" <<'SERVERS'
[{"id": "1", "compute_host": "node-a", "status": "ACTIVE",
  "task_state": "deleting"}]
SERVERS
inventory=$work/two.yml claim \
    'what stays busy is left alone, whatever the other one has become' \
    fails deploy -e xloud_nova_drain_seconds=3
says 'nova-compute on node-a failed'
says 'and was not changed'
is ours node-a
echo '[]' >"$work/cloud/servers.json"
inventory=$work/two.yml claim '  both go back' plays rollback
is stock node-a

say "two APIs behind a balancer"
# It answers where an API does, and only while that one is started.
cat >"$work/api" <<PROGRAM
import http.server, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        started = os.path.exists('$work/started' + self.path)
        self.send_response(300 if started else 503)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(('127.0.0.1', 0), Answer)
open('$work/port.new', 'w').write(str(server.server_port))
os.rename('$work/port.new', '$work/port')
server.serve_forever()
PROGRAM
mkdir "$work/started"
"$env/bin/python" "$work/api" &
background=$!
until [ -e "$work/port" ]; do sleep 0.2; done
cat >"$work/balancer" <<PROGRAM
#!/bin/sh
[ "\$1" = leave ] || until [ -e "$work/started/\$2" ]; do sleep 1; done
echo "\$1 \$2" >>"$work/restarts"
PROGRAM
cat >"$work/restart-api" <<PROGRAM
#!/bin/sh
rm -f "$work/started/\$1"
"$work/restart" "\$1"
[ ! -e "$work/mute" ] ||
    ! tail -n 1 "$work/logs/\$1.log" | grep -q "\$(cat "$work/mute")" || exit 0
(sleep 3; touch "$work/started/\$1") >/dev/null 2>&1 &
PROGRAM
chmod +x "$work/balancer" "$work/restart-api"
touch "$work/started/node-a" "$work/started/node-b"
# The same nodes, but what runs on two of them is an API.
sed -e 's/{compute: .*/{nova-api: {hosts: {node-a: {}, node-b: {}}}}/' \
    -e 's/nova_cloud: fake/nova_cloud: ""/' \
    -e "s|\[$work/restart,|[$work/restart-api,|" \
    "$work/inventory.yml" >"$work/apis.yml"
cat >>"$work/apis.yml" <<INVENTORY
    xloud_nova_api_leave: [$work/balancer, leave, "{{ inventory_hostname }}"]
    xloud_nova_api_join: [$work/balancer, join, "{{ inventory_hostname }}"]
    xloud_nova_api_url: http://127.0.0.1:$(<"$work/port")\
/{{ inventory_hostname }}
INVENTORY
inventory=$work/apis.yml
turn() { # NODE: what happens to one of them
    echo "leave $1 $1 join $1"
}
: >"$work/restarts"
claim 'one is taken out, restarted, answers and is put back, then the other' \
    plays deploy
# shellcheck disable=SC2046
claim '  in this order' restarted $(turn node-a) $(turn node-b)
is ours node-a
is ours node-b
claim 'a second run takes none out' plays deploy
claim '  and restarts none' restarted join node-a join node-b
plays rollback
# shellcheck disable=SC2046
claim 'as it rolls back' restarted $(turn node-a) $(turn node-b)
echo xloud >"$work/mute"
claim 'one that does not answer ends the run, though the other one does' \
    fails deploy -e xloud_nova_wait_seconds=4
is stock node-a
claim '  it runs stock Nova again' runs 29.4.0 enabled node-a
claim '  and is put back' \
    sh -c "tail -n 1 '$work/restarts' | grep -qx 'join node-a'"
claim '  the other one was not taken out' \
    sh -c "! grep node-b '$work/restarts'"
is stock node-b
says 'and is as it was before'
echo runs >"$work/mute"
claim 'one that does not answer afterwards, either, is not said to be well' \
    fails deploy -e xloud_nova_wait_seconds=4
says 'and so did what was there before'
is stock node-a
claim '  and is not put back' \
    sh -c "tail -n 1 '$work/restarts' | grep -qx node-a"
claim '  nor by a rollback that finds it so' \
    fails rollback -e xloud_nova_wait_seconds=4
claim '  which does not put it back, either' \
    sh -c "tail -n 1 '$work/restarts' | grep -qx node-a"
rm "$work/mute"
touch "$work/started/node-a"
claim '  until it answers' plays rollback
