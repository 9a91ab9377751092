"""Features on larger candles from a real database: the same as made by hand, once a candle."""

from datetime import timedelta
from decimal import Decimal

import numpy as np
import psycopg
import pytest
from fixtures.gemini import TAPE_START, MakeTape

from jobs.candles import features, resample
from jobs.candles.backlog import CandlePlan, Page
from jobs.candles.resample import MINUTE
from jobs.signals.multi_timeframe import COUNT, LongerFeatures, of_candles
from jobs.store import candles as candle_store
from jobs.store.db import Database
from jobs.upbit.wire import Candle

BTC, ETH = "KRW-BTC", "KRW-ETH"


def walk(make_tape: MakeTape, market: str, minutes: int, *, gaps: float = 0.2) -> list[Candle]:
    """A random walk in which some minutes had no trade."""
    random = np.random.default_rng(len(market) + minutes)
    closes = 1000 * np.exp(np.cumsum(random.normal(0, 0.001, minutes)))
    traded = random.uniform(size=minutes) >= gaps
    traded[0] = True
    return make_tape(
        [
            round(float(close), 2) if is_traded else None
            for close, is_traded in zip(closes, traded, strict=True)
        ],
        market=market,
        volumes=[int(each) for each in random.integers(1, 100, minutes)],
    )


@pytest.mark.parametrize("unit", [5, 15])
async def test_the_database_makes_what_the_pure_function_makes(
    database: Database, make_tape: MakeTape, unit: int
) -> None:
    tape = walk(make_tape, BTC, 1000)
    await candle_store.upsert(database, tape)
    for minutes in (997, 1000, 640, unit, 3):
        until = TAPE_START + minutes * MINUTE
        begin = resample.since(until, unit, 50)
        span = (begin, resample.floor(until, unit))
        found = await candle_store.aggregated(database, [BTC, ETH], 1, unit, span)
        assert found[BTC] == resample.aggregate(tape, unit, until=until, count=50)
        assert found[ETH] == []


async def test_live_features_are_those_of_a_replay(database: Database, make_tape: MakeTape) -> None:
    """Minute by minute, what the job would see is what the whole tape says of that instant."""
    tape = walk(make_tape, BTC, 2100)
    await candle_store.upsert(database, tape)
    longer = LongerFeatures(db=database, base=1, units=(5, 15))
    for minutes in range(1900, 1960):
        end = TAPE_START + minutes * MINUTE
        (live,) = (await longer.of({BTC: end})).values()
        assert [each.unit for each in live] == [5, 15]
        assert live == of_candles(tape, (5, 15), until=end)


async def test_each_larger_candle_is_computed_once(
    database: Database, dsn: str, make_tape: MakeTape
) -> None:
    await candle_store.upsert(database, walk(make_tape, BTC, 1000, gaps=0))
    longer = LongerFeatures(db=database, base=1, units=(5,))
    end = TAPE_START + 900 * MINUTE
    before = await longer.of({BTC: end})
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE candles SET close = close * 2")
    for minutes in range(5):
        assert await longer.of({BTC: end + minutes * MINUTE}) == before
    assert await longer.of({BTC: end + timedelta(minutes=5)}) != before


async def test_what_lies_before_a_hole_is_not_looked_at_until_it_is_filled(
    database: Database, make_tape: MakeTape
) -> None:
    tape = walk(make_tape, BTC, 900, gaps=0)
    end, hole = TAPE_START + 900 * MINUTE, TAPE_START + 802 * MINUTE
    plan = CandlePlan()
    plan.begin(BTC, 1, since=TAPE_START, end=end, gaps=[(hole, hole + 32 * MINUTE)])
    longer = LongerFeatures(db=database, base=1, units=(5,), holes=plan.holes)
    await candle_store.upsert(
        database, [each for each in tape if not hole <= each.ts < hole + 32 * MINUTE]
    )
    (cut,) = (await longer.of({BTC: end}))[BTC]
    (young,) = of_candles(tape[835:], (5,), until=end)
    assert cut == young  # 65 minutes, as if it had begun there
    await candle_store.upsert(database, tape)
    filled = Page(market=BTC, unit=1, since=hole, to=hole + 32 * MINUTE)
    plan.done(filled, [hole + n * MINUTE for n in range(32)], end)
    assert (await longer.of({BTC: end}))[BTC] == of_candles(tape, (5,), until=end)


async def test_a_history_that_is_filled_in_later_is_looked_at_again(
    database: Database, make_tape: MakeTape
) -> None:
    tape = walk(make_tape, BTC, 900, gaps=0)
    longer = LongerFeatures(db=database, base=1, units=(5,))
    ends = {BTC: TAPE_START + 900 * MINUTE}
    assert await longer.of(ends) == {BTC: ()}
    await candle_store.upsert(database, tape[-100:])
    (young,) = (await longer.of(ends))[BTC]
    assert young.number("rsi_14") is None
    await candle_store.upsert(database, tape)
    (whole,) = (await longer.of(ends))[BTC]
    assert whole.number("rsi_14") is not None


async def test_a_collected_unit_is_read_as_stored_but_for_its_newest(
    database: Database, make_tape: MakeTape
) -> None:
    """The exchange's own newest candle may come later than the minutes that it is made of."""
    tape = walk(make_tape, BTC, 900, gaps=0)
    end = TAPE_START + 900 * MINUTE
    made = resample.aggregate(tape, 5, until=end, count=COUNT)
    await candle_store.upsert(database, [*tape[-30:], *made[:-1]])
    longer = LongerFeatures(db=database, base=1, units=(5,), collected=frozenset({1, 5}))
    ((found,),) = (await longer.of({BTC: end})).values()
    assert found == features.compute(made)


async def test_markets_whose_newest_candles_differ_are_told_as_of_their_own(
    database: Database, make_tape: MakeTape
) -> None:
    await candle_store.upsert(
        database, [*walk(make_tape, BTC, 900, gaps=0), *walk(make_tape, ETH, 900, gaps=0)]
    )
    longer = LongerFeatures(db=database, base=1, units=(5,))
    end = TAPE_START + 900 * MINUTE
    found = await longer.of({BTC: end, ETH: end - 3 * MINUTE})
    assert found[BTC][0].candle_ts == end - 5 * MINUTE
    assert found[ETH][0].candle_ts == end - 10 * MINUTE
    assert found[BTC][0].close > Decimal(0)
