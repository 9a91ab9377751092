"""WebSocket frames of the venue: what a client may ask for, and how each format spells an answer.

Pure: text in, values out; values in, bytes out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, cast, get_args

import orjson

Format = Literal["DEFAULT", "SIMPLE", "JSON_LIST", "SIMPLE_LIST"]

CANDLE_UNITS = {"1s": 0} | {f"{unit}m": unit for unit in (1, 3, 5, 10, 15, 30, 60, 240)}
PUBLIC = frozenset({"ticker", "trade", "orderbook", *(f"candle.{unit}" for unit in CANDLE_UNITS)})
PRIVATE = frozenset({"myOrder", "myAsset", "announcement"})
DEPTHS = frozenset({1, 5, 15, 30})
"""Order book depths that a code's suffix may name; any other means 30."""

PLAIN_FROM, PLAIN_BELOW = Decimal("0.001"), Decimal(10_000_000)
"""Outside of these the venue writes public numbers with an exponent, as Java prints a double."""

_COMMON = {"type": "ty", "code": "cd", "timestamp": "tms", "stream_type": "st"}
_PRICES = {
    "opening_price": "op",
    "high_price": "hp",
    "low_price": "lp",
    "trade_price": "tp",
    "prev_closing_price": "pcp",
    "change": "c",
    "change_price": "cp",
    "trade_volume": "tv",
    "trade_time": "ttm",
    "trade_timestamp": "ttms",
    "ask_bid": "ab",
}
_TICKER = {
    "signed_change_price": "scp",
    "change_rate": "cr",
    "signed_change_rate": "scr",
    "acc_trade_volume": "atv",
    "acc_trade_volume_24h": "atv24h",
    "acc_trade_price": "atp",
    "acc_trade_price_24h": "atp24h",
    "trade_date": "tdt",
    "acc_ask_volume": "aav",
    "acc_bid_volume": "abv",
    "highest_52_week_price": "h52wp",
    "highest_52_week_date": "h52wdt",
    "lowest_52_week_price": "l52wp",
    "lowest_52_week_date": "l52wdt",
    "market_state": "ms",
    "is_trading_suspended": "its",
    "delisting_date": "dd",
    "market_warning": "mw",
}
_TRADE = {
    "trade_date": "td",
    "sequential_id": "sid",
    "best_ask_price": "bap",
    "best_ask_size": "bas",
    "best_bid_price": "bbp",
    "best_bid_size": "bbs",
}
_ORDERBOOK = {
    "total_ask_size": "tas",
    "total_bid_size": "tbs",
    "orderbook_units": "obu",
    "ask_price": "ap",
    "bid_price": "bp",
    "ask_size": "as",
    "bid_size": "bs",
    "level": "lv",
}
_CANDLE = {
    "candle_date_time_utc": "cdttmu",
    "candle_date_time_kst": "cdttmk",
    "candle_acc_trade_volume": "catv",
    "candle_acc_trade_price": "catp",
}
_MY_ORDER = {
    "uuid": "uid",
    "ask_bid": "ab",
    "order_type": "ot",
    "state": "s",
    "trade_uuid": "tuid",
    "price": "p",
    "avg_price": "ap",
    "volume": "v",
    "remaining_volume": "rv",
    "executed_volume": "ev",
    "trades_count": "tc",
    "reserved_fee": "rsf",
    "remaining_fee": "rmf",
    "paid_fee": "pf",
    "locked": "l",
    "executed_funds": "ef",
    "time_in_force": "tif",
    "trade_fee": "tf",
    "is_maker": "im",
    "identifier": "id",
    "smp_type": "smpt",
    "prevented_volume": "pv",
    "prevented_locked": "pl",
    "trade_timestamp": "ttms",
    "order_timestamp": "otms",
}
_MY_ASSET = {
    "asset_uuid": "astuid",
    "assets": "ast",
    "currency": "cu",
    "balance": "b",
    "locked": "l",
    "asset_timestamp": "asttms",
}
_LISTING = {
    "method": "mthd",
    "result": "rslt",
    "ticket": "tckt",
    "codes": "cds",
    "level": "lv",
    "type": "ty",
}
SHORT = {
    "ticker": _COMMON | _PRICES | _TICKER,
    "trade": _COMMON | _PRICES | _TRADE,
    "orderbook": _COMMON | _ORDERBOOK,
    "candle": _COMMON | _PRICES | _CANDLE,
    "myOrder": _COMMON | _MY_ORDER,
    "myAsset": _COMMON | _MY_ASSET,
    "LIST_SUBSCRIPTIONS": _LISTING,
}
"""The short key of every key, by type: `trade_date` alone has two."""


