#!/usr/bin/env bash
# Run what continuous integration runs, on a machine that has only Python, git
# and apt or dnf:
#     tools/run_tests.sh                      every lane that CI runs
#     tools/run_tests.sh LANE...              these lanes
#     tools/run_tests.sh LANE -- REGEX...     some tests of one lane
#     tools/run_tests.sh --release RELEASE ...  on another release of Nova, or
#                                             on all; without a lane unit and
#                                             functional
# README.rst says what the lanes are. As root this installs what is missing.
set -uo pipefail

unset CDPATH
script=${BASH_SOURCE[0]}
[ ! -L "$script" ] || script=$(readlink -f "$script")
cd "$(dirname "$script")/.."

VENV=build/tox-venv
LOGS=build/logs

say() { printf '\n== %s\n' "$*"; }
die() { printf 'run_tests: %s\n' "$*" >&2; exit 2; }
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "tools/${script##*/}"; }

# shellcheck source=tools/lanes.sh
. tools/lanes.sh
# shellcheck source=tools/lane.sh
. tools/lane.sh
# shellcheck source=tools/guests.sh
. tools/guests.sh
# shellcheck source=tools/packages.sh
. tools/packages.sh
# shellcheck source=tools/place.sh
. tools/place.sh
# shellcheck source=tools/release.sh
. tools/release.sh

# A virtual environment with tox and bindep, of the versions that are locked.
make_venv() {
    local python
    python=$(python3 tools/pythons.py) || exit 2
    if ! can_run "$VENV/bin/tox" || ! can_run "$VENV/bin/bindep"; then
        # Debian's Python has no ensurepip until python3-venv is there.
        "$python" -c 'import ensurepip' 2>/dev/null || require python3-venv
        "$python" -m venv --clear "$VENV" &&
            "$VENV/bin/python" -m pip install -qq \
                --disable-pip-version-check \
                -c patches/2024.1/constraints.txt tox bindep ||
            die "could not make $VENV"
    fi
    PATH="$PWD/$VENV/bin:$PATH"
}

# Why a lane cannot run on this machine; nothing if it can.
why_not() {
    local folders=(patches/*/) newest
    case $1 in
    hypervisor) why_no_guests ;;
    newest)
        newest=$(basename "${folders[-1]}")
        XLOUD_RELEASE=$newest python3 tools/pythons.py 2>&1 >/dev/null
        ;;
    esac
}

# All releases, one after another: each as if it were named alone.
run_every_release() {
    local release lines=() failed=0 status
    for release in "${releases[@]}"; do
        say "release $release"
        status=0
        "tools/${script##*/}" --release "$release" "$@" || status=$?
        # Somebody has ended it.
        [ "$status" -lt 128 ] || exit "$status"
        [ "$status" -eq 0 ] || failed=1
        # What is there else is of a run before.
        while read -r line; do
            lines+=("$release  $line")
        done < <({ [ "$status" -le 1 ] &&
            cat "$LOGS/$release/summary" 2>/dev/null; } ||
            printf 'failed before a lane ended\n')
    done
    say "all releases"
    printf '%s\n' "${lines[@]}"
    return "$failed"
}

case ${1:-} in
-h | --help)
    usage
    printf '\nLanes: %s\n' "${LANES[*]} ${OTHER_LANES[*]}"
    exit
    ;;
--release)
    releases=(patches/*/lanes.ini)
    releases=("${releases[@]#patches/}")
    releases=("${releases[@]%/lanes.ini}")
    [ $# -ge 2 ] || die "--release takes one of all ${releases[*]}"
    is_one_of "$2" all "${releases[@]}" ||
        die "there is no release $2; there are all ${releases[*]}"
    asked=$2
    shift 2
    DEFAULT_LANES=("${RELEASE_LANES[@]}")
    choose_lanes "$@"
    if [ "$asked" = all ]; then
        check_place
        run_every_release "$@"
        exit
    fi
    export XLOUD_RELEASE=$asked
    LOGS=$LOGS/$asked
    ;;
*)
    choose_lanes "$@"
    check_release
    ;;
esac
check_place
left_out=()
asked=("${lanes[@]}")
for index in "${!lanes[@]}"; do
    why=$(why_not "${lanes[index]}")
    [ "$why" ] || continue
    [ ${#asked[@]} -gt 1 ] || die "${lanes[index]}: $why"
    left_out+=("${lanes[index]}: left out, $why")
    unset "lanes[$index]"
done

mkdir -p "$LOGS" || die "cannot write to $PWD/$LOGS"
make_venv
# A lane is a profile.
require_profiles "$VENV/bin/bindep" "${lanes[@]}"
! is_one_of hypervisor "${lanes[@]}" || provide_kernel
# Not before: a service that came with a package would keep them.
lock_lanes "${lanes[@]}"
trap end_lanes EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ ${#lanes[@]} -gt 1 ]; then
    ! is_one_of hypervisor "${lanes[@]}" || after_guests=(nice -n 5)
    export XLOUD_LANES_LOCK="$PWD/build/lanes.lock" XLOUD_SERIES_WAIT=yes
    for lane in "${BESIDE[@]}"; do
        ! is_one_of "$lane" "${lanes[@]}" || start_lane "$lane"
    done
fi
for lane in "${lanes[@]}"; do
    run_lane "$lane" "${lane_arguments[@]}"
done
finish_lanes

if [ ${#left_out[@]} -gt 0 ]; then
    summary+=("${left_out[@]}")
    # What is to prove a change has to run.
    [ ! "${CI:-}" ] || failed=$((failed + ${#left_out[@]}))
fi

printf '%s\n' "${summary[@]}" >"$LOGS/summary"
say "all lanes"
summary+=("in all $SECONDS s")
printf '%s\n' "${summary[@]}"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
