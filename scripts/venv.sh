#!/usr/bin/env bash
# Make .venv hold this checkout and one set of extras ("demo", "test" or "bench"); does nothing when it already does.
# The stamp names the set, the checkout's path, Python and pyproject.toml's checksum, so that a changed dependency,
# another interpreter or a moved checkout installs again, and a virtual environment made by hand is adopted.
set -euo pipefail
cd "$(dirname "$0")/.."

set_name=${1:?usage: scripts/venv.sh demo|test|bench}
venv=.venv

supported() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

want() { echo "$1 $PWD $("$venv/bin/python" -V) $(cksum <pyproject.toml)"; }

if [ -e "$venv" ]; then
    # Without its pyvenv.cfg a .venv would quietly be the Python below it: sys.prefix says so.
    if ! supported "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
        [ "$("$venv/bin/python" -c 'import os, sys; print(os.path.realpath(sys.prefix))')" != "$(cd "$venv" && pwd -P)" ]; then
        echo "$venv does not work here (not a virtual environment, without pip, or older than Python 3.11): making it anew" >&2
        rm -rf "$venv"
    fi
fi

if [ ! -e "$venv" ]; then
    python=
    for candidate in "${HITHER_PYTHON:-python3.13}" python3.13 python3.12 python3.11 python3.14 python3 python; do
        if supported "$candidate"; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "hither needs Python 3.11 or newer and found none on PATH. Install one (Debian: apt-get install python3" >&2
        echo "python3-venv), or name one: HITHER_PYTHON=/path/to/python3 make ..." >&2
        exit 1
    fi
    echo "making $venv with $("$python" -V)" >&2
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        echo "$python could not make a virtual environment; on Debian and Ubuntu install python3-venv:" >&2
        echo "  apt-get install python3-venv" >&2
        exit 1
    fi
fi

# The test set contains the demo's, the benchmarks' both.
case "$set_name" in
    demo) containing="demo test bench" ;;
    test) containing="test bench" ;;
    *) containing=$set_name ;;
esac
for stamp in $containing; do
    if [ -f "$venv/.hither-$stamp" ] && [ "$(cat "$venv/.hither-$stamp")" = "$(want "$stamp")" ]; then
        exit 0
    fi
done

echo "installing hither[$set_name] into $venv" >&2
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet --editable ".[$set_name]"
want "$set_name" >"$venv/.hither-$set_name"
