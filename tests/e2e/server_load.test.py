#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a machine and its crowd do to `baltoro serve`: too many connections, too few descriptors, kills at any moment,
keys that change, clients that read nothing.

usage: server_load.test.py BALTORO"""
import http.client
import json
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from server_process import ROOT, ServerProcess

BALTORO = os.path.abspath(sys.argv[1])
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ask(server, body=None, key=None, headers=None, timeout=30):
    """(status, headers, body) of one chat request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    fields = {"Content-Type": "application/json"} | (headers or {}) | ({"Authorization": f"Bearer {key}"} if key else {})
    request = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 5, "temperature": 0} | (body or {})
    connection.request("POST", "/v1/chat/completions", json.dumps(request), fields)
    answer = connection.getresponse()
    out = answer.status, dict(answer.getheaders()), json.loads(answer.read())
    connection.close()
    return out


def open_many(port, count):
    """That many connections, each with one request sent; none is waited for."""
    sockets = []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        try:
            sock.connect(("127.0.0.1", port))
        except BlockingIOError:
            pass
        sockets.append(sock)
        if len(sockets) % 200 == 0:
            time.sleep(0.02)  # the listening queue is finite
    return sockets


def answers(sockets, seconds):
    """status -> how many, once all have sent HEALTH and something came back (0: closed without an answer)."""
    counts, left, sent = {}, {sock.fileno(): sock for sock in sockets}, set()
    poller = select.poll()
    for number in left:
        poller.register(number, select.POLLOUT | select.POLLIN)
    until = time.monotonic() + seconds
    while left and time.monotonic() < until:
        for number, _ in poller.poll(200):
            sock = left[number]
            try:
                if number not in sent:
                    sock.send(HEALTH)
                    sent.add(number)
                    poller.modify(number, select.POLLIN)
                    continue
                data = sock.recv(4096)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            status = int(data.split()[1]) if data.startswith(b"HTTP/1.1 ") else 0
            counts[status] = counts.get(status, 0) + 1
            poller.unregister(number)
            del left[number]
    counts["silent"] = len(left)
    return counts


