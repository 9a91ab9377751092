"""The sandbox as a process: it says where it is, serves everything, breaks lines, and ends well."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from fixtures.sandbox import Sandbox, running_sandbox

from sandbox.__main__ import main
from sandbox.server import listen

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


def test_the_anchor_chooses_what_plays_now() -> None:
    with running_sandbox(["--anchor", "2025-09-20T12:00:30Z", "--krw", "5"]) as anchored:
        found = anchored.recorded("KRW-BTC", datetime.now(UTC).isoformat())
        source = datetime.fromisoformat(found["source"])
        assert (
            timedelta(0) <= source - datetime(2025, 9, 20, 12, tzinfo=UTC) <= timedelta(minutes=2)
        )
        assert anchored.tape()["markets"]["KRW-BTC"]["length_min"] == 33120
        assert anchored.ledger()["accounts"][0]["balance"] == "5"


def test_by_default_recorded_days_stay_whole(calm: Sandbox) -> None:
    tape = calm.tape()
    assert tape["markets"]["KRW-BTC"]["shift_s"] % 86400 == 0
    age = datetime.now(UTC) - datetime.fromisoformat(tape["origin"])
    assert timedelta(days=14) <= age < timedelta(days=16)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "nonsense=1"], "no such option"),
        (["--set", "nonsense"], "is not NAME=VALUE"),
        (["--anchor", "2024-01-01T00:00:00"], "not in the recording"),
        (["--data", "/nonexistent"], "no candles_1m_"),
        (["--host", "192.0.2.1"], "sandbox: "),
    ],
)
def test_what_cannot_start_says_why(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", "0", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_recordings_of_ones_own_can_be_played(tmp_path: Path) -> None:
    source = Path(main.__code__.co_filename).parent / "data"
    for name in ("candles_1m_BLUR_2024-03.csv.gz", "orderbook_KRW-BTC_2024-11-21.jsonl.gz"):
        (tmp_path / name).symlink_to(source / name)
    with running_sandbox(["--data", str(tmp_path), "--seed", "3"]) as own:
        (market,) = own.http.get("/v1/market/all").json()
        assert market["market"] == "KRW-BLUR"
        (row,) = own.http.get("/v1/ticker", params={"markets": "KRW-BLUR"}).json()
        assert Decimal(str(row["trade_price"])) > 0
