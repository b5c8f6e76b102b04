#!/usr/bin/env bash
# What `make demo` needs of the system: with a terminal it opens the user's own browser and needs nothing; without one
# (CI, scripts) it drives headless Chromium. A browser that cannot be installed stops only the second half of the demo,
# which says so itself and fails: the native half runs first either way.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -t 0 ] && [ -t 1 ]; then exit 0; fi
scripts/system_packages.sh chromium ||
    echo "the native half of the demo follows; the page needs the browser named above" >&2
