"""Limits of age follow the candles' length and the schedule (faults D1, E1)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from fixtures.gemini import MakeTape

from jobs.candles.backlog import CandlePlan
from jobs.candles.freshness import Pace, no_holes
from jobs.signals import inputs
from jobs.store.market_data import Snapshot
from jobs.upbit.wire import Candle

AT = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BTC = "KRW-BTC"


def snapshot(now: datetime) -> Snapshot:
    one = Decimal(1)
    return Snapshot(
        id=1, market=BTC, ts=now, price=one, volume_24h=one, value_24h=one, change_rate=one
    )


def left_out(window: Sequence[Candle], now: datetime, pace: Pace) -> dict[str, str]:
    return dict(inputs.left_out({BTC: window}, {BTC: snapshot(now)}, now=now, pace=pace))


@pytest.mark.parametrize(
    ("unit", "every", "age", "is_fresh"),
    [
        (1, 1, 3, True),
        (1, 1, 4, False),
        (1, 10, 30, True),
        (1, 10, 31, False),
        (5, 1, 7, True),
        (5, 1, 8, False),
        (60, 1, 59, True),
        (60, 1, 62, True),
        (60, 1, 63, False),
        (240, 1, 242, True),
        (240, 5, 255, False),
    ],
)
def test_a_candle_is_fresh_until_the_next_one_should_be_there(
    make_tape: MakeTape, unit: int, every: int, age: int, is_fresh: bool
) -> None:
    window = make_tape([1, 2, 3], start=AT, unit=unit)
    now = AT + 3 * unit * MINUTE + age * MINUTE
    assert (left_out(window, now, Pace(period=every * MINUTE)) == {}) == is_fresh


def test_a_snapshot_is_as_old_as_the_schedule_lets_it(make_tape: MakeTape) -> None:
    window, now = make_tape([1], start=AT), AT + MINUTE
    for every, age, is_fresh in ((1, 3, True), (1, 4, False), (20, 60, True), (20, 61, False)):
        found = inputs.left_out(
            {BTC: window},
            {BTC: snapshot(now - age * MINUTE)},
            now=now,
            pace=Pace(period=every * MINUTE),
        )
        assert (dict(found) == {}) == is_fresh


@pytest.mark.parametrize(
    ("unit", "period", "since_last", "limit"),
    [
        (1, timedelta(minutes=5), timedelta(minutes=5), timedelta(hours=1)),
        (60, timedelta(minutes=5), timedelta(0), timedelta(minutes=63)),
        (240, timedelta(minutes=5), timedelta(0), timedelta(minutes=243)),
        (1, timedelta(hours=2), timedelta(hours=2), timedelta(minutes=123)),
        (1, timedelta(minutes=5), timedelta(hours=18), timedelta(hours=18, minutes=55)),
    ],
)
def test_the_newest_signals_age_follows_candles_slots_and_pauses(
    unit: int, period: timedelta, since_last: timedelta, limit: timedelta
) -> None:
    pace = Pace(period=period, last_due=lambda now: now - since_last)
    assert pace.signal_age(timedelta(hours=1), unit, AT) == limit


def test_a_hole_that_may_be_filled_defers_the_decision(make_tape: MakeTape) -> None:
    plan = CandlePlan()
    plan.begin(BTC, 1, since=AT, end=AT + 60 * MINUTE, gaps=[(AT + 4 * MINUTE, AT + 36 * MINUTE)])
    whole, young = make_tape(range(1, 61), start=AT), make_tape(range(24), start=AT + 36 * MINUTE)
    assert dict(inputs.holed({BTC: whole}, plan.holes)) == {
        BTC: "candles from 2026-01-05 00:04 to 2026-01-05 00:36 UTC may yet come"
    }
    assert dict(inputs.holed({BTC: young, "KRW-ETH": []}, plan.holes)) == {}
    assert dict(inputs.holed({BTC: whole}, no_holes)) == {}


def test_what_follows_the_newest_candle_is_late_and_no_hole(make_tape: MakeTape) -> None:
    plan = CandlePlan()
    plan.begin(BTC, 1, since=AT, end=AT + 10 * MINUTE, gaps=[(AT + 8 * MINUTE, AT + 10 * MINUTE)])
    windows = {BTC: make_tape(range(1, 9), start=AT), "KRW-ETH": [], "KRW-XRP": []}
    windows["KRW-XRP"] = make_tape(range(1, 11), start=AT, market="KRW-XRP")
    assert "KRW-BTC" not in dict(inputs.holed(windows, plan.holes))
    now = AT + 10 * MINUTE + timedelta(seconds=5)
    assert list(inputs.late(windows, 1, now)) == [BTC, "KRW-ETH"]
