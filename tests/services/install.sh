#!/usr/bin/env bash
# Installs the Debian packages that the tests' real services need, when any is missing. With arguments: only those.
# Where that is not possible it says what to install, and the tests that need a service skip and say so.
set -euo pipefail

packages=("$@")
if [ ${#packages[@]} -eq 0 ]; then
    packages=(
        chromium default-jre-headless maven prometheus redis-server
        gir1.2-gst-rtsp-server-1.0 python3-gi
        gstreamer1.0-plugins-bad gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
    )
fi

# A program may also have come from elsewhere than its Debian package.
have() {
    case $1 in
        chromium | prometheus | redis-server) command -v "$1" ;;
        default-jre-headless) command -v java ;;
        maven) command -v mvn ;;
        *) [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2> /dev/null)" = installed ] ;;
    esac > /dev/null
}

missing=()
for package in "${packages[@]}"; do
    have "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo --non-interactive)
if ! command -v apt-get > /dev/null || ! "${as_root[@]}" true 2> /dev/null; then
    echo "to run every test, install what these Debian packages hold: ${missing[*]}" >&2
    exit 0
fi

echo "installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes -qq --no-install-recommends "${missing[@]}" > /dev/null
