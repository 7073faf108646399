#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Starting and stopping `baltoro serve`: keys, ports, signals, a stuck log.

usage: server_lifecycle.test.py BALTORO"""
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from server_process import ROOT, ServerProcess

BALTORO = os.path.abspath(sys.argv[1])


def chat(server, key=None, **members):
    """An open connection with the response of a chat request that would run to the end of the context."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = {"messages": [{"role": "user", "content": "Tell me a joke."}], "ignore_eos": True, **members}
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection.getresponse()


def serve(*arguments, timeout=20):
    return subprocess.run([BALTORO, "serve", os.path.join(ROOT, "models", "ledger"), *arguments],
                          capture_output=True, text=True, timeout=timeout, check=False)


class Lifecycle(unittest.TestCase):
    def test_sigterm_finishes_what_runs(self):
        with ServerProcess(BALTORO) as server:
            answers = []

            def follow():
                answers.append(chat(server, stream=True, n=4, max_tokens=800).read().decode())

            client = threading.Thread(target=follow)
            client.start()
            while server.metrics()["baltoro_sequences_running"] == 0 and client.is_alive():
                time.sleep(0.002)
            self.assertEqual(server.stop(), 0)
            client.join()
            self.assertTrue(answers[0].endswith("data: [DONE]\n\n"), answers[0][-300:])
            self.assertIn("done", server.log[-1])

    def test_the_drain_deadline_ends_the_rest_with_an_error(self):
        with ServerProcess(BALTORO, "--math", "f32", "--drain-seconds", "0.05") as server:
            response = chat(server, stream=True, n=8, max_tokens=900)
            response.readline()
            self.assertEqual(server.stop(), 0)
            rest = response.read().decode()
            self.assertIn('"code":"server_unavailable"', rest, rest[-300:])

    def test_a_second_signal_ends_at_once(self):
        with ServerProcess(BALTORO, "--math", "f32") as server:
            response = chat(server, stream=True, n=8, max_tokens=900)
            response.readline()
            server.process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + 10
            while not any("once more" in line for line in server.log) and time.monotonic() < deadline:
                time.sleep(0.005)
            server.process.send_signal(signal.SIGINT)
            self.assertIn('"code":"server_unavailable"', response.read().decode()[-600:])
            self.assertEqual(server.process.wait(20), 0)

    def test_keys_from_option_file_and_environment(self):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
            keys.write("# comment\n\nfrom-file\n")
            keys.flush()
            with ServerProcess(BALTORO, "--api-key", "from-option", "--api-key-file", keys.name,
                               environment={"BALTORO_API_KEY": "from-environment"}) as server:
                for key, status in [("from-option", 200), ("from-file", 200), ("from-environment", 200),
                                    ("# comment", 401), ("", 401), (None, 401)]:
                    self.assertEqual(chat(server, key, max_tokens=2).status, status, key)

    def test_what_stops_it_from_starting(self):
        with tempfile.NamedTemporaryFile("w") as empty:
            self.assertIn("no key in the key file", serve("--api-key-file", empty.name).stderr)
        self.assertIn("cannot read the key file", serve("--api-key-file", "/nowhere/keys").stderr)
        with ServerProcess(BALTORO) as server:
            taken = serve("--port", str(server.port))
            self.assertEqual(taken.returncode, 1)
            self.assertIn("cannot listen", taken.stderr)
        self.assertNotEqual(serve("--port", "70000").returncode, 0)
        self.assertNotEqual(subprocess.run([BALTORO, "serve", "/nowhere"], capture_output=True, check=False).returncode, 0)

    def test_a_log_nobody_reads_does_not_hold_the_server_up(self):
        self.outlives_its_log(lambda log: None)

    def test_a_log_whose_reader_left_does_not_end_the_server(self):
        self.outlives_its_log(lambda log: log.close())

    def outlives_its_log(self, spoil):
        process = subprocess.Popen([BALTORO, "serve", os.path.join(ROOT, "models", "ledger"), "--port", "0"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            port = int(process.stdout.readline().split("/v1")[0].rsplit(":", 1)[1])
            spoil(process.stderr)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            for _ in range(3000):  # about 270 KB of log lines into a pipe of 64 KB
                connection.request("GET", "/health")
                self.assertEqual(connection.getresponse().read(), b'{"status":"ok"}')
            process.send_signal(signal.SIGHUP)
            process.terminate()
            self.assertEqual(process.wait(10), 0)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], warnings="ignore")
