#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A long agent run over the API: nearly all of its prompt tokens come from the cache, what is cached, restored from
disk and computed gives the same bits, and a server that is killed at any moment goes on where it was.

usage: prefix_cache.test.py BALTORO [--calls N] [--kills N] [--seed N]"""
import argparse
import http.client
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time

from server_process import ROOT, ServerProcess

OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("baltoro")
OPTIONS.add_argument("--calls", type=int, default=300)
OPTIONS.add_argument("--kills", type=int, default=6)
OPTIONS.add_argument("--seed", type=int, default=1)
OPTIONS = OPTIONS.parse_args()
BALTORO = os.path.abspath(OPTIONS.baltoro)
ANSWER_TOKENS = 12
CONTROL_TOKENS = {str(token): -100 for token in range(512 - 256, 512)}  # random weights would write them too


def make_model(folder):
    """A small random model with room for 32768 tokens."""
    with open(os.path.join(ROOT, "configs", "tiny.json"), encoding="utf-8") as file:
        config = json.load(file)
    config |= {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
               "num_key_value_heads": 2, "q_lora_rank": 32, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
               "intermediate_size": 128, "moe_intermediate_size": 64, "n_routed_experts": 8, "num_experts_per_tok": 2,
               "max_position_embeddings": 32768, "bos_token_id": 256, "eos_token_id": 258, "pad_token_id": 511}
    source = folder + ".json"
    with open(source, "w", encoding="utf-8") as file:
        json.dump(config, file)
    subprocess.run([BALTORO, "synth", "--config", source, "--out", folder, "--seed", "5"], check=True,
                   capture_output=True)


class Agent:
    """Sends its whole history with each call, as coding agents do."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.messages = [{"role": "system", "content": self.words(3000)}]
        self.tokens = self.cached = self.calls = 0

    def words(self, size):
        return "".join(self.random.choice("abcdefghij ,.\n") for _ in range(size))

    def body(self):
        # The accounting line is another one in each call.
        line = f"x-anthropic-billing-header: cc_version=2.1.100; cch={self.random.getrandbits(20):05x};\n"
        messages = [{"role": "system", "content": line + self.messages[0]["content"]}] + self.messages[1:]
        return {"messages": messages, "max_tokens": ANSWER_TOKENS, "temperature": 1.0, "seed": len(messages),
                "logit_bias": CONTROL_TOKENS, "logprobs": True, "top_logprobs": 2}

    def next_call(self):
        self.messages.append({"role": "user", "content": f"result {self.calls}: " + self.words(10)})
        return self.body()

    def take(self, answer):
        content = answer["choices"][0]["message"]["content"]
        # Clients trim, and write line ends as they like.
        if self.calls % 3 == 1:
            content = content.strip()
        if self.calls % 3 == 2:
            content = content.replace("\n", "\r\n")
        self.messages.append({"role": "assistant", "content": content})
        self.calls += 1
        usage = answer["usage"]
        self.tokens += usage["prompt_tokens"]
        self.cached += usage["prompt_tokens_details"]["cached_tokens"]
        return usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]


def serve(model, *arguments):
    return ServerProcess(BALTORO, "--family", "k2-instruct", "--quiet", "--threads", "1", *arguments, model=model)


