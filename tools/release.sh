# The release of Nova that XLOUD_RELEASE names, if it names one. For scripts
# that have the function die.

[ "${XLOUD_RELEASE:-}" ] || unset XLOUD_RELEASE

check_release() {
    local known=(patches/*/lanes.ini)
    known=("${known[@]#patches/}")
    known=("${known[@]%/lanes.ini}")
    [[ -z ${XLOUD_RELEASE:-} || " ${known[*]} " == *" $XLOUD_RELEASE "* ]] ||
        die "XLOUD_RELEASE names no release: $XLOUD_RELEASE; there are" \
            "${known[*]}"
}
