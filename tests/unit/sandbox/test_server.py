"""The sandbox as a process: it says where it is, serves everything, breaks lines, and ends well."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
import uvicorn
from fixtures.sandbox import Sandbox

from jobs.upbit.wire import OrderRequest
from sandbox.options import Options
from sandbox.quotes import Quotes
from sandbox.server import Server, application, listen, serve
from sandbox.venue import Venue

COMMAND = [sys.executable, "-m", "sandbox", "--port", "0"]


@pytest.fixture
def calm(shared_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The shared sandbox without quotas; nothing is left behind."""
    shared_sandbox.options(quotas=False)
    yield shared_sandbox
    shared_sandbox.clear_faults()
    shared_sandbox.options(quotas=True)


def test_it_serves_both_halves_and_gemini_on_one_address(calm: Sandbox) -> None:
    assert len(calm.http.get("/v1/market/all").json()) == 36
    assert calm.http.get("/v1/accounts").status_code == 401
    models = calm.http.get("/v1beta/models", headers={"x-goog-api-key": calm.gemini_key})
    assert models.status_code == 200
    assert calm.ws_url.startswith("ws://127.0.0.1:")


def test_a_line_can_be_reset_under_a_request(calm: Sandbox) -> None:
    calm.fault(path="/v1/market/all", action="reset")
    with httpx.Client(base_url=calm.base_url) as http, pytest.raises(httpx.ReadError):
        http.get("/v1/market/all")
    last = calm.requests(path="/v1/market/all")[-1]
    assert last["status"] is None
    assert calm.counts()["GET /v1/market/all"]["none"] >= 1


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as line:
        # asyncio leaves sockets of an unnamed protocol alone: each answer would wait 40 ms
        assert line.proto == socket.IPPROTO_TCP
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_many_lines_are_served_at_once(calm: Sandbox) -> None:
    def fetch(_: int) -> int:
        with httpx.Client(base_url=calm.base_url) as http:
            return http.get("/v1/orderbook", params={"markets": "KRW-BTC"}).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(fetch, range(64))) == {200}


def test_prices_credits_keys_and_time(sandbox: Sandbox) -> None:
    sandbox.price("KRW-BTC", 1_000_000)
    (row,) = sandbox.http.get("/v1/ticker", params={"markets": "KRW-BTC"}).json()
    assert row["trade_price"] == 1_000_000
    sandbox.credit("BTC", "0.5")
    assert {row["currency"] for row in sandbox.ledger()["accounts"]} == {"KRW", "BTC"}
    assert sandbox.key(access_key="A", secret_key="B")["pocket"] == "main"
    sandbox.advance(3600)
    shown = datetime.fromisoformat(sandbox.http.get("/sandbox").json()["now"])
    assert shown - datetime.now(UTC) > timedelta(minutes=59)
    assert sandbox.refusals() == {"429": 0, "418": 0}


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_even_with_hanging_requests(stop: signal.Signals) -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        card = json.loads(process.stdout.readline())
        fault = {"path": "/v1/market/all", "action": "hang"}
        httpx.post(f"{card['control_url']}/faults", json=fault).raise_for_status()
        host, port = card["base_url"].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            line.sendall(b"GET /v1/market/all HTTP/1.1\r\nHost: x\r\n\r\n")
            while not httpx.get(f"{card['control_url']}/requests").json():
                pass
            process.send_signal(stop)
            assert process.wait(timeout=20) == 0
        assert process.stdout.read() == b""


def test_it_ends_with_its_standard_input_when_asked() -> None:
    command = [*COMMAND, "--stop-on-eof", "--strict", "--set", "ban_s=3", "--set", "ip_error=x"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        card = json.loads(process.stdout.readline())
        options = httpx.get(f"{card['control_url']}/options").json()
        assert (options["ban_s"], options["ip_error"]) == (3, "x")
        assert (options["get_body"], options["delete_body"]) == ("refuse", "refuse")
        process.stdin.write(b"anything\n")
        process.stdin.close()
        assert process.wait(timeout=20) == 0


async def test_it_serves_a_given_venue_until_a_signal(local_quotes: Quotes) -> None:
    venue = Venue(local_quotes, options=Options(quotas=False))
    pocket = venue.open_pocket("main", Decimal(1_000_000))
    line, started = listen("127.0.0.1", 0), asyncio.Event()
    serving = asyncio.create_task(serve(venue, line, started.set))
    await started.wait()
    host, port = line.getsockname()
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as http:
        fault = {"path": "/v1/market/all", "action": "reset"}
        await http.post("/sandbox/faults", json=fault)
        with pytest.raises(httpx.ReadError):
            await http.get("/v1/market/all")
        order = OrderRequest(
            market="KRW-BTC", side="bid", ord_type="price", identifier="", price=Decimal(6000)
        )
        now = venue.now()
        pocket.engine.place(order, now=now, book=venue.quotes.book("KRW-BTC", now))
        while pocket.engine.open_orders():  # noqa: ASYNC110 - nobody asks, yet it is filled
            await asyncio.sleep(0.01)
    signal.raise_signal(signal.SIGTERM)
    await serving


async def test_a_second_signal_does_not_wait_for_the_rest(local_quotes: Quotes) -> None:
    venue = Venue(local_quotes, options=Options())
    server = Server(uvicorn.Config(application(venue)), lambda: None)
    server.stop()
    assert (server.should_exit, server.force_exit) == (True, False)
    server.stop()
    assert server.force_exit
