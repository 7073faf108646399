#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools/bare_debian.sh DIR [COMMAND...]: proves the two doors on a Debian 12 without our leftovers. As root: makes a minimal root in DIR
# with debootstrap (kept as DIR/base for the next time), clones the committed tree into it and runs COMMAND there
# (default: ./test). Takes the mirror and apt's settings from this machine. ../shared is bound read-only where it exists.
set -eu
[ $# -ge 1 ] || { sed -n '3,5p' "$0"; exit 2; }
# Mounts of a namespace of our own end with it, however we end: no root is ever left behind with this machine's /dev in it.
[ -n "${BALTORO_OWN_MOUNTS:-}" ] || BALTORO_OWN_MOUNTS=1 exec unshare --mount --propagation private sh "$0" "$@"
dir=$1
shift
[ $# -gt 0 ] || set -- ./test
source=$(cd "$(dirname "$0")/.." && pwd)
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
  sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p' | head -n 1)
mkdir -p "$dir"
[ -d "$dir/base" ] || debootstrap --variant=minbase bookworm "$dir/base" "$mirror" >/dev/null

root=$(mktemp -d "$dir/root.XXXXXX")
finish() {
  umount -R -l "$root/src/shared" "$root/dev" "$root/proc" 2>/dev/null || true
  rm -rf --one-file-system "$root"
}
trap finish EXIT INT TERM
cp -a "$dir/base/." "$root"
rm -f "$root/etc/apt/sources.list"
cp -a /etc/apt/sources.list.d/. "$root/etc/apt/sources.list.d/"
[ ! -f /etc/apt/sources.list ] || cp /etc/apt/sources.list "$root/etc/apt/"
cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
for file in /etc/resolv.conf /etc/hosts "$HOME/.npmrc"; do
  [ ! -f "$file" ] || { mkdir -p "$root$(dirname "$file")" && cp -L "$file" "$root$file"; }
done
if [ -f "${NODE_EXTRA_CA_CERTS:-}" ]; then  # a registry behind a private authority
  mkdir -p "$root/etc/ssl/certs" && cp -L "$NODE_EXTRA_CA_CERTS" "$root/etc/ssl/certs/ca-of-this-machine.crt"
  extra_ca=/etc/ssl/certs/ca-of-this-machine.crt
fi
mount --bind /proc "$root/proc"
mount --rbind --make-rslave /dev "$root/dev"
git clone -q "$source" "$root/src/baltoro"
if [ -d "$source/../shared" ]; then
  mkdir -p "$root/src/shared"
  mount --bind -o ro "$source/../shared" "$root/src/shared"
fi
echo "bare Debian $(cat "$root/etc/debian_version"): $(ls "$root/var/lib/dpkg/info"/*.list | wc -l) packages, running: $*"
env -i HOME="$HOME" PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM="${TERM:-dumb}" LANG=C.UTF-8 \
  ${extra_ca:+NODE_EXTRA_CA_CERTS=$extra_ca} \
  chroot "$root" sh -c 'cd /src/baltoro && exec "$@"' sh "$@"
