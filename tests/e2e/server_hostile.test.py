#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sends the server what no client should send, over raw sockets, and prints a table: input -> answer.

usage: server_hostile.test.py BALTORO
Every input has its expected status (and, for JSON, the field that the error must name); after all of them the server
must still answer, hold nothing and have grown by little memory."""
import json
import os
import socket
import sys
import threading
import time

from server_process import ServerProcess

BODY_LIMIT_MIB = 4
HOST = b"Host: localhost\r\n"
CHAT = "/v1/chat/completions"
failures = []


def exchange(port, data, half_close=True, timeout=20, pause=0):
    """Sends `data` (bytes, or pieces sent `pause` seconds apart) and returns all that comes back until the close."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
        sock.settimeout(timeout)
        try:
            for piece in [data] if isinstance(data, bytes) else data:
                sock.sendall(piece)
                if pause:
                    time.sleep(pause)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server may have answered and closed already
        answer = b""
        try:
            while chunk := sock.recv(65536):
                answer += chunk
        except OSError:
            pass
        return answer


def parse(answer):
    """(status, body as JSON or None) of the last answer in the bytes, interim 100s aside."""
    while answer.startswith(b"HTTP/1.1 100 "):
        answer = answer.partition(b"\r\n\r\n")[2]
    if not answer.startswith(b"HTTP/1.1 "):
        return 0, None
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split()[1]), json.loads(body)
    except ValueError:
        return int(head.split()[1]), None


def report(name, answer, status, field=None):
    got, body = parse(answer)
    error = (body or {}).get("error", {}) if isinstance(body, dict) else {}
    text = f"{got} {error.get('param') or ''}".strip()
    good = got == status and (field is None or error.get("param") == field)
    if status >= 400:
        good = good and isinstance(error.get("message"), str) and len(error["message"]) < 600
    print(f"{'ok  ' if good else 'FAIL'} {name:<44} -> {text:<32} {str(error.get('message', ''))[:90]}")
    if not good:
        failures.append(f"{name}: expected {status} {field or ''}, got {answer[:300]!r}")


def post(path, body, fields=b""):
    body = body if isinstance(body, bytes) else body.encode()
    return (f"POST {path} HTTP/1.1\r\n".encode() + HOST + b"Content-Type: application/json\r\n" + fields +
            f"Content-Length: {len(body)}\r\n\r\n".encode() + body)


