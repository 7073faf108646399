# SPDX-License-Identifier: Apache-2.0
# Sourced by ./run and ./test: need_packages PACKAGE... installs those that dpkg does not have. Debian 12, root or sudo.

missing_packages() {
  for package in "$@"; do
    # A package that is unpacked but not configured does not count.
    if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
      printf '%s ' "$package"
    fi
  done
}

need_packages() {
  missing=$(missing_packages "$@")
  if [ -z "$missing" ]; then return 0; fi
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "These packages are missing and there is no apt-get to install them: $missing" >&2
    return 1
  fi
  as_root=
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      echo "These packages are missing; install them as root: apt-get install $missing" >&2
      return 1
    fi
    as_root=sudo
  fi
  echo "Installing: $missing" >&2
  # The lists may be stale or absent: try as it is, then refresh once.
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
    { $as_root apt-get update -qq >&2 &&
      $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2; }
}

BUILD_PACKAGES="g++ cmake ninja-build pkg-config libfmt-dev libsimdjson-dev libcli11-dev libssl-dev libboost1.81-dev \
libedit-dev liburing-dev libgtest-dev libgmock-dev"
