"""Spelling answers: JSON numbers on the quotation half, strings on the exchange half."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from email.utils import format_datetime

import orjson
from starlette.responses import Response

from jobs.matching.ticket import Ticket
from jobs.upbit.fields import KST
from jobs.upbit.wire import Account, Trade


class Json(Response):
    """A JSON answer whose body is already spelt."""

    media_type = "application/json; charset=utf-8"


def spell(number: Decimal) -> str:
    """The number in plain notation without superfluous zeros."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def numbers(content: object) -> bytes:
    """JSON with Decimals as numbers."""
    body: bytes = orjson.dumps(content, default=_number)
    return body


def strings(content: object) -> bytes:
    """JSON with Decimals as strings."""
    body: bytes = orjson.dumps(content, default=_string)
    return body


def _number(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(spell(value))
    raise TypeError


def _string(value: object) -> str:
    if isinstance(value, Decimal):
        return spell(value)
    raise TypeError


def http_date(at: datetime) -> str:
    """The value of a Date header."""
    return format_datetime(at, usegmt=True)


def kst(at: datetime, *, exact: bool = False) -> str:
    """Korean time with its offset, to the second or to the microsecond."""
    return at.astimezone(KST).isoformat(timespec="microseconds" if exact else "seconds")


def order_row(ticket: Ticket, *, absent: bool, trades: bool = False) -> dict[str, object]:
    """An order object; keys that do not apply are absent or null."""
    order = ticket.order(with_trades=trades)
    row: dict[str, object] = {
        "market": order.market,
        "uuid": order.uuid,
        "side": order.side,
        "ord_type": order.ord_type,
        "price": order.price,
        "state": order.state,
        "created_at": kst(order.created_at),
        "volume": order.volume,
        "remaining_volume": order.remaining_volume,
        "executed_volume": order.executed_volume,
        "executed_funds": order.executed_funds,
        "reserved_fee": order.reserved_fee,
        "remaining_fee": order.remaining_fee,
        "paid_fee": order.paid_fee,
        "locked": order.locked,
        "prevented_volume": ticket.prevented_volume,
        "prevented_locked": ticket.prevented_locked,
        "trades_count": order.trades_count,
        "time_in_force": order.time_in_force,
        "identifier": order.identifier,
        "smp_type": order.smp_type,
    }
    if order.trades is not None:
        row["trades"] = [
            _trade_row(order.market, trade, fill.trend)
            for trade, fill in zip(order.trades, ticket.fills, strict=True)
        ]
    return {key: value for key, value in row.items() if value is not None or not absent}


def _trade_row(market: str, trade: Trade, trend: str) -> dict[str, object]:
    return {
        "market": market,
        "uuid": trade.uuid,
        "price": trade.price,
        "volume": trade.volume,
        "funds": trade.funds,
        "trend": trend,
        "created_at": kst(trade.ts, exact=True),
        "side": trade.side,
    }


def account_row(account: Account) -> dict[str, object]:
    """A row of /accounts."""
    return {
        "currency": account.currency,
        "balance": account.balance,
        "locked": account.locked,
        "avg_buy_price": account.avg_buy_price,
        "avg_buy_price_modified": False,
        "unit_currency": "KRW",
    }


def error(name: str | int, message: str) -> Mapping[str, object]:
    """The body of every refusal."""
    return {"error": {"name": name, "message": message}}
