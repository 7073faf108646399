# SPDX-License-Identifier: Apache-2.0
"""Runs a script of Node.js against a running server, for end-to-end tests with real clients."""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def node_with(*packages):
    """Node.js; ends the test as skipped where it or a package of tests/e2e is not there."""
    node = os.environ.get("NODE") or shutil.which("node") or shutil.which("nodejs")
    if node is None:
        sys.exit(skipped("no Node.js"))
    for package in packages:
        if not os.path.isdir(os.path.join(HERE, "node_modules", *package.split("/"))):
            sys.exit(skipped(f"no {package}: npm ci --ignore-scripts in tests/e2e"))
    return node


def skipped(why):
    """The exit status of a test that cannot run here."""
    print(f"skipped: {why}")
    return 77


def run_script(node, script, server, *arguments, seconds=240):
    """True if the script, given the server's URL and the arguments, ends well."""
    return subprocess.run([node, os.path.join(HERE, script), server.url, *arguments], timeout=seconds, check=False).returncode == 0


def stopped_well(server, ran_well):
    """Stops the server; True if it and what ran before ended well, else its last words are shown."""
    code = server.stop()
    if code or not ran_well:
        print(f"server exit {code}, last lines of its log:", *server.log[-5:], sep="\n", end="")
    return ran_well and code == 0
