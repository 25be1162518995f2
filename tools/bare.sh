#!/usr/bin/env bash
# Prove that README's two commands work on a machine that has nothing:
#     tools/bare.sh [--only sandbox|tests] [SUITE] [-- ARGUMENT...]
# For each of the two, this makes a root of Debian SUITE (bookworm, which is
# the default, or trixie) that holds Python, git and certificates, clones the
# last commit of this repository into it, runs the command there, and says
# whether it passed and after how long. It sees no file of this machine, which
# gives the network, the kernel and the site's configuration of apt and pip.
#     --only sandbox|tests   one of them: tools/sandbox.sh, tools/run_tests.sh
#     ARGUMENT...            goes to tools/run_tests.sh, for example a lane
# It needs root and 6 GB below build, where nothing is left.
set -uo pipefail

unset CDPATH
script=${BASH_SOURCE[0]}
[ ! -L "$script" ] || script=$(readlink -f "$script")
cd "$(dirname "$script")/.."

SUITES=(bookworm trixie)
COMMANDS=(sandbox tests)
CONTENT=python3,git,ca-certificates
# What says where a site's proxies, mirrors and certificates are.
SITE_VARIABLES='^(PIP_[A-Z_]+|(https?|no|all)_proxy|(HTTPS?|NO|ALL)_PROXY'
SITE_VARIABLES+='|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE'
SITE_VARIABLES+='|GIT_SSL_CAINFO)='
APT_OPTIONS='^Acquire::(https?|ForceIPv[46]|Retries|Check-[A-Za-z-]+)\b'

say() { printf '\n== %s\n' "$*"; }
die() { printf 'bare: %s\n' "$*" >&2; exit 2; }
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "tools/${script##*/}"; }

# shellcheck source=tools/lanes.sh
. tools/lanes.sh
# shellcheck source=tools/guests.sh
. tools/guests.sh
# shellcheck source=tools/packages.sh
. tools/packages.sh
# shellcheck source=tools/release.sh
. tools/release.sh

suite= only= arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit
        ;;
    --only)
        only=${2:-}
        is_one_of "$only" "${COMMANDS[@]}" ||
            die "--only takes one of: ${COMMANDS[*]}"
        shift
        ;;
    --)
        shift
        arguments=("$@")
        break
        ;;
    *)
        [ ! "$suite" ] || die "one suite at a time, not also $1"
        is_one_of "$1" "${SUITES[@]}" ||
            die "no suite or option is $1; suites: ${SUITES[*]}"
        suite=$1
        ;;
    esac
    shift
