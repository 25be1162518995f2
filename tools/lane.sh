# Run lanes, show what they print and count what they say. For scripts that
# have LOGS and the functions say and die.

declare -A running=() began=() printed=()
postponed=() after_guests=()
passed=0 failed=0 skipped=0 summary=()
locks=()

# Keep these for this run: another one would write the same logs, and say in
# them how its own lanes ended.
lock_lanes() {
    local lane lock status
    for lane; do
        exec {lock}>"$LOGS/$lane.lock" || die "cannot write to $PWD/$LOGS"
        # Not every machine has the program flock.
        status=0
        python3 -c 'import fcntl, sys
try:
    fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(3)' "$lock" || status=$?
        [ "$status" -ne 3 ] ||
            die "$lane runs already in this repository: wait until it ends," \
                "or run it in another clone"
        [ "$status" -eq 0 ] || die "cannot lock $PWD/$LOGS/$lane.lock"
        locks+=("$lock")
    done
}

# Start it: LANE ARGUMENT...
start_lane() {
    local lane=$1 log=$LOGS/$1.log after=() shown lock
    shift
    # The guests take longest. The other lanes have what they leave.
    [ "$lane" = hypervisor ] || after=("${after_guests[@]}")
    rm -f "$LOGS/$lane.waits" "$LOGS/$lane.ended"
    : >"$log"
    exec {shown}<"$log"
    printed[$lane]=$shown began[$lane]=$SECONDS
    # A process group, which is ended whole if this script is.
    set -m
    {
        # What a lane may leave behind is not this run.
        for lock in "${locks[@]}"; do
            exec {lock}>&-
        done
        XLOUD_LANE_WAITS=$PWD/$LOGS/$lane.waits \
            "${after[@]}" tox run -q -e "$lane" -- "$@" >>"$log" 2>&1 </dev/null
        printf '%s %s\n' "$?" "$SECONDS" >"$LOGS/$lane.ended"
    } &
    running[$lane]=$!
    set +m
}

# Another process may have the number of a lane that has ended. Then "wait" no
# longer knows the lane, either.
has_said_how() { [ -s "$LOGS/$1.ended" ]; }
is_running() {
    ! has_said_how "$1" && kill -0 "${running[$1]}" 2>/dev/null
}

# Show what it prints, from where this was left, until it ends or a file is
# there: LANE [FILE]
follow() {
    local pause=0.1
    while is_running "$1" && [ ! -e "${2:-}" ]; do
        cat <&"${printed[$1]}"
        sleep "$pause"
        pause=1
    done
    cat <&"${printed[$1]}"
}

# Start a lane, unless it runs already, and show it until it ends. If it has to
# wait for the others, because tests run once more with nothing beside them,
# leave it to finish_lanes.
run_lane() {
    local lane=$1
    say "$lane"
    [ "${running[$lane]:-}" ] || start_lane "$@"
    follow "$lane" "$LOGS/$lane.waits"
    if is_running "$lane"; then
        postponed+=("$lane")
    else
        count_lane "$lane"
    fi
}

finish_lanes() {
    local lane
    for lane in "${postponed[@]}"; do
        say "$lane, what failed in it"
        follow "$lane"
        count_lane "$lane"
    done
}

end_lanes() {
    local lane
    for lane in "${!running[@]}"; do
        has_said_how "$lane" || kill -- "-${running[$lane]}" 2>/dev/null
    done
}

# The closing line of a lane: "unit: 3 passed, 0 failed, 1 skipped".
closing_line() {
    grep -E "^$1: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$" \
        "$LOGS/$1.log" | tail -n 1
}

# Add what a lane that has ended said.
count_lane() {
    local lane=$1 status line took ended p f s
    unset "running[$lane]"
    # What it said after follow saw that it waits.
    cat <&"${printed[$lane]}"
    # One that was killed has not said it.
    read -r status ended <"$LOGS/$lane.ended" || status=1 ended=$SECONDS
    line=$(closing_line "$lane")
    # A lane that died before it could count is one failure.
    [ -n "$line" ] || line="$lane: 0 passed, 1 failed, 0 skipped"
    took=$(sed -n "s/^$lane took \(.* s\) of the processors$/, CPU \1/p" \
        "$LOGS/$lane.log" | tail -n 1)
    summary+=("$line  ($((ended - began[$lane])) s$took)")
    # What failed, and passed when it ran again with nothing beside it.
    while read -r line_alone; do
        summary+=("    $line_alone")
    done < <(grep '^passed alone: ' "$LOGS/$lane.log")
    read -r _ p _ f _ s _ <<<"$line"
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
        f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}
