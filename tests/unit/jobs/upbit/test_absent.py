"""One market that is gone costs the others nothing but a few requests, once a minute."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs.core.errors import RateLimited, Refused
from jobs.upbit.absent import AbsentMarkets
from jobs.upbit.wire import Ticker

A, B, C, D, GONE = "KRW-A", "KRW-B", "KRW-C", "KRW-D", "KRW-GONE"
NOT_FOUND = Refused("Code not found", name="404", status=404)


class Exchange:
    """Lists fail as a whole where one market of theirs is in `gone`; the list of all never does.

    `odd` are refused in lists although all tickers name them.
    """

    def __init__(self, *listed: str) -> None:
        self.listed = list(listed)
        self.odd: set[str] = set()
        self.now = datetime(2026, 1, 5, tzinfo=UTC)
        self.calls: list[tuple[str, ...]] = []
        self.absent = AbsentMarkets(clock=lambda: self.now, all_tickers=self.all_tickers)

    async def all_tickers(self, quotes: str) -> list[Ticker]:
        self.calls.append((quotes,))
        return [_ticker(market) for market in self.listed if market[:3] in quotes]

    async def call(self, markets: Sequence[str]) -> list[str]:
        self.calls.append(tuple(markets))
        if not set(markets) <= set(self.listed) - self.odd:
            raise NOT_FOUND
        return list(markets)

    async def ask(self, *markets: str, what: str = "orderbook") -> list[str]:
        return await self.absent.ask(what, markets, self.call)


def _ticker(market: str) -> Ticker:
    one = Decimal(1)
    return Ticker(
        market=market,
        price=one,
        volume_24h=one,
        value_24h=one,
        change_rate=one,
        ts=datetime(2026, 1, 5, tzinfo=UTC),
    )


async def test_a_list_without_odd_names_is_one_call() -> None:
    exchange = Exchange(A, B)
    assert await exchange.ask(A, B) == [A, B]
    assert await exchange.ask() == []
    assert exchange.calls == [(A, B)]


async def test_a_market_that_is_gone_is_left_out_for_a_minute() -> None:
    exchange = Exchange(A, B)
    assert await exchange.ask(A, GONE, B) == [A, B]
    assert exchange.calls == [(A, GONE, B), ("KRW",), (A, B)]
    assert exchange.absent.unquoted == {GONE}
    exchange.calls.clear()
    assert await exchange.ask(A, GONE, what="ticker") == [A]  # known for every list
    assert await exchange.ask(GONE) == []
    assert exchange.calls == [(A,)]


async def test_it_is_asked_for_again_and_may_be_back() -> None:
    exchange = Exchange(A)
    await exchange.ask(A, GONE)
    exchange.listed.append(GONE)
    exchange.now += timedelta(seconds=60)
    assert exchange.absent.unquoted == set()
    assert await exchange.ask(A, GONE) == [A, GONE]


async def test_a_clock_that_is_set_back_forgets() -> None:
    exchange = Exchange(A)
    await exchange.ask(A, GONE)
    exchange.now -= timedelta(days=30)
    assert exchange.absent.unquoted == set()


async def test_one_that_only_this_list_refuses_is_found_by_dividing() -> None:
    exchange = Exchange(A, B, C, D)
    exchange.odd = {C}
    assert await exchange.ask(A, B, C, D) == [A, B, D]
    assert exchange.absent.unquoted == set()
    exchange.calls.clear()
    assert await exchange.ask(A, B, C, D) == [A, B, D]
    assert exchange.calls == [(A, B, D)]
    assert await exchange.ask(A, C, what="other") == [A]  # left out of the first list alone
    assert exchange.calls[1] == (A, C)


async def test_a_list_that_is_refused_whatever_it_names_is_a_refusal() -> None:
    exchange = Exchange(*(f"KRW-{n}" for n in range(200)))
    exchange.odd = set(exchange.listed)
    with pytest.raises(Refused):
        await exchange.ask(*exchange.listed)
    assert len(exchange.calls) < 60


async def test_other_refusals_and_failures_pass() -> None:
    exchange = Exchange(A)

    async def banned(markets: Sequence[str]) -> list[str]:
        raise RateLimited("too many", retry_after_s=1)

    with pytest.raises(RateLimited):
        await exchange.absent.ask("ticker", [A, GONE], banned)

    async def refused(markets: Sequence[str]) -> list[str]:
        raise Refused("Invalid parameter", name="400", status=400)

    with pytest.raises(Refused, match="Invalid"):
        await exchange.absent.ask("ticker", [A, GONE], refused)
    assert exchange.calls == []


async def test_markets_of_several_quotes_are_looked_for_at_once() -> None:
    exchange = Exchange(A, "BTC-A")
    assert await exchange.ask(A, "BTC-A", "USDT-A") == [A, "BTC-A"]
    assert exchange.calls[1] == ("BTC,KRW,USDT",)
