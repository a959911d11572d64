#!/bin/bash
# fetch_root.sh SUITES PYTHON ARCHITECTURE FOLDER     e.g. "trixie sid" 3.13 arm64 build/roots/arm64-3.13
#
# Unpacks the Debian CPython of another architecture (its interpreter, library and headers) into FOLDER, to compile
# against and to run under qemu-user; of the suites, from the first whose index the mirror has whole.  apt works on a
# state of its own here: the machine's package lists and architectures stay as they are.
set -euo pipefail
suites=$1 python=$2 architecture=$3 folder=$(mkdir -p "$4" && cd "$4" && pwd)
names=(libc6 libgcc-s1 libexpat1 zlib1g libbz2-1.0 liblzma5 libffi8 libsqlite3-0 libuuid1 libzstd1 "libpython$python"
    "libpython$python-dev" "libpython$python-minimal" "libpython$python-stdlib" "python$python-minimal")
[ "$(cat "$folder/.complete" 2>/dev/null)" = "${names[*]}" ] && exit 0

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state"/lists/partial "$state"/cache/archives/partial "$state"/debs
: > "$state/status"
chmod -R a+rwX "$state"
mirror=$(awk '/^URIs/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null ||
         awk '/^deb / {print $2; exit}' /etc/apt/sources.list)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
cat > "$state/apt.conf" <<CONF
Dir::Etc::SourceList "$state/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$state";
Dir::State::status "$state/status";
Dir::Cache "$state/cache";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "$architecture"; };
CONF
export APT_CONFIG=$state/apt.conf
for suite in $suites; do
    echo "deb [signed-by=$keyring arch=$architecture] $mirror $suite main" > "$state/sources.list"
    apt-get -qq update && break
done

ssl=libssl3
apt-cache show "libssl3t64:$architecture" > /dev/null 2>&1 && ssl=libssl3t64
packages=("$ssl:$architecture")
for name in "${names[@]}"; do packages+=("$name:$architecture"); done
(cd "$state/debs" && apt-get -qq download "${packages[@]}")
for package in "$state"/debs/*.deb; do dpkg -x "$package" "$folder"; done
[ -e "$folder/lib" ] || ln -s usr/lib "$folder/lib"
echo "${names[*]}" > "$folder/.complete"
