# SPDX-License-Identifier: Apache-2.0
"""Starts `baltoro serve` for an end-to-end test and stops it again."""
import os
import re
import signal
import subprocess
import threading
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def sanitized(baltoro):
    """Whether this program is under AddressSanitizer or ThreadSanitizer, which map more than any limit of memory."""
    with open(baltoro, "rb") as file:
        return re.search(rb"\0__[at]san_init\0", file.read()) is not None


class ServerProcess:
    """A running server on a free port of the loopback. Use as a context manager; `log` holds its stderr so far."""

    def __init__(self, baltoro, *arguments, model="ledger", environment=None, preexec=None):
        folder = os.path.join(ROOT, "models", model)
        env = {k: v for k, v in os.environ.items() if not k.startswith("BALTORO_API")} | (environment or {})
        self.process = subprocess.Popen([baltoro, "serve", folder, "--port", "0", *arguments],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, preexec_fn=preexec)
        self.log = []
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self._reader.start()
        line = self.process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:(\d+)/v1", line)
        if not match:
            self.process.kill()
            self._reader.join(5)
            raise RuntimeError(f"the server did not start: {line!r} {''.join(self.log)}")
        self.port = int(match[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, timeout=20):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        self._reader.join(5)
        return code

    def metrics(self, headers=None):
        """The plain samples of /metrics: name (with labels) -> value."""
        request = urllib.request.Request(self.url + "/metrics", headers=headers or {})
        with urllib.request.urlopen(request, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}
