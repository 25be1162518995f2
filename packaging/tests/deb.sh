#!/usr/bin/env bash
# Prove packaging/build.sh deb: stock packages of a source package that has a
# distribution's names, upgraded to ours and removed again, in a Debian that
# mmdebstrap makes. As root; it takes about ten minutes.
#     packaging/tests/deb.sh
# XLOUD_RELEASE is the release; without it 2024.1 is meant.
# With XLOUD_DEBIAN=trixie XLOUD_DSC=FILE it proves the same of the source package
# that this Debian has of that release, from "apt-get source nova".
set -euo pipefail

unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=packaging/tests/claims.sh
. packaging/tests/claims.sh

release=${XLOUD_RELEASE:-2024.1}
maintainer='A Packager <packager@example.org>'
services=(nova-api nova-compute nova-conductor nova-scheduler)
stock=(nova-common python3-nova "${services[@]}")
programs=("${services[@]}" nova-manage nova-status)

[ "$(id -u)" = 0 ] || die "not root: it makes a Debian of its own"
theirs=${XLOUD_DSC:-}
if [ "$theirs" ]; then
    suite=${XLOUD_DEBIAN:?the Debian that has XLOUD_DSC} newer=
fi
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

# A source package as a distribution has it: made from git, so without what
# setuptools writes into an sdist, and with a patch of its own.
make_stock() {
    local folder=$work/source tree=$work/source/nova
    mkdir -p "$tree"
    tar -x --strip-components 1 -f "$sdist" -C "$tree"
    rm -r "$tree/nova.egg-info" "$tree/PKG-INFO"
    sed -i 's/^\t/    /' "$tree/setup.cfg"
    # Without git and PKG-INFO, pbr takes no file but Python's. Debian has a
    # patch for that.
    echo 'graft nova' >"$tree/MANIFEST.in"
    tar -C "$folder" -czf "$folder/nova_$base.orig.tar.gz" nova
    cp -r packaging/tests/debian "$tree/debian"
    sed -i "s/@BASE@/$base/; s/@SUITE@/$suite/" "$tree/debian/changelog"
    mkdir "$tree/debian/patches"
    echo theirs.patch >"$tree/debian/patches/series"
    write_their_patch "$tree" "$tree/debian/patches/theirs.patch"
    (cd "$folder" && dpkg-source --build nova && rm -r nova) >/dev/null
}

# The patched source package, from another folder and with another umask.
build_ours() {
    (umask "$1" && cd "$2" &&
        TZ=$3 "$OLDPWD/packaging/build.sh" deb --release "$release" \
            --dsc "$stock_dsc" --maintainer "$maintainer")
}

# A Debian as a folder, in which no service starts.
make_root() {
    local root=$work/$1
    make_debian "$root" "$2"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
}

# Binary packages of a source package, in $work/build/packages/NAME.
build_packages() {
    local dsc=$1 name=$2 folder=$work/build/packages/$2
    mkdir -p "$folder"
    (cd "$folder" && dpkg-source --extract "$dsc" "$folder/nova" >/dev/null)
    # Nova's tests are those of other lanes.
    in_root "$work/build" env DEB_BUILD_OPTIONS='nocheck nodoc' \
        DEB_BUILD_PROFILES='nocheck nodoc' sh -c "cd /packages/$name/nova &&
        apt-get -qq -y build-dep . &&
        dpkg-buildpackage --no-sign --build=binary" >"$work/$name.log" 2>&1 ||
        die "$name does not build:
$(tail -n 50 "$work/$name.log")"
    rm -r "$folder/nova"
}

