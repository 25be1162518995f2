# Where the repository may lie, and whether it was moved. For scripts that have
# the function die.

# stestr starts its tests by a line for the shell that has the path of their
# Python in it, and tox puts the path of the repository into such lines.
check_place() {
    # Bash would quote some characters that harm nobody.
    local path=${PWD//[^[:ascii:]]/}
    path=${path//[,^~]/}
    [[ $(printf %q "$path") == "$path" && $path != *:* ]] ||
        die "tests cannot run in $PWD: clone the repository to a path" \
            "without blanks and other characters that a shell reads"
}

# Whether a program of an environment finds its Python, which it names by its
# path, and that its packages: a repository can be moved, and a Python replaced.
can_run() {
    local first
    [ -x "$1" ] && read -r first <"$1" && [ -x "${first#\#!}" ] &&
        "${1%/*}/python" -c 'import pip' 2>/dev/null
}
