#!/usr/bin/env bash
# Turn the Nova of running containers into XLoud Nova, in place, and back:
#     tools/deploy_to_containers.sh deploy    look, back up, drain, place,
#                                             verify, restart, wait, enable,
#                                             record
#     tools/deploy_to_containers.sh verify    is what is there whole?
#     tools/deploy_to_containers.sh rollback  what was there before
#     tools/deploy_to_containers.sh status    what is there, which backups
# What is after -- goes to ansible-playbook: -- --check --diff shows what would
# change, -- --tags look takes one step (connection, look, backup, drain,
# place, verify, restart, wait, enable, record), -- -e xloud_nova_cloud=NAME has
# os-services asked whether each service is up, and each compute disabled
# before its restart, by clouds.yaml of this machine.
#
# Variables:
#     TARGET_HOST         where the containers are, as ssh knows it; without
#                         it, this machine
#     CONTAINER_NAME      one or more, as kolla-ansible names them; without it:
#                         nova_conductor nova_scheduler nova_api nova_compute
#     NOVA_SITE_PACKAGES  in the containers; without it, that of kolla's
#                         Python in /var/lib/kolla/venv
#     SOURCE_REPO         the repository whose wheel is built and deployed;
#                         without it, this one
#     XLOUD_WHEEL         a wheel that is there, in place of building one
#     BACKUP_DIR          on TARGET_HOST, where copies of backups go; without
#                         it, /var/backups/xloud-nova
# Files that are neither of stock Nova nor of XLoud Nova are listed, and
# nothing is done. What is put into a container vanishes when the container is
# made anew: guide/deploy.rst says which way lasts. Several hosts, batches,
# and hosts without containers: deploy/README.rst.
set -euo pipefail

caller=$PWD
unset CDPATH
script=${BASH_SOURCE[0]}
[ ! -L "$script" ] || script=$(readlink -f "$script")
cd "$(dirname "$script")/.."

say() { printf '== %s\n' "$*"; }
die() { printf 'deploy_to_containers: %s\n' "$*" >&2; exit 2; }
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "tools/${script##*/}"; }

ENV=build/deploy-env
ALL='nova_conductor nova_scheduler nova_api nova_compute'

command=
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit
        ;;
    deploy | verify | rollback | status)
        [ ! "$command" ] || die "one command at a time: $command or $1"
        command=$1
        ;;
    --)
        shift
        break
        ;;
    *)
        die "there is no command or option $1; the commands are deploy" \
            "verify rollback status"
        ;;
    esac
    shift
done
[ "$command" ] || die "what? The commands are deploy verify rollback status"

# A name that Ansible and a shell both read as one.
is_plain() { [[ $1 =~ ^[A-Za-z0-9_./@:-]+$ && $1 != -* ]]; }

host=${TARGET_HOST:-localhost}
# They may be one a line, as "podman ps" has them.
read -d '' -ra containers <<<"${CONTAINER_NAME:-$ALL}" || true
# A path counts from where the caller is.
seen() { case $1 in /*) echo "$1" ;; *) echo "${caller%/}/$1" ;; esac; }
repo=$(seen "${SOURCE_REPO:-$PWD}")
for word in "$host" "${containers[@]}" "${NOVA_SITE_PACKAGES:-.}" \
    "${BACKUP_DIR:-.}"; do
    is_plain "$word" || die "this is no name or path: $word"
done
for container in "${containers[@]}"; do
    case " $ALL " in
    *" $container "*) ;;
    *) die "no container of Nova is named $container; they are $ALL" ;;
    esac
done
[[ ${NOVA_SITE_PACKAGES:-/} == /* ]] ||
    die "NOVA_SITE_PACKAGES is no full path: $NOVA_SITE_PACKAGES"
[[ ${BACKUP_DIR:-/} == /* ]] || die "BACKUP_DIR is no full path: $BACKUP_DIR"
if [ "${XLOUD_WHEEL:-}" ]; then
    XLOUD_WHEEL=$(seen "$XLOUD_WHEEL")
    [ -f "$XLOUD_WHEEL" ] || die "XLOUD_WHEEL is no file: $XLOUD_WHEEL"
fi
[ -x "$repo/packaging/build.sh" ] ||
    die "SOURCE_REPO has no packaging/build.sh: $repo"

# Whoever starts this a second time for the same host has to wait. The name
# stays the same, so that after a kill the next run goes on at once.
mkdir -p build
exec 9>"build/deploy-${host//[^A-Za-z0-9]/-}.lock"
flock --nonblock 9 || die "another one deploys to $host from here"
export XLOUD_OWNER
XLOUD_OWNER=$(id -un)@$(uname -n):$PWD

# Whether it was installed to the end, from what is asked for now, and its
# programs find their Python: a repository can be moved.
is_installed() {
    local first
    cmp -s deploy/requirements.txt "$ENV/installed" || return
    read -r first <"$ENV/bin/ansible-playbook" && [ -x "${first#\#!}" ]
}

if ! is_installed 2>/dev/null; then
    say "installing Ansible in $ENV"
    python3 -m venv --clear "$ENV"
    "$ENV/bin/python" -m pip install -qq --disable-pip-version-check \
        -r deploy/requirements.txt
    cp deploy/requirements.txt "$ENV/installed"
fi

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

# The groups that kolla-ansible's inventories have, too.
{
    for container in "${containers[@]}"; do
        group=${container//_/-}
        printf '[%s]\n%s\n' "${group/#nova-compute/compute}" "$host"
    done
    printf '[all:vars]\n'
    case $host in
    localhost | 127.0.0.1)
        printf '%s\n' ansible_connection=local \
            'ansible_python_interpreter={{ ansible_playbook_python }}'
        ;;
    esac
    [ ! "${NOVA_SITE_PACKAGES:-}" ] ||
        printf 'xloud_nova_site_packages=%s\n' "$NOVA_SITE_PACKAGES"
    [ ! "${BACKUP_DIR:-}" ] ||
        printf 'xloud_nova_backup_dir=%s\n' "$BACKUP_DIR"
    # Who is root there needs no sudo, which may be missing; others need it.
    case $host in
    root@*) printf 'xloud_nova_become=false\n' ;;
    *@*) ;;
    *) [ "$(id -u)" != 0 ] || printf 'xloud_nova_become=false\n' ;;
    esac
} >"$work/inventory.ini"

if [ "$command" = deploy ] && [ ! "${XLOUD_WHEEL:-}" ]; then
    say "building the wheel of $repo"
    "$repo/packaging/build.sh" wheel
    wheels=("$repo"/build/dist/nova-*+xloud.*.whl)
    [ ${#wheels[@]} -eq 1 ] ||
        die "more than one wheel is in $repo/build/dist: remove the others"
    export XLOUD_WHEEL=${wheels[0]}
fi

say "$command: ${containers[*]} on $host"
ANSIBLE_CONFIG=deploy/ansible.cfg "$ENV/bin/ansible-playbook" \
    -i "$work/inventory.ini" "deploy/$command.yml" "$@"
