"""Hooks run for real: programs, an HTTP server on loopback, and a stand-in for apprise."""

import asyncio
import json
import os
import re
import sys
import threading
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from daemon.alerting.channels import Hook, Undelivered, hook_environment, make_hook
from daemon.config.sections import HookConfig

BODY = {
    "id": 7,
    "kind": "halted",
    "severity": "critical",
    "title": "Halted",
    "message": "by a person",
    "host": "box",
    "instance": "default",
}


def program(tmp_path: Path, code: str, **options: Any) -> Hook:
    script = tmp_path / "hook.py"
    script.write_text(code)
    config = HookConfig.model_validate({"exec": [sys.executable, str(script)], **options})
    return make_hook(config, {"PATH": "/usr/bin:/bin", "UPBIT_SECRET_KEY": "s" * 40})


async def test_a_program_reads_the_alert_and_ending_with_zero_takes_it(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    hook = program(tmp_path, f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())")
    await hook.send(BODY)
    assert json.loads(out.read_text()) == BODY


async def test_a_program_does_not_inherit_our_keys(tmp_path: Path) -> None:
    out = tmp_path / "env"
    hook = program(tmp_path, f"import os; open({str(out)!r}, 'w').write(str(dict(os.environ)))")
    await hook.send(BODY)
    assert "UPBIT_SECRET_KEY" not in out.read_text()
    assert "PATH" in out.read_text()


async def test_another_status_is_undelivered_with_what_the_program_said(tmp_path: Path) -> None:
    hook = program(tmp_path, "import sys; sys.exit('no\\nroute')")
    with pytest.raises(Undelivered, match="ended with status 1: no route"):
        await hook.send(BODY)


async def test_a_program_that_never_reads_its_input_can_still_take_it(tmp_path: Path) -> None:
    await program(tmp_path, "import os; os.close(0)").send({**BODY, "message": "x" * 200_000})


async def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = "exec 3>$0; sleep 600 & echo both run >&3; sleep 600"
    command = ["/bin/sh", "-c", script, str(fifo)]
    hook = make_hook(HookConfig.model_validate({"exec": command, "timeout": "1s"}), {})
    reading = asyncio.create_task(asyncio.to_thread(fifo.read_text))
    with pytest.raises(Undelivered, match="did not end within 1 s"):
        await hook.send(BODY)
    # it ends only when the last process that can write is gone
    assert await reading == "both run\n"


async def test_a_program_that_is_not_there_is_undelivered() -> None:
    hook = make_hook(HookConfig(exec=("/nowhere/hook",)), {})
    with pytest.raises(Undelivered, match="cannot be started"):
        await hook.send(BODY)


@asynccontextmanager
async def server(answer: bytes, heard: list[bytes]) -> AsyncIterator[str]:
    """An HTTP server that hears one request and gives one answer; b"" is silence."""

    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.splitlines()
            if line.lower().startswith(b"content-length")
        )
        heard.append(head + await reader.readexactly(length))
        writers.append(writer)
        writer.write(answer)
        await writer.drain()
        if answer:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/hook?token=abcdefgh"
    finally:
        listening.close()
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        # last: since Python 3.12.1 it waits for connections that are still open
        await listening.wait_closed()


def poster(url: str, **options: Any) -> Hook:
    return make_hook(HookConfig.model_validate({"url": url, **options}), {})


async def test_an_address_gets_the_alert_posted_and_204_takes_it() -> None:
    heard: list[bytes] = []
    async with server(b"HTTP/1.1 204 No Content\r\n\r\n", heard) as url:
        await poster(url).send(BODY)
    head, _, body = heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook?token=abcdefgh ")
    assert b"application/json" in head
    assert json.loads(body) == BODY


@pytest.mark.parametrize("status", ["302 Found\r\nLocation: /", "404 Not Found", "500 Oops"])
async def test_any_other_answer_is_undelivered(status: str) -> None:
    async with server(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode(), []) as url:
        with pytest.raises(Undelivered, match=f"answered {status[:3]}"):
            await poster(url).send(BODY)


async def test_silence_is_undelivered_when_the_time_is_over() -> None:
    async with server(b"", []) as url:
        with pytest.raises(Undelivered, match=r"did not answer within 0\.2 s"):
            await poster(url, timeout="200ms").send(BODY)


async def test_nobody_listening_is_undelivered() -> None:
    async with server(b"", []) as url:
        pass
    with pytest.raises(Undelivered, match="ConnectError"):
        await poster(url).send(BODY)


