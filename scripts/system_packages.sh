#!/usr/bin/env bash
# Make sure of the named system packages ("chromium", "vulkan"): install what is missing with apt-get when allowed
# (root or sudo without a password), otherwise say precisely what to install and fail. Fast when nothing is missing.
set -euo pipefail

has_chromium() {
    local name
    for name in "${HITHER_CHROMIUM:-chromium}" chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null; then return 0; fi
    done
    [ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ]
}

# WebGPU outside the browser goes through Metal on macOS and Direct3D on Windows; elsewhere it needs a Vulkan loader
# and at least one driver, for which Mesa's software driver will do.
has_vulkan() {
    case "$(uname -s)" in Linux) ;; *) return 0 ;; esac
    local loader folder
    loader=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -c 'libvulkan\.so\.1' || true)
    [ "$loader" != 0 ] || return 1
    if [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ]; then return 0; fi
    for folder in /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d "$HOME/.local/share/vulkan/icd.d"; do
        if compgen -G "$folder/*.json" >/dev/null; then return 0; fi
    done
    return 1
}

missing=()
packages=()
for need in "$@"; do
    case "$need" in
        chromium) has_chromium || { missing+=("a Chromium browser"); packages+=(chromium); } ;;
        vulkan) has_vulkan || { missing+=("a Vulkan driver"); packages+=(mesa-vulkan-drivers libvulkan1); } ;;
        *) echo "usage: scripts/system_packages.sh [chromium] [vulkan]; got '$need'" >&2; exit 2 ;;
    esac
done
[ "${#missing[@]}" -gt 0 ] || exit 0

what=$(printf ', %s' "${missing[@]}")
what=${what:2}
run=()
if [ "$(id -u)" != 0 ]; then run=(sudo -n); fi
# After one installation the answer is final: a package that exists but brings nothing usable must not loop.
if [ -z "${HITHER_INSTALLED:-}" ] && command -v apt-get >/dev/null && { [ "${#run[@]}" = 0 ] || sudo -n true 2>/dev/null; }; then
    echo "installing $what: apt-get install ${packages[*]}" >&2
    wait_for_lock=(-o DPkg::Lock::Timeout=300)
    export DEBIAN_FRONTEND=noninteractive
    ${run[@]+"${run[@]}"} apt-get "${wait_for_lock[@]}" -qq update
    ${run[@]+"${run[@]}"} apt-get "${wait_for_lock[@]}" -qq -y --no-install-recommends install "${packages[@]}" </dev/null >&2
    HITHER_INSTALLED=1 exec bash "$0" "$@"
fi

if [ -n "${HITHER_INSTALLED:-}" ]; then
    echo "apt-get installed ${packages[*]}, which still leaves missing: $what. Please install by hand:" >&2
else
    echo "missing: $what, and this user may not install system packages here. Please install:" >&2
fi
if [ "$(uname -s)" = Darwin ]; then
    echo "  Google Chrome or Chromium in /Applications, or HITHER_CHROMIUM=/path/to/chromium" >&2
else
    echo "  Debian, Ubuntu:  sudo apt-get update && sudo apt-get install ${packages[*]}" >&2
    echo "  other systems:   the packages that provide $what (a browser elsewhere: HITHER_CHROMIUM=/path/to/chromium)" >&2
fi
exit 1
