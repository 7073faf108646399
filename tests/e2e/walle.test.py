#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every valid schema of ../shared/fixtures/walle as a strict tool and as response_format, with random weights and the
real vocabulary: what comes back must satisfy the schema (ajv), streamed and not, forced, required and named.

usage: walle.test.py BALTORO [MAX_TOKENS [EVERY]]   EVERY n takes each n-th schema (default 8: a fast run; 1: all)
exit 77: the fixtures, Node or ajv are not there (npm ci in tests/e2e)"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from server_process import ROOT, ServerProcess

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.environ.get("BALTORO_SHARED_DIR") or os.path.join(ROOT, "..", "shared")
WALLE, KIMI = os.path.join(SHARED, "fixtures", "walle"), os.path.join(SHARED, "tokenizer", "kimi")
node = os.environ.get("NODE") or shutil.which("node") or shutil.which("nodejs")
for needed, there in (("Node.js", node), (WALLE, os.path.isdir(WALLE)), (KIMI, os.path.isdir(KIMI)),
                      ("ajv (npm ci --ignore-scripts in tests/e2e)", os.path.isdir(os.path.join(HERE, "node_modules", "ajv")))):
    if not there:
        print(f"skipped: no {needed}")
        sys.exit(77)
baltoro = os.path.abspath(sys.argv[1])
max_tokens = sys.argv[2] if len(sys.argv) > 2 else "120"
every = sys.argv[3] if len(sys.argv) > 3 else "8"

with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(ROOT, "configs", "tiny.json"), encoding="utf-8") as file:
        config = json.load(file)
    config |= {"vocab_size": 163840, "hidden_size": 64, "num_hidden_layers": 2, "n_routed_experts": 4, "bos_token_id": 163584,
               "eos_token_id": 163586, "pad_token_id": 163839}
    with open(os.path.join(folder, "config.in.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    model = os.path.join(folder, "random")
    subprocess.run([baltoro, "synth", "--config", file.name, "--out", model, "--tokenizer", KIMI, "--seed", "5"], check=True,
                   stdout=subprocess.DEVNULL)
    with ServerProcess(baltoro, "--max-sequences", "16", "--family", "k2-instruct", model=model) as server:
        result = subprocess.run([node, os.path.join(HERE, "walle.mjs"), server.url, WALLE, max_tokens, every], check=False)
        metrics = server.metrics()
        masks = max(1, next((v for k, v in metrics.items() if k.endswith("masks_total")), 1))
        seconds = next((v for k, v in metrics.items() if k.endswith("mask_seconds_total")), 0)
        print(f"{masks:.0f} masks, {1e6 * seconds / masks:.1f} us each in the mean")
        code = server.stop()
sys.exit(1 if result.returncode or code else 0)
