"""What Upbit says, as frozen values, and the parsers that make them from decoded JSON.

The parsers take what `jobs.upbit.fields.decode` gives (numbers as str, int or Decimal, never float)
and raise BadData when a body is not what the documentation promises. All times are aware UTC, all
amounts Decimal. Keys that do not apply may be absent or null: both are accepted.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, cast, get_args

from jobs.upbit.fields import Fields, every, to_decimal

Side = Literal["bid", "ask"]
OrdType = Literal["limit", "price", "market", "best"]
OrderState = Literal["wait", "watch", "done", "cancel"]

OUR_PREFIX = "upd-"
"""How the identifier of every order of the daemon begins; all others are somebody else's."""

FIRST_CANDLE = datetime(2017, 1, 1, tzinfo=UTC)
"""Upbit opened in October 2017."""

KRW = "KRW"
_CAUTION = re.compile(r"[A-Z0-9_]{1,60}")
_SIDES = frozenset(get_args(Side))
_STATES = frozenset(get_args(OrderState))


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """A tradable pair such as KRW-BTC.

    `warning` is the exchange's mark for markets that it may delist, `cautions` names what it found
    odd of late (PRICE_FLUCTUATIONS and the like), sorted.
    """

    market: str
    korean_name: str
    english_name: str
    warning: bool
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A pair's tick size at its present price, and the order book levels it supports."""

    market: str
    quote_currency: str
    tick_size: Decimal
    supported_levels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticker:
    """The last price of a market; `change_rate` is signed (-0.01 means one per cent down)."""

    market: str
    price: Decimal
    volume_24h: Decimal
    value_24h: Decimal
    change_rate: Decimal
    ts: datetime


