#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drives the server with the real `openai` npm client (server_openai.mjs, server_responses.mjs), once for each of the
bundled models.

usage: server_openai.test.py BALTORO    exit 77: Node or the client is not installed (npm ci in tests/e2e)"""
import os
import sys

from node_script import node_with, run_script, stopped_well
from server_process import ROOT, ServerProcess

node = node_with("openai")
good = True
for model in ("ledger", "ledger-bf16"):
    with ServerProcess(os.path.abspath(sys.argv[1]), "--api-key", "test-key", "--api-key", "other-key", "--model-name", "ledger",
                       model=model) as server:
        print(f"-- {model}", flush=True)
        folder = os.path.join(ROOT, "models", model)
        ran = run_script(node, "server_openai.mjs", server, "test-key", folder)
        ran &= run_script(node, "server_responses.mjs", server, "test-key", "other-key", folder)
        good &= stopped_well(server, ran)
sys.exit(0 if good else 1)
