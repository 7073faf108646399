#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the npm lock files: exact versions, checksums, no addresses of packages, and nothing named that is not held
(`npm ci` refuses such a file, and everything that needs its packages would be left out)."""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def holds(packages, place, name):
    """True if a package at `place` finds `name` as Node.js does: in its own node_modules or in one further out."""
    while True:
        if (place + "/" if place else "") + "node_modules/" + name in packages:
            return True
        if not place:
            return False
        place = place.rpartition("/node_modules/")[0]


def faults(lock):
    wanted = json.loads(lock.with_name("package.json").read_text()).get("dependencies", {})
    text = lock.read_text()
    packages = json.loads(text)["packages"]
    if '"resolved"' in text:
        yield "addresses of packages"
    if packages[""].get("dependencies", {}) != wanted:
        yield "other dependencies than package.json"
    for name, version in wanted.items():
        if not re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", version):
            yield f"{name} {version} is no exact version"
    for place, package in packages.items():
        if place and "integrity" not in package and not package.get("inBundle"):
            yield f"{place} has no checksum"
        for name in package.get("optionalDependencies", {}) | package.get("dependencies", {}):
            if not holds(packages, place, name):
                yield f"{place or 'package.json'} names {name}, which is not held"


locks = [p for p in sorted(ROOT.rglob("package-lock.json")) if not {"build", "node_modules"} & set(p.relative_to(ROOT).parts)]
bad = [f"{lock.relative_to(ROOT)}: {fault}" for lock in locks for fault in faults(lock)]
print("\n".join(bad) or f"locks: {len(locks)} files hold what they name")
sys.exit(1 if bad else 0)