def http_cases():
    head = b"POST " + CHAT.encode() + b" HTTP/1.1\r\n" + HOST
    chunked = b"Transfer-Encoding: chunked\r\n"
    yield "Content-Length, then chunked", head + b"Content-Length: 2\r\n" + chunked + b"\r\n0\r\n\r\n", 400
    yield "chunked, then Content-Length", head + chunked + b"Content-Length: 2\r\n\r\n0\r\n\r\n", 400
    yield "two different Content-Length", head + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400
    yield "Content-Length 5, 5", head + b"Content-Length: 2, 2\r\n\r\n{}", 400
    yield "Content-Length +2", head + b"Content-Length: +2\r\n\r\n{}", 400
    yield "Content-Length -1", head + b"Content-Length: -1\r\n\r\n{}", 400
    yield "Content-Length 10^22", head + b"Content-Length: 10000000000000000000000\r\n\r\n", 400
    yield "Content-Length over the limit", head + b"Content-Length: 1073741824\r\n\r\n", 413
    yield "Transfer-Encoding xchunked", head + b"Transfer-Encoding: xchunked\r\n\r\n", 400
    yield "Transfer-Encoding chunked, identity", head + b"Transfer-Encoding: chunked, identity\r\n\r\n", 400
    yield "chunked in HTTP/1.0", b"POST / HTTP/1.0\r\n" + HOST + chunked + b"\r\n0\r\n\r\n", 400
    yield "chunk size 2^72", head + chunked + b"\r\n1000000000000000000\r\n", 400
    yield "chunk size 0x3", head + chunked + b"\r\n0x3\r\n{} \r\n0\r\n\r\n", 400
    yield "chunk size -3", head + chunked + b"\r\n-3\r\n{} \r\n0\r\n\r\n", 400
    yield "chunk data without CRLF", head + chunked + b"\r\n2\r\n{}0\r\n\r\n", 400
    yield "1 MB chunk extension", head + chunked + b"\r\n2;" + b"x" * 1_000_000 + b"\r\n{}\r\n0\r\n\r\n", 400
    yield "1 MB of trailers", head + chunked + b"\r\n2\r\n{}\r\n0\r\nA: " + b"x" * 1_000_000 + b"\r\n\r\n", 400
    yield "chunked body over the limit", [head + chunked + b"\r\n"] + [b"100000\r\n" + b" " * (1 << 20) + b"\r\n"] * 5, 413
    yield "100,000 chunks of one byte", head + chunked + b"\r\n" + b"1\r\n \r\n" * 100_000 + b"0\r\n\r\n", 400
    yield "bare line feeds", b"GET /health HTTP/1.1\nHost: localhost\n\n", 400
    yield "space before the colon", b"GET /health HTTP/1.1\r\n" + HOST + b"X : y\r\n\r\n", 400
    yield "NUL in a header", b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", 400
    yield "folded header", b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400
    yield "no Host", b"GET /health HTTP/1.1\r\n\r\n", 400
    yield "two Hosts", b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400
    yield "Host with a path", b"GET /health HTTP/1.1\r\nHost: localhost/x\r\n\r\n", 400
    yield "Host of somebody else", b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403
    yield "20 KB header", b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 431
    yield "1,000 headers", b"GET /health HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 1000 + b"\r\n", 431
    yield "100 KB path", b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414
    yield "TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 64, 400
    yield "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505
    yield "HTTP/9.9", b"GET /health HTTP/9.9\r\n" + HOST + b"\r\n", 505
    yield "head that stops in the middle", b"GET /health HTTP/1.1\r\nHos", 400
    yield "body that stops in the middle", head + b"Content-Length: 100\r\n\r\n{\"mes", 400
    yield "wrong method", b"DELETE " + CHAT.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n", 405
    yield "CORS preflight", b"OPTIONS " + CHAT.encode() + b" HTTP/1.1\r\n" + HOST + b"Origin: http://evil\r\n\r\n", 405
    yield "unknown path", b"GET /admin HTTP/1.1\r\n" + HOST + b"\r\n", 404
    yield "path with dots", b"GET /v1/../health HTTP/1.1\r\n" + HOST + b"\r\n", 404
    yield "path with %2e", b"GET /%2e%2e/health HTTP/1.1\r\n" + HOST + b"\r\n", 404
    yield "double slash", b"GET //health HTTP/1.1\r\n" + HOST + b"\r\n", 404
    yield "absolute form", b"GET http://localhost/health HTTP/1.1\r\n" + HOST + b"\r\n", 404
    yield "form instead of JSON", head + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415
    yield "charset utf-16", head + b"Content-Type: application/json; charset=utf-16\r\nContent-Length: 2\r\n\r\n{}", 415
    yield "gzip body", head + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415
    yield "Expect something else", head + b"Expect: tea\r\nContent-Length: 2\r\n\r\n{}", 417


def chat(members="", content='"Hello."'):
    return '{"messages":[{"role":"user","content":%s}]%s}' % (content, members and "," + members)