def test_a_hooks_name_tells_targets_apart_and_no_secret() -> None:
    one = poster("https://hooks.example/T1/secret-path")
    other = poster("https://hooks.example/T2/secret-path")
    assert one.name != other.name
    assert one.name == poster("https://hooks.example/T1/secret-path").name
    assert one.name.startswith("url:hooks.example#")
    assert "secret" not in one.name


def test_programs_get_what_is_harmless_and_nothing_else() -> None:
    harmless = {"PATH": "/bin", "HOME": "/h", "LANG": "ko_KR.UTF-8", "LC_ALL": "C", "TZ": "UTC"}
    secret = ("UPBITD_HEALTH__TOKEN", "GEMINI_API_KEY", "CREDENTIALS_DIRECTORY", "DATABASE_URL")
    others = ("REDIS_URL", "MY_DSN", "HTTPS_PROXY", "LD_PRELOAD", "PYTHONPATH", "PGPASSWORD")
    environ = harmless | dict.fromkeys(secret + others, "x")
    assert hook_environment(environ) == harmless


def test_apprise_must_be_installed_to_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.config.sections.find_spec", lambda _: None)
    with pytest.raises(ValueError, match="pip install"):
        HookConfig(apprise=SecretStr("json://localhost"))


class FakeApprise:
    """What the hook uses of apprise."""

    taken = True
    calls: list[tuple[str, str]] = []  # noqa: RUF012

    def add(self, url: str) -> bool:
        return url == "json://localhost"

    def notify(self, title: str, body: str) -> bool:
        self.calls.append((title, body))
        return self.taken


@pytest.fixture
def apprise(monkeypatch: pytest.MonkeyPatch) -> Hook:
    module = types.ModuleType("apprise")
    module.Apprise = FakeApprise  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "apprise", module)
    monkeypatch.setattr("daemon.config.sections.find_spec", lambda _: object())
    monkeypatch.setattr(FakeApprise, "calls", [])
    return make_hook(HookConfig(apprise=SecretStr("json://localhost")), {})


async def test_apprise_gets_a_title_with_the_severity(apprise: Hook) -> None:
    await apprise.send(BODY)
    assert FakeApprise.calls == [("[critical] Halted", "by a person\ndefault on box")]


async def test_what_apprise_could_not_send_is_undelivered(
    apprise: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeApprise, "taken", False)
    with pytest.raises(Undelivered, match="could not deliver"):
        await apprise.send(BODY)


async def test_apprise_that_hangs_holds_one_thread_however_often_it_is_tried(
    monkeypatch: pytest.MonkeyPatch, apprise: Hook
) -> None:
    released = threading.Event()
    monkeypatch.setattr(FakeApprise, "notify", lambda *_, **__: released.wait())
    monkeypatch.setattr(apprise, "timeout_s", 0.05)
    with pytest.raises(Undelivered, match=r"did not end within 0\.05 s"):
        await apprise.send(BODY)
    before = threading.active_count()
    with pytest.raises(Undelivered, match="has not returned"):
        await apprise.send(BODY)
    assert threading.active_count() == before
    released.set()


async def test_apprise_that_went_missing_is_undelivered(
    apprise: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(Undelivered, match="not installed"):
        await apprise.send(BODY)


def test_nobody_is_told_to_install_a_name_that_anybody_may_take() -> None:
    """`pip install 'upbitd[apprise]'` was printed as advice; the index has no upbitd (fault I9)."""
    root = Path(__file__).parents[4]
    for folder in ("daemon", "jobs", "health", "docs"):
        for file in (root / folder).rglob("*"):
            if file.suffix in {".py", ".md"} and "decisions" not in file.parts:
                assert not re.search(r"pip install[^\n]*upbitd\[", file.read_text("utf-8")), file
    assert re.search(r"(?m)^apprise==", (root / "requirements.lock").read_text("utf-8"))


class Taking(BaseHTTPRequestHandler):
    """Takes every POST and keeps its body."""

    bodies: list[bytes] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # apprise looks for imghdr
async def test_apprise_itself_delivers() -> None:
    pytest.importorskip("apprise")
    with HTTPServer(("127.0.0.1", 0), Taking) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"json://127.0.0.1:{server.server_port}/"
            await make_hook(HookConfig(apprise=SecretStr(url)), {}).send(BODY)
        finally:
            server.shutdown()
            thread.join()
    (body,) = Taking.bodies
    assert json.loads(body)["title"] == "[critical] Halted"
