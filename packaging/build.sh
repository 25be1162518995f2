#!/usr/bin/env bash
# What a packager takes, made from the pinned release, series and overlay:
#     packaging/build.sh patches [--release RELEASE]
#         complete patches in build/dist/patches-RELEASE, with a series file,
#         for git am, quilt push and patch -p1 -F0 -E
#     packaging/build.sh --help
# RELEASE is a folder of patches; without it the oldest is meant.  Needs git,
# Python, and for the first time pip and its access to an index.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,8s/^# \{0,1\}//p' "packaging/build.sh"; }
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
    patches)
        [ ! "$what" ] || die "one thing at a time: $what or $1"
        what=$1
        ;;
    *)
        die "unknown: $1"
        ;;
    esac
    shift
done

case $what in
patches)
    exec python3 -m xloud_series patches "${release[@]}"
    ;;
'')
    die "build what?"
    ;;
esac
