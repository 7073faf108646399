#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drives the server with the real `@anthropic-ai/sdk` npm client (server_anthropic.mjs), and twice with one key file, so
that thoughts of the first run are known to the second.

usage: server_anthropic.test.py BALTORO    exit 77: Node or the client is not installed (npm ci in tests/e2e)"""
import os
import sys
import tempfile

from node_script import node_with, run_script, stopped_well
from server_process import ROOT, ServerProcess

node = node_with("@anthropic-ai/sdk")
good = True
with tempfile.TemporaryDirectory() as folder:
    for run in ("first", "again"):
        with ServerProcess(os.path.abspath(sys.argv[1]), "--api-key", "test-key", "--model-name", "ledger",
                           "--seal-key-file", os.path.join(folder, "key")) as server:
            print(f"-- {run}", flush=True)
            ran = run_script(node, "server_anthropic.mjs", server, "test-key", os.path.join(ROOT, "models", "ledger"),
                             os.path.join(folder, "thought.json"))
            good &= stopped_well(server, ran)
            with open(os.path.join(folder, "key"), encoding="ascii") as file:
                key = file.read().strip()
            if any(key in line for line in server.log):
                print("FAILED: the key is in the log")
                good = False
sys.exit(0 if good else 1)
