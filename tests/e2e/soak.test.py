#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A crowd for a while: idle keep-alive connections, streams that must equal their solo runs token for token, clients
that hang up, one that reads so slowly that it must be cut. Afterwards nothing may be left and memory must not have grown.

usage: soak.test.py BALTORO [SECONDS [IDLE [STREAMS [DIR [SERVE_OPTION...]]]]]
       (20 s, 300, 32, the bundled model; the gate: 600 1000 64). Limits are the server's own, but a slow reader has only
       SHORT_WRITE_SECONDS in runs that end before the server's own limit could cut it often enough to mean anything."""
import asyncio
import json
import os
import random
import resource
import socket
import statistics
import sys
import time
import urllib.request

from server_process import ServerProcess

BALTORO = os.path.abspath(sys.argv[1])
SECONDS, IDLE, STREAMS = [int(v) for v in sys.argv[2:5]] + [20, 300, 32][len(sys.argv[2:5]):]
MODEL, OPTIONS = sys.argv[5] if len(sys.argv) > 5 else "ledger", sys.argv[6:]
SHORT_RUN_SECONDS, SHORT_WRITE_SECONDS = 150, "4"
HANGUPS, REQUESTS = 8, 48
WORDS = "ledger entry amount paid open total month customer invoice sum find list count average delete report".split()
counts = {"streams": 0, "tokens": 0, "hang_ups": 0, "health": 0, "refused": 0, "slow_bytes": 0, "slow_cut": 0}
failures = []


def make_request(number):
    """A request that depends on its number alone: prompt, sampling, length; some with tools of the run shared."""
    rng = random.Random(number)
    shared = "You keep a ledger. " * (number % 3)
    prompt = shared + " ".join(rng.choice(WORDS) for _ in range(rng.randint(5, 120)))
    body = {"messages": [{"role": "user", "content": prompt}], "stream": True, "seed": number, "ignore_eos": True,
            "stream_options": {"include_usage": True}, "max_tokens": rng.randint(20, 260),
            "temperature": rng.choice([0, 0.7, 1.0]), "priority": rng.choice([0, 0, 0, 1, -1])}
    if number % 4 == 0:
        body |= {"n": 2}
    if number % 5 == 0:
        body |= {"logprobs": True, "top_logprobs": 2}
    return json.dumps(body).encode()


def head(body, close=False):
    return (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
            (b"Connection: close\r\n" if close else b"") + b"Content-Length: %d\r\n\r\n" % len(body) + body)


async def stream(reader, writer, body, limit=None):
    """Sends a request and reads its stream: per choice everything a client sees, in order. `limit`: lines to read."""
    writer.write(head(body))
    status = await reader.readline()
    if b" 200 " not in status:
        length = 0
        while (line := await reader.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        return status.split()[1] if status else b"closed"
    while await reader.readline() not in (b"\r\n", b""):
        pass
    choices, usage, lines = {}, None, 0
    while True:
        line = await reader.readline()
        if not line:
            return b"closed"
        if line == b"0\r\n":
            await reader.readline()
            return {"choices": choices, "usage": usage}
        if not line.startswith(b"data: ") or line == b"data: [DONE]\n":
            continue
        lines += 1
        if limit is not None and lines >= limit:
            return b"cut"
        chunk = json.loads(line[6:])
        if "error" in chunk:
            return json.dumps(chunk).encode()
        if chunk.get("usage"):
            usage = chunk["usage"]["completion_tokens"]
        for choice in chunk["choices"]:
            seen = choices.setdefault(choice["index"], {"text": "", "reasoning": "", "logprobs": [], "finish": None})
            seen["text"] += choice["delta"].get("content") or ""
            seen["reasoning"] += choice["delta"].get("reasoning_content") or ""
            if choice.get("logprobs"):
                seen["logprobs"].append(choice["logprobs"]["content"])
            seen["finish"] = choice["finish_reason"] or seen["finish"]


def normal(result):
    """How deltas are cut may differ, the log-probabilities in their order may not."""
    if isinstance(result, dict):
        for choice in result["choices"].values():
            choice["logprobs"] = [token for part in choice["logprobs"] for token in part]
    return result


async def connect(port):
    return await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)


