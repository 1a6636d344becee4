#!/bin/sh
# Make .venv with Modelyard in it, or leave it as it is where nothing changed. Quick when there is nothing to do.
#
#   scripts/setup.sh              the product
#   scripts/setup.sh dev docs     and these dependency groups of pyproject.toml
#
# PYTHON names the interpreter to build with (3.11 or newer); else the newest python3 on the PATH is taken.
set -eu
cd "$(dirname "$0")/.."

# Bytecode is compiled once, here: without it every command would pay for compiling its imports again.
unset PYTHONDONTWRITEBYTECODE VIRTUAL_ENV PYTHONPATH PYTHONHOME || true

fail() {
    printf '%s\n' "setup: $1" "  next: $2" >&2
    exit 1
}

good() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if good "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer was found" "install one, or name it: PYTHON=/path/to/python3 make ..."
}

make_venv() {
    python=$(find_python)
    echo "setup: making .venv with $("$python" --version)"
    rm -rf .venv
    if ! "$python" -m venv .venv >.venv.log 2>&1; then
        cat .venv.log >&2
        rm -rf .venv .venv.log
        fail "$python cannot make a virtual environment" "install its venv module (on Debian and Ubuntu: apt-get install python3-venv)"
    fi
    rm -f .venv.log
}

install() { # install FLAGS...: uv where pip has brought it, one transaction
    .venv/bin/uv pip install --quiet --python .venv/bin/python --compile-bytecode "$@"
}

# One stamp a group, named after what it was made from: pyproject.toml, this script and the place of the checkout.
stamp=$({ cat pyproject.toml scripts/setup.sh; pwd; } | cksum | tr -dc '0-9')
# shellcheck disable=SC2086 # words on purpose
missing=$(for group in product "$@"; do [ -f ".venv/.ready-$group-$stamp" ] || echo "$group"; done)
[ -n "$missing" ] || exit 0

good .venv/bin/python || make_venv
[ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.7' ||
    fail "pip could not install uv" "see the lines above; is the package index reachable?"

started=$(date +%s)
groups=""
for group in "$@"; do groups="$groups --group $group"; done
echo "setup: installing modelyard$groups"
# shellcheck disable=SC2086 # words on purpose
install -e . $groups || fail "the dependencies could not be installed" "see the lines above; is the package index reachable?"
for group in product "$@"; do
    rm -f .venv/.ready-"$group"-*
    : >".venv/.ready-$group-$stamp"
done
echo "setup: ready after $(($(date +%s) - started)) s"
