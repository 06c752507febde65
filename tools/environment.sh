# Sourced by the commands in tools/: a Python environment of the checkout's own, and nothing of the caller's.
#
# use_environment NAME PIP-ARGUMENTS… installs them, in the versions of constraints.txt, and leaves `$root` (the
# checkout) and `$python` (the interpreter in .venv) set. Needs Python 3.11 or newer as python3 (or as PYTHON says),
# pip and, once, the network.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python

# What the caller set for another Python, or for another store, must not leak in.
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV ${!CAS_@}

say() {
    printf '%s: %s\n' "$0" "$*" >&2
}

use_environment() {
    local name=$1 base=${PYTHON:-python3} wanted
    shift
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

    if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "needs Python 3.11 or newer, which $base is not; name another by PYTHON=/path/to/python3"
        return 1
    fi
    # Two commands started together must not build one environment at the same time.
    exec 9<"$root/pyproject.toml"
    if command -v flock >/dev/null; then flock 9; fi

    if [ "$("$python" --version 2>&1)" != "$("$base" --version)" ] || ! "$python" -m pip --version >/dev/null 2>&1; then
        "$base" -m venv --clear "$root/.venv"
    fi
    # The C source counts as much as the dependencies: an editable install compiles it once.
    local pins=$root/tools/constraints.txt
    wanted=$(cat "$root/pyproject.toml" "$pins" "$root"/cas/kernels/*.[ch] | cksum)
    if [ "$(cat "$root/.venv/installed-$name" 2>&1)" != "$wanted" ]; then
        say "installing into .venv (only the first time, and when pyproject.toml or the C source has changed)"
        "$python" -m pip install -qq --constraint "$pins" "$@"
        printf '%s\n' "$wanted" >"$root/.venv/installed-$name"
    fi
    exec 9<&-
}
