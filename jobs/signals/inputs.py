"""What a source is asked about at one instant, from plain facts; pure, live and in replay."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.candles import features
from jobs.candles.backlog import floor
from jobs.candles.freshness import Holes, Pace
from jobs.core.errors import ModelRejected
from jobs.domain.ledger import Holding as Position
from jobs.signals.protocol import Holding, MarketInput, Verdict
from jobs.store.market_data import Snapshot
from jobs.upbit.wire import Candle, Market, Orderbook

MINUTE = timedelta(minutes=1)
WARNING = "WARNING"
COUNT = features.WINDOW + 1
"""How many candles of each market are looked at, an unfinished one included."""


def finished(found: Sequence[Candle], now: datetime) -> Sequence[Candle]:
    """The candles that had ended by `now`."""
    return [candle for candle in found if candle.ts + candle.unit * MINUTE <= now]


def left_out(
    windows: Mapping[str, Sequence[Candle]],
    snapshots: Mapping[str, Snapshot],
    *,
    now: datetime,
    pace: Pace,
) -> Iterator[tuple[str, str]]:
    """The markets nobody can decide about now, and why. `windows` hold finished candles.

    `pace` is that of the job that collects. A candle that was not decided about yet is young enough
    until the next one should be there: a decision is made late rather than never.
    """
    limit = pace.slack
    for market, window in windows.items():
        snapshot = snapshots.get(market)
        if snapshot is None or now - snapshot.ts > limit:
            yield market, "no fresh snapshot"
        elif not window:
            yield market, "no finished candle"
        elif now - _end(window[-1]) > pace.candle_age(window[-1].unit):
            yield market, "newest candle is old"


def holed(windows: Mapping[str, Sequence[Candle]], holes: Holes) -> Iterator[tuple[str, str]]:
    """The markets whose window has a hole that may yet be filled, and where.

    Indicators would run over it as over minutes without a trade. What follows the newest candle is
    no hole: that one's age speaks for itself.
    """
    for market, window in windows.items():
        if not window:
            continue
        if missing := holes(market, window[-1].unit, window[0].ts, _end(window[-1])):
            first, last = missing[0][0], missing[-1][1]
            yield market, f"candles from {first:%F %H:%M} to {last:%F %H:%M} UTC may yet come"


def late(windows: Mapping[str, Sequence[Candle]], unit: int, now: datetime) -> Iterator[str]:
    """The markets whose newest finished candle by the clock is not there."""
    end = floor(now, unit)
    for market, window in windows.items():
        if not window or _end(window[-1]) < end:
            yield market


def _end(candle: Candle) -> datetime:
    return candle.ts + candle.unit * MINUTE


def market_input(
    name: str,
    window: Sequence[Candle],
    computed: features.Features,
    snapshot: Snapshot,
    position: Position | None,
    *,
    longer: tuple[features.Features, ...] = (),
    spread_pct: Decimal | None = None,
    marks: tuple[str, ...] = (),
) -> MarketInput:
    """One market as a source sees it; `position` is the daemon's own, None where it has none."""
    return MarketInput(
        market=computed.market,
        name=name,
        market_data_id=snapshot.id,
        price=snapshot.price,
        change_rate=snapshot.change_rate,
        value_24h=snapshot.value_24h,
        candles=tuple(window),
        features=computed,
        holding=_relative(position, snapshot, computed.candle_ts),
        longer=longer,
        spread_pct=spread_pct,
        marks=marks,
    )


def marks_of(market: Market) -> tuple[str, ...]:
    """The exchange's warning and caution marks, as a source is told of them."""
    return (WARNING, *market.cautions) if market.warning else market.cautions


def spread_pct(book: Orderbook) -> Decimal | None:
    """Best ask less best bid in per cent of their middle; None for a book with an empty side."""
    if not book.units:
        return None
    ask, bid = book.units[0].ask_price, book.units[0].bid_price
    return (ask - bid) / (ask + bid) * 200 if bid > 0 and ask >= bid else None


def check(verdict: Verdict, asked: Mapping[str, MarketInput]) -> None:
    """Raise ModelRejected for a source that names another market than it was asked about, or one
    twice: none of what it says is believed.
    """
    named = [decision.market for decision in verdict.decisions]
    if len(set(named)) != len(named) or not set(named) <= set(asked):
        raise ModelRejected("the source named a market twice or one it was not asked about")


def _relative(position: Position | None, snapshot: Snapshot, at: datetime) -> Holding | None:
    """A position as shares and minutes; what it is worth stays here."""
    if position is None or position.avg_price <= 0:
        return None
    since = position.opened_at or at
    return Holding(
        return_pct=(snapshot.price / position.avg_price - 1) * 100,
        held_minutes=max(0, (at - since) // MINUTE),
    )
