#!/bin/sh
# Builds .venv from the hashed locks: `base` (to run) or `dev` (to test and check).
#
# Uses uv if it is on PATH, else the newest Python found; installs uv from its own hashed lock and
# falls back to plain pip, which reads the same lock and honours pip's own configuration.
# Does nothing when the locks have not changed since the last time.
set -eu
cd "$(dirname "$0")/.."

want=${1:?usage: deploy/install.sh base|dev}
stamp=.venv/.reclamo-installed
say() { printf '%s\n' "$*" >&2; }
# The head of pyproject.toml says what is installed; the settings of tools below it do not matter.
sum() { { pwd; cat "requirements/$1.txt"; sed '/^\[tool\.pytest/,$d' pyproject.toml; } | cksum; }
works() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# An environment that once had the test tools keeps them: `make run` takes nothing away.
[ -f "$stamp" ] && grep -q '^dev ' "$stamp" && want=dev
if [ -f "$stamp" ] && works .venv/bin/python && grep -qxF "$want $(sum "$want")" "$stamp"; then
    exit 0
fi
lock=requirements/$want.txt
[ -f .venv/pyvenv.cfg ] && ! works .venv/bin/python && rm -rf .venv

# Prints the newest Python that can build an environment; else says exactly what is missing.
find_python() {
    old= bare=
    for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
        command -v "$name" >/dev/null 2>&1 || continue
        if ! works "$name"; then
            # A name that cannot even tell its version (a shim without its Python) is not a Python.
            ! version=$("$name" --version 2>&1) || old=$version
        elif ! "$name" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            bare=${bare:-$name}
        else
            command -v "$name"
            return 0
        fi
    done
    if [ -n "$bare" ]; then
        version=$("$bare" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "Python $version is here, but it cannot build environments (no ensurepip). Fix:"
        say "  Debian, Ubuntu:  sudo apt-get install python$version-venv"
        say "  or install uv, which needs nothing else, and repeat."
    else
        say "Reclamo needs Python 3.11 or newer; found: ${old:-no Python at all}. Fix, one of:"
        say "  Debian, Ubuntu:  sudo apt-get install python3 python3-venv"
        say "  Fedora:          sudo dnf install python3.12"
        say "  macOS:           brew install python@3.13"
        say "  or install uv, which brings a Python, and repeat."
    fi
    return 1
}

# $1: the uv to use; then locks besides $lock, so that `sync` does not take uv itself away.
with_uv() {
    uv=$1
    shift
    "$uv" pip sync --quiet --python .venv/bin/python --require-hashes "$lock" "$@" &&
        "$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
}

with_pip() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --require-hashes -r "$lock" &&
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --no-deps --no-build-isolation -e .
}

build() {
    if command -v uv >/dev/null 2>&1; then
        { [ -d .venv ] || uv venv --quiet --python '>=3.11' .venv; } && with_uv uv && return 0
        say "uv could not do it; trying again without uv."
    fi
    if [ ! -d .venv ]; then
        python=$(find_python) || return 1
        "$python" -m venv .venv || return 1
    elif ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        .venv/bin/python -m ensurepip >/dev/null || return 1
    fi
    if .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --require-hashes -r requirements/uv.txt; then
        with_uv .venv/bin/uv requirements/uv.txt && return 0
        say "uv could not do it; trying again with plain pip."
    fi
    with_pip
}

say "Installing into .venv from $lock ..."
rm -f "$stamp"
if ! build; then
    say "The installation failed; the lines above say why. Nothing outside .venv was changed."
    exit 1
fi
{
    echo "base $(sum base)"
    [ "$want" = base ] || echo "dev $(sum dev)"
} >"$stamp"
