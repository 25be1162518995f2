#!/usr/bin/env bash
# Make Nova's tree with our series on it, in build/nova-RELEASE:
#     tools/apply_series.sh [--project NAME] [RELEASE]
# RELEASE is 2024.1 if there is none. Another project than Nova, horizon for
# example, has its patches in a folder of its name; its tree is
# build/NAME-RELEASE. This needs git and Python, and for the
# first time pip. Options are at "python3 -m xloud_series apply --help".
set -euo pipefail

unset CDPATH
script=${BASH_SOURCE[0]}
[ ! -L "$script" ] || script=$(readlink -f "$script")
cd "$(dirname "$script")/.."

die() { printf 'apply_series: %s\n' "$*" >&2; exit 2; }
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "tools/${script##*/}"; }

project=()
if [ "${1:-}" = --project ]; then
    [ $# -ge 2 ] || die "--project takes the name of one, such as horizon"
    project=(--project "$2")
    shift 2
fi
case ${1:-} in
-h | --help)
    usage
    exit
    ;;
-*) die "there is no option $1; see tools/apply_series.sh --help" ;;
esac
[ $# -le 1 ] || die "one release at a time, not also ${*:2}"
exec python3 -m xloud_series "${project[@]}" apply "${1:-2024.1}"
