#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every valid schema of ../shared/fixtures/walle as a strict tool and as response_format, with random weights and the
real vocabulary: what comes back must satisfy the schema (ajv), streamed and not, forced, required and named.

usage: walle.test.py BALTORO [MAX_TOKENS [EVERY]]   EVERY n takes each n-th schema (default 8: a fast run; 1: all)
exit 77: the fixtures, Node or ajv are not there (npm ci in tests/e2e)"""
import json
import os
import subprocess
import sys
import tempfile

from node_script import node_with, run_script, skipped, stopped_well
from server_process import ROOT, ServerProcess

SHARED = os.environ.get("BALTORO_SHARED_DIR") or os.path.join(ROOT, "..", "shared")
WALLE, KIMI = os.path.join(SHARED, "fixtures", "walle"), os.path.join(SHARED, "tokenizer", "kimi")
node = node_with("ajv")
for fixture in (WALLE, KIMI):
    if not os.path.isdir(fixture):
        sys.exit(skipped(f"no {fixture}"))
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
        ran = run_script(node, "walle.mjs", server, WALLE, max_tokens, every, seconds=None)
        metrics = server.metrics()
        masks = metrics["baltoro_token_mask_seconds_count"]
        counts = sorted((float(name.split('"')[1]), count) for name, count in metrics.items()
                        if name.startswith("baltoro_token_mask_seconds_bucket"))
        within = lambda share: 1e6 * next(bound for bound, count in counts if count >= share * counts[-1][1])
        print(f"{masks:.0f} masks, {1e6 * metrics['baltoro_token_mask_seconds_sum'] / max(1, masks):.1f} us each in the mean; "
              f"half within {within(0.5):g} us, 99 % within {within(0.99):g} us, all within {within(1):g} us")
        good = stopped_well(server, ran and masks > 0)
sys.exit(0 if good else 1)
