"""One daemon as a real process, and all that it depends on, each behind a door of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import redis
from psycopg.sql import SQL, Identifier
from truth.proxy import Proxy

from daemon.postgres import schema
from daemon.postgres.server import EmbeddedPostgres
from daemon.postgres.server_paths import PORT, SOCKET_NAME
from health.report import COMPONENTS

ROLE, PASSWORD = "upbitd_truth", "a-password-of-the-truth-table"
GEMINI_KEY = "SANDBOX-GEMINI-KEY-NOT-A-REAL-ONE"
READY_S = 60.0
KEPT_LINES = 20_000
QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB"}

CONFIG = """
[trading]
mode = "live"
[daemon]
state_dir = "{state_dir}"
shutdown_grace = "2s"
[database]
url = "{database}"
pool_min = 4
pool_max = 12
acquire_timeout = "2s"
[redis]
url = "{redis}"
[upbit]
base_url = "{upbit}"
[gemini]
base_url = "{gemini}"
daily_budget_usd = {budget}
timeout = "5s"
[jobs.market]
every = "{market_every}"
offset = "0s"
history = "5m"
deadline = "20s"
[jobs.signals]
every = "{signals_every}"
offset = "0s"
deadline = "20s"
[jobs.orders]
every = "{orders_every}"
deadline = "20s"
[health]
port = 0
[alerts]
hooks = [{{exec = ["/bin/true"]}}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a world's daemon is configured."""

    market_every: str = "2s"
    signals_every: str = "3s"
    orders_every: str = "1s"
    budget: str = "1000"
    redis: bool = False
    standby: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of /health: when it was asked for, what it said, how long it took.

    `halted` is the level of the halt, and whether it says by whom.
    """

    at_s: float
    took_ms: float
    components: Mapping[str, tuple[str, str | None]]
    halted: str = "none"

    def status(self, component: str) -> str:
        """The status of a component."""
        return self.components[component][0]


def _halted(said: Mapping[str, Any]) -> str:
    level = str(said["level"])
    return level if level == "none" or said["by"] else f"{level}, and not by whom"


class World:
    """A daemon with its own Postgres, exchange and model. Enter it from the main thread."""

    def __init__(self, root: Path, setup: Setup) -> None:
        self._root = root
        self._setup = setup
        self._stack = ExitStack()
        self.server = EmbeddedPostgres(root / "pg", settings=QUICK)
        self.leader: Daemon | None = None

    @property
    def state_dir(self) -> Path:
        """The daemon's state directory."""
        return self._root / "state"

    @property
    def data_dir(self) -> Path:
        """The data directory of the server."""
        return self._root / "pg" / "data"

    def __enter__(self) -> "World":
        with ExitStack() as stack:
            self._stack = stack
            stack.enter_context(self.server)
            self.admin = stack.enter_context(psycopg.connect(self.server.url, autocommit=True))
            self.admin.execute("SET default_transaction_read_only = off")
            self._make_role()
            self.card = stack.enter_context(sandbox())
            self.control = stack.enter_context(httpx.Client(base_url=self.card["base_url"]))
            host = httpx.URL(self.card["base_url"])
            assert host.port is not None
            self.upbit = stack.enter_context(Proxy((host.host, host.port)))
            self.gemini = stack.enter_context(Proxy((host.host, host.port)))
            self.database = stack.enter_context(Proxy(str(self._socket())))
            self._redis_url = ""
            if self._setup.redis:
                server = stack.enter_context(redis_server(self._root))
                self.redis = stack.enter_context(Proxy(server))
                self._redis_url = f"redis://127.0.0.1:{self.redis.port}/0"
            self.calm()
            self._config = self._write_config()
            if self._setup.standby:
                self.leader = stack.enter_context(Daemon(self._config, self.card))
                self.leader.until_ready()
            self.daemon = stack.enter_context(Daemon(self._config, self.card))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def until_ready(self) -> None:
        """Return once the observed daemon leads, or stands by where another does."""
        path = "/readyz?standby=ok" if self._setup.standby else "/readyz"
        self.daemon.until_ready(path)

    def restart(self) -> None:
        """A new daemon with nothing left of earlier troubles."""
        self.daemon.end()
        self.calm()
        self.forget()
        self.daemon.start()
        self.until_ready()

    def forget(self) -> None:
        """Empty the tables that carry a trouble across a restart."""
        self.admin.execute("DELETE FROM gates; DELETE FROM alert_deliveries; DELETE FROM alerts")

    def calm(self) -> None:
        """The exchange behaves and its key is good."""
        self.control.delete("/sandbox/faults")
        self.tell("time", shift_s=0)
        self.tell("options", quotas=False, fill_min_ms=0, fill_max_ms=0, date_skew_s=0.0)
        self.tell("gemini/script", scenarios=[])
        self.key()

    def key(self, **fields: object) -> None:
        """Give the demo key these properties."""
        keys = {name: self.card[name] for name in ("access_key", "secret_key")}
        self.tell("keys", **{**keys, **fields})

    def tell(self, route: str, /, **body: object) -> Any:
        """Pull a lever of the sandbox."""
        answer = self.control.post(f"/sandbox/{route}", json=body)
        answer.raise_for_status()
        return answer.json()

    def _socket(self) -> Path:
        parts = psycopg.conninfo.conninfo_to_dict(self.server.url)
        return Path(str(parts["host"])) / SOCKET_NAME

    def _make_role(self) -> None:
        role = Identifier(ROLE)
        self.admin.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, PASSWORD))
        self.admin.execute(SQL("CREATE DATABASE truth OWNER {}").format(role))
        self.ask_for_passwords()
        self.inside = psycopg.conninfo.make_conninfo(self.server.url, dbname="truth")
        with psycopg.connect(self.inside, autocommit=True) as ours:
            ours.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        schema.upgrade(
            f"postgresql://{ROLE}:{PASSWORD}@/truth?host={quote(str(self._socket().parent))}"
            f"&port={PORT}"
        )
        self.reconnect()

    def ask_for_passwords(self) -> None:
        """Let the daemon's role in by password alone; each start of the server asks for peers."""
        hba = self._root / "pg" / "pg_hba.conf"
        hba.write_text(
            f"local all {ROLE} scram-sha-256\nlocal all postgres trust\n", encoding="utf-8"
        )
        self.admin.execute("SELECT pg_reload_conf()")

    def reconnect(self) -> None:
        """Ask the server over a new session of the superuser."""
        self.admin.close()
        self.admin = self._stack.enter_context(psycopg.connect(self.inside, autocommit=True))
        self.admin.execute("SET default_transaction_read_only = off")

    def _write_config(self) -> Path:
        local = "http://127.0.0.1"
        text = CONFIG.format(
            state_dir=self._root / "state",
            database=f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{self.database.port}/truth",
            redis=self._redis_url,
            upbit=f"{local}:{self.upbit.port}",
            gemini=f"{local}:{self.gemini.port}",
            budget=self._setup.budget,
            market_every=self._setup.market_every,
            signals_every=self._setup.signals_every,
            orders_every=self._setup.orders_every,
        )
        path = self._root / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path


