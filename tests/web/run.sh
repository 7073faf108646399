#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./test web: the chat page in headless Chromium (installed when missing, 500 MB), against a stand-in that plays
# answers and against `baltoro serve` with the bundled model. Screenshots go to build/web/ or $SHOTS.
set -eu
cd "$(dirname "$0")/../.."
. tools/install_packages.sh
# shellcheck disable=SC2086
need_packages $BUILD_PACKAGES
if ! command -v npm >/dev/null 2>&1; then need_packages nodejs npm; fi
if [ -z "${CHROMIUM:-}" ] && ! command -v chromium-headless-shell >/dev/null 2>&1 && ! command -v chromium >/dev/null 2>&1; then
  need_packages chromium-headless-shell fonts-liberation2
fi
if ! cmp -s tests/web/package-lock.json tests/web/node_modules/.baltoro-lock; then
  (cd tests/web && npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --loglevel=error)
  cp tests/web/package-lock.json tests/web/node_modules/.baltoro-lock
fi
cmake --preset release >/dev/null
cmake --build --preset release --target baltoro
export BALTORO="$PWD/build/release/baltoro" SHOTS="${SHOTS:-$PWD/build/web}"
node --test tests/web/unit/*.test.mjs
exec node --test tests/web/page.test.mjs tests/web/model.test.mjs
