"""The venue's matching and money rules for one account, without I/O: sandbox and paper share it.

The caller brings the time, the books and the randomness:

    engine = Engine(accounts, new_uuid=..., delay=...)
    order = engine.place(request, now=now, book=book)   # always `wait`; raises VenueError
    engine.on_book(book, now=now)                       # matches what is due and what rests
    engine.fill_due(now)                                # the same with the books seen last
    changes = engine.drain()                            # what to store and to announce

New orders meet the book `delay()` after they were placed, and cancels take effect as late. No
amount is ever rounded except volumes that the venue computes itself (cut to 8 decimals).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.matching.balances import Ledger, exact
from jobs.matching.book import Depth
from jobs.matching.match import EventKind, Matcher
from jobs.matching.rules import (
    MESSAGES,
    Rules,
    VenueError,
    base_of,
    check_amounts,
    check_shape,
    is_budget,
    locks,
    quote_of,
    refusal,
)
from jobs.matching.ticket import Fill, Successor, Ticket
from jobs.upbit.wire import Account, Order, Orderbook, OrderRequest

__all__ = ["Changes", "Engine", "Event", "Rules", "Ticket", "VenueError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to an order: `ticket` as it was right afterwards.

    `fill` belongs to `trade`; `prevented` means that self-match prevention made it smaller.
    """

    kind: EventKind
    ticket: Ticket
    at: datetime
    fill: Fill | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What operations did since the last `drain`: each touched row in its newest state."""

    events: tuple[Event, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    accounts: tuple[Account, ...] = ()


def _no_delay() -> timedelta:
    return timedelta(0)


@dataclass(slots=True)
class _Touched:
    events: list[Event] = field(default_factory=list)
    uuids: dict[str, None] = field(default_factory=dict)


class Engine:
    """One account at the venue.

    `tickets` and `identifiers` restore an earlier life: the open orders (more does no harm) and
    every identifier ever used. `rules` may be replaced at any time.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        *,
        new_uuid: Callable[[], str],
        delay: Callable[[], timedelta] = _no_delay,
        rules: Rules | None = None,
        tickets: Iterable[Ticket] = (),
        identifiers: Iterable[str] = (),
    ) -> None:
        self.rules = rules or Rules()
        self.ledger = Ledger(accounts)
        self._new_uuid = new_uuid
        self._delay = delay
        self._tickets = {ticket.uuid: ticket for ticket in tickets}
        self._open = {uuid: each for uuid, each in self._tickets.items() if each.is_open}
        self._identifiers: dict[str, str | None] = dict.fromkeys(identifiers)
        self._identifiers |= {t.identifier: t.uuid for t in self._tickets.values() if t.identifier}
        self._sequence = max((t.sequence for t in self._tickets.values()), default=0)
        self._depths: dict[str, Depth] = {}
        self._touched = _Touched()
        self._matcher = Matcher(self.ledger, self._open, new_uuid, self._note)

    # -- orders ------------------------------------------------------------------------------

    @exact
    def place(
        self,
        request: OrderRequest,
        *,
        now: datetime,
        book: Orderbook | None = None,
        share: Decimal | None = None,
    ) -> Order:
        """Accept `request` and return it as first shown: `wait`, nothing filled.

        An empty identifier means none. `share` caps what may ever be filled, as a part of the
        whole. Raises VenueError; the identifier of a well-formed order is used up all the same.
        """
        self._admit(request, book)
        ticket = self._ticket(request, now, self._new_uuid())
        ticket.share = share
        self._enter(ticket, request)
        return ticket.order()

    @exact
    def test(self, request: OrderRequest, *, now: datetime, book: Orderbook | None = None) -> Order:
        """Check `request` as `place` does, and change nothing. Raises VenueError."""
        return self.test_ticket(request, now=now, book=book).order()

    @exact
    def test_ticket(
        self, request: OrderRequest, *, now: datetime, book: Orderbook | None = None
    ) -> Ticket:
        """The order that `test` describes, with everything the venue knows of it."""
        if book is not None:
            self._see(book)
        check_shape(request, self.rules)
        if request.identifier in self._identifiers:
            raise refusal("duplicated_identifier", request)
        self._check_amounts(request)
        ticket = self._ticket(request, now, self._new_uuid())
        if self.ledger.account(_locked_currency(ticket)).balance < ticket.reserved:
            raise refusal(f"insufficient_funds_{request.side}", request)
        return ticket

    @exact
    def cancel(
        self, *, uuid: str | None = None, identifier: str | None = None, now: datetime
    ) -> Order:
        """Accept the cancel of an open order and return the order, still as it is.

        It takes effect `delay()` later, unless the order is filled before. Raises VenueError
        (order_not_found) for an unknown and for a finished order.
        """
        ticket = self.find(uuid=uuid, identifier=identifier)
        if ticket is None or not ticket.is_open:
            raise not_found()
        if ticket.cancel_at is None:
            ticket.cancel_at = now + self._delay()
            self._touched.uuids[ticket.uuid] = None
        return ticket.order()

    @exact
    def cancel_at_once(self, uuid: str, *, now: datetime) -> None:
        """Cancel an open order as the venue itself does, without delay or successor."""
        ticket = self._open.get(uuid)
        if ticket is None:
            raise not_found()
        self._matcher.close(ticket, "cancel", now)

    @exact
    def cancel_and_new(
        self,
        request: OrderRequest,
        *,
        uuid: str | None = None,
        identifier: str | None = None,
        now: datetime,
    ) -> tuple[Order, str]:
        """Accept a cancel, and `request` for the moment it succeeds; (old order, new uuid).

        `request.volume` None asks for what the old order leaves. When the old order fills first,
        or the account does not cover the new one by then, no new order appears.
        """
        ticket = self.find(uuid=uuid, identifier=identifier)
        if ticket is None or not ticket.is_open or ticket.cancel_at is not None:
            raise not_found()
        if (request.market, request.side) != (ticket.market, ticket.side):
            raise refusal("invalid_parameter", request)
        full = _with_rest(request, ticket)
        self._admit(full, None)
        check_amounts(full, self._best_bid(full.market), self.rules)
        ticket.successor = Successor(uuid=self._new_uuid(), request=request)
        if request.identifier:
            self._identifiers[request.identifier] = ticket.successor.uuid
        return self.cancel(uuid=ticket.uuid, now=now), ticket.successor.uuid

    # -- time --------------------------------------------------------------------------------

    @exact
    def on_book(self, book: Orderbook, *, now: datetime) -> None:
        """Take `book` as its market's present offers and match everything against it.

        A book that equals the present one brings no new liquidity.
        """
        self._see(book)
        self._settle_due(now, book.market)
        self._matcher.match_resting(self._depths[book.market], now)

    @exact
    def fill_due(self, now: datetime) -> None:
        """Let due new orders meet the books seen last, and due cancels take effect."""
        self._settle_due(now, None)

    def next_due(self) -> datetime | None:
        """When `fill_due` has something to do next; None when nothing waits for time."""
        waiting = [t.due_at for t in self._open.values() if not t.is_resting]
        waiting += [t.cancel_at for t in self._open.values() if t.cancel_at is not None]
        return min(waiting, default=None)

    # -- looking -----------------------------------------------------------------------------

    def find(self, *, uuid: str | None = None, identifier: str | None = None) -> Ticket | None:
        """The order by uuid (which wins) or identifier, live: do not change it."""
        if uuid is None:
            uuid = self._identifiers.get(identifier) if identifier else None
        return self._tickets.get(uuid) if uuid else None

    def order(self, *, uuid: str | None = None, identifier: str | None = None) -> Order | None:
        """The order with its trades, or None."""
        ticket = self.find(uuid=uuid, identifier=identifier)
        return None if ticket is None else ticket.order(with_trades=True)

    def tickets(self, *, is_open: bool | None = None) -> list[Ticket]:
        """All orders, or the open or the closed ones, oldest first; live: do not change them."""
        if is_open:
            return list(self._open.values())
        return [t for t in self._tickets.values() if is_open is None or not t.is_open]

    def open_orders(self, market: str | None = None) -> list[Order]:
        """Orders that wait, oldest first, without trades."""
        return [t.order() for t in self._open.values() if market in (None, t.market)]

    def closed_orders(self, market: str | None = None) -> list[Order]:
        """Finished orders, oldest first, without trades."""
        return [t.order() for t in self.tickets(is_open=False) if market in (None, t.market)]

    def accounts(self) -> list[Account]:
        """The balances that are held, and KRW."""
        return self.ledger.accounts()

    def is_used(self, identifier: str) -> bool:
        """Whether `identifier` was ever used."""
        return identifier in self._identifiers

    def drain(self) -> Changes:
        """What happened since the last call: to store in one transaction, and to announce."""
        touched, self._touched = self._touched, _Touched()
        return Changes(
            events=tuple(touched.events),
            tickets=tuple(self._tickets[uuid].snapshot() for uuid in touched.uuids),
            accounts=self.ledger.drain(),
        )

    # -- inside ------------------------------------------------------------------------------

    def _admit(self, request: OrderRequest, book: Orderbook | None) -> None:
        if book is not None:
            self._see(book)
        check_shape(request, self.rules)
        if not request.identifier:
            return
        if request.identifier in self._identifiers:
            raise refusal("duplicated_identifier", request)
        if self.rules.refusal_burns_identifier:
            self._identifiers[request.identifier] = None

    def _enter(self, ticket: Ticket, request: OrderRequest) -> None:
        self._check_amounts(request)
        if not self.ledger.lock(_locked_currency(ticket), ticket.reserved):
            raise refusal(f"insufficient_funds_{request.side}", request)
        self._tickets[ticket.uuid] = self._open[ticket.uuid] = ticket
        if ticket.identifier:
            self._identifiers[ticket.identifier] = ticket.uuid
        self._note("wait", ticket, ticket.created_at, None)

    def _check_amounts(self, request: OrderRequest) -> None:
        check_amounts(request, self._best_bid(request.market), self.rules)
        depth = self._depths.get(request.market)
        if depth is not None:
            self._check_depth(request, depth)

    def _check_depth(self, request: OrderRequest, depth: Depth) -> None:
        side = request.side
        if request.ord_type == "price" and (request.price or 0) > depth.funds(side):
            raise VenueError(self.rules.deep_bid_error, 400, MESSAGES["deep"])
        if request.ord_type == "market" and (request.volume or 0) > depth.volume(side):
            raise VenueError(self.rules.deep_ask_error, 400, MESSAGES["deep"])
        if request.time_in_force == "post_only" and self.rules.refuse_crossing_post_only:
            best = depth.best(side)
            ahead = None if best is None else best - (request.price or 0)
            if ahead is not None and (ahead <= 0 if side == "bid" else ahead >= 0):
                raise refusal("invalid_post_only", request)

    def _best_bid(self, market: str) -> Decimal | None:
        depth = self._depths.get(market)
        return None if depth is None else depth.best("ask")

    def _ticket(self, request: OrderRequest, now: datetime, uuid: str) -> Ticket:
        self._sequence += 1
        fee_rate = self.rules.fee(request.market)
        reserved, reserved_fee = locks(request, fee_rate)
        is_post_only = request.time_in_force == "post_only"
        return Ticket(
            uuid=uuid,
            identifier=request.identifier or None,
            market=request.market,
            side=request.side,
            ord_type=request.ord_type,
            price=request.price,
            volume=request.volume,
            time_in_force=request.time_in_force,
            smp_type=request.smp_type or ("none" if is_post_only else self.rules.default_smp),
            fee_rate=fee_rate,
            reserved=reserved,
            reserved_fee=reserved_fee,
            created_at=now,
            due_at=now + self._delay(),
            sequence=self._sequence,
        )

    def _see(self, book: Orderbook) -> None:
        present = self._depths.get(book.market)
        if present is None or present.book != book:
            self._depths[book.market] = Depth(book)

    def _settle_due(self, now: datetime, market: str | None) -> None:
        for ticket in list(self._open.values()):
            if market not in (None, ticket.market):
                continue
            # what was asked for first happens first
            takes_first = ticket.cancel_at is None or ticket.due_at <= ticket.cancel_at
            if takes_first:
                self._take_if_due(ticket, now)
            if ticket.is_open and ticket.cancel_at is not None and ticket.cancel_at <= now:
                self._finish_cancel(ticket, now)
            elif not takes_first and ticket.is_open:
                self._take_if_due(ticket, now)

    def _take_if_due(self, ticket: Ticket, now: datetime) -> None:
        depth = self._depths.get(ticket.market)
        if not ticket.is_resting and ticket.due_at <= now and depth is not None:
            self._matcher.take(ticket, depth, now)

    def _finish_cancel(self, ticket: Ticket, now: datetime) -> None:
        self._matcher.close(ticket, "cancel", now)
        if ticket.successor is None:
            return
        request = _with_rest(ticket.successor.request, ticket)
        try:
            self._enter(self._ticket(request, now, ticket.successor.uuid), request)
        except VenueError:
            return  # as when the old order fills first: accepted, and no new order appears

    def _note(self, kind: EventKind, ticket: Ticket, at: datetime, fill: Fill | None) -> None:
        self._touched.uuids[ticket.uuid] = None
        event = Event(kind=kind, ticket=ticket.snapshot(), at=at, fill=fill)
        self._touched.events.append(event)


def not_found() -> VenueError:
    """The 404 for an order that is unknown or, for a cancel, finished."""
    return VenueError("order_not_found", 404, MESSAGES["order_not_found"])


def _locked_currency(ticket: Ticket) -> str:
    return quote_of(ticket.market) if ticket.side == "bid" else base_of(ticket.market)


def _with_rest(request: OrderRequest, ticket: Ticket) -> OrderRequest:
    if request.volume is not None or is_budget(request):
        return request
    return replace(request, volume=ticket.remaining_volume)
