"""Which proxy applies to which address, and whom TLS trusts: never a traceback."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import certifi
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.alerting.channels import Undelivered, UrlHook
from daemon.alerting.dead_mans_switch import DeadMansSwitch
from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError
from jobs.core.http_clients import BadEnvironment, proxy_for, settings, trust
from jobs.gemini.adapter_genai import GenaiWire
from jobs.gemini.client import Connection, open_model
from jobs.upbit.client import open_client
from jobs.upbit.limits import Limiter
from jobs.upbit.signing import Keys

UPBIT = "https://api.upbit.com"
PROXY = "http://proxy.example:3128"
V6 = "https://[2001:db8::7]:8443/x"


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        (UPBIT, {}, None),
        (UPBIT, {"HTTPS_PROXY": PROXY}, PROXY),
        (UPBIT, {"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, PROXY),
        (UPBIT, {"https_proxy": "", "HTTPS_PROXY": PROXY}, None),
        (UPBIT, {"ALL_PROXY": PROXY}, PROXY),
        (UPBIT, {"HTTP_PROXY": PROXY}, None),
        (UPBIT, {"HTTPS_PROXY": "proxy.example:3128"}, PROXY),
        (UPBIT, {"HTTPS_PROXY": " http://[::1]:3128 "}, "http://[::1]:3128"),
        ("http://127.0.0.1:8788", {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, None),
        ("http://127.9.9.9:8788", {"HTTP_PROXY": PROXY}, None),
        ("http://[::1]:8788", {"HTTP_PROXY": PROXY}, None),
        ("http://localhost:8788", {"HTTP_PROXY": PROXY}, None),
        ("http://LOCALHOST.", {"HTTP_PROXY": PROXY}, None),
        ("http://hooks.example", {"HTTP_PROXY": PROXY}, PROXY),
    ],
)
def test_the_proxy_of_an_address(url: str, environ: dict[str, str], expected: str | None) -> None:
    found = proxy_for(url, environ)
    assert (found.url if found else None) == expected


@pytest.mark.parametrize(
    ("url", "exceptions", "is_excepted"),
    [
        (UPBIT, "*", True),
        (UPBIT, "upbit.com", True),
        (UPBIT, ".upbit.com", True),
        (UPBIT, "*.upbit.com", True),
        (UPBIT, "API.UPBIT.COM", True),
        (UPBIT, "other.com, api.upbit.com:443", True),
        (UPBIT, "api.upbit.com:8443", False),
        (UPBIT, "pbit.com", False),
        (UPBIT, "2001:db8::/32,::1,[::1]:80,10.0.0.0/8", False),
        (UPBIT, ",, ,", False),
        (V6, "2001:db8::/32", True),
        (V6, "2001:DB8:0::7", True),
        (V6, "[2001:db8::7]", True),
        (V6, "[2001:db8::7]:8443", True),
        (V6, "[2001:db8::7]:443", False),
        (V6, "fe80::/10 localhost", False),
        ("http://10.1.2.3", "10.0.0.0/8", True),
        ("http://10.1.2.3", "10.1.2.3:80", True),
        ("http://10.1.2.3", "192.168.0.0/16", False),
    ],
)
def test_what_no_proxy_excepts(url: str, exceptions: str, is_excepted: bool) -> None:
    assert (proxy_for(url, {"ALL_PROXY": PROXY, "NO_PROXY": exceptions}) is None) is is_excepted


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_value_of_a_variable_is_a_traceback(proxy: str, exceptions: str) -> None:
    with suppress(BadEnvironment):
        how = settings("http://h.example", {"ALL_PROXY": proxy, "NO_PROXY": exceptions})
        assert how["trust_env"] is False


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("socks5://user:pw@10.0.0.1:1080", "ALL_PROXY = socks5://10.0.0.1: SOCKS proxies are not"),
        ("socks5h://10.0.0.1", "SOCKS proxies are not supported"),
        ("ftp://10.0.0.1", "ALL_PROXY: is not an http:// address"),
        ("http://", "ALL_PROXY: is not an http:// address"),
        ("http://h:port", "ALL_PROXY: is not an address"),
        ("http://[::1", "ALL_PROXY: is not an address"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(value: str, said: str) -> None:
    with pytest.raises(BadEnvironment) as refused:
        proxy_for(UPBIT, {"ALL_PROXY": value})
    assert str(refused.value).startswith("ALL_PROXY")
    assert said in str(refused.value)
    assert "pw" not in str(refused.value)


def test_a_proxy_is_shown_without_its_password() -> None:
    found = proxy_for(UPBIT, {"HTTPS_PROXY": "http://me:secret@proxy.example:3128/x"})
    assert found is not None
    assert (found.shown, found.variable) == ("http://proxy.example:3128", "HTTPS_PROXY")


def test_trust_is_checked_before_anything_is_sent(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate\n")
    for variable, value, said in (
        ("SSL_CERT_FILE", "/gone.pem", "there is no such file"),
        ("SSL_CERT_FILE", str(tmp_path), "there is no such file"),
        ("SSL_CERT_FILE", str(empty), "cannot be used"),
        ("SSL_CERT_DIR", "/gone:/gone too", "there is no such folder"),
    ):
        with pytest.raises(BadEnvironment, match=f"{variable} = .*{said}"):
            trust({variable: value})
    assert trust({}).cert_store_stats()["x509_ca"] > 0
    assert trust({"SSL_CERT_FILE": certifi.where()}).cert_store_stats()["x509_ca"] > 0
    trust({"SSL_CERT_FILE": "", "SSL_CERT_DIR": str(tmp_path)})


# --- the clients themselves, against a proxy and a server that keep what they hear


@dataclass(slots=True)
class Listener:
    """A server that answers everything with an empty object and keeps what it heard."""

    url: str = ""
    heard: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            b"Connection: close\r\n\r\n{}"
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listener() -> AsyncIterator[Listener]:
    kept = Listener()
    server = await asyncio.start_server(kept.serve, "127.0.0.1", 0)
    kept.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield kept
    finally:
        server.close()


def now() -> datetime:
    return datetime.now(UTC)


async def call_upbit(url: str) -> None:
    keys = Keys(access_key="a" * 40, secret_key="s" * 40)
    opened = open_client(
        base_url=url, keys=keys, gates=Gates(now), limiter=Limiter(), clock=now, timeout_s=5.0
    )
    async with opened as client:
        with pytest.raises(JobError):
            await client.accounts()


async def call_hook(url: str) -> None:
    await UrlHook(url, "info", 5.0).send({"id": 1})


async def call_ping(url: str) -> None:
    assert await DeadMansSwitch(url=url, every_s=1.0, is_well=lambda: True).ping()


def gemini(sdk: str) -> Callable[[str], Awaitable[None]]:
    async def call(url: str) -> None:
        connection = Connection(
            sdk=sdk,  # type: ignore[arg-type]
            model="gemini-x",
            api_key="GEMKEY123456",
            base_url=url,
            timeout_s=5.0,
        )
        async with open_model(connection, gates=Gates(now), clock=now) as model:
            await model.probe()

    return call


CALLS: dict[str, Callable[[str], Awaitable[None]]] = {
    "upbit": call_upbit,
    "hook": call_hook,
    "ping": call_ping,
    "google-genai": gemini("google-genai"),
    "google-generativeai": gemini("google-generativeai"),
}
TRAPS = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")


@pytest.mark.parametrize("name", CALLS)
async def test_calls_to_this_machine_go_through_no_proxy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listener() as proxy, listener() as server:
        for variable in TRAPS:
            monkeypatch.setenv(variable, proxy.url)
        await CALLS[name](server.url)
        assert (len(server.heard), proxy.heard) == (1, [])


@pytest.mark.parametrize("name", CALLS)
async def test_odd_variables_stop_no_call_to_this_machine(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "::1,fe80::/10,[::1]:8080,*x*")
    if name != "google-genai":  # whose SDK reads it in any case
        monkeypatch.setenv("SSL_CERT_FILE", "/gone.pem")
    async with listener() as server:
        await CALLS[name](server.url)
        assert len(server.heard) == 1


@pytest.mark.parametrize("sdk", ["google-genai", "google-generativeai"])
async def test_no_variable_sends_the_key_of_gemini_elsewhere(
    sdk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listener() as thief:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", thief.url)
        monkeypatch.setenv("GOOGLE_GENAI_CLIENT_MODE", "replay")
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # so that nothing goes out
        with pytest.raises(JobError):
            await gemini(sdk)("")
        assert thief.heard == []


async def test_certificates_that_are_gone_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/gone.pem")
    for call in (call_upbit, gemini("google-genai")):
        with pytest.raises(BadEnvironment, match=r"SSL_CERT_FILE = /gone\.pem"):
            await call("https://127.0.0.1:1")


async def test_a_hook_says_which_variable_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(Undelivered, match="ALL_PROXY"):
        await call_hook("http://hooks.example/x")


async def test_a_proxy_is_used_where_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listener() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with httpx.AsyncClient(**settings("http://hooks.example/x")) as client:
            await client.get("http://hooks.example/x")
        assert proxy.heard[0].startswith(b"GET http://hooks.example/x HTTP/1.1")


async def test_the_environment_of_the_process_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks4://h")
    with pytest.raises(BadEnvironment):
        settings(UPBIT)
    assert os.environ["HTTPS_PROXY"]
    with pytest.raises(BadEnvironment):
        GenaiWire(Connection(sdk="google-genai", model="m", api_key="k"))
