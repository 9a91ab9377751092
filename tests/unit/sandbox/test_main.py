"""The command line describes a venue, or says in one line why it cannot."""

import argparse
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import sandbox
from sandbox.__main__ import _parser, build, main
from sandbox.recording import from_minute, to_minute
from sandbox.venue import ACCESS_KEY

DATA = Path(sandbox.__file__).parent / "data"


def wanted(*arguments: str) -> argparse.Namespace:
    return _parser().parse_args(arguments)


def test_a_venue_as_the_arguments_say() -> None:
    venue = build(wanted("--krw", "123", "--set", "ban_s=3", "--set", "ip_error=x"))
    assert venue.pockets["main"].engine.accounts()[0].balance == Decimal(123)
    assert list(venue.keys) == [ACCESS_KEY]
    assert (venue.options.ban_s, venue.options.ip_error) == (3, "x")
    assert venue.options.delete_body == "accept"


def test_strict_refuses_what_old_clients_send() -> None:
    options = build(wanted("--strict")).options
    assert (options.get_body, options.delete_body) == ("refuse", "refuse")


def test_by_default_recorded_days_stay_whole_two_weeks_in() -> None:
    tape = build(wanted()).quotes.tape
    assert from_minute(tape.first).hour == from_minute(tape.first).minute == 0
    assert (datetime.now(UTC) - from_minute(tape.first)).days in (14, 15)


@pytest.mark.parametrize("anchor", ["2025-09-20T12:34:56Z", "2025-09-20T21:34:56+09:00"])
def test_the_anchor_plays_now(anchor: str) -> None:
    venue = build(wanted("--anchor", anchor))
    played = venue.quotes.tape.source("KRW-BTC", to_minute(venue.now()))
    assert played is not None
    ahead = played - datetime(2025, 9, 20, 12, 34, tzinfo=UTC)
    assert timedelta(0) <= ahead <= timedelta(minutes=1)


def test_the_longest_recording_leads_where_bitcoin_is_missing(tmp_path: Path) -> None:
    for name in ("candles_1m_BLUR_2024-03.csv.gz", "orderbook_KRW-BTC_2024-11-21.jsonl.gz"):
        (tmp_path / name).symlink_to(DATA / name)
    venue = build(wanted("--data", str(tmp_path), "--anchor", "2024-03-10T10:00:00"))
    assert venue.quotes.markets == ["KRW-BLUR"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "nonsense=1"], "no such option"),
        (["--set", "nonsense"], "is not NAME=VALUE"),
        (["--anchor", "2024-01-01T00:00:00"], "not in the recording"),
        (["--anchor", "2025-09-24T00:00:00"], "not in the recording"),
        (["--data", "/nonexistent"], "no candles_1m_"),
        (["--host", "192.0.2.1"], "sandbox: "),
    ],
)
def test_what_cannot_start_says_why(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", "0", *arguments]) == 2
    assert message in capsys.readouterr().err
