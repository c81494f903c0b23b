#!/usr/bin/env bash
# Installs what the tests against real servers need: OpenSSH's sshd and sftp, GnuPG, Info-ZIP, xmlsec1, Azurite (Azure Blob
# Storage) and moto (S3). Debian's packages need root; the others go into $HOME/.cache/hrsink. What is there is left alone.
#
#   tests/external.sh && HRSINK_TEST_SERVERS=1 cargo test
#
# Tests that make accounts need root; `HRSINK_TEST_SERVERS=unprivileged` leaves them out.
set -euo pipefail

cache="${XDG_CACHE_HOME:-$HOME/.cache}/hrsink"
azurite=3.35.0
moto=5.2.5

packages=()
want() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || packages+=("$2"); }
want sshd openssh-server
want sftp openssh-client
want gpg gnupg
want zip zip
want xmlsec1 xmlsec1
want node nodejs
want npm npm
python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
if [ "${#packages[@]}" -gt 0 ]; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -q
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

# A venv or a node prefix that was not finished has no mark of its version, and is made anew.
if [ ! -e "$cache/moto/.$moto" ]; then
    rm -rf "$cache/moto"
    python3 -m venv "$cache/moto"
    "$cache/moto/bin/pip" install -q "moto[server]==$moto"
    touch "$cache/moto/.$moto"
fi
if [ ! -e "$cache/azurite/.$azurite" ]; then
    rm -rf "$cache/azurite"
    npm install --silent --no-fund --no-audit --prefix "$cache/azurite" "azurite@$azurite"
    touch "$cache/azurite/.$azurite"
fi