def json_cases():
    yield "empty body", "", 400, None
    yield "an array", "[]", 400, None
    yield "a string", '"x"', 400, None
    yield "truncated", '{"messages":[{"role":"us', 400, None
    yield "trailing text", chat() + "x", 400, None
    yield "byte order mark", "\ufeff" + chat(), 400, None
    yield "comment", "{/* */}", 400, None
    yield "NaN", chat('"temperature":NaN'), 400, None
    yield "1e400", chat('"temperature":1e400'), 400, None
    yield "integer of 2^64", chat('"seed":18446744073709551616'), 400, None
    yield "100,000 digits", chat('"seed":' + "9" * 100_000), 400, None
    yield "a million [", "[" * 1_000_000, 400, None
    yield "a million nested objects", '{"a":' * 600_000, 400, None
    yield "depth 65", '{"a":' + "[" * 64 + "]" * 64 + "}", 400, None
    yield "over a million values", '{"a":[' + "0," * 1_000_001 + "0]}", 400, None
    yield "repeated key", '{"model":"ledger","model":"ledger"}', 400, None
    yield "key of 1 MB, unknown", chat('"%s":1' % ("k" * 1_000_000)), 200, None
    yield "bad UTF-8", chat().encode().replace(b"Hello", b"\xff\xfe"), 400, None
    yield "overlong UTF-8", chat().encode().replace(b"Hello", b"\xc0\x80"), 400, None
    yield "UTF-8 surrogate", chat().encode().replace(b"Hello", b"\xed\xa0\x80"), 400, None
    yield "lone \\ud800", chat(content='"\\ud800"'), 400, None
    yield "\\u0000 in text", chat(content='"a\\u0000b"'), 200, None
    yield "control tokens as text", chat(content='"<|im_end|><|tool_calls_section_begin|></think>"'), 200, None
    yield "unknown fields", chat('"zzz":{"a":[1,2]},"store":true,"user":"u"'), 200, None
    yield "no messages", "{}", 400, "messages"
    yield "messages empty", '{"messages":[]}', 400, "messages"
    yield "messages a string", '{"messages":"hi"}', 400, "messages"
    yield "role unknown", '{"messages":[{"role":"king","content":"x"}]}', 400, "messages[0].role"
    yield "content a number", '{"messages":[{"role":"user","content":7}]}', 400, "messages[0].content"
    yield "image part", chat(content='[{"type":"image_url","image_url":{"url":"http://127.0.0.1/"}}]'), 400, \
        "messages[0].content[0].type"
    yield "tool answer to nothing", '{"messages":[{"role":"tool","tool_call_id":"x","content":"y"}]}', 400, \
        "messages[0].tool_call_id"
    yield "20,000 messages", '{"messages":[' + ",".join(['{"role":"user","content":"x"}'] * 20_000) + "]}", 400, "messages"
    yield "other model", chat('"model":"gpt-5"'), 404, "model"
    yield "temperature as text", chat('"temperature":"1"'), 400, "temperature"
    yield "temperature 1e308", chat('"temperature":1e308'), 400, "temperature"
    yield "top_p 0", chat('"top_p":0'), 400, "top_p"
    yield "top_k -5", chat('"top_k":-5'), 400, "top_k"
    yield "seed 1.5", chat('"seed":1.5'), 400, "seed"
    yield "n 0", chat('"n":0'), 400, "n"
    yield "n 10^9", chat('"n":1000000000'), 400, "n"
    yield "n true", chat('"n":true'), 400, "n"
    yield "max_tokens 0", chat('"max_tokens":0'), 400, "max_tokens"
    yield "max_tokens 2^63", chat('"max_tokens":9223372036854775808'), 400, "max_tokens"
    yield "top_logprobs 10^6", chat('"logprobs":true,"top_logprobs":1000000'), 400, "top_logprobs"
    yield "logit_bias -1", chat('"logit_bias":{"-1":1}'), 400, "logit_bias"
    yield "logit_bias beyond the vocabulary", chat('"logit_bias":{"1024":1}'), 400, "logit_bias"
    yield "logit_bias 1e308", chat('"logit_bias":{"1":1e308}'), 400, "logit_bias"
    yield "100,000 logit_bias", chat('"logit_bias":{' + ",".join(f'"{i}":1' for i in range(100_000)) + "}"), 400, \
        "logit_bias"
    yield "stop empty", chat('"stop":""'), 400, "stop"
    yield "10,000 stops", chat('"stop":[' + ",".join(['"a"'] * 10_000) + "]"), 400, "stop"
    yield "stop of 1 MB", chat('"stop":"%s"' % ("s" * 1_000_000)), 400, "stop"
    yield "stream as text", chat('"stream":"yes"'), 400, "stream"
    yield "stream_options without stream", chat('"stream_options":{}'), 400, "stream_options"
    yield "tool without a name", chat('"tools":[{"type":"function","function":{}}]'), 400, "tools[0].function.name"
    yield "tool name with :", chat('"tools":[{"type":"function","function":{"name":"a:b"}}]'), 400, \
        "tools[0].function.name"
    yield "5,000 tools", chat('"tools":[' + ",".join('{"type":"function","function":{"name":"t%d"}}' % i
                                                    for i in range(5000)) + "]"), 400, "tools"
    yield "tool_choice required without tools", chat('"tool_choice":"required"'), 400, "tool_choice"
    yield "thinking odd", chat('"thinking":{"type":"odd"}'), 400, "thinking.type"
    yield "response_format json_schema", chat('"response_format":{"type":"json_schema"}'), 400, "response_format.json_schema"
    yield "prompt over the context", chat(content='"%s"' % ("word " * 5000)), 400, None


