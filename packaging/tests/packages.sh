#!/usr/bin/env bash
# Prove what packaging/build.sh makes without a distribution: patches, wheel,
# source archive, verify, the clients, and what kolla makes of them. It takes about three
# minutes on two busy cores.
#     packaging/tests/packages.sh
# XLOUD_RELEASE is the release; without it 2024.1 is meant.
set -euo pipefail

unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=packaging/tests/claims.sh
. packaging/tests/claims.sh

release=${XLOUD_RELEASE:-2024.1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build_all() {
    local what
    packaging/build.sh patches --release "$release"
    for what in wheel verify kolla; do
        packaging/build.sh "$what" --release "$release"
    done
}

sums() {
    (cd build/dist && sha256sum "patches-$release"/* "nova-$version"* \
        xloud-nova-verify kolla-build.conf)
}

# The patches make the tree, with nothing but patch.
patches_make_the_tree() {
    local made=$work/patched name
    mkdir "$made"
    git -C "$tree" archive refs/xloud/base | tar -x -C "$made"
    while read -r name; do
        patch -d "$made" -p1 -F0 -E -s <"build/dist/patches-$release/$name"
    done <"build/dist/patches-$release/series"
    mkdir "$work/tree"
    git -C "$tree" archive HEAD | tar -x -C "$work/tree"
    diff -r "$made" "$work/tree"
}

# A virtual environment in which Nova's requirements do not matter. What is in
# it from the start is not compiled, which would take longer than all else.
make_env() {
    "$python" -m venv "$work/$1"
    pip_in "$1" install --no-compile "${@:2}"
}
pip_in() {
    "$work/$1/bin/python" -m pip -q --disable-pip-version-check "${@:2}"
}
listed() {
    "$work/$1/bin/python" -m pip --disable-pip-version-check list \
        --format freeze | sed -n 's/^nova==//p'
}
reported() { "$work/$1/bin/python" -c \
    'from nova import version; print(version.version_string())'; }
site_of() { echo "$work/$1"/lib/python3*/site-packages; }
verify() { "$work/env/bin/python" - "$@" <"build/dist/xloud-nova-verify"; }

# Damage an installation in one way, and see that it is found.
damaged() {
    local found=$1 site=$work/damaged
    rm -rf "$site"
    cp -r "$(site_of env)" "$site"
    (cd "$site" && sh -ec "$2")
    verify --site-packages "$site" >"$work/said" && return 1
    grep -q "^$found: " "$work/said" || { cat "$work/said"; return 1; }
}

# The Dockerfile that kolla writes of nova-base takes our archive.
kolla_takes_it() {
    "$work/kolla/bin/kolla-build" --config-file "build/dist/kolla-build.conf" \
        --base "$1" --engine podman --template-only --work-dir "$work/$1" \
        '^nova-' || return 1
    grep -qx 'ADD nova-base-archive /nova-base-source' \
        "$work/$1"/docker/nova/nova-base/Dockerfile
}

# The clients are built anew, of a copy in which a command changed something.
clients_elsewhere() {
    local root=$work/elsewhere
    rm -rf "$root"
    mkdir -p "$root/nova/xloud"
    cp -r clients packaging "$root"
    cp nova/xloud/release.py "$root/nova/xloud"
    (cd "$root" && sh -ec "$1")
    (umask 077 && TZ=Asia/Tokyo LC_ALL=C "build/packaging-env/bin/python" \
        "$root/packaging/clients.py" --output "$root/dist")
}
client_sums() { (cd "$1" && sha256sum xloud_*-"$number"[-.]*); }
# A client that lost something is refused, and nothing is written.
not_whole() {
    clients_elsewhere "$2" >"$work/said" 2>&1 && return 1
    grep -q "^build: [0-9]* files .* first one is $1: nothing was written" \
        "$work/said" || { cat "$work/said"; return 1; }
}
# All that the client needs is listed, so there is nothing to resolve.
make_client_env() {
    "$python" -m venv --without-pip "$work/client"
    build/packaging-env/bin/python -m pip -q --disable-pip-version-check \
        --python "$work/client" install --no-deps --no-compile \
        -r clients/openstackclient/constraints-oldest.txt pbr==6.0.0 \
        'setuptools<80' \
        "build/dist/xloud_openstackclient-$number-py3-none-any.whl"
}
openstack_says() {
    "$work/client/bin/openstack" "${@:2}" | grep -q -e "$1"
}
pip_builds_of_archive() {
    build/packaging-env/bin/python -m pip -q --disable-pip-version-check \
        wheel --no-deps --no-build-isolation --wheel-dir \
        "$work/client-wheel" "build/dist/xloud_dashboard-$number.tar.gz"
    "$python" -m zipfile -e "$work"/client-wheel/*.whl "$work/dashboard-1"
    "$python" -m zipfile -e "build/dist/xloud_dashboard-$number-"*.whl \
        "$work/dashboard-2"
    diff -r "$work/dashboard-1/xloud_dashboard" \
        "$work/dashboard-2/xloud_dashboard"
}

root=$PWD
tree=build/nova-$release
python3 -m xloud_series apply "$release"
base=$(sed -n 's/^Version: //p' "$tree/PKG-INFO")
number=$(sed -n 's/^NUMBER = //p' nova/xloud/release.py)
version=$base+xloud.$number
python=$(python3 tools/pythons.py)

say "patches, wheel, source archive, verify and kolla's input, twice"
build_all
first=$(sums)
(umask 077 && TZ=Asia/Tokyo LC_ALL=C build_all)
claim 'all have the same bytes twice' prints "$first" sums
claim 'SHA256SUMS fits' sh -c 'cd build/dist && sha256sum --quiet -c SHA256SUMS'
claim 'GNU patch makes the tree of the patches' patches_make_the_tree

say "the clients"
packaging/build.sh clients
claim 'they are in SHA256SUMS' \
    sh -c "client='xloud_[a-z]*-$number'
        test 4 = \"\$(grep -c \"  \$client\" build/dist/SHA256SUMS)\""
clients_elsewhere :
claim 'they have the same bytes in another folder' \
    prints "$(client_sums build/dist)" client_sums "$work/elsewhere/dist"
claim 'one whose template is not packed is refused' \
    not_whole xloud_dashboard/new/form.html \
    'cd clients/dashboard/xloud_dashboard && mkdir new && touch new/form.html'
claim 'one without its scripts is refused' \
    not_whole xloud_dashboard/static/xloud_dashboard/adjust.js \
    'sed -i /static/d clients/dashboard/pyproject.toml'
claim 'pip makes the files of the wheel of the archive of the dashboard' \
    pip_builds_of_archive
claim 'the openstack client takes its wheel' make_client_env
claim 'openstack server adjust is a command' \
    openstack_says '--until-next-boot' server adjust --help

say "the wheel over stock Nova"
make_env env --no-deps pbr==6.0.0 "nova==$base"
claim 'stock is installed' prints "$base" listed env
claim 'verify does not take it for ours' exits 1 verify
claim 'the wheel replaces it' pip_in env install --no-deps \
    "build/dist/nova-$version-py3-none-any.whl"
claim 'pip lists the release' prints "$version" listed env
claim 'Nova reports the release, with pbr 6' prints "$version" reported env
pip_in env install --no-deps 'pbr>=7' 'setuptools'
claim 'Nova reports the release, with pbr 7' prints "$version" reported env
claim 'the installation is whole' verify
claim 'the wheel has its manifest, too' \
    "$work/env/bin/python" -m nova.xloud.verify
claim 'an edited file is found' damaged edited 'echo >>nova/compute/api.py'
claim 'a missing file is found' damaged missing 'rm nova/xloud/size.py'
claim 'a foreign file is found' damaged foreign 'echo >nova/other.py'
claim 'bytecode without its source is found' damaged bytecode \
    'mkdir -p nova/__pycache__ && : >nova/__pycache__/gone.cpython-311.pyc'
claim 'a lost entry point is found' damaged 'entry point' \
    'sed -i "/^minimum = /d" nova-*.dist-info/entry_points.txt'

say "what pip makes of the source archive, as in an image of kolla"
make_env kolla "$(sed -n "s/^$release //p" packaging/tests/kolla.txt)" podman
pip_in env wheel --use-pep517 --no-deps --wheel-dir "$work/wheel" \
    "build/dist/nova-$version.tar.gz"
wheels=0
for wheel in "$work"/wheel/*.whl build/dist/nova-"$version"-*.whl; do
    "$python" -m zipfile -e "$wheel" "$work/of-$((++wheels))"
done
claim 'pip makes the files of the wheel of the source archive' \
    diff -r "$work/of-1/nova" "$work/of-2/nova"
for distribution in debian ubuntu rocky; do
    claim "kolla takes it for $distribution" kolla_takes_it "$distribution"
done
