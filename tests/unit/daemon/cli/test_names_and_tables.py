"""Names that people type, and tables as wide as the terminal."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
import typer

from daemon.cli.names import job_name, market_name
from daemon.cli.tables import _fitting, plain_in
from jobs.core.alert_kinds import ALERT_KINDS

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("KRW-BTC", "KRW-BTC"), ("krw-eth", "KRW-ETH"), (" Krw-1inch ", "KRW-1INCH"), (None, None)],
)
def test_a_market_is_written_as_the_exchange_does(typed: str | None, meant: str | None) -> None:
    """`orders --market krw-eth` gave an empty list and exit 0 (fault I11)."""
    assert market_name(typed) == meant


@pytest.mark.parametrize("typed", ["", "BTC", "KRWBTC", "KRW_BTC", "KRW-", "-BTC", "KRW-B C"])
def test_what_is_no_market_is_refused(typed: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no market: write it as KRW-BTC"):
        market_name(typed)


def test_a_job_that_does_not_exist_is_refused_with_a_hint() -> None:
    assert job_name("orders") == "orders"
    with pytest.raises(typer.BadParameter, match=r"no job is called ordrs: did you mean orders\?"):
        job_name("ordrs")
    with pytest.raises(typer.BadParameter, match="known are market, orders, signals, upkeep"):
        job_name("xyz")


def test_every_kind_that_the_source_raises_is_known() -> None:
    raised = set()
    for folder in ("daemon", "jobs"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text("utf-8")
            raised |= set(re.findall(r"(?:Incident|Rule|AlertRule)\(\s*kind=\"(\w+)\"", text))
    assert len(raised) > 10
    assert raised <= ALERT_KINDS


@dataclass(frozen=True)
class Row:
    id: int
    market: str
    executed_funds: Decimal
    reason: str


ROWS: Sequence[Row] = [Row(1, "KRW-BTC", Decimal("152000.12345678901"), "a reason " * 20)]
COLUMNS = {"id": "ID", "market": "MARKET", "executed_funds": "FUNDS", "reason": "REASON"}


def test_only_the_columns_that_fit_are_shown() -> None:
    """Six lines an order on 80 columns, key names broken (fault I7)."""
    assert list(_fitting(ROWS, COLUMNS, 1000)) == list(COLUMNS)
    assert list(_fitting(ROWS, COLUMNS, 60)) == list(COLUMNS)  # the reason is cut, not folded
    assert list(_fitting(ROWS, COLUMNS, 30)) == ["id", "market", "executed_funds"]
    assert list(_fitting(ROWS, COLUMNS, 14)) == ["id", "market"]


def test_won_has_no_decimals_in_a_table() -> None:
    assert plain_in("executed_funds", ROWS[0].executed_funds) == "152,000"
    assert plain_in("volume", Decimal("0.00621604")) == "0.00621604"
    assert plain_in("avg_price", Decimal("0.05")) == "0.05"