DAY_UNIT = 1440
"""The minutes of a daily candle; it begins at midnight UTC, 09:00 in Korea."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """The trades of `unit` minutes from `ts` on; `value` is the turnover in quote currency."""

    market: str
    unit: int
    ts: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    value: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One depth of both sides of a book; a price of zero means that side ends before it."""

    ask_price: Decimal
    ask_size: Decimal
    bid_price: Decimal
    bid_size: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Orderbook:
    """A market's resting orders, best prices first; `ts` is the last change of the book."""

    market: str
    ts: datetime
    units: tuple[Level, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One currency of the account: `balance` is free, `locked` is bound by open orders.

    `is_readable` is false where the exchange names the coin and not a usable amount: then both are
    zero and mean nothing. Such a row stays, because a coin that is absent is one that is not held.
    """

    currency: str
    balance: Decimal
    locked: Decimal
    avg_buy_price: Decimal
    is_readable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What the account may order in a market: fees as shares (0.0005), totals in quote."""

    market: str
    bid_fee: Decimal
    ask_fee: Decimal
    bid_min_total: Decimal
    ask_min_total: Decimal
    max_total: Decimal
    state: str
    bid_types: tuple[str, ...]
    ask_types: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """An order to be placed.

    limit: `price` per unit and `volume`. price (market buy) and best bids: `price` is the amount to
    spend. market (market sell) and best asks: `volume` alone.
    """

    market: str
    side: Side
    ord_type: OrdType
    identifier: str
    price: Decimal | None = None
    volume: Decimal | None = None
    time_in_force: str | None = None
    smp_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One fill of an order; the exchange states no fee per fill."""

    uuid: str
    price: Decimal
    volume: Decimal
    funds: Decimal
    ts: datetime
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as the exchange tells it; `trades` is None where the endpoint has none.

    `cancel` does not mean that nothing was filled: judge by `executed_volume`.
    """

    uuid: str
    market: str
    side: Side
    ord_type: str
    state: OrderState
    created_at: datetime
    identifier: str | None = None
    price: Decimal | None = None
    volume: Decimal | None = None
    remaining_volume: Decimal | None = None
    executed_volume: Decimal = Decimal(0)
    executed_funds: Decimal | None = None
    reserved_fee: Decimal = Decimal(0)
    remaining_fee: Decimal = Decimal(0)
    paid_fee: Decimal = Decimal(0)
    locked: Decimal = Decimal(0)
    time_in_force: str | None = None
    smp_type: str | None = None
    trades_count: int = 0
    trades: tuple[Trade, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One of the account's keys and the instant it stops working."""

    access_key: str
    expire_at: datetime


def parse_market(raw: object) -> Market:
    """Read a row of /market/all; without details `warning` is False."""
    row = Fields.of("market", raw)
    event = row.raw.get("market_event")
    event = event if isinstance(event, dict) else {}
    caution = event.get("caution")
    marks = caution if isinstance(caution, dict) else {}
    return Market(
        market=row.market("market"),
        korean_name=row.text("korean_name"),
        english_name=row.text("english_name"),
        warning=event.get("warning") is True,
        cautions=tuple(
            sorted(
                name
                for name, is_set in marks.items()
                if is_set is True and _CAUTION.fullmatch(name)
            )
        ),
    )


def parse_instrument(raw: object) -> Instrument:
    """Read a row of /orderbook/instruments."""
    row = Fields.of("instrument", raw)
    return Instrument(
        market=row.market("market"),
        quote_currency=row.text("quote_currency"),
        tick_size=row.price("tick_size"),
        supported_levels=row.texts("supported_levels"),
    )


def parse_ticker(raw: object) -> Ticker:
    """Read a row of /ticker or /ticker/all."""
    row = Fields.of("ticker", raw)
    return Ticker(
        market=row.market("market"),
        price=row.price("trade_price"),
        volume_24h=row.amount("acc_trade_volume_24h"),
        value_24h=row.amount("acc_trade_price_24h"),
        change_rate=row.number("signed_change_rate"),
        ts=row.instant_ms("timestamp"),
    )


def parse_candle(raw: object, *, unit: int) -> Candle:
    """Read a row of /candles/minutes/`unit`."""
    row = Fields.of("candle", raw)
    ts = row.instant("candle_date_time_utc", zone=UTC)
    if ts < FIRST_CANDLE or (ts - FIRST_CANDLE) % timedelta(minutes=unit):
        raise row.bad("candle_date_time_utc")
    return Candle(
        market=row.market("market"),
        unit=unit,
        ts=ts,
        open=row.price("opening_price"),
        high=row.price("high_price"),
        low=row.price("low_price"),
        close=row.price("trade_price"),
        volume=row.amount("candle_acc_trade_volume"),
        value=row.amount("candle_acc_trade_price"),
    )


def parse_level(raw: object) -> Level:
    """Read one unit of an order book."""
    row = Fields.of("level", raw)
    return Level(
        ask_price=row.amount("ask_price"),
        ask_size=row.amount("ask_size"),
        bid_price=row.amount("bid_price"),
        bid_size=row.amount("bid_size"),
    )


def parse_orderbook(raw: object) -> Orderbook:
    """Read a row of /orderbook; slots that are empty on both sides are left out."""
    row = Fields.of("orderbook", raw)
    units = every(row.raw.get("orderbook_units"), parse_level)
    return Orderbook(
        market=row.market("market"),
        ts=row.instant_ms("timestamp"),
        units=tuple(unit for unit in units if unit.ask_price or unit.bid_price),
    )


def parse_account(raw: object) -> Account:
    """Read a row of /accounts, strictly for KRW: all that is spent is judged by it.

    A coin without `locked` has none locked, so that nothing is sold which may be bound.
    """
    row = Fields.of("account", raw)
    currency = row.text("currency")
    if currency == KRW:
        balance, locked = row.amount("balance"), row.amount("locked")
        return Account(currency=KRW, balance=balance, locked=locked, avg_buy_price=Decimal(0))
    return Account(
        currency=currency,
        balance=row.amount("balance"),
        locked=row.amount_or_zero("locked"),
        avg_buy_price=to_decimal(row.raw.get("avg_buy_price")) or Decimal(0),
    )


def unreadable_account(raw: object) -> Account:
    """The row of a coin whose amounts cannot be read. Raises BadData when it names no coin."""
    currency = Fields.of("account", raw).text("currency")
    nothing = Decimal(0)
    return Account(
        currency=currency,
        balance=nothing,
        locked=nothing,
        avg_buy_price=nothing,
        is_readable=False,
    )


def parse_chance(raw: object) -> Chance:
    """Read /orders/chance."""
    row = Fields.of("chance", raw)
    market = row.inner("market")
    return Chance(
        market=market.text("id"),
        bid_fee=row.amount("bid_fee"),
        ask_fee=row.amount("ask_fee"),
        bid_min_total=market.inner("bid").amount("min_total"),
        ask_min_total=market.inner("ask").amount("min_total"),
        max_total=market.price("max_total"),
        state=market.text("state"),
        bid_types=market.texts("bid_types"),
        ask_types=market.texts("ask_types"),
    )


def _side(row: Fields) -> Side:
    if (side := row.text("side")) not in _SIDES:
        raise row.bad("side")
    return cast(Side, side)


def _state(row: Fields) -> OrderState:
    if (state := row.text("state")) not in _STATES:
        raise row.bad("state")
    return cast(OrderState, state)


def parse_trade(raw: object) -> Trade:
    """Read one of the `trades` of /order."""
    row = Fields.of("trade", raw)
    return Trade(
        uuid=row.text("uuid"),
        price=row.price("price"),
        volume=row.price("volume"),
        funds=row.price("funds"),
        ts=row.instant("created_at"),
        side=_side(row),
    )


def parse_order(raw: object) -> Order:
    """Read an order object of any endpoint."""
    row = Fields.of("order", raw)
    trades = row.raw.get("trades")
    return Order(
        uuid=row.text("uuid"),
        market=row.market("market"),
        side=_side(row),
        ord_type=row.text("ord_type"),
        state=_state(row),
        created_at=row.instant("created_at"),
        identifier=row.maybe_text("identifier"),
        price=row.maybe_amount("price"),
        volume=row.maybe_amount("volume"),
        remaining_volume=row.maybe_amount("remaining_volume"),
        executed_volume=row.amount_or_zero("executed_volume"),
        executed_funds=row.maybe_amount("executed_funds"),
        reserved_fee=row.amount_or_zero("reserved_fee"),
        remaining_fee=row.amount_or_zero("remaining_fee"),
        paid_fee=row.amount_or_zero("paid_fee"),
        locked=row.amount_or_zero("locked"),
        time_in_force=row.maybe_text("time_in_force"),
        smp_type=row.maybe_text("smp_type"),
        trades_count=row.count("trades_count"),
        trades=None if trades is None else tuple(every(trades, parse_trade)),
    )


def parse_api_key(raw: object) -> ApiKey:
    """Read a row of /api_keys."""
    row = Fields.of("api key", raw)
    return ApiKey(access_key=row.text("access_key"), expire_at=row.instant("expire_at"))


def may_be_ours(raw: object) -> bool:
    """Whether a row of orders may be one of the daemon's, as far as its identifier can be read."""
    if not isinstance(raw, dict):
        return True
    name = raw.get("identifier")
    return name is not None and not (isinstance(name, str) and not name.startswith(OUR_PREFIX))
