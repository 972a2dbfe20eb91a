#!/usr/bin/env bash
# deb-program.sh PACKAGE PROGRAM FILE
# FILE becomes PROGRAM of a Debian package, which is only unpacked: nothing is installed, no service is started.
# Does nothing if FILE is there.
set -euo pipefail

package=$1 program=$2 file=$3
[[ ! -x $file ]] || exit 0
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fetch() { apt-get -q download "$package/$release" || apt-get -q download "$package"; }
{ fetch || { apt-get -q update && fetch; }; } > log 2>&1 || {
    cat log >&2
    echo "deb-program.sh: cannot download the package $package" >&2
    exit 1
}
dpkg-deb -x "$package"_*.deb x
found=$(find x -type f -path "*bin/$program" | head -1)
[[ -n $found ]] || { echo "deb-program.sh: $package has no program $program" >&2; exit 1; }
mkdir -p "$(dirname "$file")"
install -m 755 "$found" "$file"