version_of() { sed -n 's/^Version: //p' "$1"; }
packages_of() { (cd "$work/build/packages/$1" && sha256sum ./*.deb); }

# A repository of packages for APT in the clean root.
add_repository() {
    local folder=$work/clean/repository/$1
    mkdir -p "$folder"
    cp "$2"/*.deb "$folder"
    (cd "$folder" && dpkg-scanpackages --multiversion . >Packages) 2>/dev/null
    echo "deb [trusted=yes] file:/repository/$1 ./" \
        >"$work/clean/etc/apt/sources.list.d/$1.list"
    clean apt-get -qq update
}

clean() { in_root "$work/clean" "$@"; }

# The next version of the stock packages, as a distribution's update: it has
# one digit more.
make_update() {
    local deb folder=$work/update
    mkdir -p "$folder"
    for deb in "$work"/build/packages/stock/*.deb; do
        rm -rf "$folder/part"
        dpkg-deb --raw-extract "$deb" "$folder/part"
        sed -i "s/\b$stock_version\b/&0/" "$folder/part/DEBIAN/control"
        dpkg-deb --build "$folder/part" "$folder" >/dev/null
    done
    rm -rf "$folder/part"
}

reported() {
    local program
    for program in "${programs[@]}"; do
        # An import before eventlet's is warned of.
        clean "$program" --version 2>/dev/null
    done | sort -u
}

versions() { clean dpkg-query -f '${Version}\n' -W "${stock[@]}" xloud-nova |
    sort -u; }

# What apt-get would do, without what it says besides.
would_do() { clean apt-get -qq --simulate "$@"; }

# Errors of lintian, without the version in which they are.
errors_of() {
    lintian --no-tag-display-limit --fail-on none --allow-root \
        "$1"/*.changes 2>/dev/null | sed -n 's/^E: //p' | sort -u
}

no_new_errors() { ! comm -13 <(errors_of "$1") <(errors_of "$2") | grep .; }

files_of() { (cd "$work/clean/usr/lib/python3/dist-packages/nova" &&
    find . -type f ! -name '*.pyc' -exec sha256sum {} + | sort); }

say "a distribution's source package, and ours"
python3 -m xloud_series apply "$release"
base=$(sed -n 's/^Version: //p' "build/nova-$release/PKG-INFO")
sdist=$PWD/build/.cache/sdist/nova-$base.tar.gz
mkdir "$work/source" "$work/other"
make_root build build-essential,ca-certificates
in_root "$work/build" apt-get -qq update
stock_dsc=$theirs
if [ ! "$theirs" ]; then
    make_stock
    stock_dsc=$(ls "$work/source"/*.dsc)
fi
stock_version=$(version_of "$stock_dsc")
# What their programs say: without the epoch and Debian's revision.
stock_release=${stock_version#*:}
stock_release=${stock_release%-*}
build_ours 022 . UTC
made=build/dist/deb-$release
cp -r "$made" "$work/first"
rm -r "$made"
build_ours 077 "$work/other" Asia/Tokyo
claim 'the source package has the same bytes twice' \
    same_bytes "$work/first" "$made"
ours_dsc=$(ls "$PWD/$made"/*.dsc)
version=$(version_of "$ours_dsc")
number=${version##*+xloud}

say "packages of both"
build_packages "$stock_dsc" stock
build_packages "$ours_dsc" ours
build_packages "$ours_dsc" again
claim 'the packages have the same bytes twice' \
    prints "$(packages_of ours)" packages_of again
claim 'lintian has no error that it does not have of stock' \
    no_new_errors "$work/build/packages/stock" "$work/build/packages/ours"

say "stock, ours and stock again, in a clean Debian"
make_root clean ca-certificates
if [ "$theirs" ]; then
    # The archive may have a later one by now.
    printf '%s\n' 'Package: src:nova' "Pin: release n=$suite" \
        'Pin-Priority: -1' >"$work/clean/etc/apt/preferences.d/archive"
fi
add_repository stock "$work/build/packages/stock"
claim 'stock is installed' clean apt-get -qq -y install "${services[@]}"
claim "stock's programs run" prints "$stock_release" reported
before=$(files_of)
add_repository ours "$work/build/packages/ours"
claim 'apt-get install xloud-nova upgrades it' \
    clean apt-get -qq -y install xloud-nova
claim 'dpkg finds nothing amiss' prints '' clean dpkg --audit
claim "dpkg's checksums fit" prints '' clean dpkg --verify
claim 'all are of one version' prints "$version" versions
claim 'the programs run, and report the release' \
    prints "$stock_release+xloud.$number" reported
claim 'the installation is whole' clean xloud-nova-verify
claim 'the module has the manifest, too' \
    clean python3 -m nova.xloud.verify
claim 'the migrations of the database are there' \
    clean test -e /usr/lib/python3/dist-packages/nova/db/main/alembic.ini
claim 'it has a manual page' clean test -e \
    /usr/share/man/man1/xloud-nova-verify.1.gz
edited=$work/clean/usr/lib/python3/dist-packages/nova/compute/api.py
cp "$edited" "$work/kept"
sed -i '/xloud/d' "$edited"
claim 'a lost hook is found' exits 1 clean xloud-nova-verify
cp "$work/kept" "$edited"

make_update
add_repository update "$work/update"
claim "the distribution's update does not replace it" \
    prints '' would_do dist-upgrade
mv "$work/clean/etc/apt/preferences.d/xloud-nova" "$work/pin"
claim 'without the file in preferences.d it would' \
    sh -c 'echo "$1" | grep -qF "(${2}0 "' sh \
    "$(would_do dist-upgrade | grep '^Inst python3-nova ')" "$stock_version"
mv "$work/pin" "$work/clean/etc/apt/preferences.d/xloud-nova"

rm "$work/clean/etc/apt/sources.list.d/update.list"
clean apt-get -qq update
claim 'xloud-nova is purged' clean apt-get -qq -y purge xloud-nova
claim 'stock is installed again' clean apt-get -qq -y install \
    --allow-downgrades "${stock[@]/%/=$stock_version}"
claim 'dpkg finds nothing amiss' prints '' clean dpkg --audit
claim "stock's programs run" prints "$stock_release" reported
claim 'nothing of ours is left' prints "$before" files_of
claim 'nothing prefers ours' clean test ! -e \
    /etc/apt/preferences.d/xloud-nova
