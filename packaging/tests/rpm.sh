#!/usr/bin/env bash
# Prove packaging/build.sh rpm: stock packages of a spec in RDO's style,
# upgraded to ours and brought back, in a root of their own. As root, because
# files of packages belong to it. It takes about five minutes.
#     packaging/tests/rpm.sh
# XLOUD_RELEASE is the release; without it 2024.1 is meant.
set -euo pipefail

unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=packaging/tests/claims.sh
. packaging/tests/claims.sh

release=${XLOUD_RELEASE:-2024.1}
maintainer='A Packager <packager@example.org>'
services=(openstack-nova-{api,compute,conductor,scheduler})

[ "$(id -u)" = 0 ] || die "not root: it installs packages in a root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
site=$work/root/usr/lib/python3/site-packages

# A folder as a distribution has it, with a patch of its own.
make_stock() {
    local folder=$work/stock
    mkdir "$folder" "$work/tree"
    tar -x --strip-components 1 -f "$sdist" -C "$work/tree"
    cp "$sdist" packaging/tests/rpm/*.service "$folder"
    sed "s/@BASE@/$base/" packaging/tests/rpm/openstack-nova.spec \
        >"$folder/openstack-nova.spec"
    write_their_patch "$work/tree" "$folder/theirs.patch"
}

# From another folder and with another umask.
build_ours() {
    (umask "$1" && cd "$2" &&
        TZ=$3 "$OLDPWD/packaging/build.sh" rpm --release "$release" \
            --distgit "$work/stock" --maintainer "$maintainer")
}

# Run rpmbuild in a folder of its own, so that its bytes depend on none.
build_packages() {
    local name=$1
    shift
    SOURCE_DATE_EPOCH=$epoch rpmbuild \
        --load=packaging/tests/rpm/macros --nodeps --quiet \
        --define "_topdir $work/$name" --define "_rpmdir $work/$name" \
        --define '_buildhost proof' --define 'dist .proof' \
        --define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.rpm' \
        --define 'use_source_date_epoch_as_buildtime 1' \
        --define 'clamp_mtime_to_source_date_epoch 1' \
        "$@" >"$work/$name.log" 2>&1 ||
        die "$name does not build:
$(tail -n 50 "$work/$name.log")"
}

packages_of() { (cd "$work/$1" && sha256sum ./*.rpm); }
in_root() { rpm --root "$work/root" "$@"; }

# What differs from the packages; owners and modes do not in a root.
differing() { in_root --verify --all --nodeps || true; }
verify() { python3 "$work/root/usr/bin/xloud-nova-verify" \
    --site-packages "$site"; }
reported() { PYTHONPATH=$site /usr/bin/python3 -c \
    'from nova.xloud import release; print(release.version_string())'; }
files_of() { (cd "$site" &&
    find . -type f ! -name '*.pyc' -exec sha256sum {} + | sort); }
versions() { in_root --query --all --queryformat '%{VERSION}-%{RELEASE}\n' \
    '*nova*' | sort -u; }

errors_of() {
    rpmlint --permissive "$work/$1"/*.rpm 2>/dev/null |
        sed -n 's/^\([a-z0-9-]*\)[^ ]*: E: /\1 /p' | sort -u
}
# A package that stock does not have may have what each of stock's has.
no_new_errors() {
    local known
    known=$(errors_of "$1")
    ! errors_of "$2" | grep -vxF "$known
$(sed 's/^[^ ]*/xloud-nova/' <<<"$known")"
}

# dnf, with repositories of these packages and no others.
dnf_in_root() {
    local repositories=() name
    for name in $enabled; do
        repositories+=("--repofrompath=$name,$work/$name" "--repo=$name")
    done
    dnf --quiet --assumeyes --installroot "$work/root" --releasever 1 \
        --nogpgcheck --setopt=install_weak_deps=0 --setopt=tsflags=nodocs \
        --setopt=cachedir="$work/cache" "${repositories[@]}" "$@"
}

