#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares llama.cpp on a GGUF file with `baltoro logits --math f32` on the folder it was made from: mean Kullback-Leibler
divergence, agreement of the likeliest token, largest difference of a logit. Fails over the bounds given.

usage: check_gguf.py BALTORO LIBRARY_FOLDER FOLDER MODEL.gguf [--tokens 64] [--kl 0.01] [--top1 0.85]

Even BF16 files do not agree exactly: llama.cpp rounds activations to 8 bits for Q4_0 and Q8_0 products, to BF16 for BF16."""
import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import numpy as np


def ours(baltoro, folder, tokens):
    with tempfile.TemporaryDirectory() as work:
        ids, out = pathlib.Path(work, "tokens.json"), pathlib.Path(work, "out.safetensors")
        ids.write_text(json.dumps(tokens))
        subprocess.run([baltoro, "logits", folder, "--tokens", ids, "--out", out, "--math", "f32"], check=True,
                       stdout=subprocess.DEVNULL)
        data = out.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8:8 + size])["logits"]
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[8 + size + begin:8 + size + end], np.float32).reshape(entry["shape"]).astype(np.float64)


def theirs(library, gguf, folder, tokens):
    driver = pathlib.Path(__file__).with_name("llama_driver.py")
    request = json.dumps({"kind": "logits", "tokens": tokens})
    command = [sys.executable, driver, library, gguf, pathlib.Path(folder, "config.json"), "2"]
    done = subprocess.run(command, input=request + "\n", capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return np.array(json.loads(done.stdout.splitlines()[1])["logits"])


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name in ("baltoro", "library", "folder", "gguf"):
        parser.add_argument(name)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--kl", type=float, default=0.01)
    parser.add_argument("--top1", type=float, default=0.85)
    arguments = parser.parse_args()
    generator = random.Random(7)
    tokens = [generator.randrange(1000) for _ in range(arguments.tokens)]
    a = ours(arguments.baltoro, arguments.folder, tokens)
    b = theirs(arguments.library, arguments.gguf, arguments.folder, tokens)
    p, q = log_softmax(a), log_softmax(b)
    divergence = (np.exp(p) * (p - q)).sum(axis=1)
    agreement = (a.argmax(axis=1) == b.argmax(axis=1)).mean()
    print(f"{arguments.gguf}: {len(tokens)} positions, KL mean {divergence.mean():.2e} worst {divergence.max():.2e}, "
          f"likeliest token agrees {100 * agreement:.1f} %, logits (deviation {a.std():.2f}) differ by at most "
          f"{np.abs(a - b).max():.3f}")
    sys.exit(0 if divergence.mean() <= arguments.kl and agreement >= arguments.top1 else 1)


if __name__ == "__main__":
    main()
