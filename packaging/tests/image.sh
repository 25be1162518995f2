#!/usr/bin/env bash
# Prove that the source archive of packaging/build.sh kolla makes an image in
# which Nova's programs run: kolla's steps and folders, by podman, on a Debian
# that mmdebstrap makes. As root; it takes about five minutes.
#     packaging/tests/image.sh
# XLOUD_RELEASE is the release; without it 2024.1 is meant.
set -euo pipefail

unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=packaging/tests/claims.sh
. packaging/tests/claims.sh

release=${XLOUD_RELEASE:-2024.1}
image=localhost/xloud-nova-proof

[ "$(id -u)" = 0 ] || die "not root: it makes a Debian of its own"
work=$(mktemp -d)
cleanup() {
    podman rmi --force "$image" "$image-base" >/dev/null 2>&1 || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

# No more than a container of containers has.
limits=(--ulimit "nofile=1024:$(ulimit -Hn)" --ulimit nproc=4096:4096)
run() {
    podman --runtime runc run --rm --interactive --network none \
        "${limits[@]}" "$image" "$@"
}
programs() {
    local program
    for program in nova-{api,compute,conductor,scheduler,manage,status}; do
        # An import before eventlet's is warned of.
        run "$program" --version 2>/dev/null
    done | sort -u
}
verify() { run python3 - <build/dist/xloud-nova-verify; }

say "a Debian that has what Nova requires"
packaging/build.sh verify --release "$release"
packaging/build.sh kolla --release "$release"
archive=$(sed -n 's/^location = //p' build/dist/kolla-build.conf)
version=$(basename "$archive" .tar.gz)
version=${version#nova-}
make_debian "$work/root" "python3-pip,python3-venv,python3-wheel,\
python3-setuptools,python3-pymysql,$(requirements_of "build/nova-$release")"
tar -c -C "$work/root" . | podman import - "$image-base"

say "the image nova-base"
mkdir "$work/context"
cp "$archive" packaging/tests/Containerfile "$work/context"
claim 'podman builds it' podman --runtime runc build --network none \
    "${limits[@]}" --build-arg "ARCHIVE=$(basename "$archive")" --tag "$image" \
    "$work/context"
claim 'the programs run, and report the release' prints "$version" programs
claim 'the user is nova' prints nova run id -un
claim 'Nova is where kolla has it' prints \
    /var/lib/kolla/venv/bin/nova-compute run sh -c 'command -v nova-compute'
claim 'its configuration is in /etc/nova' run test -e /etc/nova/api-paste.ini
claim 'the installation is whole' verify
