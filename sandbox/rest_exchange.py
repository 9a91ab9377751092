"""The exchange half of the REST interface, as far as it only looks: balances, orders, status."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.routing import Route

from jobs.matching.rules import ASK_TYPES, BID_TYPES, MESSAGES, VenueError, base_of, quote_of
from jobs.matching.ticket import Ticket
from jobs.upbit.fields import KST
from jobs.upbit.ticks import max_total, min_total
from sandbox.answers import account_row, kst, order_row
from sandbox.gate import Call, exchange
from sandbox.refusals import bad
from sandbox.tape import from_ms
from sandbox.venue import KEY_LIFE, MAIN, Venue

MAX_BY_IDS = 100
MAX_OPEN = 100
MAX_CLOSED = 1000
CLOSED_WINDOW = timedelta(days=7)
PERMISSION_NAMES = {
    "assets": "view_account",
    "orders": "make_orders",
    "orders_view": "view_orders",
    "withdraw": "withdraw",
    "withdraw_view": "view_withdrawals",
    "deposit": "deposit",
    "deposit_view": "view_deposits",
}
OPEN_STATES = frozenset({"wait", "watch"})
CLOSED_STATES = frozenset({"done", "cancel"})


def routes(venue: Venue) -> list[Route]:
    """Every exchange route that changes nothing."""
    handlers: list[tuple[str, str | None, Callable[[Call], object]]] = [
        ("/v1/accounts", "assets", accounts),
        ("/v1/orders/chance", "orders_view", chance),
        ("/v1/order", "orders_view", order),
        ("/v1/orders/uuids", "orders_view", orders_by_ids),
        ("/v1/orders/open", "orders_view", open_orders),
        ("/v1/orders/closed", "orders_view", closed_orders),
        ("/v1/orders", "orders_view", legacy_orders),
        ("/v1/status/wallet", None, wallets),
        ("/v1/api_keys", None, api_keys),
        ("/v1/pockets", None, pockets),
        ("/v1/pockets/api_keys", None, pocket_keys),
        ("/v1/withdraws", "withdraw_view", nothing),
        ("/v1/deposits", "deposit_view", nothing),
    ]
    cancel = exchange(venue, "default", "withdraw", no_withdrawal)
    return [
        Route(path, exchange(venue, "default", permission, handle), methods=["GET"])
        for path, permission, handle in handlers
    ] + [Route("/v1/withdraws/coin", cancel, methods=["DELETE"])]


def accounts(call: Call) -> object:
    """The balances held."""
    return [account_row(row) for row in call.pocket.engine.accounts()]


def chance(call: Call) -> object:
    """What may be ordered in a market, and the two balances that matter there."""
    market = call.params.get("market")
    if market is None:
        raise bad()
    if market not in call.venue.quotes.tape.reels or market in call.venue.options.delisted:
        raise VenueError("notfoundmarket", 400, MESSAGES["notfoundmarket"].format(market=market))
    engine, quote, base = call.pocket.engine, quote_of(market), base_of(market)
    fee = engine.rules.fee(market)
    least = min_total(market)
    taken = engine.rules.order_types.get(market, frozenset({*BID_TYPES, *ASK_TYPES}))
    return {
        "bid_fee": fee,
        "ask_fee": fee,
        "maker_bid_fee": fee,
        "maker_ask_fee": fee,
        "market": {
            "id": market,
            "name": f"{base}/{quote}",
            "order_types": ["limit"],
            "order_sides": ["ask", "bid"],
            "bid_types": [form for form in BID_TYPES if form in taken],
            "ask_types": [form for form in ASK_TYPES if form in taken],
            "bid": {"currency": quote, "min_total": least},
            "ask": {"currency": base, "min_total": least},
            "max_total": max_total(market),
            "state": "inactive" if market in engine.rules.offline else "active",
        },
        "bid_account": account_row(engine.ledger.account(quote)),
        "ask_account": account_row(engine.ledger.account(base)),
    }


def is_hidden(call: Call, ticket: Ticket) -> bool:
    """Whether queries do not know the order yet."""
    until = call.pocket.hidden_until.get(ticket.uuid)
    return until is not None and call.now < until


def named_ticket(call: Call, *, uuid: str = "uuid", identifier: str = "identifier") -> Ticket:
    """The order that the parameters name; the uuid wins. Raises VenueError."""
    wanted = call.params.get(uuid), call.params.get(identifier)
    if wanted == (None, None):
        raise bad()
    ticket = call.pocket.engine.find(uuid=wanted[0], identifier=wanted[1])
    if ticket is None or is_hidden(call, ticket):
        raise VenueError("order_not_found", 404, MESSAGES["order_not_found"])
    return ticket


def order(call: Call) -> object:
    """One order with its trades."""
    return _row(call, named_ticket(call), trades=True)


def _row(call: Call, ticket: Ticket, *, trades: bool = False) -> dict[str, object]:
    absent = call.venue.options.inapplicable_keys == "absent"
    return order_row(ticket, absent=absent, trades=trades)


def by_ids(call: Call, most: int) -> list[Ticket]:
    """The orders named by `uuids[]` or `identifiers[]`, one of which there must be."""
    uuids, identifiers = call.params.all("uuids"), call.params.all("identifiers")
    if bool(uuids) == bool(identifiers) or len(uuids) + len(identifiers) > most:
        raise bad()
    engine = call.pocket.engine
    found = [engine.find(uuid=each) for each in uuids]
    found += [engine.find(identifier=each) for each in identifiers]
    return [ticket for ticket in found if ticket is not None and not is_hidden(call, ticket)]


def orders_by_ids(call: Call) -> object:
    """Orders by their ids, without trades."""
    market = call.params.get("market")
    found = [t for t in by_ids(call, MAX_BY_IDS) if market in (None, t.market)]
    return [_row(call, ticket) for ticket in in_order(call, found)]


@dataclass(frozen=True, slots=True)
class _Page:
    limit: int
    number: int = 1


def _states(call: Call, allowed: frozenset[str], default: frozenset[str]) -> frozenset[str]:
    single, many = call.params.get("state"), call.params.all("states")
    if single is not None and many:
        raise bad("state와 states는 함께 사용할 수 없습니다.")
    wanted = frozenset(many or ([single] if single else default))
    if not wanted <= allowed:
        raise bad("state does not have a valid value")
    return wanted


def in_order(call: Call, tickets: Iterable[Ticket]) -> list[Ticket]:
    """By creation, newest first unless `order_by` says asc."""
    wanted = call.params.get("order_by") or "desc"
    if wanted not in ("asc", "desc"):
        raise bad("order_by does not have a valid value")
    return sorted(tickets, key=lambda t: (t.created_at, t.sequence), reverse=wanted == "desc")


def _matching(call: Call, states: frozenset[str]) -> list[Ticket]:
    engine, market = call.pocket.engine, call.params.get("market")
    if market is not None and market not in call.venue.quotes.tape.reels:
        raise VenueError("notfoundmarket", 400, MESSAGES["notfoundmarket"].format(market=market))
    is_open = None if states - OPEN_STATES and states & OPEN_STATES else bool(states & OPEN_STATES)
    found = (t for t in engine.tickets(is_open=is_open) if t.state in states)
    return [t for t in found if market in (None, t.market) and not is_hidden(call, t)]


def _paged(call: Call, tickets: list[Ticket], page: _Page) -> list[dict[str, object]]:
    begin = (page.number - 1) * page.limit
    return [_row(call, t) for t in in_order(call, tickets)[begin : begin + page.limit]]


def whole(call: Call, name: str, default: int, most: int) -> int:
    """A number from 1 to `most`. Raises VenueError."""
    text = call.params.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise bad(f"{name} does not have a valid value")
    return int(text)


def open_orders(call: Call) -> object:
    """Orders that wait, in pages."""
    states = _states(call, OPEN_STATES, frozenset({"wait"}))
    page = _Page(whole(call, "limit", MAX_OPEN, MAX_OPEN), whole(call, "page", 1, 1_000_000))
    return _paged(call, _matching(call, states), page)


def closed_orders(call: Call) -> object:
    """Finished orders created within at most seven days."""
    states = _states(call, CLOSED_STATES, CLOSED_STATES)
    start, end = _closed_window(call)
    found = [t for t in _matching(call, states) if start <= t.created_at <= end]
    return _paged(call, found, _Page(whole(call, "limit", 100, MAX_CLOSED)))


def _closed_window(call: Call) -> tuple[datetime, datetime]:
    start, end = _instant(call, "start_time"), _instant(call, "end_time")
    if start is None and end is None:
        end = call.now
    if start is None:
        start = (end or call.now) - CLOSED_WINDOW
    if end is None:
        end = start + CLOSED_WINDOW
    if not timedelta(0) <= end - start <= CLOSED_WINDOW:
        raise bad("조회 기간은 최대 7일입니다.")
    return start, end


def _instant(call: Call, name: str) -> datetime | None:
    """ISO with an offset (none means Korean time), or milliseconds since the epoch."""
    text = call.params.get(name)
    if text is None:
        return None
    try:
        if text.isdecimal():
            return from_ms(int(text))
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as exc:
        raise bad(f"{name} does not have a valid value") from exc
    return (at if at.tzinfo else at.replace(tzinfo=KST)).astimezone(UTC)


def legacy_orders(call: Call) -> object:
    """The old list of everything; gone from the documentation, still asked for by old clients."""
    if call.params.all("uuids") or call.params.all("identifiers"):
        return orders_by_ids(call)
    states = _states(call, OPEN_STATES | CLOSED_STATES, frozenset({"wait"}))
    page = _Page(whole(call, "limit", 100, 100), whole(call, "page", 1, 1_000_000))
    return _paged(call, _matching(call, states), page)


def wallets(call: Call) -> object:
    """Every coin's wallet works."""
    return [
        {
            "currency": base_of(market),
            "wallet_state": "working",
            "block_state": "normal",
            "block_height": None,
            "block_updated_at": None,
            "block_elapsed_minutes": 0,
            "net_type": base_of(market),
            "network_name": base_of(market),
        }
        for market in call.venue.quotes.markets
    ]


