"""A daemon as a process against the local exchange, for measurements from outside."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIG = """
[daemon]
state_dir = "{state}"
[database]
url = "{database}"
[upbit]
base_url = "{exchange}"
[signals]
source = "rules"
[health]
port = 0
"""


@contextmanager
def sandbox(*arguments: str) -> Iterator[str]:
    """The address of a sandbox that stops by itself when this process ends."""
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--stop-on-eof", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["base_url"])
        process.communicate(timeout=10)


@contextmanager
def ready_daemon(path: Path) -> Iterator[tuple[int, str]]:
    """A daemon with the configuration at `path`: its process id and its port's address.

    The block begins at its `daemon.ready` line; at its end the daemon is stopped.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "daemon", "run", "--config", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "UPBITD_LOG__FORMAT": "json"},
    ) as process:
        assert process.stdout is not None
        url = ""
        for line in process.stdout:
            told = json.loads(line)
            url = told.get("url", url) if told["event"] == "health.listening" else url
            if told["event"] == "daemon.ready":
                break
        # a full pipe would hold the daemon
        rest = threading.Thread(target=process.stdout.read)
        rest.start()
        try:
            yield process.pid, url
        finally:
            process.send_signal(signal.SIGTERM)
            rest.join()
