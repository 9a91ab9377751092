from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from jobs.core.errors import BadData
from jobs.upbit import wire

ORDER: dict[str, Any] = {
    "market": "KRW-BTC",
    "uuid": "u1",
    "side": "bid",
    "ord_type": "price",
    "price": "6000",
    "state": "cancel",
    "created_at": "2025-08-09T16:52:11+09:00",
    "executed_volume": "0.00003736",
    "reserved_fee": "3",
    "remaining_fee": "0.00010408",
    "paid_fee": "2.99989592",
    "locked": "0.20826408",
    "trades_count": 1,
}
TRADE: dict[str, Any] = {
    "market": "KRW-BTC",
    "uuid": "t1",
    "price": "160594000",
    "volume": "0.00003736",
    "funds": "5999.79184",
    "trend": "up",
    "created_at": "2025-08-09T16:52:11.000001+09:0",
    "side": "bid",
}
CHANCE: dict[str, Any] = {
    "bid_fee": "0.0005",
    "ask_fee": "0.0005",
    "market": {
        "id": "KRW-BTC",
        "bid_types": ["limit", "price"],
        "ask_types": ["limit", "market"],
        "bid": {"currency": "KRW", "min_total": "5000"},
        "ask": {"currency": "BTC", "min_total": "5000"},
        "max_total": "1000000000",
        "state": "active",
    },
}
CANDLE: dict[str, Any] = {
    "market": "KRW-BTC",
    "candle_date_time_utc": "2025-08-09T07:52:00",
    "candle_date_time_kst": "2025-08-09T16:52:00",
    "opening_price": 1,
    "high_price": Decimal("2.5"),
    "low_price": Decimal("5E-1"),
    "trade_price": 2,
    "timestamp": 1754725931000,
    "candle_acc_trade_price": 10,
    "candle_acc_trade_volume": 5,
    "unit": 1,
}


def test_market_with_and_without_details() -> None:
    row: dict[str, object] = {"market": "KRW-BTC", "korean_name": "비트코인", "english_name": "B"}
    assert not wire.parse_market(row).warning
    assert not wire.parse_market({**row, "market_event": {"warning": False}}).warning
    assert wire.parse_market({**row, "market_event": {"warning": True}}).warning
    marks = {"PRICE_FLUCTUATIONS": True, "DEPOSIT_AMOUNT_SOARING": True, "OTHER": False, "X": "yes"}
    event = {"warning": False, "caution": marks}
    assert wire.parse_market({**row, "market_event": event}).cautions == (
        "DEPOSIT_AMOUNT_SOARING",
        "PRICE_FLUCTUATIONS",
    )
    shapes: tuple[object, ...] = (
        None,
        [],
        "x",
        {"caution": None},
        {"caution": ["PRICE_FLUCTUATIONS"]},
    )
    for odd in shapes:
        assert wire.parse_market({**row, "market_event": odd}).cautions == ()


def test_instrument() -> None:
    row = {
        "market": "KRW-BTC",
        "quote_currency": "KRW",
        "tick_size": "1000",
        "supported_levels": ["0", "10000"],
    }
    assert wire.parse_instrument(row) == wire.Instrument(
        market="KRW-BTC",
        quote_currency="KRW",
        tick_size=Decimal(1000),
        supported_levels=("0", "10000"),
    )


def test_ticker() -> None:
    row = {
        "market": "KRW-BTC",
        "trade_price": 116233000,
        "acc_trade_volume_24h": Decimal("1.5"),
        "acc_trade_price_24h": 2,
        "signed_change_rate": Decimal("-0.01"),
        "timestamp": 1754725931000,
    }
    assert wire.parse_ticker(row) == wire.Ticker(
        market="KRW-BTC",
        price=Decimal(116233000),
        volume_24h=Decimal("1.5"),
        value_24h=Decimal(2),
        change_rate=Decimal("-0.01"),
        ts=datetime(2025, 8, 9, 7, 52, 11, tzinfo=UTC),
    )


def test_candle_starts_at_its_utc_time() -> None:
    candle = wire.parse_candle(CANDLE, unit=1)
    assert candle.ts == datetime(2025, 8, 9, 7, 52, tzinfo=UTC)
    assert (candle.open, candle.high, candle.low, candle.close) == (
        Decimal(1),
        Decimal("2.5"),
        Decimal("0.5"),
        Decimal(2),
    )
    assert (candle.volume, candle.value) == (Decimal(5), Decimal(10))
    assert candle.unit == 1


def test_orderbook_leaves_out_empty_slots_and_keeps_one_sided_ones() -> None:
    units = [
        {"ask_price": 11, "ask_size": 1, "bid_price": 10, "bid_size": 2},
        {"ask_price": 12, "ask_size": 1, "bid_price": 0, "bid_size": 0},
        {"ask_price": 0, "ask_size": 0, "bid_price": 0, "bid_size": 0},
    ]
    row = {"market": "KRW-BTC", "timestamp": 0, "orderbook_units": units}
    assert [unit.ask_price for unit in wire.parse_orderbook(row).units] == [11, 12]


def test_account() -> None:
    row = {"currency": "KRW", "balance": "1.123456789012", "locked": "0.0", "avg_buy_price": "0"}
    assert wire.parse_account(row) == wire.Account(
        currency="KRW",
        balance=Decimal("1.123456789012"),
        locked=Decimal(0),
        avg_buy_price=Decimal(0),
    )


def test_chance() -> None:
    chance = wire.parse_chance(CHANCE)
    assert chance.market == "KRW-BTC"
    assert (chance.bid_min_total, chance.max_total) == (Decimal(5000), Decimal(1_000_000_000))
    assert chance.bid_types == ("limit", "price")
    assert chance.ask_fee == Decimal("0.0005")


def test_order_with_its_trades() -> None:
    order = wire.parse_order({**ORDER, "trades": [TRADE]})
    assert order.trades is not None
    assert order.trades[0].funds == Decimal("5999.79184")
    assert order.trades[0].ts == datetime(2025, 8, 9, 7, 52, 11, 1, tzinfo=UTC)
    assert (order.state, order.executed_volume) == ("cancel", Decimal("0.00003736"))


@pytest.mark.parametrize("absent", [{}, dict.fromkeys(("volume", "identifier", "trades"))])
def test_keys_of_an_order_may_be_absent_or_null(absent: dict[str, Any]) -> None:
    order = wire.parse_order({**ORDER, **absent})
    assert (order.volume, order.identifier, order.trades) == (None, None, None)


def test_api_key() -> None:
    row = {"access_key": "k", "expire_at": "2027-01-01T00:00:00+09:00"}
    assert wire.parse_api_key(row).expire_at == datetime(2026, 12, 31, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parse", "row"),
    [
        (wire.parse_order, {**ORDER, "state": "lost"}),
        (wire.parse_order, {**ORDER, "side": "buy"}),
        (wire.parse_order, {**ORDER, "state": []}),
        (wire.parse_order, {**ORDER, "executed_volume": "many"}),
        (wire.parse_order, {**ORDER, "trades": [{**TRADE, "price": None}]}),
        (wire.parse_order, {**ORDER, "trades": {}}),
        (wire.parse_order, {}),
        (wire.parse_order, []),
        (wire.parse_chance, {**CHANCE, "market": None}),
        (wire.parse_ticker, {"market": "KRW-BTC"}),
        (wire.parse_orderbook, {"market": "KRW-BTC", "timestamp": 0}),
        (wire.parse_account, None),
    ],
)
def test_malformed_rows_are_bad_data(parse: Callable[[object], object], row: object) -> None:
    with pytest.raises(BadData):
        parse(row)
