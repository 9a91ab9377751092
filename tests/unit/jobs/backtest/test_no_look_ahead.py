"""Whatever the future brings, nothing before it changes.

The source hashes everything it is shown, on recorded prices; then every candle from an instant on
is changed, shifted or taken away, and everything before that instant must be the very same.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from fixtures.oracle import Oracle

from jobs.backtest.candle_history import Tape
from jobs.backtest.recordings import read_files
from jobs.backtest.run import Plan, play
from jobs.backtest.signal_feed import SourceFeed
from jobs.backtest.trader import Trader
from jobs.domain.settings import Settings
from jobs.upbit.wire import Candle

DATA = Path(__file__).parents[4] / "sandbox" / "data"
MARKETS = ("KRW-BTC", "KRW-DOGE", "KRW-SOL")
BEGIN = datetime(2025, 9, 22, 5, 0, tzinfo=UTC)
CUT = datetime(2025, 9, 22, 6, 17, tzinfo=UTC)
UNTIL = datetime(2025, 9, 22, 7, 30, tzinfo=UTC)
NERVOUS = Settings(
    stop_loss_pct=Decimal("0.4"),
    take_profit_pct=Decimal("0.5"),
    trailing_stop_pct=Decimal("0.3"),
)

Future = Callable[[Sequence[Candle]], list[Candle]]


def doubled(candles: Sequence[Candle]) -> list[Candle]:
    return [
        replace(
            each,
            open=each.open * 2,
            high=each.high * 2,
            low=each.low * 2,
            close=each.close * 2,
            volume=each.volume * 3,
        )
        for each in candles
    ]


def shifted(candles: Sequence[Candle]) -> list[Candle]:
    return [replace(each, ts=each.ts + timedelta(minutes=5)) for each in candles]


def missing(candles: Sequence[Candle]) -> list[Candle]:
    return list(candles[-1:])


def reversed_(candles: Sequence[Candle]) -> list[Candle]:
    return [replace(old, ts=new.ts) for new, old in zip(candles, reversed(candles), strict=True)]


async def replayed(recording: dict[str, list[Candle]]) -> tuple[SourceFeed, Trader]:
    tape = Tape(recording)
    feed = SourceFeed(tape=tape, source=Oracle(), names=dict.fromkeys(MARKETS, "name"))
    plan = Plan(since=BEGIN, until=UNTIL, settings=NERVOUS)
    return feed, await play(tape, plan, feed)


@pytest.mark.parametrize("future", [doubled, shifted, missing, reversed_])
async def test_another_future_changes_nothing_before_it(future: Future) -> None:
    recording = read_files(DATA, MARKETS, since=BEGIN - timedelta(hours=30), until=UNTIL)
    other = {
        market: [
            *(each for each in candles if each.ts < CUT),
            *future([each for each in candles if each.ts >= CUT]),
        ]
        for market, candles in recording.items()
    }
    feed, trader = await replayed(recording)
    feed_2, trader_2 = await replayed(other)

    assert before_cut(feed, trader) == before_cut(feed_2, trader_2)
    signals, orders, equity = before_cut(feed, trader)
    assert len(signals) > 30
    assert len(orders) > 10
    assert len(equity) > 70
    assert trader.books.orders != trader_2.books.orders, "the futures do differ"


def before_cut(feed: SourceFeed, trader: Trader) -> tuple[list[str], list[str], list[str]]:
    return (
        [str(each) for each in feed.said if each.signal.created_at < CUT],
        [f"{order} {order.request}" for order in trader.books.orders if order.at < CUT],
        [str(point) for point in trader.books.equity if point.at < CUT],
    )
