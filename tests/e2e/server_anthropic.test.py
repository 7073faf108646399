#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drives the server with the real `@anthropic-ai/sdk` npm client (server_anthropic.mjs), and twice with one key file, so
that thoughts of the first run are known to the second.

usage: server_anthropic.test.py BALTORO    exit 77: Node or the client is not installed (npm ci in tests/e2e)"""
import os
import shutil
import subprocess
import sys
import tempfile

from server_process import ROOT, ServerProcess

HERE = os.path.dirname(os.path.abspath(__file__))
node = os.environ.get("NODE") or shutil.which("node") or shutil.which("nodejs")
if node is None:
    print("skipped: no Node.js here")
    sys.exit(77)
if not os.path.isdir(os.path.join(HERE, "node_modules", "@anthropic-ai", "sdk")):
    print("skipped: the Anthropic client is not installed: npm ci --ignore-scripts in tests/e2e")
    sys.exit(77)

failed = 0
with tempfile.TemporaryDirectory() as folder:
    for run in ("first", "again"):
        with ServerProcess(os.path.abspath(sys.argv[1]), "--api-key", "test-key", "--model-name", "ledger",
                           "--thinking-key-file", os.path.join(folder, "key")) as server:
            print(f"-- {run}", flush=True)
            result = subprocess.run([node, os.path.join(HERE, "server_anthropic.mjs"), server.url, "test-key",
                                     os.path.join(ROOT, "models", "ledger"), os.path.join(folder, "thought.json")],
                                    timeout=240, check=False)
            failed |= result.returncode
            code = server.stop()
            if result.returncode or code:
                print(f"server exit {code}, last lines of its log:", *server.log[-5:], sep="\n", end="")
                failed |= 1
            with open(os.path.join(folder, "key"), "rb") as file:
                key = file.read()
                if any(key.hex() in line for line in server.log):
                    print("FAILED: the key is in the log")
                    failed = 1
sys.exit(1 if failed else 0)
