#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./test clients [OPTIONS]: installs the pinned clients, builds the server, runs all of it where only the loopback is
# there. OPTIONS are those of run.mjs. BALTORO_BINARY names a built program to use instead.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$root/tools/install_packages.sh"
if ! command -v npm >/dev/null 2>&1; then need_packages nodejs npm; fi

binary=${BALTORO_BINARY:-$root/build/release/baltoro}
if [ -z "${BALTORO_BINARY:-}" ]; then
  # shellcheck disable=SC2086
  need_packages $BUILD_PACKAGES
  (cd "$root" && cmake --preset release >/dev/null && cmake --build --preset release --target baltoro)
fi

# Install scripts stay off: no program of a package runs before its own test.
for folder in "$here" "$here/agents"; do
  cmp -s "$folder/package-lock.json" "$folder/node_modules/.baltoro-lock" && continue
  if (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --loglevel=error); then
    cp "$folder/package-lock.json" "$folder/node_modules/.baltoro-lock"
  else
    echo "npm ci failed in $folder: what needs it fails, or is skipped with --skip-missing" >&2
  fi
done

node=$here/node_modules/.bin/node  # several clients need Node 22 or later
[ -x "$node" ] && "$node" --version >/dev/null 2>&1 || node=$(command -v node || command -v nodejs)
if unshare -rn sh -c 'ip link set lo up' 2>/dev/null; then
  exec unshare -rn sh -c 'ip link set lo up && exec "$@"' sh "$node" "$here/run.mjs" "$binary" "$@"
fi
echo "no private network here (unshare -rn): clients could reach others than the loopback" >&2
exec "$node" "$here/run.mjs" "$binary" "$@"
