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
#     packaging/build.sh clients
#         wheel and sdist of the openstack commands and of the dashboard, for
#         every release: build/dist/xloud_CLIENT-N*
#     packaging/build.sh deb --dsc FILE --maintainer 'NAME <ADDRESS>'
#             [--release RELEASE]
#         from a distribution's source package of Nova one with the series in
#         build/dist/deb-RELEASE; NAME answers for it
#     packaging/build.sh rpm --distgit DIR --maintainer 'NAME <ADDRESS>'
#             [--release RELEASE]
#         from a folder with a spec of Nova and its sources, as RDO's, one with
#         the series and the source RPM in build/dist/rpm-RELEASE
#     packaging/build.sh --help
# RELEASE is a folder of patches; without it the oldest is meant.  The same
# series gives the same bytes, on every machine; build/dist/SHA256SUMS lists
# them.  Needs git and Python; what pip takes also pip and its access to an
# index, for the first time; deb needs dpkg-dev, and rpm needs rpm-build.
set -euo pipefail

caller=$PWD
unset CDPATH
script=${BASH_SOURCE[0]}
[ ! -L "$script" ] || script=$(readlink -f "$script")
cd "$(dirname "$script")/.."

usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "packaging/${script##*/}"; }
die() { printf 'build: %s\n' "$*" >&2; usage >&2; exit 2; }

what=
release=()
input=()
maintainer=
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
    --dsc | --distgit)
        [ "${2:-}" ] || die "$1 needs a path"
        input=("$1" "$(cd "$caller" && realpath -m "$2")")
        [ -e "${input[1]}" ] || die "there is no $2"
        shift
        ;;
    --maintainer)
        [ "${2:-}" ] || die "--maintainer needs 'NAME <ADDRESS>'"
        maintainer=$2
        shift
        ;;
    patches | wheel | sdist | verify | kolla | clients | deb | rpm)
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
    check_tag
    python3 -m xloud_series apply "$name"
}

make_env() {
    ENV=build/packaging-env
    ! "$ENV/bin/python" -c 'import pip' 2>/dev/null ||
        ! cmp -s packaging/requirements.txt "$ENV/installed" || return 0
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

# A commit that is tagged as a release is that release, and no other.
check_tag() {
    local number tags
    # What is no clone has no tags, even if it lies in a repository; but one of
    # somebody else's has.
    [ -e .git ] || return 0
    local -x GIT_CONFIG_GLOBAL=$PWD/tools/any-owner.gitconfig
    git rev-parse --git-dir >/dev/null ||
        die "git cannot say whether this commit is tagged as a release:" \
            "build in a clone, or in what git archive makes"
    # Without a commit there is no tag.
    tags=$(git tag --points-at HEAD --list 'xloud-*' 2>/dev/null) || return 0
    [ "$tags" ] || return 0
    number=$(sed -n 's/^NUMBER = //p' nova/xloud/release.py)
    [ "$tags" = "xloud-$number" ] ||
        die "this commit is tagged $tags, and nova/xloud/release.py says" \
            "$number"
}

# A distribution's package in, one with the series out.
patch_package() {
    python3 "packaging/$what.py" "${input[@]}" --maintainer "$maintainer" \
        --tree "build/nova-$name" --patches "build/dist/patches-$name" \
        --output "build/dist/$what-$name"
}

# What a release signs.
write_checksums() {
    mkdir -p build/dist
    (cd build/dist && find . -type f ! -path ./SHA256SUMS -printf '%P\0' |
        LC_ALL=C sort -z | xargs -0r sha256sum >SHA256SUMS)
}

oldest=$(basename "$(dirname "$(ls patches/*/upstream.txt | head -n 1)")")
name=${release[0]:-$oldest}

case $what in
deb) wanted=--dsc ;;
rpm) wanted=--distgit ;;
*) wanted= ;;
esac
[ "${input[0]:-}" = "$wanted" ] || die "$what takes ${wanted:-no ${input[0]}}"
[ "${wanted:+x}" = "${maintainer:+x}" ] ||
    die "$what ${wanted:+needs}${maintainer:+takes no} --maintainer"
# packaging/source.py looks closer, but late.
case $maintainer in
'' | *?' <'?*@?*'>') ;;
*) die "--maintainer is '$maintainer', and not of the form 'NAME <ADDRESS>'" ;;
esac

[ "$what" != clients ] || [ ! "${release[*]}" ] ||
    die "clients takes no --release: they are for all"

case $what in
clients)
    check_tag
    make_env
    "$ENV/bin/python" packaging/clients.py --output build/dist
    ;;
wheel | sdist | verify | kolla)
    make_tree
    make_env
    build "$what"
    ;;
deb | rpm)
    make_tree
    python3 -m xloud_series patches "$name"
    patch_package
    ;;
patches)
    check_tag
    python3 -m xloud_series patches "${release[@]}"
    ;;
'')
    die "build what?"
    ;;
esac
write_checksums
