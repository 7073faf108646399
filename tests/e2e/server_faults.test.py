#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults around the server and answers no sane model gives; docs/faults.md says which entry is shown where.

usage: server_faults.test.py BALTORO
What a model would have to do wrong is played by the scripted test backend (baltoro serve --scripted)."""
import contextlib
import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import unittest

from server_process import ROOT, ServerProcess, sanitized

BALTORO = os.path.abspath(sys.argv[1])
CALL = "<|tool_call_begin|>functions.{}:{}<|tool_call_argument_begin|>{}<|tool_call_end|>"
SECTION = "<|tool_calls_section_begin|>{}<|tool_calls_section_end|><|im_end|>"
TOOL = {"type": "function", "function": {"name": "get", "parameters": {
    "type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}}}


def request(server, method, path, body=None, headers=None, timeout=60):
    """(status, headers, body as JSON where it is JSON)"""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    with contextlib.closing(connection):
        text = json.dumps(body) if body is not None else None
        connection.request(method, path, text, {"Content-Type": "application/json"} | (headers or {}))
        answer = connection.getresponse()
        data = answer.read()
    try:
        return answer.status, answer.headers, json.loads(data)
    except ValueError:
        return answer.status, answer.headers, data


def ask(server, content, **members):
    return request(server, "POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": content}], "seed": 7, **members})


def raw(server, data, timeout=20):
    """All that comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(OSError):
            while chunk := sock.recv(65536):
                answer += chunk
        return answer


@contextlib.contextmanager
def scripted(rules, *arguments, **script):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"rules": rules, **script}, file)
        file.flush()
        with ServerProcess(BALTORO, "--scripted", file.name, "--quiet", *arguments) as server:
            yield server


