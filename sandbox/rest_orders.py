"""The exchange half of the REST interface that changes things: orders and cancels."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import cast

from starlette.routing import Route

from jobs.matching.rules import VenueError, quote_of
from jobs.matching.ticket import Ticket
from jobs.upbit.wire import Orderbook, OrderRequest, OrdType, Side
from sandbox.answers import order_row
from sandbox.gate import Call, exchange
from sandbox.refusals import bad
from sandbox.rest_exchange import by_ids, in_order, named_ticket, whole
from sandbox.venue import Venue

MAX_CANCEL_BY_IDS = 20
MAX_CANCEL = 300
DEFAULT_CANCEL = 20
REMAIN_ONLY = "remain_only"
_AMOUNT = re.compile(r"^\d{1,30}(\.\d{1,30})?$")


WAYS = (
    ("POST", "/v1/orders", "order", 201),
    ("POST", "/v1/orders/test", "order-test", 201),
    ("POST", "/v1/orders/cancel_and_new", "order", 201),
    ("DELETE", "/v1/order", "default", 200),
    ("DELETE", "/v1/orders/uuids", "default", 200),
    ("DELETE", "/v1/orders/open", "order-cancel-all", 200),
)


def routes(venue: Venue) -> list[Route]:
    """Every route that creates or cancels orders."""
    handlers: tuple[Callable[[Call], object], ...] = (
        place,
        test,
        cancel_and_new,
        cancel,
        cancel_by_ids,
        cancel_open,
    )
    return [
        Route(path, exchange(venue, group, "orders", handle, status=status), methods=[method])
        for (method, path, group, status), handle in zip(WAYS, handlers, strict=True)
    ]


def place(call: Call) -> object:
    """Create an order; it is shown as it waits."""
    request = _request(call)
    fault = call.fault
    placed = call.pocket.engine.place(
        request,
        now=call.now,
        book=_book(call, request.market),
        share=None if fault is None or fault.share is None else Decimal(str(fault.share)),
    )
    hide_ms = max(call.venue.options.hide_new_order_ms, fault.hide_ms if fault else 0)
    if hide_ms:
        call.pocket.hidden_until[placed.uuid] = call.now + timedelta(milliseconds=hide_ms)
    return _row(call, placed.uuid)


def test(call: Call) -> object:
    """Check an order and create nothing."""
    request = _request(call)
    book = _book(call, request.market)
    ticket = call.pocket.engine.test_ticket(request, now=call.now, book=book)
    return order_row(ticket, absent=_absent(call))


def cancel(call: Call) -> object:
    """Accept a cancel; the order is shown as it still is."""
    ticket = named_ticket(call)
    call.pocket.engine.cancel(uuid=ticket.uuid, now=call.now)
    return _row(call, ticket.uuid)


def cancel_by_ids(call: Call) -> object:
    """Accept the cancels of up to 20 orders."""
    wanted = by_ids(call, MAX_CANCEL_BY_IDS)
    return _cancel_all(call, wanted)


def cancel_open(call: Call) -> object:
    """Accept the cancels of open orders: without parameters the newest 20 of everything."""
    params = call.params
    side = params.get("cancel_side") or "all"
    pairs, quotes = params.listed("pairs"), params.listed("quote_currencies")
    excluded = params.listed("excluded_pairs") or params.listed("exclude_pairs")
    if side not in ("all", "ask", "bid") or (pairs and quotes):
        raise bad()
    count = whole(call, "count", DEFAULT_CANCEL, MAX_CANCEL)
    found = [
        ticket
        for ticket in call.pocket.engine.tickets(is_open=True)
        if side in ("all", ticket.side)
        and (not pairs or ticket.market in pairs)
        and (not quotes or quote_of(ticket.market) in quotes)
        and ticket.market not in excluded
    ]
    return _cancel_all(call, in_order(call, found)[:count])


def _cancel_all(call: Call, tickets: list[Ticket]) -> object:
    done: list[Ticket] = []
    failed: list[Ticket] = []
    for ticket in tickets:
        try:
            call.pocket.engine.cancel(uuid=ticket.uuid, now=call.now)
        except VenueError:
            failed.append(ticket)
        else:
            done.append(ticket)
    return {"success": _brief(done), "failed": _brief(failed)}


def _brief(tickets: list[Ticket]) -> dict[str, object]:
    rows = [
        {"uuid": ticket.uuid, "market": ticket.market}
        | ({"identifier": ticket.identifier} if ticket.identifier else {})
        for ticket in tickets
    ]
    return {"count": len(rows), "orders": rows}


def cancel_and_new(call: Call) -> object:
    """Accept a cancel and the order that follows it; the previous order is shown."""
    params = call.params
    if bool(params.get("prev_order_uuid")) == bool(params.get("prev_order_identifier")):
        raise bad()
    ticket = named_ticket(call, uuid="prev_order_uuid", identifier="prev_order_identifier")
    volume = params.get("new_volume")
    request = OrderRequest(
        market=ticket.market,
        side=ticket.side,
        ord_type=cast(OrdType, params.get("new_ord_type") or ""),
        identifier=params.get("new_identifier") or "",
        price=_amount(call, "new_price"),
        volume=None if volume == REMAIN_ONLY else _amount(call, "new_volume"),
        time_in_force=params.get("new_time_in_force"),
        smp_type=params.get("new_smp_type"),
    )
    if volume is None and request.ord_type == "limit":
        raise bad("new_volume is missing")
    engine = call.pocket.engine
    _, new_uuid = engine.cancel_and_new(request, uuid=ticket.uuid, now=call.now)
    row = _row(call, ticket.uuid) | {"new_order_uuid": new_uuid}
    return row | ({"new_order_identifier": request.identifier} if request.identifier else {})


def _request(call: Call) -> OrderRequest:
    params = call.params
    missing = [name for name in ("market", "side", "ord_type") if not params.get(name)]
    if missing:
        message = ", ".join(f"{name} is missing" for name in missing)
        raise VenueError("validation_error", 400, f"{message}, {missing[0]} is not valid")
    return OrderRequest(
        market=params.get("market") or "",
        side=cast(Side, params.get("side")),
        ord_type=cast(OrdType, params.get("ord_type")),
        identifier=params.get("identifier") or "",
        price=_amount(call, "price"),
        volume=_amount(call, "volume"),
        time_in_force=params.get("time_in_force"),
        smp_type=params.get("smp_type"),
    )


def _amount(call: Call, name: str) -> Decimal | None:
    """A number in plain notation; exponents are not understood."""
    text = call.params.get(name)
    if text is None:
        return None
    if not _AMOUNT.match(text):
        raise VenueError("validation_error", 400, f"{name} does not have a valid value")
    return Decimal(text)


def _book(call: Call, market: str) -> Orderbook | None:
    quotes = call.venue.quotes
    return quotes.book(market, call.now) if market in quotes.tape.reels else None


def _absent(call: Call) -> bool:
    return call.venue.options.inapplicable_keys == "absent"


def _row(call: Call, uuid: str) -> dict[str, object]:
    ticket = call.pocket.engine.find(uuid=uuid)
    return {} if ticket is None else order_row(ticket, absent=_absent(call))
