"""The control endpoint under /sandbox: the venue's own truth for tests, and levers to upset it.

Not part of any real interface: no token, no quota, never subject to faults.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import zip_longest

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobs.matching.ticket import Ticket, to_json
from jobs.upbit.wire import Level
from sandbox.answers import Json, strings
from sandbox.auth import PERMISSIONS, TRADING, Key
from sandbox.faults import Fault, Faults
from sandbox.recording import from_minute, to_minute
from sandbox.requests import RequestLog
from sandbox.venue import KEY_LIFE, MAIN, Pocket, Venue

Body = Mapping[str, object]
Handler = Callable[["Control", Request, Body], object]


@dataclass(frozen=True, slots=True)
class Control:
    """What the control endpoint works on."""

    venue: Venue
    faults: Faults
    log: RequestLog


def routes(control: Control) -> list[Route]:
    """Every control route."""
    handlers: list[tuple[str, str, Handler]] = [
        ("GET", "/sandbox", overview),
        ("GET", "/sandbox/ledger", ledger),
        ("GET", "/sandbox/requests", requests),
        ("DELETE", "/sandbox/requests", clear_requests),
        ("GET", "/sandbox/faults", list_faults),
        ("POST", "/sandbox/faults", add_fault),
        ("DELETE", "/sandbox/faults", clear_faults),
        ("DELETE", "/sandbox/faults/{number:int}", clear_faults),
        ("GET", "/sandbox/options", options),
        ("POST", "/sandbox/options", set_options),
        ("POST", "/sandbox/time", shift_time),
        ("POST", "/sandbox/price", force_price),
        ("POST", "/sandbox/book", force_book),
        ("POST", "/sandbox/credit", credit),
        ("POST", "/sandbox/cancel", cancel_open),
        ("DELETE", "/sandbox/quotas", reset_quotas),
        ("GET", "/sandbox/keys", list_keys),
        ("POST", "/sandbox/keys", add_key),
        ("DELETE", "/sandbox/keys/{access_key}", drop_key),
        ("GET", "/sandbox/tape", tape),
        ("GET", "/sandbox/tape/source", source),
    ]
    return [
        Route(path, _endpoint(control, handle), methods=[method])
        for method, path, handle in handlers
    ]


def _endpoint(control: Control, handle: Handler) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        try:
            raw = await request.body()
            body = json.loads(raw) if raw else {}
            if not isinstance(body, dict):
                raise ValueError("the body is no JSON object")  # noqa: TRY004, TRY301 - a 400
            for pocket in control.venue.pockets.values():
                control.venue.advance(pocket)
            return Json(strings(handle(control, request, body)))
        except (ValueError, TypeError, KeyError, InvalidOperation) as exc:
            return Json(strings({"error": f"{type(exc).__name__}: {exc}"}), 400)

    return endpoint


def overview(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """What runs here."""
    venue = control.venue
    return {
        "now": venue.now().isoformat(),
        "shift_s": venue.shift.total_seconds(),
        "markets": venue.quotes.markets,
        "forced_prices": venue.quotes.forced(),
        "pockets": list(venue.pockets),
        "blocked": {k: round(v, 3) for k, v in venue.quotas.blocks(venue.now()).items()},
    }


def ledger(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Balances and every order with its fills, per pocket, and what arrived."""
    venue = control.venue
    return {
        "now": venue.now().isoformat(),
        "pockets": {name: _pocket(pocket) for name, pocket in venue.pockets.items()},
        "requests": control.log.counts(),
        "refusals": dict(venue.quotas.refusals),
    }


def _pocket(pocket: Pocket) -> dict[str, object]:
    return {
        "credited": dict(pocket.credited),
        "accounts": [
            {
                "currency": row.currency,
                "balance": row.balance,
                "locked": row.locked,
                "avg_buy_price": row.avg_buy_price,
            }
            for row in pocket.engine.accounts()
        ],
        "orders": [_order(ticket) for ticket in pocket.engine.tickets()],
    }


def _order(ticket: Ticket) -> dict[str, object]:
    return to_json(ticket) | {
        "remaining_volume": ticket.remaining_volume,
        "remaining_fee": ticket.remaining_fee,
        "locked": ticket.locked,
        "trades_count": len(ticket.fills),
    }