class Daemon:
    """The daemon's process with its levers. A context manager; killed at the end."""

    def __init__(self, config: Path, card: Mapping[str, str]) -> None:
        self._config = config
        self._card = card
        self.environ: dict[str, str] = {}
        self.lines: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)

    def __enter__(self) -> "Daemon":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> None:
        """Start the process; its port is known when this returns."""
        keys = {
            "UPBIT_ACCESS_KEY": self._card["access_key"],
            "UPBIT_SECRET_KEY": self._card["secret_key"],
            "GEMINI_API_KEY": GEMINI_KEY,
        }
        script = Path(__file__).with_name("faulty_daemon.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(self._config)],
            env={**os.environ, **keys, "UPBITD_LOG__FORMAT": "json", **self.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where all threads were when it was ended: not of interest
            text=True,
        )
        listening = threading.Event()
        self._address = ""
        threading.Thread(target=self._read, args=(listening,), daemon=True).start()
        if not listening.wait(READY_S):
            raise TimeoutError(f"the daemon does not start: {list(self.lines)[-3:]}")
        self.client = httpx.Client(base_url=self._address, timeout=5.0)

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self.client.close()

    def pull(self, lever: str, value: object) -> None:
        """Pull a lever inside; None undoes."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{lever} {json.dumps(value)}\n")
        self.process.stdin.flush()

    def until_ready(self, path: str = "/readyz") -> None:
        """Return once it is ready."""
        deadline = time.monotonic() + READY_S
        while self.client.get(path).status_code != httpx.codes.OK:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready: {self.client.get(path).text}")
            time.sleep(0.05)

    def last_words(self) -> str:
        """What the process said last that was not for information."""
        loud = [line for line in self.lines if line["level"] in ("ERROR", "CRITICAL")]
        return json.dumps(loud[-2:])[:3000]

    def sample(self) -> Sample:
        """Ask /health once."""
        asked_s = time.monotonic()
        body = self.client.get("/health").json()
        took_ms = (time.monotonic() - asked_s) * 1000
        seen = body["components"]
        return Sample(
            asked_s,
            took_ms,
            {name: (seen[name]["status"], seen[name]["cause"]) for name in COMPONENTS},
            _halted(body["halted"]),
        )

    def _read(self, listening: threading.Event) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError):
            for text in self.process.stdout:
                line = json.loads(text)
                self.lines.append(line)
                if line["event"] == "health.listening":
                    self._address = line["url"]
                    listening.set()


@contextmanager
def sandbox() -> Iterator[dict[str, str]]:
    """A sandbox as a process of its own; it ends with its standard input."""
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--stop-on-eof"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.communicate(timeout=10)


@contextmanager
def redis_server(root: Path) -> Iterator[str]:
    """A Redis of our own; yields the path of its socket."""
    from fixtures.redis_server import server_binary

    path = f"{root}/redis.sock"
    options = ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]
    with subprocess.Popen(
        [server_binary(), *options, "--dir", str(root)], stdout=subprocess.DEVNULL
    ) as process:
        try:
            with redis.Redis.from_url(f"unix://{path}") as client:
                while True:
                    with suppress(redis.ConnectionError):
                        if client.ping():
                            break
                    time.sleep(0.02)
            yield path
        finally:
            process.terminate()


def processes_of(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(int(child) for child in children)]


def freeze(pids: list[int], *, on: bool) -> None:
    """Stop processes of ours as SIGSTOP does, or let them go on."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP if on else signal.SIGCONT)
