#!/usr/bin/env bash
# An elastic server from its first boot to its end, on a real hypervisor:
#     tools/sandbox.sh          install what is missing, show it
# The fork for real on this machine, with every service a process of its own:
#     tools/sandbox.sh up       install what is missing, start what does not run
#     tools/sandbox.sh up --stock    the same with Nova as upstream released it
#     tools/sandbox.sh up --dashboard    the same with Horizon
#     tools/sandbox.sh deployment    deploy the series onto that and back, while
#                                    a client boots and deletes servers
#     tools/sandbox.sh deployment --killed    the same on one host, killed in
#                                    each step
#     tools/sandbox.sh status   what runs, and what to type next
#     tools/sandbox.sh test     check it from end to end
#     tools/sandbox.sh test --dashboard    only in the browser
#     tools/sandbox.sh measure  how long an adjust takes, and a resize
#     tools/sandbox.sh down     end and remove it
# Another release of Nova, for the demo or up; the other commands take the one
# that is up:
#     XLOUD_RELEASE=2026.2 tools/sandbox.sh up
# It needs root. All of it lies in build, and listens on loopback or in network
# namespaces of its own.
set -uo pipefail

unset CDPATH
script=${BASH_SOURCE[0]}
[ ! -L "$script" ] || script=$(readlink -f "$script")
cd "$(dirname "$script")/.."

ENV=build/sandbox/env
RELEASE=${XLOUD_RELEASE:-2024.1}
TREE_ENV=build/env-$RELEASE

say() { printf '== %s\n' "$*"; }
die() { printf 'sandbox: %s\n' "$*" >&2; exit 2; }
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "tools/${script##*/}"; }

# shellcheck source=tools/guests.sh
. tools/guests.sh
# shellcheck source=tools/packages.sh
. tools/packages.sh
# shellcheck source=tools/place.sh
. tools/place.sh
# shellcheck source=tools/release.sh
. tools/release.sh

case ${1:-} in
-h | --help)
    usage
    exit
    ;;
'' | up | status | test | measure | deployment | down) ;;
*) die "there is no command or option $1; the commands are up status test" \
    "measure deployment down, or none for the demo" ;;
esac
with=()
case "${1:-} ${2:-}" in
'up --stock' | 'up --dashboard' | 'test --dashboard' | \
    'deployment --killed')
    with=("$2")
    set -- "$1" "${@:3}"
    ;;
esac
[ $# -le 1 ] || die "one command at a time, not also ${*:2}"
check_release

python=$(python3 tools/pythons.py) || exit 2

pip_install() {
    "$ENV/bin/python" -m pip install -qq --disable-pip-version-check "$@"
}

# The packages of these profiles of bindep.txt, and Nova's tree.
prepare() {
    local reason
    reason=$(why_no_guests)
    [ ! "$reason" ] || die "$reason"
    if ! can_run "$ENV/bin/bindep"; then
        "$python" -c 'import ensurepip' 2>/dev/null || require python3-venv
        "$python" -m venv --clear "$ENV" &&
            pip_install -c sandbox/requirements.txt bindep ||
            die "could not make $ENV"
    fi
    require_profiles "$ENV/bin/bindep" guest "$@"
    provide_kernel
    # Not with "$python": on Debian it has no pip, which fetches the release.
    "$ENV/bin/python" -m tools.tree ||
        die "Nova's tree or environment is not ready"
}

prepare_services() {
    prepare sandbox "$@"
    cmp -s sandbox/requirements.txt "$ENV/installed" || {
        say "installing the services in $ENV (the first time: minutes)"
        # All of them are listed, so there is nothing to resolve.
        pip_install --no-deps -r sandbox/requirements.txt ||
            die "could not install sandbox/requirements.txt"
        cp sandbox/requirements.txt "$ENV/installed"
    }
}

# Horizon with our series, and the package that a user installs.
prepare_dashboard() {
    prepare_services browser
    "$ENV/bin/python" -m tools.horizon env 2024.1 &&
        packaging/build.sh clients || die "Horizon is not ready"
}

prepare_demo() {
    local versions
    prepare
    # Its picture is drawn in the environment that Nova runs in. Of what draws
    # it only the oldest release names versions, one for each Python.
    mapfile -t versions < <(
        grep '^matplotlib==' patches/2024.1/constraints.txt)
    "$TREE_ENV/bin/python" -c 'import matplotlib' 2>/dev/null ||
        "$TREE_ENV/bin/python" -m pip install -qq \
            --disable-pip-version-check -c "patches/$RELEASE/constraints.txt" \
            "${versions[@]}" ||
        die "could not install matplotlib"
}

case ${1:-} in
'')
    prepare_demo
    exec "$TREE_ENV/bin/python" -m sandbox.demo
    ;;
up)
    case "${with[*]}" in
    --dashboard) prepare_dashboard ;;
    --stock) prepare_services deployment ;;
    *) prepare_services ;;
    esac
    exec "$ENV/bin/python" -m sandbox up "${with[@]}"
    ;;
test | measure)
    [ -x "$ENV/bin/python" ] || die "first: tools/sandbox.sh up"
    exec "$ENV/bin/python" -m sandbox "$1" "${with[@]}"
    ;;
deployment)
    [ -x "$ENV/bin/python" ] || die "first: tools/sandbox.sh up --stock"
    can_run build/deploy-env/bin/ansible-playbook || {
        say "installing Ansible in build/deploy-env"
        "$python" -m venv --clear build/deploy-env &&
            build/deploy-env/bin/python -m pip install -qq \
                --disable-pip-version-check -r deploy/requirements.txt &&
            cp deploy/requirements.txt build/deploy-env/installed ||
            die "could not install deploy/requirements.txt"
    }
    packaging/build.sh wheel || die "the wheel does not build"
    exec "$ENV/bin/python" -m sandbox deployment "${with[@]}"
    ;;
status | down)
    exec "$python" -m sandbox "$1"
    ;;
esac