say "a distribution's spec, and ours"
python3 -m xloud_series apply "$release"
base=$(sed -n 's/^Version: //p' "build/nova-$release/PKG-INFO")
epoch=$(git -C "build/nova-$release" log -1 --format=%ct)
sdist=build/.cache/sdist/nova-$base.tar.gz
mkdir "$work/other"
make_stock
build_ours 022 . UTC
ours=build/dist/rpm-$release
cp -r "$ours" "$work/first"
rm -r "$ours"
build_ours 077 "$work/other" Asia/Tokyo
claim 'spec, sources and source RPM have the same bytes twice' \
    same_bytes "$work/first" "$ours"

say "packages of both"
build_packages stock --define "_sourcedir $work/stock" \
    -bb "$work/stock/openstack-nova.spec"
build_packages ours --rebuild "$ours"/*.src.rpm
build_packages again --rebuild "$ours"/*.src.rpm
claim 'the packages have the same bytes twice' \
    prints "$(packages_of ours)" packages_of again
claim 'rpmlint has no error that it does not have of stock' \
    no_new_errors stock ours

say "stock, ours and stock again, in a root"
mkdir "$work/root"
rpm --root "$work/root" --initdb
claim 'stock is installed' in_root --install --nodeps "$work"/stock/*.rpm
before=$(files_of)
claim 'ours upgrades it' in_root --upgrade --nodeps "$work"/ours/*.rpm
number=$(sed -n 's/^NUMBER = //p' nova/xloud/release.py)
claim 'all are of one version' \
    prints "$base-1.xloud$number.proof" versions
claim 'rpm finds nothing amiss' prints '' differing
claim 'the release is reported' prints "$base+xloud.$number" reported
claim 'the installation is whole' verify
sed -i.kept '/xloud/d' "$site/nova/compute/api.py"
claim 'a lost hook is found' exits 1 verify
mv "$site/nova/compute/api.py.kept" "$site/nova/compute/api.py"
claim 'stock is back' sh -c 'rpm --root "$0" --erase --nodeps xloud-nova &&
    rpm --root "$0" --upgrade --oldpackage --nodeps "$@"' \
    "$work/root" "$work"/stock/*.rpm
claim 'nothing of ours is left' prints "$before" files_of
claim 'rpm finds nothing amiss' prints '' differing
rm -r "$work/root"

say "the same by dnf, and the distribution's next update"
# Of other packages these need Python alone, and here it has no content.
printf '%s\n' 'Name: python3' 'Version: 3' 'Release: 1' 'Summary: -' \
    'License: -' 'BuildArch: noarch' 'Provides: /usr/bin/python3' \
    '%description' '-' '%files' >"$work/python3.spec"
build_packages stubs -bb "$work/python3.spec"
sed 's/^\(Release: *\)1/\12/' "$work/stock/openstack-nova.spec" \
    >"$work/update.spec"
build_packages update --define "_sourcedir $work/stock" -bb "$work/update.spec"
for name in stubs stock ours update; do
    createrepo_c --quiet "$work/$name"
done
mkdir "$work/root"
enabled='stubs stock'
claim 'dnf installs stock' dnf_in_root install "${services[@]}"
enabled='stubs stock ours'
claim 'dnf install xloud-nova upgrades it' dnf_in_root install xloud-nova
claim 'all are of one version' \
    prints "$base-1.xloud$number.proof" versions
enabled='stubs stock ours update'
claim "the distribution's update does not replace it" \
    dnf_in_root upgrade --nobest
claim 'all are of one version' \
    prints "$base-1.xloud$number.proof" versions
claim 'dnf upgrade --best says why' exits 1 dnf_in_root upgrade --best
enabled='stubs stock'
claim 'xloud-nova is removed' dnf_in_root remove xloud-nova
claim 'dnf distro-sync brings stock back' dnf_in_root distro-sync
claim 'all are of one version' prints "$base-1.proof" versions
