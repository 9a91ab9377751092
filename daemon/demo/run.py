"""The demo: the local exchange and the daemon as two real processes over real HTTP."""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from daemon.config.errors import PREFIX
from daemon.config.load import Config, load
from daemon.demo.verify import examine
from daemon.postgres.server import end_with_parent
from daemon.process.file_modes import make_folders
from jobs.core.http_clients import settings

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0

CONFIG = """\
# The demo's own configuration: the real daemon in live mode against the local exchange.
[daemon]
state_dir = "{state_dir}"
instance = "demo"

[trading]
mode = "live"

[upbit]
base_url = "{base_url}"
websocket_url = "{websocket_url}"

[gemini]
base_url = "{gemini_url}"

[jobs.market]
every = "5s"
offset = "0s"
history = "6h"
deadline = "60s"

[jobs.signals]
every = "10s"
offset = "3s"

[jobs.orders]
every = "3s"

[health]
port = {port}

[log]
file = "{log_file}"
"""


class DemoFailed(Exception):
    """The demo could not start, or did not do what it is there to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What the running local exchange said of itself."""

    base_url: str
    websocket_url: str
    control_url: str
    gemini_url: str
    access_key: str
    secret_key: str
    gemini_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked of the demo. Times in seconds; None runs until it is stopped.

    `config` is a file of settings to try, below the demo's own.
    """

    duration_s: float | None = None
    port: int = 8787
    data: Path | None = None
    keep: Path | None = None
    config: Path | None = None


@asynccontextmanager
async def child(
    *arguments: str, environ: Mapping[str, str], capture: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m …` for the length of the block; stop it in order, by force if it must be."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE if capture else None,
        start_new_session=True,  # Ctrl-C reaches the demo alone, which stops all in order
        preexec_fn=end_with_parent(),
    )
    try:
        yield process
    finally:
        await stop(process)


async def stop(process: asyncio.subprocess.Process) -> int:
    """Ask the process to end and return its exit code; kill it after half a minute."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
    return await process.wait()


async def read_sandbox(process: asyncio.subprocess.Process) -> Sandbox:
    """Return what the sandbox says in its first line. Raises DemoFailed when it ends instead."""
    assert process.stdout is not None  # noqa: S101 -- started with capture
    line = await process.stdout.readline()
    if not line:
        raise DemoFailed(f"the local exchange ended with exit code {await process.wait()}")
    said = json.loads(line)
    return Sandbox(
        base_url=said["base_url"],
        websocket_url=said["websocket_url"],
        control_url=said["control_url"],
        gemini_url=said["gemini_base_url"],
        access_key=said["access_key"],
        secret_key=said["secret_key"],
        gemini_key=said["gemini_api_key"],
    )


def write_config(folder: Path, sandbox: Sandbox, port: int) -> Path:
    """Write the demo's config.toml into `folder` and return its path."""
    path = folder / "config.toml"
    text = CONFIG.format(
        state_dir=_toml(folder / "state"),
        log_file=_toml(folder / "upbitd.log"),
        base_url=sandbox.base_url,
        websocket_url=sandbox.websocket_url,
        gemini_url=sandbox.gemini_url,
        port=port,
    )
    path.write_text(text, encoding="utf-8")
    return path


