#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what no compiler does: file sizes, licence lines, kept-out headers, size of the tree."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES, MAX_LINES_TEST, MAX_TREE_BYTES = 800, 1200, 30_000_000
# Headers that may be included only in .cc files of the named places: they cost 10-60 s of compile time a file.
KEPT = {
    r"<simdjson\.h>": ("baltoro/base/",),
    r"<boost/": ("baltoro/server/",),
    r'"baltoro/server/http_(?:accept|session)\.h"': ("baltoro/server/http_",),
    r"<regex>": (),
    r"<CLI/": ("baltoro/cli/",),
    r"<gtest/|<gmock/": ("test",),
}
# Headers that may include them all the same, as they are kept to .cc files themselves.
PRIVATE = {"baltoro/server/http_accept.h", "baltoro/server/http_session.h"}

try:
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=True).stdout
    files = [ROOT / name for name in listing.decode().split("\0") if name and (ROOT / name).is_file()]
except (OSError, subprocess.CalledProcessError):
    files = [p for p in ROOT.rglob("*") if p.is_file() and not {"build", "node_modules", ".git"} & set(p.relative_to(ROOT).parts)]
bad = []
for path in files:
    name = str(path.relative_to(ROOT))
    if path.suffix not in (".h", ".cc"):
        continue
    text = path.read_text()
    lines = text.count("\n")
    limit = MAX_LINES_TEST if name.endswith(("_test.cc", "_table.cc")) else MAX_LINES
    if lines > limit:
        bad.append(f"{name}: {lines} lines, at most {limit}")
    if not text.startswith("// SPDX-License-Identifier: Apache-2.0\n"):
        bad.append(f"{name}: the first line is not the SPDX licence line")
    for pattern, places in KEPT.items():
        if re.search(r"#\s*include " + f"(?:{pattern})", text):
            public = path.suffix == ".h" and "test" not in name and name not in PRIVATE
            if public or not any(place in name for place in places):
                bad.append(f"{name}: includes {pattern}, which is kept to .cc files of {places or 'nowhere'}")
total = sum(path.stat().st_size for path in files)
if total > MAX_TREE_BYTES:
    bad.append(f"tracked files are {total} bytes, at most {MAX_TREE_BYTES}")
print("\n".join(bad) or f"tree: {len(files)} files, {total / 1e6:.1f} MB, sizes and headers are in order")
sys.exit(1 if bad else 0)