def api_keys(call: Call) -> object:
    """The pocket's keys and when they end."""
    return [
        {"access_key": key.access_key, "expire_at": kst(key.expire_at)}
        for key in call.venue.keys.values()
        if key.pocket == call.key.pocket
    ]


def pockets(call: Call) -> object:
    """The pockets: the main one first."""
    return [
        {
            "uuid": pocket.uuid,
            "name": pocket.name,
            "type": "main" if pocket.name == MAIN else "user_spot_trading",
        }
        for pocket in call.venue.pockets.values()
    ]


def pocket_keys(call: Call) -> object:
    """The keys of every pocket, or of `uuids[]`."""
    wanted = call.params.all("uuids")
    chosen = [p for p in call.venue.pockets.values() if not wanted or p.uuid in wanted]
    return [{"uuid": pocket.uuid, "keys": _pocket_keys(call, pocket.name)} for pocket in chosen]


def _pocket_keys(call: Call, pocket: str) -> list[dict[str, object]]:
    return [
        {
            "access_key": key.access_key,
            "allowed_ips": sorted(key.ips),
            "created_at": kst(key.expire_at - KEY_LIFE),
            "expired_at": kst(key.expire_at),
            "permissions": [PERMISSION_NAMES[each] for each in sorted(key.permissions)],
        }
        for key in call.venue.keys.values()
        if key.pocket == pocket
    ]


def no_withdrawal(call: Call) -> object:
    """Nothing was ever withdrawn here, so that nothing can be called back."""
    if call.params.get("uuid") is None:
        raise bad()
    raise VenueError("withdraw_not_found", 404, "출금 정보를 찾을 수 없습니다.")


def nothing(call: Call) -> object:  # noqa: ARG001 - a handler
    """Nothing was ever deposited or withdrawn here."""
    return []