def post(server, body, key=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert response.status == 200, answer
    return answer


def bits(answer):
    """What must be the same to the last bit: the tokens and all log-probabilities."""
    return answer["choices"][0]["message"]["content"], answer["choices"][0]["logprobs"]


def settle(server):
    """Waits until all full blocks are on disk."""
    for _ in range(1000):
        metrics = server.metrics()
        if metrics["baltoro_kv_disk_unwritten_blocks"] == 0:
            return metrics
        time.sleep(0.01)
    raise AssertionError("blocks stay unwritten")


def kill_during_a_call(server, body, rng):
    def call():
        try:
            post(server, body)
        except (OSError, http.client.HTTPException, ValueError):
            pass

    client = threading.Thread(target=call)
    client.start()
    time.sleep(rng.random() * 0.08)
    server.process.kill()
    server.process.wait()
    client.join()


def check_run(model, folder):
    agent, sampled, most = Agent(OPTIONS.seed), {}, 0
    rng = random.Random(OPTIONS.seed)
    kill_at = {rng.randrange(OPTIONS.calls // 10 + 1, OPTIONS.calls) for _ in range(2)}
    server = serve(model, "--kv-dir", folder, "--kv-disk", "1GB")
    try:
        for number in range(OPTIONS.calls):
            body = agent.next_call()
            if number in kill_at:
                settle(server)  # how far the writer is behind depends on the machine
                kill_during_a_call(server, body, rng)
                server = serve(model, "--kv-dir", folder, "--kv-disk", "1GB")
            answer = post(server, body)
            computed = agent.take(answer)
            assert number == 0 or computed < 3 * 64, f"call {number} computed {computed} tokens"
            most = max(most, computed) if number > 0 else most
            if number % max(1, OPTIONS.calls // 10) == 0 or number + 1 == OPTIONS.calls or number in kill_at:
                sampled[number] = (body, bits(answer))
        rate = agent.cached / agent.tokens
        metrics = settle(server)
        print(f"{agent.calls} calls, {agent.tokens} prompt tokens, {100 * rate:.2f} % from the cache, at most {most} "
              f"computed in a call after the first; {len(kill_at)} kills; disk {metrics['baltoro_kv_disk_bytes']:.0f} "
              f"bytes in {metrics['baltoro_kv_disk_pages']:.0f} pages")
        assert rate >= 0.99, rate
    finally:
        server.process.kill()
        server.process.wait()
    return sampled


def check_bits(model, folder, sampled):
    """The same calls computed from nothing, and with every block from disk."""
    turns_only = folder + "-turns"
    os.makedirs(turns_only)
    shutil.copy(os.path.join(folder, "turns"), turns_only)
    with serve(model, "--no-prefix-cache", "--kv-dir", turns_only, "--kv-disk", "1GB") as server:
        for number, (body, want) in sampled.items():
            answer = post(server, body)
            assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0, answer["usage"]
            assert bits(answer) == want, f"call {number} differs from one without a cache"
    with serve(model, "--kv-dir", folder, "--kv-disk", "1GB") as server:
        for number, (body, want) in sampled.items():
            answer = post(server, body)
            usage = answer["usage"]
            assert usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"] < 128, usage
            assert bits(answer) == want, f"call {number} differs from one without a disk"
        metrics = server.metrics()
        assert metrics["baltoro_kv_disk_restored_blocks_total"] > 40, metrics
        assert metrics["baltoro_kv_disk_bad_pages_total"] == 0, metrics
    print(f"{len(sampled)} calls: the same bits uncached, cached and from disk")


def check_kills(model, folder):
    """kill -9 at random moments: the next server has whole pages only, and the same answers."""
    rng = random.Random(OPTIONS.seed + 1)
    agent = Agent(OPTIONS.seed + 1)
    body = agent.next_call()
    with serve(model) as server:
        want = bits(post(server, body))
    for number in range(OPTIONS.kills):
        server = serve(model, "--kv-dir", folder, "--kv-disk", "300000")
        kill_during_a_call(server, body | {"max_tokens": rng.randrange(1, 400)}, rng)
    with serve(model, "--kv-dir", folder, "--kv-disk", "300000") as server:
        assert bits(post(server, body)) == want
        metrics = server.metrics()
        assert metrics["baltoro_kv_disk_bad_pages_total"] == 0, metrics
        assert metrics["baltoro_kv_disk_bytes"] <= 300e3, metrics
        second = subprocess.run([BALTORO, "serve", os.path.join(ROOT, "models", model), "--port", "0", "--kv-dir",
                                 folder], capture_output=True, text=True, check=False, timeout=60)
        assert second.returncode != 0 and f"in use by process {server.process.pid}" in second.stderr, second.stderr
    left = [name for _, _, names in os.walk(folder) for name in names if name.startswith(".tmp-")]
    assert not left, left
    print(f"{OPTIONS.kills} kills: no bad page, the same bits, the second server refused")


def check_damage(model, folder):
    """Files of every wrong kind are misses."""
    agent = Agent(OPTIONS.seed + 2)
    body = agent.next_call()
    with serve(model, "--kv-dir", folder) as server:
        want = bits(post(server, body))
        settle(server)
    pages = sorted(os.path.join(root, name) for root, _, names in os.walk(os.path.join(folder, "pages"))
                   for name in names)
    assert len(pages) >= 30, len(pages)
    for number, page in enumerate(pages):
        with open(page, "r+b") as file:
            size = file.seek(0, 2)
            if number % 3 == 0:
                file.truncate(number * 97 % size)
            else:
                at = number * 7919 % (416 if number % 3 == 1 else size)
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1 << number % 8]))
    with open(os.path.join(folder, "turns"), "ab") as file:
        file.write(b"\x10\0\0\0 half a record")
    with serve(model, "--kv-dir", folder) as server:
        answer = post(server, body)
        assert bits(answer) == want and answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0, answer["usage"]
        assert server.metrics()["baltoro_kv_disk_bad_pages_total"] >= 1, server.metrics()
    print(f"{len(pages)} damaged pages: misses")


def check_scopes(model):
    """Keys and salts share nothing; the log says where a prompt leaves what is known."""
    agent = Agent(OPTIONS.seed + 3)
    body = agent.next_call()
    changed = body | {"messages": body["messages"][:-1] + [{"role": "user", "content": "another"}]}
    with serve(model, "--api-key", "one", "--api-key", "two", "--debug-prefix") as server:
        def cached(sent, key, **more):
            return post(server, sent | more, key)["usage"]["prompt_tokens_details"]["cached_tokens"]

        assert cached(body, "one") == 0
        assert cached(body, "one") > 3000
        assert cached(body, "two") == 0
        assert cached(body, "one", cache_salt="a") == 0
        assert cached(body, "one", cache_salt="a") > 3000
        assert cached(body, "two", cache_salt="a") == 0
        assert 3000 < cached(changed, "one") < cached(body, "one")
        metrics = server.metrics({"Authorization": "Bearer one"})
        assert metrics["baltoro_prefix_new_total"] == 4 and metrics["baltoro_prefix_differs_total"] == 1, metrics
        assert metrics["baltoro_prefix_whole_total"] == 3 and metrics["baltoro_prefix_hits_total"] == 4, metrics
        server.stop()
        lines = [line for line in server.log if line.startswith("prefix: ")]
        assert sum("nothing is known beyond" in line for line in lines) == 4, lines
        assert any('is known and' in line and '"a"' in line for line in lines), lines
    print("keys and salts share nothing")


def main():
    with tempfile.TemporaryDirectory() as temporary:
        model = os.path.join(temporary, "model")
        make_model(model)
        sampled = check_run(model, os.path.join(temporary, "run"))
        check_bits(model, os.path.join(temporary, "run"), sampled)
        check_kills(model, os.path.join(temporary, "kills"))
        check_damage(model, os.path.join(temporary, "damage"))
        check_scopes(model)


main()
