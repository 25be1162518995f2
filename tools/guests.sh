# What no package brings, and a guest needs all the same.

# Why this machine cannot run the guests; nothing if it can.
why_no_guests() {
    if [ "$(uname -m)" != x86_64 ]; then
        printf 'this machine is %s and the guests are x86-64' "$(uname -m)"
    elif [ "$(id -u)" != 0 ]; then
        printf 'not root: libvirtd and QEMU get namespaces of their own'
    elif ! unshare --mount --uts --pid --fork --mount-proc true 2>/dev/null
    then
        printf 'root can make no namespaces here: a container needs '
        printf -- '--privileged for it'
    fi
}
