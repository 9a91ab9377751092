"""What markets show and allow, asked once and remembered as long as allowed."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from fixtures.trading import BTC, PRICE, Trading

from jobs.core.errors import Unavailable
from jobs.orders.quotes import published_chance
from jobs.store import candles
from jobs.upbit.wire import Account, Candle

ETH = "KRW-ETH"
MINUTE = timedelta(minutes=1)


async def test_prices_of_several_markets_are_one_call(trading: Trading) -> None:
    assert await trading.view.prices({BTC, ETH}) == {BTC: PRICE, ETH: Decimal(5_000_000)}
    assert trading.venue.calls == ["tickers"]


async def test_nothing_wanted_is_nothing_asked(trading: Trading) -> None:
    assert await trading.view.prices(()) == {}
    assert await trading.view.books(()) == {}
    assert await trading.view.recent({}) == {}
    assert await trading.view.stored(()) == {}
    assert trading.venue.calls == []


async def test_what_a_market_cost_a_moment_before_is_the_last_finished_minutes_close(
    trading: Trading,
) -> None:
    now = trading.clock().replace(second=0)
    await trading.collect(BTC)
    await trading.collect(ETH)
    for minutes, close in [(9, 1), (2, 2), (1, 3), (0, 4)]:
        await candles.upsert(trading.db, [_candle(BTC, now - minutes * MINUTE, close)])
        await candles.upsert(trading.db, [_candle(ETH, now - (minutes + 9) * MINUTE, close)])
    stored = await trading.view.stored({BTC, ETH})
    # ETH had no trade for longer than stored data counts as fresh: its snapshot stands there
    assert await trading.view.recent(stored) == {BTC: Decimal(3), ETH: Decimal(5_000_000)}


def _candle(market: str, ts: datetime, close: int) -> Candle:
    one = Decimal(close)
    return Candle(
        market=market, unit=1, ts=ts, open=one, high=one, low=one, close=one, volume=one, value=one
    )


async def test_stored_prices_are_fresh_up_to_their_limit(trading: Trading) -> None:
    await trading.collect(BTC, age_s=180)
    await trading.collect(ETH, age_s=181)
    stored = await trading.view.stored({BTC, ETH})
    assert set(stored) == {BTC, ETH}
    assert trading.view.fresh(stored) == {BTC: PRICE}


async def test_balances_count_what_is_locked_in_the_total_only(trading: Trading) -> None:
    trading.venue.engine.ledger.lock("KRW", Decimal(1000))
    money = await trading.view.money()
    assert (money.total_krw, money.free_krw) == (Decimal(10_000_000), Decimal(9_999_000))
    assert money.at == trading.clock()


async def test_an_account_without_won_has_none(trading: Trading) -> None:
    async def nothing() -> list[object]:
        return []

    trading.venue.accounts = nothing  # type: ignore[method-assign, assignment]  # empty
    money = await trading.view.money()
    assert money.total_krw == money.free_krw == 0
    assert money.free_volumes == {}


async def test_order_rules_are_asked_once_an_hour(trading: Trading) -> None:
    await trading.view.chance(BTC)
    await trading.clock.sleep(3599)
    await trading.view.chance(BTC)
    assert trading.venue.calls == ["chance"]
    await trading.clock.sleep(1)
    await trading.view.chance(BTC)
    assert trading.venue.calls == ["chance", "chance"]


async def test_an_exit_falls_back_on_the_published_rules(trading: Trading) -> None:
    trading.venue.down = Unavailable("no answer")
    assert await trading.view.exit_chance(BTC) == published_chance(BTC)
    assert published_chance(BTC).ask_min_total == 5000
    with pytest.raises(Unavailable):
        await trading.view.chance(BTC)


async def test_one_answer_with_a_row_too_few_takes_no_coin_away(trading: Trading) -> None:
    trading.venue.engine.ledger.credit("BTC", Decimal(1))
    await trading.view.money()
    real, asked = trading.venue.accounts, 0

    async def once_without() -> list[Account]:
        nonlocal asked
        asked += 1
        found = await real()
        return [each for each in found if each.currency == "KRW"] if asked == 1 else found

    trading.venue.accounts = once_without  # type: ignore[method-assign]
    assert (await trading.view.money()).total(BTC) == 1
    assert asked == 2
    trading.venue.engine.ledger.credit("BTC", Decimal(-1))
    asked = 0

    async def without() -> list[Account]:
        nonlocal asked
        asked += 1
        return [each for each in await real() if each.currency == "KRW"]

    trading.venue.accounts = without  # type: ignore[method-assign]
    assert (await trading.view.money()).total(BTC) == 0
    assert (await trading.view.money()).total(BTC) == 0
    assert asked == 3  # what is known to be gone is not asked for twice
