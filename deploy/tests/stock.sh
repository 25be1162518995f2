# For scripts that prove a deployment: stock Nova and ours. They run in the
# repository.

# What Nova requires, and the Ansible that deploys.
env=$PWD/build/env-2024.1
playbook=$PWD/build/deploy-env/bin/ansible-playbook
ours=29.4.0+xloud.1

# Make the wheel of stock Nova unless it is there; print its path.
stock_wheel() {
    local made=build/deploy/nova-29.4.0-py3-none-any.whl
    [ -e "$made" ] || "$env/bin/python" -m pip wheel -q --no-deps \
        --no-build-isolation --no-index -w build/deploy \
        build/.cache/sdist/nova-29.4.0.tar.gz || return
    echo "$made"
}

# Make the wheel of ours; print its whole path.
our_wheel() {
    packaging/build.sh wheel >/dev/null || return
    ls "$PWD"/build/dist/nova-*+xloud.*.whl
}

# A virtual environment of stock Nova, with what that requires.
make_stock_env() {
    "$env/bin/python" -m venv --without-pip "$1"
    "$env/bin/python" -m pip -q --python "$1/bin/python3" install \
        --no-deps --no-index "$2"
    echo "$env"/lib/python3*/site-packages >"$(
        echo "$1"/lib/python3*/site-packages)/requirements.pth"
}
