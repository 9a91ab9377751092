"""Books look like recorded ones: 30 levels on the tick, strictly ordered, around the last trade."""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest

import sandbox
from jobs.core.errors import BadData
from jobs.upbit.ticks import is_on_tick
from sandbox.books import BookMaker, load_shapes
from sandbox.recording import SHIPPED, Reel
from sandbox.tape import Tape, Trade

DATA = Path(sandbox.__file__).parent / "data"
ORIGIN = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.fixture
def maker() -> BookMaker:
    return BookMaker(load_shapes(DATA))


def trade(price: str, taker: Literal["BID", "ASK"] = "BID", ms: int = 1000) -> Trade:
    return Trade(ms, Decimal(price), Decimal(1), taker, 0, Decimal(1), Decimal(1))


def test_every_market_has_thirty_ordered_levels_on_the_tick(
    maker: BookMaker, reels: dict[str, Reel]
) -> None:
    tape = Tape(reels, origin=ORIGIN)
    for market in reels:
        last = tape.last_trade(market, ORIGIN + timedelta(days=1, minutes=7))
        units = maker.book(market, last).units
        asks, bids = [u.ask_price for u in units], [u.bid_price for u in units]
        assert len(units) == 30
        assert asks == sorted(set(asks))
        assert bids == sorted(set(bids), reverse=True)
        assert bids[0] < asks[0]
        assert all(is_on_tick(market, price) for price in asks + bids)
        assert all(unit.ask_size > 0 and unit.bid_size > 0 for unit in units)


@pytest.mark.parametrize("price", ["160303000", "391", "0.00123", "10", "2", "1000000"])
def test_the_last_trade_is_the_best_price_of_its_side(maker: BookMaker, price: str) -> None:
    assert maker.book("KRW-X", trade(price, "BID")).units[0].ask_price == Decimal(price)
    assert maker.book("KRW-X", trade(price, "ASK")).units[0].bid_price == Decimal(price)


def test_an_off_tick_price_gives_a_book_on_the_tick(maker: BookMaker) -> None:
    units = maker.book("KRW-BLUR", trade("1004.3", "BID")).units
    assert units[0].bid_price == 1004
    assert units[0].ask_price == 1005


def test_a_side_that_runs_into_zero_is_padded_with_zeros(maker: BookMaker) -> None:
    units = maker.book("KRW-X", trade("0.00000003", "BID")).units
    assert [u.bid_price for u in units[:2]] == [Decimal("0.00000002"), Decimal("0.00000001")]
    assert units[2].bid_price == units[2].bid_size == 0
    assert units[29].ask_price > 0


def test_the_same_trade_has_the_same_book_and_another_a_different_one(maker: BookMaker) -> None:
    assert maker.book("KRW-X", trade("5000")) == maker.book("KRW-X", trade("5000"))
    sizes = {maker.book("KRW-X", trade("5000", ms=ms)).units[0].ask_size for ms in range(50)}
    assert len(sizes) > 5


def test_candles_alone_play_with_the_shipped_books(tmp_path: Path) -> None:
    assert load_shapes(tmp_path) == load_shapes(SHIPPED)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no gzip", "orderbook_x.jsonl.gz: no readable gzip text"),
        (gzip.compress(b"{}\n" * 50)[:-9], "orderbook_x.jsonl.gz"),
        (gzip.compress(b"\xff\n"), "orderbook_x.jsonl.gz: no readable gzip text"),
        (gzip.compress(b"{\n"), "orderbook_x.jsonl.gz, line 1: no order book"),
        (gzip.compress(b"[]\n"), "orderbook_x.jsonl.gz, line 1: no order book"),
        (gzip.compress(b'{"orderbook_units": []}\n'), "line 1: no order book"),
        (gzip.compress(b"[" * 50_000), "line 1: no order book"),
    ],
)
def test_a_file_of_books_that_is_none_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "orderbook_x.jsonl.gz").write_bytes(content)
    with pytest.raises(BadData, match=said):
        load_shapes(tmp_path)
