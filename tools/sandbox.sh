#!/usr/bin/env bash
# An elastic server from its first boot to its end, on a real hypervisor:
#     tools/sandbox.sh          install what is missing, show it
# The fork for real on this machine, with every service a process of its own:
#     tools/sandbox.sh up       install what is missing, start what does not run
#     tools/sandbox.sh status   what runs, and what to type next
#     tools/sandbox.sh test     check it from end to end
#     tools/sandbox.sh down     end and remove it
# It needs root. All of it lies in build and listens on loopback only.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

ENV=build/sandbox/env
TREE_ENV=build/env-${XLOUD_RELEASE:-2024.1}
POLICY=/usr/sbin/policy-rc.d
forbidden=

say() { printf '== %s\n' "$*"; }
die() { printf 'sandbox: %s\n' "$*" >&2; exit 2; }
usage() { sed -n '2,9s/^# //p' "${BASH_SOURCE[0]}"; exit 2; }

python=$(python3 tools/pythons.py) || exit 2

# Debian starts the service of a package when it installs it. invoke-rc.d asks
# this script first; one that says no already, as in containers, stays.
forbid_services() {
    if [ -x "$POLICY" ]; then
        "$POLICY" rabbitmq-server start >/dev/null
        [ $? -ne 101 ] || return 0
    fi
    forbidden=yes
    trap allow_services EXIT
    [ ! -e "$POLICY" ] || mv "$POLICY" "$POLICY.kept-by-xloud"
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

allow_services() {
    [ "$forbidden" ] || return 0
    forbidden=
    trap - EXIT
    rm -f "$POLICY"
    [ ! -e "$POLICY.kept-by-xloud" ] || mv "$POLICY.kept-by-xloud" "$POLICY"
}

# One unit a line, of those that start with the machine.
enabled_units() {
    command -v systemctl >/dev/null || return 0
    systemctl list-unit-files --state=enabled --no-legend --plain \
        2>/dev/null | cut -d ' ' -f 1 | sort
}

install_packages() {
    local before
    before=$(enabled_units)
    if command -v apt-get >/dev/null; then
        forbid_services
        apt-get -qq update &&
            DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
                --no-install-recommends install "$@" >/dev/null
    else
        dnf -q -y install "$@"
    fi || die "could not install $*"
    allow_services
    # What we brought shall not start with the machine either.
    comm -13 <(printf '%s\n' "$before") <(enabled_units) |
        xargs -r systemctl --quiet disable
}

require() {
    command -v apt-get >/dev/null || command -v dnf >/dev/null ||
        die "neither apt-get nor dnf is here; install: $*"
    [ "$(id -u)" = 0 ] ||
        die "not root, and these packages are missing: $*"
    say "installing $*"
    install_packages "$@"
}

pip_install() {
    "$ENV/bin/python" -m pip install -qq --disable-pip-version-check "$@"
}

# The packages of these profiles of bindep.txt, and Nova's tree.
prepare() {
    local missing profiles=(guest "$@")
    [ "$(id -u)" = 0 ] ||
        die "not root: libvirtd and QEMU get namespaces of their own"
    # A machine that has a kernel needs no other one for its guests.
    compgen -G '/boot/vmlinuz-*' >/dev/null || [ "${XLOUD_GUEST_ROOT:-}" ] ||
        profiles+=(guest-kernel)
    if [ ! -x "$ENV/bin/bindep" ]; then
        "$python" -c 'import ensurepip' 2>/dev/null || require python3-venv
        "$python" -m venv --clear "$ENV" &&
            pip_install -c sandbox/requirements.txt bindep ||
            die "could not make $ENV"
    fi
    # It prints what is missing, one a line, and then exits 1.
    mapfile -t missing < <("$ENV/bin/bindep" --brief "${profiles[@]}")
    [ ${#missing[@]} -eq 0 ] || require "${missing[@]}"
    "$python" -m tools.tree || die "Nova's tree or environment is not ready"
}

prepare_services() {
    prepare sandbox
    cmp -s sandbox/requirements.txt "$ENV/installed" || {
        say "installing the services in $ENV (the first time: minutes)"
        # All of them are listed, so there is nothing to resolve.
        pip_install --no-deps -r sandbox/requirements.txt ||
            die "could not install sandbox/requirements.txt"
        cp sandbox/requirements.txt "$ENV/installed"
    }
}

prepare_demo() {
    prepare
    # Its picture is drawn in the environment that Nova runs in.
    "$TREE_ENV/bin/python" -c 'import matplotlib' 2>/dev/null ||
        "$TREE_ENV/bin/python" -m pip install -qq \
            --disable-pip-version-check \
            -c patches/2024.1/constraints.txt matplotlib ||
        die "could not install matplotlib"
}

[ $# -le 1 ] || usage
case ${1:-} in
'')
    prepare_demo
    exec "$TREE_ENV/bin/python" -m sandbox.demo
    ;;
up)
    prepare_services
    exec "$ENV/bin/python" -m sandbox up
    ;;
test)
    [ -x "$ENV/bin/python" ] || die "first: tools/sandbox.sh up"
    exec "$ENV/bin/python" -m sandbox test
    ;;
status | down)
    exec "$python" -m sandbox "$1"
    ;;
*)
    usage
    ;;
esac
