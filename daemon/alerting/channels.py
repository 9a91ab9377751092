"""Alert hooks: a program that reads the alert, an address that takes it, or apprise.

A hook either takes the alert, or `Undelivered` says why not. Nothing here retries.
"""

import asyncio
import hashlib
import importlib
import os
import re
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

import httpx
import orjson

from daemon.config.sections import NO_APPRISE, HookConfig
from jobs.core.errors import Permanent
from jobs.core.http_clients import BadEnvironment, settings
from jobs.core.isolated_thread import IsolatedThread

HARMLESS_VARIABLE = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR", re.ASCII
)
"""A list of what is secret misses what nobody thought of: DATABASE_URL, *_DSN, HTTPS_PROXY."""
SHOWN_BYTES = 300


class Undelivered(Exception):
    """The hook did not take the alert; the text says why."""


class Hook(Protocol):
    """Takes alerts. `name` is its key in the tables, without anything secret."""

    name: str
    min_severity: str
    timeout_s: float

    async def send(self, body: Mapping[str, Any]) -> None:
        """Hand over one alert. Raises Undelivered."""
        ...


def make_hook(config: HookConfig, environ: Mapping[str, str]) -> Hook:
    """The hook that an entry of `alerts.hooks` describes; programs inherit `environ`."""
    timeout_s = config.timeout.total_seconds()
    if config.exec is not None:
        return ExecHook(config.exec, config.min_severity, timeout_s, hook_environment(environ))
    if config.url is not None:
        return UrlHook(config.url.get_secret_value(), config.min_severity, timeout_s)
    assert config.apprise is not None, "checked by the configuration"  # noqa: S101
    return AppriseHook(config.apprise.get_secret_value(), config.min_severity, timeout_s)


def hook_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a program that is not ours needs of the environment, and nothing else."""
    return {name: value for name, value in environ.items() if HARMLESS_VARIABLE.fullmatch(name)}


def _name(kind: str, label: str, target: str) -> str:
    digest = hashlib.sha256(target.encode()).hexdigest()[:8]
    return f"{kind}:{label}#{digest}"


class ExecHook:
    """Runs a program with the alert on its standard input; exit status 0 took it.

    The program is a process group of its own and is killed with everything it started when its
    time is over.
    """

    def __init__(
        self, command: tuple[str, ...], min_severity: str, timeout_s: float, env: dict[str, str]
    ) -> None:
        self.name = _name("exec", command[0], "\0".join(command))
        self.min_severity = min_severity
        self.timeout_s = timeout_s
        self._command = command
        self._env = env

    async def send(self, body: Mapping[str, Any]) -> None:
        """Run the program once. Raises Undelivered."""
        with tempfile.TemporaryFile() as errors:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=True,
                    env=self._env,
                )
            except (OSError, ValueError) as exc:
                raise Undelivered(f"cannot be started: {exc}") from exc
            status = await self._finish(process, orjson.dumps(body) + b"\n")
            if status != 0:
                raise Undelivered(f"ended with status {status}{_said(errors)}")

    async def _finish(self, process: asyncio.subprocess.Process, data: bytes) -> int:
        try:
            async with asyncio.timeout(self.timeout_s):
                await _feed(process, data)
                return await process.wait()
        except TimeoutError:
            raise Undelivered(f"did not end within {self.timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    """Write the program's input; it may end without reading it."""
    if (stdin := process.stdin) is not None:
        with suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(data)
            await stdin.drain()
            stdin.close()
            await stdin.wait_closed()


def _said(errors: IO[bytes]) -> str:
    errors.seek(0)
    text = " ".join(errors.read(SHOWN_BYTES).decode("utf-8", "replace").split())
    return f": {text}" if text else ""


class UrlHook:
    """Posts the alert as JSON; any 2xx took it."""

    def __init__(self, url: str, min_severity: str, timeout_s: float) -> None:
        self.name = _name("url", urlsplit(url).hostname or "", url)
        self.min_severity = min_severity
        self.timeout_s = timeout_s
        self._url = url

    async def send(self, body: Mapping[str, Any]) -> None:
        """Post once. Raises Undelivered."""
        headers = {"Content-Type": "application/json", "User-Agent": "upbitd"}
        try:
            # the deadline is for the whole; httpx's own are for each read
            async with (
                asyncio.timeout(self.timeout_s),
                httpx.AsyncClient(**settings(self._url)) as client,
            ):
                request = client.build_request(
                    "POST", self._url, content=orjson.dumps(body), headers=headers
                )
                answer = await client.send(request, stream=True)
                await answer.aclose()
        except TimeoutError:
            raise Undelivered(f"did not answer within {self.timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, BadEnvironment) as exc:
            raise Undelivered(f"{type(exc).__name__}: {exc}") from exc
        if not answer.is_success:
            raise Undelivered(f"answered {answer.status_code}")


class AppriseHook:
    """Hands title and message to apprise, an optional extra that knows a hundred services."""

    def __init__(self, url: str, min_severity: str, timeout_s: float) -> None:
        self.name = _name("apprise", url.partition(":")[0], url)
        self.min_severity = min_severity
        self.timeout_s = timeout_s
        self._url = url
        self._thread: IsolatedThread[bool] = IsolatedThread(self.name)

    async def send(self, body: Mapping[str, Any]) -> None:
        """Send once, in a thread, because apprise blocks. Raises Undelivered."""
        try:
            async with asyncio.timeout(self.timeout_s):
                taken = await self._thread.run(partial(self._send, dict(body)))
        except Permanent as exc:
            raise Undelivered(str(exc)) from None
        except TimeoutError:
            raise Undelivered(f"did not end within {self.timeout_s:g} s") from None
        except ImportError:
            raise Undelivered(f"apprise is not installed: {NO_APPRISE}") from None
        if not taken:
            raise Undelivered("apprise could not deliver it")

    def _send(self, body: dict[str, Any]) -> bool:
        apprise = importlib.import_module("apprise")
        target = apprise.Apprise()
        return bool(
            target.add(self._url)
            and target.notify(
                title=f"[{body['severity']}] {body['title']}",
                body=f"{body['message']}\n{body['instance']} on {body['host']}",
            )
        )
