#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drives the server with the real `openai` npm client (server_openai.mjs, server_responses.mjs), once for each of the
bundled models.

usage: server_openai.test.py BALTORO    exit 77: Node or the client is not installed (npm ci in tests/e2e)"""
import os
import shutil
import subprocess
import sys

from server_process import ROOT, ServerProcess

HERE = os.path.dirname(os.path.abspath(__file__))
node = os.environ.get("NODE") or shutil.which("node") or shutil.which("nodejs")
if node is None:
    print("skipped: no Node.js here")
    sys.exit(77)
if not os.path.isdir(os.path.join(HERE, "node_modules", "openai")):
    print("skipped: the openai client is not installed: npm ci --ignore-scripts in tests/e2e")
    sys.exit(77)

failed = 0
for model in ("ledger", "ledger-bf16"):
    with ServerProcess(os.path.abspath(sys.argv[1]), "--api-key", "test-key", "--api-key", "other-key", "--model-name", "ledger", "--max-sequences",
                       "32", model=model) as server:
        print(f"-- {model}", flush=True)
        folder, result = os.path.join(ROOT, "models", model), 0
        for script, keys in ("server_openai.mjs", ["test-key"]), ("server_responses.mjs", ["test-key", "other-key"]):
            command = [node, os.path.join(HERE, script), server.url, *keys, folder]
            result |= subprocess.run(command, timeout=140, check=False).returncode
        failed |= result
        code = server.stop()
        if result or code:
            print(f"server exit {code}, last lines of its log:", *server.log[-5:], sep="\n", end="")
            failed |= 1
sys.exit(1 if failed else 0)