def environment(sandbox: Sandbox) -> dict[str, str]:
    """Return the daemon's environment: ours without settings of another daemon, plus the keys."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("UPBITD_")}
    return environ | {
        "UPBIT_ACCESS_KEY": sandbox.access_key,
        "UPBIT_SECRET_KEY": sandbox.secret_key,
        "GEMINI_API_KEY": sandbox.gemini_key,
    }


def variables(table: Mapping[str, object], prefix: str = PREFIX) -> dict[str, str]:
    """The tables of a config.toml as environment variables, which go over another file."""
    found: dict[str, str] = {}
    for key, value in table.items():
        name = f"{prefix}{key.upper()}"
        found |= variables(value, f"{name}__") if isinstance(value, dict) else {name: str(value)}
    return found


async def wait_ready(url: str, process: asyncio.subprocess.Process) -> None:
    """Return when the daemon is ready. Raises DemoFailed when it ends or stays silent."""
    reason = "no answer"
    async with httpx.AsyncClient(timeout=2, **settings(url)) as http:
        for _ in range(int(READY_WITHIN_S / 0.2)):
            if process.returncode is not None:
                raise DemoFailed(f"the daemon ended with exit code {process.returncode}")
            try:
                answer = await http.get(f"{url}/readyz")
                if answer.is_success:
                    return
                reason = answer.text
            except httpx.TransportError as error:
                reason = str(error)
            await asyncio.sleep(0.2)
    raise DemoFailed(f"the daemon was not ready within {READY_WITHIN_S:.0f} s: {reason}")


@contextmanager
def folder(keep: Path | None) -> Iterator[Path]:
    """Give the demo a folder of its own, removed afterwards unless it is to be kept."""
    if keep is not None:
        make_folders(keep)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="upbitd-demo-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o711)  # the embedded Postgres may run as another user, one level down
        yield path


async def play(options: Options) -> None:
    """Run the demo until its time is over, a signal comes, or the daemon ends.

    Raises DemoFailed when something does not start or, with a duration, when the main job did
    not really run.
    """
    stopped = _stop_event()
    with folder(options.keep) as place:
        sandbox_arguments = ["sandbox", "--port", "0"]
        if options.data is not None:
            sandbox_arguments += ["--data", str(options.data)]
        async with child(*sandbox_arguments, environ=os.environ, capture=True) as exchange:
            sandbox = await read_sandbox(exchange)
            drain = asyncio.create_task(_drain(exchange))
            port = _port(options.port)
            config = write_config(place, sandbox, port)
            environ = environment(sandbox)
            if options.config is not None:
                environ |= variables(tomllib.loads(config.read_text("utf-8")))
                config = options.config
            async with child("daemon", "run", "--config", str(config), environ=environ) as daemon:
                url = f"http://127.0.0.1:{port}"
                await wait_ready(url, daemon)
                _say(f"the page: {url}/   the log: {place / 'upbitd.log'}   Ctrl-C stops the demo")
                await _until(daemon, stopped, options.duration_s)
                if daemon.returncode is not None:
                    raise DemoFailed(f"the daemon ended with exit code {daemon.returncode}")
                if options.duration_s is not None:
                    await _summarise(url, sandbox, load(config, environ))
                if (code := await stop(daemon)) != 0:
                    raise DemoFailed(f"the daemon stopped with exit code {code}")
            drain.cancel()
    _say("the demo is over")


def _stop_event() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stopped.set)
    return stopped


async def _until(
    daemon: asyncio.subprocess.Process, stopped: asyncio.Event, duration_s: float | None
) -> None:
    waits = {asyncio.create_task(stopped.wait()), asyncio.create_task(daemon.wait())}
    await asyncio.wait(waits, timeout=duration_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _summarise(url: str, sandbox: Sandbox, config: Config) -> None:
    """Print what the daemon did. Raises DemoFailed when the main job did not really run."""
    summary = await examine(url, sandbox.control_url, config)
    for line in summary.lines():
        _say(line)
    if faults := summary.faults():
        raise DemoFailed("; ".join(faults))


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read on, so that the process never waits for us to."""
    if process.stdout is not None:
        while await process.stdout.read(65536):
            pass


def _port(wanted: int) -> int:
    """The port that was asked for, or a free one where another program, a daemon say, has it."""
    if not wanted or _is_free(wanted):
        return wanted or _free_port()
    port = _free_port()
    _say(f"port {wanted} is another program's; the page is on {port}")
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the health port has it
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _say(line: str) -> None:
    sys.stdout.write(f"demo: {line}\n")
    sys.stdout.flush()


def _toml(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