async def solo(port, requests):
    """The truth: each request alone on the server."""
    out = []
    reader, writer = await connect(port)
    for body in requests:
        out.append(normal(await stream(reader, writer, body)))
        assert isinstance(out[-1], dict), out[-1]
    writer.close()
    return out


async def talker(port, requests, truth, until, seed):
    rng = random.Random(seed)
    reader, writer = await connect(port)
    while time.monotonic() < until and len(failures) < 10:
        number = rng.randrange(len(requests))
        got = normal(await stream(reader, writer, requests[number]))
        if got == b"429":
            counts["refused"] += 1
            await asyncio.sleep(0.2)
            continue
        if got != truth[number]:
            failures.append(f"request {number} differs: {str(got)[:300]} instead of {str(truth[number])[:300]}")
            break
        counts["streams"] += 1
        counts["tokens"] += got["usage"]
    writer.close()


async def leaver(port, requests, until, seed):
    """Goes at a random moment: before the first byte, between tokens, with a reset or a FIN."""
    rng = random.Random(seed)
    while time.monotonic() < until:
        reader, writer = await connect(port)
        if rng.random() < 0.3:
            writer.write(head(rng.choice(requests)))
            await asyncio.sleep(rng.random() * 0.2)
        else:
            try:
                await stream(reader, writer, rng.choice(requests), limit=rng.randint(1, 30))
            except (ConnectionError, asyncio.IncompleteReadError):
                failures.append("a connection ended by itself")
        if rng.random() < 0.5:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()
        else:
            writer.close()
        counts["hang_ups"] += 1
        await asyncio.sleep(rng.random() * 0.1)


async def idler(port, until, seed):
    """A keep-alive connection that asks for next to nothing now and then."""
    rng = random.Random(seed)
    reader, writer = await connect(port)
    while True:
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(len(b'{"status":"ok"}'))
        if b" 200 " not in answer or body != b'{"status":"ok"}':
            failures.append(f"an idle connection got {answer!r}")
        counts["health"] += 1
        wait = min(rng.uniform(15, 60), until - time.monotonic())
        if wait <= 0:
            break
        await asyncio.sleep(wait)
    writer.close()


async def slow_reader(port, until):
    """Asks for much and takes 200 bytes a second: it costs a bounded buffer and nobody else's time, and is cut."""
    body = json.dumps({"messages": [{"role": "user", "content": "Tell me all."}], "stream": True, "n": 8,
                       "ignore_eos": True, "max_tokens": 900, "logprobs": True, "top_logprobs": 20}).encode()
    loop = asyncio.get_running_loop()

    def goes_on():  # on a slow machine the first cut may take longer than the rest
        return time.monotonic() < (until if counts["slow_cut"] else until + 120)

    while goes_on():
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, head(body))
            while goes_on():
                data = await asyncio.wait_for(loop.sock_recv(sock, 200), 120)
                counts["slow_bytes"] += len(data)
                if not data:
                    failures.append("a slow reader's answer ended as if it were whole")
                    break
                await asyncio.sleep(1)
                if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # what came before it may still be unread
                    raise ConnectionError(error)
        except ConnectionError:
            counts["slow_cut"] += 1
        sock.close()


def metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {n: float(v) for n, v in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


async def watch(port, until, memory):
    while time.monotonic() < until:
        now = await asyncio.to_thread(metrics, port)
        memory.append((now["process_anonymous_memory_bytes"], now["process_open_fds"]))
        await asyncio.sleep(max(0.5, SECONDS / 200))


async def crowd(port):
    requests = [make_request(i) for i in range(REQUESTS)]
    truth = await solo(port, requests)
    started = time.monotonic()
    until, memory = started + SECONDS, []
    tasks = [asyncio.create_task(t) for t in
             [idler(port, until, i) for i in range(IDLE)] + [talker(port, requests, truth, until, i) for i in range(STREAMS)] +
             [leaver(port, requests, until, i) for i in range(HANGUPS)] + [slow_reader(port, until), watch(port, until, memory)]]
    for done in asyncio.as_completed(tasks):
        await done
    again = await solo(port, requests)
    if again != truth:
        failures.append("alone again, the answers are others")
    return memory


def settle(server):
    """Everything the crowd held is back."""
    wanted = {"baltoro_sequences_running": 0, "baltoro_sequences_waiting": 0, "baltoro_requests_queued": 0,
              "baltoro_tokens_queued": 0, "baltoro_api_generations": 0, "baltoro_http_connections": 1}
    for _ in range(300):
        now = metrics(server.port)
        left = {k: now[k] for k, v in wanted.items() if now[k] != v}
        if now["baltoro_kv_blocks_free"] + now["baltoro_kv_blocks_cached"] != now["baltoro_kv_blocks"]:
            left["kv"] = now["baltoro_kv_blocks_free"]
        if not left:
            return now
        time.sleep(0.1)
    failures.append(f"left over: {left}")
    return now


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, IDLE * 2 + 1000)), hard))
    limits = ["--write-seconds", SHORT_WRITE_SECONDS] if SECONDS < SHORT_RUN_SECONDS else []
    kept = {"ASAN_OPTIONS": "quarantine_size_mb=16"}  # of what was freed; 256 MiB would be taken for a leak
    with ServerProcess(BALTORO, "--quiet", *limits, *OPTIONS, model=MODEL, environment=kept) as server:
        memory = asyncio.run(crowd(server.port))
        end = settle(server)
        code = server.stop(60)
    fifth = max(1, len(memory) // 5)
    early = statistics.median(m for m, _ in memory[fifth:2 * fifth] or memory)
    late = statistics.median(m for m, _ in memory[-fifth:])
    cut = end["baltoro_http_slow_readers_total"]
    mib = 1 << 20
    print(f"{SECONDS} s, {IDLE} idle connections, {STREAMS} streams at once: {counts['streams']} streams whole and equal to "
          f"their solo runs, {counts['tokens']} tokens, {counts['hang_ups']} hang-ups, {counts['health']} health checks, "
          f"{counts['refused']} refused (429), slow reader {counts['slow_bytes']} bytes, cut {cut:.0f} times, saw it "
          f"{counts['slow_cut']} times")
    print(f"memory (anonymous): second fifth {early / mib:.1f} MiB, last fifth {late / mib:.1f} MiB, "
          f"most {max(m for m, _ in memory) / mib:.1f}; files at most {max(f for _, f in memory):.0f}; "
          f"requests {end['baltoro_requests_submitted_total']:.0f} submitted, {end['baltoro_requests_finished_total']:.0f} "
          f"finished, {end['baltoro_requests_cancelled_total']:.0f} cancelled, {end['baltoro_requests_failed_total']:.0f} failed, "
          f"{end['baltoro_preemptions_total']:.0f} preemptions; cached {end['baltoro_tokens_cached_total']:.0f} tokens")
    if code != 0:
        failures.append(f"exit status {code}")
    room = 6 * mib if SECONDS >= SHORT_RUN_SECONDS else 12 * mib  # a short run is still warming up
    if late - early > max(room, early * 0.02):
        failures.append(f"memory grew by {(late - early) / mib:.1f} MiB")
    if not 1 <= counts["slow_cut"] <= cut:
        failures.append(f"the server cut {cut:.0f} slow readers, {counts['slow_cut']} noticed")
    if counts["streams"] < STREAMS or counts["hang_ups"] < HANGUPS:
        failures.append("too little happened for the figures to mean anything")
    print("\n".join(failures) or "soak: all is well")
    return 1 if failures else 0


sys.exit(main())
