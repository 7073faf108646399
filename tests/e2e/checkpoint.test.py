# SPDX-License-Identifier: Apache-2.0
"""synth, inspect and verify from the command line: a folder is made, described, checked, spoiled and found out."""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

BALTORO = sys.argv[1]
ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*arguments, code=0):
    done = subprocess.run([BALTORO, *map(str, arguments)], capture_output=True, text=True, timeout=240)
    assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def refused(*arguments, message, code=1):
    done = run(*arguments, code=code)
    assert message in done.stderr, f"{arguments}: {message!r} expected in {done.stderr!r}"
    assert done.stderr.count("\n") == 1, done.stderr


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def check_scheme(folder, scheme):
    config = ROOT / "configs/tiny.json"
    made = run("synth", "--config", config, "--quant", scheme, "--seed", 7, "--shard-bytes", "2MB", "--out", folder,
               "--json")
    report = json.loads(made.stdout)
    assert report["shards"] > 1 and report["bytes_written"] == report["bytes"], report
    for line in made.stderr.splitlines():
        json.loads(line)

    seen = json.loads(run("inspect", folder, "--context", 100, "--sequences", 3, "--json").stdout)
    assert seen["weight_bytes"] == report["bytes"], seen
    assert seen["dimensions"]["n_routed_experts"] == 16 and seen["parameters_active"] < seen["parameters_total"]
    plan = seen["memory_plan"]
    assert plan["kv_bytes"] == 3 * 128 * plan["kv_bytes_per_token"], "whole blocks of 64 tokens"
    assert sum(kind["bytes"] for kind in seen["by_kind"].values()) == seen["weight_bytes"]
    assert "memory for 1 sequence of 16384 tokens" in run("inspect", folder).stdout

    sums = folder + ".sha256"
    run("verify", folder, "--write-checksums", sums)
    assert not os.path.exists(sums + ".progress")
    run("verify", folder, "--checksums", sums)
    assert run("verify", folder, "--write-checksums", "-").stdout.startswith(open(sums).read())
    refused("synth", "--config", config, "--quant", scheme, "--seed", 8, "--out", folder,
            message="made with other parameters")
    return sums


def check_spoiled(folder, sums):
    shard = sorted(pathlib.Path(folder).glob("*.safetensors"))[0]
    flip(shard, os.path.getsize(shard) - 3)
    found = json.loads(run("verify", folder, "--checksums", sums, "--json", code=1).stdout)
    assert found["problem_count"] == 1 and "sha256" in found["problems"][0]["message"], found
    with open(shard, "r+b") as file:
        file.truncate(os.path.getsize(shard) - 1)
    refused("inspect", folder, message="truncated?")
    with open(shard, "r+b") as file:
        file.write(struct.pack("<Q", 1 << 63))
    refused("verify", folder, message="a header length in [2,")
    os.remove(shard)
    refused("verify", folder, message=shard.name)


with tempfile.TemporaryDirectory() as base:
    for quant in ("bf16", "fp8", "int4"):
        name = os.path.join(base, quant)
        check_spoiled(name, check_scheme(name, quant))
    refused("synth", "--config", ROOT / "configs/tiny.json", "--out", base, message="an empty folder expected")
    refused("synth", "--config", ROOT / "README.md", "--out", base + "/x", message="config.json object expected", code=2)
    refused("inspect", base + "/none", message="there is none")
    refused("inspect", base, message="config.json")
    tokens = subprocess.run([BALTORO, "tokenize", os.path.join(base, "int4")], input="two words", capture_output=True,
                            text=True, timeout=60)
    assert tokens.returncode == 0 and len(json.loads(tokens.stdout)) < 9, tokens
print("synth, inspect and verify: passed")
