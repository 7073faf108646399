#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Times llama.cpp on a GGUF file. Reads one request a line from stdin, answers one JSON line each:

  {"kind": "prefill", "tokens": 512}                        a prompt; logits of its last token
  {"kind": "decode", "batch": 4, "context": 16, "steps": 24} so many sequences together, logits of each token
  {"kind": "logits", "tokens": [...]}                       logits of every position, for comparisons

A timed pass is llama_decode to the end of the computation, and reading a logit; graph building is part of it, sampling is
not. Each request runs one pass that does not count before. The first line out says load time, memory and the CPU code used.

usage: llama_driver.py LIBRARY_FOLDER MODEL.gguf CONFIG.json THREADS
CONFIG.json is the model's: YaRN's beta_fast is taken from it, because this version does not read it from GGUF files."""
import json
import random
import sys
import time

from llama_library import Library


def memory():
    """VmRSS and VmHWM in bytes."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {name: int(fields[key].split()[0]) * 1024 for name, key in
            (("resident_bytes", "VmRSS"), ("peak_resident_bytes", "VmHWM"))}


class Driver:
    CHUNK = 2048  # tokens of one llama_decode at most

    def __init__(self, folder, path, config, threads):
        self.library, self.threads, self.vocab = Library(folder), threads, config["vocab_size"]
        self.yarn = config.get("rope_scaling") or {}
        self.c = self.library.c
        begin = time.perf_counter()
        self.model = self.library.load(path)
        self.load_seconds = time.perf_counter() - begin
        self.random = random.Random(2026)

    def hello(self):
        said = "".join(self.library.messages)
        loaded = [line for line in said.splitlines() if "loaded CPU backend" in line]
        return {"load_seconds": self.load_seconds, "version": self.library.version,
                "backend": loaded[-1].rsplit("/", 1)[-1] if loaded else "unknown",
                "system": self.c.llama_print_system_info().decode(), **memory()}

    def fill(self, batch, rows):
        """rows: (token, position, sequence, logits wanted)."""
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
            batch.seq_id[i][0] = sequence

    def step(self, context, batch):
        if self.c.llama_decode(context, batch) != 0:
            self.library.fail("llama_decode failed")
        self.c.llama_synchronize(context)

    def token(self):
        return self.random.randrange(self.vocab)

    def prompt(self, context, batch, tokens):
        """A prompt of sequence 0 in chunks; logits of the last token."""
        for first in range(0, len(tokens), self.CHUNK):
            rows = [(tokens[i], i, 0, i + 1 == len(tokens)) for i in range(first, min(first + self.CHUNK, len(tokens)))]
            self.fill(batch, rows)
            self.step(context, batch)
        return self.c.llama_get_logits_ith(context, -1)[0]

    def with_context(self, tokens, sequences, body):
        chunk = max(min(tokens, self.CHUNK), 32)
        context = self.library.context(self.model, tokens, sequences, self.threads, chunk, self.yarn)
        batch = self.c.llama_batch_init(chunk, 0, 1)
        try:
            return body(context, batch, self.c.llama_get_memory(context))
        finally:
            self.c.llama_batch_free(batch)
            self.c.llama_free(context)

    def prefill(self, request):
        count, repeat = request["tokens"], request["repeat"]
        tokens = [self.token() for _ in range(count)]

        def body(context, batch, kv):
            seconds = []
            for _ in range(repeat + 1):
                self.c.llama_memory_clear(kv, True)
                begin = time.perf_counter()
                self.prompt(context, batch, tokens)
                seconds.append(time.perf_counter() - begin)
            return {"tokens": count, "seconds": seconds[1:]}

        return self.with_context(count, 1, body)

    def decode(self, request):
        sequences, past, steps, repeat = (request[k] for k in ("batch", "context", "steps", "repeat"))

        def body(context, batch, kv):
            self.prompt(context, batch, [self.token() for _ in range(past)])
            for s in range(1, sequences):
                self.c.llama_memory_seq_cp(kv, 0, s, -1, -1)
            seconds = []
            for _ in range(repeat + 1):
                begin = time.perf_counter()
                for i in range(steps):
                    self.fill(batch, [(self.token(), past + i, s, 1) for s in range(sequences)])
                    self.step(context, batch)
                    for s in range(sequences):
                        self.c.llama_get_logits_ith(context, s)[0]
                seconds.append(time.perf_counter() - begin)
                for s in range(sequences):
                    self.c.llama_memory_seq_rm(kv, s, past, -1)
            return {"tokens": steps * sequences, "seconds": seconds[1:]}

        return self.with_context(past + steps, sequences, body)

    def logits(self, request):
        tokens = request["tokens"]

        def body(context, batch, kv):
            self.fill(batch, [(t, i, 0, 1) for i, t in enumerate(tokens)])
            self.step(context, batch)
            return {"logits": [self.c.llama_get_logits_ith(context, i)[:self.vocab] for i in range(len(tokens))]}

        return self.with_context(len(tokens), 1, body)


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    with open(sys.argv[3]) as file:
        config = json.load(file)
    driver = Driver(sys.argv[1], sys.argv[2], config, int(sys.argv[4]))
    print(json.dumps(driver.hello()), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(driver, request["kind"])(request)
        print(json.dumps({**answer, **memory()}), flush=True)


if __name__ == "__main__":
    main()
