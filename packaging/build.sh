#!/usr/bin/env bash
# What a packager takes, made from the pinned release, series and overlay:
#     packaging/build.sh patches [--release RELEASE]
#         complete patches in build/dist/patches-RELEASE, with a series file,
#         for git am, quilt push and patch -p1 -F0 -E
#     packaging/build.sh wheel|sdist [--release RELEASE]
#         Nova with the series, for pip: build/dist/nova-BASE+xloud.N*
#     packaging/build.sh verify [--release RELEASE]
#         build/dist/xloud-nova-verify, which says whether an installation of
#         that build is whole, also over standard input into a container
#     packaging/build.sh kolla [--release RELEASE]
#         the sdist, and build/dist/kolla-build.conf that makes kolla take it
#     packaging/build.sh --help
# RELEASE is a folder of patches; without it the oldest is meant.  The same
# series gives the same bytes, on every machine; build/dist/SHA256SUMS lists
# them.  Needs git, Python, and for the first time pip and its access to an
# index.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,18s/^# \{0,1\}//p' "packaging/build.sh"; }
die() { printf 'build: %s\n' "$*" >&2; usage >&2; exit 2; }

what=
release=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit
        ;;
    --release)
        [ "${2:-}" ] || die "--release needs a name"
        [ -e "patches/$2/upstream.txt" ] || die "there is no patches/$2"
        release=("$2")
        shift
        ;;
    patches | wheel | sdist | verify | kolla)
        [ ! "$what" ] || die "one thing at a time: $what or $1"
        what=$1
        ;;
    *)
        die "unknown: $1"
        ;;
    esac
    shift
done

# The tree as the series makes it. A tree with work in it is refused.
make_tree() {
    python3 -m xloud_series apply "$name"
}

make_env() {
    ENV=build/packaging-env
    cmp -s packaging/requirements.txt "$ENV/installed" && return
    python=$(python3 tools/pythons.py)
    "$python" -m venv --clear "$ENV"
    "$ENV/bin/python" -m pip install -qq --disable-pip-version-check \
        -r packaging/requirements.txt
    cp packaging/requirements.txt "$ENV/installed"
}

build() {
    "$ENV/bin/python" packaging/wheel.py "$1" \
        --tree "build/nova-$name" --output build/dist
}

oldest=$(basename "$(dirname "$(ls patches/*/upstream.txt | head -n 1)")")
name=${release[0]:-$oldest}

case $what in
wheel | sdist | verify | kolla)
    make_tree
    make_env
    build "$what"
    ;;
patches)
    exec python3 -m xloud_series patches "${release[@]}"
    ;;
'')
    die "build what?"
    ;;
esac