class Faults(unittest.TestCase):
    def setUp(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def test_ten_thousand_connections(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = min(10_000, hard - 500)
        with ServerProcess(BALTORO, "--quiet", "--max-connections", "2000") as server:
            before = server.metrics()["process_anonymous_memory_bytes"]
            held = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            held.request("GET", "/health")
            self.assertEqual(held.getresponse().read(), b'{"status":"ok"}')
            sockets = open_many(server.port, count)
            got = answers(sockets, 60)
            self.assertEqual(got["silent"], 0, got)
            self.assertGreaterEqual(got.get(200, 0), 1900, got)
            self.assertLessEqual(got.get(200, 0), 2000, got)
            self.assertGreater(got.get(503, 0), 0, got)
            self.assertEqual(sum(got.values()), count, got)
            held.request("GET", "/metrics")  # a connection inside the limit is served all the while
            text = held.getresponse().read().decode()
            self.assertIn("baltoro_http_connections 2000", text)
            for sock in sockets:
                sock.close()
            held.close()
            self.assertEqual(ask(server)[0], 200)
            after = server.metrics()
            self.assertLess(after["process_anonymous_memory_bytes"] - before, 120 << 20)
            self.assertLess(after["baltoro_http_connections"], 5)
            print(f"\n{count} connections: {got}")

    def test_an_fd_limit_of_64(self):
        with ServerProcess(BALTORO, "--quiet", preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))) as server:
            self.assertEqual(ask(server)[0], 200)
            got = answers(open_many(server.port, 300), 30)
            self.assertEqual(got["silent"], 0, got)
            self.assertGreater(got.get(200, 0), 10, got)
            until = time.monotonic() + 10
            status = 0
            while status != 200 and time.monotonic() < until:
                try:
                    status = ask(server)[0]
                except (OSError, http.client.HTTPException, ValueError):
                    time.sleep(0.1)
            self.assertEqual(status, 200)

    def test_no_descriptor_left_at_all(self):
        """The limit falls below what is open: clients are told, not left waiting."""
        with ServerProcess(BALTORO, "--quiet") as server:
            now = int(server.metrics()["process_open_fds"])
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (now + 3, 4000))
            got = answers(open_many(server.port, 50), 20)
            self.assertEqual(got["silent"], 0, got)
            self.assertGreater(got.get(503, 0) + got.get(0, 0), 30, got)
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (1000, 4000))
            time.sleep(0.3)
            self.assertEqual(ask(server)[0], 200)

    def test_signals_at_random_moments(self):
        rng = random.Random(5)
        for round_ in range(6):
            sig = signal.SIGKILL if round_ % 2 else signal.SIGTERM
            with ServerProcess(BALTORO, "--quiet", "--drain-seconds", "0.3") as server:
                outcomes = []

                def client(seed, server=server, outcomes=outcomes):
                    try:
                        status, _, body = ask(server, {"max_tokens": 400, "seed": seed, "ignore_eos": True})
                        outcomes.append((status, body["usage"]["completion_tokens"] if status == 200 else body["error"]["type"]))
                    except (OSError, http.client.HTTPException, ValueError):
                        outcomes.append("cut")

                threads = [threading.Thread(target=client, args=(i,)) for i in range(12)]
                for thread in threads:
                    thread.start()
                time.sleep(rng.random() * 0.5)
                server.process.send_signal(sig)
                code = server.process.wait(30)
                for thread in threads:
                    thread.join(30)
                self.assertEqual(len(outcomes), 12)
                if sig == signal.SIGTERM:
                    self.assertEqual(code, 0)
                for outcome in outcomes:  # whole, or an error that says so, or nothing: never a part that looks whole
                    self.assertIn(outcome, [(200, 400), (503, "server_error"), "cut"])

    def test_the_second_sigterm_is_faster(self):
        with ServerProcess(BALTORO, "--math", "f32", "--drain-seconds", "600") as server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            body = {"messages": [{"role": "user", "content": "Hi."}], "stream": True, "n": 8, "ignore_eos": True, "max_tokens": 990}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.readline()
            server.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + 10
            while not any("once more" in line for line in server.log) and time.monotonic() < until:
                time.sleep(0.005)
            server.process.send_signal(signal.SIGTERM)
            rest = answer.read().decode()
            self.assertEqual(server.process.wait(20), 0)
            if "[DONE]" not in rest:  # it may have been quick
                self.assertIn('"code":"server_unavailable"', rest)

    def test_keys_are_read_again_and_a_bad_file_changes_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "keys.json")

            def write(text):
                with open(path + ".new", "w") as out:
                    out.write(text)
                os.replace(path + ".new", path)

            def entry(name, key, **limits):
                return {"name": name, "key": key, **limits}

            write(json.dumps({"keys": [entry("a", "ka", requests_per_minute=1)]}))
            with ServerProcess(BALTORO, "--keys", path, "--log-format", "json") as server:
                def reload(expected):
                    count = len(server.log)
                    server.process.send_signal(signal.SIGHUP)
                    until = time.monotonic() + 10
                    while time.monotonic() < until:
                        if any(expected in line for line in server.log[count:]):
                            return
                        time.sleep(0.01)
                    self.fail(f"no {expected!r} in {server.log[count:]}")

                self.assertEqual(ask(server, key="ka")[0], 200)
                status, headers, body = ask(server, key="ka")
                self.assertEqual((status, body["error"]["type"]), (429, "rate_limit_reached_error"))
                self.assertIn("Retry-After", headers)
                self.assertEqual(headers["X-RateLimit-Limit"], "1")
                for bad in ["", "{", '{"keys":[]}', '{"keys":[{"name":"a","key":"ka","rpm":1}]}']:
                    write(bad)
                    reload("the keys stay as they are")
                    self.assertEqual(ask(server, key="ka")[0], 429)
                os.remove(path)
                reload("the keys stay as they are")
                write(json.dumps({"keys": [entry("a", "ka"), entry("b", "kb", priority=3)]}))
                reload("2 keys from now on")
                self.assertEqual([ask(server, key=key)[0] for key in ("ka", "kb", "kc", "ka")], [200, 200, 401, 200])
                lines = [json.loads(line) for line in server.log if line.startswith("{")]
                self.assertIn("b", [line.get("key") for line in lines])
                self.assertNotIn("kb", "".join(server.log).replace('"kb"', ""))

    def test_bad_keys_at_the_start_end_it(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as keys:
            keys.write('{"keys":[{"name":"a","sha256":"xyz"}]}')
            keys.flush()
            done = subprocess.run([BALTORO, "serve", os.path.join(ROOT, "models", "ledger"), "--keys", keys.name],
                                  capture_output=True, text=True, timeout=20, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn("keys[0]: sha256 of 64 hex digits needed", done.stderr)
            self.assertIn(keys.name, done.stderr)

    def test_a_timeout_frees_the_answer(self):
        with ServerProcess(BALTORO, "--math", "f32", "--quiet") as server:
            status, _, body = ask(server, {"timeout": 0.3, "n": 8, "max_tokens": 990, "ignore_eos": True})
            self.assertEqual((status, body["error"]["code"]), (408, "timeout"), body)
            until, now = time.monotonic() + 30, server.metrics()  # the figures of a step come behind its events
            while now["baltoro_requests_timed_out_total"] != 1 or now["baltoro_sequences_running"] != 0:
                self.assertLess(time.monotonic(), until, now)
                now = server.metrics()
            self.assertEqual(now["baltoro_kv_blocks_free"] + now["baltoro_kv_blocks_cached"], now["baltoro_kv_blocks"])
            self.assertEqual(ask(server, headers={"X-Request-Timeout": "30"})[0], 200)

    def test_a_full_queue_is_refused_at_once(self):
        with ServerProcess(BALTORO, "--math", "f32", "--quiet", "--max-queue", "2", "--max-sequences", "1",
                           "--max-choices", "1") as server:
            held, until = [], time.monotonic() + 30
            for running, queued in (1, 0), (1, 1), (1, 2):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                body = {"messages": [{"role": "user", "content": "Hi."}], "ignore_eos": True, "max_tokens": 990}
                connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
                held.append(connection)
                while True:
                    now = server.metrics()
                    if (now["baltoro_sequences_running"], now["baltoro_requests_queued"]) == (running, queued):
                        break
                    self.assertLess(time.monotonic(), until)
            status, headers, body = ask(server)
            self.assertEqual((status, body["error"]["type"]), (429, "engine_overloaded_error"))
            self.assertIn("current: 2 requests, limit: 2", body["error"]["message"])
            self.assertGreaterEqual(int(headers["Retry-After"]), 1)
            for connection in held:
                connection.close()

    def test_control_bytes_never_reach_the_log(self):
        with ServerProcess(BALTORO) as server:
            for path in (b"/\x1b[2J", b"/a%0d%0aFAKE", b"/\xc3\xa9\xff", b"/" + b"x" * 5000):
                with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
                    sock.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    while sock.recv(4096):
                        pass
            for i in range(200):
                ask(server, {"messages": [{"role": "user", "content": f"secret{i}\r\nFAKE 200 \x1b[31m"}], "max_tokens": 1})
            server.stop()
            text = "".join(server.log)
            self.assertNotIn("secret", text)
            self.assertFalse([c for c in text if ord(c) < 32 and c != "\n" or ord(c) == 127])
            self.assertFalse([line for line in server.log if line.startswith("FAKE") or len(line) > 2000])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], warnings="ignore")
