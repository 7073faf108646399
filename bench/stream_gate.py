#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much of the disk's rate streamed experts reach when every one of them misses.

usage: stream_gate.py BALTORO FOLDER [LIMIT_GIB [SHARE]]

Runs `baltoro bench --memory LIMIT --all-miss` on a checkpoint larger than LIMIT (8 GiB if not given), in a process whose
address space is held to LIMIT by RLIMIT_AS: no file can be mapped, nor kept. The disk's rate is measured by the same
reader right before and after each pass. Only bytes that a step used count. Exit status 1 if the median over the passes
of a case is below SHARE (0.85)."""
import json
import pathlib
import resource
import statistics
import subprocess
import sys


def shares(row):
    """Of each pass: bytes used / seconds / the disk's rate beside it."""
    for seconds, disk in zip(row["seconds"], row["disk"]):
        yield disk["bytes_used"] / seconds / disk["disk_bytes_per_s_beside"]


def main():
    baltoro, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    gib = float(sys.argv[3]) if len(sys.argv) > 3 else 8
    least = float(sys.argv[4]) if len(sys.argv) > 4 else 0.85
    limit = int(gib * (1 << 30))
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if size <= limit:
        sys.exit(f"{folder} has {size} bytes: no more than the limit of {limit}")
    done = subprocess.run(
        [baltoro, "bench", folder, "--memory", str(limit), "--all-miss", "--quick", "--quiet", "--no-start", "--prefill",
         "128", "--decode-batch", "1,8", "--context", "64", "--decode-steps", "2", "--repeat", "7", "--format", "json"],
        stdout=subprocess.PIPE, check=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    report = json.loads(done.stdout)
    peak = report["memory"]["peak_resident_bytes"]
    print(f"{size / 1e9:.1f} GB of weights in a process of {limit / 1e9:.1f} GB, at most {peak / 1e9:.1f} GB resident")
    missed = False
    for row in report["rows"]:
        each = list(shares(row))
        middle = statistics.median(each)
        missed |= middle < least
        disk = statistics.median(one["disk_bytes_per_s_beside"] for one in row["disk"])
        print(f"{row['kind']} {row['batch']} x {row['tokens']} tokens: {100 * middle:.0f} % of {disk / 1e9:.2f} GB/s "
              f"({100 * min(each):.0f} to {100 * max(each):.0f} %, {len(each)} passes)")
    sys.exit(1 if missed else 0)


main()
