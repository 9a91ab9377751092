"""A small replay whose every fill, fee and won is worked out here by other means.

Two markets, three orders. The other means are whole numbers and fractions, and the exchange's rules
as its pages state them: prices on the tick, volumes cut to 8 decimals, 0.05 % of the funds as fee.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

from jobs.backtest.candle_history import Tape
from jobs.backtest.run import Plan, fixed, play
from jobs.backtest.statistics import round_trips
from jobs.backtest.trader import Trader
from jobs.domain.portfolio import SignalFact
from jobs.domain.settings import Settings
from jobs.upbit.wire import Candle

BTC, XRP = "KRW-BTC", "KRW-XRP"
BEGIN = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FEE = Fraction(5, 10_000)
SLIPPAGE = Fraction(10, 10_000)
START = Fraction(10_000_000)

# open, high, low, close of each minute
PRICES = {
    BTC: [
        (100_000_000, 100_000_000, 100_000_000, 100_000_000),
        (100_000_000, 101_000_000, 99_000_000, 99_000_000),
        (99_000_000, 99_000_000, 96_000_000, 97_000_000),
        (97_000_000, 97_000_000, 94_000_000, 95_000_000),  # falls: 97, 97, 95.5, 94, 95
        (95_000_000, 96_000_000, 95_000_000, 96_000_000),
        (96_000_000, 96_000_000, 96_000_000, 96_000_000),
    ],
    XRP: [
        (4_120, 4_120, 4_120, 4_120),
        (4_121, 4_125, 4_119, 4_123),
        (4_123, 4_130, 4_120, 4_125),
        (4_125, 4_125, 4_125, 4_125),
        (4_126, 4_140, 4_126, 4_140),
        (4_142, 4_150, 4_140, 4_150),
    ],
}


def recording() -> dict[str, list[Candle]]:
    return {
        market: [
            Candle(
                market=market,
                unit=1,
                ts=BEGIN + number * MINUTE,
                open=Decimal(opened),
                high=Decimal(high),
                low=Decimal(low),
                close=Decimal(close),
                volume=Decimal(1),
                value=Decimal(close),
            )
            for number, (opened, high, low, close) in enumerate(rows)
        ]
        for market, rows in PRICES.items()
    }


def signal(number: int, market: str, action: str, minute: int) -> SignalFact:
    return SignalFact(
        id=number,
        market=market,
        action=action,
        confidence=Decimal("0.8"),
        created_at=BEGIN + minute * MINUTE + timedelta(seconds=5),
    )


async def played(signals: Sequence[SignalFact], settings: Settings | None = None) -> Trader:
    tape = Tape(recording())
    plan = Plan(
        since=BEGIN,
        until=tape.end,
        settings=settings or Settings(),
        slippage_bps=Decimal(10),
        every=MINUTE,
    )
    trader = await play(tape, plan, fixed(signals))
    trader.finish(tape, plan.until)
    return trader


def on_tick(price: Fraction, tick: int, *, up: bool) -> Fraction:
    steps = ceil(price / tick) if up else floor(price / tick)
    return Fraction(steps * tick)


def cut(volume: Fraction) -> Fraction:
    return Fraction(floor(volume * 10**8), 10**8)


async def test_every_fill_fee_and_won_is_as_worked_out_by_hand() -> None:
    trader = await played(
        [signal(1, BTC, "buy", 0), signal(2, XRP, "buy", 1), signal(3, XRP, "sell", 5)]
    )
    # 1. Bitcoin at 03:00:10 for 10 % of 10,000,000, at the ask 0.1 % over 100,000,000
    btc_ask = on_tick(100_000_000 * (1 + SLIPPAGE), 1000, up=True)
    assert btc_ask == 100_100_000
    btc = cut(1_000_000 / btc_ask)
    assert btc == Fraction("0.00999000")
    paid = btc * btc_ask
    cash = START - paid * (1 + FEE)
    # 2. Ripple at 03:01:10; equity is now cash and the coins at 100,000,000
    equity = cash + btc * 100_000_000
    xrp_ask = on_tick(4_121 * (1 + SLIPPAGE), 1, up=True)
    assert xrp_ask == 4_126
    spend = floor(min(equity / 10, Fraction(1_000_000)))
    xrp = cut(Fraction(spend) / xrp_ask)
    paid_xrp = xrp * xrp_ask
    cash -= paid_xrp * (1 + FEE)
    # 3. the stop: 5 % under 100,100,000 is 95,095,000; 03:03:40 is the first look under it
    btc_bid = on_tick(94_000_000 * (1 - SLIPPAGE), 1000, up=False)
    assert btc_bid == 93_906_000
    got = btc * btc_bid
    cash += got * (1 - FEE)
    # 4. Ripple is sold on the signal at 03:05:10
    xrp_bid = on_tick(4_142 * (1 - SLIPPAGE), 1, up=False)
    assert xrp_bid == 4_137
    got_xrp = xrp * xrp_bid
    cash += got_xrp * (1 - FEE)

    seen = [
        (
            order.market,
            order.side,
            order.purpose,
            (order.at - BEGIN).total_seconds(),
            *(Fraction(getattr(fill, name)) for name in ("price", "volume", "funds", "fee")),
        )
        for order in trader.books.orders
        for fill in order.fills
    ]
    assert seen == [
        (BTC, "bid", "entry", 10, btc_ask, btc, paid, paid * FEE),
        (XRP, "bid", "entry", 70, xrp_ask, xrp, paid_xrp, paid_xrp * FEE),
        (BTC, "ask", "stop_loss", 220, btc_bid, btc, got, got * FEE),
        (XRP, "ask", "exit", 310, xrp_bid, xrp, got_xrp, got_xrp * FEE),
    ]
    end = trader.books.equity[-1]
    assert Fraction(end.cash_krw) == cash
    assert end.positions_krw == 0
    assert abs(Fraction(end.pnl_krw) - (cash - START)) < Fraction(1, 10**15)

    first, second = round_trips(trader.books.orders)
    assert Fraction(first.profit_krw) == got * (1 - FEE) - paid * (1 + FEE)
    assert abs(Fraction(second.profit_krw) - (got_xrp * (1 - FEE) - paid_xrp * (1 + FEE))) < 1e-15
    assert (first.ended_by, second.ended_by) == ("stop_loss", "exit")


async def test_worth_between_trades_is_cash_and_coins_at_the_price_of_the_pass() -> None:
    trader = await played([signal(1, BTC, "buy", 0)])
    volume, cost = Fraction("0.00999"), Fraction("0.00999") * 100_100_000 * (1 + FEE)
    by_second = {
        (point.at - BEGIN).total_seconds(): Fraction(point.total_krw)
        for point in trader.books.equity
    }
    assert by_second[0] == START
    assert by_second[10.5] == START - cost + volume * 100_000_000
    # a minute and the next pass after it: 03:01:20 sees the first extreme, the high
    assert by_second[80] == START - cost + volume * 101_000_000
    assert by_second[140] == START - cost + volume * 99_000_000


async def test_a_goal_is_sold_at_its_price_with_the_slippage() -> None:
    trader = await played([signal(1, XRP, "buy", 1)], Settings(take_profit_pct=Decimal("0.3")))
    # 0.3 % over 4,126 is 4,138.378: the high of 03:04 reaches it (4,140), its bid does not (4,135);
    # on the way to the high of 03:05, at 4,145, the bid does (4,140)
    _, sale = trader.books.orders
    assert (sale.purpose, (sale.at - BEGIN).total_seconds()) == ("take_profit", 330)
    assert [fill.price for fill in sale.fills] == [4_140]


async def test_a_trail_follows_the_highest_price_between_signals() -> None:
    trader = await played([signal(1, BTC, "buy", 0)], Settings(trailing_stop_pct=Decimal("1.5")))
    # 1.5 % under 101,000,000 is 99,485,000: first seen at 03:01:30 on the way to the low
    _, sale = trader.books.orders
    assert (sale.purpose, (sale.at - BEGIN).total_seconds()) == ("trailing_stop", 100)
    assert [fill.price for fill in sale.fills] == [98_901_000]


async def test_refusals_are_counted_by_their_limit_and_end_their_signals() -> None:
    trader = await played(
        [
            replace(signal(1, BTC, "buy", 0), confidence=Decimal("0.5")),
            signal(2, XRP, "sell", 0),
            signal(3, XRP, "hold", 1),
        ]
    )
    assert trader.refusals == {"min_confidence": 1, "holding": 1}
    assert trader.books.orders == []
    assert trader.ends == {
        1: ("refused", "confidence 0.5 is under 0.6"),
        2: ("refused", "nothing is held that is not already being sold"),
        3: ("expired", "hold: nothing to do"),
    }


async def test_what_the_venue_refuses_is_tried_in_each_form_and_then_each_minute() -> None:
    settings = Settings(stop_loss_pct=Decimal(2))
    plan = Plan(since=BEGIN, until=BEGIN + 6 * MINUTE, settings=settings)
    buys = fixed([signal(1, BTC, "buy", 0)])

    async def feed(now: datetime, trader: Trader) -> list[SignalFact]:
        if trader.books.held:  # what is held is listed no longer
            rules = trader.venue.engine.rules
            trader.venue.engine.rules = replace(rules, listed=frozenset({XRP}))
        return await buys(now, trader)

    trader = await play(Tape(recording()), replace(plan, every=MINUTE), feed)
    refused = [order for order in trader.books.orders if order.state.value == "refused"]
    assert {order.reason for order in refused} == {"refused by the venue: notfoundmarket"}
    forms = [(order.request.ord_type, order.request.price) for order in refused]
    assert len(set(forms[:4])) == 4
    assert forms[3][0] == "market"
    assert trader.refusals["exit_retry"] > 0
    gaps = [b.at - a.at for a, b in pairwise(refused)]
    assert all(gap < MINUTE for gap in gaps[:3])
    assert all(gap >= MINUTE for gap in gaps[4:])
