#!/usr/bin/env bash
# Debian packages that a virtual environment, Xvfb and Qt need; quick when they are there.
set -euo pipefail

packages=(
    python3-venv xvfb xauth libgl1 libegl1 libgl1-mesa-dri libglib2.0-0 libdbus-1-3
    libfontconfig1 fonts-dejavu-core libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4
    libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xkb1
)

if ! command -v dpkg-query > /dev/null; then
    echo "Not a Debian system: please see that Xvfb and Qt's libraries are installed." >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
    # newer releases renamed some libraries with a t64 ending
    renamed=$(dpkg-query -W -f '${db:Status-Status}' "${package}t64" 2> /dev/null || true)
    [[ $status == installed || $renamed == installed ]] || missing+=("$package")
done

if ((${#missing[@]} == 0)); then
    exit 0
fi
if ((EUID != 0)); then
    echo "Please install these first, then run make again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