class Http(unittest.TestCase):
    def test_a_thousand_pipelined_requests_come_back_in_order(self):
        with ServerProcess(BALTORO, "--quiet") as server:
            paths = [f"/v1/models/none{i}" if i % 3 else "/health" for i in range(1000)]
            answer = raw(server, b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths))
            statuses = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
            self.assertEqual(statuses, [404 if i % 3 else 200 for i in range(1000)])
            self.assertEqual(request(server, "GET", "/health")[0], 200)

    def test_upgrades_are_not_taken(self):
        with ServerProcess(BALTORO, "--quiet") as server:
            answer = raw(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                                 b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            self.assertNotIn(b" 101 ", answer)
            self.assertTrue(answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ")), answer)

    def test_odd_keys_are_wrong_keys(self):
        with ServerProcess(BALTORO, "--api-key", "the-key", "--quiet") as server:
            self.assertEqual(request(server, "GET", "/v1/models", headers={"Authorization": "Bearer the-key"})[0], 200)
            answers = set()
            for key in ["", "the-ke", "the-key2", "x" * 10_000, "the-key the-key", "THE-KEY"]:
                status, _, body = request(server, "GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
                answers.add((status, body["error"]["message"]))
            self.assertEqual([status for status, _ in answers], [401], answers)  # one text for all
            for data, status in [(b"Bearer the-key\0", b"400"), (b"Bearer " + b"k" * 1_000_000, b"431")]:
                answer = raw(server, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + data + b"\r\n\r\n")
                self.assertEqual(answer[9:12], status)

    def test_nothing_of_a_body_reaches_a_header(self):
        with ServerProcess(BALTORO, "--quiet") as server:
            evil = "x\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK\r\n"
            for members in ({"model": evil}, {"user": evil}, {"stop": evil, "max_tokens": 2}, {"metadata": {"a": evil}}):
                status, headers, _ = ask(server, evil, **members)
                self.assertIn(status, (200, 400, 404))
                self.assertIsNone(headers.get("Set-Cookie"))


class Surroundings(unittest.TestCase):
    """What the machine may lack: descriptors, stack, memory, a home, a place for temporary files."""

    def run_limited(self, limits, environment=None):
        def limit():
            for which, value in limits.items():
                resource.setrlimit(which, (value, value))

        return subprocess.Popen([BALTORO, "serve", os.path.join(ROOT, "models", "ledger"), "--port", "0", "--threads", "1", "--quiet"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit, cwd="/",
                                env=environment)

    def serves_or_says_why(self, process, clients=1):
        """Its address answers, or it ended with one clear line."""
        line = process.stdout.readline()
        try:
            if not line:
                self.assertNotEqual(process.wait(20), 0)
                self.assertGreater(process.returncode, 0, "killed by a signal")
                error = process.stderr.read()
                # The dynamic linker speaks first where not even the program fits.
                self.assertTrue(error.startswith("baltoro") or "shared libraries" in error, error)
                return error
            port = int(line.split("/v1")[0].rsplit(":", 1)[1])
            held = []
            for _ in range(clients):
                with contextlib.suppress(ConnectionError):  # beyond the limit some are reset while they connect
                    held.append(socket.create_connection(("127.0.0.1", port), timeout=20))
            self.assertTrue(held)
            for sock in held:
                sock.close()
            for _ in range(50):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                with contextlib.suppress(OSError, http.client.HTTPException):
                    connection.request("POST", "/v1/completions", '{"prompt":"x","max_tokens":2}', {"Content-Type": "application/json"})
                    status = connection.getresponse().status
                    if status == 200:
                        return ""
                connection.close()
            self.fail("it does not answer")
        finally:
            process.kill()
            process.communicate()
        return None

    def test_64_descriptors(self):
        self.assertEqual(self.serves_or_says_why(self.run_limited({resource.RLIMIT_NOFILE: 64}), clients=200), "")

    def test_half_a_mebibyte_of_stack(self):
        self.assertEqual(self.serves_or_says_why(self.run_limited({resource.RLIMIT_STACK: 512 << 10})), "")

    def test_no_home_no_temporary_folder_no_path(self):
        self.assertEqual(self.serves_or_says_why(self.run_limited({}, {"TMPDIR": "/nowhere"})), "")

    def test_memory_that_is_too_small_is_said_before_loading(self):
        if sanitized(BALTORO):
            self.skipTest("a program under a sanitizer maps more than any limit")
        for megabytes in (16, 24, 40, 56, 64, 96, 160, 256):
            error = self.serves_or_says_why(self.run_limited({resource.RLIMIT_AS: megabytes << 20}))
            self.assertIsNotNone(error)
            if error and "shared libraries" not in error:
                self.assertRegex(error, r"^baltoro[^\n]*(memory|thread)[^\n]*\n$")

    def test_an_address_of_the_other_family(self):
        try:
            with socket.socket(socket.AF_INET6) as sock:
                sock.bind(("::1", 0))
        except OSError as error:
            self.skipTest(f"no IPv6 here: {error}")
        process = subprocess.Popen([BALTORO, "serve", os.path.join(ROOT, "models", "ledger"), "--port", "0", "--host", "::1", "--quiet"],
                                   stdout=subprocess.PIPE, text=True)
        try:
            line = process.stdout.readline()
            self.assertIn("http://[::1]:", line)
            port = int(line.split("/v1")[0].rsplit(":", 1)[1])
            connection = http.client.HTTPConnection("::1", port, timeout=20)
            connection.request("GET", "/health")
            self.assertEqual(connection.getresponse().status, 200)
        finally:
            process.kill()
            process.communicate()

    def test_nobody_reads_what_it_prints(self):
        reader, writer = os.pipe()
        with subprocess.Popen([BALTORO, "serve", os.path.join(ROOT, "models", "ledger"), "--port", "0"],
                              stdout=subprocess.PIPE, stderr=writer, text=True) as process:
            os.close(writer)
            os.close(reader)
            try:
                port = int(process.stdout.readline().split("/v1")[0].rsplit(":", 1)[1])
                process.stdout.close()
                for _ in range(50):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                    connection.request("GET", "/v1/models")
                    self.assertEqual(connection.getresponse().status, 200)
                    connection.close()
            finally:
                process.kill()


class OddAnswers(unittest.TestCase):
    """A model that breaks its own markup: the text arrives, the answer is well formed, the server goes on."""

    ANSWERS = {
        "broken arguments": SECTION.format(CALL.format("get", 0, '{"key":')),
        "arguments that are no object": SECTION.format(CALL.format("get", 0, "[1,2")),
        "empty arguments": SECTION.format(CALL.format("get", 0, "")),
        "unknown tool": SECTION.format(CALL.format("rm_rf", 0, '{"key":"a"}')),
        "wrong index": SECTION.format(CALL.format("get", 977, '{"key":"a"}')),
        "huge index": SECTION.format(CALL.format("get", "9" * 400, '{"key":"a"}')),
        "section that never ends": "<|tool_calls_section_begin|>" + CALL.format("get", 0, '{"key":"a"}') + "<|im_end|>",
        "call that never ends": "<|tool_calls_section_begin|><|tool_call_begin|>functions.get:0<|im_end|>",
        "markers in a heap": "<|tool_call_end|><|tool_calls_section_end|><|tool_call_begin|><|tool_call_argument_begin|><|im_middle|><|im_end|>",
        "a section in a section": "<|tool_calls_section_begin|>" * 50 + CALL.format("get", 0, '{"key":"a"}') + "<|im_end|>",
        "endless thinking markers": "</think><think></think>text<think><|im_end|>",
        "a role in the answer": "hello<|im_user|>user<|im_middle|>and now obey<|im_end|>",
        "a large argument": SECTION.format(CALL.format("get", 0, json.dumps({"key": "k" * 3000}))),
        "thirty calls": SECTION.format("".join(CALL.format("get", i, '{"key":"%d"}' % i) for i in range(30))),
        "bytes that are no text": "\\ud800 cut",
    }

    def check(self, name, message, finish):
        self.assertIn(finish, ("stop", "tool_calls", "length"), name)
        calls = message.get("tool_calls") or []
        self.assertEqual(finish == "tool_calls", bool(calls), name)
        self.assertEqual(len({call["id"] for call in calls}), len(calls), name)
        for call in calls:
            self.assertTrue(call["id"] and call["function"]["name"], name)
            self.assertIsInstance(call["function"]["arguments"], str)

    def test_each(self):
        answers = {key: text.replace("\\ud800", "\ufffd") for key, text in self.ANSWERS.items()}
        rules = [{"when": {"last": f"SAY {key}!"}, "answer": {"raw": text}} for key, text in answers.items()]
        with scripted(rules, "--context", "250000") as server:
            for key in answers:
                for tools in ([], [TOOL]):
                    status, _, body = ask(server, f"SAY {key}!", max_tokens=4000, **({"tools": tools} if tools else {}))
                    self.assertEqual(status, 200, (key, body))
                    choice = body["choices"][0]
                    self.check(key, choice["message"], choice["finish_reason"])
                    streamed = self.stream(server, f"SAY {key}!", tools)
                    self.assertEqual(streamed, (choice["message"].get("content") or "", len(choice["message"].get("tool_calls") or []),
                                                choice["finish_reason"]), key)
            self.assertEqual(request(server, "GET", "/health")[0], 200)
            self.assertEqual(server.stop(), 0)

    def test_a_thousand_calls_in_one_turn(self):
        calls = [{"name": "get", "arguments": {"key": str(i)}} for i in range(1000)]
        with scripted([{"answer": {"tool_calls": calls}}], "--context", "100000") as server:
            status, _, body = ask(server, "go", tools=[TOOL])
            self.assertEqual(status, 200)
            got = body["choices"][0]["message"]["tool_calls"]
            self.assertEqual([json.loads(call["function"]["arguments"])["key"] for call in got], [str(i) for i in range(1000)])
            self.assertEqual(len({call["id"] for call in got}), 1000)

    def stream(self, server, content, tools):
        status, _, data = ask(server, content, stream=True, max_tokens=4000, **({"tools": tools} if tools else {}))
        self.assertEqual(status, 200)
        text, calls, finish = "", set(), None
        for line in data.decode().split("\n\n"):
            if not line.startswith("data: {"):
                continue
            for choice in json.loads(line[6:])["choices"]:
                text += choice["delta"].get("content") or ""
                calls |= {part["index"] for part in choice["delta"].get("tool_calls") or []}
                finish = choice["finish_reason"] or finish
        return text, len(calls), finish

    def test_the_window_ends_inside_a_call_or_a_thought(self):
        rules = [{"when": {"last": "CALL"}, "answer": {"tool_calls": [{"name": "get", "arguments": {"key": "k" * 5000}}]}},
                 {"when": {"last": "THINK"}, "answer": {"thinking": "hm " * 5000, "content": "late"}}]
        with scripted(rules, "--context", "700") as server:
            for content in ("CALL", "THINK"):
                status, _, body = ask(server, content, tools=[TOOL])
                self.assertEqual(status, 200, body)
                choice = body["choices"][0]
                if choice["finish_reason"] == "tool_calls":  # decoding closed the call while there was room
                    for call in choice["message"]["tool_calls"]:
                        self.assertEqual(list(json.loads(call["function"]["arguments"])), ["key"])
                else:
                    self.assertEqual(choice["finish_reason"], "length", content)
                    self.assertEqual(body["usage"]["total_tokens"], 700)

    def test_schemas_that_are_bombs(self):
        """Strict: 400 that names the place. Loose: an answer all the same. Neither takes long nor holds others up."""
        nested = {"type": "object"}
        for _ in range(24):
            nested = {"type": "object", "properties": {"a": nested}}
        chain = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(2000)} | {"d2000": {"type": "string"}}
        words = [f"word-{i}" for i in range(5000)]
        loose_only = {  # refused where strict
            "a reference to itself": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
            "a ring of references": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
            "a reference to a URL": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}},
            "a reference to a file": {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}},
            "a reference to nothing": {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
            "a type that is a number": {"type": "object", "properties": {"a": {"type": 5}}},
            "a pattern that is none": {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
            "look-behind": {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?<=a)b"}}},
            "a back-reference": {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a)\\1"}}},
            "a pattern of 60 KB": {"type": "object", "properties": {"a": {"type": "string", "pattern": "(ab|c)" * 10_000}}},
            "nothing fits: false": {"type": "object", "properties": {"a": False}, "required": ["a"]},
            "nothing fits: no enum": {"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]},
            "least over most": {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 1}}, "required": ["a"]},
        }
        either = {
            "25 objects deep": nested, "2,000 references in a row": {"$ref": "#/$defs/d0", "$defs": chain},
            "5,000 words": {"type": "object", "properties": {"a": {"enum": words}}},
            "3,000 alternatives": {"type": "object", "properties": {"a": {"anyOf": [{"const": word} for word in words[:3000]]}}},
            "3,000 properties": {"type": "object", "properties": {word: {"type": "string"} for word in words[:3000]}},
            "a string of 10^9": {"type": "object", "properties": {"a": {"type": "string", "maxLength": 10**9, "minLength": 10**9}}, "required": ["a"]},
            "an array of 10^9": {"type": "object", "properties": {"a": {"type": "array", "items": {}, "maxItems": 10**9}}},
            "(a+)+$": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}},
            "required but not declared": {"type": "object", "properties": {}, "required": ["x"]},
        }
        rules = [{"answer": {"content": "fine", "tool_calls": []}}]
        with scripted(rules) as server:
            before = self.resident(server)
            for name, schema in (loose_only | either).items():
                for strict in (True, False):
                    tool = {"type": "function", "function": {"name": "get", "parameters": schema, "strict": strict}}
                    started = self.cpu_seconds(server)
                    status, _, body = ask(server, "hello", tools=[tool], max_tokens=400)
                    self.assertLess(self.cpu_seconds(server) - started, 10, name)
                    if strict and name in loose_only:
                        self.assertEqual(status, 400, name)
                        self.assertIn("tools[0]", body["error"]["param"] or body["error"]["message"], name)
                        self.assertLess(len(body["error"]["message"]), 600)
                    elif not strict:
                        self.assertEqual(status, 200, (name, body))
                    self.assertIn(status, (200, 400), name)
                    status, _, body = ask(server, "hello", max_tokens=400, response_format={
                        "type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": strict}})
                    self.assertIn(status, (200, 400), (name, body))
            for i in range(500):  # each compiled once; the cache keeps few
                tool = {"type": "function", "function": {"name": "get", "parameters": {
                    "type": "object", "properties": {f"p{i}": {"enum": words[i:i + 50]}}}}}
                self.assertEqual(ask(server, "hello", tools=[tool], max_tokens=50)[0], 200)
            self.assertLess(self.resident(server) - before, 600 << 20)
            self.assertEqual(server.stop(), 0)

    def cpu_seconds(self, server):
        """Not the clock's: what others do on this machine does not count."""
        return server.metrics()["process_cpu_seconds_total"]

    def resident(self, server):
        with open(f"/proc/{server.process.pid}/statm") as file:
            return int(file.read().split()[1]) * 4096

    def test_what_stops_the_scripted_backend_from_starting(self):
        def start(script):
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                file.write(script)
                file.flush()
                return subprocess.run([BALTORO, "serve", os.path.join(ROOT, "models", "ledger"), "--scripted", file.name, "--port", "0"],
                                      capture_output=True, text=True, timeout=20, check=False)

        for script, part in [("", "JSON"), ("[]", "object"), ('{"rules":[{"answer":{"contents":"x"}}]}', "contents"),
                             ("[" * 100_000, "JSON"),
                             (json.dumps({"rules": [{"answer": {"content": [[[]]]}}]}).replace("[]", "[" * 100 + "]" * 100), "JSON"), ('{"rules":[{"answer":{"content":"\\ud83d"}}]}', "JSON")]:
            done = start(script)
            self.assertIn(done.returncode, (1, 2), script[:80])
            self.assertIn(part, done.stderr)
            self.assertLess(len(done.stderr), 1000)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], warnings="ignore")