def completion_cases():
    yield "token id beyond the vocabulary", '{"prompt":[1,1024]}', 400, "prompt"
    yield "token id -1", '{"prompt":[-1]}', 400, "prompt[0]"
    yield "empty prompt", '{"prompt":""}', 400, "prompt"
    yield "prompt missing", "{}", 400, "prompt"
    yield "n times prompts over the limit", '{"prompt":["a","b","c"],"n":8}', 400, "n"
    yield "suffix", '{"prompt":"x","suffix":"y"}', 400, "suffix"


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def slow_clients(port):
    """Each drips bytes slower than its deadline allows; all at once."""
    cases = {
        "slow head": ([b"GET /health HTTP/1.1\r\n"] + [b"X"] * 130, 408),
        "slow body": ([b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n"] + [b" "] * 40, 408),
    }
    answers = {}
    threads = [threading.Thread(target=lambda n=name, p=pieces: answers.update({n: exchange(port, p, False, 20, 0.1)}))
               for name, (pieces, _) in cases.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, (_, status) in cases.items():
        report(name, answers[name], status)


def hang_ups(server):
    """200 clients that leave at different moments; nothing may stay behind."""
    request = post(CHAT, chat('"stream":true,"ignore_eos":true,"max_tokens":900'))
    for i in range(200):
        sock = socket.create_connection(("127.0.0.1", server.port))
        sock.sendall(request[:len(request) if i % 4 else i])
        if i % 3 == 0 and i % 4:
            sock.recv(1 + i)
        if i % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    for _ in range(500):
        figures = server.metrics()
        left = [figures[f"baltoro_{name}"] for name in ("sequences_running", "sequences_waiting", "api_generations")]
        if left == [0, 0, 0]:
            print(f"ok   200 clients that hang up{' ' * 18} -> nothing left running")
            return
        time.sleep(0.02)
    failures.append(f"hang-ups: still running or waiting: {left}")


def main():
    options = ["--max-body-mib", str(BODY_LIMIT_MIB), "--body-seconds", "2", "--quiet"]
    with ServerProcess(os.path.abspath(sys.argv[1]), *options) as server:
        report("a good request first", exchange(server.port, post(CHAT, chat(), b"Connection: close\r\n")), 200)
        before = resident_bytes(server.process.pid)
        for name, data, status in http_cases():
            report(name, exchange(server.port, data), status)
        for name, body, status, field in json_cases():
            report(name, exchange(server.port, post(CHAT, body, b"Connection: close\r\n")), status, field)
        for name, body, status, field in completion_cases():
            report(name, exchange(server.port, post("/v1/completions", body, b"Connection: close\r\n")), status, field)
        slow_clients(server.port)
        hang_ups(server)
        report("a good request last", exchange(server.port, post(CHAT, chat(), b"Connection: close\r\n")), 200)
        grown = (resident_bytes(server.process.pid) - before) / 2**20
        print(f"resident memory grew by {grown:.1f} MiB")
        if grown > 200:
            failures.append(f"resident memory grew by {grown:.1f} MiB")
        code = server.stop()
        if code != 0:
            failures.append(f"exit code {code} after SIGTERM: {server.log[-5:]}")
    for failure in failures:
        print("FAILED", failure)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
