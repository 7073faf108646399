#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tables of deviations in docs/parity.md: `baltoro deviation` on every golden checkpoint and on the bundled models,
and the tasks that the bundled models solve.

usage: deviation_table.py BALTORO SHARED"""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEAD = ("set", "arithmetic", "positions", "logits RMS", "KL mean", "KL max", "same top", "perplexity")


def golden_tokens(path):
    """The prompt and its greedy continuation."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        begin = file.tell()

        def read(name):
            first, last = header[name]["data_offsets"]
            file.seek(begin + first)
            return list(struct.unpack(f"<{(last - first) // 4}i", file.read(last - first)))
        prompt, answer = read("tokens"), read("greedy")
        return [{"tokens": prompt + answer, "scored_from": len(prompt)}]


def turns(path):
    """Prompt and answer of every turn that a trained model has learned."""
    with open(path, encoding="utf-8") as file:
        cases = json.load(file)["cases"]
    return [{"tokens": turn["prompt_ids"] + turn["output_ids"], "scored_from": len(turn["prompt_ids"])}
            for case in cases for turn in case["turns"]]


def sets(shared):
    root = os.path.join(shared, "fixtures", "checkpoints")
    for family in sorted(os.listdir(root)):
        for kind in sorted(os.listdir(os.path.join(root, family))):
            folder = os.path.join(root, family, kind)
            golden = os.path.join(folder, "golden.safetensors")
            if os.path.exists(golden):
                yield f"{family}/{kind}", folder, golden_tokens(golden), ["--latent-norm-eps", "hf"]
    for name in ("ledger", "ledger-bf16"):
        folder = os.path.join(ROOT, "models", name)
        yield name, folder, turns(os.path.join(folder, "golden.json")), []


def print_tasks(baltoro):
    done = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "e2e", "ledger_tasks.test.py"), baltoro],
                          capture_output=True, text=True)
    print("\n| tasks of | answers | right |\n|---|---|---|")
    for line in done.stdout.splitlines():
        match = re.match(r"(.*\S) +(whole|streamed) +(\d+ of \d+) tasks right", line)
        if match:
            print("| " + " | ".join(match.groups()) + " |")


def main():
    baltoro, shared = sys.argv[1:3]
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for name, folder, texts, flags in sets(shared):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(texts, file)
            file.flush()
            done = subprocess.run([baltoro, "deviation", folder, "--tokens", file.name, "--json", *flags], check=True,
                                  capture_output=True, text=True)
        for row in json.loads(done.stdout):
            dense = ", dense int8" if row["dense"] == "int8" else ""
            print(f"| {name} | {row['math']}{dense} | {row['positions']} | {row['logits_rms']:.2e} | {row['kl_mean']:.2e} "
                  f"| {row['kl_max']:.2e} | {100 * row['top_agreement']:.2f} % | {row['perplexity']:.6g} |", flush=True)
    print_tasks(baltoro)


if __name__ == "__main__":
    main()
