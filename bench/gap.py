#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What running answers notice of a long prompt: the time between their tokens, by --max-gap-ms.

usage: gap.py BALTORO FOLDER [--prompt N] [--streams N] [--gaps MS,MS,...] [OPTION OF serve ...]

For each bound a server of its own: N answers stream; when they have said some tokens a prompt of N tokens comes, and its
first token ends the measurement. A table on stdout: gaps before it came and while it was computed, as clients see them,
and how fast the prompt was."""
import argparse
import http.client
import json
import re
import statistics
import subprocess
import threading
import time

OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("baltoro")
OPTIONS.add_argument("folder")
OPTIONS.add_argument("--prompt", type=int, default=4000)
OPTIONS.add_argument("--streams", type=int, default=4)
OPTIONS.add_argument("--gaps", default="0,1000,300")
OPTIONS, SERVE = OPTIONS.parse_known_args()


def ids(count, seed):
    return [(seed * 7919 + 31 * i * i + i) % 4096 for i in range(count)]


class Stream(threading.Thread):
    """One streamed completion; `times` are those of its tokens."""

    def __init__(self, port, prompt, max_tokens):
        super().__init__(daemon=True)
        self.times, self.sent = [], time.monotonic()
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 1, "seed": 1, "ignore_eos": True, "stream": True,
                     "logprobs": 1}
        self.start()

    def run(self):
        try:
            self.connection.request("POST", "/v1/completions", json.dumps(self.body), {"Content-Type": "application/json"})
            for line in self.connection.getresponse():
                if line.startswith(b"data: {") and json.loads(line[6:])["choices"]:
                    self.times.append(time.monotonic())
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass  # the server was stopped

    def wait_for(self, count):
        while len(self.times) < count and self.is_alive():
            time.sleep(0.002)
        return len(self.times) >= count


def gaps_of(streams, begin, end):
    """Ends within [begin, end]."""
    return sorted(b - a for s in streams for a, b in zip(s.times, s.times[1:]) if begin <= b <= end)


def show(seconds):
    at = lambda share: seconds[min(len(seconds) - 1, int(share * len(seconds)))]
    return f"{1e3 * statistics.median(seconds):.0f} | {1e3 * at(0.99):.0f} | {1e3 * seconds[-1]:.0f}"


def measure(gap):
    process = subprocess.Popen([OPTIONS.baltoro, "serve", OPTIONS.folder, "--port", "0", "--quiet", "--max-gap-ms", str(gap),
                                "--kv-tokens", str(2 * OPTIONS.prompt + OPTIONS.streams * 4096), "--context",
                                str(OPTIONS.prompt + 2048), *SERVE], stdout=subprocess.PIPE, text=True)
    try:
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
        Stream(port, ids(600, 1), 1).join()  # weights come into memory, steps' times are learnt
        streams = [Stream(port, ids(64, 2 + i), 2000) for i in range(OPTIONS.streams)]
        for stream in streams:
            stream.wait_for(8)
        begin = time.monotonic()
        time.sleep(2)
        long = Stream(port, ids(OPTIONS.prompt, 99), 1)
        assert long.wait_for(1), "the prompt was not answered"
        first = long.times[0]
        quiet, beside = gaps_of(streams, begin, long.sent), gaps_of(streams, long.sent, first)
        over = sum(g > gap / 1e3 for g in beside) if gap else 0
        print(f"| {gap or 'none'} | {show(quiet)} | {show(beside)} | {over} of {len(beside)} | "
              f"{first - long.sent:.1f} s, {OPTIONS.prompt / (first - long.sent):.0f} tokens/s |", flush=True)
    finally:
        process.kill()
        process.wait()


print(f"{OPTIONS.streams} answers, a prompt of {OPTIONS.prompt} tokens\n"
      "| bound ms | gap before, ms: median | 99 % | longest | beside the prompt: median | 99 % | longest | over the bound | the prompt |\n"
      "|---|---|---|---|---|---|---|---|---|")
for bound in OPTIONS.gaps.split(","):
    measure(int(bound))