done
suite=${suite:-bookworm}
[ "$only" != sandbox ] || [ ${#arguments[@]} -eq 0 ] ||
    die "tools/sandbox.sh gets no arguments: ${arguments[*]}"
# What tools/run_tests.sh would refuse, before anybody waits for the other.
choose_lanes "${arguments[@]}"
check_release

reason=$(why_no_guests)
[ ! "$reason" ] || die "$reason"

# One line of sources.list for each part of Debian's archive, from where this
# machine has it; nothing if it has none, and mmdebstrap knows where it is.
sources() {
    # What is in $() is apt's: the origin stays as it is if it is not known.
    # shellcheck disable=SC2016
    apt-get indextargets \
        --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' \
        'Created-By: Packages' 2>/dev/null | sed -nE \
        "s/^(\S+) [a-z]+(-updates|-security)? main (Debian|\\$.*)$/\
deb \1 $suite\2 main/p" | sort -u
}

# Variables of this machine that the commands need, each NAME=VALUE.
site_variables() {
    env | grep -E "$SITE_VARIABLES"
}

# A copy below $site of a file or folder of this machine, at its path or at
# another one.
take() {
    local target=$site${2:-$1}
    [ -e "$1" ] || return 0
    mkdir -p "${target%/*}"
    cp -rL "$1" "$target"
}

# Fill $site with what a person would configure on a new machine of the same
# site.
take_site_over() {
    local path
    take /etc/resolv.conf
    take /etc/hosts
    printf '\n127.0.1.1 bare\n' >>"$site/etc/hosts"
    for path in /usr/local/share/ca-certificates /etc/pip.conf /etc/xdg/pip \
            /etc/apt/auth.conf /etc/apt/auth.conf.d /etc/apt/trusted.gpg.d \
            /etc/apt/keyrings; do
        take "$path"
    done
    take "${XDG_CONFIG_HOME:-${HOME:-/root}/.config}/pip" /root/.config/pip
    take "${HOME:-/root}/.pip" /root/.pip
    mkdir -p "$site/etc/apt/apt.conf.d"
    if command -v apt-config >/dev/null; then
        apt-config dump | grep -E "$APT_OPTIONS" |
            grep -v Proxy-Auto-Detect >"$site/etc/apt/apt.conf.d/99site"
    fi
    named_paths >"$scratch/named"
    while read -r path; do
        [ ! -f "$path" ] || [ -e "$site$path" ] || take "$path"
    done <"$scratch/named"
}

# What the site's configuration names: certificates, folders of packages.
named_paths() {
    {
        site_variables
        find "$site/etc/pip.conf" "$site/etc/xdg" "$site/root" \
            "$site/etc/apt/apt.conf.d" -type f -exec cat {} + 2>/dev/null
    } | grep -oE '/[^][:space:]"'\'';,]+' | tr -s / | sort -u
}

# Of these, the folders that a new machine does not have.
named_folders() {
    local path
    while read -r path; do
        [ -d "$path" ] && [ ! -d "$scratch/root$path" ] || continue
        # The pages of an index lead to files beside it.
        printf '%s\n' "${path%/simple}"
    done <"$scratch/named"
}

# Run a command such that what ends this script ends it with a signal: a shell
# waits for one in the foreground before it does anything.
attend() {
    local status
    signal=$1
    shift
    setsid "$@" </dev/null &
    attended=$!
    wait "$attended"
    status=$?
    attended=
    return "$status"
}

make_root() {
    local archive=()
    say "making a root of Debian $suite with $CONTENT"
    sources >"$scratch/sources.list"
    [ ! -s "$scratch/sources.list" ] || archive=("$scratch/sources.list")
    take_site_over
    attend TERM mmdebstrap --quiet --mode=root --variant=apt \
        --include="$CONTENT" \
        --setup-hook="cp -r '$site/.' \"\$1\"" \
        --customize-hook="cp -r '$site/.' \"\$1\"" \
        "$suite" "$scratch/root" "${archive[@]}" ||
        die "could not make it; the repositories were those of" \
            "${archive[0]-mmdebstrap itself}: $(cat "$scratch/sources.list")"
    named_folders >"$folders"
}

# Run in namespaces of its own, of which $1 becomes the root; what else there
# is of this machine, /dev/kvm for one, stays outside.
enter() {
    local root=$1 path
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
    mknod -m 666 "$root/dev/null" c 1 3
    mknod -m 666 "$root/dev/zero" c 1 5
    mknod -m 666 "$root/dev/full" c 1 7
    mknod -m 666 "$root/dev/random" c 1 8
    mknod -m 666 "$root/dev/urandom" c 1 9
    mknod -m 666 "$root/dev/tty" c 5 0
    mknod -m 666 "$root/dev/net/tun" c 10 200
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    while read -r path; do
        mkdir -p "$root$path"
        mount --bind "$path" "$root$path"
        mount -o remount,bind,ro "$root$path"
    done <"$2"
    hostname bare
    # Tests take addresses by the ids of their processes, and the network is
    # that of this machine.
    echo "$3" 2>/dev/null >/proc/sys/kernel/ns_last_pid || :
    shift 3
    # Moved, not only changed to: from a root that was changed to, those who
    # enter the namespace would come out here.
    cd "$root" || exit
    mount --move . /
    # The first process has to outlive the command and reap what it leaves.
    chroot . "$@"
    exit $?
}

# Clone and run: all that a person types after "apt-get install python3 git".
run() {
    local started status
    say "$*, on Debian $suite with nothing"
    rm -rf "$scratch/machine"
    cp -a --reflink=auto "$scratch/root" "$scratch/machine"
    # Whoever owns it, root may read it.
    printf '[safe]\ndirectory = *\n' >"$scratch/gitconfig"
    GIT_CONFIG_GLOBAL=$scratch/gitconfig git clone --quiet "file://$PWD" \
        "$scratch/machine/root/xloud-nova" || die "could not clone $PWD"
    mapfile -t variables < <(site_variables)
    started=$SECONDS
    # With it ends the first process of its namespaces, and so all of them.
    attend KILL unshare --mount --uts --ipc --pid --fork --kill-child \
        --mount-proc bash -euc "$(declare -f enter); enter \"\$@\"" enter \
        "$scratch/machine" "$folders" "$$" env -i HOME=/root TERM=dumb \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        CI=true ${XLOUD_RELEASE:+"XLOUD_RELEASE=$XLOUD_RELEASE"} \
        "${variables[@]}" \
        bash -c 'cd /root/xloud-nova && "$@"' run "$@"
    status=$?
    if [ "$status" -eq 0 ]; then
        summary+=("$*: passed ($((SECONDS - started)) s)")
    else
        failed=$((failed + 1))
        summary+=("$*: FAILED with $status ($((SECONDS - started)) s)")
    fi
}

clean_up() {
    if [ "$attended" ]; then
        kill "-$signal" "$attended" 2>/dev/null
        wait "$attended"
    fi
    for _ in 1 2 3 4 5; do
        # What was killed may still write.
        ! rm -rf --one-file-system "$scratch" 2>/dev/null || break
        sleep 1
    done
    [ ! -e "$scratch" ] || say "could not remove all of $scratch"
}

command -v mmdebstrap >/dev/null || require mmdebstrap
attended= failed=0 summary=()
mkdir -p build
scratch=$(mktemp -d "$PWD/build/bare.XXXXXX") || exit 2
site=$scratch/site folders=$scratch/folders
mkdir "$site"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

[ -z "$(git status --porcelain 2>/dev/null)" ] ||
    say "what is not committed here is not tested there"
make_root
[ "$only" = tests ] || run tools/sandbox.sh
[ "$only" = sandbox ] || run tools/run_tests.sh "${arguments[@]}"

say "Debian $suite with nothing but $CONTENT"
printf '%s\n' "${summary[@]}"
[ "$failed" -eq 0 ]
