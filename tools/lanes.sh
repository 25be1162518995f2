# The lanes, and what a person may ask of them. For scripts that have the
# function die.

# What runs if nobody names one. First come those that do not keep two cores
# busy, the installation of a release among them.
LANES=(pep8 docs clients py3 packages newest unit functional hypervisor)
# What starts with the first of them and runs beside, because it waits for most
# of its time: for guests, and for what pip installs.
BESIDE=(hypervisor packages clients)
DEFAULT_LANES=("${LANES[@]}")
# What runs on a release that is named: the others are about this repository.
RELEASE_LANES=(unit functional)
# What only runs when it is named.
OTHER_LANES=(upstream quick record machine horizon browser deb rpm image)
# What quick runs some tests of.
QUICK_LANES=(pep8 py3 unit hypervisor)
# There is nothing in them to pick from.
WHOLE_LANES=(pep8 docs newest quick clients browser packages deb rpm image)

# Whether the first is one of the others.
is_one_of() {
    local asked=$1 known
    shift
    for known; do
        [ "$asked" != "$known" ] || return 0
    done
    return 1
}

# Set lanes and lane_arguments from: [LANE ...] [-- ARGUMENT ...]
choose_lanes() {
    lanes=() lane_arguments=()
    while [ $# -gt 0 ]; do
        [ "$1" != -- ] || break
        is_one_of "$1" "${LANES[@]}" "${OTHER_LANES[@]}" ||
            die "there is no lane or option $1; the lanes are" \
                "${LANES[*]} ${OTHER_LANES[*]}"
        ! is_one_of "$1" "${lanes[@]}" || die "$1 is named twice"
        lanes+=("$1")
        shift
    done
    [ $# -eq 0 ] || lane_arguments=("${@:2}")
    if [ ${#lane_arguments[@]} -gt 0 ]; then
        [ ${#lanes[@]} -eq 1 ] ||
            die "name one lane for what is after --: ${lane_arguments[*]}"
        ! is_one_of "${lanes[0]}" "${WHOLE_LANES[@]}" ||
            die "${lanes[0]} takes nothing after --: ${lane_arguments[*]}"
    fi
    [ ${#lanes[@]} -gt 0 ] || lanes=("${DEFAULT_LANES[@]}")
    if is_one_of quick "${lanes[@]}"; then
        [ ${#lanes[@]} -eq 1 ] || die "quick is no lane beside others"
        # Some tests of each.
        export XLOUD_QUICK=1
        lanes=("${QUICK_LANES[@]}")
    fi
}
