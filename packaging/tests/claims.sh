# For scripts that prove what packages claim: one line for each claim.

# What fails outside of a claim says where.
set -E
trap 'printf "%s: line %s failed\n" "$(basename "$0")" "$LINENO" >&2' ERR

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Run a command that has to succeed. Its output is shown if it does not.
claim() {
    local text=$1 said
    shift
    said=$("$@" 2>&1) || die "NOT TRUE: $text:
$said"
    printf 'ok %s\n' "$text"
}

# Whether a command prints exactly this.
prints() {
    local wanted=$1 said
    shift
    said=$("$@" 2>&1) || { printf '%s\n' "$said"; return 1; }
    [ "$said" = "$wanted" ] ||
        { printf 'wanted: %s\ngot: %s\n' "$wanted" "$said"; return 1; }
}

# Whether a command ends with this exit code.
exits() {
    local wanted=$1 code=0
    shift
    "$@" || code=$?
    [ "$code" = "$wanted" ] ||
        { printf 'exit code %s, wanted %s\n' "$code" "$wanted"; return 1; }
}

# Whether two folders have the same files.
same_bytes() {
    diff <(cd "$1" && find . -type f -exec sha256sum {} + | sort) \
        <(cd "$2" && find . -type f -exec sha256sum {} + | sort)
}

# Write a patch of a distribution's own, in a file that the series changes.
write_their_patch() {
    local tree=$1 target=$2 path=nova/compute/api.py edited
    edited=$(mktemp)
    sed 's/^"""Handles all requests relating to compute/&, of any kind/' \
        "$tree/$path" >"$edited"
    ! diff -u --label "a/$path" --label "b/$path" "$tree/$path" "$edited" \
        >"$target" || die "$path has no place for a patch"
    rm "$edited"
}

# Where this machine has Debian's archive.
debian_archive() {
    local found
    # What is in $() is apt's.
    # shellcheck disable=SC2016
    found=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' \
        'Created-By: Packages' 2>/dev/null |
        sed -n 's/ Debian Debian$//p') || true
    found=${found%%$'\n'*}
    [ "$found" ] || die "apt knows no archive of Debian here; name one in \
/etc/apt/sources.list and run apt-get update"
    echo "$found"
}

# The Debian with which this release runs, and the one, if any, that has what is
# too old there. They are Python alone.
suite=bookworm
newer=trixie
from_newer='python3-oslo.messaging python3-os-traits python3-os-vif'

# A Debian as a folder, with the packages that are named.
make_debian() {
    local archive archives root=$1
    archive=$(debian_archive) || exit
    archives=("deb $archive $suite main")
    : >"$root.preferences"
    if [ "$newer" ]; then
        archives+=("deb $archive $newer main")
        printf '%s\n' 'Package: *' "Pin: release n=$newer" \
            'Pin-Priority: 100' '' "Package: $from_newer" \
            "Pin: release n=$newer" 'Pin-Priority: 990' >"$root.preferences"
    fi
    mmdebstrap --variant=apt --mode=root \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt='APT::Sandbox::User "root"' \
        --dpkgopt=force-unsafe-io --include="$2" \
        --setup-hook="cp '$root.preferences' \
            \"\$1/etc/apt/preferences.d/newer\"" \
        "$suite" "$root" "${archives[@]}" >"$root.log" 2>&1 ||
        die "no Debian was made:
$(tail -n 30 "$root.log")"
}

# The packages of Debian that Nova's tree says that it requires.
requirements_of() {
    sed -nE 's/^(python-)?([A-Za-z0-9._-]+).*/\2/p' "$1/requirements.txt" |
        tr '[:upper:]' '[:lower:]' |
        sed 's/^pyyaml$/yaml/; s/^python-//; s/^/python3-/' | paste -sd ,
}

# Run a command in a root, with /proc and /dev that go with it.
in_root() {
    # $0 and $@ are those of the inner shell.
    # shellcheck disable=SC2016
    unshare --mount --pid --fork sh -c '
        mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" &&
            exec chroot "$0" env -i LC_ALL=C.UTF-8 HOME=/root \
                DEBIAN_FRONTEND=noninteractive \
                PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"' "$@"
}