class FrameError(Exception):
    """The client broke the protocol: answered with `name`, then the socket is closed."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One stream: a type and its codes (for `myOrder` none means every market)."""

    type: str
    codes: tuple[str, ...] = ()
    level: str | None = None
    snapshot: bool = True
    realtime: bool = True

    @property
    def candle_unit(self) -> int | None:
        """Minutes of a candle stream (0 for seconds), None for the other types."""
        return CANDLE_UNITS.get(self.type.removeprefix("candle."))

    def listed(self) -> dict[str, object]:
        """How LIST_SUBSCRIPTIONS shows it."""
        row: dict[str, object] = {"type": self.type}
        if self.codes:
            row["codes"] = list(self.codes)
        if self.level is not None:
            row["level"] = self.level
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request frame. `listing`: show the running subscriptions instead of replacing them."""

    ticket: str
    subscriptions: tuple[Subscription, ...]
    format: Format | None
    listing: bool


def parse_request(text: str, *, private: bool) -> Request:
    """Read a request frame of the public or the private socket. Raises FrameError."""
    items = _items(text)
    ticket = next((item["ticket"] for item in items if "ticket" in item), None)
    if not isinstance(ticket, str) or not ticket:
        raise FrameError("NO_TICKET", "the request has no ticket")
    listing = any(item.get("method") == "LIST_SUBSCRIPTIONS" for item in items)
    wanted = [item for item in items if "type" in item]
    if not wanted and not listing:
        raise FrameError("NO_TYPE", "the request has no type")
    return Request(
        ticket=ticket,
        subscriptions=tuple(_subscription(item, private=private) for item in wanted),
        format=_format(items),
        listing=listing,
    )


def _items(text: str) -> list[dict[str, object]]:
    try:
        items = json.loads(text)
    except ValueError as exc:
        raise FrameError("WRONG_FORMAT", "the request is not JSON") from exc
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise FrameError("WRONG_FORMAT", "the request is not a list of objects")
    return items


def _format(items: list[dict[str, object]]) -> Format | None:
    wanted = next((item["format"] for item in items if "format" in item), None)
    if wanted is not None and wanted not in get_args(Format):
        raise FrameError("WRONG_FORMAT", f"unknown format {wanted!r}")
    return cast(Format | None, wanted)


def _subscription(item: dict[str, object], *, private: bool) -> Subscription:
    kind = item["type"]
    if not isinstance(kind, str) or kind not in PUBLIC | PRIVATE:
        raise FrameError("INVALID_PARAM", f"unsupported type {kind!r}")
    if kind in PRIVATE and not private:
        raise FrameError("INVALID_AUTH", f"{kind} needs the private address and a token")
    if kind in PUBLIC and private:
        raise FrameError("INVALID_PARAM", f"{kind} is not served at the private address")
    only_snapshot = _flag(item, "is_only_snapshot", "isOnlySnapshot")
    only_realtime = _flag(item, "is_only_realtime", "isOnlyRealtime")
    return Subscription(
        type=kind,
        codes=_codes(item, kind),
        level=None if item.get("level") is None else str(item["level"]),
        snapshot=kind in PUBLIC and (only_snapshot or not only_realtime),
        realtime=only_realtime or not only_snapshot,
    )


def _codes(item: dict[str, object], kind: str) -> tuple[str, ...]:
    codes = item.get("codes")
    if kind == "myAsset" and codes is not None:
        raise FrameError("WRONG_FORMAT", "myAsset takes no codes")
    if codes is None or codes == []:
        if kind in PUBLIC:
            raise FrameError("NO_CODES", f"{kind} needs codes")
        return ()
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        raise FrameError("WRONG_FORMAT", "codes is not a list of strings")
    return tuple(dict.fromkeys(codes))


def _flag(item: dict[str, object], *names: str) -> bool:
    for name in names:
        if name in item:
            if not isinstance(item[name], bool):
                raise FrameError("WRONG_FORMAT", f"{name} is not a boolean")
            return bool(item[name])
    return False


def merged(subscriptions: tuple[Subscription, ...]) -> list[Subscription]:
    """The streams to run: a code that is asked for twice under one type is sent once."""
    seen: set[tuple[str, str]] = set()
    streams: list[Subscription] = []
    for each in subscriptions:
        fresh = tuple(code for code in each.codes if (each.type, code) not in seen)
        seen.update((each.type, code) for code in fresh)
        if fresh or not each.codes:
            streams.append(replace(each, codes=fresh))
    return streams


def book_code(code: str) -> tuple[str, int]:
    """The market and depth of an order book code: KRW-BTC.15 → KRW-BTC, 15."""
    market, _, suffix = code.partition(".")
    depth = int(suffix) if suffix.isdecimal() else 0
    return market, depth if depth in DEPTHS else max(DEPTHS)


def exponent_form(number: Decimal) -> str:
    """The number as the venue's public frames spell it: 95.0, 1.16539E8, 1.0E-5."""
    value = Decimal(repr(float(number))).normalize()
    if not value:
        return "0.0"
    if PLAIN_FROM <= abs(value) < PLAIN_BELOW:
        text = format(value, "f")
        return text if "." in text else f"{text}.0"
    digits = "".join(str(digit) for digit in value.as_tuple().digits)
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{value.adjusted()}"


def encode(message: Mapping[str, object], wanted: Format) -> bytes:
    """Spell one message in the `wanted` format; public numbers like doubles, private ones exact."""
    kind = str(message.get("type", message.get("method", "")))
    names = SHORT.get(kind.partition(".")[0], {}) if wanted.startswith("SIMPLE") else {}
    spelt = _spell(message, names, exact=kind in PRIVATE)
    return orjson.dumps([spelt] if wanted.endswith("_LIST") else spelt)


def _spell(value: object, names: Mapping[str, str], *, exact: bool) -> object:
    if isinstance(value, Mapping):
        return {
            names.get(key, key): _spell(each, names, exact=exact) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_spell(each, names, exact=exact) for each in value]
    if isinstance(value, Decimal):
        text = format(value, "f") if exact else exponent_form(value)
        return orjson.Fragment(text.encode())
    return value


def error_frame(name: str, message: str) -> bytes:
    """The frame that tells a client what it did wrong, shaped like a REST error."""
    return orjson.dumps({"error": {"name": name, "message": message}})
