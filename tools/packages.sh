# Install packages of the distribution, and start none of their services.
# For scripts that have the functions say and die.

POLICY=/usr/sbin/policy-rc.d
# Where this machine has the kernels that it boots; the root if empty.
KERNELS=
MARK='# Of XLoud Nova, tools/packages.sh; process '
forbidden=

DNF_HINT='Enterprise Linux has some of these elsewhere: libvirt-devel in CRB
and busybox in EPEL (dnf install epel-release, then crb enable),
rabbitmq-server at the CentOS SIGs (dnf install centos-release-rabbitmq-38)'

# Debian starts the service of a package when it installs it. invoke-rc.d asks
# this script first; one that says no already, as in containers, stays.
forbid_services() {
    remove_left_policy
    if [ -x "$POLICY" ]; then
        "$POLICY" rabbitmq-server start >/dev/null
        [ $? -ne 101 ] || return 0
    fi
    forbidden=yes
    trap allow_services EXIT
    [ ! -e "$POLICY" ] || mv "$POLICY" "$POLICY.kept-by-xloud"
    printf '#!/bin/sh\n%s\nexit 101\n' "$MARK$$" >"$POLICY"
    chmod 755 "$POLICY"
}

allow_services() {
    [ "$forbidden" ] || return 0
    forbidden=
    trap - EXIT
    remove_policy
}

remove_policy() {
    rm -f "$POLICY"
    [ ! -e "$POLICY.kept-by-xloud" ] || mv "$POLICY.kept-by-xloud" "$POLICY"
}

# A run that was killed could not: no package could start its service again.
remove_left_policy() {
    local process
    [ -w "$POLICY" ] || return 0
    process=$(sed -n "s|^$MARK||p" "$POLICY")
    [ ! "$process" ] || [ -d "/proc/$process" ] || remove_policy
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
    fi || die "could not install $*$(command -v apt-get >/dev/null ||
        printf '. %s' "$DNF_HINT")"
    allow_services
    # What we brought shall not start with the machine either.
    comm -13 <(printf '%s\n' "$before") <(enabled_units) |
        xargs -r systemctl --quiet disable
}

# Guests run the kernel of this machine. Where it has none, as a container, one
# is unpacked in build: installed, it would be given an initial RAM disk, which
# takes half a minute, and this machine might boot it.
provide_kernel() {
    local folder package
    [ -z "${XLOUD_GUEST_ROOT:-}" ] || return 0
    ! compgen -G "$KERNELS/boot/vmlinuz-*" >/dev/null || return 0
    ! compgen -G "$KERNELS/lib/modules/*/vmlinuz" >/dev/null || return 0
    if ! command -v apt-get >/dev/null; then
        require kernel-core
        return
    fi
    export XLOUD_GUEST_ROOT=$PWD/build/guest-kernel
    [ ! -d "$XLOUD_GUEST_ROOT" ] || return 0
    say "unpacking a kernel for guests in build/guest-kernel"
    folder=$XLOUD_GUEST_ROOT.part
    rm -rf "$folder"
    mkdir -p "$folder"
    # The name in the distribution is that of a package without content, which
    # depends on the newest kernel.
    apt-get -qq update
    package=linux-image-cloud-$(dpkg --print-architecture)
    package=$(apt-cache depends "$package" |
        sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p')
    (
        cd "$folder" &&
            apt-get -qq -o APT::Sandbox::User=root download "$package" &&
            dpkg-deb -x ./*.deb . && rm ./*.deb || exit
        [ -e lib ] || ln -s usr/lib lib
        depmod -b . "${package#linux-image-}"
    ) || die "no kernel for guests: unpack the package of one in a folder" \
        "and name that in XLOUD_GUEST_ROOT"
    mv "$folder" "$XLOUD_GUEST_ROOT"
}

require() {
    command -v apt-get >/dev/null || command -v dnf >/dev/null ||
        die "neither apt-get nor dnf is here; install: $*"
    [ "$(id -u)" = 0 ] ||
        die "not root, and these packages are missing: $*"
    say "installing $*"
    install_packages "$@"
}

# What bindep.txt lists for some profiles and is not here.
require_profiles() {
    local bindep=$1 said missing
    shift
    remove_left_policy
    # It exits with 1 if it prints some, one a line, and if it fails.
    said=$("$bindep" --brief "$@") || [ "$said" ] ||
        die "bindep cannot tell what is missing here; see bindep.txt"
    [ "$said" ] || return 0
    mapfile -t missing <<<"$said"
    require "${missing[@]}"
}