def requests(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """The requests that arrived, oldest first; `?method=` and `?path=` choose."""
    wanted = request.query_params
    found = control.log.entries(method=wanted.get("method", ""), path=wanted.get("path", ""))
    return [entry.shown() for entry in found]


def clear_requests(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Forget the requests so far."""
    control.log.clear()
    return {}


def list_faults(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """The faults in force."""
    return [fault.shown() for fault in control.faults.listed()]


def add_fault(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Put a fault in force; its fields are those of sandbox.faults.Fault."""
    return control.faults.add(Fault.of(body)).shown()


def clear_faults(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Remove one fault, or all."""
    control.faults.clear(request.path_params.get("number"))
    return {}


def options(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """All options and their values."""
    return control.venue.options.shown()


def set_options(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Change options; their names are those of sandbox.options.Options."""
    control.venue.apply_options(body)
    return control.venue.options.shown()


def shift_time(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Move the venue's clock: `shift_s` from the machine's, or `advance_s` from where it is."""
    venue = control.venue
    if "shift_s" in body:
        venue.shift = timedelta(seconds=float(str(body["shift_s"])))
    venue.shift += timedelta(seconds=float(str(body.get("advance_s", 0))))
    for pocket in venue.pockets.values():
        venue.advance(pocket)
    return {"now": venue.now().isoformat(), "shift_s": venue.shift.total_seconds()}


def force_price(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Put `price` in place of the market's recorded one; null gives the recording back."""
    market, price = str(body["market"]), body["price"]
    venue = control.venue
    if market not in venue.quotes.tape.reels:
        raise ValueError(f"no such market: {market}")
    venue.quotes.force(market, None if price is None else _positive(price), venue.now())
    venue.match_now(market)
    return {"market": market, "price": venue.quotes.last_trade(market, venue.now()).price}


def force_book(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Show `asks` and `bids` ([price, size] each, best first) in place of the market's made book,
    whatever is traded; without both the made one is given back.
    """
    market, venue = str(body["market"]), control.venue
    if market not in venue.quotes.tape.reels:
        raise ValueError(f"no such market: {market}")
    sides = [_levels(body.get(side)) for side in ("asks", "bids")]
    nothing = (Decimal(0), Decimal(0))
    levels = tuple(
        Level(ask_price=ask[0], ask_size=ask[1], bid_price=bid[0], bid_size=bid[1])
        for ask, bid in zip_longest(*sides, fillvalue=nothing)  # as the exchange pads a thin side
    )
    venue.quotes.force_book(market, levels or None)
    venue.match_now(market)
    return {"market": market, "levels": len(levels)}


def _levels(raw: object) -> list[tuple[Decimal, Decimal]]:
    if not isinstance(raw, list | None):
        raise ValueError("a side is a list of [price, size]")  # noqa: TRY004 - a 400
    return [(_positive(price), _positive(size)) for price, size in raw or ()]


def _positive(raw: object) -> Decimal:
    number = Decimal(str(raw))
    if not number.is_finite() or number <= 0:
        raise ValueError(f"not a positive number: {raw}")
    return number


def credit(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Add `amount` (negative: take away) of `currency`; a new pocket is opened at need."""
    venue, name = control.venue, str(body.get("pocket", MAIN))
    amount = Decimal(str(body["amount"]))
    pocket = venue.pockets.get(name) or venue.open_pocket(name, Decimal(0))
    venue.credit(pocket, str(body["currency"]), amount)
    return _pocket(pocket)


def cancel_open(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """The exchange cancels open orders itself, of `market` or all, as in maintenance."""
    venue, market = control.venue, body.get("market")
    count = 0
    for pocket in venue.pockets.values():
        for ticket in pocket.engine.tickets(is_open=True):
            if market in (None, ticket.market):
                pocket.engine.cancel_at_once(ticket.uuid, now=venue.now())
                count += 1
        venue.collect(pocket)
    return {"cancelled": count}


def reset_quotas(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Forget every count and end every block."""
    control.venue.quotas.reset()
    return {}


def list_keys(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """The keys, with their secrets: nothing here is one."""
    return [_key(key) for key in control.venue.keys.values()]


def _key(key: Key) -> dict[str, object]:
    return {
        "access_key": key.access_key,
        "secret_key": key.secret_key,
        "pocket": key.pocket,
        "expire_at": key.expire_at.isoformat(),
        "permissions": sorted(key.permissions),
        "ips": sorted(key.ips),
    }


def add_key(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Add or replace a key; what is not named is as for the demo key."""
    venue = control.venue
    name = str(body.get("pocket", MAIN))
    if name not in venue.pockets:
        venue.open_pocket(name, Decimal(0))
    permissions = frozenset(_texts(body.get("permissions", sorted(TRADING))))
    if unknown := permissions - PERMISSIONS:
        raise ValueError(f"no such permission: {', '.join(sorted(unknown))}")
    expire_at = body.get("expire_at")
    key = Key(
        access_key=str(body["access_key"]),
        secret_key=str(body["secret_key"]),
        pocket=name,
        expire_at=_instant(str(expire_at)) if expire_at else venue.now() + KEY_LIFE,
        permissions=permissions,
        ips=frozenset(_texts(body.get("ips", []))),
    )
    venue.add_key(key)
    return _key(key)


def _texts(raw: object) -> list[str]:
    if not isinstance(raw, list) or not all(isinstance(each, str) for each in raw):
        raise ValueError(f"not a list of strings: {raw!r}")
    return raw


def drop_key(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """Revoke a key."""
    return {"dropped": control.venue.keys.pop(request.path_params["access_key"], None) is not None}


def tape(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """How recorded time maps to the venue's time, per market.

    A window's minutes from `source` on play from `plays_at` on; after `length_min` minutes the
    reel begins again. `shift_s` (venue minus recording) is exact for reels of one window, first
    time round.
    """
    played = control.venue.quotes.tape
    return {
        "origin": from_minute(played.first).isoformat(),
        "markets": {
            market: {
                "length_min": reel.length,
                "shift_s": (played.first - reel.windows[0].source) * 60,
                "windows": [
                    {
                        "plays_at": from_minute(played.first + window.offset).isoformat(),
                        "source": from_minute(window.source).isoformat(),
                        "minutes": window.length,
                    }
                    for window in reel.windows
                ],
            }
            for market, reel in played.reels.items()
        },
    }


def source(control: Control, request: Request, body: Body) -> object:  # noqa: ARG001
    """The recorded minute that plays at `?ts=` in `?market=`, and its candle."""
    market, at = request.query_params["market"], _instant(request.query_params["ts"])
    played = control.venue.quotes.tape
    recorded = played.source(market, to_minute(at))
    row = played.row(market, to_minute(at))
    return {
        "market": market,
        "source": None if recorded is None else recorded.isoformat(),
        "candle": None
        if row is None
        else {
            "open": row.open,
            "high": row.high,
            "low": row.low,
            "close": row.close,
            "volume": row.volume,
            "value": row.value,
        },
    }


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
